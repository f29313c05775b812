from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import termios
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from textual import events

from tests.cli.seat import Seat, sit
from tests.data.conftest import Traffic
from tests.patience import until
from tunekeeper.cli.reviewwidgets import MOST_SAID
from tunekeeper.cli.reviewwriting import Editor, Writing
from tunekeeper.config.project import ModelConfig
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import review
from tunekeeper.data.config import Config
from tunekeeper.store.ledgers.reviews import load_review, save_review
from tunekeeper.workspace import Workspace, create_workspace, open_workspace

CONFIG = ModelConfig(task=Model(name="desk"), sections={"data": Config()}, file=cast(Any, None))
STRICT = ModelConfig(
    task=Model(name="desk", format={"kind": "json", "fields": {"category": ["billing", "bug"], "note": []}}),
    sections={"data": Config()},
    file=cast(Any, None),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ws(tmp_path: Path, clock: ManualClock) -> Workspace:
    return create_workspace(tmp_path / "workspace", clock=clock)


@pytest.fixture
def traffic(ws: Workspace, clock: ManualClock) -> Iterator[Traffic]:
    found = Traffic(ws, clock)
    yield found
    found.spool.close()


@pytest.fixture
def queue(ws: Workspace, traffic: Traffic) -> list[str]:
    """Three items, oldest first."""
    asked = [traffic.ask(f"question {i} of the customer", f"the answer number {i}") for i in range(3)]
    return [review.enqueue(ws, "desk", [id], why="sample", reasons=(f"reason {i}",))[0].id for i, id in enumerate(asked)]


def item(ws: Workspace, id: str) -> ReviewItem:
    with ws.state.read() as tx:
        return load_review(tx, id)


def test_approving_keeps_who_and_how_long_and_shows_the_next(ws: Workspace, clock: ManualClock, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        shown = seat.shown()
        for text in (
            "question 0 of the customer",
            "the answer number 0",
            "reason 0",
            "version v1.0",
            "3 open · 0 done",
            "by ana",
        ):
            assert text in shown
        clock.advance(42)
        await seat.press("a")
        shown = seat.shown()
        assert "the answer number 1" in shown
        assert "2 open · 1 done" in shown
        assert "approved in 0:42" in shown

    sit(ws, CONFIG, steps)
    [opinion] = item(ws, queue[0]).opinions
    assert (opinion.by, opinion.verdict, opinion.seconds) == ("ana", "good", 42)
    assert item(ws, queue[0]).held is None


def test_rejecting_and_excluding(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("r", "x")

    sit(ws, CONFIG, steps)
    assert [item(ws, id).verdict for id in queue] == ["bad", "excluded", None]


def test_an_edit_shows_what_changes_and_is_saved_with_the_next_one_open(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("e")
        await seat.press("ctrl+s")
        assert "you changed nothing" in seat.shown()
        await seat.press("end", "backspace")
        await seat.type("arxsq7")
        shown = seat.shown()
        assert "What you changed" in shown
        assert "the answer number 0arxsq7" in shown
        assert item(ws, queue[0]).opinions == ()  # the letters were typed, not obeyed
        await seat.press("ctrl+s")
        assert "the answer number 1" in seat.shown()
        assert seat.screen.place == "answer"

    sit(ws, CONFIG, steps)
    done = item(ws, queue[0])
    assert (done.verdict, done.answer, done.texts) == ("edited", "the answer number arxsq7", {})


def test_what_speaks_against_an_edit_is_shown_once_and_a_breach_of_the_format_is_never_saved(
    ws: Workspace, traffic: Traffic
) -> None:
    [queued] = review.enqueue(ws, "desk", [traffic.ask("why?", '{"category": "bug"}')], why="edit")

    async def steps(seat: Seat) -> None:
        await seat.press("e")
        editor = seat.screen.query_one(Editor)
        editor.load_text('{"category": "weather", "note": ""}')
        await seat.press("ctrl+s", "ctrl+s")
        assert "This cannot be saved" in seat.shown()
        assert item(ws, queued.id).opinions == ()
        editor.load_text('{"category": "billing", "note": "write to ana@example.com"}')
        await seat.press("ctrl+s")
        assert "Before you save" in seat.shown()
        assert "personal data" in seat.shown()
        await seat.press("escape")
        assert "What you changed" in seat.shown()
        assert item(ws, queued.id).opinions == ()
        await seat.press("ctrl+s")
        assert seat.screen.opened is None

    sit(ws, STRICT, steps)
    assert json.loads(item(ws, queued.id).answer or "")["category"] == "billing"


def test_what_is_typed_is_kept_while_typing_and_found_again(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("e")
        await seat.type("oh, ")
        await seat.until(lambda: item(ws, queue[0]).texts == {"ana": "oh, the answer number 0"})
        await seat.type("so ")
        await seat.press("escape")
        assert "Served answer · your edit, not saved yet" in seat.shown()
        assert item(ws, queue[0]).texts == {"ana": "oh, so the answer number 0"}
        await seat.press("a")
        assert "an edit of yours waits here" in seat.shown()
        assert item(ws, queue[0]).opinions == ()
        await seat.press("e")
        assert seat.screen.query_one(Writing).text == "oh, so the answer number 0"
        await seat.press("ctrl+s")

    sit(ws, CONFIG, steps)
    assert item(ws, queue[0]).answer == "oh, so the answer number 0"


def test_dialogs_take_every_letter_and_leave_their_mark(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("f")
        await seat.type("axrq [red]")
        await seat.press("enter", "n")
        await seat.type("a?")
        seat.screen.post_message(events.Paste("two\n\tlines"))
        await seat.pilot.pause()
        await seat.press("enter", "n")
        seat.screen.post_message(events.Paste("long " * 10_000))
        await seat.pilot.pause()
        await seat.press("enter", "l")
        await seat.type("tone")
        await seat.press("enter", "n", "q", "escape")
        shown = seat.shown()
        assert "✓ tone" in shown
        assert "axrq [red]" in shown
        await seat.press("1")
        assert "✓ tone" not in seat.shown()
        await seat.press("1", "9")
        assert "no label 9" in seat.shown()

    sit(ws, CONFIG, steps)
    found = [(remark["kind"], remark["text"]) for remark in item(ws, queue[0]).remarks]
    assert found[:2] + found[3:] == [("flag", "axrq [red]"), ("note", "a?two lines"), ("label", "tone")]
    assert found[2] == ("note", ("long " * 10_000)[:MOST_SAID].strip()), "what fits of a long paste, not none of it"
    assert item(ws, queue[0]).opinions == ()


def test_skipping_passing_over_and_going_back(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        def here() -> str:
            assert seat.screen.opened is not None
            return seat.screen.opened.item.id

        await seat.press("s")
        assert here() == queue[1]
        await seat.press("right")
        assert here() == queue[2]
        assert item(ws, queue[1]).held is None
        await seat.press("left")
        assert here() == queue[1]
        await seat.press("right", "right")  # past the last one: those passed over come again
        assert here() == queue[1]
        await seat.press("a")
        assert here() == queue[2]
        await seat.press("u")
        assert here() == queue[1]
        assert "you said: approved · a new judgment takes its place" in seat.shown()
        await seat.press("r")
        assert here() == queue[2]

    sit(ws, CONFIG, steps)
    assert list(item(ws, queue[0]).skipped) == ["ana"]
    assert item(ws, queue[1]).verdict == "bad"
    assert len(item(ws, queue[1]).opinions) == 1
    assert item(ws, queue[2]).opinions == ()


def test_a_judgment_of_an_earlier_sitting_can_still_be_gone_back_to(ws: Workspace, queue: list[str]) -> None:
    review.judge(ws, queue[2], "bad", by="bob")

    async def approve(seat: Seat) -> None:
        await seat.press("u")
        assert "you have judged none yet" in seat.shown()
        await seat.press("a")

    async def mend(seat: Seat) -> None:
        await seat.press("u")
        assert "you said: approved" in seat.shown()
        await seat.press("r")

    sit(ws, CONFIG, approve)
    sit(ws, CONFIG, mend)
    assert [item(ws, id).verdict for id in queue] == ["bad", None, "bad"]
    assert [opinion.by for opinion in item(ws, queue[2]).opinions] == ["bob"]


def test_who_cannot_go_back_keeps_what_they_have(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("right")
        review.open_item(ws, queue[0], by="bob")
        await seat.press("left")
        assert "is open with bob" in seat.shown()
        held = item(ws, queue[1]).held
        assert held is not None
        assert held[0] == "ana"
        await seat.press("a")

    sit(ws, CONFIG, steps)
    assert item(ws, queue[1]).verdict == "good"


def test_a_key_pressed_twice_judges_one_item(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        gate = threading.Event()
        seat.screen.hands.submit(gate.wait)
        try:
            await seat.pilot.press("a", "a", "r", "f")
            assert len(seat.screen.screen_stack) == 1  # no dialog about an item that is on its way out
        finally:
            gate.set()
        await seat.press()
        await seat.until(lambda: not seat.screen.moving)

    sit(ws, CONFIG, steps)
    assert [len(item(ws, id).opinions) for id in queue] == [1, 0, 0]


def pair(ws: Workspace) -> str:
    shown = {"messages": [{"role": "user", "content": "why?"}], "answer": "the first answer", "other": "the second one"}
    with ws.state.write(by="test") as tx:
        return save_review(tx, ReviewItem(id="rev_p", model="desk", request_id="", why="pair", kind="pair", shown=shown)).id


@pytest.mark.parametrize(("size", "beside"), [((120, 36), True), ((80, 24), False)])
def test_a_pair_stands_side_by_side_or_one_above_the_other_and_is_judged_blind(
    ws: Workspace, size: tuple[int, int], beside: bool
) -> None:
    id = pair(ws)

    async def steps(seat: Seat) -> None:
        a, b = seat.screen.query_one("#answer").region, seat.screen.query_one("#other").region
        assert (a.y == b.y) is beside
        assert a.width > 30
        assert b.bottom < size[1]
        shown = seat.shown()
        assert "the first answer" in shown
        assert "the second one" in shown
        assert "B is better" in shown
        await seat.press("e", "r", "x")  # these belong to single answers
        assert item(ws, id).opinions == ()
        assert seat.screen.opened is not None
        first_is_a = seat.screen.opened.answer == "the first answer"
        await seat.press("b")
        assert item(ws, id).better == ("second" if first_is_a else "first")
        await seat.press("u", "t")
        assert item(ws, id).better == "tie"

    sit(ws, CONFIG, steps, size=size)


HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]not markup[/red] [@click=app.quit]no link[/] \u202egnp.exe\u202c \u200bzero \x9b31m é"


def test_what_strangers_write_is_shown_and_never_run(ws: Workspace, traffic: Traffic) -> None:
    id = traffic.ask(HOSTILE, f"[bold]{HOSTILE}", segments={"plan": "[red]\x1b[31m"})
    [queued] = review.enqueue(ws, "desk", [id], why="sample", reasons=(f"because {HOSTILE}",))

    async def steps(seat: Seat) -> None:
        async def harmless() -> str:
            await seat.pilot.pause()
            shown = seat.shown()
            assert not {c for c in shown if c in "\x07\x1b\x9b\u202e\u202c\u200b"}
            return shown

        await seat.pilot.resize_terminal(80, 24)
        await harmless()
        await seat.pilot.resize_terminal(140, 40)
        shown = await harmless()
        for text in ("‹ESC›]0;owned‹BEL›‹ESC›[2J[red]not", "[@click=app.quit]", "‹U+202E›gnp.exe", "é"):
            assert text in shown
        await seat.press("v")
        assert "‹ESC›]0;owned" in await harmless()
        await seat.press("escape", "e")
        await harmless()
        await seat.type("!")
        await seat.press("ctrl+s")
        await harmless()
        await seat.press("ctrl+s")
        assert seat.screen.opened is None

    sit(ws, CONFIG, steps)
    assert item(ws, queued.id).answer == f"![bold]{HOSTILE}"


def test_only_time_at_work_counts(ws: Workspace, clock: ManualClock, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        clock.advance(30)
        await seat.press("down")
        clock.advance(900)  # away: the first minute of it counts
        await seat.press("down")
        clock.advance(5)
        await seat.press("a")

    sit(ws, CONFIG, steps)
    assert item(ws, queue[0]).opinions[0].seconds == 95


def test_who_comes_back_to_an_item_goes_on_from_the_time_it_took_so_far(
    ws: Workspace, clock: ManualClock, queue: list[str]
) -> None:
    async def steps(seat: Seat) -> None:
        clock.advance(40)
        await seat.press("right")
        clock.advance(7)
        await seat.press("left")
        assert "0:40 of 3:00" in seat.shown()
        clock.advance(20)
        await seat.press("a")
        await seat.press("u")
        assert "1:00 of 3:00" in seat.shown()
        clock.advance(15)
        await seat.press("r")

    sit(ws, CONFIG, steps)
    assert [(each.verdict, each.seconds) for each in item(ws, queue[0]).opinions] == [("bad", 75)]


def test_a_line_about_one_item_does_not_stay_under_the_next(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("left")
        assert "this is the first one" in seat.shown()
        await seat.press("e")
        assert "this is the first one" not in seat.shown()
        await seat.press("escape", "right", "left")
        assert "passed over" not in seat.shown()

    sit(ws, CONFIG, steps)


def test_after_three_minutes_there_is_a_hint_and_not_before(ws: Workspace, clock: ManualClock, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        for _ in range(3):
            clock.advance(59)
            await seat.press("down")
        seat.screen.tick()
        assert "2:57 of 3:00" in seat.shown()
        assert "three minutes" not in seat.shown()
        clock.advance(3)
        seat.screen.tick()
        await seat.pilot.pause()
        assert "three minutes: f flags it" in seat.shown()

    sit(ws, CONFIG, steps)


def test_an_item_that_another_took_costs_one_line_and_no_text(ws: Workspace, clock: ManualClock, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("e")
        await seat.type("my ")
        clock.advance(16 * 60)
        review.open_item(ws, queue[0], by="bea")
        await seat.press("ctrl+s")
        assert "is open with bea" in seat.shown()
        assert seat.screen.query_one(Writing).text.startswith("my ")
        await seat.press("escape", "right")
        assert "the answer number 1" in seat.shown()
        assert item(ws, queue[0]).held is not None
        assert item(ws, queue[0]).held[0] == "bea"  # type: ignore[index]
        review.release(ws, queue[0], by="bea")
        await seat.press("left")
        assert "my " in seat.shown()
        await seat.press("e")
        await seat.until(lambda: item(ws, queue[0]).texts == {"ana": "my the answer number 0"})
        await seat.press("ctrl+s")

    sit(ws, CONFIG, steps)
    assert item(ws, queue[0]).answer == "my the answer number 0"


def test_a_busy_database_is_waited_for_and_a_quit_meanwhile_is_not_lost(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        held, free = threading.Event(), threading.Event()

        def writer() -> None:
            with ws.state.write(by="another"):
                held.set()
                free.wait()

        thread = threading.Thread(target=writer)
        thread.start()
        try:
            await asyncio.get_running_loop().run_in_executor(None, held.wait)
            await seat.pilot.press("a")
            await seat.until(lambda: "another program is writing" in seat.shown())
            await seat.pilot.press("q")
            await seat.until(lambda: "ends as soon as" in seat.shown())
        finally:
            free.set()
            thread.join()
        await seat.until(lambda: seat.screen.return_code == 0)

    sit(ws, CONFIG, steps)
    assert item(ws, queue[0]).verdict == "good"
    assert item(ws, queue[1]).held is None


def test_an_item_that_is_gone_gives_way_to_the_next(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        with sqlite3.connect(ws.path("state.db")) as database:
            database.execute("DELETE FROM reviews WHERE id = ?", (queue[0],))
        database.close()
        await seat.press("a")
        shown = seat.shown()
        assert "the answer number 1" in shown
        assert queue[0] in shown  # the line says what is gone
        await seat.press("a")

    sit(ws, CONFIG, steps)
    assert item(ws, queue[1]).verdict == "good"


def test_quitting_frees_the_item_and_keeps_the_text(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("e")
        await seat.type("so ")
        await seat.pilot.press("ctrl+q")
        await seat.until(lambda: seat.screen.return_code is not None)

    sit(ws, CONFIG, steps)
    assert item(ws, queue[0]).held is None
    assert item(ws, queue[0]).texts == {"ana": "so the answer number 0"}


def test_an_empty_queue_says_how_it_is_filled_and_looks_again(ws: Workspace, traffic: Traffic) -> None:
    async def steps(seat: Seat) -> None:
        assert "tunekeeper data review --model desk --fill 50" in seat.shown()
        await seat.press("a", "e", "left")
        review.enqueue(ws, "desk", [traffic.ask("late question", "late answer")], why="sample")
        await seat.press("g")
        assert "late answer" in seat.shown()
        await seat.press("a", "u")
        assert "late answer" in seat.shown()

    sit(ws, CONFIG, steps)


def test_only_the_kinds_that_were_asked_for_come(ws: Workspace, queue: list[str]) -> None:
    async def steps(seat: Seat) -> None:
        assert "the first answer" in seat.shown()
        await seat.press("t")
        assert seat.screen.opened is None
        assert "The queue of pair of desk is empty" in seat.shown()

    pair(ws)
    sit(ws, CONFIG, steps, kinds=("pair",))


def test_in_a_real_terminal_an_edit_survives_kill_9_and_the_terminal_is_given_back(project: Path, terminal: Any) -> None:
    ws = open_workspace(project / ".tunekeeper")
    traffic = Traffic(ws, ManualClock(datetime.now(UTC) - timedelta(hours=1)))
    asked = [traffic.ask(f"question {i} \x1b]0;owned\x07", f"answer number {i}", model_id="support-desk") for i in range(2)]
    traffic.spool.close()
    first, second = (review.enqueue(ws, "support-desk", [id], why="sample")[0].id for id in asked)
    command = ("data", "review", "--model", "support-desk", "--by", "ana", "--dir", str(project))

    seat = terminal(*command)
    until(lambda: seat.shows("answer number 0"))
    seat.type(b"a")
    until(lambda: item(ws, first).verdict == "good")
    until(lambda: seat.shows("answer number 1"))
    seat.type(b"e")
    until(lambda: seat.shows("What you changed"))
    seat.type(b"kept ")
    until(lambda: item(ws, second).texts == {"ana": "kept answer number 1"})
    seat.process.kill()
    seat.process.wait()

    again = terminal(*command)
    until(lambda: again.shows("your edit, not saved yet"))
    again.type(b"e")
    until(lambda: again.shows("What you changed"))
    again.type(b"\x13")
    until(lambda: item(ws, second).answer == "kept answer number 1")
    until(lambda: again.shows("Nothing waits for you"))
    again.type(b"q")
    assert again.process.wait(60) == 0
    until(lambda: again.out.rfind(b"\x1b[?1049l") > again.out.rfind(b"\x1b[?1049h") >= 0)
    assert again.out.rfind(b"\x1b[?25h") > again.out.rfind(b"\x1b[?25l")
    assert termios.tcgetattr(again.slave) == again.before
    assert b"\x1b]0;owned" not in seat.out + again.out
    assert seat.shows("‹ESC›]0;owned‹BEL›")


def test_ended_from_outside_it_keeps_what_was_typed_and_frees_the_item(project: Path, terminal: Any) -> None:
    ws = open_workspace(project / ".tunekeeper")
    traffic = Traffic(ws, ManualClock(datetime.now(UTC) - timedelta(hours=1)))
    asked = traffic.ask("a question", "an answer", model_id="support-desk")
    traffic.spool.close()
    queued = review.enqueue(ws, "support-desk", [asked], why="sample")[0].id
    command = ("data", "review", "--model", "support-desk", "--by", "ana", "--dir", str(project))

    seat = terminal(*command)
    until(lambda: seat.shows("an answer"))
    seat.type(b"e")
    until(lambda: seat.shows("What you changed"))
    seat.type(b"quokka")  # a word that nothing else on the screen holds
    until(lambda: seat.shows("quokka"))
    seat.process.terminate()
    assert seat.process.wait(60) == 128 + signal.SIGTERM
    assert item(ws, queued).texts["ana"].startswith("quokka")
    assert item(ws, queued).held is None
    assert termios.tcgetattr(seat.slave) == seat.before

    again = terminal(*command)
    until(lambda: again.shows("your edit, not saved yet"))
    again.hang_up()
    assert again.process.wait(60) == -signal.SIGHUP
    assert item(ws, queued).held is None


def test_a_terminal_that_cannot_show_it_is_told_in_one_line(project: Path, terminal: Any) -> None:
    command = ("data", "review", "--model", "support-desk", "--dir", str(project))
    for said, environment in (
        ("TERM=dumb", {"TERM": "dumb"}),
        ("export LC_ALL=C.UTF-8", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ):
        seat = terminal(*command, **environment)
        assert seat.process.wait(60) == 2
        until(lambda seat=seat, said=said: seat.shows(said))
