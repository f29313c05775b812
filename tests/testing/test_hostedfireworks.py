"""Fireworks of the loopback providers: names that the client chooses, and datasets that must be ready."""

from __future__ import annotations

from typing import Any

import httpx

from tunekeeper.testing.hosted import Providers

ROWS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def test_a_dataset_and_a_job_are_made_once_under_their_names() -> None:
    with Providers(slow_files=1) as there, httpx.Client(headers={"Authorization": f"Bearer {there.key}"}) as client:
        root = there.endpoint("fireworks") + "/accounts/acme"

        def post(path: str, **how: Any) -> httpx.Response:
            return client.post(root + path, **how)

        made = {"datasetId": "rows", "dataset": {"userUploaded": {}}}
        assert post("/datasets", json={**made, "datasetId": "No Name"}).status_code == 400
        assert [post("/datasets", json=made).status_code for _ in range(2)] == [200, 409]
        assert client.get(f"{root}/datasets/rows").json()["state"] == "UPLOADING"
        assert post("/datasets/rows:upload", files={"file": ("rows.jsonl", ROWS)}).status_code == 200
        assert client.get(f"{root}/datasets/rows").json()["state"] == "READY"
        body = {"dataset": "accounts/acme/datasets/rows", "baseModel": "m", "outputModel": "accounts/acme/models/tuned"}
        path = "/supervisedFineTuningJobs?supervisedFineTuningJobId=tk-1"
        assert post(path, json={**body, "alpha": 8}).status_code == 400
        assert [post(path, json=body).status_code for _ in range(2)] == [200, 409]
        job = f"{root}/supervisedFineTuningJobs/tk-1"
        assert [client.get(job).json()["state"].removeprefix("JOB_STATE_") for _ in range(4)] == [
            *("VALIDATING", "RUNNING", "RUNNING", "COMPLETED")
        ]
        assert client.post(f"{job}:cancel", json={}).status_code == 400
        assert client.get(f"{root}/supervisedFineTuningJobs/none").status_code == 404
        assert client.get(there.endpoint("fireworks") + "/accounts/other/datasets/rows").status_code == 404
