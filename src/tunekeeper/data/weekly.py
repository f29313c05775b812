"""The collection that runs by itself: when one is due, and the job that does it. Nothing is frozen by it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from tunekeeper.jobs import Job, JobContext

JOB = "collect"
_PERIOD = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def period(model: str, section: Config) -> timedelta | None:
    """How often to collect; None: never. Raises ConfigError naming the file and the field."""
    text = section.collect_every.strip()
    if text == "never":
        return None
    match = _PERIOD.fullmatch(text)
    found = timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else timedelta()
    if found < timedelta(minutes=1):
        raise ConfigError(f"models/{model}.yaml: data.collect_every is {text!r}", fix="write 12h, 7d, 2w or never")
    return found


def due(ws: Workspace, model: str, section: Config) -> datetime | None:
    """The moment at which a collection fell due; None while none is. Counted in whole periods from the last full one, before it
    from the first version: until there is one, data comes by import or by hand. Of several that were missed it is the last."""
    from tunekeeper.data import versions
    from tunekeeper.data.collection import last_full

    every = period(model, section)
    if every is None:
        return None
    last = last_full(ws, model)
    if last is not None:
        begin: datetime | None = datetime.fromisoformat(last["at"])
    else:
        begin = next((version.created for version in reversed(versions.log(ws, model))), None)
    passed = 0 if begin is None else (ws.clock.utc() - begin) // every
    return begin + passed * every if begin is not None and passed > 0 else None


def tend(ws: Workspace, task: Model, section: Config) -> Job | None:
    """Begin the collection of `task` that is due, or look how the one under way goes; None when there is neither. One that failed
    is begun anew."""
    from tunekeeper import jobs
    from tunekeeper.store.ledgers.jobs import find_jobs

    with ws.state.read() as tx:
        begun = find_jobs(tx, model=task.name, kind=JOB, state=("queued", "running"))
    if begun:
        return jobs.look(ws, begun[0].id)
    moment = due(ws, task.name, section)
    if moment is None:
        return None
    asked = {"due": moment.isoformat(), "task": msgspec.to_builtins(task), "section": msgspec.to_builtins(section), "threads": 1}
    return jobs.ensure(ws, JOB, asked, model=task.name, again=True)


def run(input: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """The job: one collection, dated `due`; what was said since is taken as well, and known the next time. `input`: `due` (ISO),
    `task`, `section`. Killed and begun again, it finds what it brought already."""
    from tunekeeper.data.collection import told
    from tunekeeper.data.gathering import collect

    ws = open_workspace(context.root)
    task, section = msgspec.convert(input["task"], Model), msgspec.convert(input["section"], Config)
    done = collect(ws, task, section, by="schedule", now=datetime.fromisoformat(input["due"]))
    answer: dict[str, Any] = {"told": told(done), **msgspec.to_builtins(done)}
    return answer
