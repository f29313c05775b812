"""How good a draft is, for the version that is frozen from it: what a check noted of just these rows, else what is seen then.

The rows of a small draft are compared with each other then. Of a large one some are looked at, each alone: what such a version is
worth is not known (its score is None) until somebody checks it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from tunekeeper.data import balance, inspection, tallies
from tunekeeper.data.config import Config
from tunekeeper.data.drafts import HELD
from tunekeeper.data.examples import decode
from tunekeeper.data.quality import examine
from tunekeeper.data.scores import Quality, quality_of, state_of

FEW = 2_000
"""Rows of a draft that are compared with each other when it is frozen."""
SAMPLE = 1_000
"""Rows of a larger one that are looked at, evenly spread."""


def of_draft(path: Path, rows: int | None, section: Config, format: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What a version keeps of the quality of the `rows` rows of a draft's file; None without rows. Where nobody has counted them
    (None), `of` is 0."""
    checked = _checked(path)
    if checked is not None:
        return checked
    quality = _of_few(path, section, format) or _of_some(path, rows or 0, section, format)
    return None if quality is None else asdict(quality)


def _of_few(path: Path, section: Config, format: Mapping[str, Any] | None) -> Quality | None:
    """What a whole check of a small draft finds; None for a large one."""
    if not path.exists() or path.stat().st_size > HELD:
        return None
    with path.open("rb") as file:
        few = list(islice(file, FEW + 1))
    if len(few) > FEW:
        return None
    examples = [decode(line) for line in few]
    found = inspection.inspect(examples, section, format=format)
    found += inspection.of_whole(tallies.of_examples(examples), balance.spread(examples), section)
    return quality_of(examples, found, compared=True)


def _of_some(path: Path, rows: int, section: Config, format: Mapping[str, Any] | None) -> Quality | None:
    """What is wrong with some rows, each alone."""
    examples = [decode(line) for line in some_lines(path)]
    found = [each for example in examples for each in examine(example, section, format=format)]
    return quality_of(examples, found, compared=False, of=rows)


def some_lines(path: Path) -> Iterator[bytes]:
    """The lines of a draft's file behind `SAMPLE` evenly spread places; all of a small one."""
    size = path.stat().st_size if path.exists() else 0
    if size == 0:
        return
    with path.open("rb") as file:
        few = list(islice(file, SAMPLE + 1))
        if len(few) <= SAMPLE:
            yield from few
            return
        for i in range(SAMPLE):
            file.seek(i * size // SAMPLE)
            if i:
                file.readline()
            line = file.readline()
            if line:
                yield line


def remember(path: Path, state: tuple[int, int], quality: Quality) -> None:
    """Note beside a draft's file what a whole check found in it when it was in that `state`, for the version that is frozen from
    just that. Where nothing can be written nothing is noted."""
    place = _place(path)
    part = place.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        part.write_bytes(orjson.dumps({"state": state, "quality": asdict(quality)}))
        part.replace(place)


def _checked(path: Path) -> dict[str, Any] | None:
    place, state = _place(path), state_of(path)
    if not place.exists() or state is None:
        return None
    try:
        noted = orjson.loads(place.read_bytes())
        return dict(noted["quality"]) if tuple(noted["state"]) == state else None
    except (ValueError, KeyError, TypeError):  # damaged: as good as none
        return None


def _place(path: Path) -> Path:
    return path.with_name("quality.json")
