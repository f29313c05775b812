"""What two runs differ in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.comparing import compare

RUN = TrainingRun(
    id="run_a",
    model="desk",
    dataset="desk/d1",
    dataset_digest="sha256:1",
    recipe={"rank": 16, "epochs": 3},
    recipe_digest="sha256:r",
    base="base",
    base_digest="sha256:b",
    state="done",
    final_loss=0.5,
    eval_loss=(0.6, 0.4, 0.5),
    task=(0.5, 0.8, 0.75),
    machine={"torch": "2.13.0"},
)


def test_one_difference_is_named_as_what_explains_the_outcome() -> None:
    found = compare(RUN, replace(RUN, id="run_b", recipe={"rank": 32, "epochs": 3}, task=(0.6, 0.9, 0.9)))
    assert [(c.what, c.a, c.b) for c in found.changes] == [("recipe.rank", 16, 32)]
    assert found.outcome["best_task"] == (0.8, 0.9)
    assert found.outcome["best_eval_loss"] == (0.4, 0.4)
    assert "seconds" not in found.outcome, "what neither run has measured is left out"
    assert "only recipe.rank differs" in found.says[0]
    assert "+10.0%" in found.says[-1]


def test_what_differs_besides_the_machine_is_not_said_to_be_all_that_differs() -> None:
    found = compare(RUN, replace(RUN, id="run_b", recipe={"rank": 32, "epochs": 3}, machine={"torch": "2.14.0"}))
    assert [change.what for change in found.changes] == ["recipe.rank", "machine.torch"]
    assert found.says == ("recipe.rank and the machine differ: neither alone can be held to explain the outcome",)


def test_a_base_that_speaks_otherwise_is_a_difference_where_both_runs_say_how_it_spoke() -> None:
    spoken = replace(RUN, tokenizer_digest="sha256:t", template_digest="sha256:c")
    found = compare(spoken, replace(spoken, id="run_b", template_digest="sha256:d"))
    assert [(c.what, c.a, c.b) for c in found.changes] == [("template", "sha256:c", "sha256:d")]
    assert compare(RUN, replace(spoken, id="run_b")).changes == ()


def test_several_differences_explain_nothing_and_losses_of_other_rows_are_not_compared() -> None:
    other = replace(RUN, id="run_b", dataset_digest="sha256:2", parent="desk@v1.0", machine={"torch": "2.14.0"})
    found = compare(RUN, other)
    assert [c.what for c in found.changes] == ["dataset", "parent", "machine.torch"]
    assert "2 things differ at once" in found.says[0]
    assert any("cannot be compared" in line for line in found.says)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"recipe": {"rank": 16, "epochs": 3, "objective": "dpo"}}, "recipe.objective"),
        ({"tokenizer_digest": "sha256:u"}, "tokenizer"),
        ({"recipe": {"rank": 16, "epochs": 4}}, None),
    ],
)
def test_losses_that_measure_something_else_are_not_compared(changed: dict[str, Any], named: str | None) -> None:
    spoken = replace(RUN, tokenizer_digest="sha256:t", template_digest="sha256:c")
    said = [line for line in compare(spoken, replace(spoken, id="run_b", **changed)).says if "cannot be compared" in line]
    assert [f"with another {named} the losses" in line for line in said] == ([True] if named else [])


def test_the_same_run_twice_differs_in_nothing() -> None:
    found = compare(RUN, RUN)
    assert found.changes == ()
    assert "the same base, data and recipe" in found.says[0]


def test_the_energy_that_a_run_took_is_what_came_out_of_it() -> None:
    a, b = (replace(RUN, id=id, machine=RUN.machine | {"energy_wh": used}) for id, used in (("run_a", 1.5), ("run_b", 1.6)))
    found = compare(a, b)
    assert found.changes == ()
    assert found.outcome["energy_wh"] == (1.5, 1.6)
    assert found.says == ("the same base, data and recipe went in, on the same machine: the same came out",)
    assert "comes from chance" in compare(a, replace(b, final_loss=0.6)).says[0]
    assert "comes from the machine" in compare(a, replace(b, machine={"torch": "2.14.0"})).says[0]


def test_what_the_curves_say_of_the_epochs_is_said_where_only_one_of_two_runs_learned_by_heart() -> None:
    found = compare(replace(RUN, eval_loss=(0.6, 0.58, 0.58)), replace(RUN, id="run_b", recipe={"rank": 16, "epochs": 8}))
    assert found.says[0] == "run_b: eval_loss rose from 0.400 to 0.500: fewer epochs would do"
    assert "only recipe.epochs differs" in found.says[1]


def test_the_same_rows_in_another_order_are_said_to_be_the_same() -> None:
    found = compare(RUN, replace(RUN, id="run_b", dataset="desk/d2", dataset_digest="sha256:2"), reordered=True)
    assert "the datasets hold the same rows in another order" in found.says[1]
    assert not any("cannot be compared" in line for line in found.says)


def test_two_models_that_learned_the_same_rows_differ_by_nothing_that_could_explain_the_outcome() -> None:
    found = compare(RUN, replace(RUN, id="run_2", model="office", final_loss=0.4))
    assert [change.what for change in found.changes] == ["model"]
    assert found.says == ("the same base, data and recipe went in, on the same machine: what differs comes from chance",)
    other = compare(RUN, replace(RUN, id="run_2", model="office", dataset_digest="sha256:other"))
    assert "the losses are of different rows and cannot be compared; an exam on one suite can" in other.says
