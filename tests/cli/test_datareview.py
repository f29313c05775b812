from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import BUG, REFUND, Tell
from tunekeeper.cli.visible import line
from tunekeeper.core.nouns.evaluation import Case, Exam, Suite
from tunekeeper.data import review
from tunekeeper.evaluation.results import Result, encode
from tunekeeper.scoring import load_suite
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.suite_locks import save_suite_lock
from tunekeeper.workspace import Workspace, open_workspace


def work_off(ws: Workspace, by: str) -> list[str]:
    """Find every answer good and every pair a tie that waits for `by`. Returns the items."""
    done = []
    while (found := review.open_next(ws, "desk", by=by, gold_share=0.3)) is not None:
        if found.item.kind == "pair":
            review.prefer(ws, found.item.id, "tie", by=by, seconds=240)
        else:
            review.judge(ws, found.item.id, "good", by=by, seconds=240)
        done.append(found.item.id)
    return done


def test_the_queue_is_filled_looked_at_and_worked_off(ask: Tell, desk: Path) -> None:
    (desk / "gold.jsonl").write_text("".join(json.dumps({"prompt": f"known {i}", "answer": REFUND}) + "\n" for i in range(3)))
    (desk / "pairs.jsonl").write_text(json.dumps({"prompt": "which?", "a": BUG, "b": REFUND}) + "\n")
    fills = ("--fill", 3, "--shadow-pairs", 5, "--pairs", desk / "pairs.jsonl", "--gold", desk / "gold.jsonl", "--opinions", 2)
    tried = ask("review", *fills, "--dry-run", "--json").json
    assert {name: len(items) for name, items in tried["queued"].items()} == {
        "gold items": 3, "pairs of the file": 1, "pairs of the log": 1, "answers": 3
    }  # fmt: skip
    assert ask("review", "--list", "--json").json["open"] == []
    queued = ask("review", *fills, "--list", "--json").json
    assert len(queued["open"]) == 5
    assert "req_007" in {item["request_id"] for item in queued["open"]}, "the only one of its segment"
    assert all(item["reasons"] for item in queued["open"])
    assert [i["kind"] for i in ask("review", "--list", "--kind", "pair", "--json").json["open"]] == ["pair", "pair"]

    ws = open_workspace(desk / ".tunekeeper")
    ana, bob = work_off(ws, "ana"), work_off(ws, "bob")
    usual = {item["id"] for item in queued["open"]}
    assert usual <= set(ana)
    assert usual <= set(bob)
    assert ask("review", "--list").out.startswith("0 items wait")
    stats = ask("review", "--stats", "--json").json["stats"]
    assert stats["states"] == {"gold": 3, "done": 5}
    assert (stats["pace"]["minutes_each"], stats["pace"]["an_hour"], stats["pace"]["slow"]) == (4.0, 15.0, True)
    assert stats["agreement"]["overall"]["answer"]["same"] == 1.0
    assert stats["bus_factor"]["people"] == 1
    assert {name: score["missed"] for name, score in stats["gold"].items()} == dict.fromkeys(stats["gold"], 0)
    text = ask("review", "--stats").out
    for words in ("slow: above 3 minutes", "15 an hour (30 to 50 are normal)", "no kappa", "first pass", "bus factor 1"):
        assert words in text


