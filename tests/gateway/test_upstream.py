"""The client side against servers that break HTTP in every way."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
from typing import Any

import pytest
import uvloop

from tunekeeper.gateway.tables import Address
from tunekeeper.gateway.upstream import Pools, Request

REQUEST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}"


class Heard:
    """A sink that notes what it hears; `ended` is set at the last call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.body = b""
        self.ended = asyncio.Event()

    def upstream_sent(self) -> None:
        self.calls.append("sent")

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.calls.append((status, dict(headers)))

    def upstream_body(self, data: bytes) -> None:
        self.body += data

    def upstream_end(self) -> None:
        self.calls.append("end")
        self.ended.set()

    def upstream_failed(self, code: str, message: str) -> None:
        self.calls.append(code)
        self.ended.set()


class Server:
    """Answers each request on a connection with the next bytes of its script; None closes without a word."""

    def __init__(self, *script: bytes | None, close: bool = False, delay: float = 0.0, piece: int = 7) -> None:
        self.script = list(script)
        self.piece = piece
        self.delay = delay
        self.close_after = close
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        while self.script:
            try:
                await reader.readexactly(len(REQUEST))
            except asyncio.IncompleteReadError:
                break
            answer = self.script.pop(0) if self.script else None
            if answer is None:
                break
            await asyncio.sleep(self.delay)
            for at in range(0, len(answer), self.piece):
                writer.write(answer[at : at + self.piece])
                await writer.drain()
            if self.close_after:
                break
        writer.close()


def exchange(server: Server, times: int = 1, limit: int = 1 << 20) -> tuple[list[Heard], Pools]:
    """Send the request `times` times, one after the other."""

    async def main() -> tuple[list[Heard], Pools]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        address = Address("127.0.0.1", listening.sockets[0].getsockname()[1], tls=False)
        pools, heard = Pools(asyncio.get_running_loop(), limit), []
        for _ in range(times):
            heard.append(Heard())
            pools.to(address).send(REQUEST, heard[-1])
            await asyncio.wait_for(heard[-1].ended.wait(), 60)
            await asyncio.sleep(0.01)
        pools.close()
        listening.close()
        for writer in server.writers:
            writer.close()
        await asyncio.sleep(0.01)
        return heard, pools

    return asyncio.run(main())


GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\nhello"


def test_a_whole_answer_is_handed_over_and_the_connection_kept() -> None:
    server = Server(GOOD, GOOD, GOOD)
    heard, _ = exchange(server, 3)
    assert [h.body for h in heard] == [b"hello"] * 3
    assert heard[0].calls[0] == "sent"
    assert heard[0].calls[1][0] == 200
    assert heard[0].calls[1][1][b"content-type"] == b"application/json"
    assert heard[0].calls[-1] == "end"
    assert server.connections == 1


def test_a_head_that_is_known_again_frames_as_it_did_the_first_time() -> None:
    empty = GOOD.replace(b"length: 5", b"length: 0").removesuffix(b"hello")
    script = [GOOD, GOOD.replace(b"hello", b"world"), GOOD.replace(b"200 OK", b"429 No"), GOOD, empty, empty, GOOD]
    server = Server(*script, piece=1 << 20)
    heard, _ = exchange(server, len(script))
    assert [h.body for h in heard] == [b"hello", b"world", b"hello", b"hello", b"", b"", b"hello"]
    assert [h.calls[1][0] for h in heard] == [200, 200, 429, 200, 200, 200, 200]
    assert all(h.calls[-1] == "end" for h in heard)
    assert server.connections == 1


@pytest.mark.parametrize("broken", [GOOD + b"HTTP/1.1 200 OK\r\n\r\n", GOOD[:-1]])
def test_a_known_head_with_another_amount_behind_it_is_read_by_the_parser(broken: bytes) -> None:
    server = Server(GOOD, broken, close=False, piece=1 << 20)
    heard, _ = exchange(server, 2)
    assert heard[0].body == b"hello"
    assert heard[1].calls[-1] == ("end" if len(broken) > len(GOOD) else "upstream_truncated")


