"""The keys of the review screen: one table that the screen obeys, its bottom line shows and `?` explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = Literal["answer", "pair", "edit", "empty"]
ANSWER: tuple[Place, ...] = ("answer",)
ANYWHERE: tuple[Place, ...] = ("answer", "pair", "empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key and what it does."""

    keys: str
    """As Textual names them, with commas between keys that do the same."""
    shown: str
    """As a person reads it."""
    action: str
    """The method `action_…` of the screen."""
    word: str
    """For the bottom line; empty: only the sheet names it."""
    says: str
    """For the sheet."""
    places: tuple[Place, ...] = ("answer", "pair")
    """Where it works: reading an answer, reading a pair, editing, an empty queue."""


KEYS = (
    Key(keys="a", shown="a", action="approve", word="approve", says="the answer is good as it is", places=ANSWER),
    Key(keys="a", shown="a", action="first", word="A is better", says="the answer A is the better one", places=("pair",)),
    Key(keys="b", shown="b", action="second", word="B is better", says="the answer B is the better one", places=("pair",)),
    Key(keys="t", shown="t", action="tie", word="tie", says="neither answer is better", places=("pair",)),
    Key(keys="e", shown="e", action="edit", word="edit", says="write the answer as it should have been", places=ANSWER),
    Key(
        keys="r",
        shown="r",
        action="reject",
        word="reject",
        says="the answer is wrong; no better one is written",
        places=ANSWER,
    ),
    Key(keys="x", shown="x", action="exclude", word="exclude", says="take it out: nothing is learnt from it", places=ANSWER),
    Key(keys="s", shown="s", action="skip", word="skip", says="leave it to the others"),
    Key(keys="f", shown="f", action="flag", word="flag", says="mark it for a second look, with the reason"),
    Key(keys="l", shown="l", action="label", word="label", says="put a label on it: type it, or its number"),
    Key(keys="1,2,3,4,5,6,7,8,9", shown="1-9", action="option", word="", says="put on, or take off, the label of this number"),
    Key(keys="n", shown="n", action="note", word="note", says="write a note; --stats shows it once this is judged"),
    Key(keys="left", shown="←", action="previous", word="", says="the item before this one", places=ANYWHERE),
    Key(keys="right", shown="→", action="next", word="next", says="the next item; this one stays open"),
    Key(
        keys="u",
        shown="u",
        action="again",
        word="back",
        says="go back to what you judged last",
        places=ANYWHERE,
    ),
    Key(keys="v", shown="v", action="whole", word="", says="the whole conversation, page by page"),
    Key(
        keys="ctrl+s,ctrl+enter",
        shown="^S",
        action="save",
        word="save and next",
        says="save the edit, open the next",
        places=("edit",),
    ),
    Key(
        keys="escape",
        shown="Esc",
        action="leave",
        word="stop editing",
        says="leave the field; the text is kept",
        places=("edit",),
    ),
    Key(keys="tab", shown="Tab", action="switch", word="", says="scroll the other part", places=("answer", "pair", "edit")),
    Key(
        keys="g", shown="g", action="next", word="look again", says="look whether the queue has something now", places=("empty",)
    ),
    Key(keys="d", shown="d", action="shade", word="", says="dark or light", places=ANYWHERE),
    Key(keys="question_mark", shown="?", action="sheet", word="keys", says="this sheet", places=ANYWHERE),
    Key(
        keys="ctrl+z",
        shown="^Z",
        action="suspend_process",
        word="",
        says="back to the shell for a while; fg comes back here",
        places=ANYWHERE,
    ),
    Key(
        keys="q",
        shown="q",
        action="quit",
        word="quit",
        says="end; what is open becomes free for the others",
        places=ANYWHERE,
    ),
)


def shown_keys(place: Place) -> list[Key]:
    """What the bottom line shows at `place`."""
    return [key for key in KEYS if place in key.places and key.word]
