"""What each provider of `hosted.py` answers, from its published API: fields, states, pages, errors, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.testing.hosted import Asked, Providers

Answer = tuple[int, dict[str, str], Any]
NOW = 1_767_600_000
STATES = {
    "openai": ("validating_files", "queued", "running", "running", "succeeded"),
    "together": ("pending", "queued", "running", "running", "uploading", "completed"),
    "mistral": ("QUEUED", "VALIDATING", "VALIDATED", "RUNNING", "RUNNING", "SUCCESS"),
    "fireworks": ("JOB_STATE_CREATING", "JOB_STATE_VALIDATING", "JOB_STATE_RUNNING", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED"),
}
FAILED = {"openai": "failed", "together": "error", "mistral": "FAILED", "fireworks": "JOB_STATE_FAILED"}
CANCELLED = {"openai": "cancelled", "together": "cancelled", "mistral": "CANCELLED", "fireworks": "JOB_STATE_CANCELLED"}
LOSSES = (2.5, 1.25, 0.5)
TAKEN = {
    "openai": {"model", "training_file", "validation_file", "suffix", "seed", "metadata", "method", "integrations"},
    "mistral": {"model", "training_files", "validation_files", "suffix", "hyperparameters", "auto_start", "integrations"}
    | {"invalid_sample_skip_percentage", "job_type"},
    "together": {"model", "training_file", "validation_file", "suffix", "n_epochs", "n_checkpoints", "n_evals", "batch_size"}
    | {"learning_rate", "max_grad_norm", "weight_decay", "random_seed", "training_type", "training_method", "max_seq_length"}
    | {"warmup_ratio", "lr_scheduler", "packing", "from_checkpoint"},
    "fireworks": {"dataset", "baseModel", "outputModel", "displayName", "evaluationDataset", "epochs", "learningRate"}
    | {"loraRank", "batchSizeSamples", "maxContextLength", "learningRateWarmupSteps", "optimizerWeightDecay", "earlyStop"},
}


def error(provider: str, status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """An error in the provider's shape."""
    if provider == "mistral":
        return {"object": "error", "message": message, "type": "invalid_request_error", "code": status}
    if provider == "fireworks":
        return {"code": {404: 5, 409: 6}.get(status, 3), "message": message, "details": []}
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def openai(there: Providers, asked: Asked) -> Answer:
    """OpenAI: /files, /fine_tuning/jobs, its events, cancel."""
    return _files(there, asked, "openai") or _jobs_api(there, asked, "openai")


def mistral(there: Providers, asked: Asked) -> Answer:
    """Mistral: the same addresses, other fields; a job waits in VALIDATED until it is started."""
    return _files(there, asked, "mistral") or _jobs_api(there, asked, "mistral")


def _files(there: Providers, asked: Asked, who: str) -> Answer | None:
    if asked.path == "/files" and asked.method == "POST":
        fields, name, content = asked.form()
        if fields.get("purpose") != "fine-tune" or not name.endswith(".jsonl"):
            return 400, {}, error(who, 400, "'purpose' must be fine-tune and the file JSONL")
        id = f"file-{who}-{len(there.files) + 1}"
        there.files[id] = {"name": name, "content": content, "looks": there.slow_files, "who": who}
        return 200, {}, _file(id, there.files[id])
    if asked.path == "/files":
        mine = [_file(id, file) for id, file in reversed(there.files.items()) if file["who"] == who]
        return 200, {}, _page(mine, asked, who)
    found = re.fullmatch(r"/files/([^/]+)", asked.path)
    if found is None:
        return None
    if found[1] not in there.files:
        return 404, {}, error(who, 404, f"No such File object: {found[1]}")
    file = there.files[found[1]]
    file["looks"] -= 1
    return 200, {}, _file(found[1], file)


def _file(id: str, file: Mapping[str, Any]) -> dict[str, Any]:
    common = {"id": id, "object": "file", "bytes": len(file["content"]), "created_at": NOW, "filename": file["name"]}
    common |= {"purpose": "fine-tune"}
    if file["who"] == "mistral":
        return common | {"sample_type": "instruct", "source": "upload", "num_lines": file["content"].count(b"\n")}
    return common | {"status": "processed" if file["looks"] <= 0 else "uploaded", "status_details": None}


def _page(items: list[dict[str, Any]], asked: Asked, who: str) -> dict[str, Any]:
    """OpenAI pages by the last id, Mistral by a number from 0; two items a page, whatever is asked for."""
    if who == "mistral":
        number = int(asked.query.get("page", 0))
        return {"object": "list", "data": items[2 * number : 2 * number + 2], "total": len(items)}
    ids = [item["id"] for item in items]
    start = ids.index(asked.query["after"]) + 1 if asked.query.get("after") in ids else 0
    part = items[start : start + 2]
    return {"object": "list", "data": part, "has_more": start + 2 < len(items)}


