"""A hosted training: four providers, ended anywhere and begun again, cancelled, refused, failed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tests.training.conftest import chat_lines, freeze
from tests.training.hosted.conftest import STEM, adapter_files, packed
from tunekeeper import jobs
from tunekeeper.core.errors import ArtifactError, ConfigError, DataError, UserError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.jobs.verbs import job_id
from tunekeeper.testing.hosted import Fault, Providers
from tunekeeper.training import standing
from tunekeeper.training.backends import trainer_of
from tunekeeper.training.config import Config
from tunekeeper.training.hosted import job as hosted
from tunekeeper.training.hosted.openai import OpenAI
from tunekeeper.training.recipe import resolve
from tunekeeper.training.verbs import cancel, train, version_of, wait
from tunekeeper.workspace import Workspace

Section = Callable[..., Config]
ALL = ("openai", "together", "mistral", "fireworks")
JOBS = {
    "openai": "/fine_tuning/jobs",
    "together": "/fine-tunes",
    "mistral": "/fine_tuning/jobs",
    "fireworks": "/accounts/acme/supervisedFineTuningJobs",
}


class Killed(BaseException):
    """What a test ends a child with; nothing in it may catch it."""


@dataclass
class Here:
    """A job's context in this process, which dies at its `dies`-th word."""

    work: Path
    attempt: int = 1
    dies: int | None = None
    said: int = 0

    def progress(self, fraction: float | None, **fields: Any) -> None:
        self.said += 1
        if self.said == self.dies:
            raise Killed


@dataclass
class Bench:
    """Trains in this process: `bench(section)` gives what the child returns."""

    ws: Workspace
    task: Model
    dataset: DatasetVersion

    def input(self, section: Config, dataset: DatasetVersion | None = None) -> dict[str, Any]:
        recipe = resolve(section)
        return trainer_of(section).ask(self.ws, self.task, section, dataset or self.dataset, None, recipe).input

    def __call__(self, section: Config, dataset: DatasetVersion | None = None, **how: Any) -> dict[str, Any]:
        input = self.input(section, dataset)
        return hosted.run(input, Here(self.work(input), **how))

    def work(self, input: dict[str, Any]) -> Path:
        """As of a job: equal work has the same folder."""
        folder = self.ws.path("work", job_id("train-hosted", input))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def end(self, section: Config) -> str:
        input = self.input(section)
        return hosted.end(input, self.work(input))


@pytest.fixture
def bench(ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers) -> Bench:
    return Bench(ws, task, dataset)


def test_a_model_that_stays_at_its_provider_becomes_a_version_that_says_where_it_answers(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section
) -> None:
    run = wait(ws, train(ws, task, section("openai"), dataset))
    assert (run.state, run.rows, run.adapter, run.loss) == ("done", 48, None, (2.5, 1.25, 0.5))
    assert any("parity" in line for line in run.warnings)
    version = version_of(ws, run)
    assert version is not None
    assert (version.name, version.adapter, version.dataset) == ("v1.0-2026-01-05-48examples", None, dataset.id)
    assert version.metadata == {
        "trained_by": "openai",
        "job": "ftjob-1",
        "hosted": "ft:gpt-4o-mini-2024-07-18:acme:desk:ob-1",
        "endpoint": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
    }
    assert train(ws, task, section("openai"), dataset).id == run.id, "the same work is the same run"
    assert there.counts["POST /fine_tuning/jobs"] == 1


def test_an_adapter_that_comes_home_is_bound_to_our_base_and_costs_what_the_provider_says(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section
) -> None:
    run = wait(ws, train(ws, task, section("together"), dataset))
    assert (run.state, run.cost_usd, run.final_loss) == ("done", 1.25, 0.5)
    version = version_of(ws, run)
    assert version is not None
    assert version.adapter is not None
    sidecar = json.loads(
        ws.blobs.checkout_folder(version.adapter, ws.path("work", "out")).joinpath("tunekeeper.json").read_text()
    )
    assert sidecar["base_digest"] == version.base_digest == run.base_digest
    assert version.metadata == {"trained_by": "together", "job": "ft-00000001-together"}


