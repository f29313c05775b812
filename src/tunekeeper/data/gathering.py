"""`data collect`: what people said about answers becomes rows of the draft and items of the review queue. Weekly, by the worker.

Incremental by when something was said, not by when the request was made: late words about an old request still come. What was
taken up to which moment stands in `collected.jsonl` beside the draft, written last: a run that was killed is done again and
finds its rows there already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError, UserError
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data import drafts, filerows, quality, review
from tunekeeper.data.admission import Admitted, Standing, admit, standing
from tunekeeper.data.collection import Collection, alarms, history, last_full, told
from tunekeeper.data.config import Config
from tunekeeper.data.examples import decode, encode
from tunekeeper.data.findings import personal
from tunekeeper.data.heard import KINDS, Heard, Kind, settled_at, tags_of, weigh
from tunekeeper.data.nextdraft import Came, NextDraft, Put, next_draft, working
from tunekeeper.data.redacting import redactor_of
from tunekeeper.data.reviewed import preferences
from tunekeeper.data.sources import Correction, corrections
from tunekeeper.notify import queue
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.workspace import Workspace

MOST = 20_000
"""Requests that one run looks at; the rest waits for the next."""
OVERLAP = timedelta(minutes=10)
"""How far before its mark a run looks again, for words that were still on their way; those it knows are left alone."""
REASONS = {
    "escalation": "a user asked for a person instead",
    "thumb": "a user said that the answer is bad",
    "outcome": "what the user wanted did not come about",
    "score": "it was scored low",
    "cap": "its user gave as many examples as one may: look at it before it is learned",
    "tag": "its request is tagged",
}
"""Why an answer is put into the queue → the same for the reviewer."""
_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """How a run was asked for."""

    kinds: tuple[Kind, ...]
    """What it takes."""
    tag: str | None
    """The tag of what is `tagged`."""
    since: datetime | None
    """From when on words count; None: from where the last run ended."""
    until: datetime | None
    """Up to when; None: all there are."""
    limit: int | None
    """Most examples that come in."""
    by: str
    """Who runs it."""
    now: datetime
    """When."""
    regular: bool
    """Whether it takes all that is new, so that the next one begins where it ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What there is to collect."""

    words: dict[str, tuple[str, datetime]]
    """New words → the request they are about, and when they were said."""
    said: dict[str, int]
    """Kind → new words."""
    feedback: tuple[Feedback, ...]
    """Everything that was ever said about these requests."""
    reviews: tuple[ReviewItem, ...]
    """Every item of the review queue."""
    inferences: dict[str, Inference]
    """The requests that the log has."""
    late: frozenset[str]
    """Requests beyond what one run looks at."""
    seen: dict[str, str]
    """Words that the last run knew, and when they were said."""

    @property
    def requests(self) -> set[str]:
        """The requests that new words are about, without the late ones."""
        return {request for request, _ in self.words.values()} - self.late


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What comes of it."""

    admitted: Admitted
    """What is done to the draft, and why."""
    came: tuple[Correction, ...]
    """The examples that come in."""
    draft: NextDraft | None
    """The next draft; None where it stays as it is."""
    examples: int
    """Rows in it."""
    flagged: tuple[dict[str, Any], ...]
    """Report lines about examples that come in with something to look at."""
    waiting: dict[str, list[str]]
    """Why → requests that go into the review queue."""
    unusable: dict[str, int]
    """Why nothing could be made of a request → how many."""