def test_no_list_tells_a_reviewer_what_others_said_or_where_the_answers_of_a_pair_come_from(ask: Tell, desk: Path) -> None:
    pair = {"prompt": "which?", "a": BUG, "b": REFUND, "a_from": "v1.0", "b_from": "candidate"}
    (desk / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    told = [ask("review", "--pairs", desk / "pairs.jsonl", "--shadow-pairs", 5, "--fill", 1, "--opinions", 2, "--json").out]
    for item in ask("review", "--list", "--json").json["open"]:
        verb = ("judge", item["id"], "excluded") if item["kind"] == "answer" else ("prefer", item["id"], "a")
        assert ask("queue", "remark", item["id"], "--note", "worse than the other", "--by", "bob").code == 0
        assert ask("queue", *verb, "--by", "bob").code == 0
        assert ask("queue", "save", item["id"], "--text", "half an answer", "--by", "eve").code == 0
    told += [ask("review", "--list", "--json").out, ask("review", "--list").out]
    assert [[o["by"] for o in item["opinions"]] for item in json.loads(told[1])["open"]] == [["bob"]] * 3
    for said in ("v1.0", "candidate", 'shadow"', "category", "excluded", "first", "second", "worse", "half an answer"):
        assert [said in each for each in told] == [False] * 3, said


def test_judged_answers_are_written_as_cases_of_a_suite(ask: Tell, desk: Path) -> None:
    assert ask("review", "--fill", 2).code == 0
    [first, second] = ask("review", "--list", "--json").json["open"]
    wrong = ask("queue", "judge", first["id"], "edited", "--answer", "refund", "--by", "ana")
    assert (wrong.code, "not in the format of desk" in wrong.err, "--force" in wrong.err) == (2, True, True)
    (desk / "right.json").write_text(REFUND)
    assert ask("queue", "judge", first["id"], "edited", "--answer-file", desk / "right.json", "--by", "ana").code == 0
    assert ask("queue", "judge", second["id"], "bad", "--by", "ana").code == 0
    path = desk / "suites" / "reviewed.jsonl"
    assert "would write 1 case" in ask("review", "--export-cases", path, "--dry-run").out
    assert not path.exists()
    done = ask("review", "--export-cases", path, "--json").json["cases"]
    assert (done["added"], done["known"], done["learned"]) == (1, 0, [])
    assert [(c.id, c.expected, c.category) for c in load_suite(path).cases] == [(first["id"], REFUND, "refund")]


def test_without_a_terminal_it_says_in_one_line_what_to_use_instead(ask: Tell) -> None:
    said = ask("review")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert "tunekeeper data queue next --model desk" in said.err
    assert ask("review", "--json").json["error"]["exit_code"] == 2


def test_a_window_that_ends_before_it_begins_is_refused(ask: Tell) -> None:
    said = ask("review", "--fill", 1, "--since", "1d", "--until", "2d")
    assert (said.code, said.out) == (2, "")
    assert "--until 2d lies before --since 1d (fix: --since 2d --until 1d)" in said.err


def test_fewer_than_asked_for_is_said_and_flags_stand_in_the_list(ask: Tell) -> None:
    lines = ask("review", "--fill", 500).out.splitlines()
    assert lines[0] == "queued 12 answers"
    assert lines[1].startswith("500 were asked for: the log has no more since 20")
    assert (lines[2].split(), len(lines), lines[-2]) == (
        ["item", "kind", "reasons"], 15, "… and 2 more: tunekeeper data review --model desk --list"
    )  # fmt: skip
    assert lines[-1].startswith("next: tunekeeper data review --model desk --dir ")
    none = ask("review", "--fill", 1).out
    assert none.startswith("queued 0 answers\n1 were asked for")
    assert "tunekeeper log import" in none
    [item, *_] = ask("review", "--list", "--json").json["open"]
    assert ask("queue", "remark", item["id"], "--flag", "unclear policy", "--by", "ana").code == 0
    assert "flagged by ana: unclear policy" in ask("review", "--list").out
    assert ask("review", "--stats", "--json").json["stats"]["flagged"] == [item["id"]]
    assert ask("queue", "remark", item["id"], "--note", "asked twice\nlast week", "--by", "ana").code == 0
    assert ask("review", "--stats", "--json").json["stats"]["notes"] == []
    assert ask("queue", "judge", item["id"], "good", "--by", "ana", "--seconds", 0).code == 0
    assert "0.0 minutes an item\n" in ask("review", "--stats").out
    [note] = ask("review", "--stats", "--json").json["stats"]["notes"]
    assert (note["item"], note["by"]) == (item["id"], "ana")
    assert f"ana noted of {item['id']}: {line(note['text'])}\n" in ask("review", "--stats").out


def test_a_broken_file_of_gold_adds_none_of_it(ask: Tell, desk: Path) -> None:
    rows = [{"prompt": "q", "answer": "x"}, {"request_id": "req_none", "answer": "x"}]
    (desk / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ask("review", "--gold", desk / "gold.jsonl").code == 2
    assert ask("review", "--stats", "--json").json["stats"]["states"] == {}


@pytest.fixture
def exam(desk: Path) -> str:
    """An exam of the desk with a wrong answer and one that was right in the exam before."""
    ws = open_workspace(desk / ".tunekeeper", project=desk)
    cases = tuple(Case(id=name, messages=({"role": "user", "content": f"case {name}"},)) for name in ("c1", "c2", "c3"))
    suite = Suite(id="core", model="desk", cases=cases, criteria=(), digest="sha256:s")

    def results(*right: float) -> str:
        rows = [Result(case=f"c{i}", answer=BUG, scores={"exact": (value, "")}) for i, value in enumerate(right, 1)]
        return ws.blobs.put_bytes(encode(rows))

    old, new = (
        Exam(
            id=id, model="desk", version=f"desk@{id}", artifact=None, artifact_digest=None, suite="core",
            suite_digest="sha256:s", state="done", cases=3, answers=answers, champion_exam=before,
        )
        for id, answers, before in (("exam_1", results(0, 1, 1), None), ("exam_2", results(0, 1, 0), "exam_1"))
    )  # fmt: skip
    with ws.state.write(by="test") as tx:
        save_suite_lock(tx, suite)
        save_exam(tx, old)
        save_exam(tx, new)
    return new.id


def test_what_an_exam_flags_is_queued_and_what_people_say_of_it_is_counted_and_never_learned(
    ask: Tell, exam: str, desk: Path
) -> None:
    would = ask("review", "--exam", exam, "--most", 1, "--dry-run", "--json").json["exam"]
    assert ([i["shown"]["case"] for i in would["queued"]], would["flagged"], would["judged"]) == (["c3"], 2, {})
    assert ask("review", "--exam", exam).out.startswith("exam_2 flags 2 of 3 answers, 2 of them new\n")
    found = ask("queue", "next", "--by", "ana", "--kind", "exam", "--json").json
    assert (found["messages"][0]["content"], found["answer"]) == ("case c3", BUG)
    assert found["reasons"][1] == "it was right in the exam that this one is compared with"
    ask("queue", "judge", found["item"]["id"], "edited", "--answer", REFUND, "--by", "ana", "--json")
    told = ask("review", "--exam", exam, "--json").json["exam"]
    assert (told["queued"], told["judged"]) == ([], {"edited": 1, "open": 1})
    assert ask("collect", "--model", "desk", "--kinds", "corrected", "--json").code == 0
    assert ask("ls", "--model", "desk", "--json").json["examples"] == 0
    cases = ask("review", "--export-cases", desk / "cases.jsonl", "--json").json["cases"]
    assert (cases["added"], cases["known"]) == (0, 0)


def test_an_exam_of_another_model_or_none_is_named(ask: Tell, exam: str) -> None:
    gone = ask("review", "--exam", "exam_9", "--json")
    assert (gone.code, "exam_9" in gone.json["error"]["message"]) == (2, True)
