"""`tunekeeper demo`: plays the story on a folder, from the start or from where it was cut off."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any

from tunekeeper import __version__
from tunekeeper.core.errors import Busy, UserError
from tunekeeper.demo.cast import Demo, open_cast
from tunekeeper.demo.meter import CpuMeter
from tunekeeper.demo.report import write_report
from tunekeeper.demo.screen import Screen
from tunekeeper.demo.story import STORY
from tunekeeper.demo.summary import collect
from tunekeeper.workspace import compress_clock, open_workspace

DEFAULT_FOLDER = "demo-project"
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""A Monday morning: the demo's own calendar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What a demo left."""

    folder: Path
    """The project."""
    report: Path
    """The report to open."""
    figures: dict[str, Any]
    """What demo.json holds."""


def demo(
    folder: Path, *, resume: bool = False, consent: Callable[[str], bool] | None = None, screen: Screen | None = None
) -> Played:
    """Play the whole story in `folder` (made when missing). `consent` asks a person; None says yes and says so.

    Raises UserError when the folder holds a demo already and `resume` is false, or holds something else.
    """
    screen = screen or Screen()
    folder = folder.resolve()
    _prepare(folder, resume)
    with Alone(folder):
        cast = open_cast(folder, screen=screen, consent=consent or _yes(screen))
        try:
            # Only the demo keeps its hurried clock going: a demo that is killed loses no simulated hours.
            with CpuMeter(cast.ws.root) as meter, cast.clock.beating():
                cast.clock.freeze()
                _play(cast, meter)
        finally:
            cast.server.stop()
            cast.clock.set_factor(1.0)
        return _finish(cast)


def _play(cast: Demo, meter: CpuMeter) -> None:
    for number, act in enumerate(STORY, 1):
        if cast.journal.done(act.name):
            continue
        cast.url = cast.server.ensure()
        wall, cpu = time.monotonic(), meter.seconds()
        before = dict(cast.counts)
        with screen_stage(cast, number, act.title):
            figures = act.play(cast)
        spent = {"wall_seconds": round(time.monotonic() - wall, 2), "cpu_seconds": round(meter.seconds() - cpu, 2)}
        requests = {name: cast.counts[name] - before[name] for name in cast.counts}
        cast.journal.close(act.name, {**figures, "title": act.title, "spent": spent, "requests": requests})


def screen_stage(cast: Demo, number: int, title: str) -> Any:
    """The heading and bar of an act."""
    return cast.screen.stage(number, len(STORY), title)


def _finish(cast: Demo) -> Played:
    figures = collect(cast.journal, version=__version__, seed=cast.seed, tickets=len(cast.ledger.truth))
    path = cast.folder / "demo.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(path)
    report = write_report(cast.folder, figures)
    return Played(folder=cast.folder, report=report, figures=figures)


def _prepare(folder: Path, resume: bool) -> None:
    root = folder / ".tunekeeper"
    if (root / "clock").exists():
        if not resume:
            raise UserError(
                f"{folder} holds a demo already", fix=f"tunekeeper demo {quote(str(folder))} --resume, or name another folder"
            )
        return
    if folder.exists() and any(folder.iterdir()) and not (root / "demo").is_dir():
        raise UserError(f"{folder} is not empty", fix="name a folder that does not exist yet")
    (root / "demo").mkdir(parents=True, exist_ok=True)
    with resources.as_file(example()) as source:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "rebuild.py"))
    compress_clock(root, start=START, factor=0.0)
    open_workspace(root, project=folder, create=True)


def example() -> Any:
    """The example project: packed in the wheel, beside the sources in a checkout. Raises UserError when it is missing."""
    packed = resources.files("tunekeeper.demo") / "example"
    if packed.is_dir():
        return packed
    checkout = Path(__file__).resolve().parents[3] / "examples" / "support_desk"
    if checkout.is_dir():
        return checkout
    raise UserError("the example project is missing from this installation", fix="install the package again")


class Alone:
    """One demo at a time on a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".tunekeeper" / "demo" / "lock"

    def __enter__(self) -> None:
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.handle)
            raise Busy(f"a demo is running on {self.path.parents[2]}", fix="wait for it, or end it") from None

    def __exit__(self, *error: object) -> None:
        os.close(self.handle)


def _yes(screen: Screen) -> Callable[[str], bool]:
    def consent(question: str) -> bool:
        screen.say(f"        approved without asking (no terminal, or --yes): {question}")
        return True

    return consent


def ask(question: str) -> bool:
    """Ask a person on the terminal."""
    sys.stderr.write(f"        {question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
