"""T48: chat templates that want out, that never end, that write ten gigabytes: nothing runs, all are ended, others go on."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.journeys.escapes import ENDLESS, HUGE, drawn, escapes
from tests.journeys.rig import SECONDS, at, figure, say, within
from tests.outside.conftest import REPOSITORY
from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.rendering import MAX_OUTPUT, render

SEED = 48
pytestmark = pytest.mark.timeout(SECONDS)
USER = [{"role": "user", "content": "hello"}]
PLAIN = """\
import jinja2, json, os, sys
path, *templates = json.load(sys.stdin)
worked = 0
for template in templates:
    try:
        jinja2.Environment().from_string(template).render(messages=[{"role": "user", "content": "hello"}])
    except Exception:
        pass
    if os.path.exists(path):
        worked += 1
        os.remove(path)
print(worked)
"""
HOOKED = """\
import json, sys
from tunekeeper.text.sandbox import rendered
templates, said = json.load(sys.stdin), {"messages": [{"role": "user", "content": "hello"}], "tools": None}
asked = [{"said": said, "room": 65536, "asked": {"template": t, "variables": {}, "now": "2026-01-01"}} for t in templates]
rendered(asked[0])
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event))
for each in asked:
    rendered(each)
found = sorted(set(seen))
print(json.dumps(found))
"""


def python(program: str, templates: list[str]) -> str:
    """What a program prints that is given the templates."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        input=json.dumps(templates),
        env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def outcome(template: str) -> tuple[int, float, float]:
    """Letters that came back (-1: refused), real seconds, seconds of the processor of renderers that had to be ended."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        letters = len(render(template, USER, add_generation_prompt=True))
    except ArtifactError:
        letters = -1
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return letters, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_no_template_gets_out_of_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    reached = tmp_path / "reached"
    tried = escapes(reached)
    worked = int(python(PLAIN, [str(reached), *tried]))
    assert worked >= 3, "the attempts are real: where templates run unguarded, some of them get out"

    texts = []
    for template in tried:
        try:
            texts.append(render(template, USER, add_generation_prompt=True))
        except ArtifactError as error:
            texts.append(str(error))
    events = json.loads(python(HOOKED, tried))

    say("T48", SEED, escapes=len(tried), worked_unguarded=worked, executions=int(reached.exists()), events=len(events))
    assert len(tried) >= 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]
    assert not [text for text in texts if "the secret" in text or "<class" in text or "<module" in text]
    assert set(events) <= {"compile", "exec", "code.__new__", "object.__getattr__", "sys._getframe", "builtins.id"}


def test_a_template_that_never_ends_or_never_stops_writing_is_ended_and_others_are_rendered_meanwhile() -> None:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended, wrong, good = threading.Event(), 0, 0
    children = outcome("{{ raise_exception('the process has begun') }}")

    def others() -> None:
        nonlocal wrong, good
        while not ended.is_set():
            wrong += render(drawn(good), USER, add_generation_prompt=True) != f"<{good}:hello>"
            good += 1

    beside = threading.Thread(target=others)
    beside.start()
    try:
        found = [outcome(template) for template in (*ENDLESS, *HUGE) * figure(1, 10)]
    finally:
        ended.set()
        beside.join(60)
    rest = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) / 1024
    say(
        "T48",
        SEED,
        hostile=len(found),
        let_through=sum(letters > 0 for letters, _, _ in found),
        longest_text=max(letters for letters, _, _ in found),
        processor_p95_s=at([spent for _, _, spent in found], 0.95),
        real_p95_s=at([seconds for _, seconds, _ in found], 0.95),
        rendered_beside=good,
        wrong_beside=wrong,
        rss_mb=rest,
    )
    assert children[0] == -1
    assert max(letters for letters, _, _ in found) <= MAX_OUTPUT
    assert max(spent for _, _, spent in found) < 5.0, "a quarter of a second, and the start of the next process"
    assert within(max(seconds for _, seconds, _ in found), 30.0)
    assert (wrong, good > 0) == (0, True)
    assert rest < 50
