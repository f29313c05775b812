"""Mistral: /files and /fine_tuning/jobs with states in capitals; a job is validated and priced, then started.

https://docs.mistral.ai/api/endpoint/deprecated/fine-tuning (shapes as in its Python client 1.12; later ones leave it out) and
/capabilities/finetuning/text_vision_finetuning. Jobs carry no metadata: our name of the work stands in the suffix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.training.hosted.provider import ENDED, Order, Remote, State, Terms, Values
from tunekeeper.training.hosted.wire import Wire, id_of

PAGE = 100
TERMS = Terms(
    endpoint="https://api.mistral.ai/v1",
    serves="https://api.mistral.ai/v1",
    api_key_env="MISTRAL_API_KEY",
    takes=frozenset({"epochs", "learning_rate", "weight_decay", "max_tokens"}),
    objectives=("sft",),
    defaults={"learning_rate": 1e-4, "max_tokens": None},
    suffix=18,
    tells_price=True,
    warnings=(
        "the model stays at Mistral: without an adapter parity with training cannot be checked, the exam alone judges it",
        "Mistral's training API is deprecated, and each model kept there costs a monthly fee",
    ),
)
STATES: dict[str, State] = {
    "QUEUED": "waiting",
    "STARTED": "waiting",
    "VALIDATING": "waiting",
    "VALIDATED": "waiting",
    "RUNNING": "running",
    "CANCELLATION_REQUESTED": "running",
    "FAILED_VALIDATION": "failed",
    "FAILED": "failed",
    "SUCCESS": "done",
    "CANCELLED": "cancelled",
}


def hyperparameters(values: Values) -> dict[str, Any]:
    """`hyperparameters` of a job; the batch is Mistral's own."""
    longest = values.of("max_tokens")
    return {
        "epochs": values.recipe.epochs,
        "learning_rate": values.of("learning_rate"),
        "weight_decay": values.recipe.weight_decay,
        **({"seq_len": longest} if longest else {}),
    }


@dataclass(frozen=True, slots=True)
class Mistral:
    """Trains at Mistral."""

    wire: Wire
    most_usd: float | None = None

    def upload(self, file: Path, name: str) -> str:
        """As of `Provider`."""
        return self.wire.patiently(lambda: self._found(name, file.stat().st_size) or self._sent(file, name))

    def begin(self, order: Order) -> str:
        """As of `Provider`: begun unstarted, so that its price can be read before it costs anything; `look` starts it."""
        body = {
            "model": order.model,
            "training_files": [{"file_id": order.train, "weight": 1}],
            **({"validation_files": [order.held]} if order.held else {}),
            "suffix": order.key,
            "hyperparameters": order.hyperparameters,
            "auto_start": False,
        }
        return self.wire.patiently(lambda: self._marked(order.key) or id_of(self.wire.once("POST", "/fine_tuning/jobs", body)))

    def find(self, key: str) -> str | None:
        """As of `Provider`."""
        return self.wire.patiently(lambda: self._marked(key))

    def look(self, id: str) -> Remote:
        """As of `Provider`. A job that was found valid is started, unless its price is above `most_usd`."""
        job = self.wire.get(f"/fine_tuning/jobs/{quote(id)}")
        if job.get("status") == "VALIDATED":
            self._affordable(id, job.get("metadata") or {})
            self.wire.patiently(lambda: self._start(id))
            job = self.wire.get(f"/fine_tuning/jobs/{quote(id)}")
        said = str(job.get("status"))
        points = sorted(job.get("checkpoints") or [], key=lambda point: point.get("step_number", 0))
        told = job.get("metadata") or {}
        steps = told.get("training_steps") or (job.get("hyperparameters") or {}).get("training_steps")
        events = sorted(job.get("events") or [], key=lambda event: event.get("created_at", 0))
        data = (events[-1].get("data") or {}) if events else {}
        return Remote(
            state=STATES.get(said, "waiting"),
            said=said,
            fraction=points[-1]["step_number"] / steps if points and steps else None,
            why=data.get("error"),
            model=job.get("fine_tuned_model"),
            event=events[-1].get("name") if events else None,
            loss=_metric(points, "train_loss"),
            held=_metric(points, "valid_loss"),
            tokens=job.get("trained_tokens"),
            cost_usd=told.get("cost") if told.get("cost_currency") == "USD" else None,
        )

    def cancel(self, id: str) -> None:
        """As of `Provider`."""
        path = f"/fine_tuning/jobs/{quote(id)}"
        reply = self.wire.send("POST", f"{path}/cancel")
        if reply.status >= 400 and STATES.get(str(self.wire.once("GET", path).get("status"))) not in ENDED:
            raise UserError(f"mistral does not cancel {id}: {reply.words}")

    def _start(self, id: str) -> None:
        reply = self.wire.send("POST", f"/fine_tuning/jobs/{quote(id)}/start")
        if reply.status >= 400 and self.wire.once("GET", f"/fine_tuning/jobs/{quote(id)}").get("status") == "VALIDATED":
            raise UserError(f"mistral does not start {id}: {reply.words}")

    def _affordable(self, id: str, told: dict[str, Any]) -> None:
        if self.most_usd is None:
            return
        if told.get("cost") is None or told.get("cost_currency") != "USD":
            self.cancel(id)
            raise UserError(
                "mistral gives no estimate in USD to hold against most_usd", fix="leave out training.backend_options.most_usd"
            )
        if told["cost"] > self.most_usd:
            self.cancel(id)
            raise UserError(
                f"mistral estimates {told['cost']:.2f} USD, most_usd is {self.most_usd:.2f}; the job was cancelled unstarted",
                fix="raise training.backend_options.most_usd, or train on fewer rows or epochs",
            )

    def _sent(self, file: Path, name: str) -> str:
        reply = self.wire.send_file("/files", file, name, {"purpose": "fine-tune"})
        if reply.status != 200 or not reply.value.get("id"):
            raise DataError(f"mistral does not take {name}: status {reply.status}: {reply.words}")
        return str(reply.value["id"])

    def _found(self, name: str, size: int) -> str | None:
        found = self._pages("/files", purpose="fine-tune", search=name)
        return next((str(f["id"]) for f in found if (f.get("filename"), f.get("bytes")) == (name, size)), None)

    def _marked(self, key: str) -> str | None:
        return next((str(job["id"]) for job in self._pages("/fine_tuning/jobs", suffix=key) if job.get("suffix") == key), None)

    def _pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        seen = 0
        for number in range(1_000_000):
            page = self.wire.once("GET", f"{path}?{urlencode({**query, 'page': number, 'page_size': PAGE})}")
            items = page.get("data") or []
            yield from items
            seen += len(items)
            if not items or seen >= int(page.get("total") or 0):
                return


def _metric(points: list[dict[str, Any]], name: str) -> tuple[float, ...]:
    found = ((point.get("metrics") or {}).get(name) for point in points)
    return tuple(float(value) for value in found if isinstance(value, int | float))
