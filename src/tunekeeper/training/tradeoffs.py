"""What the ways of changing a model cost beside each other. Pure but for the headers of the base."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.base import parameters
from tunekeeper.training.device import Room, room
from tunekeeper.training.memory import (
    ADAM,
    adapter_parameters,
    base_bytes,
    full_bytes,
    learned_parameters,
    need,
    number_size,
    run_bytes,
    size,
    targeted,
    version_bytes,
)
from tunekeeper.training.recipe import Recipe, warnings

FULL_TIMES = 1.5
"""Work of a token in full tuning beside a LoRA: 6 operations a number against 4, as frozen numbers need no gradient of their own
(2 forward, 2 back to the activations, 2 to the weights: Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table
1)."""
ONE_GPU, RIG = 7e9, 70e9
"""Numbers of a base from which one GPU wants LoRA or QLoRA, and from which full tuning wants several GPUs (004)."""
ARTICLE = "rule of thumb of article 004"
USUAL: dict[str, dict[str, str]] = {
    "full": {
        "gpu_hours": "hundreds and more", "cost": "$10,000 and more", "latency": "higher", "data": "large",
        "control": "full",
    },
    "lora": {
        "gpu_hours": "tens, on one GPU", "cost": "$100 to $500", "latency": "minimal",
        "data": "moderate: 200 to 5,000 examples", "control": "partial",
    },
    "qlora": {
        "gpu_hours": "a quarter of LoRA's", "cost": "$25 to $125", "latency": "minimal",
        "data": "moderate: 200 to 5,000 examples", "control": "partial",
    },
    "prompting": {
        "gpu_hours": "none", "cost": "minimal", "latency": "none", "data": "none", "control": "limited, needs a fallback",
    },
}  # fmt: skip
"""What is usual, by the articles: a rule of thumb beside what is worked out for this base and data."""
USUAL_SOURCES = {
    "full": {},
    "lora": {"data": "articles 000 (200 to 2,000) and 004 (1,000 to 5,000)"},
    "qlora": {
        "data": "articles 000 (200 to 2,000) and 004 (1,000 to 5,000)",
        "gpu_hours": "article 004 (75 % less compute by 4 bits); what falls for certain is the memory of the base",
        "cost": "article 004 (75 % less compute: a quarter of LoRA's)",
    },
    "prompting": {},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One cell of the table."""

    value: float | str | bool | None
    """The number or word; None where nobody knows it yet."""
    source: str
    """Where it comes from: a formula of ours, a run that was measured, or an article."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way of changing what a model answers."""

    name: str
    """full, lora, qlora or prompting."""
    chosen: bool
    """Whether the recipe chose it."""
    here: dict[str, Figure]
    """For this base and data: memory_bytes, fits, disk_bytes, seconds, cost_usd."""
    usual: dict[str, Figure]
    """By the articles: gpu_hours, cost, latency, data, control."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the table is worked out from."""

    folder: Path
    """The base."""
    there: Room
    """The device that would train."""
    longest: int
    """Tokens of the longest row."""
    learned: int
    """Most tokens that a row learns."""
    factor: float
    """What earlier runs made of the memory's formula."""
    beside_seconds: float
    """Seconds that a run takes beside its loop, for loading and answering: they are paid for as well."""
    lora_seconds: float | None
    """What a LoRA of this data would take; None before any run of the base."""
    speed_of: str | None
    """The run that this rests on."""
    rate: float | None
    """USD an hour; None where none is configured."""


def ways(facts: Facts, recipe: Recipe) -> tuple[Way, ...]:
    """The four ways beside each other, each with the recipe's other values: full tuning, LoRA, QLoRA, prompting (PLAN-09)."""
    plain = replace(recipe, method="lora", qlora=False)
    recipes = {
        "full": replace(plain, method="full", dora=False, rslora=False),
        "lora": plain,
        "qlora": replace(plain, qlora=True),
    }
    chosen = "full" if recipe.method == "full" else "qlora" if recipe.qlora else "lora"
    found = [
        Way(name=name, chosen=name == chosen, here=_here(facts, name, each), usual=_usual(name)) for name, each in recipes.items()
    ]
    return (*found, Way(name="prompting", chosen=False, here=_nothing(), usual=_usual("prompting")))


def _here(facts: Facts, name: str, recipe: Recipe) -> dict[str, Figure]:
    taken = need(facts.folder, recipe, facts.longest, facts.there, factor=facts.factor, learned=facts.learned).total
    disk = version_bytes(facts.folder, recipe, facts.there)
    times, why = _times(name)
    seconds = None if facts.lora_seconds is None else facts.lora_seconds * times
    speed = f"speed of {facts.speed_of}{why}" if facts.speed_of else "not known before the first run of this base on this machine"
    usd = None if seconds is None or facts.rate is None else (seconds + facts.beside_seconds) / 3600 * facts.rate
    formula = "formula of training/memory.py" + (f", times {facts.factor:.2f} by earlier runs" if facts.factor != 1 else "")
    return {
        "memory_bytes": Figure(value=taken, source=formula),
        "fits": Figure(value=taken <= facts.there.total, source=f"{facts.there.device} has {size(facts.there.total)}"),
        "disk_bytes": Figure(value=disk, source="numbers learned, by the base's headers"),
        "seconds": Figure(value=seconds, source=speed),
        "cost_usd": Figure(value=usd, source="seconds at training.rate_usd_per_hour" if facts.rate else "no rate is configured"),
    }


