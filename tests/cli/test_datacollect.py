from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.ids import request_id
from tunekeeper.core.nouns.evaluation import Exam, Suite
from tunekeeper.core.nouns.training import Version
from tunekeeper.evaluation.results import Result, encode
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.suite_locks import save_suite_lock
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.store.log import Spool
from tunekeeper.workspace import Workspace, create_workspace

Answer = tuple[int, Any]
BUG, REFUND = json.dumps({"category": "bug"}), json.dumps({"category": "refund"})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """The data directory of a small project."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text(
        "model: desk\nsystem: Sort the ticket.\ndata: {collect_sample: 2, glossary: {Pixel Pad: Pixel Slate}}\n"
    )
    return create_workspace(tmp_path / ".tunekeeper", project=tmp_path)


@pytest.fixture
def run(tmp_path: Path, ws: Workspace, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`run("ls", …)`: exit code and JSON answer of a `data` command about the model desk; with `text` the lines."""

    def command(*words: str, text: bool = False) -> Answer:
        code = main(["data", *words, "--model", "desk", "--dir", str(tmp_path), *([] if text else ["--json"])])
        out = capsys.readouterr().out
        return code, out if text else json.loads(out)

    return command


@pytest.fixture
def said(ws: Workspace) -> list[str]:
    """Three requests of a minute ago: one corrected, one praised, one disliked. Their ids."""
    clock = SystemClock()
    spool = Spool(ws.root, "gateway-0", clock)
    ids = []
    for i, (kind, value) in enumerate((("edit", REFUND), ("thumb", "up"), ("thumb", "down"))):
        at = clock.utc()
        ids.append(request_id(at, ws.request_key()))
        request = {"messages": [{"role": "user", "content": f"My thing number {i} {kind} {value} broke"}]}
        response = {"choices": [{"index": 0, "message": {"role": "assistant", "content": BUG}, "finish_reason": "stop"}]}
        bodies = {"request": json.dumps(request).encode(), "response": json.dumps(response).encode()}
        known = {"request_id": ids[-1], "timestamp": at.isoformat(), "model_id": "desk", "version": "v1", "purpose": "user"}
        spool.ended({**known, "status": "ok", **bodies})
        spool.feedback(
            {"id": f"fb_{i}", "request_id": ids[-1], "timestamp": at.isoformat(), "kind": kind, "value": value, "by": "ana"}
        )
    spool.flush()
    spool.close()
    return ids


def test_what_people_said_is_tried_collected_and_not_collected_twice(run: Callable[..., Answer], said: list[str]) -> None:
    code, tried = run("collect", "--dry-run")
    assert (code, tried["added"], tried["queued"]) == (0, said[:2], {"thumb": 1, "sample": 1})
    code, text = run("collect", text=True)
    assert (code, text.splitlines()[0]) == (0, "added 2 examples; the draft of desk holds 2")
    assert "to review: 1 thumb, 1 sample" in text
    _, again = run("collect", "--since", "1d")
    assert (again["added"], again["known"], again["examples"]) == ([], 2, 2)
    assert run("collect")[1]["said"] == {}


