"""The verbs. Each settles what it sees: an attempt that ended is recorded, one that died starts again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from tunekeeper.core import errors
from tunekeeper.core.errors import Conflict, NotFound, OurFault, TunekeeperError
from tunekeeper.core.ids import canonical_json, digest_bytes, digest_json
from tunekeeper.jobs import folder as folders
from tunekeeper.jobs.config import Config
from tunekeeper.jobs.kinds import LIMITS
from tunekeeper.jobs.start import start
from tunekeeper.store.ledgers.jobs import JobRow, load_job, save_job
from tunekeeper.workspace import Workspace

ENDED = ("done", "failed", "cancelled")
_SHORTEST_NAP = 0.02
_LONGEST_NAP = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One piece of long work as it stands now."""

    id: str
    """`job_…`; the same kind and input always have the same id."""
    kind: str
    """What it does."""
    model: str
    """The model it is for."""
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    """Where it stands."""
    work: Path
    """Folder with the files it leaves."""
    input: dict[str, Any] = field(default_factory=dict)
    """What it was asked to do."""
    attempt: int = 0
    """How often it was started."""
    progress: float | None = None
    """0 to 1; None when unknown."""
    detail: dict[str, Any] | None = None
    """Fields of the last progress; None before the first."""
    output: dict[str, Any] | None = None
    """What it returned, once done."""
    error: str | None = None
    """Why it failed, in one line."""
    error_kind: str | None = None
    """Class name of the error, where it was raised on purpose."""
    fix: str | None = None
    """The command that mends it."""
    seconds: float | None = None
    """Wall seconds of the attempt that ended it."""
    cpu_seconds: float | None = None
    """CPU seconds of that attempt, with its children."""


def job_id(kind: str, input: dict[str, Any]) -> str:
    """The id of a piece of work: equal work has equal ids."""
    return "job_" + digest_bytes(kind.encode() + b"\0" + canonical_json(input))[7:33]


def ensure(
    ws: Workspace,
    kind: str,
    input: dict[str, Any],
    *,
    model: str = "",
    timeout: float | None = None,
    env: tuple[str, ...] = (),
    again: bool = False,
    config: Config = Config(),
) -> Job:
    """Have this work done: found again by kind and input when it was asked for before, else begun. Returns at once.

    `input`: JSON values; `threads` in it sets the child's threads. `timeout`: real seconds for an attempt. `env`: names of
    further environment variables the child may see (an upstream's key). `again`: begin anew what failed or was cancelled.
    """
    id = job_id(kind, input)
    row = _known(ws, id)
    if row is None:
        row = _begin(ws, JobRow(id=id, kind=kind, model=model, digest=digest_json(input), input=input, timeout=timeout, env=env))
    elif again and row.state in ("failed", "cancelled"):
        row = _save(
            ws, replace(row, state="queued", attempt=0, output=None, error=None, error_kind=None, fix=None, timeout=timeout)
        )
    return _job(ws, _settle(ws, row, config))


def look(ws: Workspace, id: str, *, config: Config = Config()) -> Job:
    """How a job stands now; an end is recorded, a death answered with another attempt. Raises NotFound."""
    with ws.state.read() as tx:
        row = load_job(tx, id)
    return _job(ws, _settle(ws, row, config))