def collect(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Sequence[Kind] | None = None,
    tag: str | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    by: str = "data",
    now: datetime | None = None,
) -> Collection:
    """Take what people said about answers of `task` since the last run: right and praised answers into the draft, through the
    checks of an import; complaints, answers whose request has `tag`, and a sample of the others into the review queue.

    `since`, `until`: when it was said; with them, or with `kinds`, the next run begins where it would have begun anyway. `limit`:
    most examples that come in. `now`: None asks the workspace's clock. Twice brings nothing new. Raises UserError for a kind that
    is none, ConfigError, Busy, DiskFull.
    """
    if min(section.collect_sample, section.collect_per_user) < 0:
        raise ConfigError(f"models/{task.name}.yaml: data.collect_sample or collect_per_user is negative", fix="write 0 or more")
    regular = kinds is None and since is None and until is None
    wanted = _wanted(kinds, tag)
    asked = _Asked(
        kinds=wanted, tag=tag, since=since, until=until, limit=limit, by=by, now=now or ws.clock.utc(), regular=regular
    )
    if dry_run:
        return _run(ws, task, section, asked, write=False)
    with drafts.locked(ws, task.name):
        return _run(ws, task, section, asked, write=True)


def _wanted(kinds: Sequence[Kind] | None, tag: str | None) -> tuple[Kind, ...]:
    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise UserError(f"nothing to collect is called {unknown[0]!r}", fix=f"choose from {', '.join(KINDS)}")
    if "tagged" in (kinds or ()) and tag is None:
        raise UserError("which tag?", fix="name it with --tag")
    chosen = {*(kinds or KINDS)} - ({"tagged"} if tag is None else set()) | ({"tagged"} if tag is not None else set())
    return tuple(kind for kind in KINDS if kind in chosen)


def _run(ws: Workspace, task: Model, section: Config, asked: _Asked, *, write: bool) -> Collection:
    last = last_full(ws, task.name)
    since = asked.since or (datetime.fromisoformat(last["mark"]) if last else None)
    found = _find(ws, task.name, asked, since, last["seen"] if last and asked.since is None else {})
    with _decided(ws, task, section, asked, found) as work:
        report = _keep(ws, task.name, work) if write else None
    for why, ids in work.waiting.items() if write else ():
        review.enqueue(ws, task.name, ids, why=why, by=asked.by, reasons=(REASONS[why],))
    sampled = _sample(ws, task.name, section, asked, since, set().union(*work.waiting.values()), write=write)
    late = found.late | set(work.admitted.left)
    done = Collection(
        at=asked.now,
        since=since,
        said=found.said,
        requests=len(found.requests),
        added=work.admitted.added,
        replaced=len(work.admitted.replaced),
        known=work.admitted.known,
        dropped=_counted(line["kind"] for line in work.admitted.lines),
        flagged=_counted(line["kind"] for line in work.flagged),
        redacted=_counted(kind for c in work.came for kind in Counter(c.redacted).elements()),
        queued={why: len(ids) for why, ids in work.waiting.items()} | ({"sample": sampled} if sampled else {}),
        unusable=work.unusable,
        alarms=tuple(alarms(work.admitted, work.came, work.flagged, section)),
        left=len(late),
        examples=work.examples,
        report=None if report is None else str(report),
    )
    if write:
        _tell(ws, task.name, done)
        _note(ws, task.name, asked, done, work.admitted, found, late)
    return done


def _tell(ws: Workspace, model: str, done: Collection) -> None:
    """Let whoever watches the notifiers know that one source seems to fill the set; before the run is noted as done."""
    if not done.alarms:
        return
    with ws.state.write(by="data") as tx:
        queue(
            tx,
            id=f"collect:{model}:{done.at.isoformat()}",
            kind="collect",
            model=model,
            subject=f"{model}: what was collected needs a look",
            text="; ".join(done.alarms),
            data={"alarms": list(done.alarms), "added": len(done.added), "at": done.at.isoformat()},
        )


