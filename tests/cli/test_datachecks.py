from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import planted_faults as planted
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
    assert (back["changed"], back["examples"]) == (["no", "long"], 15)
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
    assert run("freeze", "--dry-run") == (code, answer)
    assert run("freeze", "--dry-run", "--force")[1] == {"dry_run": True, "same_as": None, "examples": 8}
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
        "quality 0.98: 92% of the rows are clean, 0 score below 0.5",
        "12 of 12 dated rows are from the last 30 days before the newest",
    ]
    assert [line.split()[:3] for line in lines[5:8]] == [
        ["refusal", "1", "1"],
        ["too_long", "1", "1"],
        ["stale_vocabulary", "1", "0"],
    ]
    assert main(["data", "ls", "--dropped", "--model", "desk", "--dir", str(project)]) == 0
    assert "rows.jsonl:15" in capsys.readouterr().out


def test_the_many_rows_of_one_kind_do_not_hide_the_few_of_another(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [chat(f"My Pixel Pad in room {i} of house {i * 7} is slow", f"so {i}", id=f"P{i}") for i in range(60)]
    (project / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, chat("Dance for us", NO, id="never")]))
    assert run("import", str(project / "more.jsonl"))[1]["added"] == 60
    assert main(["data", "check", "--model", "desk", "--dir", str(project)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("") + 2 : -2]
    assert [line.split()[0] for line in table] == ["too_long"] + ["refusal"] * 2 + ["stale_vocabulary"] * 47
    assert lines[-2] == "… and 14 more: --only KIND shows those of one kind, --json names them all"


QUESTIONS = (
    "Why is the {} of floor {} so {}?",
    "Can somebody look at the {} on floor {}? It is {}.",
    "Our {} in room {} has been {} since May.",
)
THINGS = ("lamp", "printer", "door", "heater", "window", "lift", "screen", "phone", "desk", "chair", "camera", "kettle", "clock")
STATES = ("loud", "slow", "cold", "dark", "wet", "broken", "hot", "dirty", "locked", "empty", "bright")
EVERYTHING = (
    "{answer_equals_prompt: flag, truncated: flag, refusals: flag, mojibake: flag, template_leak: flag, contradictions: flag}"
)


def _asked(n: int) -> str:
    return QUESTIONS[n % 3].format(THINGS[n % 13], n, STATES[n % 11])


def _planted() -> tuple[list[dict[str, Any]], dict[str, set[str]], set[str]]:
    """Rows, kind of fault → ids of the rows that have it, and ids of rows that have none."""
    faulty = {"refusal": planted.REFUSALS, "truncated": planted.TRUNCATED, "mojibake": planted.MOJIBAKE}
    faulty |= {"template_leak": planted.TEMPLATES, "empty": planted.EMPTY}
    clean = [*planted.NO_REFUSALS, *planted.COMPLETE, *planted.REAL_LETTERS, *planted.NO_TEMPLATES, *planted.NOT_EMPTY]
    rows: list[dict[str, Any]] = []
    wrong: dict[str, set[str]] = {}
    for kind, answers in faulty.items():
        wrong[kind] = {f"{kind}-{i}" for i in range(len(answers))}
        rows += [chat(_asked(len(rows) + i), answer, id=f"{kind}-{i}") for i, answer in enumerate(answers)]
    wrong["answer_equals_prompt"] = {f"repeat-{i}" for i in range(len(planted.REPEATS))}
    rows += [chat(*pair, id=f"repeat-{i}") for i, pair in enumerate(planted.REPEATS)]
    talks = {"bad_roles": planted.BAD_ROLES, "broken": planted.BAD_WEIGHTS}
    for kind, all_of_them in talks.items():
        wrong[kind] = {f"{kind}-{i}" for i in range(len(all_of_them))}
        rows += [{"messages": talk, "metadata": {"id": f"{kind}-{i}"}} for i, talk in enumerate(all_of_them)]
    start = len(rows)
    rows += [chat(_asked(start + i), answer, id=f"clean-{i}") for i, answer in enumerate(clean)]
    rows += [chat(*pair, id=f"clean-r{i}") for i, pair in enumerate(planted.NO_REPEATS)]
    rows += [{"messages": talk, "metadata": {"id": f"clean-t{i}"}} for i, talk in enumerate(planted.GOOD_ROLES)]
    return rows, wrong, {row["metadata"]["id"] for row in rows[start:]}


def test_of_hundreds_of_planted_faults_every_one_is_found_and_nothing_else(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "models" / "desk.yaml").write_text(f"model: desk\nbase: base\ndata: {EVERYTHING}\n")
    rows, wrong, clean = _planted()
    (project / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--model", "desk", "--dir", str(project), "--json")
    assert main(["data", "import", str(project / "hostile.jsonl"), *words]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["dropped"] == {"bad_roles": 14, "empty": 13, "broken": 3}
    assert main(["data", "check", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    told: dict[str, set[str]] = {}
    for each in found["findings"]:
        told.setdefault(each["kind"], set()).add(each["id"])
    assert {kind: ids - told[kind] for kind, ids in wrong.items() if ids - told[kind]} == {}
    assert {kind: len(ids) for kind, ids in wrong.items()} == {
        "refusal": 89,
        "truncated": 36,
        "mojibake": 52,
        "template_leak": 58,
        "empty": 13,
        "answer_equals_prompt": 7,
        "bad_roles": 14,
        "broken": 3,
    }
    assert {kind: ids & clean for kind, ids in told.items() if kind in wrong and ids & clean} == {}
    assert len(clean) == 241


def test_answers_that_are_not_in_the_models_format_are_told_with_their_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = "{type: object, required: [category], properties: {category: {enum: [bug, bill]}, tags: {items: {type: string}}}}"
    text = f"model: desk\nbase: base\nformat: {{kind: schema, schema: {schema}}}\ndata: {{format: %s}}\n"
    (project / "models" / "desk.yaml").write_text(text % "flag")
    answers = (
        '{"category": "bug"}',
        '{"category": "bug", "tags": ["a", 3]}',
        '{"tags": []}',
        "bug",
        '{"category": "bill", "x": 1}',
    )
    rows = [chat(_asked(i), answer, id=f"f{i}") for i, answer in enumerate(answers)]
    (project / "formed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--model", "desk", "--dir", str(project), "--json")
    assert main(["data", "import", str(project / "formed.jsonl"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["flagged"] == {"format": 3}
    assert main(["data", "check", "--only", "format", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(f["id"], f["detail"]) for f in found["findings"]] == [
        ("f1", "$.tags[1]: is 3, not of type string"),
        ("f2", "$.category: is missing"),
        ("f3", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ]
    (project / "models" / "desk.yaml").write_text(text % "drop")
    assert main(["data", "import", str(project / "formed.jsonl"), "--replace", *words]) == 0
    assert json.loads(capsys.readouterr().out)["dropped"] == {"format": 3}


def test_the_quality_of_the_data_stands_in_the_log_and_beside_the_version(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check")
    run("check", "--context", "20")  # what another limit would do is no fault of the version
    assert run("freeze")[0] == 0
    capsys.readouterr()
    assert main(["data", "show", "desk/d1", "--dir", str(project)]) == 0
    assert "quality   0.94 (86% clean, 0 low): 1 stale_vocabulary, 1 too_long" in capsys.readouterr().out.splitlines()
    assert main(["data", "log", "--model", "desk", "--dir", str(project)]) == 0
    assert "0.94" in capsys.readouterr().out


def test_a_version_that_nobody_checked_says_so_where_its_quality_stands(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunekeeper.data.judged.FEW", 13)
    _, frozen = run("freeze")
    told = run("log")[1]["versions"][0]["report"]["quality"]
    assert (told["score"], told["at_most"], told["rows"]) == (None, 1.0, 14), frozen
    assert main(["data", "log", "--model", "desk", "--dir", str(project)]) == 0
    assert " unchecked " in capsys.readouterr().out
    assert main(["data", "show", "desk/d1", "--dir", str(project)]) == 0
    assert "quality   unchecked, at most 1.00 (100% clean, 0 low)" in capsys.readouterr().out.splitlines()


def test_a_tokenizer_that_cannot_be_made_is_told_beside_the_lengths_it_was_to_count(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check")[1]["lengths"] is None
    (project / "base" / "tokenizer.json").unlink()
    assert run("check")[1]["lengths"].startswith("estimated at 4 characters a token: ")
    assert main(["data", "check", "--model", "desk", "--dir", str(project)]) == 0
    assert capsys.readouterr().out.startswith("tokens are estimated at 4 characters a token: ")


def test_a_check_ends_with_the_command_that_mends_what_it_found(
    run: Callable[..., Answer], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def following(*words: str) -> str:
        assert main(["data", "check", "--model", "desk", "--dir", str(project), *words]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert following().startswith("next: tunekeeper data check --model desk --rewrite")
    assert following("--rewrite").startswith("next: tunekeeper data check --model desk --drop")
    assert following("--drop").startswith("next: tunekeeper data effect --model desk")
    (project / "more.yaml").write_text("tower: hall\n")
    named = str(project / "more.yaml")
    assert f"data check --model desk --glossary {named} --rewrite" in following("--glossary", named)
