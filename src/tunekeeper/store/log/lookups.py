"""Asking the keeper which request an answer's own `id` belongs to, and whose a request is: one JSON line each way over
`run/keeper.sock`.

`{"body_id": "chatcmpl-…"}` → `{"request_ids": [...]}`: one hit names the request, several cannot be told apart, none is unknown.
`{"request_id": "req_…"}` → `{"model_id": "support-desk"}`, or null where the log does not show that request (yet).
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from tunekeeper.core.errors import OutsideError
from tunekeeper.store.published import short_address

SOCKET = "keeper.sock"
LINE = 4096
AT_ONCE = 16
SECONDS = 2.0


class Question(msgspec.Struct):
    """What a gateway asks: one of the two."""

    body_id: str | None = None
    request_id: str | None = None


class Answer(msgspec.Struct):
    """What the keeper says."""

    request_ids: list[str] = []
    model_id: str | None = None
    error: str | None = None


def ask(root: Path, body_id: str, timeout: float = SECONDS) -> list[str]:
    """Request ids whose answer carried `body_id` in the last 30 days. Raises OutsideError when the keeper is away or silent for
    `timeout` seconds."""
    path = root / "run" / SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as caller, short_address(path) as address:
            caller.settimeout(timeout)
            caller.connect(address)
            with suppress(BrokenPipeError):  # a busy keeper says so and hangs up, maybe before it is asked
                caller.sendall(msgspec.json.encode(Question(body_id=body_id)) + b"\n")
            with caller.makefile("rb") as replies:
                answer = msgspec.json.decode(replies.readline(1 << 20), type=Answer)
    except (OSError, msgspec.DecodeError) as error:
        raise OutsideError(f"the keeper does not answer on {path}", fix="tunekeeper up") from error
    if answer.error is not None:
        raise OutsideError(f"the keeper cannot answer: {answer.error}", fix="tunekeeper log verify")
    return answer.request_ids


class _Handler(socketserver.StreamRequestHandler):
    timeout = SECONDS
    server: LookupServer

    def handle(self) -> None:
        """Answer the lines of one connection until it is idle for two seconds."""
        if not self.server.places.acquire(blocking=False):
            self._say(Answer(error="busy"))
            return
        try:
            while line := self.rfile.readline(LINE):
                self._say(self.server.answer(line))
        except OSError:
            return  # the caller went away or fell silent
        finally:
            self.server.places.release()

    def _say(self, answer: Answer) -> None:
        self.wfile.write(msgspec.json.encode(answer) + b"\n")


class LookupServer(socketserver.ThreadingUnixStreamServer):
    """The keeper's side, in its own threads; bounded in callers, line length and time."""

    daemon_threads = True

    def __init__(
        self, root: Path, find: Callable[[str], set[str]], model_of: Callable[[str], str | None] = lambda _: None
    ) -> None:
        """Binds `root`/run/keeper.sock, in place of what a dead keeper left. `find`: body id → request ids. `model_of`: request
        id → the model it was asked of."""
        self.path = root / "run" / SOCKET
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.places = threading.Semaphore(AT_ONCE)
        self.find = find
        self.model_of = model_of
        with short_address(self.path) as address:
            super().__init__(address, _Handler)

    def answer(self, line: bytes) -> Answer:
        """The answer to one line."""
        try:
            question = msgspec.json.decode(line, type=Question)
            if question.request_id is not None:
                return Answer(model_id=self.model_of(question.request_id))
            if question.body_id is not None:
                return Answer(request_ids=sorted(self.find(question.body_id)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        except OSError as error:
            return Answer(error=str(error.strerror))
        return Answer(error='a question is a line {"body_id": "..."} or {"request_id": "..."} of at most 4096 bytes')

    def start(self) -> None:
        """Serve in a thread until `stop`."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def stop(self) -> None:
        """End serving and remove the socket."""
        self.shutdown()
        self.server_close()
        self.path.unlink(missing_ok=True)
