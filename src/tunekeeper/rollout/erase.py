"""Erasing the regression cases that a person's requests left in incidents; the incident stays, with its reason and its counts."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.store.ledgers.incidents import find_incidents, load_incident, save_incident
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedCases:
    """What was erased of incidents."""

    cases: int = 0
    """Cases that went."""
    names: frozenset[str] = frozenset()
    """Their ids, under which suites and exams hold copies."""


def erase_cases(ws: Workspace, requests: Set[str], *, dry_run: bool = False) -> ErasedCases:
    """Take the cases born from one of `requests` out of every incident. `dry_run`: only count."""
    with ws.control.read() as tx:
        theirs = {incident.id: _theirs(incident.id, incident.cases, requests) for incident in find_incidents(tx)}
    hit = {id: cases for id, cases in theirs.items() if cases}
    if hit and not dry_run:
        with ws.control.write(by="erasure") as write:
            for id, gone in hit.items():
                incident = load_incident(write, id)
                save_incident(write, replace(incident, cases=tuple(case for case in incident.cases if case.id not in gone)))
    return ErasedCases(cases=sum(map(len, hit.values())), names=frozenset(name for names in hit.values() for name in names))


def _theirs(incident: str, cases: tuple[Case, ...], requests: Set[str]) -> set[str]:
    """Ids of the cases that came from one of the requests; a case's source is `<incident>:<request id>`."""
    return {case.id for case in cases if case.source.removeprefix(f"{incident}:") in requests}
