"""How a promise is tried: in a bounded time, with every surprise turned into one sentence."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


def must(kept: bool, sentence: str) -> None:
    """Raise AssertionError with `sentence` unless the promise was kept."""
    if not kept:
        raise AssertionError(sentence)


def attempt(what: str, act: Callable[[], Any], *, seconds: float, may_raise: tuple[type[Exception], ...] = ()) -> Any:
    """What `act` returned, or the error among `may_raise` that it raised. `what`: the call, for the sentence.

    Raises AssertionError when it raised anything else, or has not returned within `seconds` (its thread is left behind).
    """
    ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((act(), None))
        except BaseException as error:  # noqa: BLE001  # whatever it is, the caller names it
            ended.put((None, error))

    threading.Thread(target=run, name="contract", daemon=True).start()
    try:
        value, error = ended.get(timeout=seconds)
    except queue.Empty:
        raise AssertionError(f"{what} did not return within {seconds:g} seconds") from None
    if error is None:
        return value
    if isinstance(error, may_raise):
        return error
    raise AssertionError(f"{what} raised {type(error).__name__}: {error}") from error


def shown(value: object) -> str:
    """A value for a sentence, at most 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
