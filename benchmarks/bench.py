"""What every benchmark shares: interleaved rounds, medians of ratios, the table and the JSON file.

Absolute speeds say more about a machine than about a program, so a contender is measured beside its peer in the same round, the
ratio is taken inside the round, and the median of those ratios is the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

RESULTS = Path(__file__).parent / "results"
NOT_MEASURED = "not measured"
INTERRUPTED = 130
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""

Sample = Mapping[str, float]
"""What one contender showed in one round: name of a quantity → value."""
Contender = Callable[[], Sample]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the table."""

    id: str
    """Stable name."""
    value: float | None
    """What was measured; None when it, or the peer it is divided by, was not."""
    unit: str
    """Unit of `value` and `goal`; `x` for a ratio."""
    goal: float | None = None
    """What it should be at most or at least; None where there is no promise."""
    direction: Literal["lower", "higher"] = "lower"
    """Which way is better."""
    peer: str | None = None
    """Who it was compared with; None for a figure that stands alone."""
    spread: tuple[float, float] | None = None
    """Lowest and highest of the rounds whose median `value` is; None for what was measured once."""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None without a goal or a value."""
        if self.value is None or self.goal is None:
            return None
        return self.value <= self.goal if self.direction == "lower" else self.value >= self.goal

    def as_json(self) -> dict[str, Any]:
        """The shape of a figure in the result file; a value that is missing says so."""
        return {
            "id": self.id,
            "value": NOT_MEASURED if self.value is None else self.value,
            "unit": self.unit,
            "goal": self.goal,
            "direction": self.direction,
            "holds": self.holds,
            "peer": self.peer,
            **({} if self.spread is None else {"spread": list(self.spread)}),
        }


@dataclass(frozen=True, slots=True)
class Middle:
    """Median of some rounds, and how far they lie apart."""

    value: float
    """Median."""
    low: float
    """Lowest."""
    high: float
    """Highest."""


def middle(values: Sequence[float]) -> Middle | None:
    """Median, lowest and highest; None of nothing."""
    return Middle(statistics.median(values), min(values), max(values)) if values else None


def figure(id: str, found: Middle | None, unit: str, **more: Any) -> Figure:
    """A figure with its spread; `more` as of `Figure`. `found` None: it was not measured."""
    if found is None:
        return Figure(id=id, value=None, unit=unit, **more)
    return Figure(id=id, value=found.value, unit=unit, spread=(found.low, found.high), **more)


@dataclass(frozen=True, slots=True)
class Rounds:
    """Samples of several contenders: one mapping of contender → sample for each round."""

    samples: Sequence[Mapping[str, Sample]]

    def median(self, contender: str, quantity: str) -> float | None:
        """Median over the rounds; None when the contender did not take part."""
        return _value(self.over(lambda one: one[contender][quantity]))

    def ratio(self, contender: str, peer: str, quantity: str) -> float | None:
        """Median of `contender / peer`, each taken inside one round; None when either did not take part."""
        return _value(self.over(lambda one: one[contender][quantity] / one[peer][quantity]))

    def difference(self, contender: str, floor: str, quantity: str) -> float | None:
        """Median of `contender - floor`, each taken inside one round; None when either did not take part."""
        return _value(self.over(lambda one: one[contender][quantity] - one[floor][quantity]))

    def over(self, of: Callable[[Mapping[str, Sample]], float]) -> Middle | None:
        """Median and spread of `of` over the rounds in which all that it asks for was measured; None when there is none."""
        found = []
        for one in self.samples:
            try:
                found.append(of(one))
            except (KeyError, ZeroDivisionError):
                continue  # a contender, or one of its quantities, that this round does not have
        return middle(found)


def _value(found: Middle | None) -> float | None:
    return None if found is None else found.value


def interleave(contenders: Mapping[str, Contender], rounds: int) -> Rounds:
    """Run every contender once a round. The first one changes from round to round, so that none always runs on a cold or a
    warm machine."""
    if rounds < 1:
        raise ValueError("a benchmark needs at least one round")
    names = list(contenders)
    samples = []
    for number in range(rounds):
        start = number % len(names) if names else 0
        samples.append({name: contenders[name]() for name in names[start:] + names[:start]})
    return Rounds(samples)


def parser(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes; a benchmark adds its own."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0] if doc else None)
    made.add_argument("--rounds", type=positive, default=rounds, help=f"interleaved rounds; default {rounds}")
    made.add_argument("--quick", action="store_true", help="a small run that shows that it works; its figures are rough")
    made.add_argument("--results", type=_writable, default=RESULTS, help="folder of the result file")
    return made


def positive(text: str) -> int:
    """A count that an argument gives."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def seconds(text: str) -> float:
    """A time that an argument gives."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return found


def folder(text: str) -> Path:
    """A folder that is there and may be written to."""
    path = Path(text)
    if "\0" in text or not path.is_dir() or not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that can be written to")
    return path


def _writable(text: str) -> Path:
    """A folder, or where one can be made."""
    folder(str(next(each for each in (Path(text).absolute(), *Path(text).absolute().parents) if each.exists())))
    return Path(text)


def run(main: Callable[[], int]) -> int:
    """A benchmark's `main` as a command; its exit code, 130 when Ctrl-C or SIGTERM ended it.

    Whatever it began ends first, also what has left its own parent behind, so that its folders can be removed.
    """
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # orphans below us become our children
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return INTERRUPTED
    finally:
        _end_children()


def _interrupted(number: int, frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    _end_children()
    raise KeyboardInterrupt


def _end_children() -> None:
    """SIGTERM to all below us, and SIGKILL to those who do not listen."""
    below = psutil.Process().children(recursive=True)
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(below, timeout=5)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def machine() -> dict[str, Any]:
    """What the figures were measured on; `load` is the 1-minute load average before the run is reported."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text."""
    rows = [("figure", "value", "spread", "unit", "goal", "holds", "peer"), *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _cells(figure: Figure) -> tuple[str, ...]:
    value = NOT_MEASURED if figure.value is None else _number(figure.value)
    spread = "" if figure.spread is None else " to ".join(map(_number, figure.spread))
    sign = "≤" if figure.direction == "lower" else "≥"
    goal = "" if figure.goal is None else f"{sign} {figure.goal:g}"
    holds = {None: "", True: "yes", False: "no"}[figure.holds]
    return figure.id, value, spread, figure.unit, goal, holds, figure.peer or ""


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def report(name: str, rounds: int, figures: Sequence[Figure], folder: Path, missing: Mapping[str, str] | None = None) -> Path:
    """Print the table and write `folder`/`name`.json; returns that file. `missing`: peer → why it was not measured."""
    print(table(figures))
    for peer, why in (missing or {}).items():
        print(f"{peer}: {NOT_MEASURED}: {why}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {"machine": machine(), "rounds": rounds, "figures": [figure.as_json() for figure in figures]}
    if missing:
        content["missing"] = dict(missing)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {path}")
    return path


def median_ms(calls: Sequence[Callable[[], Any]]) -> float:
    """Median milliseconds of calls, each made once, in order."""
    taken = []
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)
