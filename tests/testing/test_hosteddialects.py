"""Together and Mistral of the loopback providers: what is only theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tunekeeper.testing.hosted import Providers

ROWS = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}).encode() + b"\n"


@pytest.fixture
def there() -> Iterator[Providers]:
    with Providers(archive=b"packed") as server:
        yield server


@pytest.fixture
def ask(there: Providers) -> Iterator[Any]:
    """Ask a provider: `ask("together", "POST", "/files", json=…)`."""
    with httpx.Client(headers={"Authorization": f"Bearer {there.key}"}) as client:
        yield lambda who, method, path, **how: client.request(method, there.endpoint(who) + path, **how)


def uploaded(ask: Any) -> str:
    form = {"purpose": "fine-tune", "file_name": "rows.jsonl", "file_type": "jsonl"}
    told = ask("together", "POST", "/files", files={k: (None, v) for k, v in _summed(form).items()})
    assert told.status_code == 302
    with httpx.Client() as nobody:
        assert nobody.put(told.headers["location"], content=ROWS).status_code == 200
    return str(told.headers["x-together-file-id"])


def _summed(form: dict[str, str]) -> dict[str, str]:
    return {**form, "checksum": hashlib.sha256(ROWS).hexdigest()}


def test_together_takes_files_through_its_store_and_knows_them_by_their_checksum(ask: Any) -> None:
    id = uploaded(ask)
    assert ask("together", "GET", f"/files/{id}").json()["processing_status"] == "COMPLETED"
    form = _summed({"purpose": "fine-tune", "file_name": "other.jsonl", "file_type": "jsonl"})
    again = ask("together", "POST", "/files", files={k: (None, v) for k, v in form.items()})
    assert (again.status_code, again.json()["file_id"]) == (409, id)
    assert ask("together", "PUT", "/store/x", content=b"").status_code == 400, "the key has no place at the store"


def test_together_hands_out_the_adapter_of_a_job(ask: Any, there: Providers) -> None:
    body = {"model": "m", "training_file": uploaded(ask), "training_method": {"method": "sft", "train_on_inputs": False}}
    assert ask("together", "POST", "/fine-tunes", json={**body, "rank": 8}).status_code == 400
    id = ask("together", "POST", "/fine-tunes", json=body).json()["id"]
    seen = [ask("together", "GET", f"/fine-tunes/{id}").json()["status"] for _ in range(6)]
    assert seen == ["queued", "running", "running", "uploading", "completed", "completed"]
    sent = ask("together", "GET", f"/finetune/download?ft_id={id}&checkpoint=adapter")
    assert sent.status_code == 302
    assert httpx.get(sent.headers["location"]).content == b"packed"
    assert ask("together", "POST", f"/fine-tunes/{id}/cancel", json={}).status_code == 400


def test_mistral_waits_for_the_start_of_a_job_that_it_found_valid(ask: Any) -> None:
    files = {"file": ("rows.jsonl", ROWS), "purpose": (None, "fine-tune")}
    file = ask("mistral", "POST", "/files", files=files).json()
    assert (file["sample_type"], file["num_lines"]) == ("instruct", 1)
    body = {"model": "m", "training_files": [{"file_id": file["id"]}], "suffix": "s", "hyperparameters": {}, "auto_start": False}
    id = ask("mistral", "POST", "/fine_tuning/jobs", json=body).json()["id"]
    path = f"/fine_tuning/jobs/{id}"
    assert ask("mistral", "POST", f"{path}/start").status_code == 400
    seen = [ask("mistral", "GET", path).json()["status"] for _ in range(4)]
    assert seen == ["VALIDATING", "VALIDATED", "VALIDATED", "VALIDATED"]
    assert ask("mistral", "GET", path).json()["metadata"]["cost"] == 1.25
    assert ask("mistral", "POST", f"{path}/start").json()["status"] == "RUNNING"
    assert ask("mistral", "GET", "/fine_tuning/jobs?suffix=s").json()["total"] == 1
    assert ask("mistral", "GET", "/fine_tuning/jobs?suffix=t").json()["total"] == 0
