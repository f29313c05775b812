"""`serve` and `up` as processes of their own, on the real gateway and the scripted upstream."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.patience import until
from tunekeeper.config import load_project
from tunekeeper.config.serving import load_serve_file
from tunekeeper.core.clock import ManualClock, SystemClock
from tunekeeper.notify.follower import load_place, place_path
from tunekeeper.processes import ending
from tunekeeper.processes.plans import follower_plan, keeper_plan, seals
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.log import Log, Spool
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.partitions import hours
from tunekeeper.text.seals import make_keys
from tunekeeper.workspace import compress_clock, open_workspace

FILE = """\
models:
  desk:
    slots: {{a: {{endpoint: "{upstream}/v1", model: m}}, b: {{endpoint: "{upstream}/v1", model: n}}}}
    route: {{a: 10000}}
"""
TWO_SLOTS = (
    "active_slot: {active}\nblue: {{endpoint: '{upstream}/v1', model: m}}\ngreen: {{endpoint: '{upstream}/v1', model: n}}\n"
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "tunekeeper.testing.upstream", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["listening"])
        process.terminate()


@contextmanager
def cli(*words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tunekeeper", *words]
    environ = {**os.environ, **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)


def event(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None
    while line := process.stdout.readline():
        found: dict[str, Any] = json.loads(line)
        if found["event"] == name:
            return found
    raise AssertionError(f"no {name}: {process.stderr.read() if process.stderr else ''}")


def version(url: str, key: str | None = None) -> tuple[int, str | None]:
    """Status of one chat request, and which version answered."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    body = json.dumps({"model": "desk", "messages": [{"role": "user", "content": "hi"}]})
    head = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    connection.request("POST", "/v1/chat/completions", body, head)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers.get("x-tunekeeper-version")


