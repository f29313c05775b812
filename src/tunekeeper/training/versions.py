"""Numbers and names of versions, and finding one by what people call it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from tunekeeper.core.errors import NotFound
from tunekeeper.core.ids import version_name
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace


def next_number(known: Sequence[Version], base_digest: str) -> tuple[int, int]:
    """(major, minor) of the next trained version of a model: v1.0 first; a new base starts the next major at 0. Pure."""
    trained = [version for version in known if version.major >= 1]
    if not trained:
        return 1, 0
    newest = max(trained, key=lambda version: (version.major, version.minor))
    if newest.base_digest != base_digest:
        return newest.major + 1, 0
    return newest.major, newest.minor + 1


def name_of(number: tuple[int, int], on: date, examples: int) -> str:
    """The version's name, e.g. `v1.0-2026-01-05-846examples`."""
    return version_name(*number, on, examples)


def find_version(tx: Read, model: str | None, name: str) -> Version:
    """The version called `name`: its id, its name, or the beginning of either that no other shares (`v1.0`, `desk@v1.0`).
    `model`: None looks among the versions of all models. Raises NotFound.
    """
    known = find_versions(tx, model=model)
    exact = [version for version in known if name in (version.id, version.name)]
    begins = f"{name}-"
    near = exact or [version for version in known if version.name.startswith(begins) or version.id.startswith(begins)]
    if len(near) == 1:
        return near[0]
    if model is not None:
        what = "no version" if not near else f"{len(near)} versions"
        raise NotFound(f"{what} of {model} called {name!r}", fix=f"tunekeeper model ls --model {model}")
    what = "no version is" if not near else f"{len(near)} versions are"
    raise NotFound(f"{what} called {name!r}", fix="tunekeeper model ls, then name it in full: MODEL@NAME")


def champion(ws: Workspace, model: str) -> Version | None:
    """The version that answers users now; None before the first route, or when its slot names a version we do not keep."""
    try:
        with ws.control.read() as control:
            route = load_route(control, model)
            slots = {slot.id: slot for slot in find_slots(control, model=model)}
    except NotFound:
        return None
    slot = slots.get(route.champion or "")
    if slot is None or slot.version is None:
        return None
    with ws.state.read() as tx:
        return next((version for version in find_versions(tx, model=model) if version.name == slot.version), None)
