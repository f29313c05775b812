"""Keys with limits, through the gateway: refused in time, told how long, charged when the answer ends."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from tests.patience import until
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.cells import FILE, FOLDER
from tunekeeper.gateway.meter import Meter, bound_of
from tunekeeper.gateway.tables import Obeyed
from tunekeeper.store.published import WorkerSlot

MODEL = "support-desk"


def ask(bench: Any, key: str, **body: Any) -> Any:
    return bench.chat(headers={"authorization": f"Bearer {key}"}, **body)


def used(bench: Any, key: str) -> Any:
    """What is counted of a key, as another process reads it."""
    meter = bench.gateway.meter
    now = meter._now()
    return meter._counters.used(f"key_{key}", now.period("month"), now)


def tokens(bench: Any, key: str) -> int:
    """Tokens charged so far, also when the minute turned meanwhile."""
    found = used(bench, key)
    return int(found.tokens + found.last_tokens)


def test_a_flooding_key_is_refused_before_its_model_server_hears_of_it_and_others_go_on(bench: Any) -> None:
    bench.publish(keys=(bench.key("noisy", requests_per_minute=3), bench.key("quiet")))
    seen = [ask(bench, "noisy") for _ in range(10)]
    assert [answer.status_code for answer in seen] == [200] * 3 + [429] * 7
    assert bench.a.counts.requests == 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in seen[:4]] == ["2", "1", "0", "0"]
    assert seen[3].json()["error"] == {
        "message": "the key may make 3 requests a minute",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limited",
    }
    assert 1 <= int(seen[3].headers["retry-after"]) <= 120
    quiet = ask(bench, "quiet")
    assert quiet.status_code == 200
    assert not [name for name in quiet.headers if name.startswith("x-ratelimit")]
    assert len(bench.records(4)) == 4, "what is refused is not logged: a flood cannot fill the log"
    with openai.OpenAI(base_url=bench.url + "/v1", api_key="noisy", max_retries=0) as ai, pytest.raises(openai.RateLimitError):
        ai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])


def test_refusals_are_counted_in_metrics(bench: Any) -> None:
    bench.publish(keys=(bench.key("noisy", requests_per_minute=1), bench.key("m", "metrics")))
    for _ in range(3):
        assert ask(bench, "noisy").status_code in (200, 429)
    until(lambda: "tunekeeper_rate_limited_total 2" in bench.get("/metrics", "m").text)


def test_feedback_and_embeddings_count_as_requests_and_looking_does_not(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", "infer", "feedback", requests_per_minute=2),))
    assert all(bench.get("/v1/models", "k").status_code == 200 for _ in range(4))
    head = {"authorization": "Bearer k"}
    sent = {"request_id": bench.gateway.new_request_id(), "kind": "thumb", "value": "up"}
    assert bench.http.post(bench.url + "/v1/feedback", json=sent, headers=head).status_code == 202
    assert bench.http.post(bench.url + "/v1/embeddings", json={"model": MODEL, "input": "x"}, headers=head).status_code == 200
    assert bench.http.post(bench.url + "/v1/feedback", json=sent, headers=head).status_code == 429


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_charged_when_the_answer_ends(bench: Any, stream: bool) -> None:
    bench.publish(keys=(bench.key("k", tokens_per_minute=1),))
    first = ask(bench, "k", stream=stream)
    assert first.status_code == 200
    record = bench.record(first)
    assert tokens(bench, "k") == record["prompt_tokens"] + record["completion_tokens"] > 0
    assert used(bench, "k").running == 0
    assert ask(bench, "k").json()["error"]["code"] == "rate_limited"


def test_a_budget_is_charged_what_the_record_says_and_then_refuses(bench: Any) -> None:
    price = {"price_in": 1000.0, "price_out": 1000.0}
    bench.publish(keys=(bench.key("k", budget_usd=0.01), bench.key("free")), slot=price)
    answers = [ask(bench, "k")]
    while answers[-1].status_code == 200 and len(answers) < 30:
        answers.append(ask(bench, "k"))
    cost = sum(bench.record(answer)["cost_usd"] for answer in answers[:-1])
    assert cost >= 0.01 > cost - bench.record(answers[-2])["cost_usd"]
    assert answers[-1].json()["error"]["code"] == "budget_exceeded"
    month = 31 * 86_400
    assert 1 <= int(answers[-1].headers["retry-after"]) <= month
    assert used(bench, "k").spent == round(cost * 1e9)
    assert ask(bench, "free").status_code == 200


def test_requests_under_way_are_bounded_and_given_back_however_they_end(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", concurrent=1),))
    bench.a.default = "drip:0.05"
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "word " * 200}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(head + body)
        heard = b""
        while heard.count(b"data:") < 3:
            heard += sock.recv(65536)
        second = ask(bench, "k")
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    until(lambda: used(bench, "k").running == 0)
    assert tokens(bench, "k") >= 2, "leaving before the count is known is not free"
    bench.a.default = "500"
    assert ask(bench, "k").status_code == 502
    assert [ask(bench, "k", model="nothing").status_code for _ in range(3)] == [404] * 3, "what never began is given back"
    bench.a.default = "ok"
    assert ask(bench, "k").status_code == 200
    assert used(bench, "k").running == 0


def test_keys_without_limits_open_no_counters(bench: Any) -> None:
    bench.publish(keys=(bench.key("free"),))
    assert ask(bench, "free").status_code == 200
    assert not (bench.root / FOLDER).exists()


def test_where_limits_cannot_be_counted_only_limited_keys_are_refused_until_they_can(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", requests_per_minute=5), bench.key("free")))
    (bench.root / FOLDER).mkdir()
    path = bench.root / FOLDER / FILE
    path.write_bytes(b"something else")
    refused = ask(bench, "k")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "limits_unavailable")
    assert ask(bench, "free").status_code == 200
    path.unlink()
    assert ask(bench, "k").status_code == 200


def test_two_workers_keep_one_limit_together(tmp_path: Path) -> None:
    for name in ("run", "routes"):
        (tmp_path / name).mkdir()
    clock = ManualClock()
    slots = [WorkerSlot(tmp_path, name) for name in ("w1", "w2")]
    meters = [Meter(tmp_path, name, clock) for name in ("w1", "w2")]
    key = ApiKey(id="key_a", hash="h", requests_per_minute=10)
    for meter in meters:
        meter.obey((key, dataclasses.replace(key, id="key_free", requests_per_minute=None)))
        assert set(meter.keys) == {"key_a"}
    outcomes = [meters[number % 2].admit("key_a", infers=True) is None for number in range(30)]
    assert outcomes == [True] * 10 + [False] * 20
    refused = meters[0].admit("key_a", infers=True)
    assert refused is not None
    clock.advance(float(refused[0].retry_after or 0))
    assert meters[1].admit("key_a", infers=True) is None, "who waits as told is let through, by any worker"
    for held in (*meters, *slots):
        held.close()


def test_many_threads_at_once_never_get_more_than_the_limit(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", requests_per_minute=20),))
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.extend(ask(bench, "k").status_code for _ in range(8))) for _ in range(6)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    freed = 1 + 20 * (time.monotonic() - began) / 60
    assert 20 <= statuses.count(200) <= 20 + freed
    assert statuses.count(200) + statuses.count(429) == 48


def test_obeying_other_keys_forgets_the_old_ones(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", requests_per_minute=1, expires=datetime.fromisoformat("2100-01-01T00:00:00+00:00")),))
    assert [ask(bench, "k").status_code for _ in range(2)] == [200, 429]
    bench.publish(keys=(bench.key("k"),))
    assert ask(bench, "k").status_code == 200
    assert isinstance(bench.gateway.obeyed(), Obeyed)


def flood(bench: Any, key: str, count: int, **body: Any) -> list[int]:
    """The statuses of requests that all are under way before the first is answered."""
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(ask(bench, key, **body).status_code)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def test_many_at_once_use_no_more_tokens_than_a_minute_has(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", tokens_per_minute=400),))
    bench.a.delay = 0.2
    seen = flood(bench, "k", 24, text="word " * 10, max_tokens=40)
    assert set(seen) == {200, 429}
    assert 0 < tokens(bench, "k") <= 400
    bench.a.delay = 0.0
    more = [ask(bench, "k", text="word " * 10, max_tokens=40) for _ in range(30)]
    assert more[-1].json()["error"]["code"] == "rate_limited"
    assert int(more[-1].headers["retry-after"]) >= 1
    assert 250 < tokens(bench, "k") <= 400, "what was held too much is given back"
    assert (used(bench, "k").held_tokens, used(bench, "k").running) == (0, 0)


def test_many_at_once_cost_no_more_than_the_budget(bench: Any) -> None:
    price = {"price_in": 1000.0, "price_out": 1000.0}
    bench.publish(keys=(bench.key("k", budget_usd=0.5),), slot=price)
    bench.a.delay = 0.2
    seen = flood(bench, "k", 24, text="word " * 10, max_tokens=40)
    assert set(seen) == {200, 429}
    assert 0 < used(bench, "k").spent <= 500_000_000
    assert used(bench, "k").held_spent == 0
    refused = ask(bench, "k", text="word " * 10, max_tokens=1_000_000)
    assert refused.status_code in (200, 429), "what no limit could ever hold is let through alone"


def test_without_a_bound_one_goes_at_a_time_where_the_limit_is_small_and_what_fails_holds_nothing(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", tokens_per_minute=100),))
    bench.a.delay = 0.2
    seen = flood(bench, "k", 8)
    assert seen.count(200) == 1
    bench.a.delay, bench.a.default = 0.0, "500"
    assert ask(bench, "k").status_code == 502
    assert ask(bench, "k", model="nothing").status_code == 404
    assert used(bench, "k").held_tokens == 0


def test_a_request_that_is_refused_for_its_tokens_counts_as_none(bench: Any) -> None:
    bench.publish(keys=(bench.key("k", requests_per_minute=50, tokens_per_minute=200),))
    assert ask(bench, "k", max_tokens=1).status_code == 200
    while tokens(bench, "k") < 40:
        assert ask(bench, "k", max_tokens=1).status_code == 200
    before = used(bench, "k").requests + used(bench, "k").last_requests
    assert ask(bench, "k", max_tokens=150).json()["error"]["code"] == "rate_limited"
    assert used(bench, "k").requests + used(bench, "k").last_requests == before


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, None),
        ({"max_tokens": b"7"}, 7),
        ({"max_tokens": b"7", "max_completion_tokens": b"9"}, 9),
        ({"max_tokens": b"7", "n": b"3"}, 21),
        ({"max_tokens": b"null"}, None),
        ({"max_tokens": b"-1"}, None),
        ({"max_tokens": b"1e9"}, None),
        ({"max_tokens": b"999999999", "n": b"99"}, 1_000_000),
        ({"max_tokens": b"9999999999"}, None),
    ],
)
def test_the_bound_of_a_request_is_what_it_says(fields: dict[str, bytes], bound: int | None) -> None:
    assert bound_of({name: msgspec.Raw(value) for name, value in fields.items()}) == bound
