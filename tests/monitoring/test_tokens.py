"""Tokens filled in later: from the spool to the answers of every query, hot and compacted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tunekeeper.core.ids import digest_file
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.monitoring.tokens import cost, fill_more, fill_tokens
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.store.log import Log, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.merge import merge
from tunekeeper.testing.desk import MODEL, Desk
from tunekeeper.workspace import open_workspace

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"


@pytest.fixture
def priced(desk: Desk) -> Desk:
    """Its live version was made from the example's base, and its slot has prices."""
    save(desk, "v2.0", digest_file(BASE / "tokenizer.json"))
    desk.slot("green", "v2.0", price_in=2.0, price_out=10.0)
    promote(desk.ws, MODEL, "green", by="test", reason="first")
    return desk


def save(desk: Desk, name: str, digest: str | None) -> None:
    with desk.ws.state.write(by="test") as tx:
        save_version(
            tx,
            Version(
                id=f"{MODEL}@{name}", model=MODEL, name=name, major=2, minor=0,
                base=str(BASE), base_digest="sha256:0", tokenizer_digest=digest,
            ),
        )  # fmt: skip


def ask(desk: Desk, **fields: Any) -> str:
    """One request whose answer says `ok`; returns its id."""
    desk.ask(desk.world.ticket(desk.rng), lambda slot, ticket: "All is well.", edit=False, **fields)
    desk.spool.flush()
    return desk.sent[-1]


def expected(desk: Desk, id: str, *, ended: bool = True, system: dict[str, str] | None = None) -> tuple[int, int]:
    """Counts made with the library alone, on text put together here; `system` in place of the client's system message."""
    library = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    messages = json.loads(desk.ws.log.raw(id)[0] or b"")["messages"]
    messages = messages if system is None else [system, *(m for m in messages if m["role"] != "system")]
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"
    prompt = len(library.encode(text, add_special_tokens=False).ids)
    return prompt, len(library.encode("All is well.", add_special_tokens=False).ids) + ended


def counts(desk: Desk, id: str) -> tuple[int | None, int | None]:
    found = Log(desk.ws.root, desk.clock).load(id)
    return found.prompt_tokens, found.completion_tokens


def test_counts_and_cost_are_filled_in_and_seen_hot_compacted_and_merged(priced: Desk) -> None:
    id = ask(priced)
    known = ask(priced, prompt_tokens=5, completion_tokens=7, cost_usd=0.5)
    prompt, completion = expected(priced, id)
    assert counts(priced, id) == (None, None)

    assert fill_tokens(priced.ws, MODEL).written == 1

    priced.spool.close()
    usd = (prompt * 2.0 + completion * 10.0) / 1e6
    for state in ("hot", "compacted", "merged"):
        with segments.maintenance(priced.ws.root):
            if state != "hot":
                compact(priced.ws.root)
            if state == "merged":
                merge(priced.ws.root, priced.clock.utc() + timedelta(hours=3))
        log = Log(priced.ws.root, priced.clock)
        assert (counts(priced, id), counts(priced, known)) == ((prompt, completion), (5, 7)), state
        assert [i.prompt_tokens for i in log.find(model=MODEL, request_ids=[id])] == [prompt]
        assert sorted(i.cost_usd or 0.0 for i in log.find(model=MODEL)) == pytest.approx([usd, 0.5])
        [window] = log.window(MODEL, None, None)
        assert (window.prompt_tokens, window.completion_tokens) == (prompt + 5, completion + 7)
        assert window.cost_usd == pytest.approx(usd + 0.5)
        assert log.find(model=MODEL, uncounted=True) == []
        assert log.verify()["corrupt"] == 0


def test_a_second_pass_writes_nothing(priced: Desk) -> None:
    for _ in range(3):
        ask(priced)
    assert (fill_tokens(priced.ws, MODEL).written, fill_tokens(priced.ws, MODEL).written) == (3, 0)
    priced.spool.close()
    with segments.maintenance(priced.ws.root):
        compact(priced.ws.root)
    before = sorted((path, path.stat().st_size) for path in priced.ws.path("spool").iterdir())
    assert fill_tokens(priced.ws, MODEL).looked == 0
    assert sorted((path, path.stat().st_size) for path in priced.ws.path("spool").iterdir()) == before


@pytest.mark.parametrize("status", ["cancelled", "truncated"])
def test_a_stream_that_was_cut_short_has_the_tokens_it_got_and_no_end(priced: Desk, status: str) -> None:
    cut = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "All is well."}, "finish_reason": None}]}
    id = ask(priced, status=status, response=json.dumps(cut).encode())
    fill_tokens(priced.ws, MODEL)
    assert counts(priced, id) == expected(priced, id, ended=False)


