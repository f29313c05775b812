"""Whether gateways obey less than what is committed: whoever was to publish a change died between its commit and that.

Loads no database library but Python's own: the supervisor of `serve` looks with it twice a second and stays small.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tunekeeper.store.published import published_generation


def behind(root: Path) -> int | None:
    """The newest generation of `root`/control.db where an older one is published, else None; None too while the database cannot
    be read. A change that is just being made looks the same for some milliseconds: look twice before acting."""
    path = root / "control.db"
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1)) as connection:
            row = connection.execute("select value from sequences where name = 'generation'").fetchone()
    except sqlite3.Error:
        return None
    newest = int(row[0]) if row else 0
    return newest if newest and (published_generation(root) or 0) < newest else None
