"""Whether a second loaded model fits beside the first (BG-06): an estimate from file sizes, with its assumption named."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.header import GgufHeader, read_gguf
from tunekeeper.workspace import Workspace

PROCESS = 120 << 20
"""Bytes one server takes beside weights and cache."""
MARGIN = 0.9
"""Share of the available memory that may be planned for."""


def need(header: GgufHeader, size: int, tokens: int) -> int:
    """Bytes that serving a file takes: the file itself, keys and values of `tokens` tokens in f16, and the process."""
    stem = header.architecture
    told = (header.pairs.get(f"{stem}.{name}") for name in ("block_count", "attention.head_count_kv", "attention.key_length"))
    layers, heads, width = (_most(value) for value in told)
    return size + 2 * 2 * layers * heads * width * tokens + PROCESS


def _most(value: object) -> int:
    """A number of the header; of one for each layer the largest, 0 for anything else."""
    numbers = value if isinstance(value, list) else [value]
    return max((number for number in numbers if type(number) is int and number > 0), default=0)


def available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say."""
    try:
        lines = meminfo.read_text("ascii").splitlines()
    except OSError:
        return None
    told = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(told.split()[1]) * 1024 if told else None


def warning(needed: int, free: int | None) -> str | None:
    """One sentence of advice when `needed` bytes do not fit into `free`; None when they do, or nobody knows. Pure."""
    if free is None or needed <= free * MARGIN:
        return None
    return (
        f"loading takes about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are available: "
        "it may not fit; keep one model and go back by reloading the earlier file, or choose a smaller quantization"
    )


def check(ws: Workspace, slot: Slot, *, free: int | None = None) -> str | None:
    """The advice before `slot` is loaded; None when it fits. `free`: bytes available, None asks the system."""
    name = slot.files.get("model")
    path = ws.path(name) if name else None
    if path is None or slot.engine != "llamacpp" or not path.is_file():
        return None
    tokens = int(slot.options.get("context", 512)) * int(slot.options.get("parallel", 1))
    return warning(need(read_gguf(path), path.stat().st_size, tokens), available() if free is None else free)
