"""T55: an address that comes in by any door lies nowhere under the data directory in clear."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest

from tests.outside.conftest import Gateway, Upstream, call, chat, gateways, run, until, upstreams, write_lines, write_yaml
from tests.text.personal import MAKERS, carried, pick, telling
from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.data import review as queue
from tunekeeper.gateway.bodies import Bodies
from tunekeeper.gateway.options import Options
from tunekeeper.retraining.cycle import open_cycle
from tunekeeper.rollout.approvals import approve
from tunekeeper.store.ledgers.incidents import save_incident
from tunekeeper.workspace import open_workspace

__all__ = ["gateways", "upstreams"]
MARK = "zq-marker"
DOORS = [
    "system",
    "user",
    "tool",
    "metadata",
    "metadata-key",
    "segment",
    "user-field",
    "answer",
    "stream",
    "shadow",
    "fallback",
    "refused-model",
    "client-id",
    "edit",
    "feedback-by",
    "feedback-metadata",
    "feedback-model",
    "csv",
    "csv-id",
    "csv-column",
    "jsonl",
    "broken",
    "tools",
    "weight",
    "note",
    "label",
    "judged",
    "edited",
    "reviewer-note",
    "log-import",
    "log-import-metadata",
    "incident",
    "approval",
    "why",
]


def mark(door: str) -> str:
    """The address that comes in by one door."""
    assert door in DOORS
    return f"{MARK}-{door}@mail.example.org"


def texts(data: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder: its bytes, and what it says once it is unpacked."""
    for path in sorted(p for p in data.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        yield path, raw.decode("utf-8", "replace")
        if raw[:4] == b"PAR1":
            yield path, str(parquet.read_table(io.BytesIO(raw)).to_pylist())
        if raw[:2] == b"\x1f\x8b":
            yield path, gzip.decompress(raw).decode("utf-8", "replace")
        if raw[:15] == b"SQLite format 3":
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                yield path, "\n".join(db.iterdump())


def leaks(data: Path) -> list[str]:
    """Doors whose address lies somewhere, and where."""
    found = set()
    for path, text in texts(data):
        if MARK in text or MARK in str(path):
            found |= {f"{door} in {path.relative_to(data)}" for door in DOORS if f"{MARK}-{door}@" in text + str(path)}
    return sorted(found)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t55") / "desk"
    assert run("init", folder, "--model", "help").code == 0
    return folder


def talk(gateway: Gateway, upstream: Upstream) -> list[str]:
    """Send the address by every door of the gateway; ids of the answered requests."""
    upstream.order(answer=f"write to {mark('answer')}")
    body: dict[str, Any] = {
        "model": "help",
        "messages": [
            {"role": "system", "content": f"You help {mark('system')}"},
            {"role": "user", "content": [{"type": "text", "text": f"I am {mark('user')}"}]},
            {"role": "tool", "tool_call_id": "c", "content": json.dumps({"mail": mark("tool")})},
        ],
        "metadata": {"who": mark("metadata"), mark("metadata-key"): "yes"},
        "user": mark("user-field"),
    }
    headers = {"x-tunekeeper-segment-team": mark("segment"), "x-request-id": mark("client-id")}
    ids = [gateway.post("/v1/chat/completions", body, **headers).headers["x-tunekeeper-request-id"]]
    upstream.order(answer=f"or to {mark('stream')}")
    ids.append(gateway.ask("help", "and by stream", stream=True).headers["x-tunekeeper-request-id"])
    gateway.ask("lost", f"to {mark('fallback')}")
    assert gateway.ask(mark("refused-model"), "nobody").status_code == 404
    statements: list[dict[str, Any]] = [
        {
            "kind": "edit",
            "value": f"ask {mark('edit')}",
            "by": mark("feedback-by"),
            "metadata": {"from": mark("feedback-metadata")},
        },
        {"kind": "thumb", "value": "up", "model": mark("feedback-model")},
    ]
    for said in statements:
        assert gateway.post("/v1/feedback", {"request_id": ids[0], **said}).status_code == 202
    return ids


def bring(folder: Path) -> None:
    """Import it by every door of `data import` and `log import`."""
    (folder / "export.csv").write_text(
        f"id,user,assistant,notes\n{mark('csv-id')},I am {mark('csv')} and wait for the blue lamp,bug,{mark('csv-column')}\n"
    )
    function = {"name": "send", "description": f"as {mark('tools')}", "parameters": {"type": "object"}}
    rows: list[Any] = [
        chat(f"My desk broke, says {mark('jsonl')}", "billing", note=mark("note"), label={"by": mark("label")}),
        {**chat("The kettle never arrived at all", "shipping"), "tools": [{"type": "function", "function": function}]},
        {"messages": [{"role": mark("broken"), "content": "q"}, {"role": "assistant", "content": "a"}]},
        {**chat("The printer makes a noise", "bug"), "weight": mark("weight")},
        '{"messages": [{"role": "user", "content": "' + mark("broken"),
    ]
    file = write_lines(folder / "rows.jsonl", rows)
    for path in (folder / "export.csv", file):
        assert call("data", "import", path, "--model", "help", "--dir", folder, "--json").code == 0
    inference = {
        "request_id": "req_old1", "timestamp": "2026-01-01T00:00:00Z", "model_id": "help", "status": "ok",
        "request": {"messages": [{"role": "user", "content": f"old {mark('log-import')}"}]},
        "response": {"choices": [{"message": {"role": "assistant", "content": "bug"}}]},
        "metadata": {"who": mark("log-import-metadata")},
    }  # fmt: skip
    done = call("log", "import", write_lines(folder / "old.jsonl", [inference]), "--dir", folder, "--json")
    assert done.json["added"] == 1, done


def review(folder: Path) -> None:
    """Say it in the review queue."""
    ws = open_workspace(folder / ".tunekeeper")
    items = queue.sample(ws, "help", ws.clock.utc() - timedelta(days=1), ws.clock.utc() + timedelta(hours=1), n=2)
    assert len(items) == 2
    queue.judge(ws, items[0].id, "edited", answer=f"ask {mark('edited')}", by="ana", note=f"says {mark('reviewer-note')}")
    queue.judge(ws, items[1].id, "bad", by="ana", labels=(mark("judged"),))


def run_things(folder: Path) -> None:
    """Say it where releases are decided."""
    ws = open_workspace(folder / ".tunekeeper")
    with ws.control.write(by="test") as tx:
        incident = Incident(id="inc_1", model="help", version="help@2", rollout="rol_1", reason="wrong", due=ws.clock.utc())
        save_incident(tx, incident)
    told = ("--why-missed", f"asked {mark('incident')}", "--what-changes", "the suite", "--retry-on", "2030-01-01")
    assert call("incident", "close", "inc_1", *told, "--dir", folder, "--json").code == 0
    approve(
        ws, model="help", version="help@2", artifact_digest="a", suite_digest="b", by="ana", reason=f"as {mark('approval')} asked"
    )
    open_cycle(ws, "help", why=f"because of {mark('why')}", by="ana")


def test_nothing_of_an_address_is_kept_whatever_door_it_came_by(
    project: Path, gateways: Callable[..., Gateway], upstreams: Callable[..., Upstream]
) -> None:
    upstream, shadow = upstreams(), upstreams("--answer", f"shadow says {mark('shadow')}")
    slots = {
        "blue": {"engine": "openai", "endpoint": f"{upstream.url}/v1", "model": "v1"},
        "copy": {"engine": "openai", "endpoint": f"{shadow.url}/v1", "model": "v2"},
    }
    dead = {"engine": "openai", "endpoint": "http://127.0.0.1:9/v1", "model": "x"}
    models = {
        "help": {"slots": slots, "route": {"blue": 10000}, "shadow": {"slot": "copy", "share": 10000}},
        "lost": {"slots": {"bad": dead}, "route": {"bad": 10000}},
    }
    data = project / ".tunekeeper"
    gateway = gateways("--config", write_yaml(project / "gateway.yaml", {"models": models}), "--data", data, "--json")
    ids = talk(gateway, upstream)
    logged = until(lambda: [line for line in call("log", "ls", "--data", data).out.splitlines() if "shadow" in line])
    assert logged, "the shadow's answer was never logged"
    bring(project)
    review(project)
    run_things(project)
    for command in (("collect",), ("freeze", "--note", f"for {mark('note')}"), ("check",)):
        done = call("data", *command, "--model", "help", "--dir", project, "--json")
        assert done.code in (0, 1), done
    found = leaks(data)
    assert not found, "\n".join(found)
    listed = call("log", "ls", "--data", data).out
    assert MARK not in listed
    assert listed.count("[EMAIL]") >= 10, "what stood around an address stays"
    assert ids[0] in listed


def test_of_a_thousand_records_of_every_kind_hardly_one_in_a_hundred_is_left_in_the_log_or_an_export(tmp_path: Path) -> None:
    rng, folder = random.Random(55), tmp_path / "desk"
    words = [pick(rng, "abcdefghijklmnoprstuvw", rng.randint(4, 9)) for _ in range(3000)]
    values = [(kind, MAKERS[kind](rng)) for kind in MAKERS for _ in range(170)]
    asked = [f"{' '.join(rng.sample(words, 25))} {carried(rng, value)}" for _, value in values]
    bodies = Bodies(Options().redact, keep=True)
    sent = [json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode() for text in asked]
    logged = []
    for body in sent:
        record: dict[str, Any] = {}
        bodies.put(record, body, None, lambda: None)
        logged.append(bytes(record["request"]).decode())
    assert call("init", folder, "--model", "help").code == 0
    rows = [chat(text, rng.choice(words), id=f"R{n}") for n, text in enumerate(asked)]
    done = call("data", "import", write_lines(tmp_path / "rows.jsonl", rows), "--model", "help", "--dir", folder, "--json")
    assert done.json["added"] >= 1000, done.json
    assert call("data", "freeze", "--model", "help", "--dir", folder, "--json").code == 0
    assert call("data", "export", "help/d1", "--out", tmp_path / "out.jsonl", "--dir", folder, "--json").code == 0
    exported = (tmp_path / "out.jsonl").read_text("utf-8")
    assert exported.count("messages") >= 1000
    left = {
        where: [value for (kind, value) in values if any(piece in text for piece in telling(kind, value))]
        for where, text in (("log", "\n".join(logged)), ("export", exported))
    }
    assert all(len(found) <= len(values) // 100 for found in left.values()), left


def test_an_address_in_any_kind_of_file_is_seen(tmp_path: Path) -> None:
    text = mark("user")
    (tmp_path / "plain.jsonl").write_text(text)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(text.encode()))
    parquet.write_table(pyarrow.table({"a": [text] * 9}), tmp_path / "rows.parquet", compression="zstd")
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("create table t (a text)")
        db.execute("insert into t values (?)", (text,))
    db.close()
    assert leaks(tmp_path) == [f"user in {name}" for name in ("packed.gz", "plain.jsonl", "rows.parquet", "state.db")]
