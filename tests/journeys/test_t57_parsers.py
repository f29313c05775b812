"""T57: parsers of the gateway, its log and model files, fed with damage steered to new lines: nothing foreign is ever raised."""

from __future__ import annotations

import json
import random
import resource
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
import pytest
import xxhash
import yaml

from tests.journeys.fuzz import fuzz
from tests.journeys.rig import SECONDS, figure, say
from tunekeeper.config.serving import load_routing_file, load_serve_file
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.inspect import inspect
from tunekeeper.deployment.safetensors import READABLE, read_header
from tunekeeper.deployment.safetensors import load as load_tensor
from tunekeeper.gateway.feedback import parse as parse_feedback
from tunekeeper.gateway.heads import Head, Heads
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.refusals import Refusal, RefusedError
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.sse import Events, EventTooLargeError
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.tables import Address
from tunekeeper.gateway.upstream import Connection as Upward
from tunekeeper.gateway.upstream import Pool, Request
from tunekeeper.gateway.wire import Call, error_message, parse_answer, parse_call, splice_of, upstream_body
from tunekeeper.store.log.lines import MARK, PREFIX_BYTES, encode, scan
from tunekeeper.store.log.records import decode
from tunekeeper.testing.upstream import plain_answer, stream_events

SEED = 57
LIMITS = Limits(body_mb=0.01, headers_kb=2, headers=20, messages=50)
pytestmark = pytest.mark.timeout(SECONDS)
Target = Callable[[bytes, random.Random], None]


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes as they may come from a socket."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# ---- server-sent events ----

CHUNK = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}\n\n'
EVENTS = [
    CHUNK * 3 + b"data: [DONE]\n\n",
    b": ping\n\nevent: x\r\ndata: a\rdata: b\r\n\r\ndata\n\nid: 4\n\n" + CHUNK,
    b"".join(stream_events("1", "/v1/chat/completions", {"model": "m", "stream_options": {"include_usage": True}}, "a b")),
    b"".join(stream_events("1", "/v1/completions", {"model": "m", "logprobs": 1}, "one two")),
    b'data: {"error":{"message":"full","type":"server_error","code":500}}\n\n',
    b'data: {"error":{"message":"full\x9f","type":"server_error","code":500}}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]}}]}\n\n' * 2,
    b'data: {"choices":[{"delta":{"role":"assistant","reasoning_content":"hm","refusal":"no"}}],"usage":{"prompt_tokens":1}}\n\n',
]


def events(data: bytes, rng: random.Random) -> None:
    """Every byte goes on as it came, whole event by whole event."""
    parser, raw = Events(limit=2000), b""
    try:
        for piece in pieces(data, rng):
            raw += b"".join(event.raw for event in parser.feed(piece))
    except EventTooLargeError:
        return
    assert raw + parser.rest == data


def stream(data: bytes, rng: random.Random) -> None:
    """A stream of a model server on its way through, and the answer it amounts to."""
    made = Stream(Call(rng.choice(("chat.completions", "completions")), {}, "m", stream=True, usage=rng.random() < 0.5))
    for piece in pieces(data, rng):
        step = made.feed(piece)
        if step.failed is not None:
            break
    msgspec.json.decode(made.fold.answer())
    made.fold.fresh_text()
    confidence = made.fold.confidence()
    assert confidence is None or 0 <= confidence <= 1


# ---- the spool ----

FIELDS: dict[str, Any] = {
    "request_id": "req_1",
    "timestamp": "2026-01-05T09:00:00Z",
    "model_id": "m",
    "status": "ok",
    "bucket": 7,
}
LINES = [
    encode("O", FIELDS) + encode("P", {"request_id": "req_1", "text": "a"}) + encode("E", FIELDS, b'{"a":1}', b"not json"),
    encode("F", {"id": "fb_1", "request_id": "req_1", "timestamp": "2026-01-05T09:00:00Z", "kind": "score", "value": 0.5}),
    encode("T", {"request_id": "req_1", "prompt_tokens": 3, "completion_tokens": None}) * 3,
    encode("E", {**FIELDS, "attempts": [{"slot": "a", "ms": 1.5}], "segments": {"x": "y"}, "metadata": {"a": [1]}}, b"\xff\xfe"),
]


