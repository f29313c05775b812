"""`tunekeeper serve` with clients and model servers of our own."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.outside.conftest import Gateway, Upstream, call, run, until, write_yaml

DEAD = "http://127.0.0.1:9/v1"
HEADERS = ("request-id", "version", "variant", "slot", "route-version")


class OddServer:
    """A model server of a few lines that is legal HTTP and unlike any other: pieces, chunk extensions, comments, CR LF."""

    EVENTS = (
        b": welcome\r\n\r\n",
        b'data: {"id":"o1","object":"chat.completion.chunk","created":1,"model":"odd","choices":[{"index":0,"delta":'
        b'{"role":"assistant","content":"Gr\xc3\xbc"},"finish_reason":null}]}\r\n\r\n',
        b'event: message\r\ndata:{"id":"o1","object":"chat.completion.chunk","created":1,"model":"odd","choices":[{"index":0,'
        b'"delta":{"content":"\xc3\x9fe"},"finish_reason":"stop"}]}\r\n\r\n',
        b"data: [DONE]\r\n\r\n",
    )

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                heard = b""
                while b"\r\n\r\n" not in heard or b'"messages"' not in heard:
                    heard += connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 Fine\r\nCONTENT-TYPE:text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                whole = b"".join(self.EVENTS)
                for start in range(0, len(whole), 37):  # a chunk ends in the middle of words and of characters
                    piece = whole[start : start + 37]
                    connection.sendall(b"%x;odd=1\r\n%s\r\n" % (len(piece), piece))
                connection.sendall(b"0\r\n\r\n")


def slot(server: Upstream | str, model: str, **more: Any) -> dict[str, Any]:
    """A slot of the file."""
    return {"engine": "openai", "endpoint": server if isinstance(server, str) else f"{server.url}/v1", "model": model, **more}


def log(data: Path, *words: str) -> list[dict[str, Any]]:
    """What `log ls` prints."""
    return [json.loads(line) for line in call("log", "ls", "--data", data, *words).out.splitlines()]


@pytest.fixture(scope="module")
def one(upstreams: Callable[..., Upstream]) -> Upstream:
    return upstreams("--answer", "one")


@pytest.fixture(scope="module")
def two(upstreams: Callable[..., Upstream]) -> Upstream:
    return upstreams("--answer", "two")


@pytest.fixture(scope="module")
def odd() -> Iterator[OddServer]:
    made = OddServer()
    yield made
    made.listening.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def gateway(folder: Path, one: Upstream, two: Upstream, odd: OddServer, gateways: Callable[..., Gateway]) -> Gateway:
    """Eight models in one file, two of them with slots of the same names."""
    few = {
        "slot": "good",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}],
    }
    models = {
        "plain": {"slots": {"blue": slot(one, "v1", api_key_env="UP_KEY")}},
        "split": {
            "assign_by": "user", "slots": {"blue": slot(one, "v1"), "green": slot(two, "v2")},
            "route": {"blue": 9000, "green": 1000},
        },
        "safe": {"slots": {"bad": slot(DEAD, "x"), "spare": slot(two, "v2")}, "route": {"bad": 10000}, "fallback": ["spare"]},
        "taught": {"slots": {"bad": slot(DEAD, "x"), "good": slot(two, "v2")}, "route": {"bad": 10000}, "fallback": [few]},
        "twin": {
            "slots": {"blue": slot(one, "twin-1"), "copy": slot(two, "twin-2")}, "route": {"blue": 10000},
            "shadow": {"slot": "copy", "share": 10000},
        },
        "hasty": {
            "slots": {"q": slot(one, "q")}, "timeouts": {"connect": 1, "first_token": 0.3, "between_tokens": 0.3, "total": 2},
        },
        "frail": {"slots": {"f": slot(one, "f")}},
        "odd": {"slots": {"o": slot(odd.url, "odd")}, "durability": "power"},
    }  # fmt: skip
    file = write_yaml(folder / "gateway.yaml", {"limits": {"body_mb": 1}, "models": models})
    return gateways("--config", file, "--json", UP_KEY="sekret")


def test_the_ready_line_says_where_and_who(gateway: Gateway) -> None:
    assert (gateway.ready["pid"], len(gateway.ready["workers"])) == (gateway.running.process.pid, 1)
    assert gateway.get("/livez").status_code == gateway.get("/readyz").status_code == 200
    assert gateway.get("/metrics").text.startswith("# HELP")


def test_the_official_client_is_answered_whole_and_in_pieces(gateway: Gateway) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
    said = client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}])
    assert said.choices[0].message.content == "one"
    pieces = client.chat.completions.create(model="odd", messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "Grüße"
    assert {model.id for model in client.models.list()} >= {"plain", "odd"}
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "model_not_found"
    client.close()


def test_every_answer_says_who_gave_it_and_under_which_id(gateway: Gateway, one: Upstream, folder: Path) -> None:
    body = {"model": "split", "messages": [{"role": "user", "content": "hi"}], "user": "u1"}
    first, again = (gateway.post("/v1/chat/completions", body, **{"x-request-id": "mine-1"}) for _ in range(2))
    got = {name: first.headers[f"x-tunekeeper-{name}"] for name in HEADERS}
    assert (got["version"], got["variant"], got["slot"]) in (("v1", "champion", "blue"), ("v2", "challenger", "green"))
    assert first.headers["x-request-id"] == "mine-1" != got["request-id"] != again.headers["x-tunekeeper-request-id"]
    assert again.headers["x-tunekeeper-slot"] == got["slot"], "a user stays where he is"
    ours = gateway.ask("plain").headers
    assert ours["x-request-id"] == ours["x-tunekeeper-request-id"]
    refused = gateway.post("/v1/chat/completions", {**body, "model": "nobody"}, **{"x-request-id": "mine-2"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (404, "mine-2")
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert one.seen()["bodies"][-1]["model"] == "v1"
    logged = until(lambda: [row for row in log(folder / ".tunekeeper") if row["request_id"] == got["request-id"]])
    assert (logged[0]["client_request_id"], logged[0]["status"], logged[0]["version"]) == ("mine-1", "ok", got["version"])


def test_a_dead_server_is_stood_in_for_with_the_entry_s_own_prompt(gateway: Gateway, two: Upstream) -> None:
    told = gateway.ask("safe")
    assert (told.status_code, told.headers["x-tunekeeper-variant"], told.headers["x-tunekeeper-slot"]) == (
        200,
        "fallback",
        "spare",
    )
    assert gateway.says("taught") == "two"
    sent = two.seen()["bodies"][-1]["messages"]
    assert [message["content"] for message in sent] == ["Be brief.", "e", "f", "hello"]


def test_a_shadow_gets_copies_that_no_client_sees(gateway: Gateway, two: Upstream) -> None:
    assert gateway.says("twin") == "one"
    until(lambda: two.seen()["models"].get("twin-2"))


def test_slow_and_broken_servers_end_as_one_envelope(gateway: Gateway, one: Upstream) -> None:
    for behaviour, status in (("hang", 504), ("500", 502), ("garbage", 502), ("cut", 502), ("error_in_200", 502), ("429", 429)):
        one.order(behave=[behaviour])
        told = gateway.ask("hasty" if behaviour == "hang" else "frail")
        assert (told.status_code, set(told.json())) == (status, {"error"}), behaviour
    large = gateway.ask("plain", "x" * (1 << 20))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    assert httpx.post(f"{gateway.url}/v1/chat/completions", content=b"{bad", timeout=60).status_code == 400


def test_feedback_becomes_part_of_what_show_tells(gateway: Gateway, folder: Path) -> None:
    mine = gateway.ask("plain", "Where is my parcel?").headers["x-tunekeeper-request-id"]
    kept = gateway.post("/v1/feedback", {"request_id": mine, "kind": "edit", "value": "a better text"})
    assert kept.status_code == 202
    assert gateway.post("/v1/feedback", {"request_id": "req_nobody", "kind": "thumb", "value": "up"}).status_code == 404
    data = folder / ".tunekeeper"
    chain = call("show", mine, "--data", data, "--json").json["chain"]
    assert [link["kind"] for link in chain][:2] == ["request", "feedback"]
    assert "a better text" in json.dumps(chain)
    assert until(lambda: call("log", "verify", "--data", data, "--json").json["open"] == 0)


def test_routes_are_set_shown_and_gone_back_from(gateway: Gateway, folder: Path) -> None:
    data = ("--data", folder / ".tunekeeper", "--json")
    shown = call("route", "show", "split", *data).json
    assert (shown["champion"], shown["shares"]) == ("blue", {"blue": 9000, "green": 1000})
    moved = run("route", "set", "split", "blue=1", "green=9999", *data).json
    assert set(moved) == {"model", "from", "to", "route_version", "acknowledged_by", "pending", "ms"}
    assert len(moved["pending"]) + len(moved["acknowledged_by"]) == 1
    told = gateway.ask("split", user="somebody")
    assert int(told.headers["x-tunekeeper-route-version"]) == moved["route_version"]
    back = run("rollback", "split", *data).json
    assert (back["from"], back["to"]) == ("v2", "v1")
    assert {gateway.says("split", user=f"u{n}") for n in range(9)} == {"one"}
    assert call("history", "split", *data).json["promotions"][0]["kind"] == "rollback"
    nothing = call("rollback", "plain", *data)
    assert (nothing.code, nothing.json["error"]["kind"]) == (4, "UpstreamUnavailable")
    for words in (("blue=5000",), ("blue=5000", "red=5000"), ("blue=x",)):
        assert call("route", "set", "split", *words, *data).code == 2


def test_routes_keys_and_log_outlive_a_restart(folder: Path, one: Upstream, two: Upstream) -> None:
    data = folder / "kept"
    slots = {"a": slot(one, "v1"), "b": slot(two, "v2")}

    def file(models: dict[str, Any]) -> Path:
        return write_yaml(folder / "kept.yaml", {"models": models})

    def starts(models: dict[str, Any], **more: str) -> Gateway:
        return Gateway("--config", file(models), "--data", data, **more)

    def shares() -> dict[str, int]:
        found: dict[str, int] = call("route", "show", "m", "--data", data, "--json").json["shares"]
        return found

    outside = run("serve", "--config", file({"m": {"slots": slots, "route": {"a": 10000}}}), "--host", "0.0.0.0", "--data", data)
    assert (outside.code, outside.out) == (2, "")
    assert "there is no key" in outside.error

    gateway = starts({"m": {"slots": slots, "route": {"a": 10000}}})
    assert gateway.ask("m").status_code == 200, "alone on loopback no key is asked"
    key = run("key", "create", "--scope", "infer", "--data", data, "--json").json
    assert set(key) == {"id", "key"}
    assert [gateway.ask("m", key=each).status_code for each in (None, "wrong", key["key"])] == [401, 401, 200]
    assert gateway.get("/metrics", key["key"]).status_code == 403
    assert run("route", "set", "m", "a=4000", "b=6000", "--data", data).code == 0
    assert gateway.running.stop() == 0

    gateway = starts({"m": {"slots": slots, "timeouts": {"total": 99}, "route": {"a": 10000}}})
    assert shares() == {"a": 4000, "b": 6000}, "what was committed counts, not the file"
    assert gateway.ask("m").status_code == 401
    assert gateway.running.stop() == 0

    before = {"other": {"slots": {"a": slot(two, "other")}}}
    gateway = starts({**before, "m": {"slots": slots, "route": {"a": 10000, "b": 0}}})
    assert shares() == {"a": 10000}, "the file's block has changed"
    assert gateway.ask("m", key=key["key"]).json()["model"] == "v1", "a model put before it takes none of its slots"
    assert gateway.ask("other", key=key["key"]).headers["x-tunekeeper-slot"] == "a"
    call("key", "revoke", key["id"], "--data", data)
    assert gateway.ask("m", key=key["key"]).status_code == 401
    assert gateway.running.stop(signal.SIGINT) == 130
    assert {row["model_id"] for row in log(data)} == {"m", "other"}


def test_a_stopped_worker_is_named_and_cannot_serve_the_old_route(folder: Path, one: Upstream, two: Upstream) -> None:
    file = write_yaml(
        folder / "two.yaml", {"models": {"m": {"slots": {"a": slot(one, "v1"), "b": slot(two, "v2")}, "route": {"a": 10000}}}}
    )
    data = folder / "two"
    gateway = Gateway("--config", file, "--data", data, "--workers", "2", TUNEKEEPER_GATEWAY_KEY="from the environment")
    first, _ = gateway.ready["workers"]
    os.kill(first, signal.SIGSTOP)
    moved = run("route", "set", "m", "b=10000", "--data", data, "--json").json
    os.kill(first, signal.SIGCONT)
    assert first in [pid for pid, _ in moved["pending"]]
    assert {gateway.ask("m", key="from the environment").json()["model"] for _ in range(12)} == {"v2"}
    assert gateway.ask("m").status_code == 401
    os.kill(first, signal.SIGKILL)
    assert gateway.running.event("restarted")["pid"] != first
    asked = two.seen()["requests"]
    two.order(default="slow:1")
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.ask("m", key="from the environment")))
    asking.start()
    until(lambda: two.seen()["requests"] > asked)
    assert gateway.running.stop() == 0
    asking.join()
    two.order(default="ok")
    assert answers[0].json()["model"] == "v2", "SIGTERM lets a running answer end"
    assert call("log", "verify", "--data", data, "--json").json == {"records": 13, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_user_s_requests_are_erased_and_a_log_moves_house(folder: Path, gateway: Gateway) -> None:
    data = folder / ".tunekeeper"
    for number in range(4):
        gateway.ask("plain", f"forget {number}", user=f"user-{number % 2}")
    until(lambda: len(log(data, "--since", "1h")) >= 4)
    gone = call("log", "erase", "--user", "user-1", "--data", data, "--json").json
    assert gone["requests"] == 2
    rows = log(data)
    assert not [row for row in rows if row["request"] and row["request"].get("user") == "user-1"]
    file = folder / "moved.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    moved = call("log", "import", file, "--data", folder / "elsewhere", "--json").json
    assert (moved["rows"], moved["added"]) == (len(rows), len(rows))
    assert log(folder / "elsewhere") == rows
    assert log(folder / "elsewhere", "--model", "nobody") == log(folder / "elsewhere", "--until", "48h") == []


def test_a_two_slot_file_decides_alone(folder: Path, one: Upstream, two: Upstream) -> None:
    file = folder / "model_routing.yaml"

    def write(active: str) -> None:
        blue, green = (server.url.removeprefix("http://") for server in (one, two))
        slots = f"blue:\n  model: support-v1\n  endpoint: {blue}\ngreen:\n  model: support-v2\n  endpoint: {green}\n"
        file.write_text(f"active_slot: {active}\n{slots}")

    write("blue")
    gateway = Gateway("--routing", file, "--as", "desk", "--data", folder / "static")
    told = gateway.ask("desk")
    assert (told.json()["model"], told.headers["x-tunekeeper-slot"]) == ("support-v1", "blue")
    write("green")
    gateway.running.event("reloaded")
    assert gateway.ask("desk").json()["model"] == "support-v2"
    for broken in ("purple", "[green"):
        write(broken)
        why = gateway.running.event("not_reloaded")["why"]
        assert f"{file}:" in why
        assert gateway.ask("desk").json()["model"] == "support-v2"
    for words in (("rollback", "desk"), ("route", "set", "desk", "blue=10000")):
        refused = call(*words, "--data", folder / "static")
        assert refused.code == 2
        assert str(file) in refused.error
    assert gateway.running.stop() == 0
