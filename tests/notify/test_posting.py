"""One POST, and who may hold it up."""

from __future__ import annotations

import threading

import pytest

from tests.notify.intake import Intake
from tunekeeper.core.errors import ConfigError
from tunekeeper.notify.posting import address, post


class Echo(Intake):
    """Says what it was told; or nothing until `gone` is set."""

    def __init__(self, *, mute: bool = False) -> None:
        super().__init__()
        self.gone = threading.Event()
        if not mute:
            self.gone.set()

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.gone.wait(60)
        return 200, headers["x-word"].encode() + body


def test_what_is_posted_arrives_and_the_answer_comes_back() -> None:
    with Echo().running() as server:
        server.extra = {"retry-after": "12"}
        answer = post(address(server.url, "a test"), b"body", {"x-word": "head "}, 30.0)
    assert (answer.status, answer.body, answer.retry_after) == (200, b"head body", 12.0)


def test_a_receiver_that_says_nothing_is_left() -> None:
    server = Echo(mute=True)
    with server.running(), pytest.raises(OSError):  # which of its two clocks ends it is chance
        try:
            post(address(server.url, "a test"), b"", {"x-word": "x"}, 0.05)
        finally:
            server.gone.set()


@pytest.mark.parametrize("url", ["ftp://host/", "https://", "host:80", "http://host:port/"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="not an address for a test"):
        address(url, "a test")


def test_the_host_header_has_the_port_only_where_it_is_not_the_usual_one() -> None:
    given = ("https://a.example/x?y", "http://a.example:8080", "https://[::1]:4443/")
    assert [address(url, "a test").netloc for url in given] == ["a.example", "a.example:8080", "[::1]:4443"]
    assert address(given[0], "a test").path == "/x?y"