def _times(name: str) -> tuple[float, str]:
    """How many times a LoRA's work a way takes, and why."""
    if name == "full":
        return FULL_TIMES, f", times {FULL_TIMES:g} (6 operations a number against 4: Kaplan et al., 2020)"
    return 1.0, ", a LoRA's: 4 bits save memory and no work" if name == "qlora" else ""


def _nothing() -> dict[str, Figure]:
    told = {"memory_bytes": 0, "fits": True, "disk_bytes": 0, "seconds": 0.0, "cost_usd": 0.0}
    return {key: Figure(value=value, source="nothing is trained") for key, value in told.items()}


def _usual(name: str) -> dict[str, Figure]:
    return {key: Figure(value=value, source=USUAL_SOURCES[name].get(key, ARTICLE)) for key, value in USUAL[name].items()}


def guard(facts: Facts, recipe: Recipe, before: Iterable[TrainingRun], dataset_digest: str) -> str | None:
    """Why not to begin full tuning before an adapter was tried, with what adapters of the same data did (PLAN-10); None for an
    adapter. `before`: finished runs of the model."""
    if recipe.method != "full":
        return None
    plain = replace(recipe, method="lora")
    share = need(facts.folder, plain, 0, facts.there).weights / full_bytes(facts.folder)
    alike = [run for run in before if run.dataset_digest == dataset_digest and run.recipe.get("method", "lora") == "lora"]
    best = max((share for run in alike for share in run.task if share is not None), default=None)
    tried = "none was trained on this data yet: train one first" if not alike else f"{alike[0].id} was trained on this data"
    if best is not None:
        tried = f"the best of {len(alike)} on this data scores {best:.1%} on the sample"
    usual = "an adapter usually brings 80 to 90 % of the gain at under 10 % of the cost (article 004)"
    return f"{usual}, here in {share:.0%} of the memory; {tried}"


def advice(facts: Facts, recipe: Recipe) -> str:
    """Which way this machine suggests, by what fits and by the articles' rule (PLAN-11, PLAN-12)."""
    every, there = parameters(facts.folder), facts.there
    fits = {way.name: way.here["fits"].value for way in ways(facts, recipe)}
    machines = math.ceil(full_bytes(facts.folder) / there.total)
    named = f"a base of {every / 1e9:,.1f} billion numbers" if every >= 1e8 else f"a base of {every / 1e6:,.1f} million numbers"
    if fits["lora"]:
        way = "LoRA fits"
    elif fits["qlora"]:
        four, plain = (
            base_bytes(facts.folder, replace(recipe, method="lora", qlora=each), number_size(recipe, there, every))
            for each in (True, False)
        )
        way = f"LoRA does not fit and QLoRA does: its base takes {size(four)} in 4 bits in the place of {size(plain)}"
    else:
        way = "neither LoRA nor QLoRA fits as the recipe stands: make it smaller, or take a smaller base or another machine"
    if every >= RIG:
        rule = f"full tuning from 70 billion numbers on needs a rig of several GPUs (article 004), here about {machines}"
    elif every >= ONE_GPU:
        rule = "from 7 billion numbers on, one GPU is for LoRA or QLoRA (article 004)"
    else:
        rule = "full tuning fits as well, at its price" if fits["full"] else "full tuning does not fit"
    return f"{named} on {there.device}: {way}; {rule}"


def notes(folder: Path, recipe: Recipe, there: Room | None = None) -> tuple[str, ...]:
    """What is worth a word before a run begins: what is unusual about the recipe, what full tuning costs. `there`: the
    device that would train; None looks."""
    there = there or room()
    return *warnings(recipe), *about_rank(folder, recipe), *cost_of_full(folder, recipe, there), *about_qlora(recipe, there)


def about_rank(folder: Path, recipe: Recipe) -> tuple[str, ...]:
    """What to say of a rank that no layer can have."""
    if recipe.method == "full":
        return ()
    widest = max((min(sides) for sides in targeted(folder, recipe)), default=recipe.rank)
    if recipe.rank <= widest:
        return ()
    return (f"rank {recipe.rank} is more than {widest}, all that the widest layer it adapts can have: {widest} learns the same",)


def about_qlora(recipe: Recipe, there: Room) -> tuple[str, ...]:
    """What to know of 4 bits on this machine before they are chosen; nothing for another recipe."""
    if not recipe.qlora:
        return ()
    lacking = "qlora needs bitsandbytes, which is not installed: pip install 'tunekeeper[qlora]'"
    slow = "qlora without a GPU saves memory and takes longer: each layer is worked out of its 4 bits anew at every use"
    missing = importlib.util.find_spec("bitsandbytes") is None
    return (*((lacking,) if missing else ()), *(() if there.gpu else (slow,)))


def cost_of_full(folder: Path, recipe: Recipe, there: Room) -> tuple[str, ...]:
    """What full tuning costs beside an adapter, a sentence each; nothing for a recipe that learns an adapter."""
    if recipe.method != "full":
        return ()
    plain = replace(recipe, method="lora")
    share = adapter_parameters(folder, plain) / parameters(folder)
    held, lora = learned_parameters(folder, recipe) * ADAM, need(folder, plain, 0, there).weights
    disk, small = version_bytes(folder, recipe, there), version_bytes(folder, plain, there)
    return (
        f"full tuning learns every number: {size(held)} for weights, gradients and moments, before activations; a LoRA of rank "
        f"{plain.rank} learns {share:.2%} of them in {size(lora)}",
        f"each version is a whole model of {size(disk)} on the disk (an adapter: {size(small)}), and while it goes a run writes "
        f"up to {size(run_bytes(folder, recipe, there))}",
        f"a token takes about {FULL_TIMES:g} times the work, and another version is another model to load: no adapter to switch",
    )