@contextmanager
def _decided(ws: Workspace, task: Model, section: Config, asked: _Asked, found: _Found) -> Iterator[_Work]:
    """What comes of what was found; nothing is written that stays."""
    heard = weigh(found.feedback, found.reviews, asked.kinds, found.requests)
    made = _made(task, section, found, heard)
    candidates = [c.example for c in made]
    held = {c.example.id: personal(c.example, c.redacted) for c in made if c.redacted}
    with working(ws, task.name) as before, ExitStack() as stack:
        draft = standing(map(decode, before()), candidates, heard)
        dropped = drafts.read_findings(ws, task.name)
        admitted = admit(draft, candidates, heard, dropped, section, format=task.format, personal=held, limit=asked.limit)
        ids = set(admitted.added)
        came = tuple(c for c in made if c.example.id in ids)
        made_of = None
        if admitted.added or admitted.replaced:
            made_of = stack.enter_context(next_draft(ws, task.name, _put(before(), draft, admitted), section))
        yield _Work(
            admitted=admitted,
            came=came,
            draft=made_of,
            examples=draft.examples if made_of is None else len(made_of.rows),
            flagged=tuple(_flagged(made_of, came, task, section)) if made_of is not None and came else (),
            waiting=_waiting(ws, task.name, asked, heard, found, admitted),
            unusable=_unusable(found, heard, made),
        )


def _put(before: Iterable[bytes], draft: Standing, admitted: Admitted) -> Iterator[Put]:
    """The lines of the next draft: what was decided of few of its rows is done to all of them."""
    now = {e.id: e for e in admitted.examples}
    for place, line in enumerate(before):
        was = draft.rows.get(place)
        row = None if was is None else now.get(was.id)
        if was is None or row is was:
            yield line, Came.STAYED
        elif row is not None:
            yield encode(replace(row, split=was.split), with_split=True), Came.CHANGED
    there = {row.id for row in draft.rows.values()}
    yield from ((encode(e, with_split=True), Came.NEW) for e in admitted.examples if e.id not in there)


