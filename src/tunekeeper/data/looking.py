"""Looking at a draft that is to be stored: rows that stood in the last version's draft are known by their hashes, new ones are
parsed and hashed. Of a large draft a process of its own does that, while this one imports what it needs and stores what was seen;
then it says how good the draft is, while this one finishes.

What is seen does not depend on who looks: where the process cannot begin or is killed, the rest is looked at here.
"""

from __future__ import annotations

import gc
import mmap
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tunekeeper.store import runs
from tunekeeper.store.garbage import uncollected
from tunekeeper.store.runs import Known, Looked

if TYPE_CHECKING:
    from tunekeeper.data.config import Config

APART = 64 << 20
"""Bytes of a draft from which a process of its own looks at it, where there is a processor for that."""
SPAN = 2 << 20
"""Bytes of a draft that are looked at together."""
OWN = 8
"""Of a draft about which nothing is known, one stretch of so many is looked at here: that takes longer than storing it."""
_AHEAD = 32 << 20
"""Bytes of what such a process saw that it keeps until somebody reads them, where few rows are new."""
_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 28)}
"""The C library of such a process keeps the memory of one stretch for the next, instead of giving it back and asking anew."""
_HEAD = Struct("<QQQ")
"""Before what such a process saw in a stretch: where that begins and ends, bytes of what follows."""
_READ = msgspec.msgpack.Decoder(Looked)
State = tuple[int, int, int]
"""By what a file is known to be the same: its number, bytes, moment of change (ns)."""


class Begun(msgspec.Struct, frozen=True):
    """What a process that looks says first."""

    state: State
    """Of the draft."""
    known: bytes
    """Digest of what it knows of runs; empty for nothing."""
    seed: int
    """Seed of its hashes."""


class Looker:
    """Who looks at the draft in a file, from now on; to be closed by `with`."""

    def __init__(self, draft: Path, known: Path) -> None:
        """`draft`: none is as good as an empty one. `known`: where the runs of the version before may lie."""
        self._draft = draft
        self._known = known
        self._child: subprocess.Popen[bytes] | None = None
        self._criteria: bytes | None = None
        self._start(known)

    @property
    def pid(self) -> int | None:
        """The process that looks; None where it is this one."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask_quality(self, section: Config, format: Mapping[str, Any]) -> None:
        """Have the process say how good the draft is, by these criteria, once it has seen all of it."""
        self._criteria = msgspec.json.encode((section, format)) + b"\n"
        self._tell(self._criteria)

    def quality(self) -> dict[str, Any] | None:
        """What it said, as `judged.of_draft`; None where nobody did. To be asked for when all was seen."""
        if self._child is None or self._child.stdout is None or self._criteria is None:
            return None
        body = _message(self._child.stdout, (0, 0))
        return None if body is None else msgspec.msgpack.decode(body, type=dict[str, Any] | None)

    def looked(self, known: Known) -> Iterator[Looked]:
        """The rows of the draft, in order, beside those that are `known`; to be asked for once the draft is locked. Raises
        DataError for a line that is none."""
        begun = self._begun(known)
        if begun is None and self._child is not None:  # it looked at another draft, or beside another version
            self._end()
            self._start(self._known if known.digest else None)
            begun = self._begun(known)
        if begun is None:
            self._end()
        elif not known.digest:
            known = Known(seed=begun.seed)
        from tunekeeper.data.walk import Walk  # here: the process is to begin before this one imports anything else

        walk = Walk(known)
        with suppress(FileNotFoundError), self._draft.open("rb") as file:
            for turn, (begin, end) in enumerate(spans(file, SPAN)):
                found = None
                if self._child is not None and (known.digest or turn % OWN):
                    found = _told(self._child, (begin, end))
                    if found is None:
                        self._end()
                        walk = Walk(known, inside=True)
                if found is None:
                    file.seek(begin)
                    found = walk.over(file.read(end - begin))
                yield found

    def _start(self, known: Path | None) -> None:
        """Have a process begin where the draft is large."""
        if state_of(self._draft)[1] < APART or len(os.sched_getaffinity(0)) < 2:
            return
        command = [sys.executable, "-P", "-m", __name__]
        pipe = subprocess.PIPE
        with suppress(OSError):  # no memory or no process left: whoever wants to know sees that when this one stores
            self._child = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={**os.environ, **_MEMORY}
            )
            request = (str(self._draft), None if known is None else str(known), SPAN, OWN)
            self._tell(msgspec.json.encode(request) + b"\n" + (self._criteria or b""))

    def _tell(self, line: bytes) -> None:
        if self._child is not None and self._child.stdin is not None:
            with suppress(BrokenPipeError):
                self._child.stdin.write(line)
                self._child.stdin.flush()

    def _begun(self, known: Known) -> Begun | None:
        """What the process said first; None where it is gone, or looks at something else than is to be looked at."""
        if self._child is None or self._child.stdout is None:
            return None
        body = _message(self._child.stdout, (0, 0))
        begun = None if body is None else msgspec.msgpack.decode(body, type=Begun)
        return begun if begun is not None and (begun.state, begun.known) == (state_of(self._draft), known.digest) else None

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()  # nothing where it has ended
            self._child.communicate()
            self._child = None


@contextmanager
def ahead(root: Path, model: str) -> Iterator[Looker]:
    """Who looks at the draft of `model` from now on, before the workspace below `root` is opened and the draft locked: what was
    seen counts only where it is still the same file then."""
    path, known = root / "data" / model / "draft.jsonl", runs.path_of(root / "work" / "rows", model)
    with uncollected(), Looker(path, known) as looker:
        yield looker


def state_of(path: Path) -> State:
    """By what a file is known to be the same one; zeros where there is none."""
    try:
        return _state(path.stat())
    except OSError:  # also for a name that no file can have
        return 0, 0, 0


def _state(found: os.stat_result) -> State:
    return found.st_ino, found.st_size, found.st_mtime_ns


def spans(file: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """A file in stretches of whole lines and of about `size` bytes: where each begins and ends."""
    begin, end = 0, os.fstat(file.fileno()).st_size
    while begin < end:
        file.seek(begin + size - 1)
        file.readline()
        until = min(file.tell(), end)
        yield begin, until
        begin = until


def _told(child: subprocess.Popen[bytes], span: tuple[int, int]) -> Looked | None:
    """What the process saw next; None when it is gone, or looked elsewhere because the draft was changed meanwhile."""
    assert child.stdout is not None
    body = _message(child.stdout, span)
    return None if body is None else _READ.decode(body)


def _message(pipe: IO[bytes], span: tuple[int, int]) -> bytes | None:
    """The next message, where it is about this stretch."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    *where, length = _HEAD.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length and tuple(where) == span else None


