"""Admission: examples out of the log into the draft, through the checks of an import. Pure: rows in, rows and reasons out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import contradictions, quality
from tunekeeper.data.config import Config
from tunekeeper.data.examples import answer_key, created_of
from tunekeeper.data.findings import Finding, as_row, finding, row_of
from tunekeeper.data.heard import Heard, fallen, origin_of
from tunekeeper.data.preferences import taught_by, with_rejected
from tunekeeper.data.terms import fingerprints_of
from tunekeeper.text.fingerprints import fingerprint, prompt_key

NEVER = datetime.min.replace(tzinfo=UTC)
"""When a row was said last that has no date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What of a draft the candidates have to be held against: few of its rows, however many it has."""

    rows: Mapping[int, Example]
    """Place → row that has the name, the text or the question of a candidate, or about which somebody complained."""
    given: Mapping[str, int]
    """User or session → rows that come from the log through them."""
    examples: int
    """Rows of the draft."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """What becomes of these rows of a draft and of the candidates. Sides are not dealt out yet."""

    examples: tuple[Example, ...]
    """The rows that there are then: of `Standing.rows` those that stay, in their order, then what comes in."""
    added: tuple[str, ...]
    """Ids of the examples that came in."""
    replaced: tuple[str, ...]
    """Ids of rows of the old draft that a later word took the place of, or that hold no longer."""
    known: int
    """Candidates that the draft has already, or that were dropped before."""
    lines: tuple[dict[str, Any], ...]
    """Report lines of what was left out or left the draft, each with its row."""
    over: dict[str, int]
    """Whom they come from → candidates beyond what one may give."""
    over_ids: tuple[str, ...]
    """Their ids."""
    left: tuple[str, ...] = ()
    """Ids of candidates beyond the limit."""


@dataclass(slots=True)
class _Sifting:
    """Candidates on their way in."""

    section: Config
    format: Mapping[str, Any] | None
    personal: Mapping[str, Finding]
    fresh: list[Example]
    lines: list[dict[str, Any]]
    over: Counter[str]
    over_ids: list[str]
    left: list[str]
    known: int = 0

    def drop(self, found: Finding, example: Example) -> None:
        self.lines.append(as_row(found, action="dropped", row=row_of(example)))


def standing(draft: Iterable[Example], candidates: Iterable[Example], heard: Heard) -> Standing:
    """What of a draft, read once, `candidates` have to be held against."""
    ids, prints, prompts = set[str](), set[str](), set[str]()
    for each in candidates:
        ids.add(each.id)
        prints.add(each.fingerprint)
        prompts.add(prompt_key(each.messages))
    rows, given, examples = dict[int, Example](), Counter[str](), 0
    for place, row in enumerate(draft):
        examples += 1
        if (origin := origin_of(row)) is not None:
            given[origin] += 1
        withdrawn = row.source.removeprefix("inference:") in heard.withdrawn or fallen(row, heard.taken_back)
        named = row.id in ids or withdrawn
        if named or not prints.isdisjoint(fingerprints_of(row)) or (prompts and prompt_key(row.messages) in prompts):
            rows[place] = row
    return Standing(rows=rows, given=given, examples=examples)


def admit(
    draft: Standing,
    candidates: Sequence[Example],
    heard: Heard,
    dropped: Iterable[Mapping[str, Any]],
    section: Config,
    *,
    format: Mapping[str, Any] | None = None,
    personal: Mapping[str, Finding] | None = None,
    limit: int | None = None,
) -> Admitted:
    """`candidates` (the most telling first) into `draft`, which is what stands against just these and what was `heard` of their
    requests. `dropped`: report lines of rows that left before; the same row does not come again. `format`: of the model's
    answers. `personal`: id → what it held, for candidates with personal data. `limit`: most that come in."""
    work = _Sifting(
        section=section, format=format, personal=personal or {}, fresh=[], lines=[], over=Counter(), over_ids=[], left=[]
    )
    kept, withdrawn = _without_withdrawn(tuple(draft.rows.values()), heard, work)
    gone, quota = _gone_before(dropped, candidates), Quota(draft, section.collect_per_user, withdrawn)
    _sift(work, kept, candidates, gone, quota, limit)
    _settle_among(work)
    kept, beaten = _settle_with(work, kept)
    newer = {e.id: e for e in work.fresh}
    there = {e.id for e in kept}
    _keep_earlier(work, kept, newer)
    return Admitted(
        examples=(*(newer.get(e.id, e) for e in kept), *(e for e in work.fresh if e.id not in there)),
        added=tuple(newer),
        replaced=(*withdrawn, *beaten, *(id for id in newer if id in there)),
        known=work.known,
        lines=tuple(work.lines),
        over=dict(work.over),
        over_ids=tuple(work.over_ids),
        left=tuple(work.left),
    )


class Quota:
    """How many rows of a draft may come from the log through one user or session. What a reviewer judged, and rows of nobody in
    particular, are not counted."""

    def __init__(self, draft: Standing, most: int, gone: Collection[str] = ()) -> None:
        """`most`: rows of the draft in all; those that it has count, but those with the ids `gone`, which leave it."""
        self._most = most
        self._there = {e.id for e in draft.rows.values()} - set(gone)
        self._given = Counter(draft.given)
        self._given.subtract(o for e in draft.rows.values() if e.id in gone and (o := origin_of(e)) is not None)

    def takes(self, example: Example) -> bool:
        """Whether there is room for `example`, which is then taken."""
        origin = origin_of(example)
        if origin is None or example.id in self._there:
            return True
        if self._given[origin] >= self._most:
            return False
        self._given[origin] += 1
        self._there.add(example.id)
        return True


def presentable(
    draft: Standing,
    candidates: Sequence[Example],
    dropped: Iterable[Mapping[str, Any]],
    section: Config,
    *,
    format: Mapping[str, Any] | None = None,
) -> set[str]:
    """Ids of the candidates that a check would let in, that were not dropped before, and for which their user has room in the
    `draft`, which is what stands against just these."""
    gone, quota = _gone_before(dropped, candidates), Quota(draft, section.collect_per_user)
    there = {e.id for e in draft.rows.values()}
    return {
        e.id
        for e in candidates
        if (e.id, e.fingerprint) not in gone and (e.id in there or (_fatal(e, section, format) is None and quota.takes(e)))
    }


def said_at(example: Example) -> datetime:
    """When somebody last said what the row says: the word about it, or its own date; long ago where it has neither."""
    dates = (created_of({"created": example.metadata.get("said_at")}), created_of(example.metadata))
    return max((date for date in dates if date is not None), default=NEVER)


def displaces(new: Example, old: Example) -> bool:
    """Whether `new` takes the place of `old`, which answers the same question otherwise: praise displaces nothing, no user's word
    a reviewer's, and nothing what was said or brought back later."""
    return not _holds((_rank(old), _upheld_at(old)), (_rank(new), said_at(new)))


