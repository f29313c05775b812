"""Files whose power can be cut, for everything that writes through SQLite or through `store/published.py`.

A `Tape` notes each change of each file below a folder while the real files change as ever: SQLite's through a VFS that stands
before the usual one (written with `ctypes` against the library that Python itself uses), the published route files' through the
`os` that their module sees. `Tape.image` then builds a folder that a machine could find after its power came back: what a sync
covered is there, of everything since a random part, in random order and torn, and of the names a random beginning.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.store.log.powercut import change, survived

OK, CREATE, JOURNALS = 0, 0x4, 0x80000 | 0x800 | 0x4000
_FIRST = ("close", "read", "write", "truncate", "sync")


@dataclass(slots=True)
class Sheet:
    """One file's content, whatever it is called."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)


class Tape:
    """What happened to the files below `root`, in order."""

    def __init__(self, root: Path) -> None:
        """What lies there now counts as durable."""
        self.root = root
        self.before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.name.endswith("-shm")}
        self.sheets = {path: number for number, path in enumerate(self.before)}
        self.first = dict(self.sheets)
        self.count = len(self.sheets)
        self.notes: list[tuple[str, Any, int, Any]] = []

    def note(self, kind: str, what: Any, at: int = 0, data: Any = b"") -> None:
        """One change: `write`, `whole` (a write that is never torn), `cut`, `sync`, `create`, `rename`, `remove`, `folder` (the
        names of a folder were synced) and `done` (an outsider was told that `what` is durable)."""
        self.notes.append((kind, what, at, data))

    def open(self, path: Path) -> int:
        """The sheet under a name; a new one where there was none."""
        if path not in self.sheets:
            self.sheets[path] = self.count
            self.count += 1
            self.note("create", path, self.sheets[path])
        return self.sheets[path]

    def remove(self, path: Path) -> None:
        """A name is gone."""
        if self.sheets.pop(path, None) is not None:
            self.note("remove", path)

    def rename(self, old: Path, new: Path) -> None:
        """A file has another name now."""
        self.sheets[new] = self.sheets.pop(old)
        self.note("rename", old, data=new)

    def done(self, moment: int) -> list[Any]:
        """What outsiders had been told by a moment."""
        return [what for kind, what, _, _ in self.notes[:moment] if kind == "done"]

    def image(self, folder: Path, moment: int, rng: random.Random) -> None:
        """Write to `folder` what could be found below `root` after a cut right before change number `moment`."""
        sheets = {number: Sheet(bytearray(self.before[path])) for path, number in self.first.items()}
        names, unsure = dict(self.first), []
        for kind, what, at, data in self.notes[:moment]:
            if kind == "folder":
                names, unsure = (
                    _named(names, [each for each in unsure if each[1].parent == what]),
                    [each for each in unsure if each[1].parent != what],
                )
            elif kind in ("create", "remove", "rename"):
                unsure.append((kind, what, at, data))
                if kind == "create":
                    sheets[at] = Sheet()
            elif kind == "sync":
                for each in sheets[what].pending:
                    change(sheets[what].durable, *each)
                sheets[what].pending = []
            elif kind != "done":
                sheets[what].pending.append((kind, at, data))
        for path, number in _named(names, unsure[: rng.randrange(len(unsure) + 1)]).items():
            target = folder / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(survived(sheets[number], rng))


def _named(names: dict[Path, int], changes: list[tuple[str, Path, int, Any]]) -> dict[Path, int]:
    found = dict(names)
    for kind, path, number, new in changes:
        if kind == "create":
            found[path] = number
        elif path in found:
            old = found.pop(path)
            if kind == "rename":
                found[new] = old
    return found


