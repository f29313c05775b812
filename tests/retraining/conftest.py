"""A desk whose one version is live, with its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollout.conftest import new_desk
from tunekeeper.config import ModelConfig, load_project
from tunekeeper.rollout.moves import promote
from tunekeeper.testing.desk import MODEL, Desk

__all__ = ["new_desk"]

SECTION = """\
data: {min_corrections: 1000}
deployment: {engine: fake}
monitoring: {every_hours: 24, window_hours: 24, min_samples: 20, min_reviewed: 10, baseline_requests: 40}
retraining: {cooldown_days: 2, min_corrections: 10}
"""


@pytest.fixture
def desk(tmp_path: Path, new_desk: Callable[..., Desk]) -> Desk:
    made = new_desk(tmp_path / "desk", section=SECTION)
    made.slot("blue", "v1.0")
    promote(made.ws, MODEL, "blue", by="test", reason="first")
    return made


@pytest.fixture
def config(desk: Desk) -> ModelConfig:
    return load_project(desk.folder).model(MODEL)
