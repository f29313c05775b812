"""OpenAI's dialect of training: /files and /fine_tuning/jobs. The result is the name of a model that OpenAI serves.

https://platform.openai.com/docs/api-reference/fine-tuning and /files; limits: /docs/guides/supervised-fine-tuning, which asks for
ten rows at least and files of at most 512 MB; preferences: /docs/guides/direct-preference-optimization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tunekeeper.core.errors import ConfigError, DataError, UserError
from tunekeeper.training.hosted.provider import ENDED, Order, Remote, State, Terms, Values
from tunekeeper.training.hosted.wire import Unanswered, Wire, id_of

MARK = "tunekeeper"
"""Key of the job's metadata that holds our name of the work."""
TERMS = Terms(
    endpoint="https://api.openai.com/v1",
    serves="https://api.openai.com/v1",
    api_key_env="OPENAI_API_KEY",
    takes=frozenset({"epochs", "batch", "seed", "beta", "learning_rate"}),
    objectives=("sft", "dpo"),
    defaults={"batch": "auto", "beta": "auto"},
    least_rows=10,
    suffix=64,
    warnings=(
        "the model stays at OpenAI: without an adapter parity with training cannot be checked, the exam alone judges it",
        "OpenAI begins no new training after 2027-01-06, and a tuned model ends with its base",
    ),
)
STATES: dict[str, State] = {
    "validating_files": "waiting",
    "queued": "waiting",
    "paused": "waiting",
    "running": "running",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


def hyperparameters(values: Values) -> dict[str, Any]:
    """`method` of a job. OpenAI has a learning rate of its own, which can only be multiplied."""
    dpo = values.recipe.objective == "dpo"
    found = {"n_epochs": values.recipe.epochs, "batch_size": values.of("batch")} | ({"beta": values.of("beta")} if dpo else {})
    found["learning_rate_multiplier"] = values.extra.get("learning_rate_multiplier") or "auto"
    if values.recipe.learning_rate != values.plain.learning_rate:
        raise ConfigError(
            "recipe: openai cannot be told learning_rate, only how many times its own",
            fix="leave learning_rate out and set backend_options.learning_rate_multiplier",
        )
    kind = "dpo" if dpo else "supervised"
    return {"type": kind, kind: {"hyperparameters": found}}


@dataclass(frozen=True, slots=True)
class OpenAI:
    """Trains at OpenAI, or at whoever speaks its dialect."""

    wire: Wire

    def upload(self, file: Path, name: str) -> str:
        """As of `Provider`. Raises DataError when OpenAI finds the file faulty."""
        id = self.wire.patiently(lambda: self._found(name, file.stat().st_size) or self._sent(file, name))
        return self.wire.patiently(lambda: self._processed(id, name))

    def begin(self, order: Order) -> str:
        """As of `Provider`: the key stands in the job's metadata."""
        body = {
            "model": order.model,
            "training_file": order.train,
            **({"validation_file": order.held} if order.held else {}),
            "suffix": order.suffix,
            "seed": order.seed,
            "metadata": {MARK: order.key},
            "method": order.hyperparameters,
        }
        return self.wire.patiently(lambda: self._marked(order.key) or id_of(self.wire.once("POST", "/fine_tuning/jobs", body)))

    def find(self, key: str) -> str | None:
        """As of `Provider`."""
        return self.wire.patiently(lambda: self._marked(key))

    def look(self, id: str) -> Remote:
        """As of `Provider`."""
        job = self.wire.get(f"/fine_tuning/jobs/{quote(id)}")
        said = str(job.get("status"))
        state = STATES.get(said, "waiting")
        events = self.wire.patiently(lambda: self._events(id, every=state in ENDED))
        steps = [e["data"] for e in reversed(events) if e.get("type") == "metrics" and isinstance(e.get("data"), dict)]
        last = steps[-1] if steps else {}
        total = last.get("total_steps")
        why = job.get("error") if isinstance(job.get("error"), dict) else {}
        return Remote(
            state=state,
            said=said,
            fraction=last["step"] / total if total and "step" in last else None,
            why=(why or {}).get("message"),
            model=job.get("fine_tuned_model"),
            event=events[0].get("message") if events else None,
            loss=_numbers(steps, "train_loss"),
            held=_numbers(steps, "full_valid_loss"),
            tokens=job.get("trained_tokens"),
        )

    def cancel(self, id: str) -> None:
        """As of `Provider`."""
        path = f"/fine_tuning/jobs/{quote(id)}"
        reply = self.wire.send("POST", f"{path}/cancel")
        if reply.status >= 400 and STATES.get(str(self.wire.once("GET", path).get("status"))) not in ENDED:
            raise UserError(f"{self.wire.name} does not cancel {id}: {reply.words}")

    def _processed(self, id: str, name: str) -> str:
        told = self.wire.once("GET", f"/files/{quote(id)}")
        if told.get("status") == "error":
            raise DataError(f"{self.wire.name} cannot use {name}: {told.get('status_details') or 'no reason given'}")
        if told.get("status") == "uploaded":
            raise Unanswered(f"{self.wire.name} is still processing {name}")
        return id

    def _events(self, id: str, *, every: bool) -> list[dict[str, Any]]:
        """Events of a job, newest first: while it runs only the newest hundred, each time it is looked at."""
        pages = self._pages(f"/fine_tuning/jobs/{quote(id)}/events", limit=100)
        return list(pages if every else islice(pages, 100))

    def _found(self, name: str, size: int) -> str | None:
        """An upload under this name that came whole, of a death before it was written down."""
        for file in self._pages("/files", purpose="fine-tune", limit=1000):
            if (file.get("filename"), file.get("bytes")) == (name, size) and file.get("status") != "error":
                return id_of(file)
        return None

    def _sent(self, file: Path, name: str) -> str:
        reply = self.wire.send_file("/files", file, name, {"purpose": "fine-tune"})
        if reply.status != 200:
            raise DataError(f"{self.wire.name} does not take {name}: status {reply.status}: {reply.words}")
        return id_of(reply.value)

    def _marked(self, key: str) -> str | None:
        for job in self._pages("/fine_tuning/jobs", limit=100, **{f"metadata[{MARK}]": key}):
            if (job.get("metadata") or {}).get(MARK) == key:
                return id_of(job)
        return None

    def _pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, newest first, page by page."""
        while True:
            page = self.wire.once("GET", f"{path}?{urlencode(query)}")
            items = page.get("data") or []
            yield from items
            if not page.get("has_more") or not items:
                return
            query["after"] = items[-1]["id"]


def _numbers(steps: list[dict[str, Any]], name: str) -> tuple[float, ...]:
    return tuple(float(step[name]) for step in steps if isinstance(step.get(name), int | float))
