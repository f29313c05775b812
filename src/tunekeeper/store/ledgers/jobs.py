"""Ledger of jobs: long work, once each, found again by its kind and the digest of its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "jobs"
DATABASE = "state"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """What the database knows of one piece of long work; progress and output lie in its work folder."""

    id: str
    """`job_…`, made from kind and input: the same work has the same id."""
    kind: str
    """Name of the kind, e.g. `train`."""
    model: str = ""
    """The model it is for."""
    digest: str = ""
    """Digest of the input."""
    input: dict[str, Any] = field(default_factory=dict)
    """What the child is given."""
    state: Literal["queued", "running", "done", "failed", "cancelled"] = "queued"
    """Where it stands."""
    attempt: int = 0
    """How often it was started."""
    timeout: float | None = None
    """Real seconds after which an attempt is ended; None: never."""
    env: tuple[str, ...] = ()
    """Names of further environment variables the child may see."""
    output: dict[str, Any] | None = None
    """What the child returned."""
    error: str | None = None
    """Why it failed, in one line."""
    error_kind: str | None = None
    """Class name of the error, where it was raised on purpose."""
    fix: str | None = None
    """The command that mends it."""
    seconds: float | None = None
    """Wall seconds of the attempt that ended it."""
    cpu_seconds: float | None = None
    """CPU seconds of that attempt and its children."""
    created: datetime | None = None
    """When it was first asked for."""
    rev: int = 0
    """Number of saves."""


_LEDGER = Ledger(
    name="jobs", database="state", noun=JobRow, listing="tunekeeper status", key=lambda job: f"{job.kind}:{job.digest}"
)


def load_job(tx: Read, id: str) -> JobRow:
    """The JobRow with this id. Raises NotFound."""
    return _LEDGER.load(tx, id)


def find_jobs(
    tx: Read,
    *,
    model: str | None = None,
    state: str | tuple[str, ...] | None = None,
    kind: str | None = None,
    digest: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[JobRow]:
    """Those that fit, oldest first unless `newest_first`. `kind` with `digest` names one piece of work."""
    key = f"{kind}:{digest}" if kind is not None and digest is not None else None
    found = _LEDGER.find(
        tx, Wanted(model=model, state=state, key=key, limit=limit if kind is None or key else None, newest_first=newest_first)
    )
    return [job for job in found if kind is None or job.kind == kind][:limit]


def save_job(tx: Write, job: JobRow) -> JobRow:
    """Insert (rev 0) or replace, audited; returns it with its next rev. Raises Conflict when it changed after it was read."""
    return _LEDGER.save(tx, job)
