"""The rows of dataset versions: each is stored once, in a pack, however many versions hold it.

A version is a manifest over packs; both are blobs, so that backup, restore and `store verify` know them, and a kill at any moment
leaves whole ones or none. Readers need no lock. Whoever reads files gets one: a side is written out once, below `work/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunekeeper.core.ids import digest_file
from tunekeeper.store import lock, manifests, packs
from tunekeeper.store.blobs import Blobs, Tombstone, place
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.marks import Mark
from tunekeeper.store.rowreader import Reader

if TYPE_CHECKING:  # who writes rows loads what writes them: readers need not wait for it
    from tunekeeper.store.rowwriter import Look
    from tunekeeper.store.runs import Known, Looked

SIDES = ("train", "eval")
MONTH = 30 * 86400.0
"""Seconds after which a file of a whole side that nobody asked for goes."""
MOST_KNOWN = 16
"""Versions whose packs are looked at for rows that a new one may share."""
MOST_SMALL = 32
"""Small packs whose rows a new version may share. Where its parent has more, it stores anew, in one pack, what the smaller half
of them hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Rows that were stored as a version's."""

    manifest: str
    """Digest of the manifest's blob."""
    digest: str
    """Digest of content, order and sides."""
    counts: dict[str, int]
    """Side → rows."""
    reader: Reader = field(compare=False)
    """Reads them."""


