from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tunekeeper.cli import frame
from tunekeeper.cli.app import main
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.jobs import Job


@dataclass(frozen=True)
class Value:
    at: datetime
    share: float
    names: tuple[str, ...] = ()


def test_json_is_one_line_with_absent_as_null():
    text = frame.to_json({"v": Value(at=datetime(2026, 1, 5, tzinfo=UTC), share=float("nan"), names=("é",)), "p": Path("/x")})
    assert json.loads(text) == {"v": {"at": "2026-01-05T00:00:00Z", "share": None, "names": ["é"]}, "p": "/x"}
    assert "\n" not in text
    assert "é" in text


def test_json_says_the_same_of_half_characters_and_of_vast_numbers():
    odd = {"half": "\ud83d", "vast": 10**30, "tiny": 1e-7, "gone": [float("inf")], 5: (1, 2), "mark": "\x7f\u2028é", "none": {}}
    text = frame.to_json(odd)
    assert json.loads(text) == {**{str(key): value for key, value in odd.items()}, "gone": [None], "5": [1, 2]}
    assert text.isascii()
    plain = frame.to_json({"mark": "\x7f\u2028é", "rows": [{"a": 1, "b": []}]})
    assert plain == '{"mark": "\\u007f\\u2028é", "rows": [{"a": 1, "b": []}]}'


def test_emit_prints_text_or_json_and_passes_the_code_on(capsys):
    assert frame.emit({"a": 1}, False, ["first", "second"], code=3) == 3
    assert frame.emit({"a": 1}, True, "unseen", code=1) == 1
    assert capsys.readouterr().out == 'first\nsecond\n{"a": 1}\n'


def test_a_table_is_aligned_and_absent_is_a_dash():
    assert frame.table([("a", 1), ("bcd", None)], ("name", "n")) == ["name  n", "a     1", "bcd   –"]


def test_the_project_is_found_from_a_folder_inside_it(tmp_path, monkeypatch):
    (tmp_path / "tunekeeper.yaml").write_text("")
    inner = tmp_path / "models" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert frame.find_project(None) == tmp_path
    with pytest.raises(NotFound, match="tunekeeper init"):
        frame.find_project(inner)


def test_a_window_that_began_ends_now_and_one_of_the_future_has_no_end():
    clock = ManualClock()
    now = clock.utc()
    assert frame.window("24h", None, clock) == (now - timedelta(days=1), now + timedelta(minutes=1))
    assert frame.window("24h", "1h", clock) == (now - timedelta(days=1), now - timedelta(hours=1))
    assert frame.window("2027-01-01", None, clock) == (datetime(2027, 1, 1, tzinfo=UTC), None)
    assert frame.window(None, None, clock) == (None, None)
    with pytest.raises(UserError, match="--until 8d lies before --since 7d"):
        frame.window("7d", "8d", clock)


def test_a_moment_is_an_age_or_a_date():
    clock = ManualClock(datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    assert frame.moment("90m", clock) == datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
    assert frame.moment("2026-01-04", clock) == datetime(2026, 1, 4, tzinfo=UTC)
    assert frame.moment("2026-01-04T10:00+02:00", clock) == datetime.fromisoformat("2026-01-04T08:00+00:00")
    assert frame.moment(None, clock) is None


@pytest.mark.parametrize("text", ["soon", "99999999999d", "800000d", "²d", "", "0001-01-01", "9999-12-31T23:59-14:00"])
def test_what_is_no_time_that_a_calendar_has_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="is not a time"):
        frame.moment(text, ManualClock())


def test_the_line_of_a_job_says_how_long_it_still_takes(capsys, monkeypatch):
    told = {"step": 3, "eta_seconds": 81.6}
    running = Job(id="j", kind="train", model="desk", state="running", work=Path("."), progress=0.25, detail=told)
    frame.progress("training desk")(running)
    assert capsys.readouterr().err == ""  # nobody looks
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    frame.progress("training desk")(running)
    assert capsys.readouterr().err.endswith("training desk: running  25% [█████               ] 82 s left")
    frame.progress("training desk")(dataclasses.replace(running, state="done", progress=1.0))
    assert capsys.readouterr().err.endswith("█]\n")