def _find(ws: Workspace, model: str, asked: _Asked, since: datetime | None, seen: dict[str, str]) -> _Found:
    first = since - OVERLAP if since is not None and asked.since is None else since
    with ws.state.read() as tx:
        items = find_reviews(tx, model=model)
    words: dict[str, tuple[str, datetime]] = {}
    said: list[str] = []
    for word in ws.log.feedback(model=model, since=first, until=asked.until):
        if word.id not in seen:
            words[word.id] = (word.request_id, word.timestamp)
            said.append(word.kind)
    for item, (what, at) in ((item, word) for item in items if (word := settled_at(item)) is not None):
        name = f"{item.id}@{at}"
        if name not in seen and (first is None or at >= first) and (asked.until is None or at < asked.until):
            words[name] = (item.request_id, at)
            said.append(what)
    order = dict.fromkeys(request for request, _ in sorted(words.values(), key=lambda word: word[1]))
    wanted = list(order)[:MOST]
    inferences = {i.request_id: i for batch in _batches(wanted) for i in ws.log.find(model=model, request_ids=batch)}
    begun = min((i.timestamp for i in inferences.values()), default=None)
    return _Found(
        words=words,
        said=_counted(said),
        feedback=tuple(ws.log.feedback(since=begun, until=asked.until, request_ids=list(inferences)) if inferences else ()),
        reviews=tuple(items),
        inferences=inferences,
        late=frozenset(list(order)[MOST:]),
        seen=seen,
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _made(task: Model, section: Config, found: _Found, heard: Heard) -> list[Correction]:
    """Right answers first, then praised ones, each the oldest first; then the preferences of reviewers among pairs."""
    made = corrections(
        found.inferences.values(),
        [word for word in found.feedback if word.request_id in heard.corrected],
        [item for item in found.reviews if item.request_id in heard.corrected],
        system=task.system,
        redactor=redactor_of(section),
        approved=heard.approved,
    )
    return [
        *sorted(made, key=lambda c: c.example.metadata["said_as"] == "thumb"),
        *preferences(found.reviews, task, section),
    ]


def _flagged(draft: NextDraft, came: Sequence[Correction], task: Model, section: Config) -> list[dict[str, Any]]:
    """Report lines about examples that came in with something to look at."""
    odd = [found for c in came for found in quality.examine(c.example, section, format=task.format)]
    near = filerows.near_duplicates(draft.rows, section.near_duplicate, among=set(draft.came))
    clean = [personal(c.example, c.redacted) for c in came if c.redacted]
    return drafts.rows_of([*odd, *near, *clean])


def _waiting(ws: Workspace, model: str, asked: _Asked, heard: Heard, found: _Found, admitted: Admitted) -> dict[str, list[str]]:
    """Why → requests that go into the review queue and were never in it."""
    wanted = [(why, id) for id, why in heard.queue.items() if id in found.inferences]
    wanted += [("cap", id) for id in admitted.over_ids]
    if "tagged" in asked.kinds:
        traffic = ws.log.find(
            model=model, since=asked.since, until=asked.until, status="ok", limit=MOST, bodies=False, newest_first=True
        )
        wanted += [("tag", each.request_id) for each in traffic if asked.tag in tags_of(each)]
    known = {review.item_id(model, item.request_id) for item in found.reviews}
    waiting: dict[str, list[str]] = {}
    for why, id in wanted:
        if (name := review.item_id(model, id)) not in known:
            known.add(name)
            waiting.setdefault(why, []).append(id)
    return waiting


def _sample(
    ws: Workspace, model: str, section: Config, asked: _Asked, since: datetime | None, waiting: set[str], *, write: bool
) -> int:
    """Answers of the run's window that were put into the queue so that enough of it are looked at; would be, unless `write`."""
    until = asked.until or asked.now
    if "sample" not in asked.kinds or section.collect_sample == 0 or (since is not None and since >= until):
        return 0
    begin = since or until - timedelta(days=7)
    if write:
        return len(review.sample(ws, model, begin, until, n=section.collect_sample))
    known = waiting | {item.request_id for item in review.find(ws, model)}
    answered = {each.request_id for each in review.answered(ws, model, begin, until, more=len(known))}
    queued = answered & known
    return max(0, min(section.collect_sample - len(queued), len(answered) - len(queued)))


def _keep(ws: Workspace, model: str, work: _Work) -> Path | None:
    """First the dropped rows, then the draft: a kill between the two files leaves a row in both, never in none."""
    if not work.admitted.lines and not work.flagged and work.draft is None:
        return None
    report = drafts.folder(ws, model) / "reports" / f"{ws.new_id('collect')}.jsonl"
    drafts.write_rows(report, [*work.admitted.lines, *work.flagged])
    drafts.add_findings(ws, model, [*work.admitted.lines, *(line for line in work.flagged if line["kind"] == "pii")])
    if work.draft is not None:
        drafts.save_lines(ws, model, work.draft.lines())
    return report


def _note(
    ws: Workspace, model: str, asked: _Asked, done: Collection, admitted: Admitted, found: _Found, late: frozenset[str]
) -> None:
    """Write down what was done, and for a regular run up to where."""
    earlier = history(ws, model)
    mark = min((at for request, at in found.words.values() if request in late), default=asked.now)
    line: dict[str, Any] = {"at": asked.now.isoformat(), "by": asked.by, "mark": None, "seen": {}}
    if asked.regular:
        usable = {name: at.isoformat() for name, (id, at) in found.words.items() if id in found.inferences and id not in late}
        horizon = (mark - OVERLAP).isoformat()
        line["mark"] = mark.isoformat()
        line["seen"] = {name: at for name, at in {**found.seen, **usable}.items() if at >= horizon}
        earlier = [{**each, "seen": {}} for each in earlier]
    line |= {"added": done.added, "removed": admitted.replaced, "told": told(done), "alarms": done.alarms}
    drafts.write_rows(drafts.folder(ws, model) / "collected.jsonl", [*earlier, line])


def _unusable(found: _Found, heard: Heard, made: Sequence[Correction]) -> dict[str, int]:
    wanted = (heard.corrected | set(heard.approved)) & set(found.inferences)
    missing = {
        "not_in_log": len(found.requests - set(found.inferences)),
        "no_text": len(wanted - {c.example.metadata.get("request_id") for c in made}),
    }
    return {why: n for why, n in missing.items() if n}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
