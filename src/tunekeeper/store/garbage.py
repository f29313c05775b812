"""Python looks for rings of objects that nobody needs, and each look goes through all there are: not while there are millions."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no rings of objects meanwhile: neither rows nor what a command imports are any."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.freeze()
            gc.unfreeze()  # what came counts as old: else the very next object would have it looked through
            gc.enable()