class Rows:
    """The rows of one workspace's dataset versions."""

    def __init__(self, blobs: Blobs, scratch: Path) -> None:
        """`scratch`: a folder for files of whole sides; what lies in it can be made again."""
        self._blobs = blobs
        self._scratch = scratch

    def keep(self, rows: Iterable[tuple[bytes, str]], look: Look, known: Iterable[str] = ()) -> Kept:
        """Store rows: lines with their side, in order. `known`: digests of manifests whose packs may hold some of them. Bounded
        memory: about 150 bytes a row, and one pack. Raises DiskFull."""
        from tunekeeper.store.rowwriter import Writer

        shared = self._shared(known)
        with Writer(self._blobs, shared, SIDES) as writer:
            writer.take(rows, look)
            return self._kept(*writer.close(), dict(shared))

    def keep_draft(self, seen: Callable[[Known], Iterable[Looked]], name: str, known: Sequence[str] = ()) -> Kept:
        """As `keep`, for the draft of the model `name`. `seen` is told what is known of the draft that the first manifest of
        `known` was stored from."""
        from tunekeeper.store import runs
        from tunekeeper.store.rowwriter import Writer

        shared = self._shared(known)
        parent = known[0] if known and self._blobs.has(known[0]) else None
        path = self.runs_of(name)
        before, numbers = (runs.Known(), np.empty(0, np.uint32)) if parent is None else self._before(path, parent, shared)
        with Writer(self._blobs, shared, SIDES) as writer:
            found = writer.take_draft(seen(before), before, numbers)
            kept = self._kept(*writer.close(), dict(shared))
        if kept.manifest != before.manifest:
            runs.save(path, replace(found, manifest=kept.manifest))
        return kept

    def _kept(self, manifest: Manifest, digest: str, there: Mapping[str, packs.Pack]) -> Kept:
        counts = {side: len(numbers) for side, numbers in manifest.sides.items()}
        stored = self._blobs.put_bytes(manifests.encode(manifest))
        return Kept(manifest=stored, digest=digest, counts=counts, reader=Reader(self._blobs, manifest, there))

    def _before(self, path: Path, parent: str, shared: Sequence[tuple[str, packs.Pack]]) -> tuple[Known, Numbers]:
        """What is known of the draft of a version, and the numbers of its rows: nothing where they have other ones now, or one
        was erased."""
        from tunekeeper.store import runs

        known = runs.load(path)
        if known.manifest == parent:
            manifest = manifests.decode(self._blobs.read(parent))
            first = shared[: len(manifest.packs)]
            if tuple(name for name, _ in first) == manifest.packs and all(pack.whole for _, pack in first):
                sides, numbers = np.frombuffer(known.sides, np.uint8), np.empty(len(known.sides), np.uint32)
                for place, own in enumerate(manifest.sides.values()):
                    numbers[sides == place] = own
                return known, numbers
        return runs.Known(), np.empty(0, np.uint32)

    def runs_of(self, name: str) -> Path:
        """Where the runs of the newest version of the model `name` lie."""
        from tunekeeper.store import runs

        return runs.path_of(self._scratch, name)

    def put(self, sides: dict[str, Sequence[bytes]]) -> str:
        """Store some lines as they are, side → lines with their ends; returns the digest of the manifest."""
        rows = ((line, side) for side, lines in sides.items() for line in lines)
        return self.keep(rows, lambda line: (line, Mark("", False, float("nan")))).manifest

    def open(self, manifest: str, beside: Reader | None = None) -> Reader:
        """The rows of a version by the digest of its manifest; `beside`: one whose packs are open. Raises NotFound,
        ArtifactError."""
        return Reader(self._blobs, manifests.decode(self._blobs.read(manifest)), None if beside is None else beside.opened)

    def has(self, manifest: str) -> bool:
        """Whether the manifest and all its packs are here."""
        return self._blobs.has(manifest) and all(map(self._blobs.has, self._packs_of(manifest)))

    def lines(self, manifest: str, side: str) -> Iterator[bytes]:
        """The rows of one side, in order, each with its line end, less those that were erased. Raises NotFound, ArtifactError."""
        for piece in self.open(manifest).pieces(side):
            yield from packs.lines_of(piece)

    def file(self, manifest: str, side: str) -> Path:
        """A JSONL file of one side, for whoever reads files; made once, and again where it is damaged. Raises NotFound,
        ArtifactError, DiskFull."""
        path = self._scratch / f"{manifest[7:39]}-{side}.jsonl"
        with self._alone():
            if not _is_whole(path):
                _write(path, self.open(manifest).pieces(side))
        return path

    def erase(
        self, every: Iterable[str], change: Callable[[bytes], tuple[str, None] | None], *, dry_run: bool = False
    ) -> dict[str, tuple[Tombstone, ...]]:
        """Erase rows from every pack, those that no version came to hold included, and from the files of the manifests `every`.
        `change`: a line without its end → None where it stays, else whose it is. Returns pack → the rows that went now. Killed at
        any moment it can be repeated. Raises DiskFull."""
        found = {}
        with self._alone():
            for pack in self._blobs.that_begin(packs.MAGIC):
                if fresh := self._erase_in(pack, change, dry_run):
                    found[pack] = fresh
            if not dry_run:
                self._again(every, change)
        return found

    def erased(self, manifest: str, more: Mapping[str, Sequence[Tombstone]] | None = None) -> tuple[Tombstone, ...]:
        """The rows of a version that were erased after it was stored; empty where its manifest is not here. `more`: pack → rows
        to count as erased too."""
        if not any(self._blobs.erased(pack) or (more or {}).get(pack) for pack in self._packs_of(manifest)):
            return ()
        known = manifests.decode(self._blobs.read(manifest))
        stones: dict[int, Tombstone] = {}
        base = 0
        for pack, rows in zip(known.packs, known.rows, strict=True):
            found = (*self._blobs.erased(pack), *(more or {}).get(pack, ()))
            stones |= {base + stone.line - 1: stone for stone in found}
            base += rows
        gone = np.array(sorted(stones), np.uint32)
        return tuple(stones[n] for side in known.sides.values() for n in side[np.isin(side, gone)].tolist())

    def _shared(self, known: Iterable[str]) -> list[tuple[str, packs.Pack]]:
        """The packs whose rows a new version may name: those of the first manifest, then of the others while they are few."""
        found: dict[str, packs.Pack] = {}
        small = 0
        for turn, each in enumerate(list(dict.fromkeys(known))[:MOST_KNOWN]):
            names = [name for name in self._packs_of(each) if name not in found]
            there = {name: packs.Pack(self._blobs.path(name)) for name in names if self._blobs.has(name)}
            little = sorted((name for name in there if there[name].size < packs.LARGE), key=lambda name: there[name].size)
            if turn == 0 and len(little) > MOST_SMALL:
                there = {name: pack for name, pack in there.items() if name not in little[: len(little) // 2]}
            elif turn and small + len(little) > MOST_SMALL:
                break
            small += len(little)
            found |= there
        return list(found.items())

    def _packs_of(self, manifest: str) -> tuple[str, ...]:
        """The packs of a manifest; none where it is not here."""
        return manifests.packs_of(self._blobs.read(manifest)) if self._blobs.has(manifest) else ()

    def _erase_in(self, pack: str, change: Callable[[bytes], tuple[str, None] | None], dry_run: bool) -> tuple[Tombstone, ...]:
        rows = packs.Pack(self._blobs.path(pack)).draft()
        decided = ((i, change(line[:-1])) for i, line in enumerate(rows.lines) if line != packs.GONE)
        fresh = tuple(Tombstone(line=i + 1, id=whose[0]) for i, whose in decided if whose is not None)
        if fresh and not dry_run:
            self._blobs.erase(pack, packs.without(rows, [stone.line - 1 for stone in fresh]), fresh)
        return fresh

    def _again(self, every: Iterable[str], change: Callable[[bytes], tuple[str, None] | None]) -> None:
        """Write the files of whole sides anew that hold an erased row; what a killed process left of one goes."""
        for part in self._scratch.glob(".*"):
            part.unlink(missing_ok=True)
        for manifest in every:
            for path in self._scratch.glob(f"{manifest[7:39]}-*.jsonl"):
                with path.open("rb") as file:
                    due = any(change(line[:-1]) is not None for line in file)
                if due:
                    _write(path, self.open(manifest).pieces(path.stem.rpartition("-")[2]))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process makes files or erases, so that no file is made of what is erased meanwhile."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with lock.exclusive(self._scratch / "files.lock", wait=600.0):
            yield


def _is_whole(path: Path) -> bool:
    try:
        whole = digest_file(path) == _sum(path).read_text()
    except FileNotFoundError:
        return False
    if whole:
        os.utime(path)
    return whole


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    """Make a file of a whole side and note its digest; files that nobody asked for in a month make room for it."""
    _sum(path).unlink(missing_ok=True)
    place(path, lambda file: file.writelines(pieces))
    _sum(path).write_text(digest_file(path))
    now = path.stat().st_mtime
    for other in path.parent.glob("*.jsonl"):
        if now - other.stat().st_mtime > MONTH:
            _sum(other).unlink(missing_ok=True)
            other.unlink(missing_ok=True)


def _sum(path: Path) -> Path:
    return path.with_suffix(".digest")
