from __future__ import annotations

import random

import pytest

from tunekeeper.data.bisect import Bisected, Sighting, bisect


def judged(states: str) -> Bisected:
    """`states`: a letter per version: r(ight), w(rong), m(ixed), - (no exam)."""
    order = [f"m/d{i}" for i in range(1, len(states) + 1)]
    sightings = [
        Sighting(dataset=id, version=f"m@v{n}", exam=f"exam_{id}_{n}", right=right, answer="x")
        for id, state in zip(order, states, strict=True)
        for n, right in enumerate({"r": [True], "w": [False], "m": [True, False], "-": []}[state])
    ]
    return bisect("c1", order, sightings)


@pytest.mark.parametrize(
    ("states", "verdict", "good", "bad", "between"),
    [
        ("rrww", "broke", "m/d2", "m/d3", ()),
        ("r--w", "broke", "m/d1", "m/d4", ("m/d2", "m/d3")),
        ("rwrw", "broke", "m/d3", "m/d4", ()),
        ("rm", "broke", "m/d1", "m/d2", ()),
        ("rmw-", "broke", "m/d1", "m/d2", ()),
        ("wwr-", "right now", "m/d3", None, ()),
        ("r", "right now", "m/d1", None, ()),
        ("-ww", "never right", None, "m/d2", ()),
        ("m", "never right", None, "m/d1", ()),
        ("---", "no exams", None, None, ()),
        ("", "no exams", None, None, ()),
    ],
)
def test_the_version_after_which_a_case_broke(
    states: str, verdict: str, good: str | None, bad: str | None, between: tuple[str, ...]
) -> None:
    found = judged(states)
    assert (found.verdict, found.good, found.bad, found.between) == (verdict, good, bad, between)
    letters = {"right": "r", "wrong": "w", "mixed": "m", "not asked": "-"}
    assert "".join(letters[each.state] for each in found.seen) == states


def test_nothing_between_good_and_bad_was_asked_and_nothing_after_good_was_right() -> None:
    rng = random.Random(7)
    for _ in range(300):
        states = "".join(rng.choices("rwm-", k=rng.randint(1, 9)))
        found = judged(states)
        assert (found.verdict == "broke") == ("r" in states and states.rstrip("-")[-1:] in ("w", "m"))
        if found.verdict == "broke" and found.good and found.bad:
            good, bad = int(found.good[3:]) - 1, int(found.bad[3:]) - 1
            assert states[good] == "r"
            assert states[bad] in "wm"
            assert set(states[good + 1 : bad]) <= {"-"}
            assert "r" not in states[bad:]


@pytest.mark.parametrize(
    ("states", "good", "bad", "between"),
    [
        ("rwrrw", "d1", "d2", ()),  # what d5 merged was bad since d2
        ("rwrww", "d3", "d4", ()),  # both sides were: the newer one
        ("rrwww", "d1", "d3", ()),  # d2 is no version that d3 grew from
        ("rrrww", "d3", "d4", ()),
        ("rrrrw", "d4", "d5", ()),
        ("r---w", "d1", "d5", ("d2", "d3", "d4")),
        ("rw---", "d1", "d2", ()),
        ("-r-w-", "d2", "d4", ()),
        ("rm-r-", None, None, ()),
    ],
)
def test_where_versions_were_merged_the_side_that_broke_it_is_found(
    states: str, good: str | None, bad: str | None, between: tuple[str, ...]
) -> None:
    """d2 grew from d1; d3, after a revert, from d1 as well; d4 from d3; d5 is d4 merged with d2."""
    order = ["d1", "d2", "d3", "d4", "d5"]
    grew_from = {"d1": ["d0"], "d2": ["d1"], "d3": ["d1"], "d4": ["d3"], "d5": ["d4", "d2"]}
    told = {"r": [True], "w": [False], "m": [True, False], "-": []}
    sightings = [
        Sighting(dataset=id, version=id, exam=f"e{n}", right=right, answer="x")
        for id, state in zip(order, states, strict=True)
        for n, right in enumerate(told[state])
    ]
    found = bisect("c1", order, sightings, grew_from)
    assert (found.good if bad else None, found.bad, found.between) == (good, bad, between)


def test_an_exam_of_a_version_outside_the_line_does_not_count() -> None:
    stray = Sighting(dataset="m/d9", version="m@v9", exam="exam_9", right=False, answer=None)
    assert bisect("c1", ["m/d1"], [stray]).verdict == "no exams"
