"""Ledger of suite locks: which cases and criteria were fixed, and when, before anything was judged by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.store.table import Ledger, Wanted
from tunekeeper.store.transactions import Read, Write

WRITER = "evaluation"
DATABASE = "state"
_LEDGER = Ledger(
    name="suite_locks",
    database="state",
    noun=Suite,
    listing="tunekeeper eval ls",
    id=lambda suite: f"{suite.id}@{suite.digest}",
    key=lambda suite: suite.id,
)


def load_suite_lock(tx: Read, id: str, digest: str) -> Suite:
    """The suite as it was locked: its name and the digest of its cases and criteria. Raises NotFound."""
    return _LEDGER.load(tx, f"{id}@{digest}")


def find_suite_locks(tx: Read, *, model: str | None = None, id: str | None = None, newest_first: bool = False) -> list[Suite]:
    """Every lock of a model, or of one suite's name, in the order they were made."""
    return _LEDGER.find(tx, Wanted(model=model, key=id, newest_first=newest_first))


def save_suite_lock(tx: Write, suite: Suite) -> Suite:
    """Lock a suite, audited; `locked` is stamped. The first lock of a digest stands: saving it again returns that one."""
    return _LEDGER.append(tx, dataclasses.replace(suite, locked=suite.locked or tx.clock.utc()))


def save_erased_suite_locks(tx: Write, suites: Iterable[Suite]) -> int:
    """Put suites from which a person's text was erased in place of what was locked under the same name and digest, audited.
    Returns how many were there."""
    return _LEDGER.erase(tx, suites, detail="cases erased")
