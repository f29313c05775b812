"""Asking the keeper, without ever waiting longer than it may take."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.gateway import lookup
from tunekeeper.gateway.lookup import KeeperAway, look_up
from tunekeeper.store.log.lookups import Answer, LookupServer, Question


def ask(root: Path, body_id: str) -> Any:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Any] = loop.create_future()
        look_up(root, Question(body_id=body_id), loop, heard.set_result)
        return await asyncio.wait_for(heard, 60)

    return asyncio.run(main())


def test_the_keepers_answer_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "SECONDS", 60.0)
    server = LookupServer(tmp_path, lambda body_id: {f"req_{body_id}"})
    server.start()
    try:
        answer = ask(tmp_path, "x")
    finally:
        server.stop()
    assert isinstance(answer, Answer)
    assert answer.request_ids == ["req_x"]


def test_a_keeper_that_cannot_answer_counts_as_away(tmp_path: Path) -> None:
    def broken(body_id: str) -> set[str]:
        raise OSError(5, "Input/output error")

    server = LookupServer(tmp_path, broken)
    server.start()
    try:
        assert ask(tmp_path, "x") == KeeperAway()
    finally:
        server.stop()


def test_no_keeper_and_a_silent_keeper_count_as_away(tmp_path: Path) -> None:
    assert ask(tmp_path, "x") == KeeperAway()
    (tmp_path / "run").mkdir()

    async def main() -> Any:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"not json\n")
            writer.close()

        server = await asyncio.start_unix_server(hang_up, tmp_path / "run" / "keeper.sock")
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Any] = loop.create_future()
        look_up(tmp_path, Question(body_id="x"), loop, heard.set_result)
        answer = await asyncio.wait_for(heard, 60)
        server.close()
        return answer

    assert asyncio.run(main()) == KeeperAway()