def spool(data: bytes, rng: random.Random) -> None:
    """Damaged segments: what is found is a whole line, in order, and what was there whole is found."""
    found = scan(data, growing=rng.random() < 0.5)
    at = 0
    for line in found.lines:
        assert at <= line.start < line.end <= len(data)
        at = line.end
        decode(line)
    whole = rng.choice(LINES)
    assert len(scan(data + b"\n" + whole).lines) >= len(scan(whole).lines), "damage costs nothing that follows it"


def rows(data: bytes, rng: random.Random) -> None:
    """Whole lines, with a right checksum, of somebody who writes what we would not."""
    made = b""
    for part in data.split(b"\n"):
        rest = part[PREFIX_BYTES:] if part.startswith(MARK) else part
        made += MARK + xxhash.xxh3_64_hexdigest(rest).encode() + b'",' + rest + b"\n"
    for line in scan(made).lines:
        decode(line)


# ---- HTTP ----

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
REQUESTS = [
    POST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    POST + b'transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n5;a=b\r\n{"a":\r\n2\r\n1}\r\n0\r\nx-t: y\r\n\r\n',
    b"GET /v1/models/a%20b?x=1 HTTP/1.1\r\nhost: [::1]:80\r\nx-request-id: a\r\nx-tunekeeper-segment-team: b\r\n\r\n" * 2,
    b"GET /readyz HTTP/1.0\r\nconnection: keep-alive\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    POST + b"upgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\ncontent-encoding: identity\r\n\r\n{}",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
]


class Pipe:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.out = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def resume_reading(self) -> None:
        """Nothing is held up here."""

    pause_reading = resume_reading

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None


class House:
    """A worker that answers everything at once and remembers what it was asked."""

    limits = LIMITS
    draining = False

    def __init__(self) -> None:
        self.asked: list[tuple[Head, bytes]] = []
        self.heads = Heads()

    def now(self) -> float:
        return 0.0

    def admit(self, connection: Connection) -> Refusal | None:
        return None

    def left(self, connection: Connection) -> None:
        self.draining = False

    def handle(self, connection: Connection, head: Head, body: bytes) -> None:
        self.asked.append((head, body))
        connection.reply(200, b"{}")


def talk(house: House, sent: list[bytes]) -> tuple[list[tuple[bytes, bytes, dict[bytes, bytes], bytes]], bytes]:
    """One connection that sends these pieces: what the house was asked, and what came back."""
    pipe, connection, before = Pipe(), Connection(house), len(house.asked)
    connection.connection_made(pipe)  # type: ignore[arg-type]
    for piece in sent:
        if not pipe.closed:
            connection.data_received(piece)
    out = pipe.out
    connection.expired()
    connection.connection_lost(None)
    return [(head.method, head.path, head.headers, body) for head, body in house.asked[before:]], out


def request(data: bytes, rng: random.Random) -> None:
    """A client's bytes: each request whole or refused, never our own fault, never beyond a bound; and a head that is known from
    before means what it meant."""
    asked, out = talk(House(), pieces(data, rng))
    assert b"internal_error" not in out, out
    for _, path, _, body in asked:
        assert len(body) <= LIMITS.body_bytes
        assert path.startswith(b"/")
        assert b"//" not in path
    house = House()
    talk(house, [rng.choice(REQUESTS)])
    assert talk(house, [data]) == talk(house, [data]) == talk(House(), [data])


class Ear:
    """Whoever waits for a model server's answer."""

    def __init__(self) -> None:
        self.ends = 0
        self.body = b""

    def upstream_sent(self) -> None:
        self.ends = 0

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        assert 200 <= status <= 999

    def upstream_body(self, data: bytes) -> None:
        self.body += data

    def upstream_end(self) -> None:
        self.ends += 1

    def upstream_failed(self, code: str, message: str) -> None:
        self.ends += 1


