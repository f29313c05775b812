"""What a server that we start must keep: it reports where it listens, holds its lock for life, answers, and ends when told to."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunekeeper.core.errors import Busy
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, Engine
from tunekeeper.engines.client import call
from tunekeeper.engines.engine import lock_path
from tunekeeper.store.flocks import held
from tunekeeper.testing.contracts.trial import attempt, must, shown


def check_child(engine: Engine, slot: Slot, root: Path, seconds: float) -> None:
    """Start the engine's command for `slot` under `root`, ask its server and end it; AssertionError names what it breaks."""
    command = engine.command(slot, root)
    must(command is not None, "command() starts nothing: leave `start` out for servers of others")
    lock = lock_path(slot, root)
    whole = [*(command or ()), "--lock", str(lock)]
    with _child(whole) as child:
        report = _report(child, seconds)
        must(held(lock), "the server answers without holding the lock it was given: nobody could tell that it lives")
        must(json.loads(lock.read_text("utf-8") or "null") == report, "the lock file does not hold the server's report")
        _answers(engine, slot, str(report["listening"]), seconds)
        second = subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        must(second.returncode == Busy.exit_code, f"a second server for the slot ended with {second.returncode}, not 4 (busy)")
        must(child.poll() is None, "the server did not survive that a second one was tried")
        child.send_signal(signal.SIGTERM)
        attempt("the server, told to end,", child.wait, seconds=seconds)
    must(not held(lock), "the server has ended and its lock is still held")


@contextmanager
def _child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _report(child: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    assert child.stdout is not None
    line = attempt("the server's first word", lambda: _first(child.stdout), seconds=seconds)
    must(bool(line), 'the server ended before it printed {"listening": "http://…"}')
    report = json.loads(line)
    address = report.get("listening")
    must(isinstance(address, str) and address.startswith("http://127.0.0.1:"), f"it listens on {shown(address)}, not on loopback")
    must(report.get("pid") == child.pid, f"it reports the process {report.get('pid')}, not its own")
    return dict(report)


def _first(stream: IO[bytes] | None) -> bytes:
    """The report among what it prints; nothing at the end."""
    return next((line for line in stream or () if line.startswith(b'{"listening"')), b"")


def _answers(engine: Engine, slot: Slot, address: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (status := call("GET", address + engine.health_path(), total=seconds)[0]) != 200:
        must(time.monotonic() < end, f"the server still answers {status} on {engine.health_path()} after {seconds:g} seconds")
        time.sleep(0.05)
    fields = engine.request_fields(slot)
    name = str(fields.pop("model"))
    found = attempt("probe() of its own server", lambda: engine.probe(address), seconds=seconds)
    must(name in found.models, f"request_fields() asks for {shown(name)}, its server serves {found.models}")
    client = ChatClient(address, name, total=seconds)
    question = [{"role": "user", "content": "hello"}]
    answer = attempt("a chat with it", lambda: client.chat(question, max_tokens=4, **fields), seconds=seconds)
    must(answer.finish_reason is not None, "the server's answer has no finish_reason")
