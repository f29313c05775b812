"""What comes of finished reviews besides corrections of the log: examples out of preferences, and cases for a suite.

Preferences become rows with the chosen answer and the other one as `rejected`, which `data export --format dpo` writes out. Cases
are written to a file that a person adds to the suite; nothing that is learned from is among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example, ReviewItem
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, filerows, lines, versions
from tunekeeper.data.archives import nameless
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.coverage import leaks
from tunekeeper.data.examples import topic_of
from tunekeeper.data.pairs import read_lines
from tunekeeper.data.redacting import redactor_of
from tunekeeper.data.sources import Correction, corrections, labels_of, redacted_example
from tunekeeper.scoring.suites import case_of
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.place import file_at
from tunekeeper.text.fingerprints import answer_of
from tunekeeper.workspace import Workspace

_BATCH = 500
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """What became of finished items as cases of a suite."""

    added: int
    """Cases written."""
    known: int
    """Cases that the file has already."""
    learned: tuple[str, ...]
    """Items left out because their prompt, nearly or exactly, is one to learn from."""
    unfit: tuple[str, ...]
    """Items left out because no suite can ask or compare them: nothing but tool calls is right, or no user asked."""
    otherwise: tuple[str, ...]
    """Items whose case in the file is not what reviewers say by now: judged anew, or taken back."""
    path: str
    """The file."""


def preferences(items: Sequence[ReviewItem], task: Model, section: Config) -> list[Correction]:
    """An example of each finished pair of which one answer was preferred, oldest first; ties give none."""
    redactor = redactor_of(section)
    done = [item for item in items if item.kind == "pair" and item.state == "done" and item.better in ("first", "second")]
    made = []
    for item in sorted(done, key=lambda item: (item.done_at or _NEVER, item.id)):
        answers = (item.shown.get("answer"), item.shown.get("other"))
        right, wrong = answers if item.better == "first" else answers[::-1]
        if not item.shown.get("messages") or not right or not wrong:
            continue
        origins = [str(each) for each in item.shown.get("from", ())]
        known = {
            "id": item.id,
            "review": item.id,
            "request_id": item.request_id or None,
            "created": item.created.isoformat() if item.created else None,
            "said_as": "review",
            "said_by": item.by,
            "said_at": item.done_at.isoformat() if item.done_at else None,
            "labels": list(labels_of(item)) or None,
            "preferred_from": dict(zip(("first", "second"), origins, strict=False)).get(item.better or ""),
            "rejected": wrong,
        }
        talk = Conversation(
            messages=(*item.shown["messages"], {"role": "assistant", "content": right}),
            metadata={name: value for name, value in known.items() if value is not None},
        )
        example, counts = redacted_example(talk, f"review:{item.id}", task.system, redactor)
        made.append(Correction(example=example, served=redactor.redact(wrong)[0], at=item.done_at or _NEVER, redacted=counts))
    return made


def export_cases(ws: Workspace, task: Model, section: Config, path: Path, *, dry_run: bool = False) -> Cases:
    """Append finished items as cases to `path` (JSONL, as a suite reads it), each once: what was asked, the approved or corrected
    answer as `expected`, its topic and labels. The file appears whole; with `dry_run` not at all.

    Left out is every prompt that stands, nearly or exactly, on the side to learn from of the newest version or of the draft; gold
    items and pairs are no cases. A case that the file has is named where it says otherwise by now, and left to whoever keeps the
    file. Raises DataError for a file that is no JSONL, DiskFull.
    """
    path = file_at(path)
    known = {str(row.get("id")): row for _, row in read_lines(path)} if path.exists() else {}
    judged = _judged(ws, task, section)
    said = {str(e.metadata["review"]): answer_of(e.messages) for e in judged}
    unfit = {e.id for e in judged if not _is_case(e)}
    examples = [e for e in judged if e.id not in unfit]
    with _train(ws, task.name) as train:
        learned = {found.id for found in leaks(examples, train, section.near_duplicate, where="the rows to learn from")}
    fit = [e for e in examples if e.id not in learned]
    fresh = [e for e in fit if e.metadata["review"] not in known]
    if fresh and not dry_run:
        before = path.read_bytes() if path.exists() else b""
        start = before + (b"" if before.endswith(b"\n") or not before else b"\n")
        drafts.write_whole(path, [start, *(orjson.dumps(_case(e), option=orjson.OPT_APPEND_NEWLINE) for e in fresh)])
    return Cases(
        added=len(fresh),
        known=len(fit) - len(fresh),
        learned=tuple(str(e.metadata["review"]) for e in examples if e.id in learned),
        unfit=tuple(str(e.metadata["review"]) for e in judged if e.id in unfit),
        otherwise=tuple(
            id for id, row in known.items() if row.get("source") == f"review:{id}" and said.get(id) != row.get("expected")
        ),
        path=str(path),
    )


def _judged(ws: Workspace, task: Model, section: Config) -> list[Example]:
    """An example of every answer that reviewers approved or corrected."""
    with ws.state.read() as tx:
        done = [item for item in find_reviews(tx, model=task.name, state="done") if item.kind == "answer"]
    ids = [item.request_id for item in done if item.request_id]
    batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
    traffic = [inference for batch in batches for inference in ws.log.find(model=task.name, request_ids=batch)]
    found = corrections(traffic, (), done, system=task.system, redactor=redactor_of(section))
    return [each.example for each in found]


@contextmanager
def _train(ws: Workspace, model: str) -> Iterator[Sequence[Example]]:
    """The rows to learn from of the newest version and of the draft; many lie in a file."""
    newest, draft = versions.latest(ws, model), lines.of_draft(versions.draft_path(ws, model))
    frozen = versions.read_lines(ws, newest, "train") if newest is not None else iter(())
    with nameless(ws.root) as (file, path):
        file.writelines(line for line, side in chain(frozen, draft) if side == "train")
        file.flush()
        yield filerows.rows_of(path)


def _is_case(example: Example) -> bool:
    """Whether a suite can read the case, and has a text to compare with."""
    try:
        case_of(_case(example), example.id)
    except DataError:
        return False
    return bool(answer_of(example.messages).strip())


def _case(example: Example) -> dict[str, Any]:
    """A case as `scoring.suites` reads it (docs/evaluation.md)."""
    row = {
        "id": example.metadata["review"],
        "messages": list(example.messages[:-1]),
        "expected": answer_of(example.messages),
        "category": topic_of(example),
        "tags": ["review", *example.metadata.get("labels", ())],
        "tools": list(example.tools),
        "source": f"review:{example.metadata['review']}",
    }
    return {name: value for name, value in row.items() if value not in ("", [])}
