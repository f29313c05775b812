"""Heads: what is refused beyond llhttp's own checks, and the bytes of answers."""

from __future__ import annotations

import pytest

from tunekeeper.gateway.heads import Head, Heads, answer_head, check, chunk


def head(version: str = "1.1", **headers: bytes) -> Head:
    return Head(
        method=b"GET", version=version, headers={name.replace("_", "-").encode(): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("host", [b"x", b"x:80", b"127.0.0.1:8080", b"[::1]:80", b"a-b.example.com", b"x:"])
def test_hosts_are_taken(host: bytes) -> None:
    assert check(head(host=host), b"/livez") is None


@pytest.mark.parametrize("host", [b"", b":80", b"x/y", b"x?y", b"x#y", b"u@x", b"x y", b"x,y", b"x:port", b"[::1"])
def test_what_is_no_host_is_refused(host: bytes) -> None:
    assert check(head(host=host), b"/livez") is not None


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/v1/models/support-desk@v1.0",
        b"/v1/models/support-desk%40champion",
        b"/v1/models/desk%40org%2Fmodel-1",
        b"/livez?a=b&c=/d//e",
    ],
)
def test_plain_targets_are_taken(target: bytes) -> None:
    assert check(head(host=b"x"), target) is None


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"http://x/",
        b"//x",
        b"/a//b",
        b"/a/../b",
        b"/a/.",
        b"/%2e%2E/a",
        b"/..%2fa",
        b"/a%2F..%2Fb",
        b"/a%2F",
        b"/%2Fa",
        b"/a;b",
        b"/a\\b",
        b"/a%5cb",
        b"/a#b",
        b"/a%00",
        b"/%252e",
        b"/\xc3\xa4",
    ],
)
def test_targets_that_two_readers_could_read_differently_are_refused(target: bytes) -> None:
    assert check(head(host=b"x"), target) is not None


@pytest.mark.parametrize(
    ("target", "told"), [(b"/v1//chat/completions", True), (b"//v1", True), (b"/v1/#", False), (b"a//b", False)]
)
def test_a_base_url_that_ends_in_a_slash_is_told_as_such(target: bytes, told: bool) -> None:
    refusal = check(head(host=b"x"), target)
    assert refusal is not None
    assert ("two slashes" in refusal.message) is told


def test_old_clients_need_no_host_and_may_not_chunk() -> None:
    assert check(head("1.0"), b"/") is None
    assert check(head(), b"/") is not None
    assert check(head("1.0", transfer_encoding=b"chunked"), b"/") is not None
    assert check(head(host=b"x", transfer_encoding=b"Chunked"), b"/") is None
    assert check(head("2.0", host=b"x"), b"/") is not None


def test_a_repeated_header_is_named() -> None:
    made = head(host=b"x")
    made.repeated = b"host"
    refusal = check(made, b"/")
    assert refusal is not None
    assert "host" in refusal.message


def test_answer_heads_frame_as_the_client_can_read() -> None:
    assert answer_head(200, b"a/b", 5) == b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 5\r\n\r\n"
    assert b"transfer-encoding: chunked" in answer_head(200, b"a/b", None)
    assert b"transfer-encoding" not in answer_head(200, b"a/b", None, old=True)
    assert b"connection: close" in answer_head(418, b"a/b", 0, close=True)
    assert b"connection: keep-alive" in answer_head(200, b"a/b", 0, old=True)
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"


def test_header_texts_are_stripped_and_empty_is_absent() -> None:
    assert head(host=b" x ").text(b"host") == "x"
    assert head(host=b" ").text(b"host") is None
    assert head().text(b"host") is None


HEAD = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n"


def posted(version: str = "1.1", **headers: bytes) -> Head:
    made = head(version, host=b"h", **{"content_length": b"2", **headers})
    made.method = b"POST"
    return made


def test_a_head_that_was_parsed_is_known_again_with_its_length() -> None:
    heads, parsed = Heads(), posted()
    heads.learn(HEAD + b"{}", parsed)
    assert heads.get(HEAD) is parsed
    assert parsed.length == 2


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (HEAD + b"{}", posted(transfer_encoding=b"chunked")),
        (HEAD + b"{}", posted(expect=b"100-continue")),
        (HEAD + b"{}", posted(content_encoding=b"identity")),
        (HEAD + b"{}", posted(version="1.0")),
        (HEAD + b"{}GET", posted()),
        (HEAD + b"{", posted()),
        (b"\r\n" + HEAD + b"{}", posted()),
        (b"\r\n\r\n" + HEAD + b"{}", posted()),
        (HEAD.replace(b"host: h", b"host: h\r\nx-long: " + b"y" * 5000) + b"{}", posted()),
        (b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n", head(host=b"h")),
    ],
)
def test_heads_that_say_more_than_a_length_are_not_kept(data: bytes, parsed: Head) -> None:
    heads = Heads()
    heads.learn(data, parsed)
    assert heads._known == {}


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    heads = Heads()
    for number in range(3 * Heads.MOST):
        heads.learn(HEAD.replace(b"/x", b"/%d" % number) + b"{}", posted())
    assert 0 < len(heads._known) <= Heads.MOST
