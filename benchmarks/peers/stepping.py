"""As many empty steps by Luigi: `python stepping.py FOLDER STEPS`, run by the peer's own interpreter.

Each step waits for the one before it, runs a Python that does nothing, and leaves a file that says so.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import time
from pathlib import Path

import luigi  # type: ignore[import-not-found]


class Step(luigi.Task):  # type: ignore[misc]
    """One step."""

    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def requires(self) -> list[Step]:
        """The step before."""
        return [Step(folder=self.folder, number=self.number - 1)] if self.number else []

    def output(self) -> luigi.LocalTarget:
        """What says that it is done."""
        return luigi.LocalTarget(str(Path(self.folder) / f"{self.number}.done"))

    def run(self) -> None:
        """Nothing, in a process of its own."""
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        with self.output().open("w") as file:
            file.write("done")


def cpu() -> float:
    """CPU seconds of this process and its children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


folder, steps = sys.argv[1], int(sys.argv[2])
logging.disable(logging.WARNING)
Path(folder).mkdir()
start, used = time.perf_counter(), cpu()
good = luigi.build([Step(folder=folder, number=steps - 1)], local_scheduler=True, workers=1, log_level="ERROR")
found = {"seconds": time.perf_counter() - start, "cpu": cpu() - used}
if not good or len(list(Path(folder).glob("*.done"))) != steps:
    raise SystemExit("not every step was done")
print(json.dumps(found))
