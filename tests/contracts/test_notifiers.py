from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.examples import uncovered
from tunekeeper.notify import NotSent
from tunekeeper.notify.logfile import NAME, LogFile
from tunekeeper.notify.memory import Memory
from tunekeeper.notify.notifier import NOTIFIERS
from tunekeeper.notify.webhook import Webhook
from tunekeeper.store.ledgers.outbox import Message
from tunekeeper.testing.contracts import check_notifier


class Receiver(ThreadingHTTPServer):
    """Takes what a webhook posts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ids: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.ids.append(body["id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(port: int, timeout: float = 60.0) -> dict[str, Any]:
    """Options of a webhook to a port of this machine."""
    return {"url": f"http://127.0.0.1:{port}/hook", "timeout": timeout}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def dripping() -> Iterator[int]:
    """A port where an answer comes a byte at a time and has no end."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def serve() -> None:
        while not stop.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                    while not stop.wait(0.05):
                        connection.sendall(b"a")

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    thread.join()
    listener.close()


def try_log(folder: Path, receiver: Receiver, silent: int) -> None:
    def received() -> list[str]:
        return [json.loads(line)["id"] for line in (folder / NAME).read_bytes().split(b"\n") if line]

    check_notifier(LogFile, folder, received=received, unreachable=[{"root": folder / "gone"}])
    assert len(received()) == 7


def try_memory(folder: Path, receiver: Receiver, silent: int) -> None:
    made: list[Memory] = []

    def maker(**options: Any) -> Memory:
        made.append(Memory(**options))
        return made[-1]

    def received() -> list[str]:
        return [message.id for message in made[0].messages]

    check_notifier(maker, folder, received=received, unreachable=[{"fail": 1}, {"fail": 2, "permanent": True}])


def try_webhook(folder: Path, receiver: Receiver, silent: int) -> None:
    reached = {"options": url(receiver.server_port), "received": lambda: receiver.ids}
    check_notifier(Webhook, folder, **reached, unreachable=[url(9), url(silent, 0.2)], seconds=60)


TRIED = {"log": try_log, "memory": try_memory, "webhook": try_webhook}
"""Name → how it is tried."""


@pytest.mark.parametrize("name", NOTIFIERS.names())
def test_every_built_in_notifier_keeps_the_contract(name: str, tmp_path: Path, receiver: Receiver, silent: int) -> None:
    TRIED[name](tmp_path, receiver, silent)


def test_every_built_in_notifier_is_tried() -> None:
    assert uncovered(NOTIFIERS, TRIED) == []
    assert len(TRIED) >= 3


def test_the_webhook_leaves_a_receiver_that_never_ends(tmp_path: Path, receiver: Receiver, dripping: int) -> None:
    reached = {"options": url(receiver.server_port), "received": lambda: receiver.ids}
    check_notifier(Webhook, tmp_path, **reached, unreachable=[url(dripping, 0.2)], seconds=60)


class Good:
    """Keeps the contract; each broken one below differs in one thing."""

    arrived: list[str] = []

    def __init__(self, *, root: Path, away: bool = False) -> None:
        self.root, self.away = root, away

    def send(self, message: Message) -> Any:
        if self.away:
            raise NotSent("good: nobody there")
        self.arrived.append(message.id)
        return None


class WithoutRoot(Good):
    def __init__(self, *, away: bool = False) -> None:
        self.away = away


class Lenient(Good):
    def __init__(self, *, root: Path, away: bool = False, **more: Any) -> None:
        super().__init__(root=root, away=away)


class Plain(Good):
    def send(self, message: Message) -> Any:
        if self.away:
            raise ConnectionError("refused")
        super().send(message)


class Optimist(Good):
    def send(self, message: Message) -> Any:
        with suppress(NotSent):
            super().send(message)


class Answering(Good):
    def send(self, message: Message) -> Any:
        super().send(message)
        return True


class Loses(Good):
    def send(self, message: Message) -> Any:
        if len(message.text) < 1000:
            super().send(message)


class Renames(Good):
    def send(self, message: Message) -> Any:
        super().send(message)
        self.arrived.append(f"{message.id}-{len(self.arrived)}")


class Latin(Good):
    def send(self, message: Message) -> Any:
        message.subject.encode("latin-1")
        super().send(message)


class Once(Good):
    def send(self, message: Message) -> Any:
        if message.id in self.arrived:
            raise KeyError(message.id)
        super().send(message)


class Changing(Good):
    def send(self, message: Message) -> Any:
        message.data["sent"] = True
        super().send(message)


class Waits(Good):
    def send(self, message: Message) -> Any:
        if self.away:
            time.sleep(2)
        super().send(message)


class Wordy(Good):
    def send(self, message: Message) -> Any:
        if self.away:
            raise NotSent("no\nTraceback: …")
        super().send(message)


class Unsure(Good):
    def send(self, message: Message) -> Any:
        if self.away:
            raise NotSent("good: gone", permanent=None)  # type: ignore[arg-type]  # what an author may write
        super().send(message)


class Mute(Good):
    send = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (WithoutRoot, "making it with root raised TypeError"),
        (Lenient, "a typing error in a configuration must be told"),
        (Mute, r"Mute has no send\(\)"),
        (Plain, "raised ConnectionError: refused"),
        (Optimist, "returned as if it had arrived"),
        (Answering, "returned True: what is not sent is told by NotSent"),
        (Loses, "'long' returned, but it did not arrive"),
        (Renames, "ids arrived that nobody sent"),
        (Latin, "raised UnicodeEncodeError"),
        (Once, r"send\(\) of 'alr_1@ops' raised KeyError"),
        (Changing, "changed the message"),
        (Waits, "did not return within 0.5 seconds"),
        (Wordy, "must say why in one line"),
        (Unsure, "permanent is None"),
    ],
)
def test_a_broken_notifier_is_named(tmp_path: Path, kind: Callable[..., Good], sentence: str) -> None:
    Good.arrived.clear()
    with pytest.raises(AssertionError, match=sentence):
        check_notifier(
            kind, tmp_path, received=lambda: Good.arrived, unreachable=[{"away": True}], seconds=0.5 if kind is Waits else 60
        )


def test_one_that_keeps_the_contract_passes_and_must_be_seen_failing(tmp_path: Path) -> None:
    Good.arrived.clear()
    check_notifier(Good, tmp_path, received=lambda: Good.arrived, unreachable=[{"away": True}])
    with pytest.raises(AssertionError, match="judged by how it fails"):
        check_notifier(Good, tmp_path, received=lambda: Good.arrived, unreachable=[])
