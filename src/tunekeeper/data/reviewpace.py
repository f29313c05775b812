"""What review costs and on how many people it rests: minutes each, items an hour, hours meant for it, bus factor. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.opinions import opinions_of

SLOW_MINUTES = 3.0
"""Minutes an item above which the way of working needs to be made simpler (DATA-09)."""
NORMAL_AN_HOUR = (30, 50)
"""Items an hour that are normal for an expert (DATA-08)."""
FIRST_PASS_HOURS = (4.0, 8.0)
"""Expert review meant for a first dataset (DATA-07)."""
UPDATE_HOURS = (1.0, 2.0)
"""Expert review meant for an update (DATA-07)."""
BUS_DAYS = 90
"""Days that the bus factor looks back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast some judgments were."""

    judged: int
    """Judgments."""
    minutes_each: float | None = None
    """Mean minutes of those whose time was measured; None when none was."""
    an_hour: float | None = None
    """Judgments an hour at that pace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace(Speed):
    """How fast review goes, in all and by part."""

    slow: bool = False
    """More than SLOW_MINUTES an item."""
    by_source: dict[str, Speed] = field(default_factory=dict)
    """Why items were chosen → their speed (DATA-21)."""
    by_reviewer: dict[str, Speed] = field(default_factory=dict)
    """Reviewer → their speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BusFactor:
    """On how many people the judging rests."""

    people: int
    """The fewest people who did at least half of it; 0 when nobody judged."""
    judged: int
    """Judgments in the window."""
    shares: dict[str, float]
    """Reviewer → part of them, 0 to 1, largest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Hours that people spent and will spend, beside what is meant for it."""

    kind: str
    """`first pass`, or `update` once a version was frozen."""
    low: float
    """Hours meant, at least."""
    high: float
    """Hours meant, at most."""
    spent: float
    """Hours measured since the newest version, or since the beginning."""
    ahead: float | None
    """Hours that the open items will take at this pace; None while no time was measured."""
    over: bool
    """Whether spent and ahead together are above `high`."""


def pace(items: Sequence[ReviewItem], *, by: str | None = None) -> Pace:
    """The pace of all judgments, or of those of one reviewer; each opinion of an item counts."""
    said = [(item, o) for item in items for o in opinions_of(item) if by is None or o.by == by]
    sources, people = defaultdict(list), defaultdict(list)
    for item, opinion in said:
        # A gold item counts as what it looks like: the figures must not tell a reviewer which items those are.
        sources["sample" if item.state == "gold" else item.why].append(opinion)
        people[opinion.by].append(opinion)
    all_ = _speed([opinion for _, opinion in said])
    return Pace(
        judged=all_.judged,
        minutes_each=all_.minutes_each,
        an_hour=all_.an_hour,
        slow=all_.minutes_each is not None and all_.minutes_each > SLOW_MINUTES,
        by_source={name: _speed(found) for name, found in sorted(sources.items())},
        by_reviewer={name: _speed(found) for name, found in sorted(people.items())},
    )


def bus_factor(items: Sequence[ReviewItem], now: datetime) -> BusFactor:
    """How many people did half of the judging in the last BUS_DAYS; one is a risk."""
    since = now - timedelta(days=BUS_DAYS)
    counted = Counter(o.by for o in _said(items) if o.at is not None and o.at >= since)
    total, done, people = sum(counted.values()), 0, 0
    for _, count in counted.most_common():
        if 2 * done >= total:
            break
        done, people = done + count, people + 1
    return BusFactor(people=people, judged=total, shares={name: n / total for name, n in counted.most_common()})


def time_budget(items: Sequence[ReviewItem], since: datetime | None) -> Budget:
    """Hours of review since the newest dataset version (`since`; None: there is none yet) beside the hours meant for it."""
    low, high = UPDATE_HOURS if since is not None else FIRST_PASS_HOURS
    fresh = [o for o in _said(items) if since is None or (o.at is not None and o.at >= since)]
    spent = sum(o.seconds or 0.0 for o in fresh) / 3600
    each = _speed(list(_said(items))).minutes_each
    missing = sum(max(item.wants - len(opinions_of(item)), 0) for item in items if item.state == "open")
    ahead = None if each is None else missing * each / 60
    return Budget(
        kind="update" if since is not None else "first pass",
        low=low,
        high=high,
        spent=spent,
        ahead=ahead,
        over=spent + (ahead or 0.0) > high,
    )


def _said(items: Iterable[ReviewItem]) -> Iterable[Opinion]:
    return (opinion for item in items for opinion in opinions_of(item))


def _speed(said: Sequence[Opinion]) -> Speed:
    times = [opinion.seconds for opinion in said if opinion.seconds is not None]
    total = sum(times)
    return Speed(
        judged=len(said),
        minutes_each=total / 60 / len(times) if times else None,
        an_hour=len(times) / (total / 3600) if total > 0 else None,
    )
