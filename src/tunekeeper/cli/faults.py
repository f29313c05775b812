"""From an exception to one line on stderr, an exit code and, where it is our own fault, a file with the traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from tunekeeper.core.errors import DiskFull, MissingExtra, OurFault, OutsideError, TunekeeperError, UserError

NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SUCH_PLACE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "accelerate": "train",
    "safetensors": "train",
    "bitsandbytes": "qlora",
    "gguf": "local",
    "xllamacpp": "local",
    "psycopg": "postgres",
    "openai": "demo",
}
"""Top-level module → the extra that installs it."""


def known(error: BaseException) -> TunekeeperError | None:
    """The error as one of our own, where its cause is the user's or outside; None when it is our fault."""
    if isinstance(error, TunekeeperError):
        return error
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        path = "tunekeeper" if context is None else context.command_path
        return UserError(error.format_message().rstrip("."), fix=f"{path} --help")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(
            f"the disk is full{f': {error.filename}' if error.filename else ''}", fix="free some space and run it again"
        )
    if isinstance(error, OSError) and error.filename and error.errno in (*NOT_ALLOWED, *NO_SUCH_PLACE):
        fix = "name a place that you may read and write" if error.errno in NOT_ALLOWED else "check the path"
        return UserError(f"{os.fsdecode(error.filename)}: {(error.strerror or 'not possible').lower()}", fix=fix)
    if isinstance(error, FileNotFoundError) and _raised_in(error) == "mkdir":
        return UserError(f"{os.fsdecode(error.filename)}: no folder can be made there", fix="check the path")
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        more = "allow more open files (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else "look after the disk"
        return OutsideError(f"{place}{(error.strerror or 'not possible').lower()}", fix=more)
    if isinstance(error, ValueError) and str(error).endswith("has an empty name"):
        return UserError("an empty path names no file", fix="name a file")
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from"):
        return UserError(f"{str(error).removeprefix('Symlink loop from ')}: a link that leads to itself", fix="check the path")
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra:
            return MissingExtra(f"package {error.name} is not installed", fix=f"pip install 'tunekeeper[{extra}]'")
    return None


def _raised_in(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].name if frames else ""


def report(error: BaseException, folder: Path | None) -> OurFault:
    """Write the traceback into `folder` (the temporary folder when that fails) and say where it lies."""
    import tempfile  # here: hardly any command needs it

    name = f"fault-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
    said = f"a fault of our own: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    for place in (folder, None):
        with contextlib.suppress(OSError):
            path = Path(tempfile.gettempdir()) / f"tunekeeper-{name}" if place is None else place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
            return OurFault(said, fix=f"report it together with {path}")
    return OurFault(said, fix="set TMPDIR to a folder with room and run it again: then the report lies there")


def document(error: TunekeeperError) -> dict[str, Any]:
    """What `--json` prints for an error."""
    kind, code = type(error).__name__, error.exit_code
    return {"error": {"kind": kind, "message": error.message, "fix": error.fix, "exit_code": code}}


def is_interrupt(error: BaseException) -> bool:
    """Ctrl-C, or a question that was left without an answer."""
    return isinstance(error, KeyboardInterrupt | typer.Abort)
