from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import Busy, ConfigError, DataError, UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import dealing, drafts, mending
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
CSV = "id,created,category,ticket,answer\n"


def chat(prompt: str, answer: str, **metadata: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "metadata": metadata}


def load(ws: Workspace, task: Model, path: Path, section: Config = Config(), **options: Any) -> Any:
    return data.import_files(ws, task, section, [path], **options)


def answers(ws: Workspace) -> list[Any]:
    return [e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")]


def reported(report: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(report.report).read_text("utf-8").splitlines()]


def test_every_dropped_row_stands_in_the_report_with_file_line_reason_and_itself(
    ws: Workspace, task: Model, write: Write
) -> None:
    path = write("rows.jsonl", [chat("How?", "So.", id="a"), "nonsense", chat("How?", "So.", id="b"), chat("Why?", " ", id="c")])
    report = load(ws, task, path)
    assert (report.rows, report.added, report.dropped) == (4, 1, {"broken": 1, "exact_duplicate": 1, "empty": 1})
    found = [(line["file"], line["line"], line["reason"], line["id"], line["of"]) for line in reported(report)]
    assert found == [
        ("rows.jsonl", 2, "broken", None, None),
        ("rows.jsonl", 3, "exact_duplicate", "b", "a"),
        ("rows.jsonl", 4, "empty", "c", None),
    ]
    assert reported(report)[2]["row"]["messages"][1] == {"role": "user", "content": "Why?"}


def test_two_files_of_one_name_are_told_apart_in_every_report(ws: Workspace, task: Model, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "t.jsonl" for folder in ("one", "two")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text("nonsense\n" + json.dumps(chat(f"Question {number}?", "So it is.")) + "\n")
    report = data.import_files(ws, task, Config(), paths)
    assert [(each.file, each.rows, each.added) for each in report.files] == [("one/t.jsonl", 2, 1), ("two/t.jsonl", 2, 1)]
    assert [(line["file"], line["line"]) for line in reported(report)] == [("one/t.jsonl", 1), ("two/t.jsonl", 1)]
    assert [e.source for e in drafts.load_draft(ws, "desk")] == ["file:one/t.jsonl:2", "file:two/t.jsonl:2"]


def test_text_in_an_old_encoding_is_refused_with_the_command_that_mends_it(ws: Workspace, task: Model, tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes("question,answer\nWie groß?,Zwei Meter groß.\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        load(ws, task, path)
    assert caught.value.fix == "iconv -f WINDOWS-1252 -t UTF-8 old.csv > utf8-old.csv"


def test_the_models_system_prompt_is_put_first_unless_the_row_has_its_own(ws: Workspace, task: Model, write: Write) -> None:
    own = {"messages": [{"role": "system", "content": "Mine"}, *chat("b", "c")["messages"]]}
    load(ws, task, write("rows.jsonl", [chat("a", "b"), own]))
    assert [e.messages[0]["content"] for e in drafts.load_draft(ws, "desk")] == [task.system, "Mine"]


def test_importing_the_same_file_again_adds_nothing(ws: Workspace, task: Model, write: Write) -> None:
    rows = [chat("A?", "1"), chat("A?", "2"), chat("A?", "1"), chat("B?", "1", id="b"), chat("C?", "1"), chat("C?", "2")]
    path = write("rows.jsonl", rows)
    first = load(ws, task, path)
    before = drafts.load_draft(ws, "desk")
    again = load(ws, task, path)
    assert (first.added, again.added, again.dropped["already_there"]) == (2, 0, 2)
    assert drafts.load_draft(ws, "desk") == before
    assert data.checks.check(ws, task, Config()).counts == {"contradiction": 3, "exact_duplicate": 1}


def test_a_row_that_an_import_holds_twice_under_one_id_is_a_duplicate(ws: Workspace, task: Model, write: Write) -> None:
    path = write("rows.jsonl", [chat("A?", "1", id="a"), chat("B?", "1", id="b"), chat("A?", "1", id="a")])
    first, again = load(ws, task, path), load(ws, task, path)
    assert (first.added, first.dropped, again.dropped) == (2, {"exact_duplicate": 1}, {"already_there": 3})
    found = data.checks.check(ws, task, Config()).findings
    assert [(f.kind, f.id, f.line) for f in found] == [("exact_duplicate", "a", 3)]


def test_personal_data_is_replaced_before_anything_is_stored(ws: Workspace, task: Model, write: Write) -> None:
    rows = [
        chat("Mail ana@example.com or +47 22 55 13 14", "ok", id="a", contact="bo@example.com"),
        "",
        chat("I am ana@example.com", " "),
    ]
    report = load(ws, task, write("rows.jsonl", rows))
    stored = b"".join(path.read_bytes() for path in ws.path("data").rglob("*") if path.is_file())
    assert report.redacted == {"email": 3, "phone": 1}
    assert b"example.com" not in stored
    assert b"Mail [EMAIL] or [PHONE]" in stored
    assert next((f["kind"], f["detail"]) for f in reported(report)) == ("pii", "redacted: email 2, phone 1")


def test_rows_with_personal_data_can_be_left_out_instead(ws: Workspace, task: Model, write: Write) -> None:
    rows = [chat("Mail ana@example.com", "ok", id="a"), chat("Mail nobody", "ok", id="b")]
    report = load(ws, task, write("rows.jsonl", rows), Config(pii="drop"))
    assert (report.added, report.dropped) == (1, {"pii": 1})
    (dropped,) = reported(report)
    assert (dropped["kind"], dropped["detail"], dropped["row"]["messages"][1]["content"]) == (
        "pii",
        "redacted: email 1",
        "Mail [EMAIL]",
    )
    mending.readmit(ws, task, Config(pii="drop"), ("a",))
    assert [example.id for example in drafts.load_draft(ws, task.name)] == ["b", "a"]


def test_a_dry_run_says_the_same_and_writes_nothing(ws: Workspace, task: Model, write: Write) -> None:
    path = write("rows.jsonl", [chat("A?", "1"), "nonsense"])
    report = load(ws, task, path, dry_run=True)
    assert (report.added, report.dropped, report.report) == (1, {"broken": 1}, None)
    assert not ws.path("data").exists()


def test_replace_makes_the_files_the_whole_draft_and_rows_keep_their_sides(
    ws: Workspace, task: Model, write: Write, tickets: Callable[..., list[tuple[str, str]]]
) -> None:
    rows = [chat(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(60))]
    load(ws, task, write("a.jsonl", rows))
    sides = {e.id: e.split for e in drafts.load_draft(ws, "desk")}
    load(ws, task, write("b.jsonl", rows[10:]), replace=True)
    after = {e.id: e.split for e in drafts.load_draft(ws, "desk")}
    assert list(after) == [f"t{i}" for i in range(10, 60)]
    assert {id: sides[id] for id in after} == after


@pytest.mark.parametrize(
    ("rows", "kept", "dropped"),
    [
        ([("1", "2026-01-01"), ("2", "2026-01-03"), ("1", "2026-01-02")], ["2"], 1),
        ([("1", None), ("2", None), ("1 ", None)], ["1"], 1),
        ([("1", None), ("2", None)], [], 2),
        ([("{}", None), ("{ }", None)], ["{}"], 0),
    ],
)
def test_of_contradicting_answers_the_newest_wins_then_the_majority_else_none(
    ws: Workspace, task: Model, write: Write, rows: Any, kept: list[str], dropped: int
) -> None:
    lines = [chat("Which?", answer, **({"created": at} if at else {})) for answer, at in rows] + [chat("Other?", "fine")]
    report = load(ws, task, write("rows.jsonl", lines))
    assert {a.strip() for a in answers(ws)} == {*kept, "fine"} | ({"{ }"} if dropped == 0 else set())
    assert report.dropped.get("contradiction", 0) == dropped


def test_answers_that_differ_in_courtesies_do_not_contradict_each_other(ws: Workspace, task: Model, write: Write) -> None:
    said = ["Hold it for a minute.", "Sure! Hold it for a minute, thanks for asking.", "Hold it for a minute. Have a nice day!"]
    report = load(ws, task, write("rows.jsonl", [chat("How do I reset it?", each) for each in said]))
    assert (answers(ws), report.dropped) == (said, {})


def test_a_later_import_takes_the_place_of_an_older_answer_but_not_of_a_newer_one(
    ws: Workspace, task: Model, write: Write
) -> None:
    load(ws, task, write("a.jsonl", [chat("A?", "old"), chat("B?", "new", created="2026-02-01"), chat("C?", "x", id="c")]))
    rows = [chat("A?", "new"), chat("B?", "old", created="2026-01-01"), chat("C?", "y", id="c")]
    report = load(ws, task, write("b.jsonl", rows))
    assert sorted(answers(ws)) == ["new", "new", "y"]
    assert (report.added, report.replaced) == (0, 2)


def test_a_mapping_that_no_row_needs_is_refused_and_nothing_is_written(ws: Workspace, task: Model, write: Write) -> None:
    path = write("rows.jsonl", [chat("How?", "So.")])
    with pytest.raises(UserError, match="--map user=nope: no row has such columns; the rows are openai") as caught:
        load(ws, task, path, mapping={"user": "nope"})
    assert caught.value.fix == "leave --map out, or name columns that the rows have"
    assert not drafts.load_draft(ws, "desk")
    write("flat.jsonl", [{"q": "Why?", "a": "Thus."}, chat("How?", "So.")])
    assert load(ws, task, path.with_name("flat.jsonl"), mapping={"user": "q", "assistant": "a"}).added == 2


def test_one_answer_in_the_place_of_several_is_counted_once_and_nothing_falls_below_zero(
    ws: Workspace, task: Model, write: Write
) -> None:
    both = [chat("How?", "So.", created="2026-01-01"), chat("How?", "Thus.", created="2026-01-02")]
    load(ws, task, write("both.jsonl", both), Config(contradictions="flag"))
    report = load(ws, task, write("newer.jsonl", [chat("How?", "Never.", created="2026-02-01")]))
    assert (report.added, report.replaced, report.examples) == (0, 2, 1)
    assert [(each.file, each.added) for each in report.files] == [("newer.jsonl", 0)]
    assert answers(ws) == ["Never."]


def test_an_edit_that_a_later_answer_of_another_row_beats_is_left_out_and_the_row_stays_as_it_was(
    ws: Workspace, task: Model, write: Write
) -> None:
    rows = [chat("A?", "1", id="edited", created="2026-01-01"), chat("B?", "2", id="other", created="2026-03-01")]
    load(ws, task, write("old.jsonl", rows))
    edits = [chat("B?", "3", id="edited", created="2026-02-01"), chat("A?", "4", id="third", created="2025-01-01")]
    report = load(ws, task, write("edits.jsonl", edits))
    assert (report.added, report.replaced, report.dropped) == (0, 0, {"contradiction": 2})
    assert answers(ws) == ["1", "2"], "what has come back counts against the rest of the file"


def test_contradictions_can_be_kept_and_reported(ws: Workspace, task: Model, write: Write) -> None:
    report = load(ws, task, write("rows.jsonl", [chat("A?", "1"), chat("A?", "2")]), Config(contradictions="flag"))
    assert (report.added, report.flagged) == (2, {"contradiction": 2})


def test_rows_that_share_an_id_can_be_told_apart(ws: Workspace, task: Model, write: Write) -> None:
    load(ws, task, write("rows.jsonl", [chat("A?", "1", id="t"), chat("B?", "2", id="t")]))
    assert [(e.id, e.metadata["id"]) for e in drafts.load_draft(ws, "desk")] == [("t", "t"), ("t#2", "t#2")]


def test_similar_tickets_with_other_answers_stay_and_near_duplicates_are_flagged(
    ws: Workspace, task: Model, write: Write
) -> None:
    base = "Hello team, the parcel with my new camera has not arrived and the tracking page shows nothing at all since Monday"
    rows = [chat(base, '{"p": "low"}', id="a"), chat(base.upper() + " !", '{"p": "low"}', id="b")]
    rows += [chat(base.replace("camera", "watch").replace("Monday", "May"), '{"p": "high"}', id="c")]
    report = load(ws, task, write("rows.jsonl", rows), Config(contradictions="flag"))
    assert report.added == 3
    assert [(line["kind"], line["id"], line["of"]) for line in reported(report)] == [("near_duplicate", "b", "a")]


def test_a_table_is_imported_with_its_columns(ws: Workspace, task: Model, tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text(CSV + 'T1,2026-01-01,bug,It broke,"{""category"": ""bug""}"\nT2,2026-01-02,bug,Help,ok,more\n')
    report = load(ws, task, path)
    [example] = drafts.load_draft(ws, "desk")
    assert report.dropped == {"broken": 1}
    assert (example.id, example.source) == ("T1", "file:tickets.csv:2")
    assert example.metadata == {"id": "T1", "created": "2026-01-01", "category": "bug"}


def test_a_file_without_a_readable_row_changes_nothing_and_names_the_first_line(ws: Workspace, task: Model, write: Write) -> None:
    load(ws, task, write("good.jsonl", [chat("A?", "1")]))
    with pytest.raises(DataError, match=r"bad\.jsonl:1: not JSON at column 1: .*; none of the 2 rows can be read"):
        load(ws, task, write("bad.jsonl", ["x", "y"]), replace=True)
    with pytest.raises(DataError, match="columns are: foo, bar") as refused:
        load(ws, task, write("other.jsonl", [{"foo": "A?", "bar": "1"}]))
    assert refused.value.fix == "--map user=COLUMN --map assistant=COLUMN"
    assert answers(ws) == ["1"]


def test_two_imports_at_once_wait_for_each_other_and_a_model_name_cannot_leave_the_folder(
    ws: Workspace, task: Model, write: Write
) -> None:
    path = write("rows.jsonl", [chat("A?", "1")])
    with drafts.locked(ws, "desk"), pytest.raises(Busy, match="the draft of desk is being changed"):
        load(ws, task, path)
    with pytest.raises(UserError, match="not a model name"):
        load(ws, Model(name="../evil"), path)


def test_a_share_that_makes_no_sense_is_refused(ws: Workspace, task: Model, write: Write) -> None:
    with pytest.raises(ConfigError, match=r"models/desk\.yaml: data\.eval_share is 0\.9"):
        load(ws, task, write("rows.jsonl", [chat("A?", "1")]), Config(eval_share=0.9))


def test_texts_with_tags_of_html_are_counted_and_kept(ws: Workspace, task: Model, write: Write, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(CSV + "1,2026-01-02,bug,<p>Where is it?</p>,Here<br/>.\n2,2026-01-02,bug,Is 1 < 2 > 0?,Say <name>.\n")
    report = data.import_files(ws, task, Config(), [table])
    assert [file.markup for file in report.files] == [2]
    assert drafts.load_draft(ws, "desk")[0].messages[1]["content"] == "<p>Where is it?</p>"


def test_the_report_of_a_dry_run_names_format_columns_and_what_would_be_dropped_per_file(
    ws: Workspace, task: Model, write: Write, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(CSV + "1,2026-01-02,bug,Where is it?,=SUM(A1)\n2,2026-01-02,bug,Why?,- one (two)\n3,x\n")
    sharegpt = {"conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "So."}]}
    lines = write("rows.jsonl", [chat("Where is it?", "=SUM(A1)"), sharegpt, "nonsense"])
    report = data.import_files(ws, task, Config(), [table, lines], dry_run=True)
    first, second = report.files
    assert (first.file, first.rows, first.formats, first.added, first.formulas) == ("t.csv", 3, {"columns": 2}, 2, 1)
    columns = {"user": "ticket", "assistant": "answer", "id": "id", "created": "created", "category": "category"}
    assert (first.columns, first.dropped) == (columns, {"broken": 1})
    assert (second.file, second.rows, second.formats) == ("rows.jsonl", 3, {"openai": 1, "sharegpt": 1})
    assert (second.columns, second.added, second.dropped) == ({}, 1, {"exact_duplicate": 1, "broken": 1})
    assert report.left_out == (
        "t.csv:4: broken: 2 cells, the header has 5 columns",
        "rows.jsonl:1: exact_duplicate: the same conversation",
        "rows.jsonl:3: broken: not JSON at column 1: Expecting value",
    )
    assert (drafts.load_draft(ws, "desk"), drafts.load_findings(ws, "desk")) == ([], [])


def test_an_export_keeps_its_request_ids_and_dates_and_importing_it_twice_adds_nothing(
    ws: Workspace, task: Model, write: Write
) -> None:
    asked = [{"role": "user", "content": "Call +47 22 12 34 56"}]
    row = {"id": "4111111111111111", "traceId": "4111111111111111", "startTime": "2026-01-02T03:04:05Z", "type": "GENERATION"}
    path = write("langfuse.jsonl", [row | {"input": asked, "output": {"role": "assistant", "content": "Done"}}])
    assert load(ws, task, path).added == 1
    again = load(ws, task, path)
    assert (again.added, again.files[0].dropped, again.examples) == (0, {"already_there": 1}, 1)
    [example] = drafts.load_draft(ws, "desk")
    assert example.source == "file:langfuse.jsonl:1"
    assert example.metadata == {"id": row["id"], "request_id": row["id"], "created": row["startTime"]}
    assert example.messages[1]["content"] == "Call [PHONE]"


def test_standard_input_is_imported_once(ws: Workspace, task: Model) -> None:
    text = json.dumps(chat("How?", "So.")).encode()
    for added in (1, 0):
        report = data.import_files(ws, task, Config(), [Path("-")], stdin=io.BytesIO(text))
        assert (report.added, report.files[0].file) == (added, "stdin")
    assert drafts.load_draft(ws, "desk")[0].source == "file:stdin:1"
    with pytest.raises(DataError, match="no standard input"):
        data.import_files(ws, task, Config(), [Path("-")])


def test_a_file_that_breaks_off_half_way_leaves_the_draft_as_it_was(
    ws: Workspace, task: Model, write: Write, tmp_path: Path
) -> None:
    load(ws, task, write("rows.jsonl", [chat("How?", "So.")]))
    before = sorted((p, p.read_bytes()) for p in (ws.root / "data").rglob("*") if p.is_file())
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps([chat(f"Question {n}?", f"Answer {n}.") for n in range(50)])[:-20])
    with pytest.raises(DataError, match=r"cut\.json: not JSON: the list does not end, row 50 is cut off"):
        data.import_files(ws, task, Config(), [write("more.jsonl", [chat("Why?", "Because.")]), cut])
    assert sorted((p, p.read_bytes()) for p in (ws.root / "data").rglob("*") if p.is_file()) == before


def test_a_field_that_no_row_has_is_refused_before_anything_is_read(ws: Workspace, task: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no field is called 'usr'"):
        load(ws, task, tmp_path / "gone.csv", mapping={"usr": "ticket"})


KILLED = """
import os, signal, sys
from pathlib import Path
from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data.config import Config
from tunekeeper.workspace import open_workspace

def show(stage, rows):
    if stage == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

data.import_files(open_workspace(Path(sys.argv[1])), Model(name="desk"), Config(), [Path(sys.argv[2])], progress=show)
"""


@pytest.mark.parametrize("stage", ["reading", "writing the draft"])
def test_an_import_that_is_killed_leaves_the_draft_as_it_was_and_nothing_behind(
    ws: Workspace, task: Model, write: Write, stage: str
) -> None:
    load(ws, task, write("old.jsonl", [chat("How?", "So.", id="a")]))
    before = drafts.load_draft(ws, "desk")
    more = write("more.jsonl", [chat(f"Question {n} about thing {n * 7}?", f"Answer {n}.", id=f"m{n}") for n in range(600)])
    done = subprocess.run([sys.executable, "-c", KILLED, str(ws.root), str(more), stage], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert drafts.load_draft(ws, "desk") == before
    assert load(ws, task, more).examples == 601
    assert [path.name for path in ws.path("data").rglob(".*")] == []


def test_a_row_that_belongs_to_both_sides_stays_in_and_is_named(ws: Workspace, task: Model, write: Write) -> None:
    rows = [chat(f"Question {n} about {chr(97 + n)}{n}?", f"Answer {n}.", id=f"t{n}", user_id=n + 1) for n in range(20)]
    load(ws, task, write("a.jsonl", rows))
    sides = {e.id: e.split for e in drafts.load_draft(ws, "desk")}
    held, learnt = (next(n for n in range(20) if sides[f"t{n}"] == side) for side in ("eval", "train"))
    bridge = chat(f"question {held} about {chr(97 + held)}{held}", f"Answer {held}.", id="bridge", user_id=learnt + 1)
    report = load(ws, task, write("b.jsonl", [bridge]), Config(contradictions="flag"))
    assert report.flagged["leak"] == 1
    [named] = [line for line in reported(report) if line["kind"] == "leak"]
    assert (named["id"], named["of"] in (f"t{held}", f"t{learnt}")) == ("bridge", True)
    assert "it belongs to rows on both sides, which stay where they are" in named["detail"]
    assert {e.id: e.split for e in drafts.load_draft(ws, "desk") if e.id != "bridge"} == sides


def test_near_duplicates_of_many_rows_are_found_by_a_process_of_its_own(
    ws: Workspace, task: Model, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "Hello team, the parcel with my new camera has not arrived and the tracking page shows nothing at all since Monday"
    rows = [chat(f"{base} {n}", "So.", id=f"t{n}") for n in range(3)] + [chat("Something else", "So.", id="other")]
    section = Config(near_duplicate=0.6)
    small = load(ws, task, write("rows.jsonl", rows), section, dry_run=True)
    monkeypatch.setattr(dealing, "SMALL", 2)
    found = load(ws, task, write("rows.jsonl", rows), section)
    assert (found.flagged, found.added) == (small.flagged, 4)
    assert found.flagged == {"near_duplicate": 2}
    assert len({e.split for e in drafts.load_draft(ws, "desk") if e.id != "other"}) == 1
    again = load(ws, task, write("more.jsonl", [chat(f"{base} 9", "So.", id="late")]), section)
    assert [line["id"] for line in reported(again)] == ["late"]
