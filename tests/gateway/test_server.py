"""Framing on raw sockets: what is refused, what is bounded, what closes the connection. Nothing malformed is ever a 5xx."""

from __future__ import annotations

import json
import random
import resource
import socket
import string
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.server import room

BODY = b'{"model":"support-desk","messages":[{"role":"user","content":"hi"}]}'
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)


def status_of(heard: bytes) -> int:
    assert heard.startswith(b"HTTP/1.1 "), heard[:100]
    return int(heard[9:12])


SMUGGLED = {
    "both framings": CHAT + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, other order": CHAT + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": CHAT + b"content-length: 4\r\ncontent-length: 5\r\n\r\n{}",
    "two equal lengths": CHAT + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "length list": CHAT + b"content-length: 2, 2\r\n\r\n{}",
    "signed length": CHAT + b"content-length: +2\r\n\r\n{}",
    "negative length": CHAT + b"content-length: -2\r\n\r\n{}",
    "hex length": CHAT + b"content-length: 0x2\r\n\r\n{}",
    "huge length": CHAT + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "unknown coding": CHAT + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity coding": CHAT + b"transfer-encoding: identity\r\n\r\n{}",
    "two codings": CHAT + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two coding headers": CHAT + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": CHAT + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": CHAT + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "folded header": CHAT + b"x-a: b\r\n c\r\n\r\n",
    "bare line feed": b"POST /v1/chat/completions HTTP/1.1\nhost: x\n\n",
    "bare line feed after a header": b"GET /livez HTTP/1.1\r\nhost: x\nx-a: b\r\n\r\n",
    "bare carriage return": b"GET /livez HTTP/1.1\r\nhost: x\rx-a: b\r\n\r\n",
    "bad chunk size": CHAT + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "bad chunk end": CHAT + b"transfer-encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "length in a trailer": CHAT + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\ncontent-length: 5\r\n\r\n",
    "chunked in 1.0": b"POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "absolute form": b"GET http://x/livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "authority form": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "double slash": b"GET //livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "dot dot": b"GET /v1/../livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "encoded dot": b"GET /%2e/livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "encoded backslash": b"GET /%5clivez HTTP/1.1\r\nhost: x\r\n\r\n",
    "semicolon": b"GET /livez;x=1 HTTP/1.1\r\nhost: x\r\n\r\n",
    "fragment": b"GET /livez#x HTTP/1.1\r\nhost: x\r\n\r\n",
    "backslash": b"GET /\\livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    "empty host": b"GET /livez HTTP/1.1\r\nhost:\r\n\r\n",
    "blank host": b"GET /livez HTTP/1.1\r\nhost: \t \r\n\r\n",
    "host of a port alone": b"GET /livez HTTP/1.1\r\nhost: :8080\r\n\r\n",
    "host with a path": b"GET /livez HTTP/1.1\r\nhost: x/y\r\n\r\n",
    "host with a query": b"GET /livez HTTP/1.1\r\nhost: x?y\r\n\r\n",
    "host with a fragment": b"GET /livez HTTP/1.1\r\nhost: x#y\r\n\r\n",
    "host with a user": b"GET /livez HTTP/1.1\r\nhost: u@x\r\n\r\n",
    "two authorizations": b"GET /livez HTTP/1.1\r\nhost: x\r\nauthorization: a\r\nauthorization: b\r\n\r\n",
    "nul in a header": b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: a\0b\r\n\r\n",
    "version two": b"GET /livez HTTP/2.0\r\nhost: x\r\n\r\n",
    "version nine": b"GET /livez HTTP/9.9\r\nhost: x\r\n\r\n",
    "no version": b"GET /livez\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": b"\x00\xff\xfe\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_ambiguous_framing_is_a_400_and_closes(bench: Any, name: str) -> None:
    heard = bench.raw(SMUGGLED[name] + b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status_of(heard) == 400
    assert heard.count(b"content-type: ") == 1, "nothing behind it was answered"
    assert b"connection: close" in heard
    assert bench.a.counts.requests == 0


def test_what_follows_a_request_before_its_answer_is_dropped(bench: Any) -> None:
    request = CHAT + LENGTH + b"\r\n" + BODY
    heard = bench.raw(request + request)
    assert heard.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in heard
    assert bench.a.counts.requests == 1


def test_a_kept_connection_serves_one_request_after_the_other(bench: Any) -> None:
    request = CHAT + LENGTH + b"\r\n" + BODY
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        for _ in range(3):
            sock.sendall(request)
            heard = b""
            while not heard.endswith(b"}}"):
                heard += sock.recv(65536)
            assert status_of(heard) == 200


def answers(sock: socket.socket) -> bytes:
    """What comes until the connection ends."""
    heard = b""
    while piece := sock.recv(65536):
        heard += piece
    return heard


def whole(sock: socket.socket) -> bytes:
    """One whole answer with a length."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += sock.recv(65536)
    head, _, body = heard.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    assert len(body) == length
    return head + b"\r\n\r\n" + body


def test_a_head_that_is_known_again_frames_as_it_did_the_first_time(bench: Any) -> None:
    request = CHAT + LENGTH + b"\r\n" + BODY
    other = BODY.replace(b"hi", b"ho")
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        for body in (BODY, other, BODY):
            sock.sendall(CHAT + LENGTH + b"\r\n" + body)
            assert status_of(whole(sock)) == 200
        assert len(bench.gateway.heads._known) == 1
        for at in (1, len(CHAT), len(request) - len(BODY) - 2, len(request) - len(BODY), len(request) - 1):  # in two pieces
            sock.sendall(request[:at])
            time.sleep(0.05)
            sock.sendall(request[at:])
            assert status_of(whole(sock)) == 200
        sock.sendall(b"\r\n" + request)  # RFC 9112 section 2.2: an empty line before a request is passed over
        assert status_of(whole(sock)) == 200
    asked = [call["messages"][0]["content"] for call in bench.a.bodies]
    assert asked == ["hi", "ho", "hi"] + ["hi"] * 6


def test_nothing_is_smuggled_behind_a_head_that_is_known(bench: Any) -> None:
    request = CHAT + LENGTH + b"\r\n" + BODY
    bench.raw(request.replace(b"\r\n\r\n", b"\r\nx-a: b\r\n\r\n"), wait=0.2)
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(request)
        assert status_of(whole(sock)) == 200
        sock.sendall(request + b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        heard = answers(sock)
    assert heard.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in heard
    assert b"live" not in heard


def test_a_known_head_is_judged_anew_under_every_table(bench: Any) -> None:
    bench.publish(keys=(bench.key("one"), bench.key("two", models=("another",))))
    request = CHAT + b"authorization: Bearer one\r\n" + LENGTH + b"\r\n" + BODY
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        for _ in range(2):
            sock.sendall(request)
            assert status_of(whole(sock)) == 200
        assert len(bench.gateway.heads._known) == 1
        bench.publish(keys=(bench.key("two", models=("another",)),))
        until(lambda: not bench.gateway.heads._known)  # nothing keeps the old table alive
        sock.sendall(request)
        assert status_of(whole(sock)) == 401
        sock.sendall(request.replace(b"Bearer one", b"Bearer two"))
        assert status_of(whole(sock)) == 403


def test_a_key_that_expires_under_a_known_head_stops_working(bench: Any) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    bench.publish(keys=(bench.key("short", expires=soon),))
    request = CHAT + b"authorization: Bearer short\r\n" + LENGTH + b"\r\n" + BODY
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(request)
        first = status_of(whole(sock))
        while datetime.now(UTC) <= soon:
            assert first == 200
            time.sleep(0.05)
        sock.sendall(request)
        assert status_of(whole(sock)) == 401


def test_a_request_may_arrive_byte_by_byte(bench: Any) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in CHAT + LENGTH + b"connection: close\r\n\r\n" + BODY:
            sock.sendall(bytes((byte,)))
        assert status_of(sock.recv(65536)) == 200


def test_a_chunked_body_with_extensions_is_read(bench: Any) -> None:
    chunks = b"%x;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    heard = bench.raw(CHAT + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    assert status_of(heard) == 200


def test_an_old_client_gets_an_unframed_stream_and_a_closed_connection(bench: Any) -> None:
    body = BODY[:-1] + b',"stream":true}'
    heard = bench.raw(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert b"transfer-encoding" not in heard
    assert heard.endswith(b"data: [DONE]\n\n")


def test_expect_continue_is_met(bench: Any) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(CHAT + LENGTH + b"expect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert status_of(sock.recv(65536)) == 200
    old = CHAT.replace(b"HTTP/1.1", b"HTTP/1.0") + LENGTH + b"expect: 100-continue\r\n\r\n"
    assert bench.raw(old + BODY).startswith(b"HTTP/1.1 200 "), "HTTP/1.0 knows no interim answers"
    assert status_of(bench.raw(CHAT + b"expect: magic\r\ncontent-length: 2\r\n\r\n{}")) == 417


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"content-length: 104857600\r\n\r\n", 413),
        (b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", 415),
        (b"".join(b"x-%d: y\r\n" % i for i in range(10_000)) + b"\r\n", 431),
        (b"x-big: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
        (b"".join(b"x-%d: y\r\n" % i for i in range(150)) + b"\r\n", 431),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(bench: Any, head: bytes, status: int) -> None:
    heard = bench.raw(CHAT + head)
    assert status_of(heard) == status


def test_a_chunked_body_without_end_is_cut_at_the_limit(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(body_mb=0.1)))
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(CHAT + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            try:
                sock.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            except OSError:
                break
        assert status_of(sock.recv(65536)) == 413


def test_slow_heads_and_slow_bodies_are_told_so_and_closed(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(header_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)))
    assert status_of(bench.raw(b"POST /v1/chat")) == 408
    assert status_of(bench.raw(CHAT + LENGTH + b"\r\n{")) == 408
    assert bench.raw(b"") == b"", "a silent connection just ends"
    heard = bench.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert heard.count(b"HTTP/1.1 ") == 1, "an idle connection just ends"


def test_connections_beyond_the_limit_are_refused_and_counted(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(connections=2)))
    held = [socket.create_connection(("127.0.0.1", bench.port)) for _ in range(2)]
    for sock in held:
        sock.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status_of(sock.recv(1000)) == 200
    heard = bench.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status_of(heard) == 503
    assert b"overloaded" in heard
    for sock in held:
        sock.close()


def mutations(seed: int, n: int) -> list[bytes]:
    """Bodies that are wrong in every way a client might think of."""
    rng = random.Random(seed)
    to = b'{"model":"support-desk",'
    fixed = [
        b"", b"null", b"[]", b"1", b'"x"', b"{", b"}", b"{}", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"model":}', b'{"model":null}',
        b'{"model":1,"messages":[]}', b'{"model":"","messages":[1]}', b'{"model":"support-desk"}', to + b'"messages":null}',
        to + b'"messages":{}}', to + b'"messages":[]}', to + b'"messages":"x"}', to + b'"messages":[NaN]}',
        to + b'"messages":[Infinity]}', to + b'"messages":[1e400],"temperature":1e400}', to + b'"messages":[{"role":"\\ud800"}]}',
        to + b'"messages":["\xff"]}', to + b'"messages":["\x00"]}', to + b'"messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        to + b'"messages":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", to + b'"messages":' + b"[" * 100 + b"]" * 100 + b"}",
        to + b'"messages":[1],"stream":"yes"}', to + b'"messages":[1],"stream":1}', to + b'"messages":[1],"user":{}}',
        to + b'"messages":[1],"metadata":[]}', to + b'"messages":[1],"stream_options":5}',
        to + b'"messages":[' + b"{}," * 3000 + b"{}]}",
        b'{"model":"' + b"m" * 5000 + b'","messages":[1]}', b'{"model":"support-desk@","messages":[1]}',
        b'{"model":"support-desk@nothing","messages":[1]}', b'{"model":"../../etc/passwd","messages":[1]}',
    ]  # fmt: skip
    while len(fixed) < n:
        data = bytearray(BODY)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[at] = rng.randrange(256)
            else:
                del data[at : at + rng.randint(1, 10)]
        fixed.append(bytes(data))
    return fixed


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/feedback"])
def test_malformed_bodies_never_give_a_5xx(bench: Any, path: str) -> None:
    seed = 20261121
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        for body in mutations(seed, 200):
            head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain; charset=utf-7\r\ncontent-length: %d\r\n\r\n"
            sock.sendall(head % (path.encode(), len(body)) + body)
            status, answer = _answer(sock)
            assert status < 500, (seed, body[:200], answer[:300])
            if status >= 400:
                error = json.loads(answer)["error"]
                assert set(error) == {"message", "type", "param", "code"}
                assert "Traceback" not in error["message"]


def test_malformed_heads_never_give_a_5xx(bench: Any) -> None:
    seed, rng = 7, random.Random(7)
    good = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\nauthorization: Bearer b\r\n" + LENGTH
    for _ in range(60):
        data = bytearray(good + b"\r\n" + BODY)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(good))] = rng.choice(string.printable.encode() + b"\x00\xff")
        heard = bench.raw(bytes(data) + b"\r\n\r\n", wait=0.15)
        assert not heard or status_of(heard) < 500, (seed, bytes(data))


def test_unknown_paths_and_methods_are_named(bench: Any) -> None:
    assert bench.get("/").status_code == 404
    assert bench.get("/v1/chat/completions").headers["allow"] == "POST"
    heard = bench.raw(b"HEAD /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert heard.endswith(b"\r\n\r\n"), "an answer to HEAD has no body"


def test_a_slow_reader_holds_the_model_server_back_and_gets_everything(bench: Any) -> None:
    text = "w" * 4000 + (" " + "w" * 4000) * 6000
    bench.a.answer = lambda body: text
    body = BODY[:-1] + b',"stream":true}'
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(CHAT + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        time.sleep(1.5)
        assert bench.a.counts.answered == 0, "the stream does not pile up in the gateway"
        heard = bytearray()
        while piece := sock.recv(1 << 20):
            heard += piece
    assert heard.count(b"w" * 4000) == 6001
    assert b"[DONE]" in heard


def _answer(sock: socket.socket) -> tuple[int, bytes]:
    heard = b""
    while b"\r\n\r\n" not in heard:
        piece = sock.recv(65536)
        assert piece, "the connection ended"
        heard += piece
    head, _, body = heard.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return status_of(head), body


UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize("rest", [LENGTH + b"\r\n" + BODY, CHUNKED])
@pytest.mark.parametrize("pieces", [1, 7])
def test_an_offer_to_change_the_protocol_is_passed_over_and_the_request_served(bench: Any, rest: bytes, pieces: int) -> None:
    request = CHAT + UPGRADE + rest
    size = -(-len(request) // pieces)
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):  # the second one on the same connection, which goes on speaking HTTP/1.1
            for start in range(0, len(request), size):
                sock.sendall(request[start : start + size])
            assert _answer(sock)[0] == 200
    assert [body["messages"] for body in bench.a.bodies] == [[{"role": "user", "content": "hi"}]] * 2
    heard = bench.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n\r\n")
    assert (status_of(heard), b"connection: close" in heard) == (200, True)


@pytest.mark.parametrize("old", [b"HTTP/1.0\r\nconnection: upgrade", b"HTTP/1.1\r\nconnection: upgrade, close"])
def test_the_body_of_a_request_that_offers_another_protocol_and_ends_its_connection_is_waited_for(bench: Any, old: bytes) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(CHAT.replace(b"HTTP/1.1", old) + b"upgrade: websocket\r\n" + LENGTH + b"\r\n")
        for start in range(0, len(BODY), 20):
            sock.sendall(BODY[start : start + 20])
        assert _answer(sock)[0] == 200
        assert sock.recv(1) == b"", "the connection ends, as it was asked to"


@pytest.mark.parametrize("name", ["two lengths", "both framings", "bad chunk end", "length in a trailer", "no host"])
def test_an_offer_to_change_the_protocol_hides_nothing(bench: Any, name: str) -> None:
    first, _, rest = SMUGGLED[name].partition(b"\r\n")
    heard = bench.raw(first + b"\r\n" + UPGRADE + rest)
    assert status_of(heard) == 400
    request = CHAT + UPGRADE + LENGTH + b"\r\n" + BODY
    heard = bench.raw(request + request)
    assert (heard.count(b"HTTP/1.1 200"), b"connection: close" in heard) == (1, True)
    assert bench.a.counts.requests == 1


def test_trailers_change_nothing_and_are_bounded(bench: Any) -> None:
    body = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    bench.publish(keys=(bench.key("good"),))
    plain = CHAT + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + body
    assert status_of(bench.raw(plain + b"authorization: Bearer good\r\n\r\n")) == 401, "a key belongs into the head"
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(plain + b"x-endless: ")
        heard = b""
        for _ in range(100):
            try:
                sock.sendall(b"x" * 0x8000)
            except OSError:
                break
        while not heard.startswith(b"HTTP/1.1 431"):
            piece = sock.recv(65536)
            assert piece, heard[:100]
            heard += piece


def test_a_body_of_many_small_chunks_is_taken_whole(bench: Any) -> None:
    chunks = b"".join(b"1\r\n%s\r\n" % BODY[at : at + 1] for at in range(len(BODY)))
    heard = bench.raw(CHAT + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert status_of(heard) == 200
    assert bench.a.bodies[-1]["messages"] == [{"role": "user", "content": "hi"}]


def test_who_reads_slowly_gets_the_last_byte_though_the_connection_ends(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(header_seconds=0.1, body_seconds=0.1, drain_seconds=2)))
    bench.a.answer = lambda body: "w" * 20_000_000
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", bench.port))
        sock.sendall(CHAT + b"connection: close\r\n" + LENGTH + b"\r\n" + BODY)
        bench.records(1)
        swept = bench.gateway.now() + 1.5  # past every deadline of the request, and three sweeps
        heard = bytearray(sock.recv(100))
        while bench.gateway.now() < swept:
            heard += sock.recv(100)
            time.sleep(0.01)
        while piece := sock.recv(1 << 20):
            heard += piece
    head, _, body = bytes(heard).partition(b"\r\n\r\n")
    assert len(body) == int(head.split(b"content-length: ")[1].split(b"\r\n")[0])


def test_nothing_more_is_asked_before_the_last_answer_is_taken(bench: Any) -> None:
    text = "w" * 1_000_000
    bench.a.answer = lambda body: text
    request = CHAT + LENGTH + b"\r\n" + BODY
    with bench.narrow(request) as sock:
        bench.records(1)
        sock.sendall(request)
        time.sleep(0.2)
        assert bench.a.counts.requests == 1, "answers that nobody takes would pile up here"
        heard = bytearray()
        while heard.count(text.encode()) < 2:
            piece = sock.recv(1 << 20)
            assert piece, "the connection ended"
            heard += piece
    assert bench.a.counts.requests == 2


def test_who_goes_on_reading_is_not_cut_off_when_the_wait_for_a_request_would_end(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(idle_seconds=1.0, drain_seconds=2)))
    bench.a.answer = lambda body: "w" * 3_000_000
    with bench.narrow(CHAT + LENGTH + b"\r\n" + BODY) as sock:
        bench.records(1)
        swept, heard = bench.gateway.now() + 2.2, bytearray()  # the wait would have ended twice
        while bench.gateway.now() < swept:
            heard += sock.recv(8192)
            time.sleep(0.005)
        while b"w" * 3_000_000 not in heard:
            piece = sock.recv(1 << 20)
            assert piece, "the answer was cut"
            heard += piece


def test_descriptors_decide_how_many_clients_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"limit": (128, 128)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: found["limit"])
    assert (room(4096), room(5)) == (32, 5)
    found["limit"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert room(4096) == 4096
