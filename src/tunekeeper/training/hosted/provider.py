"""What a provider of training is to us: five verbs, and its terms as data. One file a provider implements them.

Each verb may be called again after a death at any moment: what was uploaded or begun under a name is found under that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tunekeeper.core.errors import ConfigError
from tunekeeper.training.recipe import Recipe
from tunekeeper.training.rows import Row, question, weight_of

MACHINE = ("threads", "dtype", "accumulation", "checkpointing", "packing")
"""Recipe values that say how our machine works the same result out; a provider sees to that itself."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
"""States in which nothing goes on any more, and nothing costs; what a provider calls otherwise goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a provider takes and gives."""

    endpoint: str
    """Its API."""
    serves: str | None
    """Where a tuned model answers; None: it comes home instead."""
    api_key_env: str
    """Variable that usually holds the key."""
    takes: frozenset[str]
    """Recipe values that it can be told."""
    objectives: tuple[str, ...]
    """Of sft and dpo, what it can learn."""
    defaults: Mapping[str, Any]
    """What it uses for values of the recipe that were left at our defaults."""
    roles: tuple[str, ...] = ("system", "user", "assistant", "tool")
    """Roles a message may have."""
    least_rows: int = 1
    """Fewest rows."""
    least_held: int = 1
    """Fewest held-out rows; with fewer none are sent."""
    most_rows: int | None = None
    """Most rows."""
    most_bytes: int = 512 << 20
    """Largest file."""
    suffix: int = 40
    """Longest suffix of a model name."""
    tells_price: bool = False
    """Whether it says what a job will cost before it costs anything."""
    warnings: tuple[str, ...] = ()
    """What is weaker than a run at home, one sentence each."""

    @property
    def comes_home(self) -> bool:
        """Whether the adapter is handed out."""
        return self.serves is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A job to begin at a provider."""

    model: str
    """The base, by its name there."""
    objective: str
    """sft or dpo."""
    hyperparameters: dict[str, Any]
    """As the provider names them, see `hyperparameters`."""
    train: str
    """Id of the uploaded rows."""
    held: str | None
    """Id of the uploaded held-out rows."""
    seed: int
    """Seed, where it takes one."""
    key: str
    """Our name of this work: 16 characters that no other work has."""
    suffix: str
    """For the name of the tuned model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """A provider's job as it stands."""

    state: State
    """Where it stands, in our words."""
    said: str
    """In the provider's."""
    fraction: float | None = None
    """How far it is, 0 to 1."""
    why: str | None = None
    """Why it failed."""
    model: str | None = None
    """Name of the tuned model, once it is done."""
    event: str | None = None
    """Its newest event."""
    loss: tuple[float, ...] = ()
    """Training loss, first to last, as far as it tells."""
    held: tuple[float, ...] = ()
    """Loss on the held-out rows."""
    eta_seconds: float | None = None
    """Seconds that are left."""
    tokens: int | None = None
    """Tokens that were billed."""
    cost_usd: float | None = None
    """What it says this costs."""


class Provider(Protocol):
    """Trains elsewhere."""

    def upload(self, file: Path, name: str) -> str:
        """Id of `file` there, usable now: found again under `name`, else sent and waited for."""

    def find(self, key: str) -> str | None:
        """Id of the job that was begun under our name `key`; None where there is none."""

    def begin(self, order: Order) -> str:
        """Id of the job of `order`: found again by its key, else begun."""

    def look(self, id: str) -> Remote:
        """How a job stands."""

    def cancel(self, id: str) -> None:
        """End a job; one that has ended stays as it is."""


class Home(Provider, Protocol):
    """A provider that hands out the adapter."""

    def fetch(self, id: str, archive: Path, most: int) -> None:
        """Write the adapter of a finished job to `archive`."""


@dataclass(frozen=True, slots=True)
class Values:
    """The recipe as a provider may be told it: what was left at our default is what the provider does by default."""

    recipe: Recipe
    """What was asked."""
    plain: Recipe
    """The product's defaults."""
    terms: Terms
    """What the provider does."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Values that only a provider has."""

    def of(self, name: str) -> Any:
        """The value to send."""
        value = getattr(self.recipe, name)
        return self.terms.defaults[name] if name in self.terms.defaults and value == getattr(self.plain, name) else value

    def check(self, provider: str) -> None:
        """Raise ConfigError for the first value that the provider cannot be told."""
        if self.recipe.objective not in self.terms.objectives:
            raise ConfigError(
                f"training.objective: {provider} learns {' and '.join(self.terms.objectives)}, not {self.recipe.objective}",
                fix="set training.backend to one that does, e.g. openai, together or local",
            )
        for name, value in self.recipe.as_json().items():
            if name in (*MACHINE, *self.terms.takes, "objective") or value == self.plain.as_json()[name]:
                continue
            raise ConfigError(
                f"recipe: {provider} cannot be told {name} ({value!r})",
                fix=f"leave {name} out, or train with `backend: local`",
            )


def chat_line(row: Row, terms: Terms, *, weights: bool = True) -> dict[str, Any]:
    """A row as OpenAI's chat line: messages, tools, and `weight` 0 on answers that are not to be learned. Raises ConfigError for
    what the provider has no place for."""
    messages = [_message(message, row, terms, weights) for message in row.messages]
    return {"messages": messages} | ({"tools": list(row.tools)} if row.tools else {})


def preference_line(row: Row, terms: Terms) -> dict[str, Any]:
    """A row as a preference line: what was asked, the preferred answer and the other one; OpenAI and Together read it."""
    asked = [_message(message, row, terms, False) for message in question(row)]
    preferred = _message(row.messages[-1], row, terms, False)
    return {
        "input": {"messages": asked} | ({"tools": list(row.tools)} if row.tools else {}),
        "preferred_output": [preferred],
        "non_preferred_output": [row.other.messages[-1]],
    }


def _message(message: dict[str, Any], row: Row, terms: Terms, weights: bool) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name in ("role", "content", "name", "tool_calls", "tool_call_id")}
    if kept["role"] == "developer":
        kept["role"] = "system"
    if kept["role"] not in terms.roles:
        raise ConfigError(f"row {row.id}: no place for a message of role {kept['role']!r}", fix="train with `backend: local`")
    weight = weight_of(message)
    if message["role"] != "assistant" or weight == 1:
        return kept
    if weight != 0 or not weights:
        raise ConfigError(f"row {row.id}: no place for an answer of weight {weight:g}", fix="train with `backend: local`")
    return {**kept, "weight": 0}
