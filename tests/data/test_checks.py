from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts, filerows, versions
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
Tickets = Callable[..., list[tuple[str, str]]]


def chat(prompt: str, answer: str, **metadata: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], "metadata": metadata}


@pytest.fixture
def draft(ws: Workspace, task: Model, write: Write, tickets: Tickets) -> Callable[..., None]:
    def make(extra: tuple[Any, ...] = (), section: Config = Config(), n: int = 30) -> None:
        rows = [chat(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(n))]
        data.import_files(ws, task, section, [write("rows.jsonl", [*rows, *extra])])

    return make


def test_a_clean_draft_has_no_findings_and_full_quality(ws: Workspace, task: Model, draft: Any) -> None:
    draft()
    found = checks.check(ws, task, Config())
    assert (found.findings, found.examples, found.quality, found.clean, found.scores) == ((), 30, 1.0, 1.0, {})


def test_what_an_import_dropped_is_told_again_beside_what_is_still_wrong(ws: Workspace, task: Model, draft: Any) -> None:
    draft(("broken", chat("Is Nimbus Mail down?", "We look. And then the whole team will go on to", id="n")))
    found = checks.check(ws, task, Config(glossary={"Nimbus Mail": "Lumen Post"}))
    told = [(f.kind, f.id, f.file, f.line, f.topic) for f in found.findings]
    assert told == [
        ("broken", None, "rows.jsonl", 31, None),
        ("truncated", "n", "rows.jsonl", 32, None),
        ("stale_vocabulary", "n", "rows.jsonl", 32, "Nimbus Mail"),
    ]
    assert (found.clean, found.low, found.scores) == (pytest.approx(30 / 31, abs=1e-4), 1, {"n": 0.21})
    assert found.quality == pytest.approx((30 + 0.21) / 31, abs=1e-4)
    assert [f.kind for f in checks.check(ws, task, Config(), only="broken").findings] == ["broken"]


def test_leaks_and_uncovered_topics_are_told_against_a_file(
    ws: Workspace, task: Model, draft: Any, write: Write, tickets: Tickets
) -> None:
    draft(n=40)
    texts = [text for text, _ in tickets(40)]
    held = [
        chat(texts[3].upper(), "x", id="h1", category="bug"),
        {"messages": [{"role": "user", "content": texts[5]}], "id": "h2"},
    ]
    held += [chat(f"Is there a rocket number {i}?", "x", category="space") for i in range(3)]
    found = checks.check(ws, task, Config(), against=write("suite.jsonl", held))
    assert {(f.id, f.of) for f in found.findings if f.kind == "leak"} == {("t3", "h1"), ("t5", "h2")}
    assert {f.topic for f in found.findings if f.kind == "uncovered"} == {"billing", "refund", "space"}


def test_a_held_out_row_is_no_leak_into_the_suite_that_was_made_of_it(
    ws: Workspace, task: Model, draft: Any, write: Write, tickets: Tickets
) -> None:
    draft(n=60)
    sides = {row.id: row.split for row in drafts.load_draft(ws, task.name)}
    learned = next(id for id, side in sides.items() if side == "train")
    asked = {f"t{n}": text for n, (text, _) in enumerate(tickets(60))}
    suite = [chat(asked[id], "x", id=id) for id, side in sides.items() if side == "eval" or id == learned]
    found = checks.check(ws, task, Config(), against=write("suite.jsonl", suite), only="leak").findings
    assert len(suite) > 2
    assert [(f.id, f.of) for f in found] == [(learned, learned)]


def test_words_are_the_topics_where_no_row_has_a_category(ws: Workspace, task: Model, write: Write) -> None:
    rows = [chat(f"My printer number {i} jams on page {i}", f"ok {i}") for i in range(6)]
    data.import_files(ws, task, Config(), [write("rows.jsonl", rows + [chat(f"Old box {i} came", f"so {i}") for i in range(6)])])
    held = write("held.jsonl", [chat("My box came", "a"), chat("An old page", "b")])
    found = checks.check(ws, task, Config(), against=held, only="uncovered")
    assert [(f.topic, f.detail) for f in found.findings] == [("jams", "6 of 12 rows in the dataset (50.0%), none in held.jsonl")]


def test_an_eval_row_that_also_stands_in_train_is_a_leak(ws: Workspace, task: Model, draft: Any) -> None:
    draft()
    rows = drafts.load_draft(ws, "desk")
    twin = replace(next(e for e in rows if e.split == "train"), id="twin", split="eval", fingerprint="sha256:0")
    drafts.save_draft(ws, "desk", [*rows, twin])
    found = checks.check(ws, task, Config(), only="leak").findings
    assert [f.of for f in found] == ["twin"]


