"""The exam itself, in a child process: ask every case, score each answer, append it. Begun again, it asks what is missing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, serve_temporarily
from tunekeeper.engines.engine import api_key_of, engine_of
from tunekeeper.evaluation.latency import piece_ms
from tunekeeper.evaluation.results import Result, decode, encode
from tunekeeper.scoring import Scorer, judged, scorer
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.rows import Rows
from tunekeeper.text.fingerprints import prompt_key
from tunekeeper.text.prompts import prompted

ANSWERS = "answers.jsonl"
TRIES = 2
GIVE_UP = 8  # failures in a row, after retries: the server is gone and asking on would only fill the exam with errors


class Context(Protocol):
    """What a job is given."""

    root: Path
    work: Path

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far it is."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Kind `exam`. Input: {slot, cases (digest), learned (manifest of rows, or None), scorers {name: options}, max_tokens,
    concurrency, timeout}. Output: {cases, unanswered, seconds, ms_p50}; the answers lie in `answers.jsonl`. Raises
    UpstreamUnavailable when the server is gone."""
    began = time.monotonic()
    slot = msgspec.convert(input["slot"], Slot)
    cases = read_cases(Blobs(context.root / "blobs").read(input["cases"]))
    scorers = {name: scorer(name, **options) for name, options in input["scorers"].items()}
    path = context.work / ANSWERS
    done = _resume(path)
    missing = [case for case in cases if case.id not in done]
    results = list(done.values())
    context.progress(len(done) / max(1, len(cases)), answered=len(done), cases=len(cases))
    if missing:
        learned = learned_cases(context.root, input.get("learned"), missing)
        with serve_temporarily(slot, context.root) as endpoint, path.open("ab") as file:
            for answered in ask(slot, endpoint, missing, scorers, input):
                result = replace(answered, learned=answered.case in learned, pace_ms=round(piece_ms(), 3))
                file.write(encode([result]))
                file.flush()
                results.append(result)
                context.progress(len(results) / len(cases), answered=len(results), cases=len(cases))
            os.fsync(file.fileno())
    times = sorted(r.ms for r in results if r.ms is not None)
    return {
        "cases": len(results),
        "unanswered": sum(r.answer is None for r in results),
        "seconds": time.monotonic() - began,
        "ms_p50": times[len(times) // 2] if times else None,
    }


def ask(
    slot: Slot, endpoint: str, cases: Sequence[Case], scorers: Mapping[str, Scorer], options: Mapping[str, Any]
) -> Iterator[Result]:
    """Results of `cases` as they come, `options['concurrency']` at a time, greedy. Raises UpstreamUnavailable when it died."""
    fields = engine_of(slot).request_fields(slot)
    client = ChatClient(
        endpoint,
        str(fields.pop("model", slot.upstream_model or slot.version or slot.id)),
        api_key_of(slot),
        total=options["timeout"],
    )

    def one(case: Case) -> Result:
        return _examine(client, slot, case, scorers, options["max_tokens"], fields)

    failures = 0
    with contextlib.closing(_as_they_come(one, cases, int(options["concurrency"]))) as stream:
        for result in stream:
            failures = failures + 1 if result.answer is None else 0
            if failures >= GIVE_UP:
                raise UpstreamUnavailable(f"slot {slot.id}: {failures} cases in a row got no answer: {result.error}")
            yield result


def _as_they_come(work: Callable[[Case], Result], cases: Sequence[Case], concurrency: int) -> Generator[Result, None, None]:
    """Only `concurrency` requests are ever out, so that giving up does not leave a queue behind."""
    waiting = iter(cases)
    with ThreadPoolExecutor(max_workers=max(1, concurrency)) as pool:
        out: set[Future[Result]] = {pool.submit(work, case) for case in islice(waiting, max(1, concurrency))}
        while out:
            ready, out = wait(out, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
                case = next(waiting, None)
                if case is not None:
                    out.add(pool.submit(work, case))


def _examine(
    client: ChatClient, slot: Slot, case: Case, scorers: Mapping[str, Scorer], max_tokens: int, fields: Mapping[str, Any]
) -> Result:
    error = ""
    for _ in range(TRIES):
        try:
            said = client.chat(messages_for(slot, case), max_tokens=max_tokens, temperature=0.0, **fields)
        except UpstreamUnavailable as problem:
            error = problem.message
            continue
        return Result(
            case=case.id,
            category=case.category,
            tags=case.tags,
            answer=said.text,
            ms=said.ms,
            finish_reason=said.finish_reason,
            tokens=said.completion_tokens,
            scores=score_answer(said.text, case, scorers),
        )
    return Result(case=case.id, category=case.category, tags=case.tags, error=error, scores=score_answer(None, case, scorers))


def score_answer(answer: str | None, case: Case, scorers: Mapping[str, Scorer]) -> dict[str, tuple[float | None, str]]:
    """Every applicable scorer's value and reason; 0 without an answer."""
    return {name: found for name, s in scorers.items() if (found := judged(s, answer, case)) is not None}


def messages_for(slot: Slot, case: Case) -> list[dict[str, Any]]:
    """The request as this slot gets it, with the slot's own prompt where it has one."""
    system = () if slot.system is None else ({"role": "system", "content": slot.system},)
    return prompted(case.messages, (*system, *slot.messages), lambda message: message.get("role"))


def learned_cases(root: Path, manifest: str | None, cases: Sequence[Case]) -> set[str]:
    """Ids of the cases whose question stands on the side to learn from of the dataset with this manifest; None: nothing does."""
    if manifest is None:
        return set()
    asked: dict[str, list[str]] = {}
    for case in cases:
        asked.setdefault(prompt_key(case.messages), []).append(case.id)
    rows = Rows(Blobs(root / "blobs"), root / "work" / "rows").lines(manifest, "train")
    keys = (prompt_key(msgspec.json.decode(line, type=_Asked).messages) for line in rows)
    return {id for key in keys if key in asked for id in asked[key]}


class _Asked(msgspec.Struct, gc=False):
    """What is read of a row."""

    messages: list[dict[str, Any]]


def write_cases(cases: Sequence[Case]) -> bytes:
    """JSONL of cases."""
    return b"".join(msgspec.json.encode(case) + b"\n" for case in cases)


def read_cases(data: bytes) -> list[Case]:
    """Cases out of JSONL."""
    return [msgspec.json.decode(line, type=Case) for line in data.split(b"\n") if line.strip()]


def _resume(path: Path) -> dict[str, Result]:
    """What an earlier attempt answered. The file is rewritten without a torn last line, which a later append would extend."""
    if not path.exists():
        return {}
    found = decode(path.read_bytes())
    part = path.with_suffix(".part")
    part.write_bytes(encode(found))
    part.replace(path)
    return {result.case: result for result in found}
