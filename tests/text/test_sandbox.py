from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

OPEN = "import tunekeeper.text.sandbox as sandbox\nsandbox._environment().globals['reach'] = lambda: {what}\nsandbox.main()"
"""The renderer with a hole made in its sandbox on purpose, to see what is behind it."""


def ask(*templates: str, what: str | None = None) -> tuple[int, list[dict[str, str]]]:
    """Exit status and answers of a renderer that is asked these templates, one after the other."""
    command = ["-m", "tunekeeper.text.sandbox"] if what is None else ["-c", OPEN.format(what=what)]
    lines = [json.dumps(request(template)).encode() for template in templates]
    done = subprocess.run(
        [sys.executable, "-P", *command],
        input=b"\n".join(lines) + b"\n",
        env={"PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def request(template: str) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "hi"}], "tools": None}
    asked = {"template": template, "variables": {"bos_token": "<s>"}, "now": "2026-01-02T03:04:05"}
    return {"said": said, "asked": asked, "room": 1000}


def test_requests_are_answered_in_turn_until_there_are_no_more() -> None:
    status, answers = ask("{{ bos_token }}{{ messages[0].content }}", "{{ raise_exception('no') }}", "{{ strftime_now('%H') }}")

    assert status == 0
    assert answers == [{"text": "<s>hi"}, {"error": "no"}, {"text": "03"}]


def test_what_runs_too_long_is_ended_by_the_kernel_after_its_share_of_the_processor() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    idle, _ = ask("x")
    started = resource.getrusage(resource.RUSAGE_CHILDREN)

    status, answers = ask("x", "{% for i in 'xxxxxxxxxxxxxxxxxxxx' %}" * 12 + "{% endfor %}" * 12, "y")

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    alone = started.ru_utime + started.ru_stime - before.ru_utime - before.ru_stime
    spent = after.ru_utime + after.ru_stime - started.ru_utime - started.ru_stime
    assert (idle, status, answers) == (0, -27, [{"text": "x"}])
    assert spent - alone < 2.5, "a quarter of a second, and what a start may differ from another"


@pytest.mark.parametrize(
    "what",
    [
        "open({path!r}, 'w').write('x')",
        "__import__('os').system('echo x > {path}')",
        "__import__('subprocess').run(['touch', {path!r}])",
        "__import__('socket').socket()",
        "__import__('os').mkdir({path!r})",
        "__import__('os').fork()",
        "__import__('xmlrpc.client')",
        "__import__('ctypes').CDLL(None).mkdir({path!r}.encode(), 0o700)",
    ],
)
def test_behind_the_sandbox_there_is_nothing_to_reach(what: str, tmp_path: Path) -> None:
    path = tmp_path / "reached"

    status, answers = ask("{{ reach() }}", "{{ messages[0].content }}", what=what.format(path=str(path)))

    assert status == 0
    assert answers[0]["error"].startswith("it reached for ")
    assert answers[1] == {"text": "hi"}
    assert os.listdir(tmp_path) == []
