"""The two ends of the gateway's benchmark: what they count must be what happened."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks import traffic

PLAIN = traffic.PLAIN
CONNECTIONS = 3


@contextmanager
def model_server(repository: Path) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "benchmarks.traffic", "upstream"]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["listening"]
        finally:
            process.kill()


def load(repository: Path, url: str, *words: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.traffic", "load", "--url", url, "--seconds", "0.2", *words]
    done = subprocess.run(
        [*command, "--connections", str(CONNECTIONS)], cwd=repository, capture_output=True, text=True, timeout=300, check=True
    )
    return json.loads(done.stdout)


def seen(answers: list[bytes], *, closes: bool = False, seconds: float = 0.0) -> dict[str, float]:
    """What one client says of a server that sends `answers` piece by piece for a request, and then closes or does not."""

    handling = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        while await reader.readline():
            length = 0
            while (line := await reader.readline()).strip():
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            await reader.readexactly(length)
            for piece in answers:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)  # so that pieces come as pieces; together they mean the same
            if closes:
                break
        writer.close()
        with suppress(OSError):  # the client may have gone, or asked again, in the meantime
            await writer.wait_closed()

    async def both() -> dict[str, float]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        make = traffic.requests("127.0.0.1", "/v1/x", "m", stream=False, pace_ms=None, user=True, headers={})
        async with server:
            found = await traffic.load(f"http://127.0.0.1:{port}", 1, seconds, make)
            await asyncio.gather(*handling)
        return found

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 38),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:0\r\n\r\n", 46),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", None),  # the rest is under way
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhi", None),  # two messages
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nx: \r\n\r\ncontent-length: 2\r\n\r\nhi", None),  # in the body
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", None),
    ],
)
def test_the_short_way_is_taken_only_with_one_whole_message(data, where):
    assert traffic.body_at(data) == where


def test_plain_answers_and_streams_are_counted_once_each(repository):
    with model_server(repository) as url:
        plain = load(repository, url, "--header", "authorization=Bearer x")
        streams = load(repository, url, "--stream", "--no-user")
    assert plain["errors"] == streams["errors"] == 0
    assert plain["requests"] >= CONNECTIONS
    assert plain["rate"] == pytest.approx(plain["requests"] / plain["seconds"])
    assert streams["most_open"] == CONNECTIONS  # all of them open before the first one can end
    assert streams["requests"] >= CONNECTIONS
    assert streams["first_chunk_ms"] < streams["median_ms"]
    assert streams["median_ms"] >= 1000 * traffic.CHUNKS * traffic.CHUNK_SECONDS


def test_an_answer_in_pieces_is_one_answer():
    for cut in (10, len(PLAIN) // 2, len(PLAIN) - 1):
        found = seen([PLAIN[:cut], PLAIN[cut:]])
        assert (found["requests"], found["errors"]) == (1, 0)
    chunked = seen([traffic.STREAM_HEAD, traffic.EVENTS[0], traffic.LAST])
    assert (chunked["requests"], chunked["errors"], chunked["most_open"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("answers", "closes"),
    [
        ([PLAIN.replace(b"200 OK", b"500 No")], False),  # whole and wrong
        ([PLAIN[:-9]], True),  # cut short
        ([traffic.STREAM_HEAD, traffic.EVENTS[0]], True),
        ([b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], False),
        ([b"no HTTP at all\r\n\r\n"], True),
        ([], True),
    ],
)
def test_what_is_no_whole_200_is_an_error(answers, closes):
    assert seen(answers, closes=closes)["errors"] == 1


def test_a_server_that_closes_between_requests_is_told_from_one_that_answers():
    found = seen([PLAIN], closes=True, seconds=5.0)
    assert (found["requests"], found["errors"]) == (1, 1)  # the next request was sent, and got nothing


def test_a_server_that_is_not_there_is_one_line(repository):
    command = [sys.executable, "-m", "benchmarks.traffic", "load", "--url", "http://127.0.0.1:1", "--seconds", "0.1"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
