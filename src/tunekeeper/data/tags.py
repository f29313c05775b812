"""Tags: names for dataset versions (`production`, `before-the-fair`), beside the versions, which never change.

One file per model, `data/<model>/tags.jsonl`: a line for every time a name was given or moved, so that it also says who moved it
from where. The last line about a name counts.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data import drafts
from tunekeeper.workspace import Workspace

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_NUMBER = re.compile(r"d?[0-9]+")
_TAKEN = frozenset({"latest", "draft"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A name that was given to a version."""

    tag: str
    """The name."""
    version: str
    """The version it means from then on."""
    by: str
    """Who gave it."""
    at: datetime
    """When."""
    was: str | None = None
    """The version that it meant before; None for a new name."""


def history(ws: Workspace, model: str) -> list[Tag]:
    """Every tag that was given or moved, oldest first."""
    rows = drafts.read_mappings(drafts.folder(ws, model) / "tags.jsonl")
    return [Tag(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in rows]


def current(ws: Workspace, model: str) -> dict[str, str]:
    """Tag → version it means now."""
    return {each.tag: each.version for each in history(ws, model)}


def tags_of(ws: Workspace, version: DatasetVersion) -> list[str]:
    """The names that mean this version, in alphabetical order."""
    return sorted(name for name, id in current(ws, version.model).items() if id == version.id)


def tag(ws: Workspace, version: DatasetVersion, name: str, *, move: bool = False, dry_run: bool = False, by: str = "data") -> Tag:
    """Give `version` a name; doing it again changes nothing. `move`: take the name from the version that has it.
    `dry_run`: write nothing.

    Raises UserError for a name that is none (letters, digits, `.`, `_`, `-`, a letter first, at most 64; not `latest`, `draft` or
    a version's number) or that means another version and `move` is off; Busy.
    """
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name) or name in _TAKEN:
        raise UserError(f"not a tag: {name!r}", fix="a letter, then letters, digits, dots and dashes; not latest, draft or d3")
    with drafts.locked(ws, version.model) as folder:
        known = history(ws, version.model)
        last = next((each for each in reversed(known) if each.tag == name), None)
        if last is not None and last.version == version.id:
            return last
        if last is not None and not move:
            raise UserError(f"{name} means {last.version} already", fix=f"tunekeeper data tag {version.id} {name} --move")
        made = Tag(tag=name, version=version.id, by=by, at=ws.clock.utc(), was=None if last is None else last.version)
        if not dry_run:
            drafts.write_rows(folder / "tags.jsonl", [{**asdict(each), "at": each.at.isoformat()} for each in (*known, made)])
        return made