def weight_of(example: Example) -> tuple[int, datetime]:
    """By what a row is believed rather than another: who said it, then when."""
    return _rank(example), said_at(example)


def _upheld_at(example: Example) -> datetime:
    """`said_at`, or later when somebody brought the row back."""
    spite = example.metadata.get(quality.READMITTED)
    marks = spite.values() if isinstance(spite, dict) else ()
    return max(said_at(example), *(date for mark in marks if (date := created_of({"created": mark})) is not None), NEVER)


def _without_withdrawn(draft: Iterable[Example], heard: Heard, work: _Sifting) -> tuple[list[Example], list[str]]:
    """Rows of the draft that hold no longer leave: praised answers about which somebody complained, rejected ones in any case,
    and those whose judgment was taken back."""
    kept, gone = [], []
    for example in draft:
        request = example.source.removeprefix("inference:")
        said = heard.withdrawn.get(request) if request != example.source else None
        counts = request in heard.rejected or example.metadata.get("said_as") == "thumb"
        why = (said if said is not None and counts else "") or fallen(example, heard.taken_back)
        if not why or quality.wanted(example, "superseded"):
            kept.append(example)
            continue
        gone.append(example.id)
        work.drop(finding("superseded", example, why), example)
    return kept, gone


def _gone_before(lines: Iterable[Mapping[str, Any]], candidates: Iterable[Example]) -> set[tuple[str, str]]:
    """Id and fingerprint (those before a rewrite too) of rows with the ids of candidates that were dropped and not brought
    back. What left because it held no longer comes again when somebody says so later."""
    gone, ids = set(), {e.id: said_at(e) for e in candidates}
    for line in lines:
        row = line.get("row")
        if line.get("action") == "dropped" and isinstance(row, Mapping) and line["id"] in ids:
            messages, tools = tuple(row["messages"]), tuple(row.get("tools", ()))
            digest = fingerprint(messages, tools)
            left = Example(id=str(line["id"]), messages=messages, fingerprint=digest, metadata=dict(row.get("metadata") or {}))
            if line.get("kind") != "superseded" or said_at(left) >= ids[left.id]:
                gone |= {(left.id, print) for print in fingerprints_of(left)}
    return gone


