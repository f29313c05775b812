"""Acts 10 to 13: what happens to a bad version, and how long the way back takes."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from shlex import quote
from typing import Any

from tunekeeper.core.errors import OurFault, OutsideError
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.data.freezing import freeze_examples
from tunekeeper.data.versions import read_examples
from tunekeeper.demo.acts_change import CANARY_FACTOR
from tunekeeper.demo.acts_first import RATE
from tunekeeper.demo.cast import MODEL, Demo
from tunekeeper.demo.figures import exam_figures, rollout_figures, run_figures
from tunekeeper.demo.watching import follow, rollout_of
from tunekeeper.demo.world import WORLD_2
from tunekeeper.retraining.cycle import open_cycle
from tunekeeper.rollout.drill import drill
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.incidents import load_incident

BAD = "a candidate trained on shuffled labels"
OVERRIDE = "a founder, to show that the canary goes back by itself"
AGAIN = "the same candidate after its incident"
DRILL_SECONDS = 1.0


def bad_candidate(demo: Demo) -> dict[str, Any]:
    """Shuffle the answers of the newest dataset, train on them while users are served, and let the gate say no."""
    crowd = demo.crowd(WORLD_2, RATE / 4, seed=4)
    crowd.start()
    try:
        closed = follow(demo, _bad_cycle(demo).id)
    finally:
        crowd.stop()
    if closed.state != "blocked":
        raise OurFault(f"the gate let a model of shuffled labels pass: {closed.state}: {closed.closed_why}")
    demo.screen.say(f"        gate: {closed.closed_why}")
    return {
        "traffic": demo.add(crowd),
        "cycle": closed.id,
        "state": closed.state,
        "why": closed.closed_why,
        "train": run_figures(demo, closed),
        "exam": exam_figures(demo, closed),
    }


def override(demo: Demo) -> dict[str, Any]:
    """The same version, let through by name: the canary must see the harm and go back."""
    opened = _again(demo, OVERRIDE, {"override": OVERRIDE})
    follow(demo, opened.id, until="rollout")
    crowd = demo.crowd(WORLD_2, RATE, seed=5)
    crowd.start()
    try:
        with demo.pace(CANARY_FACTOR):
            closed = follow(demo, opened.id, meanwhile=demo.expert)
    finally:
        crowd.stop()
    rollout = rollout_of(demo, closed)
    if closed.state != "rolled_back" or rollout is None or rollout.incident is None:
        raise OurFault(f"the canary did not go back: {closed.state}: {closed.closed_why}")
    with demo.ws.control.read() as tx:
        incident = load_incident(tx, rollout.incident)
    demo.screen.say(f"        gone back: {closed.closed_why}")
    demo.screen.say(f"        incident {incident.id}: {incident.what_failed}; {len(incident.cases)} became regression tests")
    return {
        "traffic": demo.add(crowd),
        "cycle": closed.id,
        "state": closed.state,
        "why": closed.closed_why,
        "rollout": rollout_figures(rollout),
        "incident": {
            "id": incident.id,
            "reason": incident.reason,
            "what_failed": incident.what_failed,
            "cases": len(incident.cases),
        },
    }


def regression(demo: Demo) -> dict[str, Any]:
    """The next deployment of that version meets the cases of its incident."""
    closed = follow(demo, _again(demo, AGAIN, {}).id)
    if closed.state != "blocked":
        raise OurFault(f"the regression cases did not block: {closed.state}: {closed.closed_why}")
    demo.screen.say(f"        blocked: {closed.closed_why}")
    return {"cycle": closed.id, "state": closed.state, "why": closed.closed_why, "exam": exam_figures(demo, closed)}


def rollback_drill(demo: Demo) -> dict[str, Any]:
    """There and back while users are served: milliseconds until every gateway worker obeys, and no failed request."""
    crowd = demo.crowd(WORLD_2, RATE, seed=6)
    crowd.start()
    demo.pause(DRILL_SECONDS)
    try:
        done = drill(demo.ws, MODEL, by="demo", hold_seconds=DRILL_SECONDS)
        demo.pause(DRILL_SECONDS)
    finally:
        crowd.stop()
    figures = demo.add(crowd)
    demo.screen.say(
        f"        back in {done.back_ms:.1f} ms, forth in {done.forth_ms:.1f} ms; "
        f"{crowd.tally.sent} requests meanwhile, {crowd.tally.failed} failed"
    )
    return {"traffic": figures, "drill": asdict(done)}


def _bad_cycle(demo: Demo) -> Cycle:
    found = _cycle_because(demo, BAD)
    if found is not None:
        return found
    with demo.ws.state.read() as tx:
        datasets = find_datasets(tx, model=MODEL)
    shuffled = next((each for each in datasets if each.note == BAD), None)
    dataset = shuffled.id if shuffled is not None else _shuffle(demo, datasets[-1].id)
    recipe = {"epochs": 1}
    return open_cycle(demo.ws, MODEL, why=BAD, by="demo", options={"dataset": dataset, "recipe": recipe, "from": "base"})


def _shuffle(demo: Demo, source: str) -> str:
    examples = list(read_examples(demo.ws, source, "train"))
    answers = [each.messages[-1] for each in examples]
    random.Random(demo.seed).shuffle(answers)
    wrong = [replace(each, messages=(*each.messages[:-1], answer)) for each, answer in zip(examples, answers, strict=True)]
    held = list(read_examples(demo.ws, source, "eval"))
    return freeze_examples(demo.ws, MODEL, wrong + held, parent=source, note=BAD).id


def _again(demo: Demo, why: str, options: dict[str, Any]) -> Cycle:
    found = _cycle_because(demo, why)
    if found is not None:
        return found
    bad = _cycle_because(demo, BAD)
    if bad is None:
        raise OutsideError("there is no bad candidate yet", fix=f"tunekeeper demo {quote(str(demo.folder))} --resume")
    records = {stage: bad.records[stage] for stage in ("data", "train", "export")}
    return open_cycle(demo.ws, MODEL, why=why, by="demo", options=options, records=records)


def _cycle_because(demo: Demo, why: str) -> Cycle | None:
    with demo.ws.state.read() as tx:
        return next((each for each in find_cycles(tx, model=MODEL) if each.why == why), None)
