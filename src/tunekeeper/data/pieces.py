"""A large draft that begins a dataset is stored in pieces, by as many processes as there are processors for.

Where the pieces are cut depends on the draft alone, so that the version is the same however many processes made it. A piece that
a process could not store is stored here again: what is wrong with it is said as if there were no processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import msgspec

from tunekeeper.core.errors import OutsideError
from tunekeeper.data import lines
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.rows import Kept, Piece, Rows

PIECE = 64 << 20
"""Bytes of a draft up to which it is one piece. With their sides taken out the rows of a piece just fit into one pack."""
MOST_PROCESSES = 3
"""Processes at the same time: each takes some 350 MB."""


def keep(rows: Rows, path: Path, known: Sequence[str] = ()) -> Kept:
    """Store the rows of a draft's file; `known`: digests of the manifests of versions that may hold some of them, the newest
    first. Raises OutsideError when a process is killed, DataError, DiskFull."""
    if known or not path.exists() or path.stat().st_size <= PIECE:
        return rows.keep_runs(lines.runs_of_draft(path), lines.of_run, lines.look, known)
    spans = list(pairwise(_cuts(path)))
    processes = min(len(spans), MOST_PROCESSES, len(os.sched_getaffinity(0)))
    done = _apart(rows, path, spans, processes) if processes > 1 else {}
    return rows.join([done.get(span) or _kept(rows, path, span) for span in spans])


def _cuts(path: Path) -> list[int]:
    """Where the pieces of a file begin, and where the last one ends: bytes, beginnings of lines."""
    size = path.stat().st_size
    count = -(-size // PIECE)
    found = {0, size}
    with path.open("rb") as file:
        for i in range(1, count):
            file.seek(i * size // count)
            file.readline()
            found.add(file.tell())
    return sorted(found)


def _kept(rows: Rows, path: Path, span: tuple[int, int]) -> Piece:
    return rows.keep_piece(lines.runs_of_draft(path, *span), lines.of_run, lines.look)


def _apart(rows: Rows, path: Path, spans: list[tuple[int, int]], processes: int) -> dict[tuple[int, int], Piece]:
    """The pieces that so many processes could store; they end when this one does."""
    done: dict[tuple[int, int], Piece] = {}
    with ExitStack() as stack:
        children = []
        for turn in range(processes):
            told = stack.enter_context(tempfile.TemporaryFile())
            mine = spans[turn::processes]
            words = (*map(str, rows.places), str(path), msgspec.json.encode(mine).decode())
            command = [sys.executable, "-P", "-m", __name__, *words]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=subprocess.DEVNULL)
            stack.callback(_end, child)
            children.append((child, told, mine))
        for child, told, mine in children:
            if (code := child.wait()) < 0:
                what = f"a process that stores rows of {path.name} was killed by signal {-code}"
                raise OutsideError(what, fix="see that memory is free and repeat the command")
            told.seek(0)
            made = msgspec.msgpack.decode(told.read(), type=list[Piece]) if code == 0 else []
            done |= dict(zip(mine, made, strict=code == 0))
    return done


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()  # nothing where it has ended
    child.communicate()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not the buffered file: its lock would be held when Python ends
        pass
    os._exit(1)


def main(blobs: str, scratch: str, path: str, spans: str) -> int:
    """Store pieces of a draft and write what they came to on standard output; returns the exit code, 0."""
    rows = Rows(Blobs(Path(blobs)), Path(scratch))
    made = [_kept(rows, Path(path), span) for span in msgspec.json.decode(spans, type=list[tuple[int, int]])]
    sys.stdout.buffer.write(msgspec.msgpack.encode(made))
    return 0


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(*sys.argv[1:]))
