"""Token counts that the model server did not give, filled in later with the model's own tokenizer (LOG-02, FIX-14).

Only a version whose tokenizer lies on disk, the same file by its digest, is counted for; every other record stays without.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.core.nouns.serving import Inference, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.store.log import Spool
from tunekeeper.text.counting import completion_tokens, prompt_tokens
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer
from tunekeeper.workspace import Workspace

WRITER = "worker"
PURPOSES = ("user", "shadow")
ANSWERED = ("ok", "truncated", "cancelled", "interrupted")
"""Endings that used tokens; a request that failed before an answer has none to count."""
SETTLE = timedelta(minutes=15)
"""How long a request may run: records come with the time of their beginning, so the newest ones are looked for again."""
REACH = timedelta(days=1)
"""How far back a pass looks that knows of none before."""
BATCH = 1000
"""Counts that are held before they are written."""
SECONDS = 0.5
"""Real seconds of one pass."""
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """What one pass did."""

    looked: int = 0
    """Records without counts that were looked at."""
    written: int = 0
    """Of them, those that have counts now."""
    upto: datetime | None = None
    """From where the next pass has to look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What is known of who answered."""

    slots: dict[str, Slot]
    """Slot id → slot."""
    prompts: dict[str, tuple[Body, ...]]
    """Slot id → messages that it gets as a fallback, where the route gives it its own."""
    folders: dict[str, Path]
    """Version → where its tokenizer lies."""
    digests: dict[str, str]
    """Version → digest of its tokenizer."""
    read: dict[str, TokenizerFiles | None] = field(default_factory=dict)
    """Version → its tokenizer, once it was asked for; None when it is not there or another one by now."""
    named: TokenizerFiles | None = None
    """The tokenizer of whatever answered, where a person named it."""

    def tokenizer(self, version: str | None) -> TokenizerFiles | None:
        """The tokenizer of a version; None without one on disk that is the same."""
        if self.named is not None:
            return self.named
        if version is None or version not in self.digests:
            return None
        if version not in self.read:
            self.read[version] = _same(self.folders[version], self.digests[version])
        return self.read[version]

    def prompt(self, inference: Inference) -> tuple[Body, ...]:
        """The prompt of whoever answered: its system message, if it has one, and its examples."""
        if inference.slot != inference.slot_assigned and inference.slot in self.prompts:
            return self.prompts[inference.slot]
        slot = self.slots.get(inference.slot or "")
        return () if slot is None else _prompt(slot.system, slot.messages)


def fill_tokens(ws: Workspace, model: str, *, since: datetime | None = None, limit: int = 500) -> Filled:
    """Count the tokens of at most `limit` answered requests of `model` accepted from `since` on (None: the last day) that have
    no counts, and append them with the cost that the slot's prices make. A second pass writes nothing. Raises DiskFull."""
    served = _served(ws, model)
    now = ws.clock.utc()
    start = since if since is not None else now - REACH
    settled = max(start, now - SETTLE)
    if not served.digests:
        return Filled(upto=settled)
    found = ws.log.find(model=model, since=start, purpose=PURPOSES, limit=limit, uncounted=True)
    deadline = ws.clock.real() + SECONDS
    counted: list[tuple[str, int | None, int | None, float | None]] = []
    looked = 0
    for inference in found:
        if looked and ws.clock.real() >= deadline:
            break
        looked += 1
        counts = _counts(inference, served)
        if counts is not None:
            counted.append((inference.request_id, *counts))
    _append(ws, counted)
    upto = settled
    if looked == limit or looked < len(found):
        last = found[looked - 1].timestamp
        upto = min(settled, last if last > start else last + timedelta(microseconds=1))
    return Filled(looked=looked, written=len(counted), upto=upto)


def fill_more(ws: Workspace, model: str) -> Filled:
    """`fill_tokens` from where the last pass ended, whoever made it: the place is kept in `run/`, and moved after the counts are
    written. A place that is lost costs a look a day back. Raises DiskFull."""
    path = ws.path("run", f"counted-{model}")
    filled = fill_tokens(ws, model, since=_place(path, ws.clock.utc() - SETTLE))
    if filled.upto is not None:
        hidden = path.with_suffix(".new")
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_text(filled.upto.isoformat(), "utf-8")
        hidden.replace(path)
    return filled


