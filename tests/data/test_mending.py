from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import DataError, DiskFull, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts, mending
from tunekeeper.data.config import Config
from tunekeeper.data.gathering import collect
from tunekeeper.data.outdated import prune
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
Write = Callable[[str, Iterable[Any]], Path]
NO = "I'm sorry, but I can't help with that."
SECTION = Config(glossary={"Nimbus": "Lumen"})


def chat(prompt: str, answer: str, **metadata: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], "metadata": metadata}


@pytest.fixture
def file(ws: Workspace, task: Model, write: Write, tickets: Callable[..., list[tuple[str, str]]]) -> Path:
    """A file, imported: twelve good rows t0 to t11 and five with something to say about."""
    rows = [chat(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(12))]
    rows += [
        chat("Is Nimbus down today or only for our office?", "bug", id="old"),
        chat("Could you read my poem about the sea?", NO, id="no"),
        {
            **chat("What is the weather like where you are?", NO, id="tool"),
            "tools": [{"type": "function", "function": {"name": "w"}}],
        },
        chat("", "bug", id="blank"),
        "{broken",
    ]
    path = write("rows.jsonl", rows)
    data.import_files(ws, task, SECTION, [path])
    return path


def state(ws: Workspace) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Ids in the draft, and (reason, id) of what was dropped."""
    lines = list(mending.dropped_lines(drafts.read_findings(ws, "desk")))
    return [e.id for e in drafts.load_draft(ws, "desk")], [(line["kind"], line["id"]) for line in lines]


def texts(example: Example) -> list[Any]:
    return [m["content"] for m in example.messages[1:]]


def test_old_terms_are_written_anew_and_the_same_file_brings_nothing_back(ws: Workspace, task: Model, file: Path) -> None:
    before = state(ws)
    tried = mending.rewrite_terms(ws, task, SECTION, dry_run=True)
    assert (tried.changed, tried.examples, state(ws)) == (("old",), 13, before)
    assert checks.check(ws, task, SECTION).counts["stale_vocabulary"] == 1
    done = mending.rewrite_terms(ws, task, SECTION)
    assert done == tried
    found = next(e for e in drafts.load_draft(ws, "desk") if e.id == "old")
    assert texts(found) == ["Is Lumen down today or only for our office?", "bug"]
    assert found.metadata["rewritten"][0]["terms"] == {"Nimbus": "Lumen"}
    assert "stale_vocabulary" not in checks.check(ws, task, SECTION).counts
    assert mending.rewrite_terms(ws, task, SECTION).changed == ()
    again = data.import_files(ws, task, SECTION, [file])
    assert (again.added, again.replaced, again.dropped["already_there"]) == (0, 0, 13)
    assert state(ws)[0] == before[0]


def test_a_row_that_becomes_the_same_as_another_leaves_with_that_reason(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [row("Nimbus down?", "bug", id="a"), row("nimbus down?", "bug", id="b"), row("Lumen down?", "bug", id="c")]
    drafts.save_draft(ws, "desk", [*rows, row("Nimbus up?", "no bug", id="d")])
    done = mending.rewrite_terms(ws, task, SECTION)
    assert (done.changed, done.dropped, done.examples) == (("d",), {"exact_duplicate": 2}, 2)
    lines = drafts.load_findings(ws, "desk")
    assert [(line["id"], line["of"], line["row"]["messages"][1]["content"]) for line in lines] == [
        ("a", "c", "Nimbus down?"),
        ("b", "c", "nimbus down?"),
    ]
    back = mending.readmit(ws, task, SECTION, ["a"])
    assert (back.changed, state(ws)[1]) == (("a",), [("exact_duplicate", "b")])


def test_what_the_configuration_of_today_drops_leaves_the_draft_and_is_kept(ws: Workspace, task: Model, file: Path) -> None:
    strict = Config(refusal_phrases=("bug",), max_tokens=40)
    before = state(ws)
    tried = mending.drop_bad(ws, task, strict, context=40, count=lambda e: 41 if e.id == "t3" else 1, dry_run=True)
    assert (tried.dropped, state(ws)) == ({"too_long": 1, "refusal": 1}, before)
    mending.drop_bad(ws, task, strict, context=40, count=lambda e: 41 if e.id == "t3" else 1)
    ids, dropped = state(ws)
    assert ids == [id for id in before[0] if id not in ("t3", "old")]
    assert dropped == [*before[1], ("too_long", "t3"), ("refusal", "old")]
    assert mending.drop_bad(ws, task, Config()).dropped == {}


def test_a_dropped_row_comes_back_as_it_was_and_no_import_drops_it_again(ws: Workspace, task: Model, file: Path) -> None:
    ids, dropped = state(ws)
    assert dropped == [("refusal", "no"), ("refusal", "tool"), ("empty", "blank"), ("broken", None)]
    tried = mending.readmit(ws, task, SECTION, ["no", "rows.jsonl:15"], dry_run=True)
    assert (tried.changed, state(ws)) == (("no", "tool"), (ids, dropped))
    done = mending.readmit(ws, task, SECTION, ["no", "rows.jsonl:15"])
    assert (done, state(ws)) == (tried, ([*ids, "no", "tool"], dropped[2:]))
    found = {e.id: e for e in drafts.load_draft(ws, "desk")}
    assert (texts(found["no"])[1], found["no"].source) == (NO, "file:rows.jsonl:14")
    assert list(found["no"].metadata["readmitted"]) == ["refusal"]
    assert [tool["function"]["name"] for tool in found["tool"].tools] == ["w"]
    again = data.import_files(ws, task, SECTION, [file])
    assert (again.added, again.dropped) == (0, {"already_there": 15, "empty": 1, "broken": 1})
    assert mending.drop_bad(ws, task, SECTION).dropped == {}
    assert "refusal" not in checks.check(ws, task, SECTION).counts


def test_all_rows_of_a_reason_come_back_at_once(ws: Workspace, task: Model, file: Path) -> None:
    assert mending.readmit(ws, task, SECTION, [], reason="refusal").changed == ("no", "tool")
    with pytest.raises(NotFound, match="no row of desk that was dropped as refusal can be brought back"):
        mending.readmit(ws, task, SECTION, [], reason="refusal")
    with pytest.raises(NotFound, match="dropped as empty"):
        mending.readmit(ws, task, SECTION, [], reason="empty")


def test_of_contradicting_answers_both_can_stand_again_each_with_its_own_id(ws: Workspace, task: Model, write: Write) -> None:
    rows = [chat(f"Where is parcel number {i} of today?", "bug", id=f"p{i}") for i in range(4)]
    newer, older = chat("Which?", "red", id="x", created="2026-02-01"), chat("Which?", "blue", id="x", created="2026-01-01")
    data.import_files(ws, task, SECTION, [write("a.jsonl", [*rows, newer, older])])
    assert state(ws)[1] == [("contradiction", "x")]
    assert mending.readmit(ws, task, SECTION, ["x"]).changed == ("x#2",)
    held = {e.metadata["id"]: texts(e)[1] for e in drafts.load_draft(ws, "desk")}
    assert (held["x"], held["x#2"]) == ("red", "blue")
    assert checks.check(ws, task, SECTION, only="contradiction").counts == {"contradiction": 2}


@pytest.mark.parametrize(
    ("names", "reason", "error", "message"),
    [
        (["gone"], None, NotFound, "no dropped row of desk is called gone"),
        (["no"], "empty", NotFound, "no dropped row of desk is called no"),
        ([], None, UserError, "which rows"),
        (["no"], "odd", UserError, "no kind of finding is called 'odd'"),
        (["blank"], None, DataError, "blank: nobody can learn from it as it is"),
        (["rows.jsonl:17"], None, DataError, r"rows\.jsonl:17: nobody can learn"),
    ],
)
def test_a_row_that_cannot_come_back_is_named_with_what_to_do(
    ws: Workspace, task: Model, file: Path, names: list[str], reason: str | None, error: type[Exception], message: str
) -> None:
    before = state(ws)
    with pytest.raises(error, match=message) as caught:
        mending.readmit(ws, task, SECTION, names, reason=reason)
    assert getattr(caught.value, "fix", None)
    assert state(ws) == before


def test_one_id_for_two_dropped_rows_is_asked_about(ws: Workspace, task: Model, file: Path, write: Write) -> None:
    data.import_files(
        ws, task, SECTION, [write("more.jsonl", [chat("A good row of its own", "bug"), chat("Sing!", NO, id="no")])]
    )
    with pytest.raises(DataError, match=r"2 dropped rows are called no: more\.jsonl:2, rows\.jsonl:14"):
        mending.readmit(ws, task, SECTION, ["no"])
    assert mending.readmit(ws, task, SECTION, ["more.jsonl:2"]).changed == ("no",)
    assert mending.readmit(ws, task, SECTION, ["rows.jsonl:14"]).changed == ("no#2",)


def test_without_a_draft_there_is_nothing_to_mend(ws: Workspace, task: Model) -> None:
    with pytest.raises(DataError, match="desk has no draft"):
        mending.rewrite_terms(ws, task, SECTION)
    with pytest.raises(DataError, match="desk has no draft"):
        mending.drop_bad(ws, task, SECTION)


def test_what_an_export_wrote_in_place_of_an_answer_can_be_brought_back_where_it_is_meant(
    ws: Workspace, task: Model, row: MakeExample
) -> None:
    rows = [row("Which constant is no number?", "NaN", id="n"), row("What?", "", id="e"), row("Why?", "bug", id="stays")]
    drafts.save_draft(ws, "desk", rows)
    assert mending.drop_bad(ws, task, Config()).dropped == {"empty": 2}
    with pytest.raises(DataError, match="nobody can learn from it"):
        mending.readmit(ws, task, Config(), ["e"])
    assert mending.readmit(ws, task, Config(), ["n"]).changed == ("n",)
    assert (mending.drop_bad(ws, task, Config()).dropped, state(ws)[0]) == ({}, ["stays", "n"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mending_row_by_row_is_what_it_would_be_with_all_rows_at_hand(
    ws: Workspace, task: Model, row: MakeExample, seed: int
) -> None:
    rng = random.Random(seed)
    words = ("Nimbus", "nimbus", "Lumen", "mail", "post")
    asked = [" ".join(rng.choices(words, k=3)) for _ in range(60)]
    rows = [row(text, rng.choice(("bug", NO)), id=f"t{n}", seen=n) for n, text in enumerate(asked)]
    drafts.save_draft(ws, "desk", rows)
    path = drafts.folder(ws, "desk") / "draft.jsonl"
    before = dict(zip((e.id for e in rows), path.read_bytes().splitlines(), strict=True))
    done = mending.rewrite_terms(ws, task, SECTION)
    # The first of those that say the same stays, but one that needed no change stays before one that did.
    new = {e.id: ("Lumen".join(e.messages[1]["content"].replace("nimbus", "Nimbus").split("Nimbus")), texts(e)[1]) for e in rows}
    kept = {id for id, said in new.items() if texts(rows[int(id[1:])])[0] == said[0]}
    for id, said in new.items():
        if said not in {new[other] for other in kept}:
            kept.add(id)
    held = {e.id: tuple(texts(e)) for e in drafts.load_draft(ws, "desk")}
    assert held == {id: said for id, said in new.items() if id in kept}
    assert list(held) == [e.id for e in rows if e.id in kept]
    assert {line["id"] for line in drafts.load_findings(ws, "desk")} == new.keys() - kept
    assert done.dropped == {"exact_duplicate": len(new) - len(kept)}
    now = dict(zip(held, path.read_bytes().splitlines(), strict=True))
    assert all(now[id] == before[id] for id in held.keys() - set(done.changed)), "rows that stay are as they were"
    mending.drop_bad(ws, task, SECTION)
    assert state(ws)[0] == [id for id in held if held[id][1] != NO]
    assert {line["id"] for line in drafts.load_findings(ws, "desk")} == new.keys() - set(state(ws)[0])


def test_where_the_draft_cannot_be_written_every_row_that_leaves_is_in_it_still(
    ws: Workspace, task: Model, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, dropped = state(ws)

    def full(*_: object) -> None:
        raise DiskFull("no room left for draft.jsonl")

    with monkeypatch.context() as patched:
        patched.setattr(drafts, "save_lines", full)
        with pytest.raises(DiskFull):
            mending.drop_bad(ws, task, Config(refusal_phrases=("bug",)))
    assert state(ws) == (ids, [*dropped, ("refusal", "old")])
    mending.drop_bad(ws, task, Config(refusal_phrases=("bug",)))
    assert state(ws) == ([id for id in ids if id != "old"], [*dropped, ("refusal", "old")])


def judged(ws: Workspace, id: str = "req_1") -> tuple[list[str], list[str]]:
    """What the draft says to one request, and what was dropped as superseded."""
    lines = mending.dropped_lines(drafts.read_findings(ws, "desk"))
    held = [str(texts(e)[-1]) for e in drafts.load_draft(ws, "desk") if e.id.startswith(id)]
    return held, [line["row"]["messages"][-1]["content"] for line in lines if line["kind"] == "superseded"]


def test_of_several_judgments_of_one_answer_one_stands_and_every_other_is_kept(ws: Workspace, task: Model, traffic: Any) -> None:
    section, asked = Config(collect_sample=0), traffic.ask("Where is parcel 7?", "served")
    for answer in ("first", "second", "third"):
        traffic.clock.advance(3600)
        traffic.say(asked, "edit", answer)
        collect(ws, task, section)
    assert judged(ws, asked) == (["third"], ["first", "second"])
    tried = mending.readmit(ws, task, section, [asked], dry_run=True)
    assert judged(ws, asked) == (["third"], ["first", "second"])
    done = mending.readmit(ws, task, section, [asked])
    assert (done, done.changed, done.dropped, done.examples) == (tried, (asked,), {"superseded": 1}, 1)
    assert judged(ws, asked) == (["second"], ["first", "third"])
    everything = traffic.clock.utc() - timedelta(days=9)
    assert collect(ws, task, section, since=everything).added == (), "what gave way does not come again by itself"
    traffic.clock.advance(3600)
    traffic.say(asked, "edit", "fourth")
    assert collect(ws, task, section).added == (asked,)
    assert judged(ws, asked) == (["fourth"], ["first", "third", "second"])


def test_without_names_what_was_said_later_stays(ws: Workspace, task: Model, traffic: Any) -> None:
    section = Config(collect_sample=0)
    edited, praised = traffic.ask("Where is parcel 7?", "served", edit="first"), traffic.ask("Is the lamp on?", "it is")
    traffic.say(praised, "thumb", "up")
    collect(ws, task, section)
    traffic.clock.advance(3600)
    traffic.say(edited, "edit", "second")
    collect(ws, task, section)
    with pytest.raises(NotFound, match="another answer in the place of each") as caught:
        mending.readmit(ws, task, section, [], reason="superseded")
    assert f"readmit {edited} --model desk" in str(caught.value.fix)
    traffic.say(praised, "thumb", "down")
    collect(ws, task, section)
    assert mending.readmit(ws, task, section, [], reason="superseded").changed == (praised,)
    assert judged(ws, edited) == (["second"], ["first"])
    assert judged(ws, praised) == (["it is"], ["first"])


def test_a_kill_while_an_answer_gives_way_loses_neither(
    ws: Workspace, task: Model, traffic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, asked = Config(collect_sample=0), traffic.ask("Where is parcel 7?", "served", edit="first")
    collect(ws, task, section)
    traffic.clock.advance(3600)
    traffic.say(asked, "edit", "second")
    collect(ws, task, section)
    write, names = drafts.write_whole, list[str]()

    def killed(path: Path, pieces: Iterable[bytes]) -> None:
        names.append(path.name)
        if len(names) > allowed:
            raise KeyboardInterrupt
        write(path, pieces)

    for allowed in range(3):
        names.clear()
        with monkeypatch.context() as patched:
            patched.setattr(drafts, "write_whole", killed)
            with pytest.raises(KeyboardInterrupt):
                mending.readmit(ws, task, section, [asked])
        held, dropped = judged(ws, asked)
        assert {*held, *dropped} == {"first", "second"}
        assert held == (["first"] if allowed == 2 else ["second"]), "done again, it does what it was asked"
    assert judged(ws, asked) == (["first"], ["second"])


def test_a_row_comes_back_to_the_side_where_it_stood_also_after_a_version_without_it(
    ws: Workspace, task: Model, filled: list[Example]
) -> None:
    held = next(row for row in filled if row.split == "eval")
    marked = [replace(row, metadata={**row.metadata, "created": "2019-01-01"}) if row is held else row for row in filled]
    drafts.save_draft(ws, "desk", marked)
    data.freeze(ws, task, Config())
    prune(ws, task, Config(), older_than=timedelta(days=365))
    data.freeze(ws, task, Config())
    mending.readmit(ws, task, Config(), [held.id])
    assert {row.id: row.split for row in drafts.load_draft(ws, "desk")} == {row.id: row.split for row in filled}
