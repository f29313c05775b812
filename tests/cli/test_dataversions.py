from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.training import Version
from tunekeeper.evaluation.results import Result, encode
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import open_workspace

Answer = tuple[int, Any]
Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("data", "ls", …)`: exit code and JSON answer (`text=True`: the lines) of a command in a small project."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\nsystem: Triage the ticket.\n")

    def command(*words: str, text: bool = False) -> Answer:
        code = main([*words, "--dir", str(tmp_path), *([] if text else ["--json"])])
        out = capsys.readouterr().out
        return code, out.splitlines() if text else json.loads(out)

    return command


@pytest.fixture
def load(run: Run, tmp_path: Path) -> Callable[..., None]:
    """`load(T3="fine", …)`: the draft is twelve tickets with these answers; None leaves a ticket out."""

    def make(**answers: str | None) -> None:
        rows = [
            {"id": f"T{i}", "user": f"Thing {i} broke on floor {i}", "assistant": answers.get(f"T{i}", f"ok {i}")}
            for i in range(12)
        ]
        file = tmp_path / "tickets.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows if row["assistant"] is not None))
        assert run("data", "import", str(file), "--model", "desk", "--replace")[0] == 0

    return make


@pytest.fixture
def freeze(run: Run, load: Callable[..., None]) -> Callable[..., str]:
    """`freeze(T3="fine", …)`: `load`, and the version that is frozen of it."""

    def make(**answers: str | None) -> str:
        load(**answers)
        return str(run("data", "freeze", "--model", "desk", "--by", "ana")[1]["version"])

    return make


def test_show_says_everything_about_a_version(run: Run, freeze: Callable[..., str]) -> None:
    freeze()
    freeze(T3="fine")
    run("data", "tag", "desk/d1", "first", "--by", "ana")
    code, found = run("data", "show", "first", "--model", "desk")
    assert code == 0
    assert (found["version"], found["parent"], found["children"], found["tags"]) == ("desk/d1", None, ["desk/d2"], ["first"])
    assert (found["examples"], found["train"], found["eval"], found["erased"]) == (12, 11, 1, 0)
    assert (found["author"], found["detached"], found["note"]) == ("ana", False, "")
    assert found["digest"].startswith("sha256:")
    assert found["created"]
    assert found["manifest"].startswith("sha256:")
    assert {"topics", "imports", "warnings"} <= set(found["report"])
    _, lines = run("data", "show", "desk/d2", text=True)
    assert lines[0] == "desk/d2: 11 rows to learn from, 1 held out"
    assert "parent    desk/d1" in lines


def test_line_breaks_in_what_users_bring_make_no_lines_of_their_own(run: Run, freeze: Callable[..., str], tmp_path: Path) -> None:
    freeze()
    named = {"id": "x\nadded    desk/d9", "category": "a\nnote      approved", "user": "Why, then?", "assistant": "So."}
    (tmp_path / "more.jsonl").write_text(json.dumps(named))
    run("data", "import", str(tmp_path / "more.jsonl"), "--model", "desk")
    run("data", "freeze", "--model", "desk", "--note", "fine\nwarning: none")
    said = [
        run("data", "show", "desk/d2", text=True)[1],
        run("data", "diff", "desk/d1", "desk/d2", text=True)[1],
        run("data", "blame", named["id"], "--model", "desk", text=True)[1],
    ]
    assert all(any("‹LF›" in each for each in lines) for lines in said)
    assert not [
        each for lines in said for each in lines if each.startswith(("note      approved", "warning", "added    desk/d9"))
    ]


def test_a_tag_is_taken_by_every_command_and_moves_only_when_asked(run: Run, freeze: Callable[..., str], tmp_path: Path) -> None:
    freeze()
    freeze(T3="fine")
    assert run("data", "tag", "desk/d1", "live")[1]["version"] == "desk/d1"
    code, refused = run("data", "tag", "desk/d2", "live")
    assert (code, refused["error"]["fix"]) == (2, "tunekeeper data tag desk/d2 live --move")
    assert run("data", "diff", "desk/live", "desk/d2")[1]["counts"]["edited"] == 1
    assert run("data", "checkout", "live", "--model", "desk", "--out", str(tmp_path / "o"))[1]["version"] == "desk/d1"
    out = str(tmp_path / "x.jsonl")
    assert (
        run("data", "export", "desk/live", "--out", out)[1] | {"rows": 12, "version": "desk/d1"}
        == run("data", "export", "live", "--model", "desk", "--out", out)[1]
    )
    assert run("data", "tag", "desk/d2", "live", "--move", "--dry-run")[1]["was"] == "desk/d1"
    assert run("data", "show", "desk/live")[1]["version"] == "desk/d1"
    assert run("data", "tag", "desk/d2", "live", "--move")[1]["was"] == "desk/d1"
    log = run("data", "log", "--model", "desk")[1]["versions"]
    assert [(each["version"], each["tags"]) for each in log] == [("desk/d2", ["live"]), ("desk/d1", [])]
    assert run("data", "tag", "desk/d2", "d7")[0] == 2


def test_a_difference_is_written_as_a_page_beside_the_answer(run: Run, freeze: Callable[..., str], tmp_path: Path) -> None:
    freeze()
    freeze(T3="fine 3")
    out = tmp_path / "page.html"
    assert run("data", "diff", "desk/d1", "desk/d2", "--html", str(out)) == run("data", "diff", "desk/d1", "desk/d2")
    assert "<del>ok</del> <ins>fine</ins> 3" in out.read_text("utf-8")
    assert run("data", "diff", "desk/d1", "desk/d2", "--html", str(out), text=True)[1][-1] == f"page: {out}"


def test_revert_makes_the_draft_what_it_was_and_keeps_the_rest(run: Run, freeze: Callable[..., str]) -> None:
    freeze()
    freeze(T3="fine", T5=None)
    _, would = run("data", "revert", "desk/d1", "--dry-run")
    assert (would["kept"], would["changed"], run("data", "ls", "--model", "desk")[1]["examples"]) == ("desk/d2", True, 11)
    code, lines = run("data", "revert", "desk/d1", "--by", "ana", text=True)
    assert code == 0
    assert lines[:-1] == [
        "the draft of desk is what desk/d1 held: 12 rows",
        "what it held before: desk/d2 (back with: tunekeeper data revert desk/d2)",
    ]
    assert lines[-1].startswith("next: tunekeeper data freeze --model desk --dir ")
    _, frozen = run("data", "freeze", "--model", "desk")
    assert (frozen["version"], frozen["parent"], frozen["report"]["origin"]["reverted_to"]) == ("desk/d3", "desk/d2", "desk/d1")
    assert run("data", "diff", "desk/d1", "desk/d3")[1]["counts"]["unchanged"] == 12
    assert run("data", "revert", "desk/d9")[0] == 2


def test_blame_names_version_source_and_edits(run: Run, freeze: Callable[..., str]) -> None:
    freeze(T3=None)
    freeze()
    freeze(T3="fine 3")
    code, found = run("data", "blame", "T3", "--model", "desk")
    assert code == 0
    told = [(e["what"], e["version"], e["author"]) for e in found["events"]]
    assert told == [("added", "desk/d2", "ana"), ("edited", "desk/d3", "ana")]
    assert found["events"][1]["detail"].endswith("[-ok-]{+fine+} 3")
    assert (found["source"].split(":")[:2], found["request"]) == (["file", "tickets.jsonl"], None)
    _, lines = run("data", "blame", "T3", "--model", "desk", text=True)
    assert lines[1].startswith("added    desk/d2  ")
    assert run("data", "blame", "T99", "--model", "desk")[0] == 2


def test_merge_with_what_a_version_grew_from_is_that_version(run: Run, freeze: Callable[..., str]) -> None:
    freeze()
    freeze(T3="fine", T4="fine")
    code, found = run("data", "merge", "desk/d1", "desk/d2", "--dry-run")
    assert (code, found["base"], found["conflicts"], found["counts"]["from_b"]) == (0, "desk/d1", [], 2)
    assert run("data", "merge", "desk/d2", "desk/d1")[1]["draft"]["changed"] is False
    code, refused = run("data", "merge", "desk/d1", "desk/d2", "--prefer", "c")
    assert (code, "not a or b" in refused["error"]["message"]) == (2, True)


def test_merge_shows_conflicts_side_by_side_and_writes_nothing_until_a_side_is_preferred(
    run: Run, load: Callable[..., None], freeze: Callable[..., str]
) -> None:
    freeze()
    load(T3="mine", T6="mine")
    kept = run("data", "revert", "desk/d1")[1]["kept"]
    assert kept == "desk/d2"
    theirs = freeze(T3="theirs")
    code, found = run("data", "merge", theirs, kept)
    assert (code, found["draft"], found["base"]) == (1, None, "desk/d1")
    [conflict] = found["conflicts"]
    texts = {side: conflict[side]["messages"][-1]["content"] for side in ("base", "a", "b")}
    assert texts == {"base": "ok 3", "a": "theirs", "b": "mine"}
    _, lines = run("data", "merge", theirs, kept, text=True)
    assert "  b     Thing 3 broke on floor 3 => mine" in lines
    assert "nothing was written" in lines
    assert run("data", "ls", "--model", "desk")[1]["changed"] is False
    code, done = run("data", "merge", theirs, kept, "--prefer", "a")
    assert (code, done["draft"]["examples"], done["draft"]["kept"]) == (0, 12, theirs)
    assert run("data", "diff", theirs, run("data", "freeze", "--model", "desk")[1]["version"])[1]["counts"]["edited"] == 1


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., None]:
    """`examined(1, "c1", 1.0, answer=…)`: a model learned desk/d1, and an exam gave its answer to that case that score."""

    def make(
        number: int, case: str, value: float | None, *, answer: str | None = "ok", scorer: str = "exact", by: str = ""
    ) -> None:
        ws = open_workspace(tmp_path / ".tunekeeper", project=tmp_path)
        results = [
            Result(case="other", answer="x", scores={scorer: (1.0, "")}),
            Result(case=case, answer=answer, scores={"format": (1.0, ""), scorer: (value, "")}),
        ]
        exam = Exam(
            id=f"exam_{number}{scorer}{by}", model="desk", version=f"desk@v{number}{by}", artifact=None, artifact_digest=None,
            suite="core", suite_digest="sha256:s", state="done", answers=ws.blobs.put_bytes(encode(results)),
        )  # fmt: skip
        version = Version(
            id=exam.version, model="desk", name=f"v{number}{by}", major=1, minor=number, base="b", base_digest="sha256:b",
            dataset=f"desk/d{number}",
        )  # fmt: skip
        with ws.state.write(by="test") as tx:
            save_exam(tx, exam)
            save_version(tx, version)

    return make


def test_bisect_names_the_version_after_which_a_case_broke(
    run: Run, freeze: Callable[..., str], examined: Callable[..., None]
) -> None:
    for answer in ("a", "b", "c", "d"):
        freeze(T3=answer)
    assert run("data", "bisect", "c1", "--model", "desk")[0] == 3
    assert run("data", "bisect", "c1", "--model", "dosk")[0] == 2
    examined(1, "c1", 1.0)
    examined(2, "c1", None)
    examined(4, "c1", 1.0, answer=None)
    code, found = run("data", "bisect", "c1", "--model", "desk")
    assert (code, found["verdict"], found["good"], found["bad"]) == (0, "broke", "desk/d1", "desk/d4")
    assert found["between"] == ["desk/d2", "desk/d3"]
    assert [each["state"] for each in found["seen"]] == ["right", "not asked", "not asked", "wrong"]
    _, lines = run("data", "bisect", "c1", "--model", "desk", text=True)
    assert lines[0] == "c1 broke after desk/d1: desk/d4 is the first that gets it wrong"
    assert lines[-1].startswith("next: tunekeeper data diff desk/d1 desk/d4 --dir ")
    examined(4, "c1", 1.0, by="b")
    _, lines = run("data", "bisect", "c1", "--model", "desk", text=True)
    assert lines[0] == "c1 broke after desk/d1: desk/d4 is the first of which not every model gets it right"
    assert run("data", "bisect", "other", "--model", "desk")[1]["verdict"] == "right now"


def test_bisect_looks_at_the_versions_that_the_newest_grew_from_and_not_at_what_was_reverted(
    run: Run, freeze: Callable[..., str], examined: Callable[..., None]
) -> None:
    for answer in ("a", "b", "c"):
        freeze(T3=answer)
    examined(1, "c1", 1.0)
    examined(2, "c1", 1.0)
    examined(3, "c1", 0.0)
    assert run("data", "revert", "desk/d1")[0] == 0
    assert freeze(T4="else") == "desk/d4"
    _, found = run("data", "bisect", "c1", "--model", "desk")
    assert (found["verdict"], found["good"], [each["dataset"] for each in found["seen"]]) == (
        "right now",
        "desk/d1",
        ["desk/d1", "desk/d4"],
    )
    assert freeze(T4="more") == "desk/d5"
    examined(5, "c1", 0.0)
    _, found = run("data", "bisect", "c1", "--model", "desk")
    assert (found["verdict"], found["good"], found["bad"], found["between"]) == ("broke", "desk/d1", "desk/d5", ["desk/d4"])
    assert run("data", "merge", "desk/d5", "desk/d3", "--prefer", "a")[0] == 0
    assert freeze(T5="both") == "desk/d6"
    _, found = run("data", "bisect", "c1", "--model", "desk")
    assert [each["dataset"] for each in found["seen"]] == [f"desk/d{n}" for n in range(1, 7)]
    examined(6, "c1", 0.0)
    assert run("data", "merge", "desk/d4", "desk/d3", "--prefer", "a")[0] == 0
    assert freeze(T6="both") == "desk/d7"
    examined(4, "c1", 1.0)
    examined(7, "c1", 0.0)
    _, found = run("data", "bisect", "c1", "--model", "desk")
    assert (found["good"], found["bad"]) == ("desk/d2", "desk/d3"), "what the merge brought"


def test_bisect_knows_a_held_out_example_under_the_name_of_each_version(
    run: Run, freeze: Callable[..., str], examined: Callable[..., None]
) -> None:
    for number in (1, 2):
        freeze(T3=str(number))
        examined(number, f"desk/d{number}:T3", 2.0 - number)
    found = run("data", "bisect", "T3", "--model", "desk")[1]
    assert (found["verdict"], found["good"], found["bad"]) == ("broke", "desk/d1", "desk/d2")
    assert run("data", "bisect", "T3", "--model", "desk", "--scorer", "format")[1]["verdict"] == "right now"