def count_by_hand(
    ws: Workspace, model: str, folder: Path, *, since: datetime | None = None, version: str | None = None, dry_run: bool = False
) -> Filled:
    """Count what `fill_tokens` cannot, because a gateway alone knows no tokenizers: the answered requests of `model` without
    counts, of `version` alone where it is named, with the tokenizer in `folder`. With `dry_run` only says how many it would.
    Raises ArtifactError, DiskFull."""
    served = replace(_slots(ws, model), named=read_tokenizer(folder))
    counted: list[tuple[str, int | None, int | None, float | None]] = []
    looked = written = 0
    for inference in ws.log.each(model=model, since=since, purpose=PURPOSES):
        known = inference.prompt_tokens is not None or inference.completion_tokens is not None
        if known or inference.status not in ANSWERED or version not in (None, inference.version):
            continue
        looked += 1
        counts = _counts(inference, served)
        if counts is not None:
            written += 1
            counted.append((inference.request_id, *counts))
        if len(counted) >= BATCH and not dry_run:
            _append(ws, counted)
            counted = []
    if not dry_run:
        _append(ws, counted)
    return Filled(looked=looked, written=written)


def _place(path: Path, newest: datetime) -> datetime | None:
    """What an earlier pass left, `newest` at most: a clock may have been set back."""
    try:
        found = datetime.fromisoformat(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return min(found, newest) if found.tzinfo is not None else None


def cost(slot: Slot | None, prompt: int | None, completion: int | None) -> float | None:
    """USD of these counts, at the slot's prices per million; None without a price or with a count missing that it needs."""
    if slot is None or (slot.price_in is None and slot.price_out is None):
        return None
    parts = [(prompt, slot.price_in), (completion, slot.price_out)]
    if any(price is not None and count is None for count, price in parts):
        return None
    return sum((count or 0) * (price or 0.0) for count, price in parts) / 1e6


def _counts(inference: Inference, served: Served) -> tuple[int | None, int | None, float | None] | None:
    files = served.tokenizer(inference.version) if inference.status in ANSWERED else None
    if files is None:
        return None
    prompt = prompt_tokens(files, inference.endpoint, inference.request, own=served.prompt(inference), now=inference.timestamp)
    completion = completion_tokens(files, inference.response)
    if prompt is None and completion is None:
        return None
    return prompt, completion, cost(served.slots.get(inference.slot or ""), prompt, completion)


def _append(ws: Workspace, counted: list[tuple[str, int | None, int | None, float | None]]) -> None:
    if not counted:
        return
    spool = Spool(ws.root, WRITER, ws.clock)
    try:
        for request_id, prompt, completion, usd in counted:
            spool.tokens(request_id, prompt, completion, usd)
    finally:
        spool.close()


def _served(ws: Workspace, model: str) -> Served:
    with ws.state.read() as tx:
        versions = [version for version in find_versions(tx, model=model) if version.tokenizer_digest and version.base]
    digests = {version.name: version.tokenizer_digest or "" for version in versions}
    return replace(_slots(ws, model), folders={version.name: _folder(ws, version) for version in versions}, digests=digests)


def _slots(ws: Workspace, model: str) -> Served:
    """Who answers and with which prompts, without any tokenizer."""
    with ws.control.read() as tx:
        slots = {slot.id: slot for slot in find_slots(tx, model=model)}
        try:
            fallback = load_route(tx, model).fallback
        except NotFound:
            fallback = ()
    own = [entry for entry in fallback if entry.system is not None or entry.messages]
    prompts = {entry.slot: _prompt(entry.system, entry.messages) for entry in own}
    return Served(slots=slots, prompts=prompts, folders={}, digests={})


def _folder(ws: Workspace, version: Version) -> Path:
    return ((ws.project or ws.root) / version.base).resolve()


def _same(folder: Path, digest: str) -> TokenizerFiles | None:
    try:
        return _read(folder, digest)
    except (ArtifactError, OSError):
        return None


@lru_cache(maxsize=4)
def _read(folder: Path, digest: str) -> TokenizerFiles:
    """Kept between passes: a tokenizer is several megabytes of JSON. Raises ArtifactError, OSError."""
    files = read_tokenizer(folder)
    if files.digest != digest:
        raise ArtifactError(f"{folder / 'tokenizer.json'}: not the tokenizer that the version was made with")
    files.fast.get_vocab_size()  # a broken one is found here, not in the middle of a pass
    return files


def _prompt(system: str | None, messages: tuple[Body, ...]) -> tuple[Body, ...]:
    return (({"role": "system", "content": system},) if system is not None else ()) + messages