def _sift(
    work: _Sifting,
    draft: Sequence[Example],
    candidates: Sequence[Example],
    gone: set[tuple[str, str]],
    quota: Quota,
    limit: int | None,
) -> None:
    known = {print: e.id for e in draft for print in fingerprints_of(e)}
    by_id = {e.id: e for e in draft}
    twins = dict(by_id)
    for example in candidates:
        earlier = by_id.get(example.id)
        stands = known.get(example.fingerprint)
        older = earlier is not None and said_at(earlier) >= said_at(example)
        twin = twins.get(stands) if stands is not None and stands != example.id else None
        heard = twin is not None and example.source in taught_by(twin)
        if older or heard or stands == example.id or (example.id, example.fingerprint) in gone:
            work.known += 1
        elif twin is not None and (taught := with_rejected(twin, example)) is not None:
            twins[taught.id] = taught
            work.fresh = [*(e for e in work.fresh if e.id != taught.id), taught]
        elif limit is not None and len(work.fresh) >= limit:
            work.left.append(example.id)
        elif stands is not None:
            work.drop(finding("exact_duplicate", example, "the same conversation", of=stands), example)
        elif (fatal := _fatal(example, work.section, work.format, work.personal.get(example.id))) is not None:
            work.drop(fatal, example)
        elif not quota.takes(example):
            work.over[origin_of(example) or ""] += 1
            work.over_ids.append(example.id)
        else:
            known[example.fingerprint] = example.id
            twins[example.id] = example
            work.fresh.append(example)


def _fatal(
    example: Example, section: Config, format: Mapping[str, Any] | None, personal: Finding | None = None
) -> Finding | None:
    troubles = [*quality.examine(example, section, format=format), *([personal] if personal else [])]
    return next((f for f in troubles if quality.dropped_for(f, section, example)), None)


def _settle_among(work: _Sifting) -> None:
    """Of candidates that ask the same and answer differently one answer stays: a reviewer's, then a correction, then what most
    different people say, then what was said last."""
    gone: set[str] = set()
    for group in contradictions.contradicting_groups(work.fresh):
        people: dict[str, set[str]] = defaultdict(set)
        for example in group:
            people[answer_key(example)].add(origin_of(example) or str(example.metadata.get("said_by") or example.id))
        best = answer_key(max(group, key=lambda e: (_rank(e), len(people[answer_key(e)]), said_at(e))))
        losers = [e for e in group if answer_key(e) != best]
        _drop_losers(work, losers, group)
        gone |= {e.id for e in losers}
    work.fresh = [e for e in work.fresh if e.id not in gone]


def _settle_with(work: _Sifting, draft: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """Candidates against rows of the draft that answer the same question otherwise; gives the rows that stay, and who left."""
    fresh = {e.id for e in work.fresh}
    gone: set[str] = set()
    for group in contradictions.contradicting_groups([*(e for e in draft if e.id not in fresh), *work.fresh]):
        new = [e for e in group if e.id in fresh]
        old = [e for e in group if e.id not in fresh]
        if not new or not old:
            continue
        standing, challenging = max((_rank(e), _upheld_at(e)) for e in old), max(map(weight_of, new))
        losers = new if _holds(standing, challenging) else old
        _drop_losers(work, losers, group)
        gone |= {e.id for e in losers}
    work.fresh = [e for e in work.fresh if e.id not in gone]
    return [e for e in draft if e.id not in gone], [e.id for e in draft if e.id in gone]


def _keep_earlier(work: _Sifting, draft: Sequence[Example], newer: Mapping[str, Example]) -> None:
    """What a row said before a later word about the same answer took its place is kept with its reason."""
    for row in draft:
        now = newer.get(row.id)
        if now is not None and now.fingerprint not in fingerprints_of(row):
            said = str(now.metadata.get("said_by") or "somebody")
            work.drop(finding("superseded", row, f"{said} gave another answer since", of=row.id), row)


def _holds(standing: tuple[int, datetime], challenging: tuple[int, datetime]) -> bool:
    """Whether a row of the draft stands against a candidate: praise displaces nothing, no user's word a reviewer's, and nothing
    what was said later."""
    return challenging[0] == 0 or (standing[0] == 2 and challenging[0] < 2) or standing[1] > challenging[1]


def _rank(example: Example) -> int:
    """0: praised as it was; 1: corrected, or a row from elsewhere; 2: judged by a reviewer."""
    return {"thumb": 0, "review": 2}.get(str(example.metadata.get("said_as")), 1)


def _drop_losers(work: _Sifting, losers: Sequence[Example], group: Sequence[Example]) -> None:
    stay = [e for e in group if e not in losers]  # first: beside the row that stays each is told
    for found, loser in zip(contradictions.describe(losers, [*stay, *losers]), losers, strict=True):
        work.drop(found, loser)
