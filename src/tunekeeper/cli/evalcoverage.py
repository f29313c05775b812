"""The command of `tunekeeper eval` that says how much of real usage a suite covers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.data.usage import UsageCoverage

app = frame.group("Say what a suite covers.")
WINDOW = timedelta(days=30)
"""Traffic that is looked at where nobody says since when."""


@app.command("coverage")
def coverage(
    model: frame.Model,
    suite: Annotated[Path | None, typer.Option("--suite", help="Suite file (default: the model's).")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Traffic from: 24h, 7d, or a date (default: 30d).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Traffic before: as --since (default: now).")] = None,
    at_least: Annotated[
        float | None, typer.Option("--at-least", min=0, max=1, help="Share that must be covered; else the exit code is 1.")
    ] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say what part of real traffic the suite covers, and name what it misses. Without traffic the exit code is 3.

    Example: tunekeeper eval coverage --model support-desk --since 7d --at-least 0.85
    """
    from tunekeeper.core.errors import NotFound
    from tunekeeper.data import usage
    from tunekeeper.data.checks import read_held

    ws, config = frame.project(dir)
    found = config.model(model)
    project = ws.project or Path.cwd()
    path = suite or project / found.sections["evaluation"].suite
    path = path if path.is_absolute() or path.exists() else project / path
    if not path.exists():
        raise NotFound(f"no suite file {path}", fix=f"tunekeeper eval init --model {model}")
    now = ws.clock.utc()
    start, end = frame.moment(since, ws.clock) or now - WINDOW, frame.moment(until, ws.clock) or now
    cases = usage.asked_of_examples(read_held(path))
    result = usage.coverage_of_usage(usage.asked_of_log(ws, model, start, end), cases)
    code = 3 if result.share is None else int(at_least is not None and result.share < at_least)
    return frame.emit(result, json, lambda: _lines(result, path.name, model), code=code)


def _lines(found: UsageCoverage, name: str, model: str) -> Iterator[str]:
    if found.share is None:
        yield "no request of that time is in the log: nothing to cover"
        yield f"next: tunekeeper log ls --model {model}"
        return
    yield f"{name} covers {found.share:.1%} of {found.requests} requests with {found.cases} cases"
    for each in found.missing:
        what = f"{each.kind} {each.name}" if each.name else "each of its own kind"
        yield f"missing {each.share:.1%}: {what} ({each.requests} requests)"
        yield from (f"  {text}" for text in each.examples)
    if found.missing:
        yield f"what to do: write cases like these, with their right answers, into the cases of {name}"