def test_a_killed_child_goes_on_with_the_same_upload_and_the_same_job(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section
) -> None:
    there.hold = True
    run = train(ws, task, section("openai"), dataset)
    folder = ws.path("work", run.job or "")
    until(
        lambda: (folder / "files" / hosted.REMOTE).exists() and json.loads((folder / "files" / hosted.REMOTE).read_text())["job"]
    )
    for name in ("wrapper.json", "child.json"):
        os.kill(json.loads((folder / name).read_text())["pid"], signal.SIGKILL)
    there.hold = False
    ended = wait(ws, run)
    assert ended.state == "done", ended.ended
    assert jobs.look(ws, run.job or "").attempt == 2
    assert (len(there.jobs), len(there.files)) == (1, 2)


@pytest.mark.parametrize("provider", ALL)
def test_wherever_it_dies_nothing_is_sent_or_begun_twice(bench: Bench, there: Providers, section: Section, provider: str) -> None:
    attempt = 0
    for attempt in range(1, 20):
        try:
            done = bench(section(provider), attempt=attempt, dies=attempt)
            break
        except Killed:
            continue
    assert attempt > 3, "it died at least at both uploads and at the first look"
    assert not list(bench.work(bench.input(section(provider))).glob("*.jsonl")), "rows are kept in the dataset alone"
    assert done["rows"] == 48
    assert (len(there.jobs), len(there.files)) == (1, 2)


