"""The loopback providers: OpenAI's dialect as OpenAI's own client sees it, and what every one of them refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI, RateLimitError

from tunekeeper.testing.hosted import Fault, Providers

LINE = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}).encode() + b"\n"


@pytest.fixture
def there() -> Iterator[Providers]:
    with Providers() as server:
        yield server


@pytest.fixture
def client(there: Providers) -> Iterator[OpenAI]:
    with OpenAI(base_url=there.endpoint("openai"), api_key=there.key, max_retries=0) as made:
        yield made


def begun(client: OpenAI, rows: int = 10, **more: Any) -> Any:
    file = client.files.create(file=("rows.jsonl", LINE * rows), purpose="fine-tune")
    assert (file.filename, file.bytes, file.status) == ("rows.jsonl", len(LINE) * rows, "processed")
    return client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id, metadata={"who": "me"}, **more)


def test_openais_client_uploads_begins_follows_and_lists(client: OpenAI, there: Providers) -> None:
    job = begun(client, suffix="desk", method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}})
    seen = [job.status]
    while seen[-1] not in ("succeeded", "failed"):
        seen.append(client.fine_tuning.jobs.retrieve(job.id).status)
    assert seen == ["validating_files", "queued", "running", "running", "succeeded"]
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert (done.fine_tuned_model, done.trained_tokens) == ("ft:gpt-4o-mini:acme:desk:ob-1", 4321)
    events = list(client.fine_tuning.jobs.list_events(job.id))
    assert [event.data["train_loss"] for event in events if event.type == "metrics"] == [0.5, 1.25, 2.5]  # type: ignore[index]
    others = [begun(client).id for _ in range(4)]
    assert [each.id for each in client.fine_tuning.jobs.list()] == [*reversed(others), job.id], "page by page"
    assert [each.id for each in client.files.list()][-1] == "file-openai-1"


def test_openais_client_cancels_once(client: OpenAI, there: Providers) -> None:
    there.hold = True
    job = begun(client)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(job.id)


def test_openais_client_is_told_what_is_wrong(client: OpenAI, there: Providers) -> None:
    job = begun(client, rows=9)
    while client.fine_tuning.jobs.retrieve(job.id).status != "failed":
        pass
    error = client.fine_tuning.jobs.retrieve(job.id).error
    assert error is not None
    assert "must have at least 10" in error.message
    with pytest.raises(BadRequestError, match="Unrecognized request argument supplied: rank"):
        begun(client, extra_body={"rank": 8})
    with pytest.raises(NotFoundError):
        client.files.retrieve("none")
    with pytest.raises(AuthenticationError):
        client.with_options(api_key="other").files.list()
    there.faults.append(Fault("GET", "/files", "429", 3))
    with pytest.raises(RateLimitError) as busy:
        client.files.list()
    assert busy.value.response.headers["retry-after"] == "3"


def test_every_request_can_be_looked_at(client: OpenAI, there: Providers) -> None:
    begun(client)
    fields, name, content = there.asked[0].form()
    assert (fields, name, content) == ({"purpose": "fine-tune"}, "rows.jsonl", LINE * 10)
    assert there.asked[1].value["metadata"] == {"who": "me"}
    assert there.counts["POST /files"] == 1