def upstream(data: bytes, rng: random.Random) -> None:
    """A model server's bytes: the answer ends or fails, exactly once."""
    pool = Pool(Address("h", 1, tls=False), None, 5000)  # type: ignore[arg-type]
    ear, pipe, connection = Ear(), Pipe(), Upward(pool)
    asked = Request(pool, b"", ear)
    connection.connection_made(pipe)  # type: ignore[arg-type]
    connection.begin(asked, kept=False)
    for piece in pieces(data, rng):
        connection.data_received(piece)
    connection.connection_lost(None)
    assert ear.ends == 1
    assert len(ear.body) <= 5000


# ---- JSON and YAML ----

RIGHT = {"model": "m", "messages": [{"role": "user", "content": "é"}], "stream": True, "stream_options": {"include_usage": True}}
JSON = [json.dumps(each).encode() for each in (
    {**RIGHT, "user": "u", "metadata": {"user_id": 7}, "temperature": 1e-7, "tools": [{"a": [[]]}]},
    {"model": "m", "prompt": ["a"], "input": "x", "lora": [{"id": 0}]},
    {"request_id": "r", "id": "a", "kind": "thumb", "value": "up", "by": "ann", "model": "m", "metadata": {}},
    {"id": "a", "kind": "score", "value": 0.5},
    {"id": "a", "kind": "score", "value": 10**400},
    plain_answer("1", "/v1/chat/completions", {"logprobs": True}, "a b"),
    plain_answer("1", "/v1/embeddings", {}, ""),
    {"error": {"message": "no", "type": "t", "param": None, "code": 1}},
    {"error": "no"},
)]  # fmt: skip
SPLICE = splice_of("real", "be brief", ({"role": "user", "content": "q"},), 1)


def body(data: bytes, rng: random.Random) -> None:
    """A client's body and a model server's: a call, an answer, or a refusal; what goes on is JSON that says one model name."""
    endpoint = rng.choice(("chat.completions", "completions", "embeddings"))
    parse_answer(data, endpoint)
    error_message(data)
    with suppress(RefusedError):
        parse_feedback(data, b"k" * 32, LIMITS.depth)
    try:
        call = parse_call(data, endpoint, LIMITS)
        sent = upstream_body(call, SPLICE)
    except RefusedError:
        return
    names = [value for name, value in json.loads(sent, object_pairs_hook=list) if name == "model"]
    assert names == ["real"]


SLOT = {"endpoint": "http://127.0.0.1:9/v1", "engine": "openai", "price_in": 0.5, "system": "be brief"}
MODELS = {"slots": {"a": SLOT, "b": {"endpoint": "h:1"}}, "route": {"a": 9000, "b": 1000}, "fallback": ["b", {"slot": "a"}]}
FILES = [yaml.safe_dump(each).encode() for each in (
    {"models": {"desk": {**MODELS, "shadow": {"slot": "b", "share": 5}, "timeouts": {"total": 5}}}, "limits": {"depth": 9}},
    {"durability": "power", "log_bodies": False, "log": {"bodies_days": 3}, "models": {"m": {"slots": {"a": SLOT}}}},
    {"active_slot": "green", "blue": {"model": "m", "endpoint": "h:1"}, "green": {"model": "n", "endpoint": "http://h/v1"}},
)] + [b"a: &x [1]\nb: *x\n", b"? {a: 1}\n: 2\n", b"a: 2026-01-01\nb: 0o7\nc: !!binary aGk=\n", b"on: 1\n1: 2\n---\n"]  # fmt: skip


def config(folder: Path) -> Target:
    """Files that a person wrote badly."""
    file = folder / "gateway.yaml"

    def target(data: bytes, rng: random.Random) -> None:
        file.write_bytes(data)
        for load in (load_serve_file, lambda path: load_routing_file(path, "desk")):
            told = None
            try:
                load(file)
            except TunekeeperError as error:
                told = str(error)
            assert told is None or len(told.splitlines()) == 1, told

    return target


