"""A process that writes to a workspace: `python -m tests.journeys.writer ROOT NAME COUNT` (0: until it is killed).

It says `ready`, waits for a line on stdin, and then prints, as JSON, the seconds that each write took, once it is committed, or
the error that its caller got.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import count, islice
from pathlib import Path

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.workspace import open_workspace


def main(root: Path, name: str, often: int) -> None:
    """Write so many rows."""
    ws = open_workspace(root)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in islice(count(), often or None):
        began = time.monotonic()
        row = Rollout(id=f"rol_{name}_{number}", model="desk", version="v1", slot="a", due=float(number))
        try:
            with ws.control.write(by=name) as tx:
                save_rollout(tx, row)
        except TunekeeperError as error:
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        print(json.dumps({"id": row.id, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
