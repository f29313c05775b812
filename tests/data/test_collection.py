from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.admission import admit, standing
from tunekeeper.data.collection import Collection, alarms, told
from tunekeeper.data.config import Config
from tunekeeper.data.heard import Heard
from tunekeeper.data.sources import Correction

AT = datetime(2026, 1, 5, tzinfo=UTC)
SECTION = Config(collect_per_user=30)


def given(row: Callable[..., Example], n: int, **who: Callable[[int], str]) -> list[Example]:
    """`n` examples out of the log; `who`: place → what their metadata say."""
    names = [{key: value(i) for key, value in who.items()} for i in range(n)]
    return [row(f"question {i}", f"answer {i}", id=f"r{i}", source=f"inference:r{i}", **names[i]) for i in range(n)]


def heard_of(examples: list[Example], flagged: int = 0) -> list[str]:
    admitted = admit(standing([], examples, Heard()), examples, Heard(), (), SECTION)
    came = [Correction(example=e, served="x", at=AT) for e in admitted.examples]
    return list(alarms(admitted, came, [{"kind": "near_duplicate"}] * flagged, SECTION))


def test_who_gave_more_than_half_is_told_where_there_are_others(row: Callable[..., Example]) -> None:
    mostly: Any = {"said_by": lambda i: "ana" if i < 13 else "bo", "key_id": lambda i: "one"}
    assert heard_of(given(row, 20, **mostly)) == ["person ana gave 13 of 20 examples"]
    assert heard_of(given(row, 19, **mostly)) == [], "too few to tell"
    assert heard_of(given(row, 26, **mostly)) == [], "half is not more than half"


def test_who_gives_more_than_one_may_and_texts_that_repeat_are_told(row: Callable[..., Example]) -> None:
    assert heard_of(given(row, 40, user_id=lambda i: "u1")) == [
        "user u1 gave 10 examples more than the 30 that one may: they wait for a reviewer"
    ]
    assert heard_of(given(row, 20), flagged=11) == ["11 of 20 examples say nearly the same as others"]
    assert heard_of(given(row, 20), flagged=10) == []


def test_a_run_is_told_in_one_line() -> None:
    done = Collection(
        at=AT,
        since=None,
        said={"edit": 3, "thumb": 2},
        requests=5,
        added=("a", "b"),
        replaced=1,
        known=0,
        dropped={"refusal": 1},
        flagged={},
        redacted={},
        queued={"thumb": 1, "sample": 4},
        unusable={},
        alarms=(),
        left=7,
        examples=9,
    )
    assert told(done) == "2 examples from 5 statements, 1 replaced, 1 left out, 5 to review, 7 left for the next run"
