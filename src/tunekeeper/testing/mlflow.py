"""A double of an MLflow tracking server, written from its REST API: a real HTTP server on loopback, for tests without one.

    python -m tunekeeper.testing.mlflow --port 0

prints `{"listening": "http://127.0.0.1:PORT"}` and serves until SIGTERM. Experiments, runs, registered models, versions, aliases
and proxied artifacts are kept in memory, with MLflow's own refusals: a param keeps its value, a deleted run takes nothing, a
version's files lie in its run. `faults` makes it fail; `token` or `user` and `password` close it. Standard library only.
"""

from __future__ import annotations

import argparse
import base64
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from threading import RLock
from typing import Any

from tunekeeper.testing import loopback
from tunekeeper.testing.mlflowhttp import Handler, Wrong, invalid, missing

RELEASE = "3.17.2"
_CLAUSE = re.compile(r"""(name|tags\.`([^`]+)`)\s*=\s*'([^']*)'""")


@dataclass(kw_only=True, slots=True)
class Fault:
    """What goes wrong with the next request that fits."""

    part: str
    """A part of its method and path, e.g. `PUT /api/2.0/mlflow-artifacts`."""
    status: int = 500
    """Status of the answer; 0: the connection is cut, half-way through a file that is asked for."""
    body: str = ""
    """Its body; `{authorization}` stands for what the request was let in with."""
    location: str | None = None
    """Header Location."""
    after: int = 0
    """How many requests that fit go well before it."""
    late: bool = False
    """Whether it is done all the same, and only the answer is lost."""


