"""Chat templates: messages to the exact text a model was trained on, as transformers renders it.

A template comes with a checkpoint, so it is a program from outside. It never runs in this process: `sandbox` runs it in a child
that can reach nothing, which is kept for the next conversation, and ended and replaced when a template does too much.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.sandbox import READING, SECONDS

MAX_TEMPLATE = 256 << 10
"""Characters."""
MAX_OUTPUT = 64 << 10
"""Characters a template may write beyond what its messages hold."""
PATIENCE = 60.0
"""Real seconds for one answer on a machine that stands still; what a template may take is counted by its own process."""
_PASSED = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None = None,
    special: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = datetime.now,
) -> str:
    """The text of `messages`. `special`: bos_token, eos_token … as the tokenizer names them; `now`: for templates with a date.

    Raises ArtifactError when the template is broken, refuses the messages, or does more than a template should.
    """
    if len(template) > MAX_TEMPLATE:
        raise ArtifactError(f"chat template of {len(template)} characters; {MAX_TEMPLATE} are allowed")
    variables = {**(special or {}), "add_generation_prompt": add_generation_prompt}
    asked = {"template": template, "variables": variables, "now": now().isoformat()}
    try:
        said = _JSON.encode({"messages": messages, "tools": list(tools) if tools else None})
        line = f'{{"said":{said},"asked":{_JSON.encode(asked)},"room":{MAX_OUTPUT + 4 * len(said)}}}\n'.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"chat template: its messages are no JSON values ({error})") from error
    answer = _CHILD.ask(line)
    if "text" not in answer:
        raise ArtifactError(f"chat template: {answer['error']}")
    return answer["text"]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else str(value)


_JSON = json.JSONEncoder(default=_plain)


class _Child:
    """The process that renders, begun when it is first needed. One conversation at a time; a fork of ours begins its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes) -> dict[str, str]:
        """What it says to one request: `{text}` or `{error}`."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._process = _begin()
            try:
                told = _exchange(self._process, line)
            except BaseException:
                self._end()  # an answer that was not waited for must not become the next one's
                raise
            if told is None:
                return {"error": _how_it_ended(self._end())}
            answer: dict[str, str] = json.loads(told)
            return answer

    def _end(self) -> int:
        """End the process; its exit status, 0 where there was none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        """End it because this process ends."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """In a fork: the process is the parent's; our copies of its pipes would keep it alive."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.returncode = 0
            process.stdin.close()
            process.stdout.close()


def _begin() -> subprocess.Popen[bytes]:
    source = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "tunekeeper.text.sandbox"],
        env={name: os.environ[name] for name in _PASSED if name in os.environ} | {"PYTHONPATH": source},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # an interrupt typed at the terminal is for us
    )


def _exchange(process: subprocess.Popen[bytes], line: bytes) -> bytes | None:
    """Send a line, receive a line; None when the process ended or kept silent."""
    assert process.stdin is not None
    assert process.stdout is not None
    end = time.monotonic() + PATIENCE
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[process.stdin.write(rest) or 0 :]
    except BrokenPipeError:
        return None
    pieces: list[bytes] = []
    while not pieces or not pieces[-1].endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        piece = process.stdout.read(1 << 16)
        if not piece:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _how_it_ended(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"it ran longer than {SECONDS} s, or took longer than {READING} s to read, and was stopped"
    return f"its process ended with status {status}"


_CHILD = _Child()
atexit.register(_CHILD.close)
os.register_at_fork(after_in_child=_CHILD.forget)
