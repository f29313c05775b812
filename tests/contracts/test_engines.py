from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.examples import ENGINES
from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ENGINES as REGISTRY
from tunekeeper.engines.client import base_of, call, call_json
from tunekeeper.engines.engine import Capabilities
from tunekeeper.engines.fake import Fake
from tunekeeper.testing.contracts import check_engine
from tunekeeper.testing.contracts.child import check_child


def slot_of(name: str) -> Slot:
    return Slot(id=f"slot-{name}", model="desk", version="v1.0", engine=name, files=ENGINES[name])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory with files of the names that the slots give; the GGUF is none, as nothing loads it."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "rule.json").write_text(json.dumps({"default": "hello"}))
    return tmp_path


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_built_in_engine_keeps_the_contract(name: str, root: Path) -> None:
    check_engine(REGISTRY.load(name), root, slot=slot_of(name))


def test_the_fake_server_that_we_start_keeps_its_part(root: Path) -> None:
    check_child(Fake(), slot_of("fake"), root, seconds=60)


@pytest.mark.real
def test_the_llama_cpp_server_that_we_start_keeps_its_part(repository: Path, root: Path) -> None:
    from tunekeeper.deployment.exporting import export_folder

    export_folder(repository / "examples" / "support_desk" / "base", None, "Q8_0", root / "m.gguf")
    check_child(REGISTRY.load("llamacpp")(), slot_of("llamacpp"), root, seconds=60)


def test_every_engine_that_starts_servers_is_started_here(root: Path) -> None:
    starting = [name for name in REGISTRY.names() if REGISTRY.load(name)().command(slot_of(name), root) is not None]
    assert starting == ["fake", "llamacpp"]


class Good(Fake):
    """Keeps the contract; each broken one below differs in one thing."""

    def probe(self, endpoint: str, api_key: str | None = None) -> Any:
        listing = call_json("GET", base_of(endpoint) + "/v1/models", api_key=api_key, total=2.0)
        try:
            names = tuple(str(row["id"]) for row in listing["data"])
        except (TypeError, KeyError):
            raise UpstreamUnavailable(f"{endpoint}: no list of models") from None
        return Capabilities(models=names, logprobs=False, adapters=False)


def other(**methods: Callable[..., Any]) -> Callable[[], Good]:
    """A maker of engines with some methods in place of the good ones."""
    return type("Broken", (Good,), methods)


COUNTER: Iterator[int] = iter(range(1_000_000))


def with_key_in_address(self: Good, endpoint: str, api_key: str | None = None) -> Any:
    call("GET", f"{base_of(endpoint)}/v1/models?key={api_key}")
    return Good().probe(endpoint, api_key)


def trusting(self: Good, endpoint: str, api_key: str | None = None) -> Capabilities:
    """Believes whatever answers."""
    status, body = call("GET", base_of(endpoint) + "/v1/models", api_key=api_key, total=60)
    names = tuple(str(row["id"]) for row in json.loads(body)["data"]) if status == 200 and b'"data": [{"id"' in body else ()
    return Capabilities(models=names, logprobs=True, adapters=False)


def careless(self: Good, endpoint: str, api_key: str | None = None) -> Capabilities:
    """Takes every answer for a list."""
    listing = call_json("GET", base_of(endpoint) + "/v1/models", api_key=api_key)
    return Capabilities(models=tuple(row["id"] for row in listing["data"]), logprobs=False, adapters=False)


def changing(self: Good, slot: Slot) -> dict[str, Any]:
    slot.options["seen"] = True
    return {"model": slot.upstream_model or slot.version or slot.id}


KEPT: dict[str, dict[str, Any]] = {}