def _jobs_api(there: Providers, asked: Asked, who: str) -> Answer:
    if asked.path == "/fine_tuning/jobs" and asked.method == "POST":
        return _created(there, asked, who)
    if asked.path == "/fine_tuning/jobs":
        mine = [(id, job) for id, job in reversed(there.jobs.items()) if job["who"] == who]
        wanted = {name: text for name, text in asked.query.items() if name.startswith("metadata[")}
        shown = [_shown(there, id, who) for id, job in mine if _fits(job["body"], wanted, asked.query.get("suffix"))]
        return 200, {}, _page(shown, asked, who)
    found = re.fullmatch(r"/fine_tuning/jobs/([^/]+)(?:/(events|cancel|start))?", asked.path)
    if found is None or found[1] not in there.jobs:
        return 404, {}, error(who, 404, f"Could not find fine tune: {asked.path}")
    id, verb = found[1], found[2]
    if verb == "events":
        return 200, {}, _page(_events(there, id), asked, who)
    if verb == "start":
        if state(there, id) != "VALIDATED":
            return 400, {}, error(who, 400, "job is not validated")
        there.jobs[id]["at"] += 1
        there.jobs[id]["body"]["auto_start"] = True
    elif verb == "cancel":
        return cancelled(there, id, who)
    else:
        advance(there, id)
    return 200, {}, _shown(there, id, who)


def _created(there: Providers, asked: Asked, who: str) -> Answer:
    body = asked.value
    unknown = set(body) - TAKEN[who]
    if unknown:
        return 400, {}, error(who, 400, f"Unrecognized request argument supplied: {sorted(unknown)[0]}")
    files = body.get("training_files", [{"file_id": body.get("training_file")}])
    if any(each.get("file_id") not in there.files for each in files):
        return 400, {}, error(who, 400, "invalid training_file", "invalid_file")
    if len(str(body.get("suffix") or "")) > (64 if who == "openai" else 18):
        return 400, {}, error(who, 400, "suffix is too long")
    wrong = faulty(there.files[files[0]["file_id"]]["content"], (body.get("method") or {}).get("type", "supervised"), who)
    id = f"ftjob-{len(there.jobs) + 1}" if who == "openai" else f"00000000-0000-4000-8000-{len(there.jobs) + 1:012d}"
    there.jobs[id] = {"who": who, "body": body, "at": 0, "ended": None, "why": wrong}
    return 200, {}, _shown(there, id, who)


def faulty(content: bytes, method: str, who: str) -> str | None:
    """What is wrong with training rows, as the validation of a provider finds it after the job was made."""
    rows = [json.loads(line) for line in content.splitlines()]
    wanted = {"messages"} if method != "dpo" else {"input", "preferred_output", "non_preferred_output"}
    for number, row in enumerate(rows, 1):
        if not wanted <= set(row) or not set(row) <= wanted | {"tools"}:
            return f"invalid training file: line {number} holds {', '.join(sorted(row))}"
        if method != "dpo" and row["messages"][-1]["role"] != "assistant":
            return f"invalid training file: line {number} does not end with an answer"
    return f"training file has {len(rows)} example(s), but must have at least 10" if who == "openai" and len(rows) < 10 else None


def state(there: Providers, id: str) -> str:
    """The state of a job, in its provider's words."""
    job = there.jobs[id]
    return str(job["ended"] or STATES[job["who"]][job["at"]])


def advance(there: Providers, id: str) -> None:
    """One state further; a job that cannot succeed fails where it would begin to run."""
    job = there.jobs[id]
    states = STATES[job["who"]]
    waits = state(there, id) == "VALIDATED" and not job["body"].get("auto_start")
    if there.hold or job["ended"] or waits or job["at"] == len(states) - 1:
        return
    job["at"] += 1
    why = job["why"] or there.fail
    if why and job["at"] >= 3:
        job |= {"ended": FAILED[job["who"]], "why": why}


def cancelled(there: Providers, id: str, who: str) -> Answer:
    """Cancel a job; one that is over is refused."""
    job = there.jobs[id]
    if job["ended"] or job["at"] == len(STATES[who]) - 1:
        return 400, {}, error(who, 400, f"Job has already completed: {id}")
    job["ended"] = CANCELLED[who]
    return 200, {}, _shown(there, id, who) if who in ("openai", "mistral") else {}


