"""Fireworks: a dataset of ours, its rows, a supervisedFineTuningJob; all three have names that we choose, so none is made twice.

https://docs.fireworks.ai/fine-tuning/fine-tuning-via-api and /api-reference/create-supervised-fine-tuning-job; limits:
/fine-tuning/fine-tuning-models (3 to 3,000,000 rows). The tuned model is served by a deployment that its owner makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.training.hosted.provider import ENDED, Order, Remote, State, Terms, Values
from tunekeeper.training.hosted.wire import Reply, Unanswered, Wire

SMALL = 150 << 20
"""Files up to this are sent with the request, larger ones to a signed address."""
TERMS = Terms(
    endpoint="https://api.fireworks.ai/v1",
    serves="https://api.fireworks.ai/inference/v1",
    api_key_env="FIREWORKS_API_KEY",
    takes=frozenset({"rank", "epochs", "learning_rate", "batch", "max_tokens", "weight_decay", "warmup_steps"}),
    objectives=("sft",),
    defaults={"learning_rate": None, "batch": None, "max_tokens": None, "warmup_steps": None},
    least_rows=3,
    least_held=3,
    most_rows=3_000_000,
    most_bytes=1 << 40,
    warnings=(
        "the model stays at Fireworks: without an adapter parity with training cannot be checked, the exam alone judges it",
        "Fireworks serves a tuned model on a deployment of yours, which costs by the hour: make one before the exam",
    ),
)
STATES: dict[str, State] = {
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_WRITING_RESULTS": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_COMPLETED": "done",
    "JOB_STATE_EARLY_STOPPED": "done",
    **dict.fromkeys(("JOB_STATE_FAILED", "JOB_STATE_FAILED_CLEANING_UP", "JOB_STATE_EXPIRED"), "failed"),
    **dict.fromkeys(("JOB_STATE_EXPIRED_CLEANING_UP", "JOB_STATE_ARCHIVED"), "failed"),
    **dict.fromkeys(("JOB_STATE_CANCELLED", "JOB_STATE_DELETING"), "cancelled"),
    **dict.fromkeys(("JOB_STATE_DELETING_CLEANING_UP", "JOB_STATE_DELETED"), "cancelled"),
}


def hyperparameters(values: Values) -> dict[str, Any]:
    """The fields of a job that say how it learns; what is left out is chosen by Fireworks for the base."""
    chosen = {
        "epochs": values.recipe.epochs,
        "loraRank": values.recipe.rank,
        "learningRate": values.of("learning_rate"),
        "batchSizeSamples": values.of("batch"),
        "maxContextLength": values.of("max_tokens"),
        "learningRateWarmupSteps": values.of("warmup_steps"),
        "optimizerWeightDecay": values.recipe.weight_decay or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Fireworks:
    """Trains at Fireworks."""

    wire: Wire
    account: str

    def upload(self, file: Path, name: str) -> str:
        """As of `Provider`: the dataset's id is `name` without its ending."""
        id = name.removesuffix(".jsonl")
        if not self.wire.patiently(lambda: self._known(f"/datasets/{id}")):
            body = {"datasetId": id, "dataset": {"userUploaded": {}, "format": "CHAT"}}
            self.wire.patiently(lambda: self._made("/datasets", body))
        if self.wire.get(self._path(f"/datasets/{id}")).get("state") != "READY":
            self.wire.patiently(lambda: self._sent(id, file, name))
        return self.wire.patiently(lambda: self._ready(id, name))

    def begin(self, order: Order) -> str:
        """As of `Provider`: our key is the job's id, so that a second request is answered with 409."""
        body = {
            "baseModel": order.model,
            "dataset": order.train,
            **({"evaluationDataset": order.held} if order.held else {}),
            "displayName": order.suffix,
            "outputModel": f"accounts/{self.account}/models/{order.suffix}-{order.key}".lower(),
            **order.hyperparameters,
        }
        id = f"tk-{order.key}"
        self.wire.patiently(lambda: self._made(f"/supervisedFineTuningJobs?supervisedFineTuningJobId={id}", body))
        return id

    def find(self, key: str) -> str | None:
        """As of `Provider`."""
        id = f"tk-{key}"
        return id if self.wire.patiently(lambda: self._known(f"/supervisedFineTuningJobs/{id}")) else None

    def look(self, id: str) -> Remote:
        """As of `Provider`."""
        job = self.wire.get(self._path(f"/supervisedFineTuningJobs/{quote(id)}"))
        said = str(job.get("state"))
        done, cost = job.get("jobProgress") or {}, job.get("estimatedCost") or {}
        usd = float(cost.get("units") or 0) + (cost.get("nanos") or 0) / 1e9 if cost.get("currencyCode") == "USD" else None
        return Remote(
            state=STATES.get(said, "waiting"),
            said=said,
            fraction=None if done.get("percent") is None else done["percent"] / 100,
            why=(job.get("status") or {}).get("message"),
            model=job.get("outputModel"),
            event=None if done.get("epoch") is None else f"epoch {done['epoch'] + 1}",
            cost_usd=usd,
        )

    def cancel(self, id: str) -> None:
        """As of `Provider`."""
        path = self._path(f"/supervisedFineTuningJobs/{quote(id)}")
        reply = self.wire.send("POST", f"{path}:cancel", {})
        if reply.status >= 400 and STATES.get(str(self.wire.once("GET", path).get("state"))) not in ENDED:
            raise UserError(f"fireworks does not cancel {id}: {reply.words}")

    def _path(self, rest: str) -> str:
        return f"/accounts/{quote(self.account)}{rest}"

    def _known(self, path: str) -> bool:
        reply = self.wire.send("GET", self._path(path))
        if reply.status not in (200, 404):
            raise UserError(f"fireworks refused GET {path}: status {reply.status}: {reply.words}")
        return reply.status == 200

    def _made(self, path: str, body: dict[str, Any]) -> Reply:
        reply = self.wire.send("POST", self._path(path), body)
        if reply.status != 409 and not 200 <= reply.status < 300:
            raise UserError(f"fireworks refused POST {path.partition('?')[0]}: status {reply.status}: {reply.words}")
        return reply

    def _sent(self, id: str, file: Path, name: str) -> None:
        size = file.stat().st_size
        if size <= SMALL:
            reply = self.wire.send_file(self._path(f"/datasets/{id}:upload"), file, name, {})
        else:
            body = {"filenameToSize": {name: str(size)}}
            signed = self.wire.once("POST", self._path(f"/datasets/{id}:getUploadEndpoint"), body)
            bounds = {"Content-Type": "application/octet-stream", "x-goog-content-length-range": f"{size},{size}"}
            reply = self.wire.put_file(signed["filenameToSignedUrls"][name], file, bounds)
            if reply.status == 200:
                self.wire.once("POST", self._path(f"/datasets/{id}:validateUpload"), {})
        if reply.status != 200:
            raise DataError(f"fireworks does not take {name}: status {reply.status}: {reply.words}")

    def _ready(self, id: str, name: str) -> str:
        told = self.wire.once("GET", self._path(f"/datasets/{id}"))
        fault = (told.get("status") or {}).get("message")
        if fault and (told.get("status") or {}).get("code") not in (None, "OK"):
            raise DataError(f"fireworks cannot use {name}: {fault}")
        if told.get("state") != "READY":
            raise Unanswered(f"fireworks is still reading {name}")
        return f"accounts/{self.account}/datasets/{id}"
