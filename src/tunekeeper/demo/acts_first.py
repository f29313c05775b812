"""Acts 1 to 6: from a raw export to a week of happy users."""

from __future__ import annotations

import random
from typing import Any

from openai import OpenAI

from tunekeeper import data as data_room
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.demo.cast import MODEL, Demo
from tunekeeper.demo.figures import artifact_figures, exam_figures, run_figures, signal_figures, verdict_figures
from tunekeeper.demo.watching import follow
from tunekeeper.demo.world import SYSTEM, WORLD_1
from tunekeeper.retraining.cycle import open_cycle
from tunekeeper.store.ledgers.baselines import find_baselines
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.datasets import find_datasets

FILES = ("data/tickets.csv", "data/tickets.jsonl")
WEEK = 7 * 86_400.0
WEEK_REQUESTS = 420
RATE = 40.0


def data(demo: Demo) -> dict[str, Any]:
    """Import both raw files, say what was dropped and why, freeze dataset 1."""
    config = demo.config().model(MODEL)
    demo.screen.at("importing " + " and ".join(FILES))
    report = data_room.import_files(demo.ws, config.task, config.sections["data"], [demo.folder / name for name in FILES])
    version = data_room.freeze(demo.ws, config.task, config.sections["data"], note="the raw production export")
    demo.screen.say(f"        {report.rows} rows read, {report.examples} kept; dropped: {_told(report.dropped)}")
    demo.screen.say(
        f"        redacted: {_told(report.redacted)}; flagged: {_told(report.flagged)}; each row's reason: {report.report}"
    )
    demo.screen.say(
        f"        froze {version.id} {version.digest[:19]} with {version.train} rows to learn from, {version.eval} held out"
    )
    return {
        "rows": report.rows,
        "added": report.added,
        "dropped": report.dropped,
        "redacted": report.redacted,
        "flagged": report.flagged,
        "details": report.report,
        "version": version.id,
        "digest": version.digest,
        "train": version.train,
        "eval": version.eval,
        "created": version.created.isoformat() if version.created else None,
        "report": version.report,
    }


def first_cycle(demo: Demo) -> Cycle:
    """The cycle of the first version; opened once."""
    with demo.ws.state.read() as tx:
        found = find_cycles(tx, model=MODEL)
        dataset = find_datasets(tx, model=MODEL)[0]
    if found:
        return found[0]
    return open_cycle(demo.ws, MODEL, why="the first version", by="demo", options={"dataset": dataset.id})


def train(demo: Demo) -> dict[str, Any]:
    """Train the first adapter."""
    cycle = follow(demo, first_cycle(demo).id, until="export")
    return run_figures(demo, cycle)


def export(demo: Demo) -> dict[str, Any]:
    """Export, quantize, compare."""
    cycle = follow(demo, first_cycle(demo).id, until="evaluate")
    return artifact_figures(demo, cycle)


def evaluate(demo: Demo) -> dict[str, Any]:
    """The exam of the served artifact, and of the prompted base."""
    cycle = follow(demo, first_cycle(demo).id, until="load")
    return exam_figures(demo, cycle)


def deploy(demo: Demo) -> dict[str, Any]:
    """Load, check, approve, switch; then ask with the official client, plain and streaming."""
    cycle = follow(demo, first_cycle(demo).id)
    for stage in ("load", "check", "approve", "rollout"):
        demo.screen.say(f"        {stage}: {cycle.notes.get(stage) or cycle.records.get(stage, cycle.closed_why)}")
    client = OpenAI(base_url=demo.url, api_key=demo.key(), max_retries=0)
    ticket = next(WORLD_1.tickets(random.Random(demo.seed)))
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ticket.text}]
    plain = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=40, temperature=0)
    text = plain.choices[0].message.content or ""
    pieces = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=40, temperature=0, stream=True)
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    demo.screen.say(f"        asked: {ticket.text[:80]}")
    demo.screen.say(f"        plain: {text}   streamed: {streamed}")
    demo.counts["sent"] += 2
    demo.counts["answered"] += (text != "") + (streamed != "")
    demo.counts["failed"] += (text == "") + (streamed == "")
    return {
        "cycle": cycle.id,
        "state": cycle.state,
        "notes": cycle.notes,
        "approved": cycle.notes.get("approve"),
        "plain": text,
        "streamed": streamed,
        "same": text == streamed,
    }


def traffic(demo: Demo) -> dict[str, Any]:
    """A week in which nothing is wrong: the day-one baseline, the first windows."""
    crowd = demo.crowd(WORLD_1, RATE, seed=1)
    crowd.start(WEEK_REQUESTS)
    with demo.pace(WEEK / (WEEK_REQUESTS / RATE)):
        while crowd.running():
            demo.expert()
            demo.screen.at(
                f"users: {crowd.tally.answered} answered, {crowd.tally.edits} edited", crowd.tally.sent / WEEK_REQUESTS
            )
            demo.pause(0.2)
    figures = demo.add(crowd)
    with demo.ws.state.read() as tx:
        baselines = find_baselines(tx, model=MODEL)
    seen = crowd.tally
    accuracy = seen.right / max(seen.answered, 1)
    demo.screen.say(f"        {seen.answered} answered, {seen.failed} failed, {100 * accuracy:.1f} % right, {seen.edits} edited")
    return {
        "traffic": figures,
        "accuracy": verdict_figures(crowd.tally.right, crowd.tally.answered),
        "baseline": {"n": baselines[-1].n, "values": baselines[-1].values} if baselines else None,
        "signals": signal_figures(demo),
    }


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing"
