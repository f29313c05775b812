"""Stage `load`: the artifact into the standby slot, then a smoke test, before any traffic."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment import memory
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.hosted import slot_of
from tunekeeper.deployment.publish import whole_or_absent
from tunekeeper.deployment.slots import arm
from tunekeeper.engines import ChatClient
from tunekeeper.engines.engine import api_key_of, engine_of
from tunekeeper.scoring.formats import check
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.versions import load_version
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace

BUDGET = 0.6
"""Real seconds of smoke prompts in one poke; the rest follows in the next."""
WELL_FORMED = 0.8
"""Smallest share of smoke answers that must have the model's format."""
GENERIC = ("Hello", "What can you do?", "Please help me.", "1 + 1 = ?", "Größe, 你好, 🎉", "Summarise: the weather is fine.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeAnswer:
    """What came back for one prompt."""

    text: str
    """The answer; empty when it failed."""
    error: str | None = None
    """Why it failed."""
    ms: float = 0.0
    """Milliseconds it took."""


def poke_load(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Load the cycle's artifact into the slot that serves nobody, wait for it, send it 10 to 20 prompts, and compare what it says
    with training. Done names the slot."""
    with ws.state.read() as tx:
        artifact = load_artifact(tx, cycle.records["export"])
        version = load_version(tx, artifact.version)
        gated = _gated(tx, artifact, cycle)
    slot = _armed(ws, task, section, cycle, version, artifact, gated=gated)
    if not isinstance(slot, Slot):
        return slot
    if slot.observed == "failed":
        return Stop(why=f"slot {slot.id} could not load {version.name}: {slot.reason or 'no reason given'}")
    if slot.observed != "ready" or slot.endpoint is None:
        advice = memory.check(ws, slot)
        waiting = f"slot {slot.id} is {slot.observed}; `tunekeeper up` loads it"
        return Wait(why=f"{waiting}; {advice}" if advice else waiting)
    prompts = smoke_prompts(ws, task, cycle, section.smoke_prompts)
    answers = _smoke(ws, section, slot, prompts)
    if len(answers) < len(prompts):
        return Wait(
            why=f"smoke test of {slot.id}: {len(answers)} of {len(prompts)} prompts", progress=len(answers) / len(prompts)
        )
    wrong, summary = judge(answers, task.format)
    _record(ws, artifact, summary)
    if wrong:
        return Stop(why=f"smoke test of {slot.id}: {wrong}", record=slot.id)
    from tunekeeper.deployment.liveparity import poke_live  # needs the extra `local`, without which the worker starts

    compared = poke_live(ws, task, section, version, artifact, slot)
    if compared is not None:
        return compared
    return Done(record=slot.id, note=f"{slot.id} answers {summary['prompts']} smoke prompts, p50 {summary['p50_ms']:.0f} ms")


def _armed(
    ws: Workspace, task: Model, section: Config, cycle: Cycle, version: Version, artifact: Artifact, *, gated: bool
) -> Slot | Wait | Stop:
    """The slot that is to hold the artifact, by the way its server gets it."""
    if artifact.hosted is not None:
        return slot_of(ws, section, version, artifact, gated=gated)
    if section.engine == "ollama":
        from tunekeeper.deployment.ollamajob import poke_push

        return poke_push(ws, task, section, version, artifact, gated=gated)
    if section.engine == "vllm":
        from tunekeeper.deployment.vllmjob import poke_vllm

        return poke_vllm(ws, task, section, cycle, version, artifact, gated=gated)
    return arm(ws, section, version, artifact, gated=gated)


def _gated(tx: Read, artifact: Artifact, cycle: Cycle) -> bool:
    exams = [exam for exam in find_exams(tx, model=artifact.model) if _was_of(exam, artifact) and exam.verdict]
    passed = any(exam.verdict is not None and exam.verdict.outcome == "pass" for exam in exams)
    return passed or bool(cycle.options.get("override"))


def _was_of(exam: Exam, artifact: Artifact) -> bool:
    """Whether an exam judged this very file; of a model at a provider, which shows no file, this artifact."""
    return exam.artifact == artifact.id if artifact.digest is None else exam.artifact_digest == artifact.digest


def smoke_prompts(ws: Workspace, task: Model, cycle: Cycle, count: int) -> list[list[dict[str, Any]]]:
    """`count` conversations of the model's newest held-out rows without their answers; general ones where there are none."""
    with ws.state.read() as tx:
        known = find_datasets(tx, model=task.name, newest_first=True)
    newest = next((d for d in known if not d.report.get("detached")), None)
    dataset = next((d for d in known if d.id == cycle.records.get("data")), newest)
    side = "eval" if dataset is not None and dataset.eval else "train"
    rows = _rows(ws.rows.lines(dataset.manifest, side), count) if dataset is not None and dataset.manifest is not None else []
    system = [{"role": "system", "content": task.system}] if task.system else []
    return rows or [[*system, {"role": "user", "content": text}] for text in GENERIC[:count]]


def _rows(lines: Iterable[bytes], count: int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    for line in lines:
        if len(found) >= count:
            break
        messages = json.loads(line)["messages"]
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=len(messages))
        if last > 0:
            found.append(messages[:last])
    return found


def _smoke(ws: Workspace, section: Config, slot: Slot, prompts: Sequence[list[dict[str, Any]]]) -> list[SmokeAnswer]:
    """Answers so far; each poke adds what fits in its second. Kept in scratch, bound to the file and the server that answered."""
    path = ws.path("work", f"smoke-{slot.id}-{(slot.digest or 'none')[-16:]}-{slot.pid or 0}.json")
    answers = [SmokeAnswer(**value) for value in json.loads(path.read_text("utf-8"))] if path.exists() else []
    if len(answers) >= len(prompts):
        return answers
    client = ChatClient(slot.endpoint or "", str(engine_of(slot).request_fields(slot)["model"]), api_key_of(slot), total=60.0)
    fields = {k: v for k, v in engine_of(slot).request_fields(slot).items() if k != "model"}
    deadline = time.monotonic() + BUDGET
    while len(answers) < len(prompts) and time.monotonic() < deadline:
        answers.append(_ask(client, slot, prompts[len(answers)], section.smoke_max_tokens, fields))
    with whole_or_absent(path) as part:
        part.write_text(json.dumps([dataclasses.asdict(answer) for answer in answers]), "utf-8")
    return answers


def _ask(client: ChatClient, slot: Slot, messages: list[dict[str, Any]], length: int, fields: dict[str, Any]) -> SmokeAnswer:
    try:
        said = client.chat(prompted(slot, messages), max_tokens=length, **fields)
    except UpstreamUnavailable as error:
        return SmokeAnswer(text="", error=str(error))
    return SmokeAnswer(text=said.text, ms=round(said.ms, 2))


def prompted(slot: Slot, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation as the slot sends it: its own system prompt and few-shot messages first. Pure."""
    if slot.system is None and not slot.messages:
        return messages
    rest = [m for m in messages if m["role"] != "system"] if slot.system is not None else messages
    system = [{"role": "system", "content": slot.system}] if slot.system is not None else []
    return [*system, *slot.messages, *rest]


def judge(answers: Sequence[SmokeAnswer], format: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is wrong (empty: nothing), and the numbers. Every prompt must be answered, most in the model's format. Pure."""
    failed = [answer for answer in answers if answer.error is not None]
    empty = [answer for answer in answers if answer.error is None and not answer.text.strip()]
    formed = sum(check(answer.text, format)[0] for answer in answers if answer.text.strip())
    times = sorted(answer.ms for answer in answers)
    summary = {
        "prompts": len(answers), "failed": len(failed), "empty": len(empty), "well_formed": formed,
        "p50_ms": times[len(times) // 2] if times else 0.0,
    }  # fmt: skip
    if not answers:
        return "no prompts to send", summary
    if failed:
        return f"{len(failed)} of {len(answers)} prompts failed: {failed[0].error}", summary
    if empty:
        return f"{len(empty)} of {len(answers)} answers are empty", summary
    if formed < WELL_FORMED * len(answers):
        return f"only {formed} of {len(answers)} answers have the model's format", summary
    return "", summary


def _record(ws: Workspace, artifact: Artifact, summary: dict[str, Any]) -> None:
    """Put the smoke test's numbers beside the artifact (DEPL-04, DEPL-05)."""
    if artifact.metadata.get("smoke") == summary:
        return
    with ws.state.write(by="deployment") as tx:
        fresh = load_artifact(tx, artifact.id)
        save_artifact(tx, dataclasses.replace(fresh, metadata={**fresh.metadata, "smoke": summary}))
