"""How long the log keeps what it holds, and what of a file to import would not be kept at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tunekeeper.store.flocks import held
from tunekeeper.store.log.columns import aware, hour_of

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Inference

_HOUR = timedelta(hours=1)
SKEW = timedelta(minutes=1)
"""How far ahead a stamp may lie before it counts as of the future: clocks differ."""


def end_of(hour: str) -> datetime:
    """When an hour, `2026-01-05T09`, is over."""
    return datetime.fromisoformat(f"{hour}:00").replace(tzinfo=UTC) + _HOUR


def is_past(moment: datetime, now: datetime, days: float | None) -> bool:
    """Whether `moment` lies more than `days` before `now`; never where `days` is None."""
    return days is not None and moment < now - timedelta(days=days)


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeping:
    """What a keeper keeps."""

    days: float | None = None
    """Days that records are kept; None: for ever."""
    body_days: float | None = None
    """Days that texts are kept; None: as long as the records."""

    def drops(self, moment: datetime, now: datetime) -> bool:
        """Whether a keeper drops a record of `moment` when it looks at `now`: its hour goes as a whole."""
        return is_past(end_of(hour_of(moment)), now, self.days)

    def drops_text(self, moment: datetime, now: datetime) -> bool:
        """As `drops`, for the text of its request and answer."""
        return self.drops(moment, now) or is_past(end_of(hour_of(moment)), now, self.body_days)


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a file to import holds."""

    rows: int = 0
    """Inferences."""
    past_days: int = 0
    """Of them, those older than records are kept."""
    past_body_days: int = 0
    """Of them, those of which the keeper would drop the text alone."""
    ahead: int = 0
    """Of them, those dated after now by more than clocks differ."""
    latest: datetime | None = None
    """The last of those."""


def survey(inferences: Iterable[Inference], keeping: Keeping, now: datetime) -> Survey:
    """Count what `keeping` would drop, and what lies in the future. Raises what reading them raises."""
    rows = past = textless = ahead = 0
    latest = now + SKEW
    for each in inferences:
        rows += 1
        moment = aware(each.timestamp)
        if moment > now + SKEW:
            ahead, latest = ahead + 1, max(latest, moment)
        if keeping.drops(each.timestamp, now):
            past += 1
        elif (each.request is not None or each.response is not None) and keeping.drops_text(each.timestamp, now):
            textless += 1
    return Survey(rows=rows, past_days=past, past_body_days=textless, ahead=ahead, latest=latest if ahead else None)


def kept(inferences: Iterable[Inference], keeping: Keeping, now: datetime) -> Iterator[Inference]:
    """Those that a keeper leaves where they are."""
    return (each for each in inferences if not keeping.drops(each.timestamp, now))


def note(root: Path, keeping: Keeping) -> None:
    """Say what the keeper of `root` keeps, for those who write what it would drop; a full disk leaves it unsaid."""
    path = root / "run" / "keeping.json"
    hidden = path.with_suffix(".new")
    with suppress(OSError):
        hidden.write_bytes(msgspec.json.encode(keeping))
        hidden.replace(path)


def noted(root: Path) -> Keeping | None:
    """What the last keeper of `root` said; None where none did."""
    try:
        return msgspec.json.decode((root / "run" / "keeping.json").read_bytes(), type=Keeping)
    except (OSError, msgspec.DecodeError):
        return None


def at_work(root: Path) -> bool:
    """Whether a keeper of `root` runs now."""
    return held(root / "run" / "keeper.lock")
