"""What Fireworks answers in `hosted.py`: datasets and jobs under names that the client chooses, states with a prefix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tunekeeper.testing import hosteddialects as dialects

if TYPE_CHECKING:
    from tunekeeper.testing.hosted import Asked, Providers

WHO = "fireworks"
ACCOUNT = "acme"


def fireworks(there: Providers, asked: Asked) -> dialects.Answer:
    """Datasets, their upload, supervisedFineTuningJobs, cancel."""
    found = re.fullmatch(r"/accounts/([^/]+)/(datasets|supervisedFineTuningJobs|store)(?:/([^/:]+))?(?::(\w+))?", asked.path)
    if found is None or found[1] != ACCOUNT:
        return 404, {}, dialects.error(WHO, 404, f"not found: {asked.path}")
    kind, id, verb = found[2], found[3], found[4]
    if kind == "datasets":
        return _dataset(there, asked, id, verb)
    if id is None and asked.method == "POST":
        return _created(there, asked)
    if id not in there.jobs:
        return 404, {}, dialects.error(WHO, 404, f"job {id} not found")
    if verb == "cancel":
        return dialects.cancelled(there, id, WHO)
    dialects.advance(there, id)
    return 200, {}, _job(there, id)


def _dataset(there: Providers, asked: Asked, id: str | None, verb: str | None) -> dialects.Answer:
    if id is None:
        name = asked.value["datasetId"]
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
            return 400, {}, dialects.error(WHO, 400, f"invalid id {name}")
        if name in there.files:
            return 409, {}, dialects.error(WHO, 409, f"dataset {name} already exists")
        there.files[name] = {"name": name, "content": b"", "looks": there.slow_files, "who": WHO}
        return 200, {}, _shown(there, name)
    if id not in there.files:
        return 404, {}, dialects.error(WHO, 404, f"dataset {id} not found")
    if verb == "upload":
        _, _, there.files[id]["content"] = asked.form()
        return 200, {}, {"id": id, "object": "file", "bytes": len(there.files[id]["content"])}
    if there.files[id]["content"]:
        there.files[id]["looks"] -= 1
    return 200, {}, _shown(there, id)


def _shown(there: Providers, id: str) -> dict[str, Any]:
    file = there.files[id]
    ready = file["content"] and file["looks"] <= 0
    return {
        "name": f"accounts/{ACCOUNT}/datasets/{id}",
        "state": "READY" if ready else "UPLOADING",
        "status": {"code": "OK", "message": ""},
        "format": "CHAT",
        "exampleCount": str(file["content"].count(b"\n")),
    }


def _created(there: Providers, asked: Asked) -> dialects.Answer:
    body, id = asked.value, asked.query.get("supervisedFineTuningJobId") or f"job-{len(there.jobs)}"
    unknown = set(body) - dialects.TAKEN[WHO]
    dataset = str(body.get("dataset")).rpartition("/")[2]
    output = str(body.get("outputModel", "")).rpartition("/")[2]
    if unknown or dataset not in there.files or not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", output):
        return 400, {}, dialects.error(WHO, 400, f"invalid request: {sorted(unknown) or dataset}")
    if id in there.jobs:
        return 409, {}, dialects.error(WHO, 409, f"job {id} already exists")
    wrong = dialects.faulty(there.files[dataset]["content"], "supervised", WHO)
    there.jobs[id] = {"who": WHO, "body": body, "at": 0, "ended": None, "why": wrong}
    return 200, {}, _job(there, id)


def _job(there: Providers, id: str) -> dict[str, Any]:
    job = there.jobs[id]
    why = job["why"] if job["ended"] == dialects.FAILED[WHO] else ""
    cost = {"currencyCode": "USD", "units": "1", "nanos": 250_000_000}
    return {
        **job["body"],
        "name": f"accounts/{ACCOUNT}/supervisedFineTuningJobs/{id}",
        "state": dialects.state(there, id),
        "status": {"code": "INVALID_ARGUMENT" if why else "OK", "message": why},
        "jobProgress": {"percent": 25 * job["at"], "epoch": 0},
        **({"estimatedCost": cost} if there.price is not None else {}),
    }
