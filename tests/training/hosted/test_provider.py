"""Rows and recipe values on their way to a provider."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.training.backends import PLAIN
from tunekeeper.training.config import Config
from tunekeeper.training.hosted.provider import Values, chat_line, preference_line
from tunekeeper.training.hosted.terms import KNOWN
from tunekeeper.training.recipe import resolve
from tunekeeper.training.rows import Row

TERMS = KNOWN["openai"].terms
ASKED: tuple[dict[str, Any], ...] = ({"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Why?"})


def row(*messages: dict[str, Any], **more: Any) -> Row:
    return Row(id="r1", messages=(*ASKED, *messages), **more)


def test_a_chat_line_keeps_what_a_provider_reads_and_nothing_of_ours() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "look"}}
    messages = (
        {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
        {"role": "tool", "tool_call_id": "c1", "content": "42", "source": "ours"},
        {"role": "assistant", "content": "42.", "weight": 1},
    )
    assert chat_line(row(*messages, tools=(tool,)), TERMS) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "assistant", "content": "42."},
        ],
        "tools": [tool],
    }


def test_a_preference_line_has_the_answer_and_the_other_one() -> None:
    line = preference_line(row({"role": "assistant", "content": "So."}, rejected="Dunno."), TERMS)
    assert line["input"]["messages"][-1] == {"role": "user", "content": "Why?"}
    assert line["preferred_output"] == [{"role": "assistant", "content": "So."}]
    assert line["non_preferred_output"] == [{"role": "assistant", "content": "Dunno."}]


def test_a_weight_between_nothing_and_all_has_no_place() -> None:
    with pytest.raises(ConfigError, match=r"row r1: no place for an answer of weight 0\.5"):
        chat_line(row({"role": "assistant", "content": "So.", "weight": 0.5}), TERMS)


@pytest.mark.parametrize("provider", KNOWN)
def test_what_was_left_at_our_default_is_the_providers_own_and_what_was_chosen_is_sent(provider: str) -> None:
    terms = KNOWN[provider].terms
    plain = Values(recipe=PLAIN, plain=PLAIN, terms=terms)
    plain.check(provider)
    for name, own in terms.defaults.items():
        assert plain.of(name) == own
    for name in terms.takes & {"batch"}:
        chosen = Values(recipe=resolve(Config(batch=4)), plain=PLAIN, terms=terms)
        assert chosen.of(name) == 4


@pytest.mark.parametrize("provider", KNOWN)
def test_how_our_machine_works_it_out_is_no_business_of_a_provider(provider: str) -> None:
    recipe = resolve(Config(threads=2, dtype="float32", accumulation=2, checkpointing=True))
    Values(recipe=recipe, plain=PLAIN, terms=KNOWN[provider].terms).check(provider)
