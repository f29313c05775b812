"""`python -m tests.journeys.importer FOLDER`: reads each file of FOLDER as rows to import. One line of JSON a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.journeys.peak import from_now_mb, peak_mb
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.data.formats import read_rows


def main(folder: Path) -> None:
    """Try every file; a small one first, so that all that is imported on first use is there."""
    (folder.parent / "small.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    list(read_rows(folder.parent / "small.jsonl"))
    for path in sorted(folder.iterdir()):
        before, began = from_now_mb(), time.monotonic()
        rows, broken, why = 0, [], None
        try:
            for row in read_rows(path):
                rows += not row.broken
                if row.broken and len(broken) < 5:
                    broken.append(f"{row.file}:{row.line}: {row.broken}")
        except TunekeeperError as error:
            why = str(error)
        line = {"file": path.name, "rows": rows, "broken": broken, "why": why, "grown_mb": peak_mb() - before}
        sys.stdout.write(json.dumps({**line, "seconds": time.monotonic() - began}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
