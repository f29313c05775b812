"""What a freeze says of rows that give held-out rows or the cases of a suite away, with the command that shows them.

Of a draft whose rows were compared with each other all leaks count; of any other those rows that ask the same or are of one
conversation or user. A draft that is too large to be held is looked at by some rows, and only beside the suite.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.drafts import HELD
from tunekeeper.data.examples import decode

if TYPE_CHECKING:
    from tunekeeper.data.config import Config


def warnings(model: str, path: Path, section: Config, quality: Mapping[str, Any] | None, suite: Path | None) -> list[str]:
    """A sentence for the held-out rows of a draft's file, and one for `suite`, where rows to learn from give them away.
    `quality`: of the draft, as a version keeps it."""
    compared = quality is not None and quality["score"] is not None
    known = quality["kinds"].get("leak", 0) if quality is not None and compared else 0
    whole = path.stat().st_size <= HELD
    if suite is None and (compared or not whole):
        return _inside(model, known)
    from tunekeeper.data import coverage, judged  # here: a large draft is frozen without

    rows = [decode(line) for line in (path.read_bytes().splitlines() if whole else judged.some_lines(path))]
    train, held = ([row for row in rows if row.split == side] for side in ("train", "eval"))
    if whole and not compared:
        known = len(coverage.leaks(train, held, None, where="the held-out side"))
    near = section.leak_similarity if compared and len(rows) <= judged.FEW else None
    return _inside(model, known) + ([] if suite is None else _into(suite, model, train, near, whole=whole))


def _inside(model: str, leaks: int) -> list[str]:
    shown = f"tunekeeper data check --model {model} --only leak"
    return [f"{leaks} rows to learn from give held-out ones away: {shown}"] if leaks else []


def _into(suite: Path, model: str, train: Sequence[Example], near: float | None, *, whole: bool) -> list[str]:
    from tunekeeper.data import checks, coverage

    try:
        found = coverage.leaks(train, checks.read_held(suite), near, where=suite.name)
    except TunekeeperError as error:
        return [f"nobody looked for leaks into {suite.name}: {error.message}"]
    some = "" if whole else f" of {len(train)} that were looked at"
    shown = f"tunekeeper data check --model {model} --against {os.path.relpath(suite)} --only leak"
    return [f"{len(found)} rows to learn from{some} stand in {suite.name}: {shown}"] if found else []
