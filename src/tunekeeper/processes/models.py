"""The model servers of a project, from the first look at them to their end, and what is not loaded yet."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.gateway.loading import loading
from tunekeeper.processes.supervisor import Supervisor
from tunekeeper.store.published import PublishedReader

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import RouteTable
    from tunekeeper.processes.engines import Engines
    from tunekeeper.workspace import Workspace


class Models:
    """Looks after them from the first look on: where none is ours, the database library is loaded then, not before the gateway is
    ready."""

    def __init__(self, ws: Workspace, supervisor: Supervisor) -> None:
        self._ws = ws
        self._supervisor = supervisor
        self._engines: Engines | None = None

    def begin(self) -> None:
        """Start our own before the door opens: what the published table says of them is from before the last end. What cannot be
        done now is tried again by the chore, and said there."""
        with contextlib.suppress(TunekeeperError, OSError):
            if any(slot.files for slot in self._table().slots.values()):
                self.reconcile()

    def loading(self) -> list[str]:
        """Slots that a route uses and whose server does not answer yet, by name; none while the table cannot be read."""
        with contextlib.suppress(TunekeeperError, OSError):
            return loading(self._table())
        return []

    def _table(self) -> RouteTable:
        reader = PublishedReader(self._ws.root)
        try:
            return reader.current()
        finally:
            reader.close()

    def reconcile(self) -> None:
        """One look at every slot; returns soon. Raises as `Engines.reconcile`."""
        if self._engines is None:
            from tunekeeper.processes.engines import Engines

            self._engines = Engines(self._ws, self._supervisor)
        self._engines.reconcile()

    def stop(self) -> None:
        """End every one."""
        if self._engines is not None:
            self._engines.stop()