# ---- model files ----


def tiny_gguf(kind: str, text: str = "<|im_start|>") -> bytes:
    """A whole GGUF file, small enough that every byte is met."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_type(gguf.GGUFType.ADAPTER if kind == "adapter" else gguf.GGUFType.MODEL)
        writer.add_context_length(64)
        writer.add_token_list(["a", text])
        writer.add_token_scores([0.5, -1.0])
        writer.add_bool("x.y", True)
        for name, shape in (
            ("token_embd.weight", (2, 32)),
            ("blk.0.attn_q.weight.lora_a", (1, 32)),
            ("output_norm.weight", (4,)),
        ):
            writer.add_tensor(name, np.ones(shape, np.float16 if kind == "half" else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def tiny_safetensors(header: Any, size: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


ROW = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
GGUFS = [tiny_gguf("model"), tiny_gguf("half"), tiny_gguf("adapter", "\u00e9\x00")]
SAFETENSORS = [
    tiny_safetensors({"a": ROW, "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]}}, 22),
    tiny_safetensors({"__metadata__": {"format": "pt"}, "a": ROW}, 16),
    tiny_safetensors(
        {"a": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}, "b": {**ROW, "shape": [0], "data_offsets": [8, 8]}}, 8
    ),
    tiny_safetensors({}, 0),
]


def model_file(folder: Path, name: str, check: Callable[[Path], Any]) -> Target:
    """A file of weights from anywhere: what its header says is true of the file, or it is refused in one line."""
    file = folder / name

    def target(data: bytes, rng: random.Random) -> None:
        file.write_bytes(data)
        told = None
        try:
            check(file)
        except TunekeeperError as error:
            told = error.message
        assert told is None or len(told.splitlines()) == 1, told

    return target


def gguf_header(path: Path) -> None:
    header, size = read_gguf(path), path.stat().st_size
    for tensor in header.tensors:
        assert header.data + tensor.start + tensor.bytes <= size
    inspect(path)


def safetensors_header(path: Path) -> None:
    size = path.stat().st_size
    for tensor in read_header(path).values():
        assert 8 <= tensor.start <= tensor.end <= size
        if tensor.dtype in READABLE:
            assert load_tensor(path, tensor).shape == tensor.shape
    inspect(path)


MADE: dict[str, Callable[[Path], Target]] = {
    "config": config,
    "gguf": lambda folder: model_file(folder, "m.gguf", gguf_header),
    "safetensors": lambda folder: model_file(folder, "m.safetensors", safetensors_header),
}
"""Targets that need a folder."""
TARGETS: dict[str, tuple[Target | None, list[bytes], int]] = {
    "events": (events, EVENTS, 4000),
    "stream": (stream, EVENTS, 3000),
    "spool": (spool, LINES, 3000),
    "rows": (rows, LINES, 2000),
    "request": (request, REQUESTS, 1000),
    "upstream": (upstream, ANSWERS, 4000),
    "body": (body, JSON, 5000),
    "config": (None, FILES, 250),
    "gguf": (None, GGUFS, 800),
    "safetensors": (None, SAFETENSORS, 1200),
}
"""Name → what is run, what it begins with (what once broke it, too), how many inputs in the fast lane."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_makes_a_parser_raise_what_it_does_not_document(name: str, tmp_path: Path) -> None:
    made, corpus, often = TARGETS[name]
    target = made if made is not None else MADE[name](tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = fuzz(target, corpus, SEED, figure(often, 150 * often))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say(
        "T57",
        SEED,
        parser=name,
        tried=found.tried,
        kept=found.kept,
        steps=len(found.steps),
        broken=len(found.broken),
        rss_mb=grown,
    )
    assert found.broken == []
    assert found.kept >= 3, "some inputs go where none has been: else nothing would be steered"
    assert grown < 512