def test_the_line_of_a_job_says_what_else_is_known_of_it_while_it_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    running = Job(id="j", kind="train", model="desk", state="running", work=Path("."), progress=0.5)
    show = frame.progress("training desk", lambda job: f"loss 0.4 in {job.id}")
    show(running)
    assert capsys.readouterr().err.endswith("█          ], loss 0.4 in j")
    show(dataclasses.replace(running, state="done", progress=1.0))
    assert "loss" not in capsys.readouterr().err


def test_a_painted_line_is_green_on_a_terminal_and_plain_elsewhere(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    line = frame.Painted("a\x1bb")
    frame.emit({}, False, [line])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    frame.emit({}, False, [line])
    monkeypatch.setenv("NO_COLOR", "1")
    frame.emit({}, False, [line])
    assert capsys.readouterr().out == "a‹ESC›b\n\x1b[32ma‹ESC›b\x1b[0m\na‹ESC›b\n"


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--dir", ""),
        ("status", "--dir="),
        ("route", "show", "desk", "--data", ""),
        ("data", "import", "", "--model", "desk"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "tunekeeper.yaml").write_text("project: x\n")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "it is empty, and names no file or folder (fix: tunekeeper " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tunekeeper.yaml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", ""), "it is empty, and names no model"),
        (("log", "ls", "--model", ""), "'--model': it is empty, and names no model"),
        (("retrain", "run", "--model", "", "--json"), "'--model': it is empty, and names no model"),
        (("data", "queue", "judge", "ri_1", "approved", "--seconds", "nan"), "'--seconds': nan is not a finite number"),
        (("key", "create", "--budget", "-inf"), "'--budget': -inf is not a finite number"),
    ],
)
def test_a_model_without_a_name_and_a_number_that_is_none_are_refused_by_every_command(tell, project, words, said):
    told = tell(*words, "--dir", project)
    assert (told.code, said in told.err, "(fix: tunekeeper " in told.err, told.err.count("\n")) == (2, True, True, 1)
    assert told.out == "" or told.json["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("log", "ls", "--model", "suport-desk"),
        ("monitor", "windows", "--model", "suport-desk"),
        ("monitor", "alerts", "--model", "suport-desk"),
        ("monitor", "baseline", "--model", "suport-desk"),
        ("history", "suport-desk"),
        ("train", "ls", "--model", "suport-desk"),
        ("model", "ls", "--model", "suport-desk"),
        ("eval", "ls", "--model", "suport-desk"),
        ("incident", "ls", "--model", "suport-desk"),
        ("deploy", "check", "suport-desk"),
        ("deploy", "status", "suport-desk"),
        ("deploy", "drill", "suport-desk"),
        ("route", "show", "suport-desk"),
        ("rollback", "suport-desk"),
        ("retrain", "show", "--model", "suport-desk"),
        ("eval", "history", "--model", "suport-desk"),
    ],
)
def test_a_misspelt_model_is_no_silence_that_reads_as_all_is_well(tell, project, words):
    told = tell(*words, "--dir", project)
    assert (told.code, told.out) == (2, "")
    assert "no model is called 'suport-desk'; known: support-desk (fix: write 'support-desk')" in told.err
    (project / "models" / "support-desk.yaml").write_text("model: [")  # what cannot be known is not claimed
    if words[:2] != ("deploy", "check"):
        assert "no model is called" not in tell(*words, "--dir", project).err


def test_the_command_that_is_named_as_the_next_one_works_from_where_this_one_was_given(tell, tmp_path, monkeypatch):
    assert tell("init", str(tmp_path / "my desk"), "--model", "desk").code == 0
    rows = [{"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": f"a {i}"}]} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    words = ("data", "import", "rows.jsonl", "--model", "desk")
    assert "next: tunekeeper data freeze --model desk --dir 'my desk'\n" in tell(*words, "--dir", "my desk").out
    monkeypatch.chdir(tmp_path / "my desk")
    assert "next: tunekeeper data freeze --model desk\n" in tell("data", "import", "../rows.jsonl", "--model", "desk").out
