"""What is counted of a set of rows: topics, dates, who made them. From rows, or from the marks that packs keep of theirs."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import created_of, topic_of
from tunekeeper.data.findings import Finding

if TYPE_CHECKING:
    import numpy as np

    from tunekeeper.data.config import Config
    from tunekeeper.store.rowreader import Reader

SIDES: tuple[Split, ...] = ("train", "eval")
_SYNTHETIC = ("synthetic", "is_synthetic", "generated", "generated_by")
"""Metadata that says of a row whether a machine made it up, or which one."""
_ORIGIN = ("source", "origin")
_MADE_UP = re.compile(
    r"synthetic(?![^\W_]).*|(?:(?:ai|llm|machine|model)[\W_]+)?(?:generated|augmented)", re.IGNORECASE | re.DOTALL
)
"""What a row's origin is called then."""
LEAST_DEALT = 50
"""Rows from which on the share that is held out is looked at."""
_TELLING = frozenset((*_SYNTHETIC, *_ORIGIN))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts of a set of rows."""

    sides: dict[Split, dict[str, int]]
    """Side → topic (empty for rows without one) → rows."""
    made_up: int
    """Rows that a machine made up."""
    dates: array[float] | np.ndarray[tuple[int], np.dtype[np.float64]]
    """Dates of the rows that have one, seconds since 1970."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(map(self.count, SIDES))

    @property
    def topics(self) -> dict[str, int]:
        """Topic → rows, most first; rows without one under `none`."""
        return _named(self.sides["train"], self.sides["eval"])

    def count(self, side: Split) -> int:
        """Rows of one side."""
        return sum(self.sides[side].values())


def _named(*sides: Mapping[str, int]) -> dict[str, int]:
    """Topic → rows of all sides, most first; rows without one under `none`."""
    both: Counter[str] = Counter()
    for side in sides:
        for topic, n in side.items():
            both[topic or "none"] += n
    return dict(both.most_common())


def topics_of(reader: Reader) -> dict[str, int]:
    """`Tally.topics` of the rows of a version, with nothing else counted."""
    return _named(*(reader.topics(reader.present(side)) for side in SIDES))


def is_synthetic(example: Example) -> bool:
    """Whether the row's metadata says that a machine made it up."""
    return says_synthetic(example.metadata)


def says_synthetic(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata says that a machine made up the row."""
    if _TELLING.isdisjoint(metadata):
        return False
    named = metadata.get("generated_by")
    if any(_is_yes(metadata.get(key)) for key in _SYNTHETIC) or (isinstance(named, str) and named.strip() != ""):
        return True
    origins = (metadata.get(key) for key in _ORIGIN)
    return any(isinstance(origin, str) and _MADE_UP.fullmatch(origin) for origin in origins)


def _is_yes(value: Any) -> bool:
    return value.strip().casefold() in ("true", "yes", "1") if isinstance(value, str) else bool(value)


class Counting:
    """The counts of rows that are told one after the other."""

    def __init__(self) -> None:
        self._sides: dict[Split, dict[str, int]] = {"train": Counter(), "eval": Counter()}
        self._made_up, self._dates = 0, array("d")

    def take(self, example: Example) -> None:
        """Count a row."""
        self._sides[example.split][topic_of(example)] += 1
        self._made_up += is_synthetic(example)
        created = created_of(example.metadata)
        if created is not None:
            self._dates.append(created.timestamp())

    def tally(self) -> Tally:
        """The counts."""
        return Tally(sides=self._sides, made_up=self._made_up, dates=self._dates)


def of_examples(examples: Iterable[Example]) -> Tally:
    """The counts of rows, in one pass."""
    counting = Counting()
    for example in examples:
        counting.take(example)
    return counting.tally()


def of_reader(reader: Reader) -> Tally:
    """The counts of the rows of a version that were not erased, by what its packs know of them."""
    import numpy as np

    marks = {side: reader.marks(reader.present(side)) for side in SIDES}
    sides: dict[Split, dict[str, int]] = {"train": {}, "eval": {}}
    for side, each in marks.items():
        counted = np.bincount(each.topic, minlength=len(each.topics)).tolist()
        sides[side] = {topic: n for topic, n in zip(each.topics, counted, strict=True) if n}
    dates = np.concatenate([each.at for each in marks.values()])
    return Tally(sides=sides, made_up=int(sum(each.made_up.sum() for each in marks.values())), dates=dates[~np.isnan(dates)])


def synthetic_only(tally: Tally) -> list[Finding]:
    """One finding when every row is made up (DATA-10)."""
    if not tally.rows or tally.made_up < tally.rows:
        return []
    return [Finding(kind="synthetic_only", detail=f"all {tally.rows} rows are synthetic; none shows real traffic")]


def synthetic_share(tally: Tally, section: Config) -> list[Finding]:
    """One finding when more than the allowed part of the rows is made up, but not all of them."""
    if tally.made_up == tally.rows or tally.made_up <= section.synthetic_share * tally.rows:
        return []
    share = f"{tally.made_up} of {tally.rows} rows ({tally.made_up / tally.rows:.0%}) are synthetic"
    return [Finding(kind="synthetic_share", detail=f"{share}; {section.synthetic_share:.0%} are allowed")]


def recent(tally: Tally, section: Config) -> int:
    """Dated rows from the recent days before the newest."""
    if not len(tally.dates):
        return 0
    window = timedelta(days=section.recent_days).total_seconds()
    if isinstance(tally.dates, array):
        start = max(tally.dates) - window
        return sum(date > start for date in tally.dates)
    return int((tally.dates > tally.dates.max() - window).sum())


def recency(tally: Tally, section: Config) -> list[Finding]:
    """One finding when the recent days hold more than their share of a set that reaches further back (DATA-24)."""
    dated, newer = len(tally.dates), recent(tally, section)
    if newer == dated or newer <= section.recent_share * dated:
        return []
    allowed = f"the last {section.recent_days:g} days; {section.recent_share:.0%} are allowed"
    return [Finding(kind="recency", detail=f"{newer} of {dated} dated rows ({newer / dated:.0%}) are from {allowed}")]


def warnings(tally: Tally, section: Config, bias: Iterable[Finding] = ()) -> list[str]:
    """What is unusual about the set, a sentence each. `bias`: in what its sides differ."""
    troubles = synthetic_only(tally) + synthetic_share(tally, section) + recency(tally, section)
    return [*(found.detail for found in (*troubles, *bias)), *_held_out(tally, section)]


def _held_out(tally: Tally, section: Config) -> list[str]:
    """A sentence where far more or fewer rows are held out than was asked for, as whole groups make it."""
    held, asked = tally.count("eval"), section.eval_share * tally.rows
    if tally.rows < LEAST_DEALT or not 0 < held < tally.rows or asked / 2 <= held <= 2 * asked:
        return []
    share = (
        f"{held} of {tally.rows} rows ({held / tally.rows:.1%}) are held out, where eval_share asks for {section.eval_share:.0%}"
    )
    why = "rows of one conversation or user, or that ask nearly the same, stay on one side, splits that are kept as they are"
    return [f"{share}: {why}, and no row changes sides"]
