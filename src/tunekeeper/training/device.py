"""The device that trains: which one, what memory it has for us, and the number format it works in.

It is chosen once a run, before torch is imported: the GPU with the most free memory of those we may use, which is then the only
one that the child sees. A plan asks the same question without torch.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunekeeper.core.errors import UserError
from tunekeeper.core.machine import memory

VISIBLE = "CUDA_VISIBLE_DEVICES"
CHOICE = "device.json"
"""In the folder of a run: the GPU it began on, which its further attempts go on with."""
FASTER_IN_16 = ("avx512_bf16", "amx_bf16")
FASTER_FROM = 20_000_000
"""Numbers of a base from which such a processor is faster in bfloat16: measured with LoRA on Zen 4, a base of 5 million takes as
long as in float32, one of 23 million three quarters of that, one of 84 million half."""
AMPERE = 8.0
"""Compute capability from which a GPU of NVIDIA works in bfloat16 itself; older ones emulate it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The memory of the device that would train."""

    device: str
    """`cpu`, or the GPU's name."""
    total: int
    """Bytes that a run may have of it."""
    free: int
    """Bytes of them that are free now."""
    bfloat16: bool = False
    """Whether it works in bfloat16 itself and does not emulate it."""
    id: str | None = None
    """The GPU's UUID; None for the processor, and where only torch knows the GPU."""

    @property
    def gpu(self) -> bool:
        """Whether a GPU trains."""
        return self.device != "cpu"


def number_format(wanted: str, there: Room, numbers: int) -> str:
    """float32, bfloat16 or float16 on this device: what the recipe names; `auto` is bfloat16 where it is not emulated, and on a
    processor where it is faster. `numbers`: of the base. Pure."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if there.bfloat16 and (there.gpu or numbers >= FASTER_FROM) else "float32"


def room() -> Room:
    """The GPU with the most free memory of those that CUDA_VISIBLE_DEVICES leaves, where `nvidia-smi` names one and torch is
    built for GPUs; else the processor."""
    found = _usable()
    return max(found, key=lambda each: each.free) if found else processor()


def imagined(text: str) -> Room:
    """A machine that is not this one, for a plan: `gpu:24`, `cpu:36`, the gigabytes that it has. Raises UserError."""
    kind, _, size = text.partition(":")
    if kind not in ("gpu", "cpu") or not size.isdigit() or not 1 <= int(size) <= 100_000:
        raise UserError(f"--on {text}: not a machine", fix="write gpu:24 or cpu:36, with the gigabytes that it has")
    total = int(size) * 10**9
    return Room(device="cpu" if kind == "cpu" else f"a GPU of {size} GB", total=total, free=total, bfloat16=kind == "gpu")


def choose(work: Path) -> None:
    """Choose the GPU of a run, and hide the others from torch, which must not have been imported yet. `work`: the run's folder;
    an attempt after a death takes the GPU that the first one took. Raises UserError when that one is gone."""
    found = _usable()
    if not found:
        return  # torch alone knows what there is
    before = _chosen(work)
    chosen = max(found, key=lambda each: each.free) if before is None else next((g for g in found if g.id == before), None)
    if chosen is None:
        raise UserError(
            f"this run began on GPU {before}, which is not to be seen any more: on another one it would come out differently",
            fix=f"add it to {VISIBLE}, or cancel the run and begin anew",
        )
    os.environ[VISIBLE] = str(chosen.id)
    (work / CHOICE).write_text(json.dumps({"id": chosen.id, "device": chosen.device}) + "\n", "utf-8")


def here() -> Room:
    """The device that torch trains on in this process, as torch sees it. Imports torch."""
    import torch

    if not torch.cuda.is_available():
        return processor()
    free, total = torch.cuda.mem_get_info(0)
    return Room(
        device=torch.cuda.get_device_name(0),
        total=total,
        free=free,
        bfloat16=_not_emulated(torch.cuda),
        id=os.environ.get(VISIBLE) or None,
    )


def _not_emulated(cuda: object) -> bool:
    """Whether the GPU works in bfloat16 itself; a torch too old to tell says whether it works at all."""
    supported = getattr(cuda, "is_bf16_supported")  # noqa: B009 - the types of torch do not know its argument
    try:
        return bool(supported(including_emulation=False))
    except TypeError:
        return bool(supported())


def visible(found: Sequence[Room], wanted: str | None) -> list[Room]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES leaves, in its order; None leaves all. A number is `nvidia-smi`'s, a UUID may
    be cut short; as in CUDA nothing counts after an entry that names none. Pure."""
    if wanted is None:
        return list(found)
    kept: list[Room] = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.isdigit():
            named = list(found[int(entry) : int(entry) + 1])
        else:
            named = [each for each in found if entry.startswith("GPU-") and str(each.id).startswith(entry)]
        if len(named) != 1:
            break
        kept += named
    return kept


def gpus(answer: str) -> Iterator[Room]:
    """The rooms in `nvidia-smi`'s answer: a line a GPU, `uuid, name, compute capability, total MiB, free MiB`; lines of another
    shape are passed over."""
    for line in answer.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if len(fields) == 5 and all(part.isdigit() for part in fields[3:]):
            uuid, name, able, total, free = fields
            in_16 = able.replace(".", "", 1).isdigit() and float(able) >= AMPERE
            yield Room(device=name, total=int(total) << 20, free=int(free) << 20, bfloat16=in_16, id=uuid)


def processor(proc: Path = Path("/proc")) -> Room:
    """The processor's memory, as far as the control groups of this process let it be used: a container's limit is the machine's
    as far as a run is concerned."""
    total, free = memory(proc) or _elsewhere()
    flags = (proc / "cpuinfo").read_text() if (proc / "cpuinfo").is_file() else ""
    return Room(device="cpu", total=total, free=free, bfloat16=any(flag in flags for flag in FASTER_IN_16))


def _elsewhere() -> tuple[int, int]:
    """(total, free) bytes of a machine without /proc."""
    import psutil

    found = psutil.virtual_memory()
    return found.total, found.available


def _usable() -> list[Room]:
    """The GPUs that a run here may take; none where torch was built without them."""
    return [] if _torch_without_gpus() else visible(list(gpus(_asked())), os.environ.get(VISIBLE))


def _asked() -> str:
    """What `nvidia-smi` says of the GPUs, in the order of their numbers; empty where it says nothing."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    wanted = "--query-gpu=uuid,name,compute_cap,memory.total,memory.free"
    try:
        asked = subprocess.run(
            [command, wanted, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""


def _torch_without_gpus() -> bool:
    """Whether the torch that is installed was built for processors alone."""
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _chosen(work: Path) -> str | None:
    """The GPU that an earlier attempt of the run took."""
    try:
        value: Mapping[str, str] = json.loads((work / CHOICE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value.get("id")