def _done(there: Providers, id: str) -> bool:
    return state(there, id) == STATES[there.jobs[id]["who"]][-1]


def _fits(body: Mapping[str, Any], wanted: Mapping[str, str], suffix: str | None) -> bool:
    marks = {f"metadata[{name}]": text for name, text in (body.get("metadata") or {}).items()}
    return all(marks.get(name) == text for name, text in wanted.items()) and suffix in (None, body.get("suffix"))


def _shown(there: Providers, id: str, who: str) -> dict[str, Any]:
    job, done = there.jobs[id], _done(there, id)
    body, said = job["body"], state(there, id)
    name = f"ft:{body['model']}:acme:{body.get('suffix')}:{id[-4:]}" if done else None
    common = {"id": id, "created_at": NOW, "model": body["model"], "status": said, "fine_tuned_model": name}
    common |= {"trained_tokens": 4321 if done else None}
    if who == "mistral":
        points = [
            {"metrics": {"train_loss": loss, "valid_loss": loss + 0.1}, "step_number": 10 * n} for n, loss in enumerate(LOSSES, 1)
        ]
        priced = {"cost": there.price, "cost_currency": "USD", "training_steps": 30} if there.price is not None else {}
        events = [{"name": "status-updated", "created_at": NOW, "data": {"status": said, "error": job["why"]}}]
        return common | {
            "object": "job",
            "job_type": "completion",
            "auto_start": body.get("auto_start", True),
            "suffix": body["suffix"],
            "training_files": [each["file_id"] for each in body["training_files"]],
            "modified_at": NOW,
            "events": events,
            "hyperparameters": body["hyperparameters"],
            "metadata": priced,
            "checkpoints": points if done else points[:1],
        }
    failed = {"code": "invalid_training_file", "message": job["why"], "param": "training_file"} if said == "failed" else None
    return common | {
        "object": "fine_tuning.job",
        "organization_id": "org-1",
        "result_files": [],
        "seed": body.get("seed") or 0,
        "error": failed,
        "finished_at": NOW if done else None,
        "training_file": body["training_file"],
        "validation_file": body.get("validation_file"),
        "metadata": body.get("metadata"),
        "method": body.get("method"),
        "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
        "estimated_finish": None,
        "integrations": [],
    }


def _events(there: Providers, id: str) -> list[dict[str, Any]]:
    """OpenAI's events, newest first: a message a state, and a metric for each loss once it runs."""
    job = there.jobs[id]
    found: list[dict[str, Any]] = [{"type": "message", "message": f"Created fine-tuning job: {id}", "data": {}}]
    for n, loss in enumerate(LOSSES[: max(0, job["at"] - 1)], 1):
        data = {"step": n, "total_steps": len(LOSSES), "train_loss": loss, "full_valid_loss": loss + 0.1}
        found.append({"type": "metrics", "message": f"Step {n}/{len(LOSSES)}: training loss={loss:.2f}", "data": data})
    common = {"object": "fine_tuning.job.event", "level": "info", "created_at": NOW}
    return [{"id": f"ftevent-{id}-{n}", **common, **event} for n, event in enumerate(found)][::-1]


def together(there: Providers, asked: Asked) -> Answer:
    """Together: files through a signed address, /fine-tunes, the adapter through another address."""
    return _together_files(there, asked) or _fine_tunes(there, asked)


def _elsewhere(asked: Asked) -> str:
    """The store is another host: what is sent there must not carry the key."""
    return asked.base.replace("127.0.0.1", "localhost")


def _together_files(there: Providers, asked: Asked) -> Answer | None:
    if asked.path == "/files" and asked.method == "POST":
        fields, _, _ = asked.form()
        if set(fields) != {"purpose", "file_name", "file_type", "checksum"} or fields["purpose"] != "fine-tune":
            return 400, {}, error("together", 400, "file_name, file_type, purpose and checksum are needed")
        for id, file in there.files.items():
            if file.get("checksum") == fields["checksum"] and file["content"]:
                return 409, {}, {"file_id": id, "error": {"message": "File already exists"}}
        id = f"file-together-{len(there.files) + 1}"
        new = {"name": fields["file_name"], "content": b"", "looks": there.slow_files, "who": "together"}
        there.files[id] = new | {"checksum": fields["checksum"]}
        return 302, {"Location": f"{_elsewhere(asked)}/store/{id}?signature=x", "X-Together-File-Id": id}, {}
    found = re.fullmatch(r"/(files|store)/([^/]+)(/preprocess)?", asked.path)
    if found is None:
        return None
    if found[1] == "store" and "authorization" in asked.headers:
        return 400, {}, error("together", 400, "only one auth mechanism allowed")
    if found[1] == "store" and asked.method == "GET":
        return 200, {"Content-Type": "application/octet-stream"}, there.archive
    if found[2] not in there.files:
        return 404, {}, error("together", 404, "file not found")
    file = there.files[found[2]]
    if found[1] == "store":
        file["content"] = asked.body
    else:
        file["looks"] -= asked.method == "GET"
    shown = {"id": found[2], "object": "file", "bytes": len(file["content"]), "filename": file["name"], "FileType": "jsonl"}
    shown |= {"purpose": "fine-tune", "created_at": NOW}
    return 200, {}, shown | {"processing_status": "COMPLETED" if file["looks"] <= 0 else "RUNNING"}


