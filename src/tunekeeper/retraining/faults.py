"""A fault of our own in a stage: its traceback written down once, the stage tried again a few times, then the cycle closed with
one line that says what to do."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from tunekeeper.core.errors import OurFault
from tunekeeper.core.ids import digest_bytes
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.text.redaction import said

WAITS = (5.0, 30.0, 120.0, 600.0)
"""Real seconds until a stage is tried again after its first, second, … fault; the one after the last wait closes the cycle."""
FORGOTTEN = 3600.0
"""Real seconds after which a fault counts no more: a stage may be at work for weeks."""
LONGEST = 200
"""Characters of an exception's message that are told."""


def due(cycle: Cycle, real: float) -> bool:
    """Whether the stage may be tried at `real` (monotonic seconds): not while it waits after a fault. Pure."""
    if not cycle.faults:
        return True
    return not 0 <= real - cycle.faults[-1] < WAITS[len(cycle.faults) - 1]  # a clock that began anew lets it be tried


def after_fault(cycle: Cycle, what: str, file: Path | None, real: float) -> Cycle:
    """The cycle after a fault of ours: waiting for the next try, or failed. Pure.

    `what`: the exception in one line; `file`: where its traceback lies, None where it could not be written.
    """
    faults = (*(at for at in cycle.faults if 0 <= real - at < FORGOTTEN), real)
    together = f"report it together with {file}" if file is not None else "report it"
    if len(faults) <= len(WAITS):
        why = f"a fault of our own, {len(faults)} of {len(WAITS) + 1}: {what}; tried again in {WAITS[len(faults) - 1]:.0f} s"
        return replace(cycle, faults=faults, waiting=str(OurFault(why, fix=together)))
    error = OurFault(
        f"{cycle.stage}: a fault of our own, {len(faults)} times: {what}",
        fix=f"{together}; `tunekeeper retrain run --model {cycle.model}` opens a new cycle",
    )
    return replace(cycle, faults=faults, state="failed", closed_why=str(error), waiting="", progress=None)


def told(error: Exception) -> str:
    """An exception in one line, without personal data."""
    message = " ".join(said(str(error)).split())[:LONGEST]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def keep(error: Exception, folder: Path, cycle: Cycle) -> Path | None:
    """Write the traceback into `folder`, without personal data, once however often it is the same. Returns its path; None when
    it cannot be written."""
    text = said("".join(traceback.format_exception(error)))
    path = folder / f"fault-{cycle.id}-{cycle.stage}-{digest_bytes(text.encode())[7:15]}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text, "utf-8")
    except OSError:
        return None
    return path
