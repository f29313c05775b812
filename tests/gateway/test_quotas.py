"""Limits as decisions: how much is let through, and when the rest may come again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.quotas import NANO, Used, headers_of, held_for, limited, moment, overrun, refusal_of, starts, wait

NOON = datetime(2026, 2, 27, 12, tzinfo=UTC)
NOW = moment(90.0, NOON)


def key(**limits: object) -> ApiKey:
    return ApiKey(id="key_1", hash="h", **limits)  # type: ignore[arg-type]


def admitted_in(asks: list[float], limit: int) -> list[float]:
    """Which of the asks (seconds) are let through by the two buckets."""
    counts: dict[int, int] = {}
    passed = []
    for at in asks:
        now = moment(at, NOON)
        if wait(counts.get(now.minute - 1, 0), counts.get(now.minute, 0), now.share, limit) == 0:
            counts[now.minute] = counts.get(now.minute, 0) + 1
            passed.append(at)
    return passed


def test_a_key_without_limits_is_not_limited() -> None:
    assert not limited(key(scopes=("infer",), models=("m",)))
    for name in ("requests_per_minute", "tokens_per_minute", "concurrent", "budget_usd"):
        assert limited(key(**{name: 1}))


def test_a_flood_gets_the_limit_a_minute_and_never_twice_that_around_the_turn_of_one() -> None:
    seed = 5
    rng = random.Random(seed)
    asks = sorted(rng.uniform(0, 1200) for _ in range(20_000))
    passed = admitted_in(asks, 60)
    assert 0.9 * 60 * 20 <= len(passed) <= 60 * 20, seed
    for start in range(0, 1140, 7):
        assert sum(start <= at < start + 60 for at in passed) <= 66, "an evenly spread last minute is assumed: within a tenth"


def test_asks_below_the_limit_all_pass() -> None:
    asks = [n * 2.0 for n in range(300)]
    assert admitted_in(asks, 31) == asks


def test_who_waits_as_long_as_told_is_let_through_and_not_much_sooner() -> None:
    seed = 11
    rng = random.Random(seed)
    for _ in range(2000):
        limit = rng.randint(1, 50)
        last, current, at = rng.randint(0, 80), rng.randint(0, 80), rng.uniform(60, 120)
        seconds = wait(last, current, at / 60 - 1, limit)
        if seconds == 0:
            assert last * (2 - at / 60) + current + 1 <= limit + 1e-6
            continue
        for offset, free in ((1e-6, True), (-0.01, False)):
            then = moment(at + seconds + offset, NOON)
            counts = {0: last, 1: current}
            again = wait(counts.get(then.minute - 1, 0), counts.get(then.minute, 0), then.share, limit)
            assert (again == 0) is free, (seed, limit, last, current, at, seconds)


@pytest.mark.parametrize(
    ("limits", "used", "code"),
    [
        ({"requests_per_minute": 3}, Used(requests=3), "rate_limited"),
        ({"requests_per_minute": 3}, Used(requests=2), None),
        ({"tokens_per_minute": 100}, Used(tokens=100), "rate_limited"),
        ({"tokens_per_minute": 100}, Used(tokens=99), None),
        ({"concurrent": 2}, Used(running=2), "rate_limited"),
        ({"concurrent": 2}, Used(running=1), None),
        ({"budget_usd": 0.5}, Used(spent=NANO // 2), "budget_exceeded"),
        ({"budget_usd": 0.5}, Used(spent=NANO // 2 - 1), None),
        ({"budget_usd": 0.5, "requests_per_minute": 1}, Used(spent=NANO, requests=9), "budget_exceeded"),
    ],
)
def test_each_limit_refuses_from_its_number_on(limits: dict[str, float], used: Used, code: str | None) -> None:
    refusal = refusal_of(key(**limits), used, NOW, infers=True)
    assert (refusal.code if refusal else None) == code
    assert refusal is None or (refusal.status == 429 and int(refusal.retry_after or "0") >= 1)


def test_feedback_counts_as_a_request_and_as_nothing_else() -> None:
    bounded = key(tokens_per_minute=1, concurrent=1, budget_usd=1.0)
    assert refusal_of(bounded, Used(tokens=9, running=9, spent=9 * NANO), NOW, infers=False) is None
    assert refusal_of(key(requests_per_minute=1), Used(requests=1), NOW, infers=False) is not None


def test_the_longest_wait_is_told() -> None:
    refusal = refusal_of(key(requests_per_minute=10, concurrent=1), Used(requests=10, running=1), NOW, infers=True)
    assert refusal is not None
    assert refusal.retry_after == str(30 + 6), "this minute's rest, and the tenth of the next one that frees one place"


def test_a_budget_comes_back_with_its_calendar_period() -> None:
    for period, seconds in (("day", 12 * 3600), ("month", 36 * 3600)):
        refusal = refusal_of(key(budget_usd=1.0, budget_period=period), Used(spent=NANO), NOW, infers=True)
        assert refusal is not None
        assert refusal.retry_after == str(seconds)
    assert starts("month", datetime(2026, 12, 31, 23, tzinfo=UTC))[1] == datetime(2027, 1, 1, tzinfo=UTC)


def test_no_day_has_the_number_of_a_month() -> None:
    moments = [moment(0.0, NOON + timedelta(days=n)) for n in range(800)]
    assert not {m.period("day") for m in moments} & {m.period("month") for m in moments}
    assert len({m.period("day") for m in moments}) == 800


def test_headers_say_what_is_left_in_the_words_of_openai() -> None:
    said = headers_of(key(requests_per_minute=10, tokens_per_minute=1000), Used(requests=4, last_tokens=600), NOW).decode()
    lines = dict(line.split(": ") for line in said.strip().split("\r\n"))
    assert lines == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "6",
        "x-ratelimit-reset-requests": "90s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "700",
        "x-ratelimit-reset-tokens": "30s",
    }
    assert headers_of(key(budget_usd=1.0), Used(), NOW) == b""


def test_what_is_held_by_others_decides_whether_one_more_fits() -> None:
    held = held_for(key(tokens_per_minute=100), 10, 30, bounded=True, price_in=0.0, price_out=0.0)
    assert (held.tokens, held.bounded) == (40, True)
    limited_key = key(tokens_per_minute=100)
    assert overrun(limited_key, Used(held_tokens=60), held, NOW) is None
    refused = overrun(limited_key, Used(held_tokens=61), held, NOW)
    assert refused is not None
    assert (refused.code, refused.retry_after) == ("rate_limited", "1"), "the others' answers give some back"
    assert overrun(limited_key, Used(tokens=61), held, NOW) is not None
    assert overrun(key(requests_per_minute=1), Used(held_tokens=9**9, held_spent=9**9), held, NOW) is None


def test_what_is_no_bound_is_let_through_alone_and_never_beside_others() -> None:
    large = held_for(key(tokens_per_minute=100), 10, 500, bounded=True, price_in=0.0, price_out=0.0)
    assert (large.tokens, large.bounded) == (100, False)
    assert overrun(key(tokens_per_minute=100), Used(tokens=99), large, NOW) is None
    assert overrun(key(tokens_per_minute=100), Used(held_tokens=1), large, NOW) is not None


def test_a_budget_holds_what_the_answer_may_cost() -> None:
    limited_key = key(budget_usd=1.0)
    held = held_for(limited_key, 100_000, 100_000, bounded=True, price_in=1.0, price_out=4.0)
    assert held.spent == NANO // 2 + 1
    assert overrun(limited_key, Used(spent=NANO // 4), held, NOW) is None
    beside = overrun(limited_key, Used(spent=NANO // 4, held_spent=NANO // 2), held, NOW)
    assert beside is not None
    assert (beside.code, beside.retry_after) == ("budget_exceeded", "1")
    spent = overrun(limited_key, Used(spent=NANO * 3 // 4), held, NOW)
    assert spent is not None
    assert int(spent.retry_after or 0) > 86_400, "nobody gives that back before the period ends"