def get(url: str, path: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def ready(url: str) -> str | None:
    """What `/readyz` says of the routing file."""
    said: dict[str, Any] = json.loads(get(url, "/readyz"))
    assert said["ready"] is True
    return said.get("routing")


def alerts(folder: Path) -> list[dict[str, Any]]:
    """The alerts that fire in the data directory beside the file."""
    with open_workspace(folder / ".tunekeeper").state.read() as tx:
        return [msgspec.to_builtins(alert) for alert in find_alerts(tx, model="desk", state="firing")]


def test_serve_answers_survives_the_death_of_workers_and_of_its_supervisor_and_drains(tmp_path, upstream):
    (tmp_path / "g.yaml").write_text(FILE.format(upstream=upstream))
    words = ("serve", "--config", str(tmp_path / "g.yaml"), "--port", "0", "--workers", "2")
    with cli(*words) as first:
        ready = event(first, "ready")
        url = ready["url"]
        assert (ready["pid"], len(ready["workers"])) == (first.pid, 2)
        assert version(url) == (200, "m")
        os.kill(ready["workers"][0], signal.SIGKILL)
        assert event(first, "died")["name"] == "gateway-w1"
        assert version(url) == (200, "m")
        event(first, "restarted")
        first.kill()
        first.wait(60)
    root = tmp_path / ".tunekeeper"
    left = ending.running(root)
    assert set(left) == {"gateway-w1", "gateway-w2", "keeper", "socket"}
    assert version(url) == (200, "m")  # nobody supervises, and users are answered
    with cli(*words) as second:
        again = event(second, "ready")
        assert again["url"] == url
        assert again["workers"] == [left["gateway-w1"], left["gateway-w2"]]
        second.send_signal(signal.SIGTERM)
        event(second, "stopped")
        assert second.wait(60) == 0
    assert ending.running(root) == {}


def test_a_variable_with_a_model_servers_key_that_is_not_set_is_named_behind_the_ready_line(tmp_path, upstream):
    slot = f'{{endpoint: "{upstream}/v1", model: m, api_key_env: TK_TEST_NO_SUCH_KEY}}'
    (tmp_path / "g.yaml").write_text(f"models:\n  desk:\n    slots: {{a: {slot}}}\n    route: {{a: 10000}}\n")
    with cli("serve", "--config", str(tmp_path / "g.yaml"), "--port", "0") as process:
        event(process, "ready")
        told = event(process, "key_missing")
        assert (told["slot"], told["variable"]) == ("desk/a", "TK_TEST_NO_SUCH_KEY")


def test_the_follower_pushes_where_the_file_says(tmp_path):
    """From the lines of YAML to the lines on stdout and in a file: the very command that the supervisor starts."""
    sinks = "log: {sinks: [{kind: stdout}, {kind: file, path: out/all.jsonl}]}\n"
    (tmp_path / "g.yaml").write_text(FILE.format(upstream="http://127.0.0.1:9") + sinks)
    root, clock = tmp_path / "data", SystemClock()
    spool = Spool(root, "gateway-0", clock)
    for number, hours_ago in enumerate((3, 1)):
        then = clock.utc() - timedelta(hours=hours_ago)
        spool.ended({"request_id": f"r{number}", "timestamp": then, "model_id": "desk"})
    spool.close()
    for name in ("stdout", "file"):  # an earlier follower came as far as two hours ago
        place_path(root, name).parent.mkdir(parents=True, exist_ok=True)
        place_path(root, name).write_text(json.dumps({"front": (clock.utc() - timedelta(hours=2)).isoformat()}))
    plan = follower_plan(root, tmp_path, load_serve_file(tmp_path / "g.yaml").log)
    assert plan.stdout
    with subprocess.Popen((*plan.command, "--slack", "0"), stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: all((place := load_place(root, name)) and place.pushed for name in ("stdout", "file")))
        finally:
            process.terminate()
        out = process.stdout.read()
    assert process.returncode == 0
    assert [json.loads(line)["request_id"] for line in out.splitlines()] == ["r1"]
    assert (tmp_path / "out" / "all.jsonl").read_text() == out


def test_the_keeper_drops_what_the_file_says_by_the_clock_of_the_workspace(tmp_path):
    """From the line of YAML to the rows that are gone: the very command that the supervisor starts, once."""
    (tmp_path / "g.yaml").write_text(FILE.format(upstream="http://127.0.0.1:9") + "log: {days: 60, body_days: 10}\n")
    root, start = tmp_path / "data", datetime(2026, 1, 5, tzinfo=UTC)
    spool = Spool(root, "gateway-0", ManualClock())
    for number, age in enumerate((0, 20, 40)):
        then = {"request_id": f"r{number}", "timestamp": start - timedelta(days=age), "model_id": "desk"}
        spool.ended({**then, "body_id": f"b{number}", "request": b'{"messages":[]}', "response": b"{}"})
        spool.feedback({**then, "id": f"f{number}", "kind": "thumb", "value": "up"})
    spool.close()
    plan = keeper_plan(root, load_serve_file(tmp_path / "g.yaml").log)

    def kept(days_later):
        (root / "clock").unlink(missing_ok=True)
        (root / "log" / "believed").unlink(missing_ok=True)  # else a clock that far ahead is believed after an hour only
        compress_clock(root, start=start + timedelta(days=days_later), factor=0.0).close()
        assert subprocess.run([*plan.command, "--once"], check=False).returncode == 0
        found = Log(root, ManualClock()).find()
        return [(each.request_id, each.request is not None) for each in reversed(found)]

    assert kept(0) == [("r0", True), ("r1", False), ("r2", False)]
    assert kept(15) == [("r0", False), ("r1", False), ("r2", False)]
    assert kept(35) == [("r0", False), ("r1", False)]
    left = {kind: len(hours(root, kind)) for kind in ("metrics", "bodies", "feedback")}
    assert left == {"metrics": 2, "bodies": 0, "feedback": 2}
    assert len(Index(root).hours()) == 2
    assert kept(70) == []
    assert [hours(root, kind) for kind in ("metrics", "feedback")] == [[], []]
    assert Index(root).hours() == []


def test_a_second_gateway_on_the_same_port_says_so_in_one_line(tmp_path, upstream):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "g.yaml").write_text(FILE.format(upstream=upstream))
    with cli("serve", "--config", str(tmp_path / "one" / "g.yaml"), "--port", "0") as first:
        port = urlsplit(event(first, "ready")["url"]).port
        with cli("serve", "--config", str(tmp_path / "two" / "g.yaml"), "--port", str(port)) as second:
            assert second.wait(60) == 4
            assert second.stderr is not None
            said = second.stderr.read()
    assert said == f"error: port {port} on 127.0.0.1 is in use (fix: choose another with --port, or 0 for a free one)\n"
    assert ending.running(tmp_path / "two" / ".tunekeeper") == {}


def test_an_address_that_others_reach_needs_a_key(tmp_path, upstream):
    (tmp_path / "g.yaml").write_text(FILE.format(upstream=upstream) + "probe_seconds: 30\n")
    words = ("serve", "--config", str(tmp_path / "g.yaml"), "--port", "0", "--host", "0.0.0.0")
    with cli(*words) as process:
        assert process.wait(60) == 2
        assert process.stderr is not None
        assert "there is no key (fix: tunekeeper key create" in process.stderr.read()
    with cli(*words, TUNEKEEPER_GATEWAY_KEY="s3cret\n") as process:  # as it comes out of a file of secrets
        url = event(process, "ready")["url"].replace("0.0.0.0", "127.0.0.1")
        assert version(url)[0] == 401
        assert version(url, "s3cret") == (200, "m")
    told = (tmp_path / ".tunekeeper" / "run" / "gateway.json").read_text()
    assert "s3cret" not in told
    assert json.loads(told)["probe_seconds"] == 30


