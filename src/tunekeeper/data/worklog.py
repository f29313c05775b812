"""The hours that people put into a draft: sittings seen from the commands that changed it, and hours somebody notes by hand.

A sitting is a run of such commands with at most PAUSE between two; it lasts from the first to the last of them. So what is seen
is a lower bound: reading, asking colleagues and work in other tools leave no trace here, and are noted by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tunekeeper.core.errors import UserError
from tunekeeper.data import drafts
from tunekeeper.workspace import Workspace

PAUSE = timedelta(minutes=30)
"""Time without a command after which somebody did something else."""
MOST_LINES = 5000
"""Lines that are kept; the oldest go first."""
MOST_HOURS = 24.0 * 7
"""Hours that can be noted at once."""
_FILE = "worklog.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that somebody did for the draft."""

    at: datetime
    """When."""
    what: str
    """The command that changed the draft, or the words of a note."""
    hours: float | None = None
    """Hours noted by hand; None for a command."""
    by: str | None = None
    """Who noted them; None for a command."""


def save_command(ws: Workspace, model: str, what: str) -> None:
    """Remember that a command changed the draft just now; the caller holds its lock."""
    _append(ws, model, Entry(at=ws.clock.utc(), what=what))


def save_hours(ws: Workspace, model: str, hours: float, *, by: str, what: str = "", dry_run: bool = False) -> Entry:
    """Note hours of work on the draft that no command shows; with `dry_run` only say what would be noted.

    Raises UserError for hours that nobody can have worked, Busy.
    """
    if not 0 < hours <= MOST_HOURS:
        raise UserError(f"{hours:g} hours cannot be noted", fix=f"give more than 0, at most {MOST_HOURS:g} at once")
    entry = Entry(at=ws.clock.utc(), what=what, hours=hours, by=by)
    if not dry_run:
        with drafts.locked(ws, model):
            _append(ws, model, entry)
    return entry


def load(ws: Workspace, model: str) -> list[Entry]:
    """What was done for the draft, oldest first."""
    rows = drafts.read_mappings(drafts.folder(ws, model) / _FILE)
    return [Entry(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in rows]


def hours_seen(entries: Iterable[Entry]) -> float:
    """Hours of the sittings that commands show."""
    moments = sorted(entry.at for entry in entries if entry.hours is None)
    gaps = (later - earlier for earlier, later in pairwise(moments))
    return sum((gap for gap in gaps if gap <= PAUSE), timedelta()) / timedelta(hours=1)


def hours_noted(entries: Sequence[Entry]) -> float:
    """Hours that were noted by hand."""
    return sum(entry.hours or 0.0 for entry in entries)


def _append(ws: Workspace, model: str, entry: Entry) -> None:
    path = drafts.folder(ws, model) / _FILE
    row = {"at": entry.at.isoformat(), "what": entry.what, "hours": entry.hours, "by": entry.by}
    drafts.write_rows(path, [*drafts.read_mappings(path)[-MOST_LINES + 1 :], row])
