"""Dealing out the sides of an import: which rows have one already, and which belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson

from tunekeeper.core.nouns.data import Split
from tunekeeper.data import duplicates, versions
from tunekeeper.data.config import Config
from tunekeeper.data.nearfile import TEXT, Of
from tunekeeper.data.shelf import Shelf
from tunekeeper.data.split import OPEN, SIDE, Dealt, Places, Sides, deal
from tunekeeper.workspace import Workspace

SMALL = 50_000
"""Rows up to which those that resemble each other are looked for in this process; beyond, in one of its own."""


def pairs_of(shelf: Shelf, rows: Places, path: Path, of: Of, near: float) -> Iterable[tuple[int, int, float]]:
    """Places among `rows` of those that are at least so similar. `path`: a file of just these rows where there are many."""
    if len(rows) > SMALL:
        return duplicates.near_pairs_of_file(path, near, of=of)
    texts = [TEXT[of](orjson.loads(line)["messages"]) for line in shelf.lines(rows.tolist())]
    return duplicates.similar_pairs(texts, near)


def dealt(
    ws: Workspace,
    model: str,
    section: Config,
    shelf: Shelf,
    rows: Places,
    placed: Mapping[str, Split],
    brought: Sides | None,
    path: Path,
) -> Dealt:
    """The side of each row: those that have one keep it, in the draft (`placed`: id → side) or in the newest version; then those
    that bring one, where that is kept; the others are dealt out."""
    near = section.near_duplicate
    pairs = pairs_of(shelf, rows, path, "prompt", min(near, section.leak_similarity))
    known = _standing(ws, model, [shelf.ids[place] for place in rows.tolist()], placed, brought)
    return deal(shelf.rows(rows), known, pairs, section.eval_share, near=near, brought=brought)


def _standing(ws: Workspace, model: str, ids: Sequence[str], placed: Mapping[str, Split], brought: Sides | None) -> Sides:
    """The side that each row has already, or -1: where splits are kept, only a version counts before what a row brings."""
    known = np.array([SIDE.index(placed[id]) if id in placed else OPEN for id in ids], dtype=np.int8)
    if brought is not None:
        known[brought != OPEN] = OPEN
    newest = versions.latest(ws, model)
    if newest is not None and OPEN in known:
        open_ = {id: at for at, id in enumerate(ids) if known[at] == OPEN}
        for line, side in versions.read_lines(ws, newest):
            if (at := open_.get(orjson.loads(line)["id"])) is not None:
                known[at] = SIDE.index(side)
    return known if brought is None else np.where(known == OPEN, brought, known)