class RecordingOs:
    """The module `os` as `store/published.py` sees it: files that are opened for writing end on the tape when they are synced."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.paths: dict[int, Path] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self.paths[fd] = Path(path)
        if flags & os.O_CREAT:
            self.tape.open(Path(path))
        return fd

    def _written(self, fd: int, kind: str, size: int) -> None:
        sheet = self.tape.open(self.paths[fd])
        self.tape.note(kind, sheet, 0, os.pread(fd, size, 0) if kind == "whole" else self.paths[fd].read_bytes())
        self.tape.note("sync", sheet)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        if self.paths[fd].is_dir():
            self.tape.note("folder", self.paths[fd])
        else:
            self._written(fd, "write", 0)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)
        self._written(fd, "whole", 4096)  # a mapped page: the machine writes it as one, at any time since it changed

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)
        self.tape.rename(Path(old), Path(new))


class _Methods(ctypes.Structure):
    _fields_ = (("version", ctypes.c_int), *((name, ctypes.c_void_p) for name in _FIRST), ("rest", ctypes.c_void_p * 13))


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("size", ctypes.c_int),
        ("longest", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("own", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
        ("rest", ctypes.c_void_p * 14),
    )


_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OPEN, _DELETE = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P), ctypes.CFUNCTYPE(_I, _P, _P, _I)
_TYPES = {
    "close": ctypes.CFUNCTYPE(_I, _P),
    "write": ctypes.CFUNCTYPE(_I, _P, _P, _I, _L),
    "truncate": ctypes.CFUNCTYPE(_I, _P, _L),
    "sync": ctypes.CFUNCTYPE(_I, _P, _I),
}


def sqlite_library() -> Any:
    """The SQLite that Python's own module calls; None where its functions cannot be reached from outside."""
    library = ctypes.CDLL(_sqlite3.__file__)
    if not hasattr(library, "sqlite3_vfs_find"):
        return None
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = (ctypes.c_char_p,)
    library.sqlite3_vfs_register.argtypes = (ctypes.POINTER(_Vfs), _I)
    return library


class Recorder:
    """SQLite's usual VFS with a tape beside it."""

    def __init__(self, tape: Tape, usual: Any) -> None:
        self.tape = tape
        self.usual = usual
        self.files: dict[int, tuple[int, Path]] = {}
        self.unnamed: set[int] = set()
        self.vfs = _Vfs.from_buffer_copy(usual.contents)
        self.vfs.name = b"tape"
        self._open, self._delete = _OPEN(usual.contents.open), _DELETE(usual.contents.delete)
        self._kept = [_OPEN(self.open), _DELETE(self.delete)]
        self.vfs.open, self.vfs.delete = (ctypes.cast(each, _P).value for each in self._kept)
        self._methods: dict[int, _Methods] = {}
        self._calls: dict[str, Any] = {}

    def open(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = Path(os.fsdecode(ctypes.string_at(name))) if name else None
        code: int = self._open(ctypes.addressof(self.usual.contents), name, file, flags, out)
        if code != OK or path is None or self.tape.root not in path.parents:
            return code
        self.files[file] = (self.tape.open(path), path)
        if flags & CREATE and flags & JOURNALS:
            self.unnamed.add(file)
        slot = ctypes.c_void_p.from_address(file)
        slot.value = ctypes.addressof(self._ours(slot.value or 0))
        return code

    def _ours(self, usual: int) -> _Methods:
        if usual not in self._methods:
            made = _Methods.from_buffer_copy(_Methods.from_address(usual))
            for name, kind in _TYPES.items():
                self._calls[name] = kind(getattr(made, name))
                self._kept.append(kind(getattr(self, name)))
                setattr(made, name, ctypes.cast(self._kept[-1], _P).value)
            self._methods[usual] = made
        return self._methods[usual]

    def delete(self, vfs: int, name: int, sync: int) -> int:
        path = Path(os.fsdecode(ctypes.string_at(name)))
        code: int = self._delete(ctypes.addressof(self.usual.contents), name, sync)
        if code == OK:
            self.tape.remove(path)
            if sync:
                self.tape.note("folder", path.parent)
        return code

    def close(self, file: int) -> int:
        del self.files[file]
        self.unnamed.discard(file)
        return int(self._calls["close"](file))

    def write(self, file: int, data: int, size: int, at: int) -> int:
        code: int = self._calls["write"](file, data, size, at)
        if code == OK:
            self.tape.note("write", self.files[file][0], at, ctypes.string_at(data, size))
        return code

    def truncate(self, file: int, size: int) -> int:
        code: int = self._calls["truncate"](file, size)
        if code == OK:
            self.tape.note("cut", self.files[file][0], size)
        return code

    def sync(self, file: int, flags: int) -> int:
        code: int = self._calls["sync"](file, flags)
        if code == OK:
            self.tape.note("sync", self.files[file][0])
            if file in self.unnamed:  # the usual VFS syncs the folder with the first sync of a journal
                self.unnamed.discard(file)
                self.tape.note("folder", self.files[file][1].parent)
        return code


@contextmanager
def recorded(tape: Tape, library: Any) -> Iterator[None]:
    """SQLite files below the tape's folder end on the tape while the block lasts."""
    usual = library.sqlite3_vfs_find(None)
    ours = Recorder(tape, usual)
    library.sqlite3_vfs_register(ctypes.byref(ours.vfs), 1)
    try:
        yield
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(ours.vfs))
        library.sqlite3_vfs_register(usual, 1)
    assert not ours.files, "a connection was left open"
