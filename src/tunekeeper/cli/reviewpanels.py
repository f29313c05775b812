"""What the panels of the review screen say about an opened item. Pure: nouns in, styled text out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from textual.content import Content

from tunekeeper.cli.reviewtext import body, changed, folded, styled
from tunekeeper.cli.reviewwidgets import Stopwatch
from tunekeeper.cli.visible import visible
from tunekeeper.data.review import Opened

LINE = 180.0
"""Seconds one item should take at most: three minutes."""
MESSAGES = 30
"""Last messages of a conversation that the panel shows."""
CHARACTERS = 24_000
"""Characters of a conversation that the panel shows; each message keeps at least LEAST of its own."""
LEAST = 600
Part = str | Content | tuple[str, str]


def talk(messages: Sequence[dict[str, Any]]) -> list[tuple[str, Content]]:
    """Role and text of the last messages; a long system prompt and what does not fit are folded."""
    left, shown = CHARACTERS, []
    for message in reversed(messages[-MESSAGES:]):
        role, said = str(message.get("role", "")), body(message)
        said = folded(said, LEAST if role == "system" and len(messages) > 1 else max(LEAST, min(left, CHARACTERS // 2)))
        left -= len(said)
        shown.append((role, styled(said) if said.strip() else Content.styled("(an empty message)", "italic $quiet")))
    earlier = len(messages) - len(shown)
    more = [("more", Content(f"… {earlier} earlier messages: v shows them"))] if earlier else []
    return [*more, *reversed(shown)]


def answer(opened: Opened) -> Content:
    """The served answer, and beneath it the reviewer's own words where they have begun or made a correction."""
    served = styled(opened.answer) if opened.answer.strip() else Content.styled("(an empty answer)", "italic $quiet")
    if opened.draft_text is None or not (title := own_text(opened)):
        return served
    return Content.assemble(served, "\n\n", (title, "bold $warning"), "\n", changed(opened.answer, opened.draft_text))


def own_text(opened: Opened) -> str:
    """What the reviewer's own words beneath the served answer are; empty where there are none."""
    if opened.draft_text is None or opened.draft_text == opened.answer:
        return ""
    return "your correction" if opened.item.verdict == "edited" else "your edit, not saved yet: e goes on with it"


def side(opened: Opened, options: Sequence[str], said: str | None) -> Content:
    """Why this one was chosen, what is known about it, its labels and notes, what the reviewer said before."""
    parts: list[Part] = []
    for reason in opened.reasons or (opened.item.why,):
        parts += [("• ", "$accent"), visible(reason), "\n"]
    if said:
        parts += ["\n", ("You said", "bold $quiet"), "\n", (said, "bold"), "\n"]
    if opened.facts:
        parts += ["\n", ("Facts", "bold $quiet"), "\n"]
        for name, value in opened.facts.items():
            parts += [(f"{visible(name)} ", "$quiet"), visible(folded(value, 300)), "\n"]
    mine = labels(opened)
    if options or mine:
        parts += ["\n", ("Labels", "bold $quiet"), "\n"]
    for i, option in enumerate(options, 1):
        on = option in mine
        parts += [(f"{i} ", "bold $accent"), (f"{'✓ ' if on else '  '}{visible(option)}", "bold" if on else ""), "\n"]
    parts += [f"  ✓ {visible(name)}\n" for name in mine if name not in options]
    for remark in opened.item.remarks:
        if remark["kind"] != "label":
            parts += ["\n", (f"{remark['kind'].capitalize()}: ", "bold $quiet"), visible(folded(remark["text"], 500)), "\n"]
    return Content.assemble(*parts)


def line(opened: Opened, *, room: int) -> Content:
    """The same on one or two lines of `room` characters in all, for terminals without room beside the conversation."""
    reasons = " · ".join(visible(each) for each in opened.reasons or (opened.item.why,))
    mine = "".join(f"  ✓ {visible(name)}" for name in labels(opened))
    left, facts = room - len(reasons) - len(mine), ""
    for name, value in opened.facts.items():
        fact = f"   {visible(name)} {visible(value)}"
        left -= len(fact)
        facts += fact if left >= 0 else ""
    return Content.assemble(("Why  ", "bold $accent"), (reasons, "$foreground"), (mine, "bold $foreground"), facts)


def labels(opened: Opened) -> list[str]:
    """The labels this reviewer gave the item."""
    return [remark["text"] for remark in opened.item.remarks if remark["kind"] == "label"]


def said_before(opened: Opened) -> str | None:
    """What this reviewer judged of the item before; None when nothing."""
    if opened.chosen is not None:
        return "a tie" if opened.chosen == "tie" else f"{opened.chosen.upper()} is better"
    words = {"good": "approved", "bad": "rejected", "edited": "edited", "excluded": "excluded"}
    return words.get(opened.item.verdict or "")


def clock(seconds: float) -> str:
    """Minutes and seconds: `2:07`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def pace(opened: Opened, watch: Stopwatch, *, wide: bool) -> Content:
    """Items open and done, the reviewer's pace, the time of this one against the three-minute line."""
    parts: list[Part] = [f"{opened.open_items} open · {opened.done_by_me} done"]
    if opened.pace.minutes_each is not None:
        parts.append(f" · {clock(opened.pace.minutes_each * 60)} each")
    if wide and opened.pace.an_hour is not None:
        parts.append(f" · {opened.pace.an_hour:.0f} an hour")
    spent = watch.seconds()
    late = "bold $warning" if spent >= LINE else "bold"
    parts += ["  ", (clock(spent), late), (" of 3:00", late if spent >= LINE else "$quiet")]
    parts += [(" resting", "$quiet")] if watch.rests() else []
    return Content.assemble(*parts)


def nothing(model: str, judged: int, kinds: Sequence[str]) -> Content:
    """What an empty queue says: what was done, and the command that fills it."""
    done = f"You judged {judged} in this sitting. " if judged else ""
    which = f" of {', '.join(kinds)}" if kinds else ""
    return Content.assemble(
        ("Nothing waits for you.", "bold $accent"),
        f"\n\n{done}The queue{visible(which)} of {visible(model)} is empty.\n\nTo fill it from the traffic:\n",
        (f"tunekeeper data review --model {visible(model)} --fill 50", "bold $code"),
    )


def everything(opened: Opened) -> str:
    """The whole conversation and its answers as they were written, each under its role."""
    parts = [f"## {message.get('role', '')}\n\n{body(message)}" for message in opened.messages]
    parts += [f"## {'answer A' if opened.other is not None else 'the answer'}\n\n{opened.answer}"]
    parts += [f"## answer B\n\n{opened.other}"] if opened.other is not None else []
    parts += [f"## tools\n\n{json.dumps(opened.tools, ensure_ascii=False, indent=2)}"] if opened.tools else []
    return "\n\n".join(parts)
