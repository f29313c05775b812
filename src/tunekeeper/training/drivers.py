"""What drives the cost of a model: compute, data preparation, and how often it is trained again (PLAN-16). Pure.

All of it is measured: the hours of its runs, the minutes that people took over its answers, the days between its versions. What
nobody knows yet is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.training import TrainingRun

YEAR_DAYS = 365.0
FEWEST_DAYS = 1.0
"""Runs that lie closer together say nothing about a year."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drivers:
    """What a model took so far, and what a year at this pace takes."""

    runs: int
    """Runs that have ended, those that came to nothing among them."""
    compute_hours: float
    """Hours of the machine that they took."""
    compute_usd: float | None
    """What they cost, of those that know it; None where none does."""
    reviews: int
    """Opinions that people gave on answers."""
    review_hours: float
    """Hours that they took over them, as far as it was measured."""
    review_usd: float | None
    """What these cost at `training.people_usd_per_hour`; None without it."""
    runs_a_year: float | None
    """Versions a year at the pace so far; None before two that lie a day apart."""
    usd_a_year: float | None
    """Compute and people of a year at that pace; None where one of them is not known."""


def drivers(runs: Sequence[TrainingRun], reviews: Sequence[ReviewItem], people_usd_per_hour: float | None) -> Drivers:
    """What drives the cost of the model that `runs` and `reviews` are of; runs in any order."""
    ended = [run for run in runs if run.state != "running"]
    known = [run.cost_usd for run in ended if run.cost_usd is not None]
    compute = sum(known) if known else None
    opinions = [opinion for item in reviews for opinion in item.opinions]
    hours = sum(opinion.seconds or 0.0 for opinion in opinions) / 3600
    people = None if people_usd_per_hour is None else hours * people_usd_per_hour
    pace = _pace([run for run in ended if run.state == "done"])
    made = sum(run.state == "done" for run in ended)
    total = None if compute is None or (people is None and opinions) else compute + (people or 0.0)
    return Drivers(
        runs=len(ended),
        compute_hours=sum(run.seconds or 0.0 for run in ended) / 3600,
        compute_usd=compute,
        reviews=len(opinions),
        review_hours=hours,
        review_usd=people,
        runs_a_year=pace,
        usd_a_year=None if total is None or pace is None else total / made * pace,
    )


def _pace(done: Sequence[TrainingRun]) -> float | None:
    """Finished runs a year, by the first and the last."""
    begun = sorted(run.created for run in done if run.created is not None)
    days = (begun[-1] - begun[0]).total_seconds() / 86_400 if begun else 0.0
    return None if days < FEWEST_DAYS else (len(begun) - 1) / days * YEAR_DAYS


def sentence(found: Drivers) -> str | None:
    """The drivers in a line for people; None before the first run."""
    if not found.runs:
        return None
    cost = "" if found.compute_usd is None else f" ({found.compute_usd:,.4f} USD)"
    parts = [f"{found.runs} run{'s' if found.runs != 1 else ''} in {found.compute_hours:,.2f} machine hours{cost}"]
    if found.reviews:
        people = "" if found.review_usd is None else f" ({found.review_usd:,.2f} USD)"
        parts.append(f"{found.reviews} opinions of people in {found.review_hours:,.2f} hours{people}")
    if found.runs_a_year is not None:
        year = "" if found.usd_a_year is None else f", {found.usd_a_year:,.2f} USD"
        parts.append(f"a year at this pace: {found.runs_a_year:,.0f} versions{year}")
    return "so far " + "; ".join(parts)
