"""Looking at a draft that is to be stored: its runs and rows are told from each other, hashed, and what is new in a first version
parsed. Of a large draft a process of its own does that, while this one stores what it has seen so far.

What is seen does not depend on who looks: where the process cannot begin or is killed, the rest is looked at here.
"""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tunekeeper.data import lines
from tunekeeper.store import packs, runs
from tunekeeper.store.packs import Mark
from tunekeeper.store.runs import Known, Looked

APART = 64 << 20
"""Bytes of a draft from which a process of its own looks at it, where there is a processor for that."""
SPAN = 2 << 20
"""Bytes of a draft that are looked at together."""
EARLY = 8
"""Stretches that this process looks at itself, until the other one has begun; a fifth of all where few rows are new, as it has
little else to do then."""
_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 28)}
"""The C library of such a process keeps the memory of one stretch for the next, instead of giving it back and asking anew."""
_HEAD = struct.Struct("<QQQ")
"""Before what such a process saw in a stretch: where that begins and ends, bytes of what follows."""
_READ = msgspec.msgpack.Decoder(Looked)


class Looker:
    """Who looks at the draft in a file; to be closed by `with`."""

    def __init__(self, path: Path) -> None:
        """`path`: the draft; none is as good as an empty one."""
        self._path = path
        large = path.exists() and path.stat().st_size >= APART and len(os.sched_getaffinity(0)) > 1
        self._child = _started() if large else None

    @property
    def pid(self) -> int | None:
        """The process that looks; None where it is this one."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()  # nothing where it has ended
            self._child.communicate()

    def looked(self, known: Known, parse: bool) -> Iterator[Looked]:
        """The runs of the draft, in order. `known`: runs whose rows need not be looked at. `parse`: every row is new."""
        child = self._child
        own = 0 if child is None else EARLY if parse else self._path.stat().st_size // SPAN // 5
        if child is not None and not _asked(child, self._path, SPAN, own, known.path, parse):
            child = None
        for turn, span in enumerate(lines.spans_of_draft(self._path, SPAN)):
            found = None
            if child is not None and turn >= own:
                found = _told(child, span)
                child = None if found is None else child
            yield look_at(self._path, span, known.turns, parse) if found is None else found


def look_at(path: Path, span: tuple[int, int], known: Mapping[bytes, int], parse: bool) -> Looked:
    """The runs of a draft between two places, in order. `known`: digest of a run → its turn, where it need not be looked into.
    `parse`: say of each row what is counted of it, and give the canonical one. Raises DataError."""
    marks: list[bytes] = []
    turns: list[int] = []
    rows: list[bytes] = []
    sides: list[bytes] = []
    counts: list[int] = []
    for some in lines.runs_of_draft(path, *span):
        came = packs.digests_of(some)
        which = [known.get(mark, -1) for mark in came]
        marks += came
        turns += which
        if fresh := [run for run, turn in zip(some, which, strict=True) if turn < 0]:
            found, on, long = lines.of_runs(fresh)
            rows += found
            sides.append(on)
            counts += long
    told: list[Mark] = []
    if parse:
        looked = [lines.look(row) for row in rows]
        rows, told = [row for row, _ in looked], [mark for _, mark in looked]
    return Looked(
        marks=marks,
        turns=turns,
        counts=counts,
        lines=rows,
        sides=b"".join(sides),
        digests=[] if parse else packs.digests_of(rows),
        told=[list(column) for column in zip(*told, strict=True)],
    )


def _started() -> subprocess.Popen[bytes] | None:
    command = [sys.executable, "-P", "-m", __name__]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_MEMORY},
        )
    except OSError:  # no memory or no process left: whoever wants to know sees that when this one stores
        return None


def _asked(child: subprocess.Popen[bytes], path: Path, span: int, begin: int, known: Path | None, parse: bool) -> bool:
    """Tell the process what to look at, from which stretch on; whether it is there."""
    assert child.stdin is not None
    try:
        child.stdin.write(msgspec.json.encode((str(path), span, begin, None if known is None else str(known), parse)) + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def _told(child: subprocess.Popen[bytes], span: tuple[int, int]) -> Looked | None:
    """What the process saw next; None when it is gone, or looked elsewhere because the draft was changed meanwhile."""
    assert child.stdout is not None
    head = child.stdout.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    *where, length = _HEAD.unpack(head)
    body = child.stdout.read(length)
    return _READ.decode(body) if len(body) == length and tuple(where) == span else None


def main(request: bytes, out: Any) -> int:
    """Look at a draft and write what is seen; returns the exit code, 0."""
    path, size, begin, known, parse = msgspec.json.decode(request, type=tuple[str, int, int, str | None, bool])
    gc.disable()  # rows are no rings, and there are many
    turns = {} if known is None else runs.turns_in(Path(known))
    write = msgspec.msgpack.Encoder().encode
    for span in islice(lines.spans_of_draft(Path(path), size), begin, None):
        body = write(look_at(Path(path), span, turns, parse))
        out.write(_HEAD.pack(*span, len(body)))
        out.write(body)
    out.flush()
    return 0


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not the buffered file: its lock would be held when Python ends
        pass
    os._exit(1)


if __name__ == "__main__":
    asked = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(asked, sys.stdout.buffer))
