from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main

Tell = Callable[..., "Told"]


class Told:
    """What a command line said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Run a command line in this process."""

    def run(*words: object) -> Told:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Told(code, said.out, said.err)

    return run


@pytest.fixture
def project(tmp_path: Path, tell: Tell) -> Path:
    """A new project with one model."""
    folder = tmp_path / "support"
    assert tell("init", folder, "--model", "support-desk").code == 0
    return folder
