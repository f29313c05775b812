"""The messages that a model gets, where its slot or its entry in a fallback list has a prompt of its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeVar

T = TypeVar("T")
OPENING = ("system", "developer")
"""Roles of the messages that tell a model its task before a conversation begins."""


def prompted(asked: Sequence[T], own: Sequence[T], role: Callable[[T], object]) -> list[T]:
    """What was asked, with a prompt of its own. `own`: a system message, if it has one, then examples. `role`: of a message.

    A system message takes the place of the client's opening, for many chat templates refuse a second one; examples stand before
    the conversation. Traffic, exams and token counts go through here alike: what is served is what was judged.
    """
    opening = list(takewhile(lambda message: role(message) in OPENING, asked))
    kept = [] if own and role(own[0]) in OPENING else opening
    return [*kept, *own, *asked[len(opening) :]]
