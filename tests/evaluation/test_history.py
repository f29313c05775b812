from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import MODEL, TASK, question, right, rule
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.evaluation import Config, run_exam
from tunekeeper.evaluation.exam import compare_exams
from tunekeeper.evaluation.history import as_text, history
from tunekeeper.workspace import Workspace

Export = Callable[..., Artifact]
Suite = Callable[..., Path]
SOFT = "criteria: [{metric: accuracy, at_least: 0.5}]\n"


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    cases = path.parent / "cases.jsonl"
    rows = change([json.loads(line) for line in cases.read_text().splitlines()])
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_version_has_its_edition_and_the_core_is_what_all_were_asked_alike(
    ws: Workspace, export: Export, write_suite: Suite
) -> None:
    path = write_suite(60, SOFT)
    for name, wrong in (("v1.0", 30), ("v1.1", 12), ("v1.2", 0)):
        export(name, rule(70, wrong=wrong))
    first = run_exam(ws, TASK, Config(), "v1.0", path)["exam"]
    # The new edition: one case expects something else, one is gone, ten are new.
    rewrite(path, lambda rows: [{**rows[0], "expected": json.loads(right(1))}, *rows[2:]])
    new = [{"id": f"c{i}", "input": question(i), "expected": json.loads(right(i))} for i in range(60, 70)]
    rewrite(path, lambda rows: [*rows, *new])
    second = run_exam(ws, TASK, Config(), "v1.1", path)["exam"]
    third = run_exam(ws, TASK, Config(), "v1.2", path)["exam"]

    found = history(ws, MODEL)
    assert [s.exam for s in found.sittings] == [first, second, third]
    assert [(s.edition, s.own, s.joined) for s in found.sittings] == [(1, 60, 0), (2, 69, 0), (2, 69, 0)]
    assert (found.editions, found.core, found.suite) == (2, 58, "core")
    middle = found.sittings[1]
    assert (middle.added, middle.removed, middle.changed) == (tuple(f"c{i}" for i in range(60, 70)), ("c1",), ("c0",))
    # Of the 58 of the core, v1.0 has 28 wrong and v1.1 ten: the new cases make nobody look better.
    assert [s.core.value for s in found.sittings] == [pytest.approx(30 / 58), pytest.approx(48 / 58), 1]
    assert middle.change is not None
    assert (middle.change.n, middle.change.value) == (58, pytest.approx(18 / 58))
    assert found.stale is None
    assert f"{MODEL}@v1.1, edition 2: 10 added, 1 removed, 1 changed" in as_text(found)

    compared = compare_exams(ws, second, first)
    assert (compared.changed, compared.difference.n) == (("c0",), 58)
    assert "c0" not in {flip.case for flip in (*compared.fixed, *compared.broken)}


def test_a_suite_that_does_not_grow_with_its_model_is_told(ws: Workspace, export: Export, write_suite: Suite) -> None:
    path = write_suite(50, SOFT)
    for name in ("v1.0", "v1.1", "v1.2"):
        export(name, rule(50))
        run_exam(ws, TASK, Config(), name, path)
    found = history(ws, MODEL)
    assert found.stale is not None
    assert found.stale.startswith("the last 3 versions were asked edition 1 of the suite")


def test_exams_scored_otherwise_are_not_put_in_one_line(ws: Workspace, export: Export, write_suite: Suite) -> None:
    path = write_suite(50, SOFT)
    export("v1.0", rule(50))
    export("v1.1", rule(50))
    run_exam(ws, TASK, Config(), "v1.0", path)
    path.write_text(path.read_text().replace("[json_fields]", "{json_fields: {fields: [category]}}"))
    run_exam(ws, TASK, Config(), "v1.1", path)
    old, new = history(ws, MODEL).sittings
    assert (old.core.value, new.core.value, new.change, new.demands_changed) == (None, 1, None, True)


def test_a_model_without_exams_has_no_history(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="no finished exam of support-desk"):
        history(ws, MODEL)
