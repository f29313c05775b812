"""A version into an MLflow registry: its run with recipe, curve and exam scores, its adapter folder, one registered version.

Whatever was sent carries the identity of what it came from, and is looked for before it is made: repeated after a kill or beside
another export, nothing is there twice. The version is registered last, when every file lies there with its whole size.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, NotFound, UserError
from tunekeeper.core.ids import canonical_json, digest_json
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.deployment.mlflowserver import MlflowServer, Refused
from tunekeeper.deployment.mlflowstore import Store, store_of
from tunekeeper.deployment.modelcard import card
from tunekeeper.deployment.publish import scratch_file
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.runs import load_run
from tunekeeper.store.lock import exclusive
from tunekeeper.workspace import Workspace

IDENTITY = "tunekeeper.identity"
"""Tag of what was exported: the digest of the version's id, adapter and base."""
FILES = "tunekeeper.files"
"""Tag with the digest of each of its files, as JSON."""
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_TEXT = 500
_NOTE = 5000
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_UNFIT = re.compile(r"[^\w./ -]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """What is sent of a version."""

    version: Version
    """The version."""
    folder: Path
    """Its adapter, or the checkpoint whose every number was tuned."""
    files: dict[str, str]
    """Name → digest of the files in it."""
    run: TrainingRun | None
    """What trained it; None when it came from elsewhere."""
    exams: tuple[Exam, ...]
    """The newest of each suite that has judged it."""

    @property
    def identity(self) -> str:
        """What makes two exports the same one."""
        v = self.version
        return digest_json({"version": v.id, "adapter": v.adapter or v.checkpoint, "base": v.base_digest})

    @property
    def place(self) -> str:
        """Folder of the run's artifacts that holds it."""
        return "adapter" if self.version.adapter else "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A version in a registry, as `export mlflow` prints it."""

    server: str
    """Address of the server."""
    experiment: str
    """Its experiment."""
    run: str | None
    """Id of its run; None where a dry run would make one."""
    name: str
    """Name of the registered model."""
    number: str | None
    """Number of the registered version; None where a dry run would make one."""
    uri: str | None
    """`models:/NAME/NUMBER`."""
    created: bool
    """Whether it was registered now; False when it was there."""
    sent: tuple[str, ...]
    """Files that were sent now."""
    alias: str | None
    """Alias that points at it now."""


def packed(ws: Workspace, version: Version) -> Package:
    """A version with all that its ledgers know of it. Raises UserError for one that was not trained."""
    digest = version.adapter or version.checkpoint
    if digest is None:
        raise UserError(f"{version.id} has no adapter or checkpoint of its own to register", fix="tunekeeper model ls")
    files = ws.blobs.files(digest)
    with ws.state.read() as tx:
        known = find_exams(tx, model=version.model, newest_first=True)
        run = load_run(tx, version.run) if version.run else None
    judged: dict[str, Exam] = {}
    for exam in known:
        if exam.version == version.id and exam.verdict is not None:
            judged.setdefault(exam.suite, exam)
    kind = "adapter" if version.adapter else "checkpoint"
    folder = ws.blobs.checkout_folder(digest, ws.path("work", f"{kind}-{digest[7:31]}"))
    return Package(version=version, folder=folder, files=files, run=run, exams=tuple(judged.values()))


def plan(server: MlflowServer, package: Package, name: str, experiment: str, *, alias: str | None = None) -> Exported:
    """What `push` would do; asks the server, changes nothing. Raises as `push`."""
    check_names(name, alias)
    known = _registered(server, name, package.identity)
    return _exported(server, package, name, experiment, run=None, known=known, created=known is None, alias=alias)


def push(
    server: MlflowServer, package: Package, name: str, experiment: str, work: Path, *, now: datetime, alias: str | None = None
) -> Exported:
    """Send what is missing and register it, once; of one that is there already the run's scores are brought up to date.

    `name`: registered model. `experiment`: its name. `work`: folder for a scratch file. `alias`: set to it at the end. Raises as
    `MlflowServer.ask`, UserError for a run or experiment that was deleted there, ArtifactError when a file arrived in part.
    """
    check_names(name, alias)
    with exclusive(work / "mlflow.lock", wait=600):  # two that look at once would both find nothing and make it twice
        known = _registered(server, name, package.identity)
        run = _open_run(server, package, experiment, known, now)
        _log(server, run["run_id"], package, now)
        created = known is None
        if known is None:
            _send(store_of(server, run["artifact_uri"]), package, work)
            _finish(server, run["run_id"], package, now)
            known = _register(server, name, run, package)
    if alias:
        server.ask("POST", "registered-models/alias", {"name": name, "alias": alias, "version": known["version"]})
    return _exported(server, package, name, experiment, run=run, known=known, created=created, alias=alias)


def _exported(
    server: MlflowServer,
    package: Package,
    name: str,
    experiment: str,
    *,
    run: dict[str, Any] | None,
    known: dict[str, Any] | None,
    created: bool,
    alias: str | None,
) -> Exported:
    number = str(known["version"]) if known else None
    return Exported(
        server=server.url, experiment=experiment, name=name, number=number, created=created, alias=alias,
        run=run["run_id"] if run else (known or {}).get("run_id"),
        uri=f"models:/{name}/{number}" if number else None, sent=tuple(package.files) if created else (),
    )  # fmt: skip


# ---- what is said of a version; pure ----


def params_of(package: Package) -> dict[str, str]:
    """The recipe as MLflow's params: nested names joined by dots, long texts cut."""
    found: dict[str, str] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else str(key))
        elif value is not None:
            found[_fit(name)] = (value if isinstance(value, str) else json.dumps(value))[:_TEXT] or '""'

    walk(package.run.recipe if package.run else {}, "")
    return found


