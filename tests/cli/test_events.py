"""How `serve` and `up` tell what happens."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tunekeeper.cli import events

READY = {"event": "ready", "url": "http://127.0.0.1:8080", "pid": 7, "workers": [8]}


def found(name: str) -> dict[str, Any]:
    return {"event": "adopted", "name": name, "pid": 8}


def test_the_first_line_of_a_serve_that_finds_its_workers_running_is_the_ready_line(capsys: pytest.CaptureFixture[str]) -> None:
    say = events.ready_first()
    begun = {"event": "started", "name": "engine-desk", "pid": 9}
    for event in (found("gateway-w1"), begun, found("keeper"), READY, found("later")):
        say(event)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [READY, found("gateway-w1"), begun, found("keeper"), found("later")]


def test_what_goes_wrong_before_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    events.ready_first()({"event": "cannot_start", "name": "gateway-w1", "why": "no such file"})
    assert json.loads(capsys.readouterr().out)["event"] == "cannot_start"


def test_the_ready_line_names_what_is_still_being_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    events.as_text({**READY, "loading": ["desk-blue", "desk-green"]})
    said = capsys.readouterr().out
    assert said == "ready: http://127.0.0.1:8080/v1, 1 gateway worker(s); loading: desk-blue, desk-green; Ctrl-C stops\n"


def test_in_words_only_the_ready_line_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for event in (found("keeper"), READY):
        events.as_text(event)
    said = capsys.readouterr()
    assert said.out == "ready: http://127.0.0.1:8080/v1, 1 gateway worker(s); Ctrl-C stops\n"
    assert said.err == "keeper was running already (process 8)\n"


@pytest.mark.parametrize("form", ["as_json", "as_text"])
def test_whoever_reads_the_lines_may_go_without_ending_anything(form: str) -> None:
    code = f"""if True:
        import sys
        from tunekeeper.cli import events
        for n in range(3):
            sys.stdin.readline()
            events.{form}({{"event": "ready", "url": "u", "workers": []}})
            events.{form}({{"event": "died", "name": "w", "why": "x" * 9000, "restart_in": 1}})
        sys.exit(7)
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert "ready" in process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    process.stdin.write("\n\n")
    process.stdin.close()
    assert process.wait(60) == 7
