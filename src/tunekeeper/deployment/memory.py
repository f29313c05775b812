"""Whether a second loaded model fits beside the first (BG-06): an estimate from file sizes, with its assumption named."""

from __future__ import annotations

from tunekeeper.core import machine
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.header import GgufHeader, read_gguf
from tunekeeper.engines.engine import MAPPED
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.workspace import Workspace

PROCESS = 120 << 20
"""Bytes one server takes beside weights and cache."""
SHARING = "write deployment: {apart: true}, and versions of one base share its memory, so that going back only changes adapters"
MARGIN = 0.9
"""Share of the available memory that may be planned for."""


def need(header: GgufHeader, size: int, tokens: int) -> int:
    """Bytes that serving a file takes: its `size`, keys and values of `tokens` tokens in f16, and the process."""
    stem = header.architecture
    told = (header.pairs.get(f"{stem}.{name}") for name in ("block_count", "attention.head_count_kv", "attention.key_length"))
    layers, heads, width = (_most(value) for value in told)
    return size + 2 * 2 * layers * heads * width * tokens + PROCESS


def _most(value: object) -> int:
    """A number of the header; of one for each layer the largest, 0 for anything else."""
    numbers = value if isinstance(value, list) else [value]
    return max((number for number in numbers if type(number) is int and number > 0), default=0)


def available() -> int | None:
    """Bytes that this process, in its container, can take without swapping; None where the system does not say."""
    found = machine.memory()
    return found[1] if found else None


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
    size = 0 if _shared(ws, slot) else path.stat().st_size
    if "lora" in slot.files and ws.path(slot.files["lora"]).is_file():
        size += ws.path(slot.files["lora"]).stat().st_size
    told = warning(need(read_gguf(path), size, tokens), available() if free is None else free)
    return told if told is None or slot.options.get(MAPPED) else f"{told}, or {SHARING}"


def _shared(ws: Workspace, slot: Slot) -> bool:
    """Whether another server has the base in memory already, as it lies in the file."""
    if not slot.options.get(MAPPED):
        return False
    with ws.control.read() as tx:
        others = [other for other in find_slots(tx) if other.id != slot.id and other.observed == "ready"]
    return any(other.options.get(MAPPED) and other.files.get("model") == slot.files["model"] for other in others)
