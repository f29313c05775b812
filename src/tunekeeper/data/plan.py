"""What a collection of examples will take: hours meant, hours spent, hours still ahead. Before there is any, by the usual pace.

The hours meant and the usual pace are the articles' (DATA-07, DATA-08); as soon as enough judgments were timed, the pace is the
team's own, with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import orjson

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.data import drafts, tallies, versions, worklog
from tunekeeper.data.lines import of_draft
from tunekeeper.data.opinions import opinions_of
from tunekeeper.data.reviewpace import FIRST_PASS_HOURS, NORMAL_AN_HOUR, SLOW_MINUTES, UPDATE_HOURS
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.workspace import Workspace

FIRST_COLLECT_HOURS = (4.0, 8.0)
"""Hours meant to collect, format and clean a first dataset."""
UPDATE_COLLECT_HOURS = (2.0, 4.0)
"""Hours meant to do so for an update."""
FIRST_STAGE_HOURS = (4.0, 20.0)
"""Hours meant for all of it the first time."""
FIRST_GOALS = (500, 1000)
"""Examples of a first dataset that are planned for unless told."""
UPDATE_GOALS = (50, 100)
"""New examples of an update that are planned for unless told."""
LEAST_TIMED = 10
"""Timed judgments from which the team's own pace is used."""
LEAST_ROWS = 20
"""Rows read from which their yield is told."""
Fits = Literal["within", "perhaps", "over"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GoodPace:
    """Good examples that an hour of an expert brings."""

    low: float
    """Good examples an hour, at least (95 % where it was measured)."""
    high: float
    """Good examples an hour, at most."""
    measured: bool
    """Whether this is the team's own pace; else it is the usual one."""
    timed: int
    """Judgments whose time was measured."""
    good: int
    """Those of them that gave an example: approved, corrected, or a preference."""
    minutes_each: float | None
    """Minutes that one good example took, all judgments counted; None while none is measured."""
    slow: bool
    """Whether that is above the three minutes from which the way of working needs to be made simpler."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of the stage."""

    low: float
    """Hours meant, at least."""
    high: float
    """Hours meant, at most."""
    spent: float
    """Hours spent so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a number of examples takes."""

    examples: int
    """Examples wanted."""
    missing: int
    """How many of them are not there yet."""
    rows: int | None
    """Rows to find for those at the yield seen so far; None while no yield is known."""
    review_low: float
    """Hours of review still ahead, at least."""
    review_high: float
    """Hours of review still ahead, at most."""
    total_low: float
    """Hours of the whole stage, spent ones included, at least."""
    total_high: float
    """Hours of the whole stage, spent ones included, at most."""
    fits: Fits
    """Whether that stays below the most hours meant for the stage: within, perhaps, over."""
    weeks: tuple[float, float] | None
    """Weeks still ahead at the hours a week that were named; None without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The hours of a collection."""

    model: str
    """The model."""
    kind: Literal["first", "update"]
    """`first` until a version was frozen."""
    have: int
    """Real examples in the draft; of an update, those that the newest version does not have."""
    made_up: int
    """Synthetic ones beside these, which do not count."""
    collecting: Part
    """Finding, formatting and cleaning: sittings seen from commands, and hours noted by hand."""
    reviewing: Part
    """Review, by the clock of the queue."""
    stage: Part
    """Both."""
    pace: GoodPace
    """Good examples an hour."""
    kept: float | None
    """Part of the rows read so far that became examples, 0 to 1; None below LEAST_ROWS rows."""
    in_budget: tuple[int, int]
    """Examples that the most hours meant for review give at this pace."""
    goals: tuple[Goal, ...]
    """What each number of examples takes."""


def plan(ws: Workspace, model: str, *, examples: Sequence[int] = (), hours_a_week: float | None = None) -> Plan:
    """The hours of the collection under way for `model`: the first one, or the update since the newest version.

    `examples`: numbers wanted (default: 500 and 1,000; of an update 50 and 100). `hours_a_week`: hours that the people who do it
    have in a week, together. Raises UserError for numbers below 1.
    """
    if any(number < 1 for number in examples) or (hours_a_week is not None and not 0 < hours_a_week <= 24 * 7 * 1000):
        raise UserError("a plan needs at least one example and some hours a week", fix="--examples 500 --hours-a-week 8")
    newest = versions.latest(ws, model)
    since = versions.frozen_at(ws, newest)
    first = newest is None
    with ws.state.read() as tx:
        items = find_reviews(tx, model=model)
    work = [entry for entry in worklog.load(ws, model) if since is None or entry.at > since]
    collecting = _part(
        FIRST_COLLECT_HOURS if first else UPDATE_COLLECT_HOURS, worklog.hours_seen(work) + worklog.hours_noted(work)
    )
    reviewing = _part(FIRST_PASS_HOURS if first else UPDATE_HOURS, _reviewed(items, since))
    whole = FIRST_STAGE_HOURS if first else (collecting.low + reviewing.low, collecting.high + reviewing.high)
    stage = _part(whole, collecting.spent + reviewing.spent)
    rows, have, made_up = _rows(ws, model, None if newest is None else newest.id)
    pace, kept = good_pace(items), _kept(ws, model, rows)
    wanted = tuple(examples) or (FIRST_GOALS if first else UPDATE_GOALS)
    return Plan(
        model=model,
        kind="first" if first else "update",
        have=have,
        made_up=made_up,
        collecting=collecting,
        reviewing=reviewing,
        stage=stage,
        pace=pace,
        kept=kept,
        in_budget=(int(reviewing.high * pace.low), int(reviewing.high * pace.high)),
        goals=tuple(_goal(number, have, kept, pace, collecting, stage, hours_a_week) for number in wanted),
    )


def good_pace(items: Sequence[ReviewItem]) -> GoodPace:
    """Good examples an hour of review, with the interval of a ratio; below LEAST_TIMED timed judgments the usual pace."""
    said = [o for item in items if item.state != "gold" for o in opinions_of(item) if o.seconds is not None]
    good = [float(opinion.verdict in ("good", "edited", "first", "second")) for opinion in said]
    seconds = [float(opinion.seconds or 0.0) for opinion in said]
    n, total, gave = len(said), sum(seconds), sum(good)
    low, high = map(float, NORMAL_AN_HOUR)
    if n < LEAST_TIMED or not total or not gave:
        return GoodPace(low=low, high=high, measured=False, timed=n, good=int(gave), minutes_each=None, slow=False)
    each = total / gave
    # The spread of a ratio of means, by linearisation; the ends are taken on the logarithm, so that neither is below zero.
    spread = math.sqrt(sum((s - each * g) ** 2 for s, g in zip(seconds, good, strict=True)) * n / (n - 1)) / total
    factor = math.exp(2.0 * spread)
    return GoodPace(
        low=3600 / each / factor,
        high=3600 / each * factor,
        measured=True,
        timed=n,
        good=int(gave),
        minutes_each=each / 60,
        slow=each / 60 > SLOW_MINUTES,
    )


def _goal(
    wanted: int, have: int, kept: float | None, pace: GoodPace, collecting: Part, stage: Part, hours_a_week: float | None
) -> Goal:
    missing = max(wanted - have, 0)
    review = missing / pace.high, missing / pace.low
    # Where hours were spent on collecting already, only what is left of those meant is still ahead.
    left = [max(hours - collecting.spent, 0.0) if missing else 0.0 for hours in (collecting.low, collecting.high)]
    ahead = review[0] + left[0], review[1] + left[1]
    low, high = stage.spent + ahead[0], stage.spent + ahead[1]
    return Goal(
        examples=wanted,
        missing=missing,
        rows=None if kept is None or not kept else math.ceil(missing / kept),
        review_low=review[0],
        review_high=review[1],
        total_low=low,
        total_high=high,
        fits="over" if low > stage.high else "within" if high <= stage.high else "perhaps",
        weeks=None if hours_a_week is None else (ahead[0] / hours_a_week, ahead[1] / hours_a_week),
    )


def _part(meant: tuple[float, float], spent: float) -> Part:
    return Part(low=meant[0], high=meant[1], spent=spent)


def _reviewed(items: Sequence[ReviewItem], since: datetime | None) -> float:
    """Hours of review since a moment."""
    said = (o for item in items for o in opinions_of(item))
    return sum(o.seconds or 0.0 for o in said if since is None or (o.at is not None and o.at > since)) / 3600


def _rows(ws: Workspace, model: str, newest: str | None) -> tuple[int, int, int]:
    """Rows of the draft; of those that the newest version does not have, the real and the synthetic ones."""
    known = set() if newest is None else {orjson.loads(line)["id"] for line, _ in versions.read_lines(ws, newest)}
    rows = have = made_up = 0
    for line, _ in of_draft(versions.draft_path(ws, model)):
        row = orjson.loads(line)
        rows += 1
        if row["id"] not in known:
            synthetic = tallies.says_synthetic(row.get("metadata") or {})
            have, made_up = have + (not synthetic), made_up + synthetic
    return rows, have, made_up


def _kept(ws: Workspace, model: str, rows: int) -> float | None:
    """Part of the rows read for a draft of `rows` that are in it."""
    dropped = sum(row.get("action") == "dropped" for row in drafts.read_findings(ws, model))
    return rows / (rows + dropped) if rows + dropped >= LEAST_ROWS else None


def as_text(found: Plan) -> list[str]:
    """The plan for a reader: what the examples take first, then why."""
    what = "examples" if found.kind == "first" else "new examples"
    lines = [_told(goal, found.stage, what) for goal in found.goals]
    more = f"; {found.made_up} synthetic ones do not count" if found.made_up else ""
    lines += [f"there are {found.have} {what}{more}"]
    for name, part in (("collecting", found.collecting), ("review", found.reviewing)):
        lines.append(f"{name}: {part.spent:.1f} h so far; {part.low:g} to {part.high:g} h are meant for {_kind(found)}")
    pace = found.pace
    if pace.measured:
        slow = f"slow: above {SLOW_MINUTES:g} minutes an example the way of working needs to be simpler; " if pace.slow else ""
        lines.append(
            f"{slow}measured pace: {pace.low:.0f} to {pace.high:.0f} good examples an hour,"
            f" {pace.minutes_each:.1f} minutes each, from {pace.timed} timed judgments"
        )
    else:
        lines.append(f"usual pace: {pace.low:g} to {pace.high:g} good examples an hour; {pace.timed} judgments were timed so far")
    low, high = found.in_budget
    lines.append(f"{found.reviewing.high:g} h of review give {low} to {high} {what}")
    lines += [f"{found.kept:.0%} of the rows read so far became examples"] if found.kept is not None else []
    return lines


def _told(goal: Goal, stage: Part, what: str) -> str:
    if not goal.missing:
        return f"{goal.examples} {what}: they are there, after {stage.spent:.1f} h"
    fits = {
        "within": f"within the {stage.high:g} h meant",
        "perhaps": f"perhaps within the {stage.high:g} h meant",
        "over": f"over the {stage.high:g} h meant: take fewer, or more people",
    }[goal.fits]
    rows = "" if goal.rows is None else f" ({goal.rows} rows to find)"
    weeks = "" if goal.weeks is None else f", {goal.weeks[0]:.1f} to {goal.weeks[1]:.1f} weeks still ahead"
    hours = f"{goal.total_low:.1f} to {goal.total_high:.1f} h in all"
    return f"{goal.examples} {what}: {goal.missing} are missing{rows}; {hours}, {fits}{weeks}"


def _kind(found: Plan) -> str:
    return "a first dataset" if found.kind == "first" else "an update"