def test_the_strongest_way_in_which_a_row_is_known_to_the_other_side_is_told(
    ws: Workspace, task: Model, write: Write, tickets: Tickets
) -> None:
    texts = [text for text, _ in tickets(40)]
    mine: list[dict[str, Any]] = [{"id": f"t{i}", "conversation_id": f"c{i}", "user_id": f"u{i}"} for i in range(40)]
    mine[7]["user_id"] = "anonymous"
    near = "Since Monday the courier of your partner in Oslo has not come to our office with the two parcels that I ordered"
    texts[9] = near
    data.import_files(ws, task, Config(), [write("rows.jsonl", [chat(t, "x", **m) for t, m in zip(texts, mine, strict=True)])])
    held = [
        chat(texts[1] + "!", "y", id="h1", user_id="u1"),
        chat("Something else entirely about the weather", "y", id="h2", conversation_id="c2", user_id="u2"),
        chat(near.replace("two parcels", "parcels"), "y", id="h3"),
        chat("A third thing that nobody ever asked us", "y", id="h4", user_id="u5"),
        chat("A fourth thing that nobody ever asked us", "y", id="h5", user_id="anonymous"),
    ]
    found = checks.check(ws, task, Config(), against=write("held.jsonl", held), only="leak").findings
    assert [(f.id, f.of, f.topic) for f in found] == [
        ("t1", "h1", "exact"),
        ("t2", "h2", "conversation"),
        ("t5", "h4", "user"),
        ("t9", "h3", "near"),
    ]


def test_personal_data_that_slipped_in_is_found(ws: Workspace, task: Model, draft: Any) -> None:
    draft((chat("Write to ana@example.com", "ok", id="p"),), section=Config(redact=()))
    found = checks.check(ws, task, Config()).findings
    assert [(f.kind, f.id, f.detail) for f in found] == [("pii", "p", "email 1")]


def test_lengths_are_measured_with_the_given_counter(ws: Workspace, task: Model, draft: Any) -> None:
    draft(n=5)
    assert checks.check(ws, task, Config(), context=10, count=lambda example: 11).counts == {"too_long": 5}
    assert checks.check(ws, task, Config(), context=1000).counts == {}


def test_a_check_of_nothing_and_an_unknown_kind_say_what_to_do(ws: Workspace, task: Model) -> None:
    with pytest.raises(DataError, match="desk has no draft and no dataset"):
        checks.check(ws, task, Config())
    with pytest.raises(UserError, match="no kind of finding is called 'odd'"):
        checks.check(ws, task, Config(), only="odd")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.yaml", "Nimbus Mail: Lumen Post\n"),
        ("g.json", '{"Nimbus Mail": "Lumen Post"}'),
        ("g.csv", "old,new\nNimbus Mail,Lumen Post\n"),
        ("g.tsv", "Nimbus Mail\tLumen Post\n"),
    ],
)
def test_a_glossary_is_read_from_any_usual_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert checks.read_glossary(tmp_path / name) == {"Nimbus Mail": "Lumen Post"}


@pytest.mark.parametrize(
    ("name", "text"), [("g.yaml", "- a\n"), ("g.csv", "a,b\nc\n"), ("g.yaml", "a: [\n"), ("g.csv", ""), ("g.yaml", "")]
)
def test_a_glossary_that_is_none_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        checks.read_glossary(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        checks.read_glossary(tmp_path / "missing.yaml")


def test_a_suite_in_yaml_is_read_for_its_cases(tmp_path: Path) -> None:
    path = tmp_path / "core.yaml"
    lines = ["suite: core", "model: desk", "scorers: [exact]", "criteria:", "  - {metric: accuracy, at_least: 0.9}", "cases:"]
    lines += ["  - {id: c1, category: bug, messages: [{role: user, content: It broke}], expected: bug}"]
    path.write_text("\n".join(lines) + "\n")
    assert [(e.id, e.metadata) for e in checks.read_held(path)] == [("c1", {"category": "bug"})]


def test_each_kind_is_summed_up_with_its_rows_and_how_many_are_out(ws: Workspace, task: Model, draft: Any) -> None:
    no = "I'm sorry, but I can't help with that."
    draft((chat("Is Nimbus up?", no, id="r1"), chat("Is Nimbus down?", no, id="r2"), chat("Does Nimbus sync?", "Yes", id="n")))
    found = checks.check(ws, task, Config(glossary={"Nimbus": "Lumen"}))
    assert [(k.kind, k.count, k.dropped, k.ids) for k in found.kinds] == [
        ("refusal", 2, 2, ("r1", "r2")),
        ("stale_vocabulary", 1, 0, ("n",)),
    ]
    assert (found.mix.examples, found.mix.synthetic) == (31, 0)


@pytest.mark.parametrize("many", [10, 1000])
def test_without_a_draft_the_newest_version_is_looked_at_as_the_draft_was_and_nothing_stays(
    ws: Workspace, task: Model, draft: Any, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    draft((chat("Is Nimbus Mail down?", "We look. And then the whole team will go on to", id="n"),))
    monkeypatch.setattr(filerows, "MANY", many)
    section = Config(glossary={"Nimbus Mail": "Lumen Post"})
    expected = checks.check(ws, task, section, remember=False)
    data.freeze(ws, task, section)
    path = versions.draft_path(ws, "desk")
    path.unlink()
    there = {each.name for each in path.parent.iterdir()}
    found = checks.check(ws, task, section)
    assert set(found.findings) == set(expected.findings)
    assert replace(found, findings=(), kinds=()) == replace(expected, findings=(), kinds=())
    assert {each.name for each in path.parent.iterdir()} == there
