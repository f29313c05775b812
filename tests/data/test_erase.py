"""Erasing a person from what stage 1 keeps: text gone, names and digests standing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, review, versions
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.differences import diff
from tunekeeper.data.erase import erase_data, erased_examples
from tunekeeper.data.examples import make_example
from tunekeeper.data.exports import export
from tunekeeper.data.gathering import collect
from tunekeeper.store.erasures import unit_of
from tunekeeper.workspace import Workspace

THEIRS = "req_01theirs"
FRAME = b"\x28\xb5\x2f\xfd"
MODEL = "desk"


def example(name: str, text: str, *, source: str, **metadata: str) -> Example:
    talk = ({"role": "user", "content": text}, {"role": "assistant", "content": f"answer to {text}"})
    return make_example(Conversation(messages=talk, metadata={"id": name, **metadata}), source=source)


def rows() -> list[Example]:
    """Eight rows: one of the request, one that names the user in its metadata, on both sides."""
    made = [example(f"r{n}", f"question {n}", source=f"file:a.jsonl:{n}") for n in range(6)]
    made += [example(THEIRS, "mallory's secret one", source=f"inference:{THEIRS}")]
    made += [example("r9", "mallory's secret two", source="file:a.jsonl:9", user_id="mallory")]
    return [replace(each, split="eval" if n in (0, 7) else "train") for n, each in enumerate(made)]


@pytest.fixture
def frozen(ws: Workspace, task: Model) -> str:
    drafts.folder(ws, MODEL).mkdir(parents=True)
    drafts.save_draft(ws, MODEL, rows())
    dropped = {"kind": "empty", "id": THEIRS, "file": None, "line": None, "of": None, "topic": None, "detail": ""}
    drafts.save_findings(ws, MODEL, [dropped | {"row": {"text": "mallory's secret three"}}, dropped | {"id": "r1", "row": {}}])
    review.enqueue(ws, MODEL, [THEIRS, "req_other"], why="sample")
    item = next(each for each in review.find(ws, MODEL) if each.request_id == THEIRS)
    review.judge(ws, item.id, "edited", answer="mallory's secret four", by="ana")
    return freezing.freeze(ws, replace(task, name=MODEL), Config()).id


def secrets(ws: Workspace) -> list[str]:
    """Files outside the databases that still hold the text."""
    return [str(path) for path in ws.root.rglob("*") if path.is_file() and path.suffix != ".db" and b"secret" in _read(path)]


def _read(path: Path) -> bytes:
    """The bytes of a file and of everything in it that is compressed."""
    data = b"" if ".db" in path.name else path.read_bytes()
    plain = [data]
    for part in data.split(FRAME)[1:]:
        plain.append(zstandard.ZstdDecompressor().decompressobj().decompress(FRAME + part))
    return b"".join(plain)


def test_the_text_goes_from_every_copy_and_each_is_counted(ws: Workspace, frozen: str) -> None:
    expected = {"examples": 2, "drafts": 2, "reports": 1, "reviews": 1}
    manifest = versions.resolve(ws, frozen).manifest or ""
    learned = ws.rows.file(manifest, "train")
    dry = erase_data(ws, {THEIRS}, "mallory", dry_run=True)
    assert (dry.counts, dry.names) == (expected, {f"{frozen}:{THEIRS}", f"{frozen}:r9"})
    assert len(secrets(ws)) == 4
    done = erase_data(ws, {THEIRS}, "mallory")
    assert done.counts == expected
    assert secrets(ws) == []
    assert learned.read_bytes() == b"".join(ws.rows.lines(manifest, "train"))
    assert done.names == {f"{frozen}:{THEIRS}", f"{frozen}:r9"}
    assert [(item.verdict, item.answer) for item in review.find(ws, MODEL) if item.request_id == THEIRS] == [("excluded", None)]
    again = erase_data(ws, {THEIRS}, "mallory")
    assert (set(again.counts.values()), again.names) == ({0}, done.names)


def test_the_version_keeps_name_digest_and_counts_and_everything_reads_the_rest(
    ws: Workspace, frozen: str, tmp_path: Path
) -> None:
    before = versions.resolve(ws, frozen)
    erase_data(ws, {THEIRS}, "mallory")
    after = versions.resolve(ws, frozen)
    assert after == before
    assert (after.train, after.eval, erased_examples(ws, after)) == (6, 2, 2)
    assert [e.id for e in versions.read_examples(ws, frozen)] == ["r1", "r2", "r3", "r4", "r5", "r0"]
    assert export(ws, frozen, "openai", "all", tmp_path / "all.jsonl") == 6
    _, (train, held) = versions.checkout(ws, frozen, tmp_path / "out")
    assert [orjson.loads(line)["id"] for path in (train, held) for line in path.read_bytes().splitlines()] == [
        *("r1", "r2", "r3", "r4", "r5"),
        "r0",
    ]
    assert ws.blobs.damaged()[1] == []
    assert diff(ws, frozen, frozen) is not None


def test_nothing_of_others_is_touched(ws: Workspace, frozen: str) -> None:
    paths = [path for path in ws.root.rglob("*") if path.is_file() and ".db" not in path.name and path.name != "lock"]
    before = {path: path.read_bytes() for path in paths}
    assert set(erase_data(ws, {"req_01nobody"}, "alice").counts.values()) == {0}
    assert {path: path.read_bytes() for path in paths} == before


@pytest.mark.parametrize("named", [{"user": "17"}, {"user_id": 17}, {"customer_id": "17"}, {"account_id": 17}])
def test_a_row_is_a_users_by_each_key_that_keeps_users_on_one_side_be_it_a_number(
    ws: Workspace, task: Model, named: dict[str, Any]
) -> None:
    mine = [replace(each, metadata={**each.metadata, **named}) if each.id in ("r0", "r3") else each for each in rows()]
    drafts.save_draft(ws, MODEL, mine)
    version = freezing.freeze(ws, replace(task, name=MODEL), Config())
    done = erase_data(ws, set(), "17")
    assert (done.counts["examples"], done.counts["drafts"]) == (2, 2)
    assert {each.id for each in versions.read_examples(ws, version)} == {each.id for each in rows()} - {"r0", "r3"}


def test_an_item_that_waits_for_review_leaves_the_queue(ws: Workspace, frozen: str) -> None:
    erase_data(ws, {"req_other"}, "alice")
    assert [item.state for item in review.find(ws, MODEL) if item.request_id == "req_other"] == ["skipped"]


def test_collected_rows_are_found_by_the_users_digest_when_the_log_has_expired(ws: Workspace, task: Model, traffic: Any) -> None:
    drafts.folder(ws, MODEL).mkdir(parents=True)
    drafts.save_draft(ws, MODEL, [each for each in rows() if "mallory" not in str(each)])
    mine = traffic.ask("My secret lamp", "bug", edit="secret refund", unit_kind="user", unit=unit_of("mallory"))
    other = traffic.ask("Another lamp here", "bug", edit="a refund", unit_kind="user", unit=unit_of("alice"))
    assert collect(ws, replace(task, name=MODEL), Config(collect_sample=0)).added == (mine, other)
    frozen = freezing.freeze(ws, replace(task, name=MODEL), Config()).id
    review.enqueue(ws, MODEL, [mine, other], why="sample")
    item = next(each for each in review.find(ws, MODEL) if each.request_id == mine)
    review.judge(ws, item.id, "edited", answer="secret answer", by="ana")
    dry = erase_data(ws, set(), "mallory", dry_run=True)
    assert dry.counts == {"examples": 1, "drafts": 1, "reports": 0, "reviews": 1}
    done = erase_data(ws, set(), "mallory")
    assert (done.counts, done.requests) == (dry.counts, {mine})
    assert [e.id for e in versions.read_examples(ws, frozen) if e.id.startswith("req_")] == [other]
    assert [each.state for each in review.find(ws, MODEL) if each.request_id == other] == ["open"]
    assert [each.answer for each in review.find(ws, MODEL) if each.request_id == mine] == [None]
    again = erase_data(ws, set(), "mallory")
    assert (set(again.counts.values()), again.requests) == ({0}, {mine})


def test_what_was_said_of_requests_that_were_never_collected_is_found_when_the_log_has_expired(
    ws: Workspace, traffic: Any
) -> None:
    """Nothing but the item itself still knows whose request it was."""
    ids = [
        traffic.ask(f"My lamp {who} {i}", "bug", unit_kind="user", unit=unit_of(who), model_id=MODEL)
        for who in ("mallory", "alice")
        for i in range(3)
    ]
    review.enqueue(ws, MODEL, [ids[0], ids[3]], why="sample")
    review.fill(ws, MODEL, traffic.clock.utc() - timedelta(hours=1), traffic.clock.utc() + timedelta(hours=1), 4)
    review.add_gold(ws, MODEL, request_id=ids[1], answer="the secret truth", by="ana")
    review.add_gold(ws, MODEL, request_id=ids[4], answer="the truth", by="ana")
    for item in review.find(ws, MODEL, state="open"):
        review.judge(ws, item.id, "edited", answer="secret answer", by="ana")
    done = erase_data(ws, set(), "mallory")
    assert done.counts == {"examples": 0, "drafts": 0, "reports": 0, "reviews": 3}
    items = {item.request_id: item for item in review.find(ws, MODEL, state=review.STATES)}
    assert [(items[id].answer, items[id].known, items[id].unit) for id in ids[:3]] == [(None, None, None)] * 3
    assert [items[id].answer or items[id].known for id in ids[3:]] == ["secret answer", "the truth", "secret answer"]
    assert review.seen(items[ids[3]], "ana").unit is None
    assert erase_data(ws, set(), "mallory").counts["reviews"] == 0


def test_what_a_killed_freeze_left_of_a_pack_goes_with_their_rows(ws: Workspace, frozen: str) -> None:
    pack = next(path for path in ws.blobs.root.glob("??/*") if path.read_bytes().startswith(b"tkpack"))
    left = pack.with_name(f".{pack.name}.17.0123abcd")
    left.write_bytes(pack.read_bytes())
    erase_data(ws, {THEIRS}, "mallory", dry_run=True)
    assert left.exists()
    erase_data(ws, {THEIRS}, "mallory")
    assert not left.exists()
    assert secrets(ws) == []


@pytest.mark.parametrize("frozen_too", [True, False])
def test_what_reports_tell_of_their_rows_goes_where_the_report_is_about_another_row(
    ws: Workspace, task: Model, frozen_too: bool
) -> None:
    drafts.folder(ws, MODEL).mkdir(parents=True)
    drafts.save_draft(ws, MODEL, rows())
    if frozen_too:
        freezing.freeze(ws, replace(task, name=MODEL), Config())
        drafts.save_draft(ws, MODEL, [each for each in rows() if each.id != "r9"])
    other = {"kind": "contradiction", "file": "a.jsonl", "line": 1, "topic": None, "row": {"messages": []}}
    beside = {**other, "id": "r1", "of": "r9", "detail": "it answers 'a', r9 answers 'mallory's secret two'"}
    flagged = {**other, "id": "r9", "of": "r1", "row": None, "detail": "'mallory's secret two' stops in the middle"}
    broken = {**other, "id": None, "of": None, "row": None, "detail": "no JSON"}
    drafts.save_findings(ws, MODEL, [beside, flagged, broken])
    dry = erase_data(ws, {THEIRS}, "mallory", dry_run=True)
    assert len(secrets(ws)) == 2 + frozen_too
    assert erase_data(ws, {THEIRS}, "mallory").counts == dry.counts == {**dry.counts, "reports": 2}
    assert secrets(ws) == []
    assert drafts.load_findings(ws, MODEL) == [{**beside, "detail": "the other row was erased"}, broken]
    assert erase_data(ws, {THEIRS}, "mallory").counts["reports"] == 0
