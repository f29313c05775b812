from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import until
from tunekeeper import jobs
from tunekeeper.core.errors import DataError, DiskFull, NotFound, OurFault
from tunekeeper.jobs import Job
from tunekeeper.jobs.config import Config
from tunekeeper.jobs.folder import read_json, started
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.store.transactions import find_audit
from tunekeeper.workspace import Workspace

KIND = "kinds_for_tests:"


def until_told(ws: Workspace, job: Job) -> dict[str, object]:
    """The fields of the job's last progress, once there is one."""
    until(lambda: jobs.look(ws, job.id).detail is not None)
    return jobs.look(ws, job.id).detail or {}


def pid_of(job: Job, name: str) -> int:
    named = read_json(job.work.parent / name)
    assert named is not None
    return int(named["pid"])


def starts(job: Job) -> int:
    return len((job.work / "starts").read_text().splitlines())


def test_a_job_does_its_work_and_leaves_output_and_files(ws: Workspace) -> None:
    seen: list[float | None] = []
    job = jobs.ensure(ws, KIND + "count", {"n": 4}, model="support-desk")
    assert (job.state, job.model, job.attempt) == ("running", "support-desk", 1)
    done = jobs.wait(ws, job.id, lambda job: seen.append(job.progress))
    assert done.state == "done"
    assert done.output is not None
    assert done.output["n"] == 4
    assert done.detail == {"step": 3}
    assert (done.work / "result.txt").read_text() == "4"
    assert seen[-1] == 1.0
    assert done.seconds is not None
    assert done.cpu_seconds is not None
    assert 0 < done.cpu_seconds <= done.seconds * 4
    assert done.output["heavy"] == [], "the child pays for nothing that its kind does not import"


def test_the_same_work_is_found_again_and_not_done_twice(ws: Workspace) -> None:
    first = jobs.ensure(ws, KIND + "mark", {"a": 1, "b": [2]})
    (first.work / "go").touch()
    jobs.wait(ws, first.id)
    again = jobs.ensure(ws, KIND + "mark", {"b": [2], "a": 1})
    assert (again.id, again.state, again.attempt) == (first.id, "done", 1)
    assert starts(again) == 1
    other = jobs.ensure(ws, KIND + "mark", {"a": 1, "b": [3]})
    assert other.id != first.id


def test_many_that_ask_at_once_start_one_child(ws: Workspace) -> None:
    found: list[Job] = []
    threads = [threading.Thread(target=lambda: found.append(jobs.ensure(ws, KIND + "mark", {}))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in found}) == 1
    (found[0].work / "go").touch()
    assert jobs.wait(ws, found[0].id).output == {"attempt": 1}
    assert starts(found[0]) == 1


def test_the_death_of_the_caller_kills_no_job(ws: Workspace) -> None:
    code = (
        "import os, signal; from pathlib import Path; from tunekeeper import jobs\n"
        "from tunekeeper.workspace import open_workspace\n"
        f"print(jobs.ensure(open_workspace(Path({str(ws.root)!r})), {KIND + 'mark'!r}, {{}}).id, flush=True)\n"
        "os.killpg(os.getpgid(0), signal.SIGKILL)"
    )
    paths = os.pathsep.join([str(Path(tunekeeper.__file__).parent.parent), str(Path(__file__).parent)])
    caller = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": paths},
        start_new_session=True,
        check=False,
    )
    assert caller.returncode == -signal.SIGKILL
    job = jobs.look(ws, caller.stdout.strip())
    until_told(ws, job)
    (job.work / "go").touch()
    assert jobs.wait(ws, job.id).output == {"attempt": 1}
    assert starts(job) == 1


@pytest.mark.parametrize("victim", ["wrapper.json", "child.json"])
def test_a_job_that_was_killed_is_tried_again_and_leaves_nothing_running(ws: Workspace, victim: str) -> None:
    job = jobs.ensure(ws, KIND + "mark", {})
    first = until_told(ws, job)["pid"]
    assert isinstance(first, int)
    os.kill(pid_of(job, victim), signal.SIGKILL)
    until(lambda: jobs.look(ws, job.id).attempt == 2)
    until(lambda: started(first) is None)
    (job.work / "go").touch()
    done = jobs.wait(ws, job.id)
    assert (done.state, done.output) == ("done", {"attempt": 2})
    assert starts(job) == 2


