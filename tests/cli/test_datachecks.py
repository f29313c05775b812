from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.cli.app import main

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
NO = "I'm sorry, but I can't help with that."
Answer = tuple[int, Any]


def chat(prompt: str, answer: str, **metadata: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], "metadata": metadata}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with the example's base, without its weights, and a glossary in the model file."""
    (tmp_path / "models").mkdir()
    (tmp_path / "base").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copyfile(BASE / name, tmp_path / "base" / name)
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    (tmp_path / "models" / "desk.yaml").write_text("model: desk\nbase: base\ndata: {glossary: {Pixel Pad: Pixel Slate}}\n")
    rows = [chat(f"Thing {i} broke on floor {i} of the tower", f"ok {i}", id=f"T{i}", created="2025-12-01") for i in range(12)]
    rows += [chat("My Pixel Pad is slow", "bug", id="old"), chat("Sing for us", NO, id="no"), chat("qz" * 1200, "bug", id="long")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`run("ls", …)`: exit code and JSON answer of a `data` command about the model desk."""

    def command(*words: str) -> Answer:
        code = main(["data", *words, "--model", "desk", "--dir", str(project), "--json"])
        return code, json.loads(capsys.readouterr().out)

    assert command("import", str(project / "rows.jsonl"))[1]["added"] == 14
    return command


def test_a_draft_is_checked_mended_and_what_left_it_brought_back(run: Callable[..., Answer], project: Path) -> None:
    _, found = run("check")
    assert found["counts"] == {"refusal": 1, "too_long": 1, "stale_vocabulary": 1}
    assert [(k["kind"], k["count"], k["dropped"], k["ids"]) for k in found["kinds"]] == [
        ("refusal", 1, 1, ["no"]),
        ("too_long", 1, 0, ["long"]),
        ("stale_vocabulary", 1, 0, ["old"]),
    ]
    assert next(f["detail"] for f in found["findings"] if f["kind"] == "too_long").endswith(" tokens, 1024 fit")
    assert found["mix"] == {"examples": 14, "dated": 12, "recent": 12, "recent_days": 30.0, "synthetic": 0}
    _, tried = run("check", "--rewrite", "--drop", "--dry-run")
    assert (tried["dry_run"], tried["counts"]) == (True, found["counts"])
    _, done = run("check", "--rewrite", "--drop")
    assert done["mended"] == tried["mended"]
    assert done["mended"]["rewrite"]["changed"] == ["old"]
    assert (done["mended"]["drop"]["dropped"], done["counts"], done["examples"]) == (
        {"too_long": 1},
        {"refusal": 1, "too_long": 1},
        13,
    )
    _, listed = run("ls", "--dropped")
    assert [(row["reason"], row["id"], row["line"]) for row in listed["dropped_rows"]] == [
        ("refusal", "no", 14),
        ("too_long", "long", 15),
    ]
    _, back = run("readmit", "long", "rows.jsonl:14")
    assert (back["changed"], back["examples"]) == (["long", "no"], 15)
    assert run("check")[1]["counts"] == {}
    out = project / "draft.jsonl"
    assert main(["data", "export", "draft", "--model", "desk", "--out", str(out), "--dir", str(project)]) == 0
    rows = {row["metadata"]["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert rows["old"]["messages"][-2]["content"] == "My Pixel Slate is slow"
    assert rows["old"]["metadata"]["rewritten"][0]["terms"] == {"Pixel Pad": "Pixel Slate"}


def test_a_set_of_synthetic_rows_is_frozen_only_when_forced(run: Callable[..., Answer], project: Path) -> None:
    made_up = project / "made_up.jsonl"
    lines = [json.dumps(chat(f"Question {i} that nobody ever asked", "bug", synthetic=True)) for i in range(8)]
    made_up.write_text("\n".join(lines) + "\n")
    run("import", str(made_up), "--replace")
    assert run("check")[1]["counts"] == {"synthetic_only": 1}
    code, answer = run("freeze")
    assert (code, answer["error"]["message"]) == (2, "desk: all 8 rows are synthetic; none shows real traffic")
    code, frozen = run("freeze", "--force")
    assert (code, frozen["report"]["warnings"]) == (0, ["all 8 rows are synthetic; none shows real traffic"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("readmit", "gone"), "no dropped row of desk is called gone"),
        (("readmit",), "which rows?"),
        (("readmit", "--reason", "odd"), "no kind of finding is called 'odd'"),
        (("check", "--rewrite", "--glossary", "{folder}/none.yaml"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line_with_what_to_do(
    run: Callable[..., Answer], project: Path, words: tuple[str, ...], message: str
) -> None:
    code, answer = run(*(word.format(folder=project) for word in words))
    assert code == 2
    assert message in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]


def test_a_rewrite_without_a_glossary_says_where_to_write_one(run: Callable[..., Answer], project: Path) -> None:
    (project / "models" / "desk.yaml").write_text("model: desk\n")
    code, answer = run("check", "--rewrite")
    assert (code, answer["error"]["message"]) == (2, "no glossary for desk")


def test_the_text_sums_up_by_kind_before_it_names_rows(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ls")[0] == 0
    assert main(["data", "check", "--drop", "--model", "desk", "--dir", str(project)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "dropped 1 rows (1 too_long)",
        "13 rows: 1 refusal, 1 too_long, 1 stale_vocabulary",
        "quality 92.3%: rows about which nothing at all is said",
        "12 of 12 dated rows are from the last 30 days before the newest",
    ]
    assert [line.split()[:3] for line in lines[5:8]] == [
        ["refusal", "1", "1"],
        ["too_long", "1", "1"],
        ["stale_vocabulary", "1", "0"],
    ]
    assert main(["data", "ls", "--dropped", "--model", "desk", "--dir", str(project)]) == 0
    assert "rows.jsonl:15" in capsys.readouterr().out