def shared(self: Good, slot: Slot) -> dict[str, Any]:
    """The same dictionary at each call; who asks takes the name out of it."""
    name = slot.upstream_model or slot.version or slot.id
    return KEPT.setdefault(name, {"model": name})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: 1 / 0, "making the engine raised ZeroDivisionError"),
        (other(health_path=lambda self: "health"), "a path begins with one slash"),
        (other(health_path=lambda self: "http://127.0.0.1/health"), "a path begins with one slash"),
        (other(health_path=lambda self: f"/health{next(COUNTER)}"), "does not stay the same"),
        (other(health_path=lambda self: "/nobody"), "a healthy server answers 404 on /nobody"),
        (other(request_fields=lambda self, slot: {}), "names no model"),
        (other(request_fields=lambda self, slot: {"model": slot.model}), "asks for 'desk', not 'v1.0'"),
        (other(request_fields=lambda self, slot: {"model": slot.version or slot.id}), "not 'name-upstream'"),
        (other(request_fields=lambda self, slot: {"model": slot.upstream_model or slot.version}), "names no model"),
        (other(request_fields=lambda self, slot: {"model": slot.version, "stream": True}), "sets stream, which belongs"),
        (other(request_fields=lambda self, slot: {"model": slot.version, "x": {1}}), "as JSON raised TypeError"),
        (other(request_fields=shared), "it must be new and the same"),
        (other(request_fields=changing), "request_fields.. of a slot .* changed the slot"),
        (other(command=lambda self, slot, root: "serve"), "returned 'serve', not a list of words"),
        (other(command=lambda self, slot, root: ["serve", 8080]), "not a list of words"),
        (other(command=lambda self, slot, root: ["serve", f"--port={next(COUNTER)}"]), "then .*--port"),
        (other(command=lambda self, slot, root: ["serve", os.environ.get(slot.api_key_env or "", "")]), "holds the key itself"),
        (other(command=lambda self, slot, root: [slot.files["gone"]]), "raised KeyError"),
        (other(probe=lambda self, endpoint, api_key=None: None), "returned None, not Capabilities"),
        (other(probe=lambda self, endpoint, api_key=None: Good().probe(endpoint)), "without the key"),
        (other(probe=with_key_in_address), "puts the key into the address"),
        (other(probe=trusting), r"is loading .503. returned Capabilities"),
        (other(probe=careless), "answers 200 with nothing raised TypeError"),
    ],
)
def test_a_broken_engine_is_named(make: Callable[[], Any], sentence: str, root: Path) -> None:
    KEPT.clear()
    with pytest.raises(AssertionError, match=sentence):
        check_engine(make, root, slot=slot_of("fake"), seconds=60)


def patient(self: Good, endpoint: str, api_key: str | None = None) -> Any:
    call("GET", base_of(endpoint) + "/v1/models", api_key=api_key, total=3)
    return Good().probe(endpoint, api_key)


def test_a_probe_that_waits_for_a_silent_server_is_named(root: Path) -> None:
    with pytest.raises(AssertionError, match=r"of a server that says nothing did not return within 1 seconds"):
        check_engine(other(probe=patient), root, slot=slot_of("fake"), silence=1.0)


def test_one_that_keeps_the_contract_passes(root: Path) -> None:
    check_engine(Good, root, slot=slot_of("fake"), start=True, silence=60.0)
    check_engine(other(command=lambda self, slot, root: None), root)


UNLOCKED = """
import json, os, time
print(json.dumps({"listening": "http://127.0.0.1:9", "pid": os.getpid()}), flush=True)
time.sleep(90)
"""


def by_another_name(self: Good, slot: Slot, root: Path) -> list[str]:
    command = Fake().command(slot, root) or []
    command[command.index("--alias") + 1] = "another"
    return command


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (lambda self, slot, root: None, "command.. starts nothing"),
        (lambda self, slot, root: [sys.executable, "-c", "print('ready')"], "ended before it printed"),
        (lambda self, slot, root: [sys.executable, "-c", 'print(\'{"listening": "http://0.0.0.0:1"}\')'], "not on loopback"),
        (lambda self, slot, root: [sys.executable, "-c", UNLOCKED], "without holding the lock"),
        (by_another_name, "asks for 'v1.0', its server serves .'another'"),
    ],
)
def test_a_broken_server_is_named(command: Callable[..., Any], sentence: str, root: Path) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_child(other(command=command)(), slot_of("fake"), root, seconds=60)
