"""What the demo has done so far, on disk: a demo that was killed goes on after the last stage that ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import UserError

SCHEMA = 1


class Journal:
    """Stage → its figures. Each change replaces the file whole."""

    def __init__(self, path: Path) -> None:
        """`path`: file of the journal; it need not exist. Raises UserError when it is of another release or damaged."""
        self.path = path
        self.body: dict[str, Any] = {"schema": SCHEMA, "stages": {}, "notes": {}}
        if path.exists():
            self.body = _read(path)

    def done(self, stage: str) -> bool:
        """Whether a stage has ended."""
        return stage in self.body["stages"]

    def figures(self, stage: str) -> dict[str, Any]:
        """What a stage measured; empty when it has not ended."""
        found: dict[str, Any] = self.body["stages"].get(stage, {})
        return found

    def close(self, stage: str, figures: dict[str, Any]) -> None:
        """A stage has ended."""
        self.body["stages"][stage] = figures
        self._write()

    def note(self, name: str, value: Any) -> None:
        """Remember a value within a stage."""
        self.body["notes"][name] = value
        self._write()

    def noted(self, name: str) -> Any:
        """A value that was remembered, None when it was not."""
        return self.body["notes"].get(name)

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(self.body, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise UserError(f"{path} is not a journal of this release", fix="run the demo in another folder")
    return body
