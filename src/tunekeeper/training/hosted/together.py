"""Together: /files through a signed address, /fine-tunes, and the adapter to take home.

https://docs.together.ai/reference/post-fine-tunes, /reference/get-finetune-download and /docs/fine-tuning/data-preparation. Jobs
carry no metadata: our name of the work is the end of the model's suffix. Prices of jobs are in billionths of a dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.training.hosted.provider import ENDED, Order, Remote, State, Terms, Values
from tunekeeper.training.hosted.wire import MOVED, Unanswered, Wire, id_of

NANO = 1e-9
PRICED = ("model", "training_file", "validation_file", "n_epochs", "n_evals", "training_type", "training_method")
"""Fields of a job that make its price: looking at the held-out rows is paid for as well."""
TERMS = Terms(
    endpoint="https://api.together.ai/v1",
    serves=None,
    api_key_env="TOGETHER_API_KEY",
    takes=frozenset(
        {"rank", "alpha", "dropout", "targets", "epochs", "learning_rate", "batch", "max_tokens", "clip", "weight_decay"}
        | {"seed", "beta"}
    ),
    objectives=("sft", "dpo"),
    defaults={"batch": "max", "learning_rate": 1e-5, "max_tokens": None},
    most_bytes=5 << 30,
    tells_price=True,
    warnings=("Together's base is known by its name alone: the adapter's shapes are compared with ours, its values cannot be",),
)
STATES: dict[str, State] = {
    "pending": "waiting",
    "queued": "waiting",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",
    "completed": "done",
}


def hyperparameters(values: Values) -> dict[str, Any]:
    """The fields of a job that say how it learns."""
    recipe = values.recipe
    dpo = recipe.objective == "dpo"
    longest = values.of("max_tokens")
    return {
        "n_epochs": recipe.epochs,
        "n_checkpoints": 1,
        "batch_size": values.of("batch"),
        "learning_rate": values.of("learning_rate"),
        "max_grad_norm": recipe.clip,
        "weight_decay": recipe.weight_decay,
        "random_seed": recipe.seed,
        "training_type": {
            "type": "Lora",
            "lora_r": recipe.rank,
            "lora_alpha": recipe.alpha,
            "lora_dropout": recipe.dropout,
            "lora_trainable_modules": ",".join(recipe.targets),
        },
        "training_method": {"method": "dpo", "dpo_beta": recipe.beta} if dpo else {"method": "sft", "train_on_inputs": False},
        **({"max_seq_length": longest} if longest else {}),
    }


@dataclass(frozen=True, slots=True)
class Together:
    """Trains at Together."""

    wire: Wire
    most_usd: float | None = None

    def upload(self, file: Path, name: str) -> str:
        """As of `Provider`. Together itself finds a file of the same checksum again."""
        id = self.wire.patiently(lambda: self._sent(file, name))
        return self.wire.patiently(lambda: self._valid(id, name))

    def begin(self, order: Order) -> str:
        """As of `Provider`. Raises UserError when its own estimate is above `self.most_usd`."""
        found = self.find(order.key)
        if found is not None:
            return found
        files = {"training_file": order.train} | ({"validation_file": order.held} if order.held else {})
        body = {"model": order.model, "suffix": f"{order.suffix}-{order.key}", **files, **order.hyperparameters}
        body |= {"n_evals": int(order.hyperparameters["n_epochs"])} if order.held else {}
        self._affordable(body)
        return self.wire.patiently(lambda: self._marked(order.key) or id_of(self.wire.once("POST", "/fine-tunes", body)))

    def find(self, key: str) -> str | None:
        """As of `Provider`."""
        return self.wire.patiently(lambda: self._marked(key))

    def look(self, id: str) -> Remote:
        """As of `Provider`."""
        job = self.wire.get(f"/fine-tunes/{quote(id)}")
        said = str(job.get("status"))
        state = STATES.get(said, "waiting")
        events = self.wire.get(f"/fine-tunes/{quote(id)}/events").get("data") or job.get("events") or []
        steps = [event for event in events if event.get("step") and event.get("total_steps")]
        newest = events[-1].get("message") if events else None
        left = job.get("progress") or {}
        price = job.get("total_price")
        metrics = self.wire.get(f"/fine-tunes/{quote(id)}/metrics").get("metrics") or [] if state == "done" else []
        return Remote(
            state=state,
            said=said,
            fraction=steps[-1]["step"] / steps[-1]["total_steps"] if steps else None,
            why=next((e.get("message") for e in reversed(events) if e.get("type") == "job_error"), newest),
            model=job.get("model_output_name"),
            event=newest,
            loss=_losses(metrics, held=False),
            held=_losses(metrics, held=True),
            eta_seconds=float(left["seconds_remaining"]) if left.get("estimate_available") else None,
            tokens=job.get("token_count"),
            cost_usd=None if price is None else round(price * NANO, 6),
        )

    def cancel(self, id: str) -> None:
        """As of `Provider`."""
        path = f"/fine-tunes/{quote(id)}"
        reply = self.wire.send("POST", f"{path}/cancel", {})
        if reply.status >= 400 and STATES.get(str(self.wire.once("GET", path).get("status"))) not in ENDED:
            raise UserError(f"together does not cancel {id}: {reply.words}")

    def fetch(self, id: str, archive: Path, most: int) -> None:
        """As of `Home`."""
        path = f"/finetune/download?ft_id={quote(id)}&checkpoint=adapter"
        self.wire.patiently(lambda: self.wire.download(path, archive, most))

    def _sent(self, file: Path, name: str) -> str:
        fields = {"purpose": "fine-tune", "file_name": name, "file_type": "jsonl"}
        reply = self.wire.send_form("/files", fields | {"checksum": digest_file(file).removeprefix("sha256:")})
        if reply.status == 409 and reply.value.get("file_id"):
            return str(reply.value["file_id"])
        there, id = reply.headers.get("location"), reply.headers.get("x-together-file-id")
        if reply.status not in MOVED or not there or not id:
            raise DataError(f"together does not take {name}: status {reply.status}: {reply.words}")
        sent = self.wire.put_file(there, file)
        if sent.status != 200:
            raise Unanswered(f"together's store does not take {name}: status {sent.status}: {sent.words}")
        self.wire.once("POST", f"/files/{quote(id)}/preprocess")
        return id

    def _valid(self, id: str, name: str) -> str:
        told = self.wire.once("GET", f"/files/{quote(id)}")
        status, report = told.get("processing_status"), told.get("validation_report") or {}
        if status in ("FAILED", "INVALID_FORMAT") or report.get("valid") is False:
            raise DataError(f"together cannot use {name}: {report.get('error') or status}")
        if status in ("PENDING", "QUEUED", "RUNNING"):
            raise Unanswered(f"together is still checking {name}")
        return id

    def _marked(self, key: str) -> str | None:
        jobs = self.wire.once("GET", "/fine-tunes").get("data") or []
        named = (job for job in jobs if key in str(job.get("suffix") or job.get("model_output_name") or ""))
        return next((str(job["id"]) for job in named), None)

    def _affordable(self, body: dict[str, Any]) -> None:
        if self.most_usd is None:
            return
        asked = {name: body[name] for name in PRICED if name in body}
        told = self.wire.patiently(lambda: self.wire.once("POST", "/fine-tunes/estimate-price", asked))
        price = told.get("estimated_total_price")
        if price is None:
            raise UserError(
                f"together gives no estimate to hold against most_usd: {told.get('unavailable_reason') or 'no reason given'}",
                fix="leave out training.backend_options.most_usd",
            )
        if price > self.most_usd:
            raise UserError(
                f"together estimates {price:.2f} USD, most_usd is {self.most_usd:.2f}; nothing was begun",
                fix="raise training.backend_options.most_usd, or train on fewer rows or epochs",
            )


def _losses(metrics: list[dict[str, Any]], *, held: bool) -> tuple[float, ...]:
    """The losses among the metrics; which names they go by is not documented, only that those of evaluations say so."""
    names = {name for each in metrics for name in each if name.endswith("loss") and ("eval" in name or "val" in name) == held}
    name = min(names, key=len, default="")
    return tuple(float(each[name]) for each in metrics if isinstance(each.get(name), int | float))
