"""What an engine must keep: it says how its server is started, reached and asked, and what it says holds for any slot."""

from __future__ import annotations

import copy
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import TunekeeperError, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import Engine
from tunekeeper.engines.client import call
from tunekeeper.engines.engine import Capabilities
from tunekeeper.testing.contracts.child import check_child
from tunekeeper.testing.contracts.server import PAGES, Double, serving
from tunekeeper.testing.contracts.trial import attempt, must, shown

KEY_NAME = "TUNEKEEPER_CONTRACT_KEY"
CALLERS = ("messages", "prompt", "input", "stream", "stream_options", "max_tokens", "temperature", "n")
"""Fields of a request that belong to who asks."""
FAULTS: dict[str, tuple[int, bytes] | str] = {
    "hangs up without a word": "close",
    "is loading (503)": (503, b'{"error": {"message": "Loading model"}}'),
    "refuses the key (401)": (401, b'{"error": "no"}'),
    "fails without JSON (500)": (500, b"<html>oops"),
    "redirects (302)": (302, b""),
    "answers 200 with no JSON": (200, b"<html>welcome"),
    "answers 200 with nothing": (200, b""),
}
SHAPES: tuple[Any, ...] = (
    [],
    {},
    None,
    "ok",
    7,
    [1],
    {"data": None},
    {"data": [{}]},
    {"data": ["a"]},
    {"data": {"id": 1}},
    {"models": [None]},
)
"""JSON of a server that is something else."""


def check_engine(
    make: Callable[[], Engine],
    root: Path,
    *,
    slot: Slot | None = None,
    start: bool = False,
    pages: Mapping[str, Any] = PAGES,
    silence: float | None = None,
    seconds: float = 10.0,
) -> None:
    """Raise AssertionError, naming the promise, unless what `make` returns keeps the contract of `Engine`.

    `root`: a data directory to try it in. `slot`: one that the engine can serve, its files relative to `root`; a plain one
    without. `start`: run the engine's own command for that slot, ask the server, end it. `pages`: path → JSON of a healthy server
    that lists the model `model-a`. `silence`: seconds within which `probe` must give up a server that says nothing; None leaves
    that out, as it takes as long. `seconds`: how long any other call, and the start of a server, may take.
    """
    engine = attempt("making the engine", make, seconds=seconds)
    slot = slot or Slot(id="slot-1", model="desk", version="v1.0")
    _path(engine, seconds)
    for each in _slots(slot):
        _fields(engine, each, seconds)
        _command(engine, each, root, seconds)
    with serving(pages) as double:
        _healthy_server(engine, double, seconds)
        _broken_servers(engine, double, silence, seconds)
    gone = attempt("probe() of nobody", lambda: engine.probe(double.url), seconds=seconds, may_raise=(UpstreamUnavailable,))
    must(isinstance(gone, UpstreamUnavailable), f"probe() of a port that nobody listens on returned {shown(gone)}")
    if start:
        check_child(engine, slot, root, seconds)


def _path(engine: Engine, seconds: float) -> None:
    path = attempt("health_path()", engine.health_path, seconds=seconds)
    plain = isinstance(path, str) and path.startswith("/") and not path.startswith("//") and path == "".join(path.split())
    must(plain, f"health_path() returned {shown(path)}: a path begins with one slash and holds no space")
    must(attempt("health_path()", engine.health_path, seconds=seconds) == path, "health_path() does not stay the same")


def _slots(slot: Slot) -> list[Slot]:
    """The slot, and others of its kind that say more or less."""
    return [
        slot,
        replace(slot, upstream_model="name-upstream"),
        replace(slot, upstream_model=None, version="v7.7"),
        replace(slot, upstream_model=None, version=None),
        replace(slot, adapter=1),
        replace(slot, system="Be brief.", messages=({"role": "user", "content": "hi"},), api_key_env=KEY_NAME),
        replace(slot, endpoint="http://127.0.0.1:9/v1", observed="ready", pid=1),
        replace(slot, files={}, digest="sha256:0", options={"parallel": 2, "context": 64, "threads": 1}),
    ]


