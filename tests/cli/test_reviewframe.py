from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cli.seat import Seat, sit
from tests.data.conftest import Traffic
from tunekeeper.cli.reviewframe import RENEW
from tunekeeper.config.project import ModelConfig
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import review
from tunekeeper.data.config import Config
from tunekeeper.store.ledgers.reviews import load_review
from tunekeeper.workspace import Workspace, create_workspace

CONFIG = ModelConfig(task=Model(name="desk"), sections={"data": Config()}, file=cast(Any, None))


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
def queued(ws: Workspace, traffic: Traffic) -> str:
    asked = traffic.ask("a question " * 200, '{"category": "bug", "priority": "high"}')
    return review.enqueue(ws, "desk", [asked], why="sample", reasons=("a reason",))[0].id


def test_it_fits_wide_and_narrow_terminals_and_follows_a_change_of_size(ws: Workspace, queued: str) -> None:
    async def steps(seat: Seat) -> None:
        screen = seat.screen

        async def fits(width: int, height: int, *, side: bool) -> None:
            await seat.pilot.resize_terminal(width, height)
            await seat.pilot.pause()
            assert screen.side.display is side
            assert screen.why.display is not side
            parts = [screen.headline, screen.talk, screen.answers, screen.status, screen.key_line]
            assert all(part.region.height > 0 and part.region.right <= width for part in parts)
            assert [p.region.y for p in parts] == sorted(p.region.y for p in parts)
            assert screen.key_line.region.bottom == height
            shown = seat.shown()
            for text in ('"category": "bug"', "a reason", "a approve", "q quit", "0:00 of 3:00"):
                assert text in shown

        await fits(80, 24, side=False)
        await fits(140, 40, side=True)
        await fits(200, 60, side=True)
        await seat.pilot.resize_terminal(40, 12)
        await seat.pilot.pause()
        for text in ("Conversation", '"category": "bug"', "a approve"):
            assert text in seat.shown(), "nobody approves what they cannot see"
        await seat.press("e")
        for width, height in ((80, 24), (140, 40)):
            await seat.pilot.resize_terminal(width, height)
            await seat.pilot.pause()
            shown = seat.shown()
            for text in ("Your answer", "What you changed", "^S save and next"):
                assert text in shown

    sit(ws, CONFIG, steps, size=(100, 30))


def test_the_end_of_the_question_stays_in_view_when_the_room_shrinks_and_an_edit_begins(ws: Workspace, traffic: Traffic) -> None:
    asked = traffic.ask("a question\n" * 8 + "and this is what I want", "an answer")
    review.enqueue(ws, "desk", [asked], why="sample")

    async def steps(seat: Seat) -> None:
        for size in ((80, 24), (40, 12), (30, 10), (120, 40), (80, 16)):
            await seat.pilot.resize_terminal(*size)
            await seat.until(lambda: "what I want" in seat.shown())
        await seat.press("e")
        await seat.until(lambda: "Your answer" in seat.shown() and "what I want" in seat.shown())
        await seat.press("escape", "home", "down")
        await seat.pilot.resize_terminal(40, 12)
        await seat.until(lambda: seat.screen.talk.scroll_offset.y == 1)  # who scrolled away stays there

    sit(ws, CONFIG, steps, size=(120, 40))


def test_dialogs_stay_while_the_clock_ticks_and_day_follows_night(ws: Workspace, queued: str) -> None:
    async def steps(seat: Seat) -> None:
        for key in ("question_mark", "f", "v"):
            await seat.press(key)
            seat.screen.tick()
            await seat.pilot.pause()
            assert len(seat.screen.screen_stack) == 2
            await seat.press("escape")
        await seat.press("d")
        assert seat.screen.theme == "day"

    sit(ws, CONFIG, steps)


def test_ctrl_c_ends_it_as_q_does_also_out_of_a_field_and_says_that_it_was_interrupted(ws: Workspace, queued: str) -> None:
    async def steps(seat: Seat) -> None:
        await seat.press("e")
        await seat.type("begun ")
        await seat.pilot.press("ctrl+c")
        await seat.until(lambda: seat.screen.return_code is not None)
        assert seat.screen.return_code == 130

    sit(ws, CONFIG, steps)
    kept = review.get(ws, queued)
    assert (kept.texts["ana"].startswith("begun "), kept.held) == (True, None)


def test_left_and_right_are_free_and_the_arrows_scroll(ws: Workspace, queued: str) -> None:
    async def steps(seat: Seat) -> None:
        talk = seat.screen.talk
        await seat.until(lambda: talk.scroll_offset.y > 0)  # the end of the question is in view
        await seat.press("home")
        await seat.until(lambda: talk.scroll_offset.y == 0)
        await seat.press("down")
        await seat.until(lambda: talk.scroll_offset.y > 0)
        await seat.press("left")
        assert "this is the first one" in seat.shown()

    sit(ws, CONFIG, steps, size=(80, 24))


def test_the_lock_is_renewed_while_somebody_works(ws: Workspace, clock: ManualClock, queued: str) -> None:
    async def steps(seat: Seat) -> None:
        clock.advance(RENEW)
        seat.screen.tick()  # nobody pressed a key: the lock runs out
        await seat.press("down")
        before = clock.utc()
        seat.screen.tick()
        await seat.until(lambda: until() == before + timedelta(minutes=review.LOCK_MINUTES))

    def until() -> Any:
        with ws.state.read() as tx:
            held = load_review(tx, queued).held
        assert held is not None
        return held[1]

    sit(ws, CONFIG, steps)