def test_chunked_answers_and_interim_heads_are_read() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    server = Server(answer, answer)
    heard, _ = exchange(server, 2)
    assert [h.body for h in heard] == [b"hello"] * 2
    assert [c[0] for c in heard[0].calls if isinstance(c, tuple)] == [200]
    assert server.connections == 1


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    heard, _ = exchange(Server(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True))
    assert (heard[0].body, heard[0].calls[-1]) == (b"hello", "end")


def test_a_server_that_closes_is_not_kept() -> None:
    answer = GOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    server = Server(answer, answer)
    heard, _ = exchange(server, 2)
    assert [h.calls[-1] for h in heard] == ["end", "end"]
    assert server.connections == 2


def test_a_kept_connection_that_dies_unheard_is_tried_once_more() -> None:
    server = Server(GOOD, None, GOOD)
    heard, _ = exchange(server, 2)
    assert [h.calls[-1] for h in heard] == ["end", "end"]
    assert server.connections == 2


def test_it_is_tried_only_once_more() -> None:
    heard, _ = exchange(Server(GOOD, None, None), 2)
    assert heard[1].calls[-1] == "upstream_error"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "upstream_truncated"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "upstream_truncated"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello", "upstream_garbage"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "upstream_garbage"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello", "upstream_garbage"),
        (b"\x16\x03\x01 not http", "upstream_garbage"),
        (b"<html>", "upstream_garbage"),
        (b"", "upstream_error"),
        (b"HTTP/1.1 200 OK\r\nconte", "upstream_error"),
    ],
)
def test_what_is_not_a_whole_answer_is_a_failure(answer: bytes, code: str) -> None:
    heard, _ = exchange(Server(answer, close=True))
    assert heard[0].calls[-1] == code
    assert heard[0].calls.count("end") == 0


