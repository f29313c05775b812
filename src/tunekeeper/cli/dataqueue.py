"""`tunekeeper data queue`: the verbs of review one by one, for scripts and other faces: next, open, judge, prefer, skip, …"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.core.nouns.data import ReviewItem
    from tunekeeper.data.review import Opened

app = frame.group("The review queue, verb by verb: for scripts and other faces.")

Item = Annotated[str, typer.Argument(help="Item: rev_….")]
By = Annotated[str, typer.Option("--by", help="Name of the reviewer.")]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0, help="How long it took.")]
Note = Annotated[str | None, typer.Option("--note", help="A note on the item.")]


@app.command("next")
def next_(
    model: frame.Model,
    by: By,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="answer, pair, or why an item was chosen; repeatable.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Open the next item for a reviewer, who holds it for a quarter of an hour.

    Example: tunekeeper data queue next --model support-desk --by ana --json
    """
    from tunekeeper.data import review

    ws, project = frame.project(dir)
    share = project.model(model).sections["data"].gold_share
    found = review.open_next(ws, model, by=by, kinds=tuple(kind or ()), gold_share=share)
    if found is None:
        return frame.emit({"item": None, "open_items": 0}, json, f"nothing waits for {by}")
    return frame.emit(found, json, lambda: _shown(found))


