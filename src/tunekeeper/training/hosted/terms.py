"""The providers by name: their terms, how they take a recipe, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunekeeper.training.hosted import fireworks, mistral, openai, together
from tunekeeper.training.hosted.provider import Provider, Terms, Values, chat_line, preference_line
from tunekeeper.training.hosted.wire import Wire
from tunekeeper.training.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One provider."""

    terms: Terms
    """What it takes and gives."""
    hyperparameters: Callable[[Values], dict[str, Any]]
    """A recipe in its words."""
    make: Callable[[Wire, str, float | None], Provider]
    """From the wire, the account, and the most a run may cost."""


KNOWN = {
    "openai": Known(
        terms=openai.TERMS, hyperparameters=openai.hyperparameters, make=lambda wire, account, most_usd: openai.OpenAI(wire)
    ),
    "together": Known(
        terms=together.TERMS,
        hyperparameters=together.hyperparameters,
        make=lambda wire, account, most_usd: together.Together(wire, most_usd),
    ),
    "mistral": Known(
        terms=mistral.TERMS,
        hyperparameters=mistral.hyperparameters,
        make=lambda wire, account, most_usd: mistral.Mistral(wire, most_usd),
    ),
    "fireworks": Known(
        terms=fireworks.TERMS,
        hyperparameters=fireworks.hyperparameters,
        make=lambda wire, account, most_usd: fireworks.Fireworks(wire, account),
    ),
}


def line(row: Row, objective: str, terms: Terms) -> dict[str, Any]:
    """A row as the provider's file has it."""
    return preference_line(row, terms) if objective == "dpo" else chat_line(row, terms)
