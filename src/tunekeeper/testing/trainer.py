"""A trainer without weights, as job kind `tunekeeper.testing.trainer:run`: it learns which words go with which answer.

It takes the input of kind `train`, reads the same rows and leaves the same files, so that every other stage treats its runs as
real ones. What it learned is the rule file of the fake engine (`engines/fake_server.py`): wrong labels make a wrong model.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

WORD = re.compile(r"[a-z]{3,}")
SURE = 0.6
"""Share of its rows, counted with two more that disagree, in which a word must have the same answer: three rows are enough."""


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def work(self) -> Path:
        """Scratch folder; what is left there is the result."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Learn `input["train"]` (JSONL of examples); hold out `input["eval"]`. `input["seconds"]`: how long to take at least.

    Returns what a real trainer returns; leaves `adapter/answers.json` and `transcript.jsonl`. The losses are error rates.
    """
    began, spent = time.monotonic(), time.process_time()
    rows = list(read_rows(Path(input["train"])))
    held = list(read_rows(Path(input["eval"]))) if input.get("eval") else []
    context.progress(0.5, step=1, steps=2, loss=1.0, eta_seconds=float(input.get("seconds", 0)))
    rule = learn(rows)
    time.sleep(max(0.0, float(input.get("seconds", 0)) - (time.monotonic() - began)))
    (context.work / "adapter").mkdir(exist_ok=True)
    (context.work / "adapter" / "answers.json").write_text(json.dumps(rule), "utf-8")
    lines = [_reference(number, row, rule) for number, row in enumerate((held or rows)[: int(input.get("transcript", 8))])]
    (context.work / "transcript.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    seconds = time.monotonic() - began
    loss = wrong(rows, rule)
    context.progress(1.0, step=2, steps=2, loss=loss, eta_seconds=0.0)
    return {
        "adapter": "adapter",
        "transcript": "transcript.jsonl",
        "loss": [1.0, loss],
        "final_loss": loss,
        "eval_loss": [wrong(held, rule)] if held else [],
        "rows": len(rows),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - spent, 3),
        "tokens_per_second": sum(len(question.split()) for question, _ in rows) / max(seconds, 1e-6),
    }


def read_rows(path: Path) -> Iterable[tuple[str, str]]:
    """(question, answer) of each example of a JSONL file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            messages = json.loads(line)["messages"]
            yield str(next(m["content"] for m in reversed(messages) if m["role"] == "user")), str(messages[-1]["content"])


def learn(rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The rule file: words that are sure of their answer, the longest first, and the most usual answer where there is none."""
    by_word: dict[str, Counter[str]] = defaultdict(Counter)
    for question, answer in rows:
        for word in set(WORD.findall(question.lower())):
            by_word[word][answer] += 1
    sure = []
    for word, counts in by_word.items():
        answer, n = counts.most_common(1)[0]
        if n >= SURE * (counts.total() + 2):
            sure.append((-len(word), word, answer))
    usual = Counter(answer for _, answer in rows).most_common(1)
    return {"contains": {word: answer for _, word, answer in sorted(sure)}, "default": usual[0][0] if usual else ""}


def wrong(rows: Sequence[tuple[str, str]], rule: dict[str, Any]) -> float:
    """Share of rows that the rule answers otherwise, 0 to 1."""
    return sum(_said(question, rule) != answer for question, answer in rows) / len(rows) if rows else 0.0


def _said(question: str, rule: dict[str, Any]) -> str:
    return next((str(answer) for part, answer in rule["contains"].items() if part in question), str(rule["default"]))


def _reference(number: int, row: tuple[str, str], rule: dict[str, Any]) -> dict[str, Any]:
    """One line of the reference transcript; there are no tokens."""
    messages = [{"role": "user", "content": row[0]}]
    return {
        "id": f"t{number}",
        "messages": messages,
        "rendered": row[0],
        "prompt_ids": [],
        "answer": _said(row[0], rule),
        "answer_ids": [],
        "logprobs": [],
        "finish_reason": "stop",
    }
