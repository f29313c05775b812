"""Which epoch is kept, by what it answers and else by its loss."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tunekeeper.core.nouns.evaluation import Case, Suite
from tunekeeper.scoring import SCORERS
from tunekeeper.training.rows import Row
from tunekeeper.training.selection import candidates, choose, finished, learned_of, rose, said_of, sample, shares, thin


@pytest.mark.parametrize(
    ("task", "eval_loss", "keep", "epoch", "why"),
    [
        ((0.5, 0.9, 0.7), (0.3, 0.4, 0.2), "task", 2, "90.0% on the sample, more than any other"),
        ((0.5, 0.9, 0.9), (0.3, 0.4, 0.2), "task", 3, "90.0% on the sample, as much as epoch 2, whose held-out loss is higher"),
        ((0.5, 0.9, 0.9), (0.3, 0.4, 0.4), "task", 2, "90.0% on the sample, as much as epoch 3, and came first"),
        ((0.8, 0.8), (0.3, 0.1), "task", 2, "every epoch scores 80.0%"),
        ((None, None), (0.1, 0.3), "task", 1, "lowest held-out loss, 0.1000"),
        ((0.5, 0.9), (0.1, 0.3), "loss", 1, "lowest held-out loss"),
        ((0.9, 0.5), (0.1, 0.3), "last", 2, "the last epoch"),
        ((None, None, None), (), "task", 3, "the last epoch"),
        ((0.4, 0.6), (), "task", 2, "60.0%"),
        ((0.4, None, 0.6, 0.6), (0.1, 0.0, 0.3, 0.2), "task", 4, "60.0%"),
        ((0.4, None), (0.2, 0.1), "task", 2, "lowest held-out loss"),
    ],
)
def test_the_epoch_that_does_the_task_best_is_kept(
    task: tuple[float | None, ...], eval_loss: tuple[float, ...], keep: str, epoch: int, why: str
) -> None:
    kept = choose(task, eval_loss, keep)
    assert kept.epoch == epoch
    assert why in kept.why


def test_what_is_let_go_of_is_never_what_is_chosen_in_the_end() -> None:
    chance = random.Random(1)
    most = 0
    for _ in range(3000):
        epochs, keep = chance.randint(1, 6), chance.choice(("task", "loss", "last"))
        values = chance.choice(((None,), (0.5,), (0.2, 0.5), (0.2, 0.5, 0.9), (0.2, 0.5, None)))
        task = [chance.choice(values) for _ in range(epochs)]
        eval_loss = [chance.choice((0.1, 0.2, 0.3)) for _ in range(epochs)] if chance.random() < 0.7 else []
        left: set[int] = set()
        for done in range(1, epochs + 1):
            left = (left | {done}) & candidates(task[:done], eval_loss[:done], keep)
            assert done in left, "a killed run goes on from the newest"
            assert choose(task[:done], eval_loss[:done], keep).epoch in left, "a cancelled run keeps the best so far"
            if None not in values:
                most = max(most, len(left))
    assert most == 2, "the best so far and the last"


def test_whole_models_of_epochs_that_cannot_be_chosen_any_more_are_removed(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        (tmp_path / f"epochs/{epoch}/model").mkdir(parents=True)
        (tmp_path / f"epochs/{epoch}/answers.jsonl").touch()
    thin(tmp_path, (0.2, 0.9, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4), "task", wanted=3)
    assert (tmp_path / "epochs/3/model").is_dir(), "a run that is done again is compared in this one"
    thin(tmp_path, (0.2, 0.9, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4), "task")
    assert [(tmp_path / f"epochs/{epoch}/model").is_dir() for epoch in (1, 2, 3, 4)] == [False, True, False, True]
    assert finished(tmp_path) == [1, 2, 3, 4], "what they answered is still told"


@pytest.mark.parametrize(
    ("eval_loss", "said"),
    [
        ((), None),
        ((0.5,), None),
        ((0.5, 0.4, 0.39), None),
        ((0.5, 0.4, 0.45), None),
        ((0.5, 0.4, 0.49), "rose from 0.400 to 0.490: fewer epochs"),
        ((3.0, 2.4), "fell by 20% in the last epoch: more epochs"),
        ((0.4, 0.002, 0.004), None),
        ((0.004, 0.002), None),
        ((0.4, 0.002, 0.02), "rose from 0.002 to 0.020: fewer epochs"),
    ],
)
def test_the_held_out_loss_says_when_epochs_were_too_many_or_too_few(eval_loss: tuple[float, ...], said: str | None) -> None:
    found = said_of(eval_loss)
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ((0.25, 3.48, 2.78, 2.4, 2.0, 1.9, 1.8, 1.6), "the loss rose from 0.250 to 1.700 while it was learned"),
        ((0.25, 0.24, 0.29, 0.21, 0.26, 0.22, 0.3, 0.31), None),
        ((0.02, 0.01, 0.03, 0.02, 0.05, 0.06, 0.05, 0.06), None),
        ((2.5, 9.0, 9.0), None),
    ],
)
def test_a_loss_that_rose_while_it_was_learned_is_told_and_what_batches_differ_by_is_not(
    loss: tuple[float, ...], said: str | None
) -> None:
    found = rose(loss)
    assert found is None if said is None else said in (found or "")


def test_the_sample_goes_round_the_categories_of_the_suite() -> None:
    cases = tuple(
        Case(id=f"{category}{i}", messages=({"role": "user", "content": "?"},), expected="x", category=category)
        for category in "ab"
        for i in range(4)
    )
    asked, scorers = sample(Suite(id="s", model="m", cases=cases, criteria=(), scorers=("contains",)), (), 3)
    assert [line["id"] for line in asked] == ["a0", "b0", "a1"]
    assert scorers == {"contains": {}}


def test_a_case_is_asked_and_scored_as_an_exam_does(tmp_path: Path) -> None:
    said = {"role": "user", "content": "what is the meaning of life?"}
    own = ({"role": "system", "content": "be brief"}, said)
    cases = (
        Case(id="c1", messages=(said,), tags=("out_of_scope",)),
        Case(id="c2", messages=own, expected='{"a": 1}'),
    )
    suite = Suite(id="s", model="m", cases=cases, criteria=(), scorers=("format", "refusal"), scorer_options={})
    asked, scorers = sample(suite, (), 9, system="answer with JSON")
    assert [line["messages"][0]["content"] for line in asked] == ["answer with JSON", "be brief"]
    (tmp_path / "sample.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    (tmp_path / "epochs/1").mkdir(parents=True)
    answers = {"c1": "Sorry, I cannot help with that.", "c2": '{"a": 1}'}
    lines = [json.dumps({"id": id, "answer": answer}) + "\n" for id, answer in answers.items()]
    (tmp_path / "epochs/1/answers.jsonl").write_text("".join(lines))
    scorers["format"] = {"spec": {"kind": "json"}}
    assert shares(tmp_path, tmp_path / "sample.jsonl", scorers, 1) == (1.0,), "a refusal is what out of scope asks for"


@pytest.mark.parametrize(("answer", "scorer"), [('{"a": 1}', "json_fields"), ("As it is.", "exact")])
def test_without_a_suite_held_out_rows_are_asked_and_their_answers_decide_how_they_count(answer: str, scorer: str) -> None:
    said = ({"role": "user", "content": "?"}, {"role": "assistant", "content": answer})
    asked, scorers = sample(None, [Row(id="r1", messages=said), Row(id="r2", messages=said[:1])], 9)
    assert [(line["id"], line["messages"], line["expected"]) for line in asked] == [("r1", [said[0]], answer)]
    assert list(scorers) == [scorer]


def test_the_share_of_an_epoch_is_the_mean_of_its_scores_and_unknown_where_it_was_not_asked(tmp_path: Path) -> None:
    asked = tmp_path / "sample.jsonl"
    lines = [{"id": name, "messages": [], "tools": [], "expected": "yes", "category": ""} for name in ("a", "b")]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "epochs" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "epochs" / ".2").mkdir()
    said = [{"id": "a", "answer": "yes"}, {"id": "b", "answer": "no"}]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    assert shares(tmp_path, asked, {"exact": {}}, 2) == (0.5, None)
    assert finished(tmp_path) == [1]
    assert finished(tmp_path / "nowhere") == []


def test_a_sample_that_nobody_can_score_leaves_the_choice_to_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS.builtin, "away", f"{__name__}:Away")
    (tmp_path / "epochs/1").mkdir(parents=True)
    line = {"id": "a", "messages": [], "expected": "yes", "category": ""}
    (tmp_path / "sample.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "epochs/1/answers.jsonl").write_text(json.dumps({"id": "a", "answer": "yes"}) + "\n")
    assert shares(tmp_path, tmp_path / "sample.jsonl", {"away": {}}, 1) == (None,)
    assert shares(tmp_path, tmp_path / "sample.jsonl", {"away": {}, "exact": {}}, 1) == (1.0,)


class Away:
    """A scorer whose service is away."""

    def applies(self, case: Case) -> bool:
        return True

    def score(self, answer: str, case: Case) -> tuple[float | None, str]:
        raise ConnectionRefusedError


def test_what_an_epoch_learned_is_an_adapter_or_a_whole_model(tmp_path: Path) -> None:
    (tmp_path / "epochs/1/adapter").mkdir(parents=True)
    (tmp_path / "epochs/2/model").mkdir(parents=True)
    assert [learned_of(tmp_path, epoch).name for epoch in (1, 2)] == ["adapter", "model"]
