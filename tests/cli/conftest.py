from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal
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


BUG, REFUND = '{"category": "bug"}', '{"category": "refund"}'
DESK = "model: desk\nsystem: Triage.\nformat: {kind: json, fields: {category: [bug, refund]}}\ndata: {gold_share: 0.3}\n"


@pytest.fixture
def desk(tmp_path: Path, tell: Tell) -> Path:
    """A project with a log of twelve answered requests, one from another segment; a shadow answered two of them as well."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text(DESK)
    rows = [
        logged(i, f"thing {i} is broken on floor {i}", BUG, segments={"plan": "pro" if i == 7 else "free"}) for i in range(12)
    ]
    rows += [logged(50 + i, "copy", a, purpose="shadow", parent_id=f"req_{i:03}") for i, a in enumerate((BUG, REFUND))]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tell("log", "import", tmp_path / "old.jsonl", "--dir", tmp_path).code == 0
    return tmp_path


def logged(place: int, asked: str, answer: str, **fields: Any) -> dict[str, Any]:
    """A record of the log, two hours old."""
    body = {"model": "desk", "messages": [{"role": "system", "content": "Triage."}, {"role": "user", "content": asked}]}
    response = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
    at = datetime.now(UTC) - timedelta(hours=2, minutes=-place)
    known = {"request_id": f"req_{place:03}", "timestamp": at.isoformat(), "model_id": "desk", "version": "v1.0"}
    return {**known, "request": body, "response": response, **fields}


@pytest.fixture
def ask(desk: Path, tell: Tell) -> Tell:
    """`ask("review", …)`: a `data` command about the desk."""

    def run(*words: object) -> Told:
        model = ("--model", "desk") if words[0] == "review" or words[:2] == ("queue", "next") else ()
        return tell("data", *words, *model, "--dir", desk)

    return run


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """`terminal("data", "review", …)`: a command in a terminal of its own."""
    opened: list[Terminal] = []

    def start(*words: str, **environment: str) -> Terminal:
        opened.append(Terminal(*words, **environment))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
