"""What a notifier must keep: a message arrives, or NotSent is raised in time, so that the outbox can go on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import UserError
from tunekeeper.notify import Notifier, NotSent
from tunekeeper.store.ledgers.outbox import Message
from tunekeeper.testing.contracts.trial import attempt, must, shown

PLAIN = Message(id="alr_1@ops", kind="alert", subject="edit rate rises", text="12 of 80", model="desk", data={"n": 80})
MESSAGES = (
    PLAIN,
    Message(id="empty", kind="x", subject=""),
    Message(id="a/b?c=d&e #\u00fc", kind="rollback", subject="\u6f22\u5b57 \U0001f642", text="two\nlines\r\nand \x00 \u2028"),
    Message(id="deep", kind="report", subject="s", data={"a": [None, True, 1.5, {"b": [[]]}], "\u00fc": ""}),
    Message(id="long", kind="report", subject="s" * 2_000, text="line of text\n" * 10_000),
    Message(id="again", kind="alert", subject="s", to="ops", attempts=3, error="was away"),
)
"""What the outbox may hold."""


def check_notifier(
    maker: Callable[..., Notifier],
    root: Path,
    *,
    received: Callable[[], Iterable[str]],
    unreachable: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None = None,
    seconds: float = 10.0,
) -> None:
    """Raise AssertionError, naming the promise, unless `maker` keeps the contract of `Notifier`.

    `maker`: called as the outbox does, with `root=` (a folder to try it with) and the options of a target. `options`: of a
    target that can be reached; `received`: the ids of the messages that arrived there. `unreachable`: options that lead
    to nobody, at least one (a port that nobody listens on, a receiver that is silent for ever); `root` may be among them.
    `seconds`: how long one delivery may take.
    """
    must(len(unreachable) > 0, "unreachable is empty: a notifier is also judged by how it fails")
    notifier = _made(maker, {"root": root, **(options or {})}, seconds)
    _no_silent_typo(maker, {"root": root, **(options or {})}, seconds)
    for message in (*MESSAGES, PLAIN):
        _sent(notifier, message, seconds)
    found = set(received())
    for message in MESSAGES:
        must(message.id in found, f"send() of {message.id!r} returned, but it did not arrive")
    strange = sorted(found - {message.id for message in MESSAGES})
    must(not strange, f"ids arrived that nobody sent, so that a receiver cannot tell what came twice: {strange}")
    for wrong in unreachable:
        _fails_well(_made(maker, {"root": root, **wrong}, seconds), wrong, seconds)


def _made(maker: Callable[..., Notifier], given: Mapping[str, Any], seconds: float) -> Notifier:
    made: Notifier = attempt(f"making it with {', '.join(given)}", lambda: maker(**given), seconds=seconds)
    must(callable(getattr(made, "send", None)), f"{type(made).__name__} has no send()")
    return made


def _no_silent_typo(maker: Callable[..., Notifier], given: Mapping[str, Any], seconds: float) -> None:
    what = "making it with an option that it does not have"
    made = attempt(what, lambda: maker(**given, no_such_option=1), seconds=seconds, may_raise=(TypeError, UserError))
    must(isinstance(made, TypeError | UserError), f"{what} was let pass: a typing error in a configuration must be told")


def _sent(notifier: Notifier, message: Message, seconds: float) -> None:
    before = copy.deepcopy(message)
    what = f"send() of {message.id!r}"
    returned = attempt(what, lambda: notifier.send(message), seconds=seconds, may_raise=(NotSent,))
    must(not isinstance(returned, NotSent), f"{what} to a receiver that is there raised NotSent: {returned}")
    must(returned is None, f"{what} returned {shown(returned)}: what is not sent is told by NotSent, never by a value")
    must(message == before, f"{what} changed the message")


def _fails_well(notifier: Notifier, options: Mapping[str, Any], seconds: float) -> None:
    what = f"send() to nobody ({', '.join(f'{key}={shown(value)}' for key, value in options.items())})"
    said = attempt(what, lambda: notifier.send(PLAIN), seconds=seconds, may_raise=(NotSent,))
    must(isinstance(said, NotSent), f"{what} returned as if it had arrived")
    must(isinstance(said.permanent, bool), f"{what}: permanent is {shown(said.permanent)}, not true or false")
    text = said.message.strip()
    must(bool(text) and "\n" not in text, f"{what}: NotSent must say why in one line, it says {shown(said.message)}")
    attempt(f"a second {what}", lambda: notifier.send(PLAIN), seconds=seconds, may_raise=(NotSent,))