def test_a_request_that_failed_before_an_answer_has_no_counts(priced: Desk) -> None:
    id = ask(priced, status="error", http_status=502, response=None)
    filled = fill_tokens(priced.ws, MODEL)
    assert (filled.looked, filled.written, counts(priced, id)) == (1, 0, (None, None))


@pytest.mark.parametrize("digest", [None, "sha256:another"])
def test_a_version_without_this_tokenizer_on_disk_stays_without_counts(desk: Desk, digest: str | None) -> None:
    save(desk, "v1.0", digest)
    id = ask(desk)
    assert (fill_tokens(desk.ws, MODEL).written, counts(desk, id)) == (0, (None, None))


def test_a_hosted_model_that_no_version_stands_for_is_not_guessed(priced: Desk) -> None:
    id = ask(priced, version="gpt-hosted")
    assert (fill_tokens(priced.ws, MODEL).written, counts(priced, id)) == (0, (None, None))


def test_the_slots_own_prompt_counts_in_place_of_the_client_s(priced: Desk) -> None:
    id = ask(priced)
    fill_tokens(priced.ws, MODEL)
    priced.slot("teal", "v2.0", system="Answer briefly.")
    prompted = ask(priced, slot="teal", slot_assigned="teal")
    fill_tokens(priced.ws, MODEL)
    own = {"role": "system", "content": "Answer briefly."}
    assert counts(priced, prompted)[0] == expected(priced, prompted, system=own)[0]
    assert counts(priced, id)[0] == expected(priced, id)[0]


def test_a_pass_is_bounded_and_the_next_one_goes_on_behind_it(priced: Desk) -> None:
    ids = []
    for _ in range(5):
        ids.append(ask(priced))
        priced.clock.advance(1800)
    first = fill_tokens(priced.ws, MODEL, limit=2)
    second = fill_tokens(priced.ws, MODEL, since=first.upto, limit=2)
    third = fill_tokens(priced.ws, MODEL, since=second.upto, limit=2)
    assert (first.written, second.written, third.written) == (2, 2, 1)
    assert all(counts(priced, id) == expected(priced, id) for id in ids)
    assert third.upto == priced.clock.utc() - timedelta(minutes=15)


def test_records_that_cannot_be_counted_do_not_stop_the_ones_behind_them(priced: Desk) -> None:
    for _ in range(3):
        ask(priced, request=None, response=None)
        priced.clock.advance(1800)
    id = ask(priced)
    since = None
    for _ in range(4):
        since = fill_tokens(priced.ws, MODEL, since=since, limit=2).upto
    assert counts(priced, id) == expected(priced, id)


def test_a_cost_needs_a_price_and_every_count_that_is_priced() -> None:
    slot = Slot(id="s", model=MODEL, price_in=2.0, price_out=10.0)
    assert cost(slot, 100, 10) == pytest.approx(0.0003)
    assert cost(slot, 100, None) is None
    assert cost(replace(slot, price_out=None), 100, None) == pytest.approx(0.0002)
    assert cost(replace(slot, price_in=None, price_out=None), 100, 10) is None
    assert cost(None, 100, 10) is None


def test_a_worker_that_was_away_for_days_goes_on_where_the_one_before_it_ended(priced: Desk) -> None:
    ask(priced)
    assert fill_more(priced.ws, MODEL).written == 1
    priced.clock.advance(3600)
    id = ask(priced)
    priced.clock.advance(3 * 86_400)
    fresh = open_workspace(priced.ws.root, project=priced.ws.project, clock=priced.clock)
    assert fill_tokens(fresh, MODEL).looked == 0, "who knows no place looks a day back"
    assert (fill_more(fresh, MODEL).written, counts(priced, id)) == (1, expected(priced, id))
    later = fill_more(fresh, MODEL)
    assert (later.looked, later.upto) == (0, priced.clock.utc() - timedelta(minutes=15))


@pytest.mark.parametrize("place", ["", "yesterday", "2026-01-05T09:00:00", "9999-01-01T00:00:00+00:00"])
def test_a_place_that_is_broken_or_in_the_future_loses_nothing(priced: Desk, place: str) -> None:
    priced.ws.path("run").mkdir(exist_ok=True)
    priced.ws.path("run", f"counted-{MODEL}").write_text(place)
    id = ask(priced)
    assert (fill_more(priced.ws, MODEL).written, counts(priced, id)) == (1, expected(priced, id))
