"""How recent the rows of a version are, by the dates that its packs know of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data.examples import Row, created_of
from tunekeeper.data.tallies import SIDES
from tunekeeper.store.manifests import Numbers
from tunekeeper.store.rowreader import Reader

AGES = "ages"
"""Under which name the report of a version has its ages."""
RECENT_DAYS = 30.0
"""Days before the newest row that count as recent."""
Dates = npt.NDArray[np.float64]
"""Seconds since 1970; not a number for a row without a date."""


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """How recent a set of rows is."""

    dated: int
    """Rows that have a date."""
    recent: int
    """Those of the `RECENT_DAYS` before the newest one."""
    oldest: datetime | None
    """The first date; None where no row has one."""
    newest: datetime | None
    """The last date."""


def ages_of(dates: Dates) -> Ages:
    """The ages of rows of these dates."""
    known = dates[~np.isnan(dates)] if np.isnan(dates.min(initial=0.0)) else dates
    if not len(known):
        return Ages(dated=0, recent=0, oldest=None, newest=None)
    oldest, newest = float(known.min()), float(known.max())
    recent = int((known > newest - RECENT_DAYS * 86_400).sum())
    first, last = datetime.fromtimestamp(oldest, UTC), datetime.fromtimestamp(newest, UTC)
    return Ages(dated=len(known), recent=recent, oldest=first, newest=last)


def dates_of(reader: Reader, numbers: Iterable[Numbers]) -> Dates:
    """The dates of these rows of a version."""
    dates: Dates = np.concatenate([np.empty(0), *(pack.at for pack in reader.opened.values())])
    wanted: Dates = dates[np.concatenate([np.empty(0, np.uint32), *numbers])]
    return wanted


def of_version(version: DatasetVersion, reader: Reader) -> Ages:
    """The ages of a version's rows: what was counted when it was frozen, or anew where nothing was or a row was erased since."""
    counted = version.report.get(AGES)
    if counted is not None and reader.whole:
        return msgspec.convert(counted, Ages)
    return ages_of(dates_of(reader, map(reader.present, SIDES)))


def told_by(rows: Iterable[Row]) -> Dates:
    """The dates that rows have."""
    found = (created_of(row.metadata) for row in rows)
    return np.array([np.nan if each is None else each.timestamp() for each in found], np.float64)


def as_text(before: Ages, after: Ages) -> list[str]:
    """What became of the ages, for a reader; nothing where they are the same."""
    if before == after:
        return []
    was, now = (
        f"{each.recent} of {each.dated}" + (f" until {each.newest:%Y-%m-%d}" if each.newest else "") for each in (before, after)
    )
    return [f"of the last {RECENT_DAYS:.0f} days: {was} -> {now} dated rows"]
