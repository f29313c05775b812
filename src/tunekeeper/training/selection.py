"""Which epoch's weights become the version: the one that does the task best, not the one with the lowest loss.

The child answers a sample after each epoch; here its answers are scored by the scorers that exams use. With nothing to tell the
epochs apart by, the held-out loss decides, and without held-out rows the last epoch is kept.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper import scoring
from tunekeeper.core.nouns.evaluation import Case, Suite
from tunekeeper.scoring.formats import parse_object
from tunekeeper.training.rows import Row, question
from tunekeeper.training.workfolder import ADAPTER, ANSWERS, CURVE, EPOCHS, MODEL, TRANSCRIPT

SMALL = 0.01
"""Nats a token that two held-out losses must be apart to mean something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The epoch that was chosen."""

    epoch: int
    """Its number, from 1."""
    why: str
    """What decided, in one sentence."""


def choose(task: Sequence[float | None], eval_loss: Sequence[float], keep: str) -> Kept:
    """The epoch to keep. `task`: mean score of the sample after each epoch, 0 to 1, None where it was not asked;
    `eval_loss`: held-out loss after each epoch, empty without held-out rows; `keep`: task, loss or last.

    Equal shares are told apart by the loss; of what is equal in both the earlier one is kept, which has learned less by heart.
    """
    epochs = max(len(task), len(eval_loss), 1)
    asked = [share for share in task if share is not None]
    if keep == "task" and asked and max(asked) > min(asked):
        epoch = _best(task, eval_loss)
        return Kept(
            epoch=epoch + 1, why=f"epoch {epoch + 1} scores {max(asked):.1%} on the sample, {_beside(epoch, task, eval_loss)}"
        )
    if keep == "last" or not eval_loss:
        return Kept(epoch=epochs, why="the last epoch is kept")
    epoch = _lowest(eval_loss)
    same = f"every epoch scores {asked[0]:.1%} on the sample; " if keep == "task" and asked else ""
    return Kept(epoch=epoch + 1, why=f"{same}epoch {epoch + 1} has the lowest held-out loss, {eval_loss[epoch]:.4f}")


def said_of(eval_loss: Sequence[float]) -> str | None:
    """What the held-out loss after each epoch says of the number of epochs, in words; None where it says nothing. A fifth above
    the lowest is learning by heart; a last epoch that still took a twentieth off was not one too many (our own two lines). What
    is less than `SMALL` apart is neither: at a loss of nearly 0 a share of it is chance."""
    if len(eval_loss) < 2:
        return None
    lowest, before, last = min(eval_loss), eval_loss[-2], eval_loss[-1]
    if last > max(1.2 * lowest, lowest + SMALL):
        return f"eval_loss rose from {lowest:.3f} to {last:.3f}: fewer epochs would do"
    if last < min(0.95 * before, before - SMALL):
        fell = f"eval_loss fell by {1 - last / before:.0%} in the last epoch"
        return f"{fell}: more epochs, or a higher learning_rate, would learn more"
    return None


def rose(loss: Sequence[float]) -> str | None:
    """What a loss that rose while it was learned says, in words; None where it did not. Its last quarter is held against where it
    began: half as much again, and a tenth of a nat a token, is more than batches differ by (our own two lines)."""
    if len(loss) < 4:
        return None
    began, ended = loss[0], statistics.fmean(loss[-(len(loss) // 4) :])
    if ended <= max(1.5 * began, began + 0.1):
        return None
    return f"the loss rose from {began:.3f} to {ended:.3f} while it was learned: take a lower learning_rate"


def candidates(task: Sequence[float | None], eval_loss: Sequence[float], keep: str) -> set[int]:
    """The finished epochs that `choose` could still come to keep, whatever the later ones do, and the newest, which a killed run
    goes on from; arguments as there. Pure."""
    newest = max(len(task), len(eval_loss), 1)
    asked = [share for share in task if share is not None]
    found = {newest}
    if keep == "task" and asked:
        found.add(_best(task, eval_loss) + 1)
    if eval_loss and keep != "last" and not (keep == "task" and asked and max(asked) > min(asked)):
        found.add(_lowest(eval_loss) + 1)  # decides as long as the sample does not
    return found


def thin(work: Path, task: Sequence[float | None], eval_loss: Sequence[float], keep: str, wanted: int | None = None) -> None:
    """Remove the whole models of the epochs that are no candidates any more; what they answered stays. `work`: folder of the
    job; `wanted`: an epoch that stays whatever it is like."""
    for epoch in set(finished(work)) - candidates(task, eval_loss, keep) - {wanted}:
        shutil.rmtree(work / EPOCHS / str(epoch) / MODEL, ignore_errors=True)


def _best(task: Sequence[float | None], eval_loss: Sequence[float]) -> int:
    """Place of the epoch with the largest share; of equal ones that with the lowest loss, of these the earliest."""
    places = [i for i, share in enumerate(task) if share is not None]
    return min(places, key=lambda i: (-(task[i] or 0.0), eval_loss[i] if eval_loss else 0.0, i))


def _beside(epoch: int, task: Sequence[float | None], eval_loss: Sequence[float]) -> str:
    """What tells the best epoch, by its place, from the others."""
    equal = [place for place, share in enumerate(task) if share == task[epoch] and place != epoch]
    if not equal:
        return "more than any other"
    lower = eval_loss and all(eval_loss[place] > eval_loss[epoch] for place in equal)
    others = " and ".join(str(place + 1) for place in equal)
    return f"as much as epoch {others}, {'whose held-out loss is higher' if lower else 'and came first'}"


def _lowest(eval_loss: Sequence[float]) -> int:
    """Place of the lowest held-out loss, the earliest of equal ones."""
    return min(range(len(eval_loss)), key=lambda i: (eval_loss[i], i))


def sample(
    suite: Suite | None, held: Sequence[Row], most: int, system: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the child is asked after each epoch, a mapping a line (`id`, `messages`, `tools`, `expected`, `category`, `tags`), and
    the scorers with their options: at most `most` cases of the suite, taken in turn from its categories, else held-out rows.

    `system`: the model's system prompt, which a case without one is asked with, as in an exam.
    """
    if suite is not None:
        cases = _in_turn(suite.cases, most)
        asked = [
            {
                "id": case.id,
                "messages": _prompted(case.messages, system),
                "tools": [],
                "expected": case.expected,
                "category": case.category,
                "tags": list(case.tags),
            }
            for case in cases
        ]
        return asked, {name: suite.scorer_options.get(name, {}) for name in suite.scorers}
    rows = [row for row in held if isinstance(row.messages[-1].get("content"), str) and row.messages[-1]["role"] == "assistant"]
    asked = [
        {
            "id": row.id,
            "messages": question(row),
            "tools": list(row.tools),
            "expected": row.messages[-1]["content"],
            "category": "",
        }
        for row in rows[:most]
    ]
    objects = bool(asked) and all(parse_object(line["expected"])[0] is not None for line in asked)
    return asked, {"json_fields" if objects else "exact": {}}


