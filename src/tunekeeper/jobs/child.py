"""The process that does the work: `python -m tunekeeper.jobs.child FOLDER`. Imports nothing that its kind does not need."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import OurFault, TunekeeperError
from tunekeeper.jobs.context import JobContext
from tunekeeper.jobs.folder import read_json, write_json
from tunekeeper.jobs.kinds import function_of

_DIE_WITH_PARENT = 1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(folder: Path) -> int:
    """Do what `task.json` says; leave `answer.json`. Returns 0, or 1 when the function raised."""
    task = read_json(folder / "task.json")
    if task is None:
        sys.stderr.write(f"{folder.name}: task.json is missing or broken\n")
        return 1
    context = JobContext(
        root=Path(task["root"]), work=folder / "files", attempt=int(task["attempt"]), journal=folder / "progress.jsonl"
    )
    try:
        output = function_of(task["kind"])(task["input"], context)
        _checked(output, task["kind"])
        write_json(folder / "answer.json", {"output": output})
    except Exception as error:  # noqa: BLE001 - whatever a kind raises becomes the job's answer
        traceback.print_exc()
        write_json(folder / "answer.json", explain(error, folder))
        return 1
    return 0


def explain(error: Exception, folder: Path) -> dict[str, str | None]:
    """An error as `{error, kind, fix}`: its line, its class where it was raised on purpose, the command that mends it. `folder`:
    where the job works."""
    if isinstance(error, TunekeeperError):
        return {"error": error.message, "kind": type(error).__name__, "fix": error.fix}
    line = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("tunekeeper"):
        return {"error": f"package {error.name} is not installed", "kind": "MissingExtra", "fix": f"pip install {error.name}"}
    if no_room(error):
        what = f"no room left on the disk, or for so large a file, while working in {folder}"
        return {"error": what, "kind": "DiskFull", "fix": "free some space and repeat the command"}
    return {"error": line, "kind": None, "fix": None}


def no_room(error: BaseException | None) -> bool:
    """Whether a write failed because the disk, or the size a file may have, is used up.

    Libraries in Rust say it in words alone, and PyTorch's own complaint about a short file hides the cause behind it.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        if any(f"os error {number})" in str(error) for number in NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


def _checked(output: Any, kind: str) -> None:
    if not isinstance(output, dict):
        raise OurFault(f"job kind {kind!r} returned {type(output).__name__}, not a dict")


def _die_with_wrapper(wrapper: int) -> None:
    """Ask the kernel to end this process with its wrapper; leave at once when that is too late."""
    ctypes.CDLL(None, use_errno=True).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != wrapper:
        sys.exit(1)


if __name__ == "__main__":
    _die_with_wrapper(int(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1])))
