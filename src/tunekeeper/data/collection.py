"""What a collection did: its figures, the line about it, and what looks as if one source filled the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tunekeeper.data import drafts
from tunekeeper.workspace import Workspace

if TYPE_CHECKING:
    from tunekeeper.data.admission import Admitted
    from tunekeeper.data.config import Config
    from tunekeeper.data.sources import Correction

LEAST_TO_TELL = 20
"""Examples of a run below which nothing is said about who gave most of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What a collection did, or with `dry_run` would do."""

    at: datetime
    """When it ran."""
    since: datetime | None
    """From when on words were taken; None: from the beginning."""
    said: dict[str, int]
    """Kind of statement (edit, thumb, review …) → how many were looked at."""
    requests: int
    """Requests they speak of."""
    added: tuple[str, ...]
    """Ids of the examples that came into the draft."""
    replaced: int
    """Rows of the draft that a later word took the place of, or that hold no longer."""
    known: int
    """Examples that the draft has already, or that were dropped before."""
    dropped: dict[str, int]
    """Reason → rows left out or taken out, kept among the dropped ones."""
    flagged: dict[str, int]
    """Reason → examples that came in, with something to look at."""
    redacted: dict[str, int]
    """Kind of personal data → pieces replaced by placeholders."""
    queued: dict[str, int]
    """Reason → answers that now wait in the review queue."""
    unusable: dict[str, int]
    """Why nothing could be made of a request → how many: `not_in_log`, `no_text`."""
    alarms: tuple[str, ...]
    """What looks as if one source filled the set, one sentence each."""
    left: int
    """Requests left for the next run."""
    examples: int
    """Rows in the draft afterwards."""
    report: str | None = None
    """Path of the JSONL file with every row that was dropped or flagged; None for a dry run."""


def history(ws: Workspace, model: str) -> list[dict[str, Any]]:
    """Every run that changed or could have changed something, oldest first: `at`, `by`, `mark`, `added`, `removed`, `told` …"""
    return drafts.read_mappings(drafts.folder(ws, model) / "collected.jsonl")


def last_full(ws: Workspace, model: str) -> dict[str, Any] | None:
    """The newest run that took all that was new. One of a moment that is still to come was dated by a clock that was ahead: from
    it on nothing would be new for as long, so it does not count."""
    now = ws.clock.utc()
    full = (line for line in reversed(history(ws, model)) if line["mark"])
    return next((line for line in full if max(map(datetime.fromisoformat, (line["at"], line["mark"]))) <= now), None)


def told(done: Collection) -> str:
    """What a run did, in one line."""
    parts = [f"{len(done.added)} examples from {sum(done.said.values())} statements"]
    parts += [f"{done.replaced} replaced"] if done.replaced else []
    parts += [f"{sum(done.dropped.values())} left out"] if done.dropped else []
    parts += [f"{sum(done.queued.values())} to review"] if done.queued else []
    parts += [f"{done.left} left for the next run"] if done.left else []
    return ", ".join(parts)


def alarms(
    admitted: Admitted, came: Sequence[Correction], flagged: Sequence[Mapping[str, Any]], section: Config
) -> Iterator[str]:
    """Signs that one source, or one text over and over, would fill the set. `came`: the examples that come in; `flagged`: report
    lines about them."""
    for origin, beyond in sorted(admitted.over.items(), key=lambda pair: -pair[1]):
        yield f"{origin} gave {beyond} examples more than the {section.collect_per_user} that one may: they wait for a reviewer"
    if len(came) >= LEAST_TO_TELL:
        for name, field in (("key", "key_id"), ("user", "user_id"), ("session", "session_id"), ("person", "said_by")):
            given = Counter(str(c.example.metadata.get(field, "")) for c in came)
            source, n = given.most_common(1)[0]
            if source and len(given) > 1 and 2 * n > len(came):
                yield f"{name} {source} gave {n} of {len(came)} examples"
    alike = sum(line["kind"] == "near_duplicate" for line in flagged)
    alike += sum(line["kind"] == "exact_duplicate" for line in admitted.lines)
    looked = len(came) + sum(line["kind"] == "exact_duplicate" for line in admitted.lines)
    if looked >= LEAST_TO_TELL and 2 * alike > looked:
        yield f"{alike} of {looked} examples say nearly the same as others"
