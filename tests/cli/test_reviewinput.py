from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.data.conftest import Traffic
from tests.patience import until
from tunekeeper.cli.reviewinput import END, STAND_IN, START, Pasted
from tunekeeper.core.clock import ManualClock
from tunekeeper.data import review
from tunekeeper.workspace import open_workspace


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("a\x1b[A\x1b", "a\x1b[A\x1b"),
        (f"x{START}one\x1b[31mtwo\x1b{END}q\x1b", f"x{START}one{STAND_IN}[31mtwo{STAND_IN}{END}q\x1b"),
        (f"{START}{END}{START}\x1b[20\x1b[2{END}", f"{START}{END}{START}{STAND_IN}[20{STAND_IN}[2{END}"),
        (f"{START}{START}{END}a{END}", f"{START}{STAND_IN}[200~{END}a{END}"),
    ],
)
def test_escape_characters_are_hidden_in_what_is_pasted_and_nowhere_else(typed: str, given: str) -> None:
    assert Pasted().hide(typed) == given
    slow = Pasted()
    assert "".join(slow.hide(c) for c in typed) == given


def test_a_paste_never_acts_as_keys_no_byte_ends_the_screen_and_an_interrupt_keeps_what_was_typed(
    project: Path, terminal: Callable[..., Terminal]
) -> None:
    ws = open_workspace(project / ".tunekeeper")
    traffic = Traffic(ws, ManualClock(datetime.now(UTC) - timedelta(hours=1)))
    asked = traffic.ask("a question", "an answer", model_id="support-desk")
    traffic.spool.close()
    [queued] = review.enqueue(ws, "support-desk", [asked], why="sample")
    review.label(ws, queued.id, "one", by="bob")

    seat = terminal("data", "review", "--model", "support-desk", "--by", "ana", "--dir", str(project))
    until(lambda: seat.shows("an answer"))
    seat.type(f"{START}\x1b[1mapprove\x1b[1m xq{END}\xe9".encode("latin-1"))
    seat.type(b"e")
    until(lambda: seat.shows("What you changed"))
    seat.type(f"{START}red: \x1b[31mor\nnot".encode())
    seat.type(f"\x1b[0m {END}".encode())
    seat.type(b"\xe9\xff!")
    until(lambda: review.get(ws, queued.id).texts == {"ana": "red: \x1b[31mor\nnot\x1b[0m \ufffd\ufffd!an answer"})
    seat.type(b" quokka")  # a word that nothing else on the screen holds
    until(lambda: seat.shows("quokka"))
    seat.process.send_signal(signal.SIGINT)
    assert seat.process.wait(60) == 130
    found = review.get(ws, queued.id)
    assert "! quokka" in found.texts["ana"]
    assert (found.held, found.opinions, [remark["by"] for remark in found.remarks]) == (None, (), ["bob"])
