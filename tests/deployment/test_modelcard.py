from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from tests.deployment.mlflow import make_exam, make_trained
from tunekeeper.deployment.mlflowpush import packed
from tunekeeper.deployment.modelcard import card
from tunekeeper.workspace import create_workspace


def test_a_card_says_what_it_belongs_to_what_made_it_and_what_judged_it(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data")
    package = packed(ws, make_trained(ws, tmp_path))
    text = card(package.version, package.run, package.exams)
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["base_model"], told["base_model_relation"], told["library_name"]) == ("base", "adapter", "peft")
    assert told["datasets"] == ["support-desk/d1"]
    assert told["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.9}]
    assert f"| base weights | `{package.version.base_digest}` |" in body
    assert f"| dataset | `sha256:{'d' * 64}` |" in body
    assert "| learning_rate | 0.0002 |" in body
    assert "| core | accuracy | 0.9000 | 0.8000 to 0.9500 | 120 | pass |" in body


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data")
    version = make_trained(ws, tmp_path)
    text = card(dataclasses.replace(version, run=None, dataset=None, metadata={"imported_from": "lora/"}), None, ())
    assert "came from elsewhere (lora/)" in text
    assert "None yet: nothing is known about its quality." in text
    assert "model-index" not in text
    assert "datasets" not in text


def test_an_exam_that_measured_nothing_gives_no_number(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data")
    version = make_trained(ws, tmp_path)
    exam = make_exam(ws, version, "exam_2", float("nan"), "inconclusive")
    assert exam.verdict is not None
    empty = dataclasses.replace(exam, verdict=dataclasses.replace(exam.verdict, measured={}))
    assert "None yet" in card(version, None, (empty,))
