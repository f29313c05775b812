"""The real llama.cpp as a child for the length of a block."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tunekeeper.core.errors import ArtifactError, ConfigError, UpstreamUnavailable
from tunekeeper.core.ids import digest_file
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, healthy, serve_temporarily
from tunekeeper.engines.engine import engine_of
from tunekeeper.engines.temporary import patience

MESSAGES = [
    {"role": "system", "content": "Triage the ticket. Answer with JSON."},
    {"role": "user", "content": "Hi, I was charged twice for Pixel Pad. Best, Ana"},
]


@pytest.fixture(scope="module")
def model(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunekeeper.deployment.exporting import export_folder

    out = tmp_path_factory.mktemp("engine") / "m.gguf"
    export_folder(repository / "examples" / "support_desk" / "base", None, "Q8_0", out)
    return out


def children() -> set[int]:
    """Processes that this one started and that are still there."""
    return {child.pid for child in psutil.Process().children()}


def slot(model: Path, **fields: object) -> Slot:
    plain = Slot(id="s", model="m", version="v1.0", engine="llamacpp", files={"model": model.name}, options={"parallel": 2})
    return replace(plain, **fields)  # type: ignore[arg-type]


@pytest.mark.real
def test_a_server_answers_inside_the_block_and_is_gone_after_it(model: Path) -> None:
    before = children()
    with serve_temporarily(slot(model, digest=digest_file(model)), model.parent) as endpoint:
        assert endpoint.endswith("/v1")
        assert healthy(endpoint)
        found = engine_of(slot(model)).probe(endpoint)
        assert (found.models, found.logprobs, found.adapters) == (("v1.0",), True, False)
        client = ChatClient(endpoint, "v1.0")
        first = client.chat(MESSAGES, max_tokens=32)
        many = client.chat_many([{"messages": MESSAGES, "max_tokens": 32}] * 6, concurrency=3)
        assert client.get("/props")["default_generation_settings"]["n_ctx"] == 512
        assert len(children()) == len(before) + 1

    assert first.text.startswith('{"category": ')
    assert (first.finish_reason, first.prompt_tokens and first.prompt_tokens > 10) == ("stop", True)
    assert {answer.text for answer in many if not isinstance(answer, UpstreamUnavailable)} == {first.text}
    assert not healthy(endpoint)
    assert children() == before


@pytest.mark.real
def test_an_exception_in_the_block_leaves_no_process_behind(model: Path) -> None:
    before = children()

    with pytest.raises(RuntimeError), serve_temporarily(slot(model), model.parent):
        raise RuntimeError

    assert children() == before


@pytest.mark.real
def test_a_key_is_asked_for_when_the_slot_names_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = slot(model, api_key_env="DESK_KEY")
    with pytest.raises(ConfigError, match="DESK_KEY is empty"), serve_temporarily(keyed, model.parent):
        pass
    monkeypatch.setenv("DESK_KEY", "secret")

    with serve_temporarily(keyed, model.parent) as endpoint:
        with pytest.raises(UpstreamUnavailable, match="401"):
            ChatClient(endpoint, "v1.0").chat(MESSAGES, max_tokens=2)
        assert ChatClient(endpoint, "v1.0", os.environ["DESK_KEY"]).chat(MESSAGES, max_tokens=2).text


@pytest.mark.real
@pytest.mark.parametrize("length", [0, 100, 50_000])
def test_a_truncated_file_is_one_line_and_no_process(model: Path, tmp_path: Path, length: int) -> None:
    before = children()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:length])

    with pytest.raises(ArtifactError, match=r"cut\.gguf: llama\.cpp cannot load it"), serve_temporarily(slot(cut), tmp_path):
        pass

    assert children() == before


def test_a_file_with_another_digest_is_not_loaded(model: Path) -> None:
    wrong = slot(model, digest="sha256:" + "0" * 64)

    with pytest.raises(ArtifactError, match="changed or damaged"), serve_temporarily(wrong, model.parent):
        pass
    shutil.copyfile(model, model.with_name("adapter.gguf"))
    beside = slot(model, digest="sha256:" + "0" * 64, files={"model": model.name, "lora": "adapter.gguf"})
    with pytest.raises(ArtifactError, match=r"adapter\.gguf.*changed or damaged"), serve_temporarily(beside, model.parent):
        pass


def test_a_missing_file_is_named_before_anything_starts(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"gone\.gguf: the file of slot s is missing"),
        serve_temporarily(slot(tmp_path / "gone.gguf"), tmp_path),
    ):
        pass


@pytest.fixture
def hanging(tmp_path: Path) -> Slot:
    """A slot whose server waits for ever for its answers: a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "answers.json")
    return Slot(id="h", model="m", engine="fake", files={"answers": "answers.json"})


def test_a_server_that_hangs_before_it_answers_is_ended_and_that_is_what_is_said(hanging: Slot, tmp_path: Path) -> None:
    before = children()

    with (
        pytest.raises(UpstreamUnavailable, match=r"slot h: the server did not answer in 1 s"),
        serve_temporarily(hanging, tmp_path, timeout=1.0),
    ):
        pass

    assert children() == before


def test_a_server_that_is_killed_while_it_loads_is_said_to_want_memory(hanging: Slot, tmp_path: Path) -> None:
    before = children()

    def kill() -> None:
        while not (found := children() - before):
            time.sleep(0.01)
        psutil.Process(found.pop()).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UpstreamUnavailable, match=r"killed while it loaded.*smaller quantization"):
        serve_temporarily(hanging, tmp_path).__enter__()
    killer.join()

    assert children() == before


def test_a_large_file_may_take_longer_to_load(tmp_path: Path) -> None:
    with (tmp_path / "large.gguf").open("wb") as file:
        file.truncate(28_000_000_000)

    assert patience(slot(tmp_path / "small.gguf"), tmp_path) == 60
    assert patience(slot(tmp_path / "large.gguf"), tmp_path) == 620


def test_a_server_that_is_not_ours_is_used_where_it_stands(tmp_path: Path) -> None:
    outside = Slot(id="o", model="m", engine="openai", endpoint="http://127.0.0.1:9/v1")

    with serve_temporarily(outside, tmp_path) as endpoint:
        assert endpoint == "http://127.0.0.1:9/v1"
    with pytest.raises(ConfigError, match="has no endpoint"), serve_temporarily(Slot(id="o", model="m"), tmp_path):
        pass
