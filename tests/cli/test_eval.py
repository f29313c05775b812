from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace, create_workspace

MODEL_FILE = "model: desk\nbase: base\nformat: {kind: regex, pattern: '[a-z]+'}\nevaluation: {suite: suites/core.yaml}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("models", "suites", "base"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("project: x\n")
    (tmp_path / "models" / "desk.yaml").write_text(MODEL_FILE)
    rows = [
        {"id": f"c{i}", "input": f"say {'ja' if i % 2 else 'nein'} {i}", "expected": "ja" if i % 2 else "nein"} for i in range(60)
    ]
    (tmp_path / "suites" / "core.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suites" / "core.yaml").write_text("suite: core\nmodel: desk\ncases: core.jsonl\n")
    ws = create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    export(ws, "v1", {"contains": {"ja": "ja", "nein": "nein"}})
    export(ws, "v2", {"default": "ja"})
    return tmp_path


def export(ws: Workspace, name: str, rule: dict[str, Any]) -> None:
    digest = ws.blobs.put_bytes(json.dumps(rule).encode())
    with ws.state.write(by="test") as tx:
        save_version(
            tx,
            Version(
                id=f"desk@{name}", model="desk", name=name, major=1, minor=0, base="b", base_digest="sha256:b", adapter="sha256:a"
            ),
        )
        save_artifact(tx, Artifact(id=f"art_{name}", model="desk", version=f"desk@{name}", engine="fake", digest=digest))


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(["eval", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_eval_run_prints_the_contract_and_exits_by_its_verdict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("run", "--model", "desk", "--suite", "suites/core.yaml", "--dir", str(project), "--version")
    code, good = command(capsys, *asked, "v1")
    assert code == 0
    assert (good["verdict"], good["cases"], good["inconclusive_because"]) == ("pass", 60, None)
    assert set(good["metrics"]["accuracy"]) == {"value", "low", "high", "n"}
    code, bad = command(capsys, *asked, "desk@v2")
    assert (code, bad["verdict"], bad["metrics"]["accuracy"]["value"]) == (1, "fail", 0.5)
    code, again = command(capsys, "show", bad["exam"], "--dir", str(project))
    assert (code, again["reasons"]) == (1, bad["reasons"])
    assert (again["cases"], len(again["answers"]), {each["answer"] for each in again["answers"]}) == (60, 20, {"ja"})
    assert all(each["expected"] == "nein" and each["wrong"] for each in again["answers"])
    code, whole = command(capsys, "show", good["exam"], "--all", "--limit", "100", "--dir", str(project))
    assert (code, len(whole["answers"]), [each["wrong"] for each in whole["answers"]]) == (0, 60, [[]] * 60)
    code, listed = command(capsys, "ls", "--dir", str(project))
    assert [exam["id"] for exam in listed["exams"]] == [bad["exam"], good["exam"]]
    code, flips = command(capsys, "compare", good["exam"], bad["exam"], "--dir", str(project))
    assert (code, len(flips["fixed"]), flips["broken"]) == (0, 30, [])
    assert main(["eval", "compare", good["exam"], bad["exam"], "--dir", str(project)]) == 0
    assert capsys.readouterr().out.startswith("accuracy +50.0% (n=60): 30 fixed, 0 broken")


def test_few_cases_exit_3_and_say_why(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / "suites" / "core.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:10]))
    code, found = command(capsys, "run", "--model", "desk", "--version", "v1", "--dir", str(project))
    assert (code, found["verdict"], found["inconclusive_because"]) == (3, "inconclusive", "10 cases of at least 50")


def test_a_person_reads_the_verdict_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", "--model", "desk", "--version", "v1", "--dir", str(project)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "PASS: desk@v1 on 60 cases of core"
    assert any(line.startswith("  accuracy 100.0% of 60") for line in lines)
    assert lines[-2].startswith("wrong answers: tunekeeper eval show exam_")
    assert lines[-1] == f"next: tunekeeper deploy start desk v1 --dir {project}"


def test_a_person_who_asks_why_sees_the_wrong_answers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", "--model", "desk", "--version", "v2", "--dir", str(project)]) == 1
    exam = capsys.readouterr().out.split()[-1]
    assert main(["eval", "show", exam, "--limit", "1", "--dir", str(project)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[-4:] == ["  asked   say nein 0", "  said    ja", "  wanted  nein", "29 more: --limit 30"]


def test_what_is_missing_is_one_line_with_exit_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "suites" / "core.yaml").unlink()
    assert main(["eval", "run", "--model", "desk", "--version", "v1", "--dir", str(project)]) == 2
    assert "no suite file" in capsys.readouterr().err
    assert main(["eval", "init", "--model", "desk", "--dir", str(project)]) == 2
    assert "core.jsonl exists already" in capsys.readouterr().err


def test_cases_export_says_what_it_added(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = project / "suites" / "more.jsonl"
    asked = ("cases", "export", "--model", "desk", "--out", str(out), "--dir", str(project))
    assert command(capsys, *asked) == (0, {"added": 0, "out": str(out)})
    assert command(capsys, *asked, "--dry-run")[0] == 0
    assert not out.exists()


def test_a_first_suite_says_when_it_is_too_small_for_a_verdict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = project / "rows.jsonl"
    said = [
        [{"role": "user", "content": f"{word} parcel {n}"}, {"role": "assistant", "content": word}]
        for n, word in enumerate(f"word{n}" for n in range(200))
    ]
    rows.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in said))
    where = ("--model", "desk", "--dir", str(project))
    assert main(["data", "import", str(rows), *where]) == 0
    assert main(["data", "freeze", *where]) == 0
    capsys.readouterr()
    assert main(["eval", "init", *where, "--suite", "suites/first.yaml"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "a verdict needs 50 cases: add some of your own, or set evaluation.min_cases"
    own = "evaluation: {suite: suites/first.yaml}"
    assert shown[2] == f"gates ask suites/core.yaml; to ask this one, in models/desk.yaml: {own}"
