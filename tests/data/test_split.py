from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import topic_of
from tunekeeper.data.split import assign

MakeExample = Callable[..., Example]
Tickets = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def examples(row: MakeExample, tickets: Tickets) -> list[Example]:
    return [row(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(300))]


def sides(examples: list[Example]) -> dict[str, str]:
    return {e.id: e.split for e in examples}


def test_a_tenth_is_held_out_of_every_topic(examples: list[Example]) -> None:
    done = assign(examples, {}, 0.1, 0.85)
    held, total = Counter(topic_of(e) for e in done if e.split == "eval"), Counter(map(topic_of, done))
    assert sum(held.values()) == 30
    assert all(abs(held[t] - total[t] / 10) <= 1 for t in total)


def test_the_same_rows_are_chosen_again_and_in_any_order(examples: list[Example]) -> None:
    assert sides(assign(examples, {}, 0.1, 0.85)) == sides(assign(examples[::-1], {}, 0.1, 0.85))


def test_a_row_never_changes_side_when_the_set_grows(examples: list[Example]) -> None:
    placed: dict[str, str] = {}
    for size in (20, 50, 51, 180, 300):
        done = sides(assign(examples[:size], placed, 0.1, 0.85))  # type: ignore[arg-type]
        assert {id: done[id] for id in placed} == placed
        assert abs(Counter(done.values())["eval"] - size / 10) <= 1
        placed = done


def test_rows_that_belong_together_stay_on_one_side(row: MakeExample, examples: list[Example]) -> None:
    base = (
        "Hello team, the parcel with my camera number {} has not arrived and the tracking page shows nothing since Monday morning"
    )
    more = []
    for i in range(40):
        text = base.format(f"{i} " + " ".join(f"w{i}x{k}" for k in range(9)))
        more += [row(text, "a", id=f"n{i}"), row(text.upper(), "b", id=f"m{i}"), row(text + " thanks", "c", id=f"o{i}")]
        more += [
            row(f"first of {i} z{i}", "x", id=f"p{i}", conversation_id=i + 1),
            row(f"later {i} y{i}", "y", id=f"q{i}", conversation_id=i + 1),
        ]
    done = sides(assign([*examples, *more], {}, 0.2, 0.85))
    assert all(done[f"n{i}"] == done[f"m{i}"] == done[f"o{i}"] for i in range(40))
    assert all(done[f"p{i}"] == done[f"q{i}"] for i in range(40))
    assert {done[f"n{i}"] for i in range(40)} == {"train", "eval"}


def test_a_new_row_joins_the_side_of_its_group(row: MakeExample) -> None:
    old = [row("Where is it?", "a", id="old")]
    new = [row("where is it", "b", id="new"), row("Something else", "c", id="other")]
    assert sides(assign([*old, *new], {"old": "eval"}, 0.1, 0.85))["new"] == "eval"


@pytest.mark.parametrize(("n", "share", "held"), [(2, 0.1, 1), (5, 0.1, 1), (3, 0.5, 2), (10, 0.0, 0), (1, 0.1, 0)])
def test_neither_side_of_a_small_set_stays_empty(row: MakeExample, n: int, share: float, held: int) -> None:
    done = assign([row(f"question {i}", "x") for i in range(n)], {}, share, 0.85)
    assert Counter(e.split for e in done)["eval"] == held