def shares(work: Path, asked: Path, scorers: dict[str, Any], epochs: int) -> tuple[float | None, ...]:
    """Mean score of the sample after each epoch, 0 to 1; None for an epoch that was not asked. `work`: folder of the job;
    `asked`: the sample's file; `scorers`: name → options."""
    with asked.open(encoding="utf-8") as file:
        cases = {line["id"]: _case(line) for line in map(json.loads, file)}
    judges = [scoring.scorer(name, **options) for name, options in scorers.items()]
    return tuple(_share(work / EPOCHS / str(epoch) / ANSWERS, cases, judges) for epoch in range(1, epochs + 1))


def finished(work: Path) -> list[int]:
    """Numbers of the epochs that a job has finished, in order."""
    folder = work / EPOCHS
    return sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit()) if folder.is_dir() else []


def learned_of(work: Path, epoch: int) -> Path:
    """Folder of the adapter, or of the whole model, as it was after an epoch."""
    folder = work / EPOCHS / str(epoch)
    return folder / (MODEL if (folder / MODEL).is_dir() else ADAPTER)


def transcript_of(work: Path, epoch: int) -> Path:
    """Where its reference transcript lies, if one was written."""
    return work / EPOCHS / str(epoch) / TRANSCRIPT


def curve_of(work: Path, epoch: int) -> dict[str, Any]:
    """The curve as it was after an epoch: loss, eval_loss, step, tokens, seconds, cpu_seconds."""
    value: dict[str, Any] = json.loads((work / EPOCHS / str(epoch) / CURVE).read_text())
    return value


def _share(answers: Path, cases: dict[str, Case], judges: Sequence[scoring.Scorer]) -> float | None:
    if not answers.is_file():
        return None
    with answers.open(encoding="utf-8") as file:
        given = {line["id"]: line["answer"] for line in map(json.loads, file)}
    said = [scoring.judged(judge, answer, cases[id]) for id, answer in given.items() for judge in judges]
    found = [each[0] for each in said if each is not None and each[0] is not None]
    return sum(found) / len(found) if found else None


def _case(line: dict[str, Any]) -> Case:
    return Case(
        id=line["id"],
        messages=tuple(line["messages"]),
        expected=line["expected"],
        category=line["category"],
        tags=tuple(line.get("tags", ())),
    )


def _prompted(messages: Sequence[dict[str, Any]], system: str | None) -> list[dict[str, Any]]:
    """The messages behind the system prompt, where they have none of their own."""
    if system is None or any(message.get("role") == "system" for message in messages):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def _in_turn(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` cases, one of each category after the other, in the suite's order."""
    queues: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        queues[case.category].append(case)
    rounds = [
        case for turn in range(max(map(len, queues.values()), default=0)) for q in queues.values() for case in q[turn : turn + 1]
    ]
    return rounds[:most]