def test_status_says_what_was_collected_last(
    run: Callable[..., Answer], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("collect", "--by", "eve")
    assert main(["status", "--dir", str(tmp_path)]) == 0
    assert "by eve: 2 examples from 3 statements, 2 to review\n" in capsys.readouterr().out


def test_a_kind_that_is_none_is_refused_in_one_line(run: Callable[..., Answer]) -> None:
    code, answer = run("collect", "--kinds", "corrected,applause")
    assert (code, answer["error"]["kind"]) == (2, "UserError")
    assert "applause" in answer["error"]["message"]
    assert run("collect", "--kinds", "tagged")[1]["error"]["fix"] == "name it with --tag"


@pytest.fixture
def rows(run: Callable[..., Answer], tmp_path: Path) -> Callable[..., None]:
    """`rows(n)`: `n` good rows in the draft, two of which are from 2019 and one of which has an old name."""

    def make(n: int) -> None:
        made = [
            {
                "messages": [
                    {"role": "user", "content": "Pixel Pad is slow" if i == 2 else f"Thing {i} fell off floor {i * 13}"},
                    {"role": "assistant", "content": json.dumps({"category": "bug" if i % 2 else "refund"})},
                ],
                "metadata": {"id": f"T{i}", "created": "2019-01-01" if i < 2 else "2026-01-01"},
            }
            for i in range(n)
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
        assert run("import", str(tmp_path / "rows.jsonl"), "--replace")[1]["examples"] == n

    return make


def test_what_is_out_of_date_is_shown_taken_out_and_brought_back(run: Callable[..., Answer], rows: Callable[..., None]) -> None:
    rows(30)
    _, tried = run("prune", "--older-than", "2024-01-01", "--renamed", "--dry-run")
    assert (tried["dropped"], tried["effect"]["before"]["examples"]) == ({"outdated": 2, "stale_vocabulary": 1}, 30)
    code, text = run("prune", "--older-than", "2024-01-01", "--renamed", text=True)
    assert (code, text.splitlines()[0]) == (0, "3 rows left the draft of desk: 2 outdated, 1 stale_vocabulary")
    assert run("readmit", "--reason", "outdated")[1]["examples"] == 29
    assert run("prune", "--older-than", "2024-01-01")[1]["dropped"] == {}
    for words in ((), ("--older-than", "2999-01-01"), ("--older-than", "0d"), ("--older-than", "soon")):
        assert run("prune", *words)[0] == 2


def test_rows_whose_date_nobody_can_read_or_that_lies_ahead_are_told(run: Callable[..., Answer], tmp_path: Path) -> None:
    dates = ("1578218400", "Sun, 05 Jan 2020 10:00:00 GMT", "2026-01-01", "01/05/2020", "", "2099-01-01")
    text = "ticket,reply,created_at\n" + "".join(
        f'Thing {i} fell off floor {i * 13},It lies below {i},"{date}"\n' for i, date in enumerate(dates)
    )
    (tmp_path / "rows.csv").write_text(text)
    assert run("import", str(tmp_path / "rows.csv"))[1]["added"] == 6
    _, tried = run("prune", "--older-than", "2024-01-01", "--dry-run")
    assert [row["line"] for row in tried["rows"]] == [2, 3]
    assert (tried["undated"], tried["unread"], tried["ahead"]) == (2, "01/05/2020", 1)
    lines = run("prune", "--older-than", "2024-01-01", "--dry-run", text=True)[1].splitlines()
    assert lines[1].startswith("2 rows have no date that can be read, such as '01/05/2020', and stay: write dates as ")
    assert lines[2] == "1 rows are dated in the future and stay"


def test_the_effect_on_the_set_is_seen_before_it_is_frozen(run: Callable[..., Answer], rows: Callable[..., None]) -> None:
    assert run("effect")[0] == 2
    rows(30)
    assert run("effect")[1]["parent"] is None
    assert run("freeze")[0] == 0
    rows(40)
    code, found = run("effect")
    assert (code, found["parent"], found["counts"]["added"], found["refused"]) == (0, "desk/d1", 10, "")
    assert {topic["topic"]: topic["added"] for topic in found["topics"]} == {"bug": 5, "refund": 5}
    text = run("effect", text=True)[1]
    assert "10 added, 0 removed" in text
    assert "next: tunekeeper data freeze --model desk --dir " in text.splitlines()[-1]


def examined(ws: Workspace, number: int, errors: int, cases: int = 60, base: str = "b") -> None:
    """A model learned desk/d<number>, and an exam of the suite `core` found that many answers wrong."""
    results = [
        Result(case=f"c{i}", category="bug" if i % 2 else "refund", answer="x", scores={"exact": (float(i >= errors), "")})
        for i in range(cases)
    ]
    results.append(Result(case=f"desk/d{number}:T1", answer="x", scores={"exact": (0.0, "")}))
    exam = Exam(
        id=f"exam_{number}", model="desk", version=f"desk@v{number}", artifact=None, artifact_digest=None, suite="core",
        suite_digest="sha256:s", state="done", answers=ws.blobs.put_bytes(encode(results)),
    )  # fmt: skip
    version = Version(
        id=exam.version, model="desk", name=f"v{number}", major=1, minor=number, base=base, base_digest=f"sha256:{base}",
        dataset=f"desk/d{number}",
    )  # fmt: skip
    suite = Suite(id="core", model="desk", cases=(), criteria=(), scorers=("exact",), digest="sha256:s")
    with ws.state.write(by="test") as tx:
        save_suite_lock(tx, suite)
        save_exam(tx, exam)
        save_version(tx, version)


def test_what_more_examples_would_bring_is_read_off_the_exams_on_record(
    run: Callable[..., Answer], rows: Callable[..., None], ws: Workspace
) -> None:
    code, found = run("forecast")
    assert (code, found["verdict"]) == (3, "inconclusive")
    for number, (size, errors) in enumerate(((30, 30), (60, 22), (120, 15)), 1):
        rows(size)
        assert run("freeze")[0] == 0
        examined(ws, number, errors)
        assert run("forecast")[0] == (0 if number == 3 else 3)
    found = run("forecast", "--more", "120")[1]
    assert [(point["dataset"], point["cases"]) for point in found["points"]] == [
        ("desk/d1", 60),
        ("desk/d2", 60),
        ("desk/d3", 60),
    ]
    assert found["points"][-1]["value"] == 0.75
    assert 2 < found["overall"]["points"]["value"] < 12
    assert found["overall"]["points"]["low"] <= found["overall"]["points"]["value"] <= found["overall"]["points"]["high"]
    assert {topic["topic"] for topic in found["topics"]} == {"bug", "refund"}
    assert run("forecast", "--more", "120", text=True)[1].startswith("120 more examples, mixed as today, would lift accuracy ")
    code, answer = run("forecast", "--metric", "charm")
    assert (code, answer["error"]["fix"]) == (2, "choose from accuracy, exact")


def test_versions_of_another_base_are_no_points_of_the_curve(
    run: Callable[..., Answer], rows: Callable[..., None], ws: Workspace
) -> None:
    for number, (size, errors, base) in enumerate(((30, 50, "small"), (60, 22, "b"), (120, 15, "b")), 1):
        rows(size)
        run("freeze")
        examined(ws, number, errors, base=base)
    code, found = run("forecast")
    assert (code, [point["dataset"] for point in found["points"]]) == (3, ["desk/d2", "desk/d3"])
    assert found["why"].startswith("exams of 2 different sizes (54, 108), 3 are needed")
