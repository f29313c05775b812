from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunekeeper.deployment.rules import compare
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.testing.trainer import learn, run, wrong


@dataclass
class Here:
    """A job's context in this process."""

    work: Path
    told: list[dict[str, Any]] = field(default_factory=list)

    def progress(self, fraction: float | None, **fields: Any) -> None:
        self.told.append({"fraction": fraction, **fields})


ROWS = [
    (f"the {word} of case {n} is late", answer)
    for n in range(4)
    for word, answer in (("parcel", "shipping"), ("invoice", "billing"))
]


def file(folder: Path, rows: list[tuple[str, str]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}) + "\n"
            for question, answer in rows
        )
    )
    return str(path)


def test_it_learns_words_and_leaves_what_a_trainer_leaves(tmp_path: Path) -> None:
    context = Here(tmp_path)
    output = run({"train": file(tmp_path, ROWS), "transcript": 4}, context)
    assert (output["rows"], output["final_loss"], output["eval_loss"]) == (8, 0.0, [])
    assert [told["fraction"] for told in context.told] == [0.5, 1.0]
    references = read_transcript(tmp_path / output["transcript"])
    assert [reference.answer for reference in references] == ["shipping", "billing"] * 2
    assert compare(tmp_path / output["adapter"] / "answers.json", references).verdict == "pass"


def test_wrong_labels_make_a_wrong_model() -> None:
    mixed = [(question, "shipping" if n % 3 else "billing") for n, (question, _) in enumerate(ROWS)]
    assert wrong(ROWS, learn(ROWS)) == 0.0
    assert wrong(ROWS, learn(mixed)) >= 0.5
    assert learn([])["default"] == ""


def test_the_longest_sure_word_counts() -> None:
    rows = [*ROWS, *((f"the parcelpass {n} is lost", "account") for n in range(4))]
    rule = learn(rows)
    assert next(iter(rule["contains"])) == "parcelpass"
    assert wrong(rows, rule) == 0.0
