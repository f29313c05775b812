"""Erasing a person's rows from reference transcripts: the prompt goes, the others stay and parity is checked on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from pathlib import Path

from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace


def erase_transcripts(ws: Workspace, requests: Set[str], rows: Mapping[str, Set[str]], *, dry_run: bool = False) -> int:
    """Erase the prompts made from one of `requests`, or from one of the `rows` (dataset version → ids of erased rows) that a
    version learned. Returns how many; `dry_run` only counts."""
    with ws.state.read() as tx:
        found = {version.transcript: version.dataset for version in find_versions(tx) if version.transcript is not None}
    every = frozenset(requests).union(*rows.values())
    for path in sorted(ws.path("work").glob("*/files/transcript.jsonl")) if not dry_run else ():
        _sift(path, _theirs(every))
    return sum(
        ws.blobs.erase_lines(digest, _theirs(requests | rows.get(dataset or "", frozenset())), dry_run=dry_run)
        for digest, dataset in sorted(found.items())
    )


def _sift(path: Path, theirs: Callable[[bytes], tuple[str, None] | None]) -> None:
    """Rewrite what a training job left beside its blob, whole or not at all."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if theirs(line) is None]
    if len(kept) < len(lines):
        part = path.with_suffix(".erasing")
        part.write_bytes(b"".join(kept))
        part.replace(path)


def _theirs(ids: Set[str]) -> Callable[[bytes], tuple[str, None] | None]:
    def decide(line: bytes) -> tuple[str, None] | None:
        try:
            row = json.loads(line)
        except ValueError:
            return None
        id = str(row.get("id", "")) if isinstance(row, dict) else ""
        return (id, None) if id in ids else None

    return decide
