"""A small fuzzer: inputs that reach new lines of ours are kept and damaged further. Everything follows from a seed."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import tunekeeper
from tests.journeys.hostile import damaged

KEPT = 500
"""Inputs that are kept to be damaged further; later ones take a random place."""
LONGEST = 1 << 16
OURS = str(Path(tunekeeper.__file__).parent) + os.sep


@dataclass(slots=True)
class Found:
    """What one run of the fuzzer came to."""

    tried: int = 0
    kept: int = 0
    steps: set[tuple[int, int]] = field(default_factory=set)
    """Pairs of lines of ours that were run one after the other."""
    broken: list[str] = field(default_factory=list)
    """Inputs that raised what they must not, with the exception."""


@contextmanager
def traced(steps: set[tuple[int, int]]) -> Iterator[None]:
    """Note which lines of ours follow each other."""
    ours: dict[Any, int] = {}
    last = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal last
        place = ours[frame.f_code] * 100_000 + frame.f_lineno
        steps.add((last, place))
        last = place
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code not in ours:
            ours[code] = zlib.crc32(code.co_filename.encode()) if code.co_filename.startswith(OURS) else -1
        return line if ours[code] >= 0 else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def fuzz(target: Callable[[bytes, random.Random], None], corpus: Sequence[bytes], seed: int, n: int, *, trace: int = 4) -> Found:
    """Run `target` on the corpus and on `n` damaged inputs, every `trace`-th of them traced. What it raises is a
    finding: a target catches what the parser under it documents."""
    rng, found = random.Random(seed), Found()
    pool = list(corpus)
    for number in range(-len(corpus), n):
        data = pool[number] if number < 0 else damaged(rng, rng.choice(pool), pool)[:LONGEST]
        steps: set[tuple[int, int]] = set()
        try:
            if number < 0 or number % trace == 0:
                with traced(steps):
                    target(data, random.Random(number))
            else:
                target(data, random.Random(number))
        except Exception as error:  # noqa: BLE001
            found.broken.append(f"seed {seed} input {number}: {type(error).__name__}: {str(error)[:200]} for {data[:300]!r}")
            if len(found.broken) >= 5:
                break
        found.tried += 1
        if steps - found.steps:
            found.steps |= steps
            found.kept += 1
            if number >= 0:
                if len(pool) < KEPT:
                    pool.append(data)
                else:
                    pool[rng.randrange(len(corpus), KEPT)] = data
    return found