@pytest.mark.parametrize("moment", ["write_json", "subprocess"])
def test_an_attempt_whose_starter_was_killed_before_it_began_is_begun_and_counts_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: object, **named: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(
            "tunekeeper.jobs.folder.write_json" if moment == "write_json" else "tunekeeper.jobs.start.subprocess.run", die
        )
        with pytest.raises(Killed):
            jobs.ensure(ws, KIND + "mark", {})
    with ws.state.read() as tx:
        (row,) = find_jobs(tx)
    assert (row.state, row.attempt) == ("running", 1)
    job = jobs.look(ws, row.id)
    (job.work / "go").touch()
    assert jobs.wait(ws, job.id).output == {"attempt": 1}
    assert (starts(job), jobs.look(ws, row.id).attempt) == (1, 1)


def test_what_a_killed_wrapper_leaves_running_is_ended_before_the_next_attempt(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "family", {})
    pids = until_told(ws, job)["pids"]
    assert isinstance(pids, list)
    os.kill(pid_of(job, "wrapper.json"), signal.SIGKILL)
    until(lambda: jobs.look(ws, job.id).attempt == 2)
    until(lambda: not any(started(pid) for pid in pids))


def test_a_job_that_keeps_dying_fails_after_three_attempts_with_its_last_words(ws: Workspace) -> None:
    lucky = jobs.wait(ws, jobs.ensure(ws, KIND + "die", {"times": 2}).id)
    assert (lucky.state, lucky.output) == ("done", {"attempt": 3})
    doomed = jobs.wait(ws, jobs.ensure(ws, KIND + "die", {"times": 9}).id)
    assert (doomed.state, doomed.attempt) == ("failed", 3)
    assert doomed.error == "died 3 times; last: attempt 3 goes down"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where whoever started the tests lets it be ignored, as a shell does for what it puts behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_ends_the_waiting_between_two_looks_and_never_in_the_middle_of_one(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "mark", {})
    looked = []

    def hit(job: Job) -> None:
        signal.raise_signal(signal.SIGINT)
        looked.append(job.state)  # what is done just then is done to its end

    with pytest.raises(KeyboardInterrupt):
        jobs.wait(ws, job.id, hit)
    assert looked == ["running"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert jobs.look(ws, job.id).state == "running", "the job goes on"
    jobs.cancel(ws, job.id, config=Config(grace=0.3))


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_interrupt_does_not_wait_for_anything(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "mark", {})

    def hit(job: Job) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("this is never come to")

    with pytest.raises(KeyboardInterrupt):
        jobs.wait(ws, job.id, hit)
    jobs.cancel(ws, job.id, config=Config(grace=0.3))


def test_cancelling_ends_the_whole_group(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "family", {})
    pids = until_told(ws, job)["pids"]
    assert isinstance(pids, list)
    assert all(started(pid) is not None for pid in pids)
    cancelled = jobs.cancel(ws, job.id, config=Config(grace=0.3))
    assert cancelled.state == "cancelled"
    until(lambda: not any(started(pid) for pid in pids))
    assert jobs.look(ws, job.id).state == "cancelled"
    assert jobs.ensure(ws, KIND + "family", {}).state == "cancelled"
    assert jobs.cancel(ws, job.id).state == "cancelled"


def test_what_was_cancelled_or_failed_is_done_anew_when_asked(ws: Workspace) -> None:
    job = jobs.cancel(ws, jobs.ensure(ws, KIND + "mark", {}).id)
    anew = jobs.ensure(ws, KIND + "mark", {}, again=True)
    assert (anew.id, anew.state) == (job.id, "running")
    (anew.work / "go").touch()
    assert jobs.wait(ws, anew.id).state == "done"
    assert jobs.ensure(ws, KIND + "mark", {}, again=True).state == "done", "what is done is not done again"


def test_a_job_that_takes_too_long_is_ended_with_all_it_started(ws: Workspace) -> None:
    for seconds in (2, 10, 50):  # long enough to have begun, on however busy a machine
        job = jobs.ensure(ws, KIND + "family", {}, timeout=seconds, config=Config(grace=0.3), again=True)
        late = jobs.wait(ws, job.id)
        if late.detail is not None:
            break
    assert late.detail is not None
    pids = late.detail["pids"]
    assert isinstance(pids, list)
    assert (late.state, late.error, late.fix) == ("failed", f"took longer than {seconds} s", None)
    until(lambda: not any(started(pid) for pid in pids))


def test_grandchildren_end_with_a_job_that_is_done(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "family", {"seconds": 0.1})
    pids = until_told(ws, job)["pids"]
    assert isinstance(pids, list)
    assert jobs.wait(ws, job.id).state == "done"
    until(lambda: not any(started(pid) for pid in pids))


def test_an_error_raised_on_purpose_comes_back_as_the_same_class(ws: Workspace) -> None:
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "fail", {"how": "on purpose"}).id)
    assert (job.state, job.attempt, job.error) == ("failed", 1, "tickets.csv:3: no column 'text'")
    with pytest.raises(DataError, match="--map text=COLUMN"):
        jobs.reraise(job)


