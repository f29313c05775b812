from __future__ import annotations

import http.server
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.demo.meter import CpuMeter
from tunekeeper.demo.traffic import Crowd, Ledger
from tunekeeper.demo.world import WORLD_1


class Desk(http.server.BaseHTTPRequestHandler):
    """Answers every fifth request with an error and every fourth one wrongly; notes feedback."""

    protocol_version = "HTTP/1.1"
    truth: Ledger
    feedback: list[dict[str, Any]]
    asked: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/feedback"):
            self.feedback.append(body)
            return self.reply(202, {})
        text = body["messages"][-1]["content"]
        self.asked.append(text)
        number = len(self.asked)
        if number % 5 == 0:
            return self.reply(503, {"error": {}})
        answer = "{}" if number % 4 == 0 else self.truth.truth[text]
        self.reply(200, {"choices": [{"message": {"content": answer}}]}, number)
        return None

    def reply(self, status: int, body: dict[str, Any], number: int = 0) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-tunekeeper-version", "v1.0")
        self.send_header("x-tunekeeper-request-id", f"req_{number}")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what matters."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[str, Ledger]]:
    ledger = Ledger(tmp_path / "tickets.jsonl")
    Desk.truth, Desk.feedback, Desk.asked = ledger, [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", ledger
    server.shutdown()
    thread.join()
    server.server_close()


def test_users_count_what_they_saw_and_correct_what_was_wrong(desk: tuple[str, Ledger]) -> None:
    url, ledger = desk
    crowd = Crowd(url=url, key="k", model="m", world=WORLD_1, ledger=ledger, seed=1, rate=500, most=4)
    crowd.start(60)
    while crowd.running():
        threading.Event().wait(0.02)
    tally = crowd.stop()
    assert (tally.sent, tally.failed, tally.answered) == (60, 12, 48)
    assert tally.errors["503"] == 12
    wrong = tally.answered - tally.right
    edits = [each for each in Desk.feedback if each["kind"] == "edit"]
    assert 0 < len(edits) == tally.edits <= wrong
    assert all(json.loads(each["value"]).keys() == {"category", "priority"} for each in edits)
    assert tally.versions == {"v1.0": 48}
    assert set(Desk.asked) == set(ledger.truth)
    assert tally.as_json()["latency_ms"]["p50"] > 0


def test_a_ticket_is_written_down_before_it_is_sent_and_found_again(tmp_path: Path) -> None:
    ticket = next(WORLD_1.tickets(random.Random(1)))
    Ledger(tmp_path / "t.jsonl").append(ticket)
    with (tmp_path / "t.jsonl").open("a") as file:
        file.write('{"text": "cut o')
    assert Ledger(tmp_path / "t.jsonl").truth == {ticket.text: ticket.answer}


def test_the_meter_remembers_processes_that_ended(tmp_path: Path) -> None:
    root = tmp_path / "project" / ".tunekeeper"
    with CpuMeter(root) as meter:
        before = meter.seconds()
        code = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass\ninput()"
        with subprocess.Popen([sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE) as child:
            while meter.seconds() - before < 0.25:
                threading.Event().wait(0.05)
            child.communicate(b"\n")
        assert meter.seconds() - before >= 0.25