def wait(ws: Workspace, id: str, on_progress: Callable[[Job], None] | None = None, *, config: Config = Config()) -> Job:
    """Look until the job has ended, calling `on_progress` whenever it got on; interrupted, the job goes on. Raises NotFound, and
    KeyboardInterrupt after Ctrl-C."""
    seen: tuple[Any, ...] = ()
    nap = _SHORTEST_NAP
    with _interrupts() as interrupted:
        while True:
            job = look(ws, id, config=config)
            news = (job.state, job.progress, job.detail)
            if on_progress is not None and news != seen:
                on_progress(job)
            if job.state in ENDED and not interrupted.is_set():
                return job
            seen = news
            if interrupted.wait(nap):
                raise KeyboardInterrupt
            nap = min(nap * 1.3, _LONGEST_NAP)


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets while the block lasts; a second one interrupts at once.

    A KeyboardInterrupt in the middle of a look would meet whatever a library does just then: one in two thousand came out of
    SQLAlchemy as another error, others left a traceback of its pool. Where Ctrl-C does nothing, or something else, it is left so.
    """
    noted = threading.Event()

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        noted.set()

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def cancel(ws: Workspace, id: str, *, config: Config = Config()) -> Job:
    """End a job and everything it started; one that has ended stays as it is. Raises NotFound."""
    job = look(ws, id, config=config)
    if job.state in ENDED:
        return job
    with ws.state.write(by="jobs") as tx:
        row = load_job(tx, id)
        if row.state not in ENDED:
            row = save_job(tx, replace(row, state="cancelled", error="cancelled"))
    folder = _folder(ws, id)
    if not _gone(folder, signal.SIGTERM, config.grace + 2.0):
        folders.end_group(folder)
        _gone(folder, signal.SIGKILL, 2.0)
    return _job(ws, row)


def reraise(job: Job) -> NoReturn:
    """Raise what made a job fail: the same class where it was raised on purpose, else OurFault with its last line."""
    kind = getattr(errors, job.error_kind or "", OurFault)
    raised: type[TunekeeperError] = kind if isinstance(kind, type) and issubclass(kind, TunekeeperError) else OurFault
    raise raised(job.error or f"{job.kind} {job.state} without a reason", fix=job.fix)


def _known(ws: Workspace, id: str) -> JobRow | None:
    try:
        with ws.state.read() as tx:
            return load_job(tx, id)
    except NotFound:
        return None


def _begin(ws: Workspace, row: JobRow) -> JobRow:
    """Insert the row; when another process was faster, its row."""
    try:
        return _save(ws, row)
    except Conflict:
        with ws.state.read() as tx:
            return load_job(tx, row.id)


def _save(ws: Workspace, row: JobRow) -> JobRow:
    with ws.state.write(by="jobs") as tx:
        return save_job(tx, row)


def _folder(ws: Workspace, id: str) -> Path:
    return ws.path("work", id)


def _settle(ws: Workspace, row: JobRow, config: Config) -> JobRow:
    """Record an end, or start the next attempt of what is not running. Of several that settle at once, one wins."""
    if row.state in ENDED:
        return row
    folder = _folder(ws, row.id)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folders.take(folder)
    if lock is None:
        return row
    try:
        return _next(ws, row, folder, config, lock)
    except Conflict:
        with ws.state.read() as tx:
            return load_job(tx, row.id)
    finally:
        os.close(lock)


def _next(ws: Workspace, row: JobRow, folder: Path, config: Config, lock: int) -> JobRow:
    """The step of a job that nobody runs: holding its lock, so that nobody else takes it."""
    ended = folders.read_exit(folder, row.attempt)
    if ended is not None and not ended.died:
        return _save(ws, closed(row, ended, folders.last_words(folder)))
    if row.attempt and not folders.was_started(folder, row.attempt):
        # Whoever recorded this attempt died before it began: it is begun now, and counts once.
        start(ws.root, folder, row, config, lock)
        return row
    if row.attempt >= config.attempts:
        words = folders.last_words(folder) or "it said nothing"
        return _save(ws, replace(row, state="failed", error=f"died {row.attempt} times; last: {words}"))
    started = _save(ws, replace(row, state="running", attempt=row.attempt + 1))
    start(ws.root, folder, started, config, lock)
    return started


def closed(row: JobRow, ended: folders.Exit, words: str) -> JobRow:
    """The row of a job whose attempt has ended by itself. `words`: the last line it printed."""
    spent = replace(row, seconds=ended.seconds, cpu_seconds=ended.cpu_seconds)
    if ended.timed_out:
        setting = LIMITS.get(row.kind)
        fix = f"raise {setting}, or let it do less" if setting else None
        return replace(spent, state="failed", error=f"took longer than {row.timeout:g} s", error_kind="Busy", fix=fix)
    answer = ended.answer or {}
    if ended.rc == 0 and isinstance(answer.get("output"), dict):
        return replace(spent, state="done", output=answer["output"])
    error = answer.get("error") or words or f"ended with status {ended.rc}"
    return replace(spent, state="failed", error=error, error_kind=answer.get("kind"), fix=answer.get("fix"))


def _gone(folder: Path, number: int, seconds: float) -> bool:
    """Signal the wrapper, as soon as it has said who it is, and wait until the lock is free."""
    deadline = time.monotonic() + seconds
    sent = False
    while time.monotonic() < deadline:
        sent = sent or folders.signal_named(folder / "wrapper.json", number)
        lock = folders.take(folder)
        if lock is not None:
            folders.end_group(folder)
            os.close(lock)
            return True
        time.sleep(0.01)
    return False


def _job(ws: Workspace, row: JobRow) -> Job:
    folder = _folder(ws, row.id)
    told = folders.last_progress(folder)
    fraction = told.pop("fraction", None)
    names = ("id", "kind", "model", "state", "input", "attempt", "output", "error", "error_kind", "fix", "seconds", "cpu_seconds")
    progress = 1.0 if row.state == "done" else fraction
    return Job(**{name: getattr(row, name) for name in names}, work=folder / "files", progress=progress, detail=told or None)
