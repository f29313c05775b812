from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.conftest import made
from tests.processes.test_plans import cli, event
from tunekeeper.config import load_serve_file
from tunekeeper.config.slots import ServeModel, ServeSlot
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.engines import ChatClient, serve_temporarily
from tunekeeper.processes.notices import tell
from tunekeeper.processes.seed import main as seed
from tunekeeper.rollout.moves import set_route
from tunekeeper.workspace import open_workspace

__all__ = ["made"]
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Hello, who are you?"}]


class Lists(BaseHTTPRequestHandler):
    """Answers with what the server's `said` is; a list counts as a list of adapters."""

    def do_GET(self) -> None:
        body = json.dumps(self.server.said).encode()  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    double = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    double.status = 200  # type: ignore[attr-defined]
    threading.Thread(target=double.serve_forever, daemon=True).start()
    yield double
    double.shutdown()
    double.server_close()


def told(port: int, **fields: Any) -> list[dict[str, Any]]:
    """What is said of one slot, once every thread that asks has ended."""
    said: list[dict[str, Any]] = []
    slot = ServeSlot(endpoint=f"http://127.0.0.1:{port}/v1", engine="llamacpp", **fields)
    for thread in tell({"desk": ServeModel(slots={"a": slot})}, {}, said.append):
        thread.join(60)
    return said


@pytest.mark.parametrize(
    ("status", "said", "there"),
    [
        (200, [{"id": 0}, {"id": 1}], None),
        (200, [{"id": 0}], "0"),
        (200, [], "none"),
        (404, {"error": "File Not Found"}, "none"),
        (200, {"adapters": 2}, "none"),
    ],
)
def test_an_adapter_that_a_server_does_not_have_is_named(server: Any, status: int, said: object, there: str | None) -> None:
    server.status, server.said = status, said
    expected = [] if there is None else [{"event": "adapter_missing", "slot": "desk/a", "adapter": 1, "there": there}]
    assert told(server.server_port, adapter=1) == expected


def test_a_server_that_is_away_is_left_to_the_first_request_and_without_an_adapter_nobody_is_asked(server: Any) -> None:
    server.said = []
    assert told(server.server_port) == []
    assert told(9, adapter=0) == []


def test_a_slot_that_only_a_route_set_by_hand_still_names_is_told(tmp_path: Path) -> None:
    file, root = tmp_path / "g.yaml", tmp_path / "data"
    slots = {name: {"endpoint": "http://h/v1"} for name in ("a", "b")}
    models = {model: {"slots": slots, "route": {"a": 10_000}} for model in ("desk", "mail")}
    file.write_text(json.dumps({"models": models}))
    assert seed(["--root", str(root), "--config", str(file)]) == 0
    set_route(open_workspace(root), "mail", {"mail/a": 9000, "mail/b": 1000}, by="ann")
    said: list[dict[str, Any]] = []
    tell(load_serve_file(file).models, {}, said.append, root)
    assert said == []
    file.write_text(json.dumps({"models": {"desk": models["desk"], "mail": {"slots": {"a": slots["a"]}}}}))
    tell(load_serve_file(file).models, {}, said.append, root)
    assert said == [{"event": "slot_unnamed", "model": "mail", "slot": "b", "weight": 1000}]


@pytest.mark.real
def test_two_versions_share_one_real_server_and_each_request_chooses_its_adapter(made: Path, tmp_path: Path) -> None:
    base, adapter = made / "llama" / "base", made / "llama" / "adapter"
    export_folder(base, None, "f32", tmp_path / "base.gguf")
    export_folder(base, adapter, "f32", tmp_path / "merged.gguf")
    for number in (0, 1):
        export_folder(base, adapter, "f32", tmp_path / f"{number}.gguf", adapter_only=True)
    options = {"parallel": 1, "context": 256}
    slot = Slot(id="s", model="m", engine="llamacpp", files={"model": str(tmp_path / "base.gguf")}, options=options)
    loaded = ("--lora-off", "--lora", str(tmp_path / "0.gguf"), "--lora", str(tmp_path / "1.gguf"))
    with serve_temporarily(slot, Path("/"), extra=("--cache-type", "f32", *loaded)) as shared:
        file = tmp_path / "g.yaml"
        slots = "\n".join(
            f'      {name}: {{engine: llamacpp, endpoint: "{shared}", model: m{words}}}'
            for name, words in (("bare", ""), ("tuned", ", adapter: 1"), ("gone", ", adapter: 7"))
        )
        file.write_text(f"models:\n  desk:\n    slots:\n{slots}\n    route: {{tuned: 10000, bare: 0, gone: 0}}\n")
        with cli("serve", "--config", str(file), "--port", "0") as process:
            url = event(process, "ready")["url"]
            missing = event(process, "adapter_missing")
            assert (missing["slot"], missing["adapter"], missing["there"]) == ("desk/gone", 7, "0, 1")
            tuned, plain = (ChatClient(endpoint, "desk") for endpoint in (f"{url}/v1", shared))
            answers = [client.chat(ASKED, max_tokens=6).text for client in (tuned, plain)]
    with serve_temporarily(
        Slot(id="s", model="m", engine="llamacpp", files={"model": str(tmp_path / "merged.gguf")}, options=options),
        Path("/"),
        extra=("--cache-type", "f32"),
    ) as merged:
        wanted = ChatClient(merged, "m").chat(ASKED, max_tokens=6).text
    assert answers[0] == wanted, "the slot's adapter answered"
    assert answers[1] != wanted, "and without the choice the bare base does"
