from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from openai import OpenAI

from tunekeeper.core.errors import ConfigError, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, serve_temporarily
from tunekeeper.engines.fake_server import answer_for, load_rule

RULE = {"answers": {"hi": "hello there my friend"}, "contains": {"refund": "billing"}, "default": "?"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fake")
    (folder / "rule.json").write_text(json.dumps(RULE))
    slot = Slot(id="f", model="m", version="v1", engine="fake", files={"model": "rule.json"})
    with serve_temporarily(slot, folder) as found:
        yield found


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_rule_looks_up_exactly_then_by_parts_then_by_default() -> None:
    assert answer_for(RULE, user("hi")) == "hello there my friend"
    assert answer_for(RULE, user("a refund please")) == "billing"
    assert answer_for(RULE, user("other")) == "?"
    assert answer_for({}, [*user("first"), *user("last")]) == "last"
    assert answer_for({}, []) == ""


def test_a_plain_answer_counts_tokens_and_obeys_its_limit(endpoint: str) -> None:
    client = ChatClient(endpoint, "v1")
    whole, cut = client.chat(user("hi"), max_tokens=9), client.chat(user("hi"), max_tokens=2)

    assert (whole.text, whole.finish_reason, whole.prompt_tokens, whole.completion_tokens) == (
        "hello there my friend",
        "stop",
        1,
        4,
    )
    assert (cut.text, cut.finish_reason, cut.completion_tokens) == ("hello there", "length", 2)
    assert client.chat(user("hi"), max_tokens=9).raw == whole.raw


def test_the_official_client_reads_its_stream(endpoint: str) -> None:
    client = OpenAI(base_url=endpoint, api_key="none", max_retries=0)
    stream = client.chat.completions.create(
        model="v1",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    client.close()

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "hello there my friend"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/health", None, 200),
        ("GET", "/nothing", None, 404),
        ("POST", "/v1/embeddings", "{}", 404),
        ("POST", "/v1/chat/completions", "{", 400),
        ("POST", "/v1/chat/completions", "[1]", 400),
        ("POST", "/v1/chat/completions", '{"messages": [1]}', 400),
    ],
)
def test_odd_requests_get_their_status(endpoint: str, method: str, path: str, body: str | None, status: int) -> None:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    connection.request(method, path, body)
    assert connection.getresponse().status == status
    connection.close()


def test_a_key_is_asked_for_when_the_slot_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "k")
    with serve_temporarily(Slot(id="f", model="m", engine="fake", api_key_env="FAKE_KEY"), tmp_path) as endpoint:
        with pytest.raises(UpstreamUnavailable, match="401"):
            ChatClient(endpoint, "m").chat(user("hi"), max_tokens=1)
        assert ChatClient(endpoint, "m", "k").chat(user("hi"), max_tokens=1).text == "hi"


def test_a_broken_rule_file_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]"):
        (tmp_path / "rule.json").write_text(text)
        with pytest.raises(ConfigError, match=r"rule\.json"):
            load_rule(tmp_path / "rule.json")
    assert load_rule(None) == {}
