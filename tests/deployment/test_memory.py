from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core import machine
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment import memory
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.header import GgufHeader, read_gguf
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.workspace import create_workspace


def test_the_estimate_adds_weights_cache_and_process() -> None:
    pairs = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.attention.key_length": 128,
    }
    header = GgufHeader(version=3, pairs=pairs, tensors=(), data=0)

    # A 7B file in Q4 with 4,096 tokens: 4 GB, half a GB of cache, and the process.
    assert memory.need(header, 4_000_000_000, 4096) == 4_000_000_000 + 4 * 32 * 8 * 128 * 4096 + memory.PROCESS
    by_layer = replace(header, pairs=pairs | {"llama.attention.head_count_kv": [8, 0, 4], "llama.attention.key_length": "x"})
    assert memory.need(by_layer, 4_000_000_000, 4096) == 4_000_000_000 + memory.PROCESS, "what is no number counts nothing"


def test_what_does_not_fit_is_said_with_advice_and_silence_means_it_fits() -> None:
    advice = memory.warning(8_000_000_000, 6_000_000_000)

    assert advice is not None
    assert "8.0 GB" in advice
    assert "go back by reloading" in advice
    assert memory.warning(1, 6_000_000_000) is None
    assert memory.warning(1 << 60, None) is None


def test_a_container_s_limit_is_what_may_be_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: (2 << 30, 1 << 30))
    assert memory.available() == 1 << 30
    monkeypatch.setattr(machine, "memory", lambda: None)
    assert memory.available() is None


def test_a_slot_is_checked_before_it_is_armed(made: Path, tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    write_model(open_checkpoint(made / "llama" / "base"), None, ws.path("models/m.gguf"), "f16", name="m")
    slot = Slot(id="m-blue", model="m", engine="llamacpp", files={"model": "models/m.gguf"})

    assert memory.check(ws, slot, free=1 << 20) is not None
    assert memory.check(ws, slot, free=1 << 40) is None
    assert memory.check(ws, replace(slot, files={"model": "models/other.gguf"}), free=1) is None
    assert memory.check(ws, replace(slot, engine="openai"), free=1) is None


def test_a_server_of_a_base_that_is_in_memory_already_needs_its_adapter_and_its_cache(made: Path, tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    write_model(open_checkpoint(made / "llama" / "base"), None, ws.path("models/base/b.gguf"), "f16", name="b")
    ws.path("models/adapters").mkdir()
    ws.path("models/adapters/v2.gguf").write_bytes(b"0" * 1000)
    files = {"model": "models/base/b.gguf", "lora": "models/adapters/v2.gguf"}
    slot = Slot(id="m-green", model="m", engine="llamacpp", files=files, options={"mapped": True})
    size, alone = ws.path("models/base/b.gguf").stat().st_size, memory.need(read_gguf(ws.path("models/base/b.gguf")), 0, 512)
    enough = int((alone + size + 1000) / memory.MARGIN)

    assert memory.check(ws, slot, free=enough + 2) is None
    assert memory.check(ws, slot, free=enough - 2) is not None, "nobody has the base in memory"
    with ws.control.write(by="test") as tx:
        save_slot(tx, replace(slot, id="m-blue", files=files | {"lora": "models/adapters/v1.gguf"}, observed="ready"))
    assert memory.check(ws, slot, free=enough - 2) is None
    advice = memory.check(ws, replace(slot, options={}), free=enough - 2)
    assert advice is not None, "a server that rearranges its weights has them for itself"
    assert "deployment: {apart: true}" in advice
