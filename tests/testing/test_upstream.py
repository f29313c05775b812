"""The scripted model server keeps its promises: it is the oracle of the gateway's tests."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from tunekeeper.testing.upstream import BEHAVIOURS, FakeUpstream, main

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi there"}]}
SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def with_fake(work: Callable[[FakeUpstream, httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        fake = FakeUpstream()
        url = await fake.start()
        async with httpx.AsyncClient(base_url=url, verify=False, timeout=60) as client:
            got = await work(fake, client)
        await fake.close()
        return got

    return asyncio.run(run())


async def chat(client: httpx.AsyncClient, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
    return await client.post(path, json={**CHAT, **more})


def test_it_answers_every_endpoint_plain_and_streaming() -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> None:
        plain = (await chat(client)).json()
        assert plain["choices"][0]["message"]["content"] == "you said: hi there"
        assert plain["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        assert (await chat(client, "/v1/completions", prompt="p")).json()["choices"][0]["text"] == "you said: hi there"
        assert (await chat(client, "/v1/embeddings", input="p")).json()["data"][0]["embedding"] == [0.0, 1.0]
        text = (await chat(client, stream=True, stream_options={"include_usage": True})).text
        assert text.endswith("data: [DONE]\n\n")
        assert '"completion_tokens": 4' in text
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "fake"
        assert (fake.counts.requests, fake.counts.answered, fake.counts.models["m"]) == (4, 4, 4)

    with_fake(work)


@pytest.mark.parametrize(("how", "status"), [("400", 400), ("404", 404), ("429", 429), ("500", 500), ("503", 503)])
def test_statuses_are_scripted(how: str, status: int) -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> httpx.Response:
        fake.script.append(how)
        got = await chat(client)
        assert (await chat(client)).status_code == 200, "the script is one request long"
        return got

    got = with_fake(work)
    assert got.status_code == status
    assert got.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize("how", ["close", "garbage", "wrong_length", "cut"])
def test_broken_answers_break(how: str) -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> None:
        fake.script.append(how)
        with pytest.raises(httpx.RemoteProtocolError):
            await chat(client)

    with_fake(work)


def test_streams_end_early_fail_or_stall_as_told() -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> None:
        fake.script.extend(["early_end", "error_in_stream", "error_in_200", "no_usage"])
        early, error, only_error, bare = [
            (await chat(client, stream=True, stream_options={"include_usage": True})).text for _ in range(4)
        ]
        assert "[DONE]" not in early
        assert '"stop"' not in early
        assert "out of memory" in error
        assert only_error.count("data:") == 1
        assert "usage" not in bare
        fake.script.append("hang_body")
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/chat/completions", json={**CHAT, "stream": True}, timeout=httpx.Timeout(60, read=0.5))

    with_fake(work)


def test_a_client_that_leaves_is_counted() -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> None:
        fake.script.append("hang")
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/chat/completions", json=CHAT, timeout=httpx.Timeout(60, read=0.5))
        for _ in range(6000):
            if fake.counts.aborted:
                break
            await asyncio.sleep(0.01)
        assert (fake.counts.aborted, fake.counts.active, fake.counts.answered) == (1, 0, 0)

    with_fake(work)


def test_a_client_that_leaves_between_two_pieces_is_counted_and_is_no_fault() -> None:
    async def main() -> tuple[bool, int]:
        fake, kept = FakeUpstream(), asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()
            await asyncio.sleep(0)
            kept.set_result(await fake._watched(reader, fake._stream("drip", 0.0, "/v1/completions", CHAT, writer)))

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        found = await asyncio.wait_for(kept, 60), fake.counts.aborted
        writer.close()
        listening.close()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == (False, 1)


def test_it_is_scripted_and_read_from_outside() -> None:
    async def work(fake: FakeUpstream, client: httpx.AsyncClient) -> None:
        order = {"behave": ["500"], "default": "ok", "answer": "fixed", "delay": 0.0}
        await client.post("/control", json=order)
        assert (await chat(client)).status_code == 500
        assert (await chat(client)).json()["choices"][0]["message"]["content"] == "fixed"
        seen = (await client.get("/control")).json()
        assert (seen["requests"], seen["answered"], seen["bodies"][-1]["model"]) == (2, 2, "m")

    with_fake(work)


def test_the_command_prints_where_it_listens_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "tunekeeper.testing.upstream", "--answer", "yes", "--behave", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": SOURCE}) as child:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["listening"]
        with httpx.Client(verify=False, timeout=60) as client:
            assert client.post(url + "/v1/chat/completions", json=CHAT).status_code == 500
            assert "yes" in client.post(url + "/v1/chat/completions", json=CHAT).text
        child.terminate()
        assert child.wait(60) == 0


def test_an_unknown_behaviour_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--behave", "explode"]) == 2
    said = capsys.readouterr().err
    assert "explode" in said
    assert all(name in said for name in BEHAVIOURS)