def main(asked: Iterator[bytes], out: IO[bytes]) -> int:
    """Look at the draft of the first line that is asked and write what is seen, then how good it is by the criteria of the next,
    which is waited for; returns the exit code, 0."""
    from tunekeeper.data.walk import Walk

    place, beside, size, own = msgspec.json.decode(next(asked), type=tuple[str, str | None, int, int])
    gc.disable()  # rows are no rings, and there are many
    draft, known = Path(place), Known() if beside is None else runs.load(Path(beside))
    write = msgspec.msgpack.Encoder().encode

    def say(span: tuple[int, int], what: Any) -> None:
        body = write(what)
        out.write(_HEAD.pack(*span, len(body)))
        out.write(body)

    walk = Walk(known)
    with draft.open("rb") as file:
        say((0, 0), Begun(_state(os.fstat(file.fileno())), known.digest, known.seed))
        for turn, (begin, end) in enumerate(spans(file, size)):
            if not known.digest and turn % own == 0:
                continue
            first = begin - begin % mmap.ALLOCATIONGRANULARITY
            with mmap.mmap(file.fileno(), end - first, access=mmap.ACCESS_READ, offset=first) as text:
                say((begin, end), walk.over(text, begin - first))
            if not known.digest:
                out.flush()
    out.flush()
    from tunekeeper.data import judged
    from tunekeeper.data.config import Config

    section, format = msgspec.json.decode(next(asked), type=tuple[Config, dict[str, Any]])
    say((0, 0), judged.of_draft(draft, None, section, format))
    out.flush()
    return 0


def _read(pieces: queue.SimpleQueue[bytes]) -> None:
    """Read what the parent writes, and end with it."""
    while piece := os.read(sys.stdin.fileno(), 1 << 16):  # not the buffered file: its lock would be held when Python ends
        pieces.put(piece)
    os._exit(1)


def _lines(pieces: queue.SimpleQueue[bytes]) -> Iterator[bytes]:
    """The lines of what is read, each as soon as it is whole."""
    rest = b""
    while True:
        line, end, behind = rest.partition(b"\n")
        if end:
            yield line
            rest = behind
        else:
            rest += pieces.get()


if __name__ == "__main__":
    written = queue.SimpleQueue[bytes]()
    threading.Thread(target=_read, args=(written,), daemon=True).start()
    with open(sys.stdout.fileno(), "wb", buffering=_AHEAD, closefd=False) as seen:
        sys.exit(main(_lines(written), seen))