def metrics_of(package: Package, now: datetime) -> list[dict[str, Any]]:
    """The loss curve, the run's costs and the exams' scores with their intervals as MLflow's metrics."""
    run, found = package.run, []

    def note(key: str, value: float | None, at: datetime | None, step: int = 0) -> None:
        if value is not None and math.isfinite(value):
            found.append({"key": _fit(key), "value": float(value), "timestamp": _ms(at or now), "step": step})

    if run is not None:
        curves = {"loss": (run.loss, 0), "eval_loss": (run.eval_loss, 1), "task": (run.task, 1)}
        for key, (values, first) in curves.items():
            for step, value in enumerate(values, first):
                note(key, value, run.created, step)
        for key in ("final_loss", "seconds", "cpu_seconds", "tokens_per_second", "cost_usd", "rows"):
            note(key, getattr(run, key), run.created)
    for exam in package.exams:
        for metric, each in exam.verdict.measured.items() if exam.verdict else ():
            stem = f"exam/{exam.suite}/{metric}"
            for key, value in ((stem, each.value), (f"{stem}.low", each.low), (f"{stem}.high", each.high), (f"{stem}.n", each.n)):
                note(key, value, exam.created)
    return found


def tags_of(package: Package) -> dict[str, str]:
    """Digests, origin and verdicts as MLflow's tags."""
    version, run = package.version, package.run
    told: dict[str, Any] = {
        IDENTITY: package.identity,
        FILES: canonical_json(package.files).decode(),
        "tunekeeper.version": version.id,
        "tunekeeper.run": version.run,
        "tunekeeper.adapter_digest": version.adapter,
        "tunekeeper.checkpoint_digest": version.checkpoint,
        "tunekeeper.base": Path(version.base).name,
        "tunekeeper.base_digest": version.base_digest,
        "tunekeeper.tokenizer_digest": version.tokenizer_digest,
        "tunekeeper.template_digest": version.template_digest,
        "tunekeeper.dataset": version.dataset,
        "tunekeeper.dataset_digest": run.dataset_digest if run else None,
        "tunekeeper.recipe_digest": run.recipe_digest if run else None,
        "tunekeeper.parent": run.parent if run else None,
    }
    told |= {_fit(f"tunekeeper.exam.{exam.suite}"): exam.verdict.outcome for exam in package.exams if exam.verdict}
    return {key: str(value) for key, value in told.items() if value and len(str(value)) <= _NOTE}


def _fit(name: str) -> str:
    """A name that MLflow takes for a param, metric or tag."""
    return _UNFIT.sub("_", name)[:250]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def check_names(name: str, alias: str | None) -> None:
    """Raise UserError for what cannot name a registered model, or be an alias."""
    if not name or re.search(r"[/:'\"`\x00-\x1f]", name):
        raise UserError(f"{name!r} cannot name a registered model", fix="leave out slashes, colons and quotes")
    if alias is not None and not re.fullmatch(r"(?!latest$|v\d+$)[A-Za-z][\w-]*", alias):
        raise UserError(f"{alias!r} cannot be an alias", fix="use letters, digits, - and _; not latest and not v1, v2 …")


# ---- what is asked of the server ----


def _registered(server: MlflowServer, name: str, identity: str) -> dict[str, Any] | None:
    """The registered version that this very version became earlier; the first, should there be several."""
    rows = server.pages("GET", "model-versions/search", "model_versions", {"filter": f"name='{name}'", "max_results": "1000"})
    same = [row for row in rows if _tags(row).get(IDENTITY) == identity]
    return min(same, key=lambda row: int(row["version"])) if same else None


def _tags(row: dict[str, Any]) -> dict[str, str]:
    return {str(tag.get("key")): str(tag.get("value")) for tag in row.get("tags") or () if isinstance(tag, dict)}