def _fields(engine: Engine, slot: Slot, seconds: float) -> None:
    before = copy.deepcopy(slot)
    what = f"request_fields() of a slot with version {slot.version} and upstream_model {slot.upstream_model}"
    fields = attempt(what, lambda: engine.request_fields(slot), seconds=seconds)
    must(isinstance(fields, dict) and all(isinstance(key, str) for key in fields), f"{what} returned {shown(fields)}, no fields")
    text = attempt(f"{what} as JSON", lambda: json.dumps(fields, allow_nan=False), seconds=seconds)
    name = fields.get("model")
    must(isinstance(name, str) and bool(name), f"{what} names no model: {shown(fields)}")
    wanted = slot.upstream_model or slot.version
    must(wanted is None or name == wanted, f"{what} asks for {shown(name)}, not {shown(wanted)}")
    taken = [key for key in CALLERS if key in fields]
    must(not taken, f"{what} sets {', '.join(taken)}, which belongs to who asks")
    fields.clear()
    again = attempt(what, lambda: engine.request_fields(slot), seconds=seconds)
    must(json.dumps(again) == text, f"{what} gave {text}, then {shown(again)}: it must be new and the same at each call")
    must(slot == before, f"{what} changed the slot")


def _command(engine: Engine, slot: Slot, root: Path, seconds: float) -> None:
    before, what = copy.deepcopy(slot), f"command() of a slot with files {sorted(slot.files)}"
    with _secret() as secret:
        made, again = (
            attempt(what, lambda: engine.command(slot, root), seconds=seconds, may_raise=(TunekeeperError,)) for _ in range(2)
        )
    must(slot == before, f"{what} changed the slot")
    if isinstance(made, TunekeeperError):
        must(bool(made.message.strip()) and "\n" not in made.message, f"{what} raised an error that is not one line")
        return
    must(made == again, f"{what} gave {shown(made)}, then {shown(again)}")
    if made is not None:
        words = isinstance(made, list) and bool(made) and all(isinstance(word, str) for word in made)
        must(words, f"{what} returned {shown(made)}, not a list of words")
        must(not any(secret in word for word in made), f"{what} holds the key itself: every user of the machine can read it")


@contextmanager
def _secret() -> Iterator[str]:
    """The value of the variable that a tried slot names as its key's."""
    secret = secrets.token_hex(16)
    os.environ[KEY_NAME] = secret
    try:
        yield secret
    finally:
        del os.environ[KEY_NAME]


def _healthy_server(engine: Engine, double: Double, seconds: float) -> None:
    path = engine.health_path()
    status, _ = call("GET", double.url + path, total=seconds)
    must(status == 200, f"a healthy server answers {status} on {path}; give check_engine the pages of one")
    key = secrets.token_hex(16)
    double.asked.clear()
    found = attempt("probe()", lambda: engine.probe(double.url, key), seconds=seconds)
    _capabilities(found, "probe()")
    must("model-a" in found.models, f"probe() of a server that serves model-a found {found.models}")
    must(bool(double.asked), "probe() did not ask the server")
    must(not any(key in asked for asked, _ in double.asked), "probe() puts the key into the address, where logs keep it")
    must(all(key in heads for _, heads in double.asked), "probe() asks without the key that it was given")
    with_v1 = attempt("probe() of an endpoint with /v1", lambda: engine.probe(double.url + "/v1"), seconds=seconds)
    must(with_v1 == found, f"probe() of the same endpoint with /v1 found {with_v1}, not {found}")


def _broken_servers(engine: Engine, double: Double, silence: float | None, seconds: float) -> None:
    faults = {**FAULTS, **({"says nothing": "silence"} if silence is not None else {})}
    for name, fault in faults.items():
        double.fault = fault
        patience = silence if fault == "silence" and silence is not None else seconds
        what = f"probe() of a server that {name}"
        said = attempt(what, lambda: engine.probe(double.url), seconds=patience, may_raise=(UpstreamUnavailable,))
        must(isinstance(said, UpstreamUnavailable), f"{what} returned {shown(said)}")
    for shape in SHAPES:
        double.fault = (200, json.dumps(shape).encode())
        what = f"probe() of a server that answers {json.dumps(shape)}"
        said = attempt(what, lambda: engine.probe(double.url), seconds=seconds, may_raise=(UpstreamUnavailable,))
        if not isinstance(said, UpstreamUnavailable):
            _capabilities(said, what)


def _capabilities(found: Any, what: str) -> None:
    must(isinstance(found, Capabilities), f"{what} returned {shown(found)}, not Capabilities")
    names = isinstance(found.models, tuple) and all(isinstance(name, str) for name in found.models)
    must(names, f"{what}: models is {shown(found.models)}, not a tuple of names")
    must(isinstance(found.logprobs, bool) and isinstance(found.adapters, bool), f"{what}: logprobs and adapters are yes or no")