@pytest.mark.parametrize("provider", ALL)
def test_what_was_done_while_its_answer_was_lost_is_found_again_and_not_done_twice(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    upload = {"together": ("PUT", "/store/"), "fireworks": ("POST", ":upload")}.get(provider, ("POST", "/files"))
    there.faults.extend((Fault(*upload, "late"), Fault("POST", JOBS[provider], "late"), Fault("GET", JOBS[provider], "500")))
    bench(section(provider))
    assert (len(there.jobs), len(there.files), len(there.faults)) == (1, 2, 0)


@pytest.mark.parametrize("provider", ALL)
def test_files_that_are_processed_slowly_and_a_busy_provider_are_waited_for(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.slow_files = 3
    there.faults.extend((Fault("POST", "", "429", 0), Fault("GET", JOBS[provider], "503"), Fault("GET", "", "drop")))
    assert bench(section(provider))["rows"] == 48
    assert (len(there.jobs), len(there.files)) == (1, 2)


@pytest.mark.parametrize("provider", ALL)
def test_a_job_that_fails_says_why_and_is_begun_anew_when_asked_again(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.fail = "moderation found 3 examples"
    with pytest.raises(UserError, match="moderation found 3 examples"):
        bench(section(provider))
    with pytest.raises(UserError, match="moderation found 3 examples"):
        bench(section(provider), attempt=2)
    assert len(there.jobs) == 1, "a second attempt at the same work reports the same end"
    there.fail = None
    assert bench(section(provider))["rows"] == 48
    assert len(there.jobs) == 2


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("together", "user_error"),
        ("fireworks", "JOB_STATE_DELETED"),
        ("fireworks", "JOB_STATE_EXPIRED_CLEANING_UP"),
        ("fireworks", "JOB_STATE_ARCHIVED"),
    ],
)
def test_every_state_that_a_job_ends_in_ends_the_run_and_is_not_waited_for(
    bench: Bench, there: Providers, section: Section, provider: str, said: str
) -> None:
    there.hold = True
    with pytest.raises(Killed):
        bench(section(provider), dies=3)
    (job,) = there.jobs.values()
    job["ended"] = said
    with pytest.raises(UserError, match=said):
        bench(section(provider), attempt=2)


def test_a_job_that_stays_queued_is_told_as_such_and_can_be_cancelled(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section
) -> None:
    there.hold = True
    run = train(ws, task, section("together"), dataset)
    until(lambda: "pending" in (standing.of(ws, run) or {})["said"])
    assert "together ft-00000001-together: pending" in (standing.of(ws, run) or {})["said"]
    assert cancel(ws, run).state == "cancelled"


def test_cancelling_a_run_cancels_the_job_at_the_provider(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section
) -> None:
    there.hold = True
    run = train(ws, task, section("openai"), dataset)
    until(lambda: there.jobs)
    ended = cancel(ws, run)
    assert (ended.state, ended.version) == ("cancelled", None)
    assert "openai was told to cancel ftjob-1, which is cancelled" in (ended.ended or "")


@pytest.mark.parametrize("provider", ALL)
def test_what_goes_on_at_any_provider_can_be_ended_even_when_its_id_was_never_written_down(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.hold = True
    work = bench.work(bench.input(section(provider)))
    with pytest.raises(Killed):
        bench(section(provider), dies=3)  # both sides were sent and the job was begun
    (work / hosted.REMOTE).write_text(json.dumps({**json.loads((work / hosted.REMOTE).read_text()), "job": None}))
    assert "was told to cancel" in bench.end(section(provider))
    (job,) = there.jobs.values()
    assert str(job["ended"]).upper().endswith("CANCELLED")
    assert "was told to cancel" in bench.end(section(provider)), "an ended one is no error"


@pytest.mark.parametrize("provider", ALL)
def test_a_job_in_a_state_that_nobody_knows_is_not_taken_for_ended_when_it_cannot_be_cancelled(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.hold = True
    with pytest.raises(Killed):
        bench(section(provider), dies=4)
    (job,) = there.jobs.values()
    job["ended"] = "pausing"
    there.faults.append(Fault("POST", "cancel", "409"))
    assert "may go on and cost" in bench.end(section(provider))


def test_a_cancelled_run_whose_provider_is_away_says_that_it_may_go_on_and_cost(
    bench: Bench, there: Providers, section: Section
) -> None:
    there.hold = True
    with pytest.raises(Killed):
        bench(section("openai"), dies=3)
    there.faults.append(Fault("POST", "/cancel", "500"))
    said = bench.end(section("openai"))
    assert "may go on and cost: openai POST /openai/v1/fine_tuning/jobs/ftjob-1/cancel: status 500" in said


def test_a_key_that_is_refused_is_told_with_the_way_out_and_no_key_is_written_down(
    ws: Workspace, task: Model, dataset: DatasetVersion, there: Providers, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    run = wait(ws, train(ws, task, section("openai"), dataset))
    assert run.state == "failed"
    assert "Incorrect API key provided (fix: export OPENAI_API_KEY=…)" in (run.ended or "")
    kept = [path for path in ws.root.rglob("*") if path.is_file() and b"sk-secret-of-mine" in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize("key", ["…", "sk-one\nsk-two", "sk-one sk-two"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(
    bench: Bench, there: Providers, section: Section, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds what no key has") as refused:
        bench(section("openai"))
    assert key not in refused.value.message
    assert there.asked == []


@pytest.mark.parametrize("provider", ALL)
def test_a_key_that_is_revoked_while_the_job_goes_on_ends_the_run_and_another_goes_on_with_the_same_job(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    with pytest.raises(Killed):
        bench(section(provider), dies=4)
    known, there.key = there.key, "another"
    with pytest.raises(ConfigError, match="status 401"):
        bench(section(provider), attempt=2)
    there.key = known
    assert bench(section(provider))["rows"] == 48
    assert (len(there.jobs), len(there.files)) == (1, 2)


@pytest.mark.parametrize("status", ["401", "403", "500"])
def test_an_address_signed_for_an_upload_that_has_run_out_is_asked_for_again(
    bench: Bench, there: Providers, section: Section, status: str
) -> None:
    there.faults.append(Fault("PUT", "/store/", status))
    assert bench(section("together"))["rows"] == 48
    assert (len(there.jobs), len(there.faults)) == (1, 0)


def test_a_job_that_is_done_and_names_no_model_makes_no_version_and_is_looked_at_again(
    bench: Bench, there: Providers, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OpenAI.look
    monkeypatch.setattr(OpenAI, "look", lambda self, id: replace(real(self, id), model=None))
    with pytest.raises(UserError, match="openai ftjob-1: succeeded, and no model is named") as caught:
        bench(section("openai"))
    assert "looked at again" in (caught.value.fix or "")
    monkeypatch.setattr(OpenAI, "look", real)
    assert bench(section("openai"))["whereabouts"]["hosted"].startswith("ft:")
    assert len(there.jobs) == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (adapter_files({f"{STEM}.lora_A.weight": (2, 99), f"{STEM}.lora_B.weight": (256, 2)}), "another base"),
        (adapter_files({f"{STEM}.lora_A.weight": (2, 256)}), "lacks its other half"),
        ({"adapter_config.json": b"{}"}, "holds no adapter_model.safetensors"),
    ],
)
def test_an_adapter_that_does_not_fit_our_base_is_refused(
    bench: Bench, there: Providers, section: Section, files: dict[str, bytes], said: str
) -> None:
    there.archive = packed(files)
    with pytest.raises(ArtifactError, match=said):
        bench(section("together"))
    there.archive = packed(adapter_files())
    assert bench(section("together"), attempt=2)["adapter"] == "adapter", "a broken archive is fetched again"


def test_an_adapter_larger_than_was_allowed_is_not_taken_home(bench: Bench, there: Providers, section: Section) -> None:
    there.archive = b"x" * 100_000
    with pytest.raises(ArtifactError, match="more than 50,000 bytes"):
        bench(section("together", options={"most_bytes": 50_000}))
    assert not list(bench.ws.path("work").rglob("*adapter*"))


@pytest.mark.parametrize(("provider", "left"), [("together", 0), ("mistral", 1)])
def test_a_run_that_would_cost_more_than_was_allowed_is_not_begun(
    bench: Bench, there: Providers, section: Section, provider: str, left: int
) -> None:
    with pytest.raises(UserError, match=r"1\.25 USD, most_usd is 1\.00"):
        bench(section(provider, options={"most_usd": 1.0}))
    assert [job["ended"] for job in there.jobs.values()] == ["CANCELLED"] * left
    assert not any(asked.path.endswith("/start") for asked in there.asked)
    assert bench(section(provider, options={"most_usd": 2.0}))["cost_usd"] == 1.25
    (job,) = [job["body"] for job in there.jobs.values() if job["ended"] is None]
    for priced in (asked.value for asked in there.asked if asked.path.endswith("/estimate-price")):
        assert priced.items() <= job.items(), "what is estimated is the job"
        assert {"validation_file", "n_evals"} <= priced.keys(), "looking at the held-out rows is paid for as well"
    there.price = None
    with pytest.raises(UserError, match="gives no estimate"):
        bench(section(provider, epochs=4, options={"most_usd": 2.0}))


@pytest.mark.parametrize("provider", ["openai", "fireworks"])
def test_a_limit_that_a_provider_cannot_be_held_to_is_refused_and_not_passed_over(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    with pytest.raises(ConfigError, match=f"most_usd: {provider} says what a run costs only once it has begun"):
        bench(section(provider, options={"most_usd": 20.0}))
    assert there.asked == []


def test_rows_beyond_the_providers_limits_are_refused_before_anything_is_sent(
    bench: Bench, there: Providers, section: Section
) -> None:
    with pytest.raises(DataError, match="openai takes 10 rows or more; there are 9"):
        bench(section("openai"), freeze(bench.ws, chat_lines(9), [], number=2))
    with pytest.raises(DataError, match="none of 12 rows has a rejected answer"):
        bench(section("openai", objective="dpo"), freeze(bench.ws, chat_lines(12), [], number=3))
    assert there.asked == []


def test_preferences_and_answers_that_do_not_count_go_up_in_the_providers_own_form(
    bench: Bench, there: Providers, section: Section
) -> None:
    rows = [_preference(line) for line in chat_lines(12)]
    bench(section("openai", objective="dpo", beta=0.3), freeze(bench.ws, rows, [], number=2))
    (file,) = there.files.values()
    first = json.loads(file["content"].splitlines()[0])
    assert set(first) == {"input", "preferred_output", "non_preferred_output"}
    assert first["non_preferred_output"] == [{"role": "assistant", "content": "no idea"}]
    (job,) = there.jobs.values()
    assert job["body"]["method"]["dpo"]["hyperparameters"]["beta"] == 0.3
    weighted = freeze(bench.ws, [_weighted(line) for line in chat_lines(12, seed=6)], [], number=3)
    bench(section("together"), weighted)
    sent = json.loads(list(there.files.values())[-1]["content"].splitlines()[0])
    assert [message.get("weight") for message in sent["messages"] if message["role"] == "assistant"] == [0, None]


def _preference(line: str) -> str:
    value: dict[str, Any] = json.loads(line)
    return json.dumps({**value, "metadata": {**value["metadata"], "rejected": "no idea"}}) + "\n"


def _weighted(line: str) -> str:
    value: dict[str, Any] = json.loads(line)
    answer = {"role": "assistant", "content": "Hello.", "weight": 0}
    messages = value["messages"]
    return json.dumps({**value, "messages": [*messages[:-1], answer, {"role": "user", "content": "?"}, messages[-1]]}) + "\n"


@pytest.mark.parametrize("provider", ALL)
def test_a_page_in_the_place_of_an_answer_is_asked_again_and_begins_nothing_twice(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.faults.extend((Fault("POST", JOBS[provider], "page"), Fault("GET", JOBS[provider], "page")))
    there.faults.extend(Fault("GET", JOBS[provider], "page") for _ in range(3))
    assert bench(section(provider))["rows"] == 48
    assert (len(there.jobs), len(there.files), len(there.faults)) == (1, 2, 0)


@pytest.mark.parametrize("provider", ALL)
def test_a_job_that_is_not_found_for_a_moment_is_looked_at_again(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    with pytest.raises(Killed):
        bench(section(provider), dies=4)
    there.faults.extend(Fault("GET", JOBS[provider], "404") for _ in range(hosted.MISSES))
    assert bench(section(provider), attempt=2)["rows"] == 48
    assert (len(there.jobs), len(there.faults)) == (1, 0)


@pytest.mark.parametrize("provider", ALL)
def test_a_job_that_vanished_is_told_and_begun_anew_only_when_asked_again(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    there.hold = True
    with pytest.raises(Killed):
        bench(section(provider), dies=4)
    there.hold = False
    there.jobs.clear()
    with pytest.raises(UserError, match="status 404") as caught:
        bench(section(provider), attempt=2)
    assert "begun anew" in (caught.value.fix or "")
    assert not there.jobs, "a second attempt pays for nothing"
    assert bench(section(provider))["rows"] == 48
    assert len(there.jobs) == 1


@pytest.mark.parametrize("provider", ALL)
def test_rows_that_were_deleted_there_before_the_job_was_begun_are_sent_again(
    bench: Bench, there: Providers, section: Section, provider: str
) -> None:
    with pytest.raises(Killed):
        bench(section(provider), dies=2)
    there.files.clear()
    assert bench(section(provider), attempt=2)["rows"] == 48
    assert (len(there.jobs), len(there.files)) == (1, 2)
