"""T52: no text, no pattern and no schema makes a check or the redaction before the log stand still; what is not checked fails."""

from __future__ import annotations

import concurrent.futures
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.rig import say, within
from tests.outside.conftest import Gateway, Upstream, call, gateways, upstreams, write_yaml
from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.bodies import LOOKED_THROUGH
from tunekeeper.scoring import formats
from tunekeeper.text.redaction import UNREAD, Redactor

__all__ = ["gateways", "upstreams"]
NASTY = ("a@", "4 ", "DE12 ", "+49 30 1234567 ", "call 1234567 ", "sk-", "1.2.3.4 ", "eyJaaaaaaaaa.", "password=", "(at)", "::1 ")


def doubled(n: int, last: Any) -> dict[str, Any]:
    """A schema of 2^n steps: every part names the next one twice."""
    parts = {f"x{i}": {"anyOf": [{"$ref": f"#/$defs/x{i + 1}"}] * 2} for i in range(n)}
    return {"$ref": "#/$defs/x0", "$defs": parts | {f"x{n}": last}}


def deep(n: int) -> dict[str, Any]:
    """`allOf` in `allOf`."""
    made: dict[str, Any] = {}
    for _ in range(n):
        made = {"allOf": [made]}
    return made


BOMBS = {
    "loop": {"$ref": "#"},
    "loop of two": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "not itself": {"not": {"$ref": "#"}},
    "either of itself": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "doubled": doubled(25, False),
    "deep": deep(2000),
    "wide": {"allOf": [{}] * 50_000},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_schema_that_never_ends_is_given_up_and_counts_as_failed(name: str) -> None:
    spec = {"kind": "schema", "schema": BOMBS[name]}
    formats.validate(spec)
    begin = time.process_time()
    passed, why = formats.check("{}", spec)
    seconds = time.process_time() - begin
    say("t52-schema", bomb=name, seconds=round(seconds, 4))
    assert not passed
    assert "too many steps" in why or "levels and references deep" in why or "fits none" in why
    assert within(seconds, 5), "ten times what it takes on a slow machine"


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+$b", "(.*a){20}b", "^(([a-z])+.)+[A-Z]([a-z])+$b"])
def test_patterns_that_explode_elsewhere_take_a_time_that_grows_with_the_text(pattern: str) -> None:
    spec = {"kind": "regex", "pattern": pattern}
    formats.validate(spec)
    formats.check("a", spec)

    def seconds(n: int) -> float:
        begin = time.thread_time()
        assert formats.check("a" * n, spec)[0] is False
        return time.thread_time() - begin

    least = {n: min(seconds(n) for _ in range(5)) for n in (40_000, 400_000)}  # whatever else a machine does only adds
    assert least[400_000] < 30 * least[40_000] + 0.5


@pytest.mark.parametrize("pattern", ["(x{1000}){1000}", r"(a)\1", "a(?=b)", "(?<!a)b"])
def test_a_pattern_that_is_not_linear_is_refused_before_anything_is_checked(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        formats.validate({"kind": "regex", "pattern": pattern})


@pytest.mark.parametrize("piece", NASTY)
def test_the_log_looks_through_so_much_of_a_text_and_keeps_nothing_of_the_rest(piece: str) -> None:
    redactor, text = Redactor(most=LOOKED_THROUGH), piece * (4_000_000 // len(piece))
    begin = time.process_time()
    clean, counts = redactor.redact(f"{text} ana@example.com")
    seconds = time.process_time() - begin
    say("t52-redaction", piece=piece.strip(), mb=4, seconds=round(seconds, 3))
    assert "ana@" not in clean
    assert UNREAD in clean or counts["email"] == 1
    assert within(seconds, 4), "ten times what it takes"


def test_many_small_pieces_of_one_body_share_what_is_looked_through() -> None:
    body = {"messages": [{"role": "user", "content": "DE12 " * 2_000} for _ in range(300)]}
    clean, counts = Redactor(most=LOOKED_THROUGH).redact_json(body)
    assert counts["unread"] > 250
    assert [message["content"] for message in clean["messages"]].count(UNREAD) == counts["unread"]


def test_a_long_text_in_windows_gives_what_it_gives_whole() -> None:
    rng, redactor = random.Random(52), Redactor()
    values = (
        "ana@example.com",
        "4111 1111 1111 1111",
        "+49 30 1234567",
        "DE89 3704 0044 0532 0130 00",
        "sk-" + "a1" * 20,
        "10.0.0.1",
    )
    for _ in range(6):
        pieces = [
            f"{rng.choice(values)} ; " if rng.random() < 0.02 else "word " * rng.randint(1, 400)
            for _ in range(rng.randint(60, 200))
        ]
        text = "".join(pieces)
        alone = [redactor.redact(piece)[0] for piece in text.split("word ")]
        assert redactor.redact(text)[0] == "word ".join(alone)


def test_others_are_answered_as_before_while_such_texts_come(
    tmp_path_factory: pytest.TempPathFactory, gateways: Callable[..., Gateway], upstreams: Callable[..., Upstream]
) -> None:
    folder, upstream = tmp_path_factory.mktemp("t52"), upstreams("--answer", "fine")
    slots = {"blue": {"engine": "openai", "endpoint": f"{upstream.url}/v1", "model": "m"}}
    file = write_yaml(folder / "gateway.yaml", {"models": {"help": {"slots": slots, "route": {"blue": 10000}}}})
    gateway = gateways("--config", file, "--data", folder / "data", "--json")

    def nasty() -> None:
        for piece in NASTY[:5]:
            text = f"{piece * (500_000 // len(piece))} ana@example.com"
            assert gateway.ask("help", text).status_code == 200

    def seconds() -> float:
        begin = time.monotonic()
        assert gateway.ask("help").status_code == 200
        return time.monotonic() - begin

    calm = [seconds() for _ in range(5)]
    beset = []
    with concurrent.futures.ThreadPoolExecutor(1) as attacker:
        attack = attacker.submit(nasty)
        while not attack.done():
            beset.append(seconds())
        attack.result()
    middle = [round(1e3 * statistics.median(each), 1) for each in (calm, beset)]
    say("t52-gateway", calm_ms=middle[0], beset_ms=middle[1], worst_ms=round(1e3 * max(beset)), answered=len(beset))
    assert within(statistics.median(beset), 10 * statistics.median(calm) + 1)
    kept = call("log", "ls", "--data", folder / "data").out
    assert len(kept) > 300_000, "the log keeps the texts"
    assert "ana@" not in kept
    assert kept.count("[EMAIL]") + kept.count(UNREAD) >= 5


def test_a_long_body_of_nothing_but_numbers_costs_little_once_enough_was_looked_through() -> None:
    body = {"messages": [{"role": "user", "content": "4 4 4 4 4 4 4 4 4 4 4 4 4 4"} for _ in range(60_000)]}
    begin = time.process_time()
    clean, counts = Redactor(most=LOOKED_THROUGH).redact_json(body)
    seconds = time.process_time() - begin
    say("t52-numbers", seconds=round(seconds, 3))
    assert counts["unread"] == [message["content"] for message in clean["messages"]].count(UNREAD) > 55_000
    assert within(seconds, 6), "ten times what it takes"
