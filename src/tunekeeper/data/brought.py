"""The splits that data bring: on which side rows belong by what they say, or by what their file is called.

A row says so under `split`; a file in its name or in that of a folder that it came in, as Hugging Face sets do: `train.jsonl`,
`data/test-00000-of-00001.parquet`, `validation/`. An import keeps them where it is asked to, else it says that there are some.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import Split
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.split import OPEN, SIDE, Places, Sides, side_named, side_of_file


class Brought:
    """The sides that rows of an import bring, by their place on its shelf."""

    def __init__(self, *, keep: bool) -> None:
        """`keep`: whether they are to be kept."""
        self.keep = keep
        self._sides = array("b")

    def note(self, place: int, file: str, talk: Conversation) -> None:
        """What a row at a place brings. A conversation that is brought on both sides is held out."""
        said = side_named(str(talk.split or talk.metadata.get("split") or ""))
        side = side_of_file(file) if said == OPEN else said
        if side == OPEN:
            return
        self._sides.extend([OPEN] * (place + 1 - len(self._sides)))
        self._sides[place] = max(side, self._sides[place])

    def at(self, places: Places) -> Sides:
        """The sides that the rows at some places bring; -1 for none."""
        every = np.full(max(len(self._sides), int(places.max(initial=-1)) + 1), OPEN, dtype=np.int8)
        every[: len(self._sides)] = np.frombuffer(self._sides, dtype=np.int8)
        return every[places]

    def kept_at(self, places: Places) -> Sides | None:
        """The same where they are to be kept, else None."""
        return self.at(places) if self.keep else None

    def counts(self, places: Places, sides: Sides, fresh: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """`brought` and `kept` of the import's report. `sides`: where the rows at `places` stand now. `fresh`: the new ones."""
        said = self.at(places)
        if not self.keep:
            return {"brought": _counted(said[fresh]), "kept": None}
        return {"brought": _counted(said), "kept": _counted(said[said == sides])}

    def refuse_none(self) -> None:
        """Raise UserError where splits are to be kept and no row brings one."""
        if self.keep and not any(side != OPEN for side in self._sides):
            why = "--keep-splits: no row says of which split it is, and no file is called after one"
            raise UserError(
                why, fix="name the files train.jsonl and test.jsonl, or give rows a `split`: train, validation or test"
            )


def _counted(sides: Sides) -> dict[Split, int]:
    return {SIDE[side]: n for side, n in sorted(Counter(sides.tolist()).items()) if side != OPEN}


def line(brought: Mapping[Split, int], kept: Mapping[Split, int] | None) -> str:
    """What an import says of the splits that its new rows bring; empty where there is nothing to say. `kept`: how many of them
    stand where they were brought; None where that was not asked for."""
    if kept is None:
        both = f"{brought.get('train', 0)} rows to learn from, {brought.get('eval', 0)} held out"
        return f"the data bring splits of their own ({both}): --keep-splits keeps them" if len(brought) == len(SIDE) else ""
    rows = f"splits kept: {kept.get('train', 0)} rows to learn from, {kept.get('eval', 0)} held out"
    others = sum(brought.values()) - sum(kept.values())
    return f"{rows}; {others} keep the side that they have in a version" if others else rows