def _open_run(
    server: MlflowServer, package: Package, experiment: str, known: dict[str, Any] | None, now: datetime
) -> dict[str, Any]:
    """The run of an earlier export, whole or cut off, else a new one."""
    if known is not None and known.get("run_id"):
        found = server.find("runs/get", {"run_id": str(known["run_id"])})
        if found is None or found["run"]["info"].get("lifecycle_stage") == "deleted":
            number = f"models:/{known['name']}/{known['version']}"
            raise UserError(
                f"{server.url}: the run of {number} was deleted", fix=f"mlflow runs restore --run-id {known['run_id']}"
            )
        return _whole_run(server, found.get("run"))
    id = _experiment(server, experiment)
    asked = {"experiment_ids": [id], "filter": f"tags.`{IDENTITY}` = '{package.identity}'", "max_results": 10}
    earlier = next(server.pages("POST", "runs/search", "runs", asked), None)
    if earlier is not None:
        return _whole_run(server, earlier)
    begun = {
        "experiment_id": id,
        "run_name": package.version.name,
        "start_time": _ms(package.run.created if package.run and package.run.created else now),
        "tags": _rows(tags_of(package) | {"mlflow.source.name": "tunekeeper", "mlflow.source.type": "LOCAL"}),
    }
    return _whole_run(server, server.ask("POST", "runs/create", begun).get("run"))


def _whole_run(server: MlflowServer, run: Any) -> dict[str, Any]:
    info = run.get("info") if isinstance(run, dict) else None
    if not isinstance(info, dict) or not isinstance(info.get("run_id"), str) or not isinstance(info.get("artifact_uri"), str):
        raise UserError(f"{server.url}: a run without an id or a place for its files")
    return info


def _experiment(server: MlflowServer, name: str) -> str:
    """Id of the experiment called `name`, made when it is missing."""
    found = server.find("experiments/get-by-name", {"experiment_name": name})
    if found is None:
        try:
            return str(server.ask("POST", "experiments/create", {"name": name})["experiment_id"])
        except Refused as error:
            if error.code != _EXISTS:  # somebody made it meanwhile
                raise
            found = server.ask("GET", "experiments/get-by-name", query={"experiment_name": name})
    if found["experiment"].get("lifecycle_stage") == "deleted":
        id = found["experiment"]["experiment_id"]
        raise UserError(f"{server.url}: experiment {name!r} was deleted", fix=f"mlflow experiments restore --experiment-id {id}")
    return str(found["experiment"]["experiment_id"])


def _log(server: MlflowServer, run: str, package: Package, now: datetime) -> None:
    note = card(package.version, package.run, package.exams)
    told = {
        "params": [{"key": key, "value": value} for key, value in params_of(package).items()],
        "metrics": metrics_of(package, now),
        "tags": _rows(tags_of(package) | {"mlflow.note.content": note[:_NOTE]}),
    }
    for kind, rows in told.items():
        for start in range(0, len(rows), _BATCH[kind]):
            server.ask("POST", "runs/log-batch", {"run_id": run, kind: rows[start : start + _BATCH[kind]]})
    if package.run is not None:
        dataset = {
            "name": package.run.dataset,
            "digest": package.run.dataset_digest.removeprefix("sha256:")[:36],
            "source_type": "tunekeeper",
            "source": json.dumps({"dataset": package.run.dataset, "digest": package.run.dataset_digest}),
        }
        learned = {"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "training"}]}
        server.ask("POST", "runs/log-inputs", {"run_id": run, "datasets": [learned]})


def _rows(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _send(store: Store, package: Package, work: Path) -> None:
    """Every file of the package and the card, then a look whether they lie there whole."""
    with scratch_file(work / "mlflow-card") as readme:
        readme.write_text(card(package.version, package.run, package.exams), "utf-8")
        store.put("README.md", readme)
    for name in package.files:
        store.put(f"{package.place}/{name}", package.folder / name)
    for name in package.files:
        below = f"{package.place}/{name}".rpartition("/")
        there = next((entry.bytes for entry in store.ls(below[0]) if entry.name == below[2]), None)
        size = (package.folder / name).stat().st_size
        if there != size:
            raise ArtifactError(
                f"{name}: {size} bytes were sent and {there or 'none'} arrived; nothing was registered", fix="repeat the command"
            )


def _finish(server: MlflowServer, run: str, package: Package, now: datetime) -> None:
    trained = package.run
    ended = _ms(trained.created) + int((trained.seconds or 0) * 1000) if trained and trained.created else _ms(now)
    server.ask("POST", "runs/update", {"run_id": run, "status": "FINISHED", "end_time": ended})


def _register(server: MlflowServer, name: str, info: dict[str, Any], package: Package) -> dict[str, Any]:
    try:
        server.ask("GET", "registered-models/get", query={"name": name})
    except NotFound:
        try:
            server.ask("POST", "registered-models/create", {"name": name})
        except Refused as error:
            if error.code != _EXISTS:
                raise
    made = {
        "name": name,
        "source": f"{info['artifact_uri'].rstrip('/')}/{package.place}",
        "run_id": info["run_id"],
        "description": card(package.version, package.run, package.exams).partition("---\n\n")[2][:_NOTE],
        "tags": _rows(tags_of(package)),
    }
    found = server.ask("POST", "model-versions/create", made).get("model_version")
    if not isinstance(found, dict) or "version" not in found:
        raise UserError(f"{server.url}: did not say which number {package.version.id} got")
    return found
