"""Which drift a request came in: joined when it is read, from what was said when its window was measured (LOG-01).

A request's window is the first one measured that it lies in, so that what is said of it does not change with later windows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.database import Write
from tunekeeper.store.ledgers.signals import find_signals, save_signal
from tunekeeper.workspace import Workspace

DRIFTS = ("vocabulary_drift", "input_drift")
"""Signals that can be flags."""
MARK = "drifted"
"""Key of a signal's `detail`: true where its rule held when it was measured."""


def mark(tx: Write, held: Sequence[Signal]) -> None:
    """Note on those of `held`, the signals whose rules hold on the window just measured, that are drifts."""
    for signal in held:
        if signal.name in DRIFTS:
            save_signal(tx, replace(signal, detail={**signal.detail, MARK: True}))


class Flags:
    """The measured windows of a workspace."""

    def __init__(self, ws: Workspace) -> None:
        """Reads the signals of every model; a gateway alone has none."""
        self._windows: dict[tuple[str, str, str], list[Signal]] = defaultdict(list)
        if not (ws.root / "state.db").exists():
            return
        with ws.state.read() as tx:
            signals = [each for name in DRIFTS for each in find_signals(tx, name=name)]
        for signal in sorted(signals, key=lambda each: each.until):
            self._windows[signal.model, signal.name, signal.segment].append(signal)

    def on(self, inference: Inference) -> Inference:
        """`inference` with the names of the drifts of its window; only users' requests are measured. One of a segment is
        called `name[segment=value]`. Flags that it was stored with stay."""
        if inference.purpose != "user" or not self._windows:
            return inference
        segments = ("", *(f"{name}={value}" for name, value in inference.segments.items()))
        found = [
            name + (f"[{segment}]" if segment else "")
            for name in DRIFTS
            for segment in segments
            if _drifted(self._windows.get((inference.model_id, name, segment), []), inference.timestamp)
        ]
        fresh = tuple(flag for flag in found if flag not in inference.drift_flags)
        return replace(inference, drift_flags=(*inference.drift_flags, *fresh)) if fresh else inference


def _drifted(windows: Sequence[Signal], moment: datetime) -> bool:
    """Whether the first window that ends after `moment` holds it, and drifted."""
    place = bisect_right(windows, moment, key=lambda signal: signal.until)
    return place < len(windows) and windows[place].since <= moment and bool(windows[place].detail.get(MARK))