@pytest.mark.parametrize(
    ("how", "words"),
    [("by accident", "KeyError: 'missing'"), ("wordless", "the last thing it said"), ("unserialisable", "TypeError: .*set")],
)
def test_any_other_failure_is_one_line_and_our_fault(ws: Workspace, how: str, words: str) -> None:
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "fail", {"how": how}).id)
    assert job.state == "failed"
    with pytest.raises(OurFault, match=words):
        jobs.reraise(job)


def test_a_full_disk_ends_no_job_for_a_word_about_it_and_one_that_it_ends_says_so(ws: Workspace) -> None:
    assert jobs.wait(ws, jobs.ensure(ws, KIND + "fill", {"file": False}).id).state == "done"
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "fill", {"file": True}).id)
    with pytest.raises(DiskFull, match=rf"^no room left on the disk, .* while working in \S*{job.id}.*free some space"):
        jobs.reraise(job)


def test_an_unknown_kind_and_an_unknown_job_are_named(ws: Workspace) -> None:
    job = jobs.wait(ws, jobs.ensure(ws, "trian", {}).id)
    assert job.error is not None
    assert "trian" in job.error
    assert job.fix == "write 'train'"
    missing = jobs.wait(ws, jobs.ensure(ws, KIND + "nothing", {}).id)
    assert (missing.state, missing.error_kind) == ("failed", "ConfigError")
    with pytest.raises(NotFound, match="job_none"):
        jobs.look(ws, "job_none")


def test_printed_output_is_kept_within_bounds(ws: Workspace) -> None:
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "shout", {}, config=Config(output_bytes=5000)).id)
    assert job.state == "done"
    assert (job.work.parent / "output.log").stat().st_size == 5000


def test_the_child_sees_an_allow_list_and_threads_that_sleep(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("UPSTREAM_KEY", "y")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "count", {"n": 1, "threads": 2}, env=("UPSTREAM_KEY",)).id)
    assert job.output is not None
    seen = job.output["environment"]
    assert "SECRET_TOKEN" not in seen
    assert seen["UPSTREAM_KEY"] == "y"
    assert (seen["OMP_NUM_THREADS"], seen["OMP_WAIT_POLICY"], seen["GOMP_SPINCOUNT"]) == ("2", "PASSIVE", "0")


def test_every_step_of_a_job_is_on_record(ws: Workspace) -> None:
    job = jobs.wait(ws, jobs.ensure(ws, KIND + "count", {"n": 1}).id)
    with ws.state.read() as tx:
        assert [row["rev"] for row in find_audit(tx, ledger="jobs", id=job.id)] == [3, 2, 1]
        [row] = find_jobs(tx, kind=KIND + "count")
        assert find_jobs(tx, kind=row.kind, digest=row.digest) == [row]
        assert find_jobs(tx, kind="train") == []


def test_a_job_is_what_the_kernel_ends_first_where_memory_runs_out(ws: Workspace) -> None:
    job = jobs.ensure(ws, KIND + "mark", {})
    until_told(ws, job)
    ours, its = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", pid_of(job, "child.json")))
    assert its >= max(500, ours)
    jobs.cancel(ws, job.id)
