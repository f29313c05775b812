"""T21: requests that are wrong in every way, on every route: each is told so in OpenAI's shape, none is our error."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.hostile import BODIES, damaged
from tests.journeys.rig import MODEL, SECONDS, Rig, Wire, at, figure, rig, say, watched, within
from tunekeeper.gateway.handlers import ENDPOINTS, MODELS

SEED = 21
SECRET = "tk_canaryCANARYcanaryCANARYcanaryCANARYcanary99"
CHAT = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
    "temperature": 0.5,
    "stream": False,
    "stream_options": {"include_usage": True},
    "user": "ann",
    "metadata": {"team": "a", "user_id": "7"},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
}
RIGHT: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "hello", "stream": True, "user": "ann", "metadata": {}},
    "/v1/embeddings": {"model": MODEL, "input": ["a", "b"], "user": "ann"},
    "/v1/feedback": {"request_id": "", "kind": "score", "value": 0.5, "by": "ann", "model": MODEL, "metadata": {"a": 1}},
}
"""A right body of each route that takes one; that of feedback once it names a request."""
TYPES = (b"application/json", b"text/plain; charset=utf-7", b"application/json; charset=utf-16", b"multipart/form-data", b"")
pytestmark = pytest.mark.timeout(SECONDS)


@dataclass(slots=True)
class Told:
    """What came of all requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What must not be, with the request that did it."""


def body_of(rng: random.Random, path: str) -> bytes:
    """A wrong body for a route."""
    return BODIES[rng.choice(list(BODIES))](rng, RIGHT.get(path, CHAT))


def request_of(rng: random.Random, path: str) -> tuple[bytes, bool]:
    """A request on `path`: its body is wrong, or (one in five) its head too, and whether it is."""
    body = body_of(rng, path)
    method = b"POST" if path in RIGHT or rng.random() < 0.3 else b"GET"
    head = b"%s %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-type: %s\r\n" % (
        method,
        path.encode("latin-1"),
        SECRET.encode(),
        rng.choice(TYPES),
    )
    head += b"content-length: %d\r\n\r\n" % len(body)
    both = rng.random() < 0.2
    if both:
        head = damaged(rng, head[:-4]) + b"\r\n\r\n"
    return head + body, both


async def answer(wire: Wire) -> tuple[int, dict[str, str], bytes]:
    """The next answer whole; a 100 before it is passed over."""
    status, heads = await wire.head()
    while status == 100:
        status, heads = await wire.head()
    got = bytearray()
    await wire.body(heads, got.extend)
    return status, heads, bytes(got)


def check(told: Told, sent: bytes, status: int, body: bytes) -> None:
    """Hold an answer against what every answer must be."""
    text = body.decode("utf-8", "replace")
    if status >= 500:
        told.wrong.append(f"{status} {text[:200]} for {sent[:300]!r}")
    if SECRET in text or "Traceback" in text or 'File "' in text or "tunekeeper/" in text:
        told.wrong.append(f"tells too much: {text[:300]} for {sent[:300]!r}")
    if status >= 400:
        try:
            error = json.loads(text)["error"]
            shaped = set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)
        except (ValueError, KeyError, TypeError):
            shaped = False
        if not shaped:
            told.wrong.append(f"not OpenAI's shape: {status} {text[:200]}")


async def client(run: Rig, seed: int, n: int, paths: list[str], told: Told) -> None:
    """Send `n` wrong requests, each on the connection of the one before where that is still open."""
    rng, wire = random.Random(seed), Wire(run.url)
    clock = asyncio.get_running_loop().time
    for i in range(n):
        sent, both = request_of(rng, paths[i % len(paths)])
        began = clock()
        try:
            await wire.send(sent)
            if both:  # its head may promise more than there is: that nothing follows must be an end, too
                assert wire.writer is not None
                wire.writer.write_eof()
            status, heads, body = await asyncio.wait_for(answer(wire), 60)
        except (OSError, asyncio.IncompleteReadError):
            if not both:
                told.wrong.append(f"cut without a word: {sent[:300]!r}")
            told.statuses[0] += 1
            wire.close()
            continue
        told.seconds.append(clock() - began)
        told.statuses[status] += 1
        check(told, sent, status, body)
        if both or heads.get("connection") == "close":
            wire.close()
    wire.close()


async def assault(run: Rig, n: int) -> tuple[Told, float]:
    paths = [path.decode() for path in ENDPOINTS] + [MODELS.decode() + MODEL, "/v1/nothing", "/"]
    told = Told()
    await client(run, SEED, 200, paths, Told())  # what the first ones need is no growth
    async with watched(run, probe=False) as seen:
        await asyncio.gather(*(client(run, SEED * 100 + number, n // 4, paths, told) for number in range(4)))
    return told, seen.grown_mb


def test_no_malformed_request_is_ever_our_error(tmp_path: Path) -> None:
    n = figure(2000, 10_000)
    with rig(tmp_path, answer="fine") as run:
        RIGHT["/v1/feedback"]["request_id"] = run.gateway.ask(MODEL).headers["x-tunekeeper-request-id"]
        told, grown = asyncio.run(assault(run, n))
        say(
            "T21",
            SEED,
            sent=n,
            rss_mb=grown,
            p99_ms=at(told.seconds, 0.99) * 1e3,
            max_ms=max(told.seconds) * 1e3,
            **{str(k): v for k, v in sorted(told.statuses.items())},
        )
        assert told.wrong == [], f"{len(told.wrong)}, first: {told.wrong[0]}"
        assert sum(told.statuses.values()) == n
        assert min(told.statuses[200], told.statuses[202] * 20, told.statuses[400]) > n / 20, "every part of the gateway was met"
        assert within(max(told.seconds), 10.0)
        assert grown < 20
        assert run.gateway.get("/readyz").status_code == 200
        assert not [line for line in run.gateway.running.said if "Traceback" in line]
        found = run.verify()
        assert (found["duplicates"], found["open"], found["corrupt"]) == (0, 0, 0)
        rows = {row["request_id"]: row["status"] for row in run.records()}
        assert len(rows) == found["records"], "whatever was sent, the log can be read"
        assert set(rows.values()) <= {"ok", "cancelled"}, "no model server was given what it could not answer"
