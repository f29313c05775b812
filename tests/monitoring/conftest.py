"""A desk whose one version is live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollout.conftest import new_desk
from tunekeeper.rollout.moves import promote
from tunekeeper.testing.desk import MODEL, Desk

__all__ = ["new_desk"]


@pytest.fixture
def desk(tmp_path: Path, new_desk: Callable[..., Desk]) -> Desk:
    made = new_desk(tmp_path / "desk")
    made.slot("blue", "v1.0")
    promote(made.ws, MODEL, "blue", by="test", reason="first")
    return made
