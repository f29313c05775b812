"""One script of requests that the double and a real MLflow are both asked, and their answers without what varies: the record.

`python -m tests.testing.mlflowexchanges URL` prints what the fresh server at URL answers; it was started with
`mlflow server --backend-store-uri sqlite:///m.db --artifacts-destination ./artifacts`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunekeeper.engines.client import call

RECORD = Path(__file__).parent / "mlflow_recorded.json"
API, FILES = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts"
LATER = ("sqlstate", "error_class", "workspace")
"""Keys that releases of MLflow differ in; nobody here reads them."""


def script(run: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and what is asked, in order, once the run `run` is there."""
    source = f"mlflow-artifacts:/1/{run}/artifacts/adapter"
    version = {"name": "desk", "run_id": run, "source": source, "description": "d", "tags": [{"key": "t", "value": "x"}]}
    metric = {"key": "loss", "value": 1.5, "timestamp": 1_700_000_000_000, "step": 0}
    dataset = {"name": "d1", "digest": "abc", "source_type": "local", "source": "{}"}
    return [
        ("POST", "experiments/create", {"name": "desk"}),
        ("POST", "experiments/create", {"name": ""}),
        ("GET", "experiments/get-by-name", {"experiment_name": "desk"}),
        ("GET", "experiments/get-by-name", {"experiment_name": "nope"}),
        ("GET", "nothing", {}),
        ("POST", "runs/create", {"experiment_id": "77", "run_name": "x"}),
        ("GET", "runs/get", {"run_id": run}),
        ("GET", "runs/get", {"run_id": "nope"}),
        ("POST", "runs/search", {"experiment_ids": ["1"], "filter": "tags.`t` = 'v'"}),
        ("POST", "runs/search", {"experiment_ids": ["1"], "filter": "tags.`t` = 'w'"}),
        ("POST", "runs/log-batch", {"run_id": run, "params": [{"key": "rank", "value": "16"}], "metrics": [metric]}),
        ("POST", "runs/log-batch", {"run_id": run, "params": [{"key": "rank", "value": "16"}], "metrics": [metric]}),
        ("POST", "runs/log-batch", {"run_id": run, "params": [{"key": "rank", "value": "17"}]}),
        ("POST", "runs/log-batch", {"run_id": "nope", "tags": [{"key": "a", "value": "b"}]}),
        ("POST", "runs/log-batch", {"run_id": run, "metrics": [metric | {"step": 1, "value": 0.5}]}),
        ("POST", "runs/log-inputs", {"run_id": run, "datasets": [{"dataset": dataset}]}),
        ("GET", "runs/get", {"run_id": run}),
        ("POST", "runs/update", {"run_id": run, "status": "FINISHED", "end_time": 1_700_000_000_001}),
        ("PUT", f"1/{run}/artifacts/adapter/a b.json", {"hello": 1}),
        ("PUT", f"1/{run}/artifacts/adapter/sub/c.json", {"hello": 2}),
        ("GET", f"1/{run}/artifacts/adapter/a b.json", {}),
        ("GET", f"1/{run}/artifacts/adapter/none", {}),
        ("LIST", f"1/{run}/artifacts/adapter", {}),
        ("LIST", "1/none", {}),
        ("GET", "..%2f..%2fetc/passwd", {}),
        ("GET", "registered-models/get", {"name": "desk"}),
        ("POST", "model-versions/create", version),
        ("POST", "registered-models/create", {"name": "desk"}),
        ("POST", "registered-models/create", {"name": "desk"}),
        ("POST", "registered-models/create", {"name": "a/b"}),
        ("GET", "registered-models/get", {"name": "desk"}),
        ("GET", "model-versions/search", {"filter": "name='desk'"}),
        ("POST", "model-versions/create", version | {"run_id": "nope"}),
        ("POST", "model-versions/create", version),
        ("POST", "model-versions/create", version),
        ("GET", "model-versions/get", {"name": "desk", "version": "1"}),
        ("GET", "model-versions/get", {"name": "desk", "version": "7"}),
        ("GET", "model-versions/get", {"name": "desk", "version": "abc"}),
        ("GET", "model-versions/get-download-uri", {"name": "desk", "version": "1"}),
        ("POST", "registered-models/alias", {"name": "desk", "alias": "champion", "version": "1"}),
        ("POST", "registered-models/alias", {"name": "desk", "alias": "champion", "version": "9"}),
        ("POST", "registered-models/alias", {"name": "desk", "alias": "v9", "version": "1"}),
        ("GET", "registered-models/alias", {"name": "desk", "alias": "champion"}),
        ("GET", "registered-models/alias", {"name": "desk", "alias": "nobody"}),
        ("GET", "registered-models/alias", {"name": "nobody", "alias": "champion"}),
        ("GET", "model-versions/search", {"filter": "name='desk'"}),
        ("GET", "model-versions/search", {"filter": "name='desk'", "max_results": "1"}),
        ("POST", "runs/delete", {"run_id": run}),
        ("GET", "runs/get", {"run_id": run}),
        ("POST", "runs/log-batch", {"run_id": run, "tags": [{"key": "a", "value": "b"}]}),
        ("POST", "runs/search", {"experiment_ids": ["1"], "filter": "tags.`t` = 'v'"}),
    ]


def exchanges(url: str) -> list[list[Any]]:
    """Every request without ids, and the status and body of its answer without what varies."""
    call("POST", url + API + "experiments/create", {"name": "desk"})
    begun = {"experiment_id": "1", "run_name": "v1", "start_time": 1_700_000_000_000, "tags": [{"key": "t", "value": "v"}]}
    run = json.loads(call("POST", url + API + "runs/create", begun)[1])["run"]["info"]["run_id"]
    found = []
    for method, path, asked in script(run):
        status, body = _ask(url, method, path, asked)
        found.append([f"{method} {path.replace(run, 'RUN')}", status, _plain(body, run)])
    return found


def _ask(url: str, method: str, path: str, asked: dict[str, Any]) -> tuple[int, bytes]:
    if method == "LIST":
        return call("GET", f"{url}{FILES}?path={quote(path)}")
    if path[0].isdigit() or path[0] == ".":
        return call(method, f"{url}{FILES}/{quote(path, safe='/%')}", asked or None)
    query = "&".join(f"{key}={quote(value)}" for key, value in asked.items()) if method == "GET" else ""
    return call(method, f"{url}{API}{path}{f'?{query}' if query else ''}", asked if method == "POST" else None)


def _plain(body: bytes, run: str) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        return "no JSON" if body else ""
    return _without(value, run)


def _without(value: Any, run: str) -> Any:
    """`value` without times, ids, and the words of refusals, which no code reads."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in LATER}
        return {key: "…" if key in ("message", "next_page_token") else _without(each, run) for key, each in kept.items()}
    if isinstance(value, list):
        return [_without(each, run) for each in value]
    if isinstance(value, int) and value > 1_700_000_000_001:
        return "TIME"
    return re.sub(re.escape(run), "RUN", value) if isinstance(value, str) else value


if __name__ == "__main__":
    print("[\n" + ",\n".join(json.dumps(each, sort_keys=True) for each in exchanges(sys.argv[1])) + "\n]")