def test_bytes_beyond_the_answer_cost_the_connection_not_the_answer() -> None:
    server = Server(GOOD + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", GOOD)
    heard, _ = exchange(server, 2)
    assert [h.body for h in heard] == [b"hello", b"hello"]
    assert server.connections == 2


@pytest.mark.parametrize("behind", [b"HTTP/1.1 \1", b"HTTP/1.1 429 No\r\ncontent-length: 1\r\n\r\nx", b"HTTP/1.1 503 "])
def test_a_message_behind_the_answer_does_not_lend_it_its_status(behind: bytes) -> None:
    heard, _ = exchange(Server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab" + behind, piece=1000))
    assert heard[0].calls == ["sent", (200, {b"content-length": b"2"}), "end"]
    assert heard[0].body == b"ab"


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 050 No\r\ncontent-length: 3\r\n\r\nbad",
        b"HTTP/1.1 103 Early\r\ncontent-length: %d\r\n\r\n" % len(GOOD),
        b"HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_before_the_answer_that_hides_bytes_of_it_is_a_failure(before: bytes) -> None:
    heard, _ = exchange(Server(before + GOOD + GOOD.replace(b"hello", b"other")))
    assert (heard[0].body, heard[0].calls) == (b"", ["sent", "upstream_garbage"])


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_trailers_change_no_head(piece: int) -> None:
    trailers = b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\nretry-after: 9\r\n"
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n%s\r\n" % trailers
    heard, _ = exchange(Server(answer, piece=piece))
    assert heard[0].calls == ["sent", (200, {b"content-type": b"a/b", b"transfer-encoding": b"chunked"}), "end"]
    assert heard[0].body == b"hello"


def test_an_answer_beyond_its_bound_is_dropped() -> None:
    heard, _ = exchange(Server(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000), limit=1000)
    assert heard[0].calls[-1] == "upstream_garbage"
    assert len(heard[0].body) < 1100


def test_a_head_without_end_is_dropped_long_before_an_answer_would_be() -> None:
    heard, _ = exchange(Server(b"HTTP/1.1 200 OK\r\nx-a: " + b"y" * 600_000, piece=65_536), limit=1 << 26)
    assert heard[0].calls[-1] == "upstream_garbage"


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_that_is_packed_all_the_same_is_unpacked(chunked: bool) -> None:
    body = gzip.compress(b"hello" * 100)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
    told = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: GZip\r\n" + framing + b"\r\n\r\n" + told
    for piece in (7, 1 << 20):
        heard, _ = exchange(Server(answer, answer, piece=piece), 2)
        assert [(h.body, h.calls[-1]) for h in heard] == [(b"hello" * 100, "end")] * 2


@pytest.mark.parametrize(
    ("coding", "body"),
    [(b"br", b"xxx"), (b"gzip", b"not gzip"), (b"gzip", gzip.compress(b"x" * 5000, mtime=0)), (b"gzip, gzip", b"x")],
)
def test_what_cannot_be_unpacked_is_a_failure(coding: bytes, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n%s" % (coding, len(body), body)
    heard, _ = exchange(Server(answer, piece=1 << 20), limit=1000)
    assert heard[0].calls[-1] == "upstream_garbage"


def test_an_aborted_request_is_heard_of_no_more() -> None:
    async def main() -> Heard:
        server = Server(GOOD, GOOD, delay=0.02)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        address = Address("127.0.0.1", listening.sockets[0].getsockname()[1], tls=False)
        pools, heard = Pools(asyncio.get_running_loop(), 1000), Heard()
        for wait in (0, 0.01):
            request = pools.to(address).send(REQUEST, heard)
            await asyncio.sleep(wait)
            request.abort()
        await asyncio.sleep(0.05)
        pools.close()
        listening.close()
        for writer in server.writers:
            writer.close()
        await asyncio.sleep(0.01)
        return heard

    heard = asyncio.run(main())
    assert "end" not in heard.calls
    assert not any(str(call).startswith("upstream") for call in heard.calls)


def test_a_connection_that_a_slow_client_held_up_is_read_again_for_the_next_request() -> None:
    class Slow(Heard):
        request: Request

        def upstream_body(self, data: bytes) -> None:
            self.request.pause()  # as the client's full socket does, while the whole answer is in this piece
            super().upstream_body(data)

    server = Server(GOOD, GOOD, piece=1000)

    async def main() -> list[bytes]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        pools = Pools(asyncio.get_running_loop(), 1 << 20)
        pool, bodies = pools.to(Address("127.0.0.1", listening.sockets[0].getsockname()[1], tls=False)), []
        for _ in range(2):
            sink = Slow()
            sink.request = pool.send(REQUEST, sink)
            await asyncio.wait_for(sink.ended.wait(), 60)
            bodies.append(sink.body)
        pools.close()
        listening.close()
        await asyncio.sleep(0.01)
        return bodies

    assert uvloop.run(main()) == [b"hello", b"hello"]
    assert server.connections == 1


def test_connections_to_addresses_nobody_names_any_more_are_dropped() -> None:
    async def main() -> int:
        server = Server(GOOD, GOOD)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        address = Address("127.0.0.1", listening.sockets[0].getsockname()[1], tls=False)
        pools, heard = Pools(asyncio.get_running_loop(), 1000), Heard()
        pools.to(address).send(REQUEST, heard)
        await heard.ended.wait()
        pools.prune({address})
        kept = len(pools.to(address).idle)
        pools.prune(set())
        assert len(pools.to(address).idle) == 0
        listening.close()
        for writer in server.writers:
            writer.close()
        await asyncio.sleep(0.01)
        return kept

    assert asyncio.run(main()) == 1


def test_the_kernel_watches_over_connections_to_model_servers() -> None:
    async def main() -> list[int]:
        server = Server(GOOD, GOOD)  # and it waits for another
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        pools, heard = Pools(asyncio.get_running_loop(), 1 << 20), Heard()
        pool = pools.to(Address("127.0.0.1", listening.sockets[0].getsockname()[1], tls=False))
        pool.send(REQUEST, heard)
        await asyncio.wait_for(heard.ended.wait(), 60)
        found = pool.idle[0].transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(found.fileno())) as same:
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            told = [same.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            told.append(same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        pools.close()
        listening.close()
        for writer in server.writers:
            writer.close()
        await asyncio.sleep(0.01)
        return told

    idle, every, times, unheard, on = uvloop.run(main())
    assert on == 1
    assert max(idle + every * times, unheard / 1000) + 2 <= 10, "and two seconds to dial anew"
