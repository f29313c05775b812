"""Any OpenAI-compatible endpoint: what it can do is asked, not believed."""

from __future__ import annotations

import asyncio

import pytest

from tunekeeper.engines.remote import OpenAI
from tunekeeper.testing.upstream import FakeUpstream


@pytest.mark.parametrize(("mode", "says"), [("ok", True), ("no_logprobs", False), ("500", False), ("garbage", False)])
def test_whether_a_server_says_probabilities_is_asked_with_one_token(mode: str, says: bool) -> None:
    async def asked() -> tuple[bool, list[int]]:
        upstream = FakeUpstream()
        upstream.default = mode
        url = await upstream.start()
        try:
            found = await asyncio.to_thread(OpenAI().probe, url, "key")
        finally:
            await upstream.close()
        return found.logprobs, [body["max_tokens"] for body in upstream.bodies if "messages" in body]

    assert asyncio.run(asked()) == (says, [1])