def test_an_ipv6_address_is_taken_with_the_brackets_that_it_has_in_a_url(tmp_path, upstream):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    (tmp_path / "g.yaml").write_text(FILE.format(upstream=upstream))
    with cli("serve", "--config", str(tmp_path / "g.yaml"), "--port", "0", "--host", "[::1]") as process:
        url = event(process, "ready")["url"]
        assert url.startswith("http://[::1]:")
        assert version(url) == (200, "m")  # and on loopback nobody is asked for a key


def test_the_two_slot_file_alone_decides_and_is_read_again_when_it_changes(tmp_path, upstream):
    path = tmp_path / "model_routing.yaml"
    path.write_text(TWO_SLOTS.format(active="blue", upstream=upstream))
    with cli("serve", "--routing", str(path), "--as", "desk", "--port", "0") as process:
        url = event(process, "ready")["url"]
        assert version(url) == (200, "m")
        path.write_text(TWO_SLOTS.format(active="green", upstream=upstream))
        event(process, "reloaded")
        assert version(url) == (200, "n")
        assert (ready(url), alerts(tmp_path)) == (None, [])
        path.write_text(TWO_SLOTS.format(active="red", upstream=upstream))
        assert "'red', which is no slot" in event(process, "not_reloaded")["why"]
        assert version(url) == (200, "n")
        assert str(ready(url)).endswith("model_routing.yaml:1: active_slot is 'red', which is no slot of this file")
        assert "\ntunekeeper_routing_file_refused 1\n" in get(url, "/metrics")
        (fired,) = alerts(tmp_path)
        assert (fired["model"], fired["rule"], fired["state"]) == ("desk", "BG-04", "firing")
        assert "'red', which is no slot of this file; the routes of before stay in force since" in fired["reason"]
        path.unlink()
        assert "cannot be read" in event(process, "not_reloaded")["why"]
        assert version(url) == (200, "n")
        path.write_text(TWO_SLOTS.format(active="blue", upstream=upstream))
        event(process, "reloaded")
        assert version(url) == (200, "m")
        assert (ready(url), alerts(tmp_path)) == (None, [])
        assert "\ntunekeeper_routing_file_refused 0\n" in get(url, "/metrics")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "error: " in (said := process.stderr.read())
        assert said.count("the routes of before stay") == 2


def test_up_without_a_worker_asks_for_a_key_from_the_start(tmp_path):
    (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    with cli("up", "--dir", str(tmp_path), "--json") as process:
        url = event(process, "ready")["url"]
        assert version(url)[0] == 401
        assert set(ending.running(tmp_path / ".tunekeeper")) == {"supervisor", "gateway-w1", "keeper", "socket"}
        process.send_signal(signal.SIGINT)
        event(process, "stopped")
        assert process.wait(60) == 130


def test_what_a_model_seals_the_gateway_seals_and_a_broken_key_stops_the_start(tmp_path):
    (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    (tmp_path / "models").mkdir()
    file, public = tmp_path / "models" / "desk.yaml", make_keys()[1]
    file.write_text(f'model: desk\nbase: base\ndata: {{redact_seal: "{public}"}}\n')
    (tmp_path / "models" / "other.yaml").write_text("model: other\nbase: base\n")
    assert seals(load_project(tmp_path, environ={})) == {"desk": public}
    file.write_text("model: desk\nbase: base\ndata: {redact_seal: broken}\n")
    with cli("up", "--dir", str(tmp_path), "--json") as process:
        assert process.wait(60) == 2
        assert process.stderr is not None
        assert "holds no key of 32 bytes" in process.stderr.read()


def test_up_obeys_the_files_of_a_project_as_they_are_changed(tmp_path, upstream):
    (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "desk.yaml"
    slots = f'{{a: {{endpoint: "{upstream}/v1", model: m}}, b: {{endpoint: "{upstream}/v1", model: n}}}}'
    served = f"model: desk\nbase: base\nserving:\n  slots: {slots}\n  route: {{}}\n"
    file.write_text(served.replace("{}", "{a: 10000}"))
    with cli("up", "--dir", str(tmp_path), "--json", TUNEKEEPER_GATEWAY_KEY="sesame") as process:
        url = event(process, "ready")["url"]
        assert version(url, "sesame") == (200, "m")
        file.write_text(served.replace("{}", "{b: 10000}"))
        event(process, "reloaded")
        assert version(url, "sesame") == (200, "n")
        file.write_text(served.replace("{}", "{c: 10000}"))
        assert "models/desk.yaml" in event(process, "not_reloaded")["why"]
        assert version(url, "sesame") == (200, "n")
        file.write_text(served.replace("{}", "{a: 10000}"))
        (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0, limits: {body_mb: 1}}\nworker: {enabled: false}\n")
        assert event(process, "restart_needed")["what"] == "gateway"
        assert version(url, "sesame") == (200, "m")
        process.send_signal(signal.SIGTERM)
        event(process, "stopped")