def _fine_tunes(there: Providers, asked: Asked) -> Answer:
    if asked.path == "/finetune/download":
        if asked.query.get("checkpoint") != "adapter" or asked.query.get("ft_id") not in there.jobs:
            return 400, {}, error("together", 400, "checkpoint must be merged or adapter")
        return 302, {"Location": f"{_elsewhere(asked)}/store/adapter.tar.zst"}, {}
    if asked.path == "/fine-tunes/estimate-price":
        told = {"estimation_available": there.price is not None, "estimated_total_price": there.price}
        return 200, {}, told | ({"unavailable_reason": "train_file_not_validated"} if there.price is None else {})
    if asked.path == "/fine-tunes" and asked.method == "POST":
        body = asked.value
        unknown = set(body) - TAKEN["together"]
        if unknown or body.get("training_file") not in there.files or len(body.get("suffix") or "") > 64:
            return 400, {}, error("together", 400, f"invalid request: {sorted(unknown) or 'training_file or suffix'}")
        method = {"sft": "supervised", "dpo": "dpo"}[body["training_method"]["method"]]
        id = f"ft-{len(there.jobs) + 1:08x}-together"
        wrong = faulty(there.files[body["training_file"]]["content"], method, "together")
        there.jobs[id] = {"who": "together", "body": body, "at": 0, "ended": None, "why": wrong}
        return 200, {}, _fine_tune(there, id)
    if asked.path == "/fine-tunes":
        return 200, {}, {"data": [_fine_tune(there, id) for id, job in there.jobs.items() if job["who"] == "together"]}
    found = re.fullmatch(r"/fine-tunes/([^/]+)(?:/(events|metrics|cancel))?", asked.path)
    if found is None or found[1] not in there.jobs:
        return 404, {}, error("together", 404, "job not found")
    if found[2] == "events":
        return 200, {}, {"data": _fine_tune_events(there, found[1])}
    if found[2] == "metrics":
        return 200, {}, {"metrics": [{"global_step": n, "train/loss": x, "eval/loss": x + 0.1} for n, x in enumerate(LOSSES, 1)]}
    if found[2] == "cancel":
        answer = cancelled(there, found[1], "together") if not _over(there, found[1]) else None
        return (200, {}, _fine_tune(there, found[1])) if answer else (400, {}, error("together", 400, "job is over"))
    advance(there, found[1])
    return 200, {}, _fine_tune(there, found[1])


def _over(there: Providers, id: str) -> bool:
    return bool(there.jobs[id]["ended"]) or _done(there, id)


def _fine_tune(there: Providers, id: str) -> dict[str, Any]:
    body, done = there.jobs[id]["body"], _done(there, id)
    return {
        **{name: body.get(name) for name in ("model", "suffix", "training_file", "n_epochs", "training_type")},
        "id": id,
        "status": state(there, id),
        "user_id": "u1",
        "created_at": "2026-01-05T08:00:00Z",
        "model_output_name": f"acme/{body['model'].rpartition('/')[2]}-{body.get('suffix')}" if done else None,
        "token_count": 4321 if done else None,
        "total_price": int((there.price or 0) * 1e9) if done else None,
        "progress": {"estimate_available": not done, "seconds_remaining": 60},
    }


def _fine_tune_events(there: Providers, id: str) -> list[dict[str, Any]]:
    job = there.jobs[id]
    found: list[dict[str, Any]] = [{"type": "job_pending", "message": "Job started"}]
    if job["at"] >= 2:
        found.append({"type": "training_start", "message": "Training started", "step": job["at"], "total_steps": 5})
    if job["ended"] == FAILED["together"]:
        found.append({"type": "job_error", "message": job["why"]})
    return [{"object": "fine-tune-event", "created_at": "2026-01-05T08:00:00Z", "level": "info", **event} for event in found]