@dataclass(kw_only=True, slots=True)
class Run:
    """A run."""

    info: dict[str, Any]
    """As it is told."""
    params: dict[str, str] = field(default_factory=dict)
    """Name → value."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """Every value, in the order they came, none twice."""
    tags: dict[str, str] = field(default_factory=dict)
    """Name → value."""
    inputs: list[dict[str, Any]] = field(default_factory=list)
    """Datasets."""

    def told(self) -> dict[str, Any]:
        """As MLflow tells it: the last value of each metric, empty lists left out."""
        last = {row["key"]: row for row in sorted(self.metrics, key=lambda row: (row["step"], row["timestamp"]))}
        data = {
            "metrics": [last[key] for key in sorted(last)],
            "params": [{"key": key, "value": value} for key, value in self.params.items()],
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        inputs = {"dataset_inputs": self.inputs} if self.inputs else {}
        return {"info": self.info, "data": {key: rows for key, rows in data.items() if rows}, "inputs": inputs}


class MlflowDouble(ThreadingHTTPServer):
    """One server; look at what it holds through its fields, make it fail through `faults`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, *, port: int = 0, token: str = "", user: str = "", password: str = "", artifacts: str = "mlflow-artifacts:"
    ) -> None:
        """`token`, or `user` and `password`: what it asks for. `artifacts`: where it says that the files of runs lie."""
        super().__init__(("127.0.0.1", port), Handler)
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.authorization = f"Bearer {token}" if token else f"Basic {pair}" if user else ""
        self.artifacts = artifacts
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Run] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.lock = RLock()

    @property
    def url(self) -> str:
        """Its root address."""
        return f"http://127.0.0.1:{self.server_port}"

    # ---- experiments and runs ----

    def create_experiment(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST experiments/create."""
        name = _required(asked, "name")
        if any(each["name"] == name for each in self.experiments.values()):
            raise Wrong(400, "RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists.")
        id, now = str(len(self.experiments) + 1), _now()
        self.experiments[id] = {
            "experiment_id": id, "name": name, "artifact_location": f"{self.artifacts}/{id}", "lifecycle_stage": "active",
            "last_update_time": now, "creation_time": now, "workspace": "default",
        }  # fmt: skip
        return {"experiment_id": id}

    def experiment_by_name(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET experiments/get-by-name."""
        name = _required(asked, "experiment_name")
        found = next((each for each in self.experiments.values() if each["name"] == name), None)
        if found is None:
            raise missing(f"Could not find experiment with name '{name}'")
        return {"experiment": found}

    def create_run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/create."""
        place = self.experiments.get(str(asked.get("experiment_id")))
        if place is None:
            raise missing(f"No Experiment with id={asked.get('experiment_id')} exists")
        id = uuid.uuid4().hex
        info = {
            "run_uuid": id, "experiment_id": place["experiment_id"], "run_name": asked.get("run_name", ""), "user_id": "",
            "status": "RUNNING", "start_time": asked.get("start_time", _now()),
            "artifact_uri": f"{place['artifact_location']}/{id}/artifacts", "lifecycle_stage": "active", "run_id": id,
        }  # fmt: skip
        tags = {tag["key"]: tag["value"] for tag in asked.get("tags", ())}
        self.runs[id] = Run(info=info, tags=tags | {"mlflow.runName": info["run_name"]})
        return {"run": self.runs[id].told()}

    def get_run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET runs/get."""
        return {"run": self._run(asked, active=False).told() | {"outputs": {}}}

    def search_runs(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/search: active runs whose tags fit, newest first."""
        wanted = [(tag, value) for _, tag, value in _CLAUSE.findall(asked.get("filter", "")) if tag]
        places = set(asked.get("experiment_ids", ()))
        found = [
            run.told() | {"outputs": {}}
            for run in reversed(self.runs.values())
            if run.info["experiment_id"] in places
            and run.info["lifecycle_stage"] == "active"
            and all(run.tags.get(tag) == value for tag, value in wanted)
        ]
        return {"runs": found} if found else {}

    def log_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/log-batch."""
        run = self._run(asked)
        params = {row["key"]: row["value"] for row in asked.get("params", ())}
        changed = [key for key, value in params.items() if run.params.get(key, value) != value]
        if changed:
            raise invalid(f"Changing param values is not allowed. Params were already logged={changed!r}")
        if any(len(asked.get(key, ())) > most for key, most in (("metrics", 1000), ("params", 100), ("tags", 100))):
            raise invalid("A batch logging request can contain at most 1000 metrics, 100 params and 100 tags")
        run.params |= params
        run.metrics += [row for row in asked.get("metrics", ()) if row not in run.metrics]
        run.tags |= {row["key"]: row["value"] for row in asked.get("tags", ())}
        return {}

    def log_inputs(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/log-inputs."""
        run = self._run(asked)
        run.inputs += [each for each in asked.get("datasets", ()) if each not in run.inputs]
        return {}

    def update_run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/update."""
        run = self._run(asked)
        told = {key: asked[key] for key in ("status", "end_time", "run_name") if key in asked}
        run.info = {key: value for key, value in run.info.items() if key not in told} | told
        return {"run_info": run.info}

    def delete_run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST runs/delete."""
        self._run(asked).info["lifecycle_stage"] = "deleted"
        return {}

    def _run(self, asked: dict[str, Any], *, active: bool = True) -> Run:
        id = _required(asked, "run_id")
        run = self.runs.get(id)
        if run is None:
            raise missing(f"Run with id={id} not found")
        if active and run.info["lifecycle_stage"] != "active":
            raise invalid(f"The run {id} must be in the 'active' state. Current state is deleted.")
        return run

    # ---- registered models ----

    def create_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST registered-models/create."""
        name, now = _required(asked, "name"), _now()
        if "/" in name or ":" in name:
            raise invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")
        if name in self.models:
            raise Wrong(400, "RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")
        self.models[name] = {"name": name, "creation_timestamp": now, "last_updated_timestamp": now}
        self.versions[name] = []
        return {"registered_model": self.models[name]}

    def get_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET registered-models/get."""
        return {"registered_model": self._model(_required(asked, "name"))}

    def create_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST model-versions/create."""
        name, source = _required(asked, "name"), _required(asked, "source")
        run = self.runs.get(asked.get("run_id", ""))
        if run is None or not source.startswith(run.info["artifact_uri"]):
            raise invalid(f"Invalid model version source: '{source}'. The run_id request parameter must identify the resource …")
        self._model(name)
        now = _now()
        made = {
            "name": name, "version": str(len(self.versions[name]) + 1), "creation_timestamp": now, "last_updated_timestamp": now,
            "current_stage": "None", "description": asked.get("description", ""), "source": source,
            "run_id": asked["run_id"], "status": "READY",
            **({"tags": asked["tags"]} if asked.get("tags") else {}), "run_link": "",
        }  # fmt: skip
        self.versions[name].append(made)
        return {"model_version": made}

    def get_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET model-versions/get."""
        number = _required(asked, "version")
        if not number.isdigit():
            raise invalid(f"Parameter 'version' must be an integer, got '{number}'.")
        return {"model_version": self._version(_required(asked, "name"), number)}

    def download_uri(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET model-versions/get-download-uri."""
        return {"artifact_uri": self._version(_required(asked, "name"), _required(asked, "version"))["source"]}

    def search_versions(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET model-versions/search: by name, newest first."""
        names = [value for clause, tag, value in _CLAUSE.findall(asked.get("filter", "")) if not tag]
        rows = [row for name in names for row in reversed(self.versions.get(name, []))]  # without aliases, as the real one
        start, size = int(asked.get("page_token") or 0), int(asked.get("max_results") or 200)
        more = {"next_page_token": str(start + size)} if len(rows) > start + size else {}
        return {"model_versions": rows[start : start + size], **more} if rows else {}

    def set_alias(self, asked: dict[str, Any]) -> dict[str, Any]:
        """POST registered-models/alias."""
        alias = _required(asked, "alias")
        if re.fullmatch(r"latest|v\d+", alias):
            raise invalid(f"Version alias name '{alias}' is reserved.")
        self._version(_required(asked, "name"), _required(asked, "version"))
        self.aliases[asked["name"], alias] = asked["version"]
        return {}

    def by_alias(self, asked: dict[str, Any]) -> dict[str, Any]:
        """GET registered-models/alias."""
        name, alias = _required(asked, "name"), _required(asked, "alias")
        self._model(name)
        if (name, alias) not in self.aliases:
            raise invalid(f"Registered model alias {alias} not found.")
        return {"model_version": self._version(name, self.aliases[name, alias])}

    def _model(self, name: str) -> dict[str, Any]:
        if name not in self.models:
            raise missing(f"Registered Model with name={name} not found")
        return self.models[name]

    def _version(self, name: str, number: str) -> dict[str, Any]:
        found = next((row for row in self.versions.get(name, []) if row["version"] == number), None)
        if found is None:
            raise missing(f"Model Version (name={name}, version={number}) not found")
        return self._told(found)

    def _told(self, row: dict[str, Any]) -> dict[str, Any]:
        names = [alias for (name, alias), number in self.aliases.items() if (name, number) == (row["name"], row["version"])]
        return row | ({"aliases": names} if names else {})


def _required(asked: dict[str, Any], key: str) -> str:
    if not asked.get(key):
        raise invalid(f"Missing value for required parameter '{key}'. See the API docs for more information …")
    return str(asked[key])


def _now() -> int:
    return int(time.time() * 1000)


@contextmanager
def serving(**settings: Any) -> Iterator[MlflowDouble]:
    """A double that serves while the block lasts; its arguments."""
    with loopback.serving(MlflowDouble(**settings)) as double:
        yield double


def _started(port: int) -> AbstractContextManager[MlflowDouble]:
    return serving(port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A double of an MLflow tracking server.")
    parser.add_argument("--port", type=int, default=0)
    loopback.serve(_started(parser.parse_args().port))