@app.command("open")
def open_(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Open one item again, to go back to a judgment of one's own.

    Example: tunekeeper data queue open rev_… --by ana
    """
    from tunekeeper.data import review

    found = review.open_item(frame.workspace(dir), item, by=by)
    return frame.emit(found, json, lambda: _shown(found))


@app.command("judge")
def judge(
    item: Item,
    verdict: Annotated[str, typer.Argument(help="good, bad, edited or excluded.")],
    by: By,
    answer: Annotated[str | None, typer.Option("--answer", help="The corrected answer.")] = None,
    answer_file: Annotated[
        Path | None, typer.Option("--answer-file", help="The corrected answer in a file; - for stdin.")
    ] = None,
    seconds: Seconds = None,
    note: Note = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the answer in spite of what speaks against it.")] = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Judge an answer; a corrected one has to have the format of the model, or --force.

    Example: tunekeeper data queue judge rev_… edited --answer '{"category": "refund"}' --by ana --seconds 40
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import review

    ws, project = frame.project(dir)
    right = _read(answer, answer_file)
    against: tuple[str, ...] = ()
    if right is not None:
        config = project.model(review.get(ws, item).model)
        against = review.complaints(ws, config.task, right, section=config.sections["data"])
        if against and not force:
            raise UserError(f"the answer: {'; '.join(against)}", fix="mend it, or take it as it is with --force")
    told: Any = verdict
    done = review.judge(ws, item, told, answer=right, by=by, seconds=seconds, note=note, labels=tuple(label or ()))
    return _told(done, by, json, complaints=list(against))


@app.command("prefer")
def prefer(
    item: Item,
    choice: Annotated[str, typer.Argument(help="a, b or tie.")],
    by: By,
    seconds: Seconds = None,
    note: Note = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say which of two answers is better, in the order they were shown.

    Example: tunekeeper data queue prefer rev_… a --by ana
    """
    from tunekeeper.data import review

    told: Any = choice
    return _told(review.prefer(frame.workspace(dir), item, told, by=by, seconds=seconds, note=note), by, json)


@app.command("skip")
def skip(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Leave an item to others, and take back what one said about it.

    Example: tunekeeper data queue skip rev_… --by ana
    """
    from tunekeeper.data import review

    return _told(review.skip(frame.workspace(dir), item, by=by), by, json)


@app.command("undo")
def undo(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Take back what one said about an item; an example that was made of it leaves the draft with the next collection.

    Example: tunekeeper data queue undo rev_… --by ana
    """
    from tunekeeper.data import review

    return _told(review.undo(frame.workspace(dir), item, by=by), by, json)


@app.command("keep")
def keep(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Hold an open item for another quarter of an hour.

    Example: tunekeeper data queue keep rev_… --by ana
    """
    from tunekeeper.data import review

    return _told(review.keep(frame.workspace(dir), item, by=by), by, json)


@app.command("release")
def release(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Let an open item go, so that others get it.

    Example: tunekeeper data queue release rev_… --by ana
    """
    from tunekeeper.data import review

    return _told(review.release(frame.workspace(dir), item, by=by), by, json)


@app.command("save")
def save(
    item: Item,
    by: By,
    text: Annotated[str | None, typer.Option("--text", help="The unfinished answer.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="The same in a file; - for stdin.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Keep an unfinished edit of an item.

    Example: tunekeeper data queue save rev_… --text 'Dear customer, …' --by ana
    """
    from tunekeeper.data import review

    return _told(review.save_text(frame.workspace(dir), item, _read(text, file) or "", by=by), by, json)


@app.command("remark")
def remark(
    item: Item,
    by: By,
    flag: Annotated[str | None, typer.Option("--flag", help="Why whoever looks after the queue should see it.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label; repeatable.")] = None,
    unlabel: Annotated[list[str] | None, typer.Option("--unlabel", help="Take a label off; repeatable.")] = None,
    note: Note = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Flag or label an item or write a note on it, without judging it.

    Example: tunekeeper data queue remark rev_… --flag 'the policy is unclear' --by ana
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import review

    ws = frame.workspace(dir)
    verbs = [(review.flag, flag), (review.note, note)]
    verbs += [(review.label, each) for each in label or ()] + [(review.unlabel, each) for each in unlabel or ()]
    done = [verb(ws, item, text, by=by) for verb, text in verbs if text is not None]
    if not done:
        raise UserError("nothing to remark", fix="give --flag, --label, --unlabel or --note")
    return _told(done[-1], by, json)


@app.command("retire")
def retire(item: Item, by: By, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Take a gold item out of the queue for good; how people did on it is kept.

    Example: tunekeeper data queue retire rev_… --by ana
    """
    from tunekeeper.data import review

    done = review.retire_gold(frame.workspace(dir), item, by=by)
    return frame.emit({"item": done.id, "state": done.state}, json, f"{done.id}: no gold item any more")


def _read(text: str | None, file: Path | None) -> str | None:
    """The text, or what the file or standard input holds. Raises UserError."""
    from tunekeeper.core.errors import UserError

    if file is None:
        return text
    if text is not None:
        raise UserError("the answer is given twice", fix="as text or as a file")
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{file}: cannot be read: {why}", fix="name a text file in UTF-8") from None


def _shown(opened: Opened) -> list[str]:
    from tunekeeper.cli.reviewtext import body

    lines = [f"{opened.item.id}: one of {opened.open_items}; {opened.done_by_me} done by you"]
    lines += [f"why: {reason}" for reason in opened.reasons]
    lines += [f"{name}: {value}" for name, value in opened.facts.items()]
    lines += [f"[{message.get('role')}] {body(message)}" for message in opened.messages]
    lines += [f"[answer] {opened.answer}"] if opened.other is None else [f"[a] {opened.answer}", f"[b] {opened.other}"]
    return lines + ([f"[your text] {opened.draft_text}"] if opened.draft_text else [])


def _told(item: ReviewItem, by: str, json: bool, **more: Any) -> int:
    """What the reviewer may know of an item after a verb: nothing of what others said, nor whether its answer was known."""
    from tunekeeper.data import review

    seen = review.seen(item, by)
    mine = {
        "item": seen.id,
        "state": seen.state,
        "verdict": seen.verdict,
        "answer": seen.answer,
        "chosen": review.chosen(item, by),
    }
    answer = {**mine, "text": item.texts.get(by), "held_until": item.held[1] if item.held and item.held[0] == by else None}
    said = mine["verdict"] or mine["chosen"] or ("held" if answer["held_until"] else "open")
    return frame.emit({**answer, "remarks": seen.remarks, **more}, json, f"{seen.id}: {said}")
