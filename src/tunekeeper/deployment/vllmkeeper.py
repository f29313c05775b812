"""A chore of `up`: what a vLLM holds is made to agree with the slots. One that was restarted has forgotten its adapters and gets
those again that slots ask for; one that was away when a slot was unloaded has that adapter taken away now."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.core.errors import ArtifactError, TunekeeperError, UpstreamUnavailable

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Slot
    from tunekeeper.workspace import Workspace

ASKING_SECONDS = 10.0
"""Longest that a server may take to say what it holds."""


class Keeper:
    """Call it every few seconds: it looks at the slots, lets a thread ask their servers, and at a later call writes down what the
    thread saw. A server that is away is none of its business: the gateway notices that by itself."""

    def __init__(self, ws: Workspace, environ: Mapping[str, str]) -> None:
        """`environ`: where the keys of the servers stand."""
        self._ws = ws
        self._environ = environ
        self._thread: threading.Thread | None = None
        self._seen: dict[str, tuple[Slot, str | None]] = {}

    def __call__(self) -> None:
        """Returns at once, whatever the servers do."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._write_down()
        slots = self._slots()
        if slots:
            self._thread = threading.Thread(target=self._ask, args=(slots,), daemon=True)
            self._thread.start()

    def _slots(self) -> list[Slot]:
        from tunekeeper.deployment.slots import BASE
        from tunekeeper.store.ledgers.slots import find_slots

        with self._ws.control.read() as tx:
            slots = find_slots(tx)
        return [slot for slot in slots if slot.engine == "vllm" and BASE in slot.options]

    def _ask(self, slots: list[Slot]) -> None:
        from tunekeeper.deployment.slots import LORA_PATH

        named = {(slot.endpoint, slot.upstream_model) for slot in slots if slot.wanted == "loaded"}
        for slot in slots:
            key = self._environ.get(slot.api_key_env or "")
            try:
                if slot.wanted == "unloaded":
                    if LORA_PATH in slot.options and (slot.endpoint, slot.upstream_model) not in named:
                        take_away(slot, key)
                    continue
                restore(slot, key)
            except UpstreamUnavailable:
                continue
            except TunekeeperError as error:
                self._seen[slot.id] = (slot, error.message)
            else:
                self._seen[slot.id] = (slot, None)

    def _write_down(self) -> None:
        from tunekeeper.deployment.slots import Observed, observe_slot

        seen, self._seen = self._seen, {}
        for slot, why in seen.values():
            observed: Observed = "ready" if why is None else "failed"
            if (slot.observed, slot.reason) != (observed, why):
                observe_slot(self._ws, slot.id, observed, reason=why, digest=slot.digest)


def restore(slot: Slot, api_key: str | None) -> bool:
    """Load a slot's adapter again if its server does not hold it; whether it was loaded. A slot without one asks for the base.

    Raises ArtifactError when the server serves another base by now or refuses the adapter, UpstreamUnavailable when it is away.
    """
    from tunekeeper.deployment.slots import BASE, BASE_DIGEST, LORA_PATH
    from tunekeeper.engines.vllm import VllmServer

    server, name = VllmServer(slot.endpoint or "", api_key), slot.upstream_model or ""
    holding = server.holding(total=ASKING_SECONDS)
    known, whole = slot.options.get(BASE), LORA_PATH not in slot.options
    if name in holding.adapters or (whole and holding.root == known):
        return False
    if whole or holding.root != known or not _same_weights(Path(holding.root), slot.options.get(BASE_DIGEST)):
        asked = f"the {known} that {name} was trained on" if not whole else f"{known}, which {slot.version} is"
        raise ArtifactError(f"vLLM at {server.base} serves {holding.root} now, and not {asked}")
    return server.load(name, str(slot.options[LORA_PATH]))


def take_away(slot: Slot, api_key: str | None) -> bool:
    """Unload a slot's adapter if its server holds it; whether it did. Raises UpstreamUnavailable when the server is away."""
    from tunekeeper.engines.vllm import VllmServer

    server, name = VllmServer(slot.endpoint or "", api_key), slot.upstream_model or ""
    return name in server.holding(total=ASKING_SECONDS).adapters and server.unload(name)


def _same_weights(root: Path, digest: str | None) -> bool:
    """Whether a base's folder, where it can be seen from here, still holds the weights of that digest."""
    from tunekeeper.deployment.checkpoint import weights_digest

    return not root.is_dir() or weights_digest(root) == digest
