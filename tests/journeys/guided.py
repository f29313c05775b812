"""One parser under atheris, in a process of its own: `python -m tests.journeys.guided PARSER SECONDS FOLDER SEED`.

What the parser raises that it does not document is printed, once for each place, as a line that begins with BROKEN; the search
goes on. FOLDER keeps the inputs that reached something new, so that a later run goes on where this one ended. The last byte of an
input is what the parser draws from.
"""

from __future__ import annotations

import random
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import atheris

HELD_MB = 512
LONGEST_INPUT = 1 << 16
SLOWEST = 30
"""Seconds for one input."""


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 unless it ran out of memory or of time for one input."""
    name, seconds, folder, seed = sys.argv[1:5]
    with atheris.instrument_imports(include=["tunekeeper", "yaml", "jinja2"]):
        from tests.journeys.guides import GUIDED
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        target, begins = GUIDED[name](Path(scratch))
        for number, data in enumerate(begins):
            (corpus / f"begin{number}").write_bytes(data + b"\0")
        told: set[tuple[Any, ...]] = set()

        def one(data: bytes) -> None:
            try:
                target(data[:-1], random.Random(data[-1] if data else 0))
            except Exception as error:  # noqa: BLE001
                last = traceback.extract_tb(error.__traceback__)[-1]
                place = (type(error).__name__, Path(last.filename).name, last.lineno)
                if place not in told:
                    told.add(place)
                    print("BROKEN", *place, repr(str(error)[:200]), repr(data[:1000]), flush=True)

        options = [f"-max_total_time={seconds}", f"-rss_limit_mb={HELD_MB}", f"-timeout={SLOWEST}", f"-max_len={LONGEST_INPUT}"]
        options += [f"-seed={seed}", "-print_final_stats=1", f"-artifact_prefix={scratch}/"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
