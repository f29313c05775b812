"""What of stage 1 is not what was written: versions whose rows are not here, damaged lines of drafts and of what lies beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.data import drafts
from tunekeeper.data.examples import decode
from tunekeeper.store import manifests
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.workspace import Workspace


def damage(ws: Workspace) -> list[str]:
    """One line for each thing that is damaged or missing; empty when all is well. Reads every draft whole; that the rows of
    versions are what was stored is known by their blobs."""
    return [*_of_versions(ws), *(line for path in _files(ws) for line in _of_file(ws, path))]


def _of_versions(ws: Workspace) -> Iterator[str]:
    with ws.state.read() as tx:
        versions = [version for version in find_datasets(tx) if version.manifest is not None]
    for version in versions:
        try:
            manifest = manifests.decode(ws.blobs.read(str(version.manifest)))
        except UserError as error:
            yield f"{version.id}: {error.message}"
            continue
        yield from (f"{version.id}: blob {pack} is not in this workspace" for pack in manifest.packs if not ws.blobs.has(pack))
        held = {side: len(numbers) for side, numbers in manifest.sides.items()}
        if held != {"train": version.train, "eval": version.eval}:
            yield f"{version.id}: its rows are not as many as were frozen"


def _files(ws: Workspace) -> list[Path]:
    """The files of rows and of notes beside the drafts."""
    return sorted(ws.path("data").glob("*/*.jsonl")) + sorted(ws.path("data").glob("*/reports/*.jsonl"))


def _of_file(ws: Workspace, path: Path) -> Iterator[str]:
    name = path.relative_to(ws.root)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if path.name != "draft.jsonl":
                    drafts.mapping_of(path, number, line)
                elif fingerprint((row := decode(line)).messages, row.tools) != row.fingerprint:
                    yield f"{name}: line {number} ({row.id}) does not say what was stored"
            except DataError:
                yield f"{name}: line {number} is damaged"
