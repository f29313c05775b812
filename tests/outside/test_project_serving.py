"""A project whose model file names endpoints that somebody else runs: `up`, its key, requests, the log."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.outside.conftest import Running, call, write_yaml
from tunekeeper.testing.upstream import FakeUpstream

FALLBACK_PROMPT = "Be brief."


def project(folder: Path, big: str, small: str) -> dict[str, Any]:
    """Files of a project without a worker; the key of the hosted endpoint stands in its `.env`."""
    write_yaml(folder / "tunekeeper.yaml", {"gateway": {"port": 0, "probe_seconds": 0}, "worker": {"enabled": False}})
    (folder / ".env").write_text("BIG_KEY=sk-hosted\n")
    serving = {
        "slots": {
            "big": {"endpoint": f"{big}/v1", "model": "big-1", "api_key_env": "BIG_KEY", "price_in": 1000, "price_out": 1000},
            "small": {"engine": "ollama", "endpoint": small.removeprefix("http://"), "model": "small-1"},
        },
        "route": {"big": 10_000},
        "fallback": [{"slot": "small", "system": FALLBACK_PROMPT}],
        "confidence_floor": 0.5,
    }
    write_yaml(folder / "models" / "desk.yaml", {"serving": serving})
    return serving


async def ask(url: str, key: str) -> httpx.Response:
    body = {"model": "desk", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def told(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    return answer.status_code, answer.headers.get("x-tunekeeper-slot"), answer.headers.get("x-tunekeeper-variant")


def test_a_project_s_model_file_routes_to_outside_endpoints_and_falls_back_among_them(tmp_path: Path) -> None:
    async def journey() -> None:
        big, small = FakeUpstream(), FakeUpstream()
        project(tmp_path, await big.start(), await small.start())
        up = Running("up", "--dir", tmp_path, "--json")
        try:
            url = up.event("ready")["url"]
            key = call("key", "create", "--dir", tmp_path, "--json").json["key"]
            assert told(await ask(url, key)) == (200, "big", "champion")
            assert (big.heads[-1]["authorization"], big.bodies[-1]["model"]) == ("Bearer sk-hosted", "big-1")
            big.default = "unsure"
            assert told(await ask(url, key)) == (200, "small", "fallback")
            big.default = "503"
            assert told(await ask(url, key)) == (200, "small", "fallback")
            assert small.bodies[-1]["messages"][0] == {"role": "system", "content": FALLBACK_PROMPT}
            assert "authorization" not in small.heads[-1]
            logged = [json.loads(line) for line in call("log", "ls", "--dir", tmp_path).out.splitlines()]
            assert [each["slot"] for each in logged] == ["desk/big", "desk/small", "desk/small"]
            assert [each["slot_assigned"] for each in logged] == ["desk/big"] * 3
            assert [each["cost_usd"] for each in logged] == [0.008, None, None], "8 tokens at 1000 USD a million; small is free"
        finally:
            assert up.stop(signal.SIGTERM) == 0
        await big.close()
        await small.close()

    asyncio.run(journey())


def test_a_word_that_nobody_knows_stops_up_in_one_line(tmp_path: Path) -> None:
    serving = project(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9")
    serving["fallback"] = ["smal"]
    write_yaml(tmp_path / "models" / "desk.yaml", {"serving": serving})
    refused = call("up", "--dir", tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.error.startswith("error: models/desk.yaml:")
    assert refused.error.endswith("'smal' is no slot of desk; known: big, small (fix: write 'small')")
