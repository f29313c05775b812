"""Pairs: two answers to one prompt, of which a reviewer chooses the better one without knowing where they come from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data.examples import comparable
from tunekeeper.data.sampling import choose
from tunekeeper.data.sources import asked_messages, served_answer
from tunekeeper.store.ledgers.reviews import find_reviews, save_review
from tunekeeper.store.transactions import Read
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

LINE_LIMIT = 4 << 20
"""Bytes of one row of a file of pairs or gold items."""
MOST = 20_000
"""Newest shadow answers of a window, and rows of a file, that are looked at."""
KEYS = ("messages", "prompt", "a", "b", "a_from", "b_from")


def pairs_from_log(
    ws: Workspace,
    model: str,
    since: datetime,
    until: datetime,
    n: int,
    *,
    seed: int = 0,
    opinions: int = 1,
    dry_run: bool = False,
) -> list[ReviewItem]:
    """Queue `n` pairs out of a window: what was served, and what the shadow answered to the same request where that is something
    else; spread as any sample is. A pair is queued once. Returns the new items, with `dry_run` without queueing them."""
    shadows = ws.log.find(model=model, since=since, until=until, purpose=("shadow",), status="ok", limit=MOST, newest_first=True)
    by_parent = {shadow.parent_id: shadow for shadow in shadows if shadow.parent_id and served_answer(shadow)}
    served = ws.log.find(model=model, request_ids=sorted(by_parent), status="ok")
    differing = [i for i in served if _differ(i, by_parent[i.request_id])]
    with ws.state.read() as tx:
        known = {item.id for item in find_reviews(tx, model=model)}
    fresh = [i for i in differing if _id(model, i.request_id, by_parent[i.request_id].request_id) not in known]
    against = {i.request_id: "the shadow answered otherwise" for i in fresh}
    chosen = choose(fresh, n, random.Random(f"{seed}/{model}/pairs"), against=against, blind=True)
    items = []
    for each in chosen:
        champion, shadow = each.inference, by_parent[each.inference.request_id]
        shown = {
            "messages": asked_messages(champion),
            "answer": served_answer(champion),
            "other": served_answer(shadow),
            "from": [champion.version or "served", shadow.version or "shadow"],
        }
        id = _id(model, champion.request_id, shadow.request_id)
        items.append(replace(_item(model, id, champion.request_id, shown, each.reasons, opinions), unit=champion.unit))
    return _saved(ws, model, items, dry_run=dry_run)


def pairs_from_file(
    ws: Workspace, model: str, path: Path, *, system: str | None, redactor: Redactor, opinions: int = 1, dry_run: bool = False
) -> list[ReviewItem]:
    """Queue the pairs of a JSONL file: `messages` or `prompt`, answers `a` and `b`, perhaps `a_from` and `b_from`. All rows are
    good or none is queued; the same pair is queued once. Returns the new items, with `dry_run` without queueing them. Raises
    DataError with the line."""
    items = []
    for line, row in read_lines(path):
        where = f"{path.name}:{line}"
        unknown = set(row) - set(KEYS)
        if unknown:
            raise DataError(f"{where}: unknown key {min(unknown)!r}", fix=", ".join(KEYS))
        asked = row.get("messages")
        if asked is None and isinstance(row.get("prompt"), str):
            asked = [{"role": "user", "content": row["prompt"]}]
        if (
            not asked
            or not isinstance(asked, list)
            or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in asked)
        ):
            raise DataError(f"{where}: no messages", fix="give messages with roles, or prompt")
        answers = [row.get("a"), row.get("b")]
        if not all(isinstance(answer, str) and answer.strip() for answer in answers):
            raise DataError(f"{where}: two answers are needed", fix="give a and b as text")
        if system and not any(m["role"] in ("system", "developer") for m in asked):
            asked = [{"role": "system", "content": system}, *asked]
        shown, _ = redactor.redact_json({"messages": asked, "answer": answers[0], "other": answers[1]})
        shown["from"] = [str(row.get("a_from") or "a"), str(row.get("b_from") or "b")]
        reasons = (f"row {line} of {path.name}",)
        items.append(_item(model, _id(model, shown["messages"], [shown["answer"], shown["other"]]), "", shown, reasons, opinions))
    return _saved(ws, model, items, dry_run=dry_run)


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number, from 1, and object of each line of a JSONL file; empty lines are passed over. Raises DataError."""
    try:
        with path.open("rb") as file:
            for number in range(1, MOST + 2):
                line = file.readline(LINE_LIMIT + 1)
                if not line:
                    return
                yield from _line(path, number, line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix="check the path") from None
    raise DataError(f"{path.name}: more than {MOST} rows", fix="give fewer at a time")


def _line(path: Path, number: int, line: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    if not line.strip():
        return
    if len(line) > LINE_LIMIT:
        raise DataError(f"{path.name}:{number}: longer than {LINE_LIMIT >> 20} MB")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path.name}:{number}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{path.name}:{number}: not an object")
    yield number, row


def _differ(served: Inference, shadow: Inference) -> bool:
    a, b = served_answer(served), served_answer(shadow)
    return bool(a and b) and asked_messages(served) is not None and comparable(a or "") != comparable(b or "")


def _id(model: str, asked: Any, other: Any) -> str:
    return f"rev_{digest_json([model, 'pair', asked, other])[7:33]}"


def _item(
    model: str, id: str, request_id: str, shown: Mapping[str, Any], reasons: tuple[str, ...], opinions: int = 1
) -> ReviewItem:
    return ReviewItem(
        id=id, model=model, request_id=request_id, why="pair", kind="pair", shown=dict(shown), reasons=reasons, wants=opinions
    )


def _fresh(tx: Read, model: str, items: Sequence[ReviewItem]) -> list[ReviewItem]:
    known = {item.id for item in find_reviews(tx, model=model)}
    once = {item.id: item for item in reversed(items)}  # of the same pair twice, the first
    return [item for item in items if once[item.id] is item and item.id not in known]


def _saved(ws: Workspace, model: str, items: Sequence[ReviewItem], *, dry_run: bool) -> list[ReviewItem]:
    if dry_run or not items:
        with ws.state.read() as tx:
            return _fresh(tx, model, items)
    with ws.state.write(by="data") as tx:
        return [save_review(tx, item) for item in _fresh(tx, model, items)]
