"""What was committed from a file, remembered: a start that finds the same wish and the same store has nothing to commit.

Committing is idempotent: the same wish, read by the same release, on the same newest change of `control.db` changes nothing.
Every change of a route, a slot or a key takes the next generation, so equal numbers mean an equal store. Without this a start
would load the database library only to find that out. A note that is missing, old or damaged costs that time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import tunekeeper

FILE = "seeded.json"


def noted(root: Path) -> bool:
    """Whether there is a note at all, so that there is probably nothing to commit."""
    return (root / "run" / FILE).exists()


def holds(root: Path, wish: object) -> bool:
    """Whether `wish` was committed, nothing changed since, both databases have this release's schema, and the newest change is
    published. `wish`: frozen values whose `repr` says everything."""
    known, state = _read(root / "run" / FILE), _state(root, wish)
    return state is not None and known == state


def note(root: Path, wish: object) -> None:
    """Remember that the store says what `wish` asks for. Called by whoever committed it, while nobody else could have."""
    path = root / "run" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    state = _state(root, wish)
    part = path.with_name(f".{FILE}.new")
    part.write_text(json.dumps(state))
    part.replace(path)


def _state(root: Path, wish: object) -> dict[str, Any] | None:
    """What a note says; None where the store is not to be relied on."""
    import xxhash

    from tunekeeper.store import snapshot
    from tunekeeper.store.published import published_generation

    control = root / "control.db"
    generation = snapshot.generation(control)
    current = all(snapshot.version(root / f"{name}.db", name) == head for name, head in snapshot.HEAD.items())
    if not current or generation is None or published_generation(root) != generation:
        return None
    digest = xxhash.xxh3_128_hexdigest(f"{tunekeeper.__version__} {wish!r}".encode())
    return {"wish": digest, "generation": generation, "inode": control.stat().st_ino}


def _read(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    return None
