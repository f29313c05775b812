"""Criteria are fixed, with a time stamp, before anything is judged by them (EVAL-05)."""

from __future__ import annotations

from dataclasses import asdict

from tunekeeper.core.errors import ConfigError, NotFound
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.suite_locks import load_suite_lock, save_suite_lock
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace


def lock(ws: Workspace, suite: Suite, version: str, *, by: str, relock: str | None = None) -> Suite:
    """Lock an assembled suite for an exam of `version`; returns it as locked (the first lock of a digest stands).

    Cases may grow; criteria and scorers may not change for a version that was already judged by others: that would be
    choosing the target after the shot. Raises ConfigError then, unless `relock` gives the reason, which is audited.
    """
    with ws.state.write(by=by if relock is None else f"{by} (criteria changed: {relock})") as tx:
        earlier = changed_after(tx, suite, version)
        if earlier is not None and relock is None:
            when = f"{earlier.locked:%Y-%m-%d %H:%M}" if earlier.locked else "earlier"
            raise ConfigError(
                f"suite {suite.id}: its criteria were changed after {version} was judged by those locked {when} UTC",
                fix="restore the criteria, examine a new version, or give --relock REASON",
            )
        return save_suite_lock(tx, suite)


def changed_after(tx: Read, suite: Suite, version: str) -> Suite | None:
    """The lock that `version` was already judged by, when its criteria differ from `suite`'s; else None."""
    for exam in find_exams(tx, model=suite.model, newest_first=True):
        if exam.version != version or exam.suite != suite.id or exam.verdict is None:
            continue
        try:
            earlier = load_suite_lock(tx, exam.suite, exam.suite_digest)
        except NotFound:
            continue
        # Only the newest judgement counts: a relock that was allowed once is not asked for again.
        return earlier if _demands(earlier) != _demands(suite) else None
    return None


def _demands(suite: Suite) -> str:
    return digest_json([[asdict(c) for c in suite.criteria], list(suite.scorers), suite.scorer_options])
