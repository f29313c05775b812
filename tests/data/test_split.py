from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.data.small import assign
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import GROUP_KEYS, topic_of
from tunekeeper.data.split import Dealt, Rows, deal, group_number, prompt_number
from tunekeeper.text.fingerprints import prompt_key

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


@pytest.mark.parametrize("key", ["user", "user_id", "customer_id", "account_id", "session_id", "conversation"])
def test_rows_of_one_user_or_conversation_stay_on_one_side_whatever_their_key_is_called(row: MakeExample, key: str) -> None:
    rows = [row(f"z{i} y{i * 7} x{i * 3}?", f"answer {i}", id=f"r{i}", **{key: f"{key}{i // 4}"}) for i in range(120)]
    done = assign(rows, {}, 0.1, 0.85)
    on = [{e.split for e in done[place : place + 4]} for place in range(0, 120, 4)]
    assert all(len(sides) == 1 for sides in on)
    assert Counter(e.split for e in done)["eval"] == 12


def test_rows_of_nobody_in_particular_do_not_belong_together(row: MakeExample) -> None:
    rows = [row(f"z{i} y{i * 7}?", f"answer {i}", id=f"r{i}", user_id="anonymous", session_id="[EMAIL]") for i in range(100)]
    assert Counter(e.split for e in assign(rows, {}, 0.1, 0.85))["eval"] == 10


@pytest.mark.parametrize(("users", "each", "topics"), [(14, 9, 3), (20, 25, 10), (40, 5, 40)])
def test_users_with_more_rows_than_a_topic_may_hold_out_are_held_out_all_the_same(users: int, each: int, topics: int) -> None:
    """Nothing but whole users can be held out, and each topic alone has room for none of them."""
    names = [(user, i) for user in range(users) for i in range(each)]
    rows = Rows(
        prompts=np.array([prompt_number(f"{user} asks {i}") for user, i in names], dtype=np.uint64),
        groups=(np.array([group_number(f"u{user}") for user, _ in names], dtype=np.uint64),),
        topics=np.array([(user + i) % topics for user, i in names]),
        topic_names=tuple(map(str, range(topics))),
    )
    held = deal(rows, np.full(len(names), -1, np.int8), [], 0.1).sides == 1
    assert all(len(set(held[user * each : user * each + each])) == 1 for user in range(users))
    assert len(names) / 10 - each < held.sum() <= len(names) / 10 + 0.5
    assert len(set(rows.topics[held].tolist())) >= min(topics, each)


def test_a_new_row_joins_the_side_of_its_group(row: MakeExample) -> None:
    old = [row("Where is it?", "a", id="old")]
    new = [row("where is it", "b", id="new"), row("Something else", "c", id="other")]
    assert sides(assign([*old, *new], {"old": "eval"}, 0.1, 0.85))["new"] == "eval"


@pytest.mark.parametrize(("n", "share", "held"), [(2, 0.1, 1), (5, 0.1, 1), (3, 0.5, 2), (10, 0.0, 0), (1, 0.1, 0)])
def test_neither_side_of_a_small_set_stays_empty(row: MakeExample, n: int, share: float, held: int) -> None:
    done = assign([row(f"question {i}", "x") for i in range(n)], {}, share, 0.85)
    assert Counter(e.split for e in done)["eval"] == held


def test_no_row_ever_changes_side_however_the_set_grows_and_whatever_joins_its_groups(row: MakeExample) -> None:
    torn = 0
    for seed in range(40):
        rng = random.Random(seed)
        every: list[Example] = []
        placed: dict[str, str] = {}
        for _ in range(6):
            for _ in range(rng.randint(1, 25)):
                talk = {key: rng.randint(0, 30) for key in ("conversation_id", "user_id") if rng.random() < 0.2}
                every.append(row(f"question {rng.randint(0, 60)} {rng.choice('ab')}", "x", id=f"r{len(every)}", **talk))
            rng.shuffle(every)
            done = sides(assign(every, placed, 0.2, 0.85))  # type: ignore[arg-type]
            assert {id: done[id] for id in placed} == placed, seed
            torn += len(deal_of(every, placed).torn)
            placed = done
    assert torn > 20, "rows that belong to both sides must have come up"


def deal_of(examples: list[Example], placed: dict[str, str]) -> Dealt:
    rows = Rows(
        prompts=np.array([prompt_number(prompt_key(e.messages)) for e in examples], dtype=np.uint64),
        groups=tuple(np.array([group_number(e.metadata.get(key)) for e in examples], dtype=np.uint64) for key in GROUP_KEYS),
        topics=np.zeros(len(examples), dtype=np.int64),
        topic_names=("",),
    )
    known = np.array([{"train": 0, "eval": 1}.get(placed.get(e.id, ""), -1) for e in examples], dtype=np.int8)
    return deal(rows, known, (), 0.2)


def test_a_new_row_that_joins_groups_of_both_sides_goes_to_the_first_and_is_named(row: MakeExample) -> None:
    rows = [row("Where is it?", "a", id="held", user_id=1), row("Why so late?", "b", id="learnt", user_id=2)]
    rows += [row("Where is it", "c", id="bridge", user_id=2), row("Quite another", "d", id="free")]
    found = deal_of(rows, {"held": "eval", "learnt": "train"})
    assert found.sides.tolist()[:3] == [1, 0, 1]
    assert found.torn == ((2, 1),)


def test_the_sides_of_many_rows_are_dealt_out_in_little_time_and_memory() -> None:
    size = 200_000
    rng = np.random.default_rng(2)
    rows = Rows(
        prompts=rng.integers(0, 1 << 62, size, dtype=np.uint64),
        groups=(rng.integers(0, size // 3, size, dtype=np.uint64),),
        topics=rng.integers(0, 20, size),
        topic_names=tuple(f"topic {n:02}" for n in range(20)),
    )
    begun = time.process_time()
    first = deal(rows, np.full(size, -1, dtype=np.int8), (), 0.1)
    assert time.process_time() - begun < 30
    assert abs(int(first.sides.sum()) - size // 10) < 200
    members = np.argsort(rows.groups[0], kind="stable")
    same = rows.groups[0][members][1:] == rows.groups[0][members][:-1]
    assert (first.sides[members][1:][same] == first.sides[members][:-1][same])[rows.groups[0][members][1:][same] != 0].all()


def test_rows_that_resemble_each_other_stay_together_where_they_are_few_whatever_their_order() -> None:
    rng = np.random.default_rng(4)
    size, near = 400, 0.85
    prompts = rng.integers(1, 2**60, size, dtype=np.uint64)
    topics = np.zeros(size, np.int64)

    def dealt(order: list[int], placed: dict[int, int]) -> dict[int, int]:
        at = {row: place for place, row in enumerate(order)}
        alike = [(n, n + 1, 0.75) for n in range(0, 200, 2)] + [(n, n + 1, 0.8) for n in range(200, 399)]  # pairs, and one form
        pairs = [(*sorted((at[i], at[j])), similarity) for i, j, similarity in alike]
        rows = Rows(prompts=prompts[order], groups=(), topics=topics, topic_names=("",))
        known = np.array([placed.get(row, -1) for row in order], np.int8)
        return dict(zip(order, deal(rows, known, pairs, 0.1, near=near).sides.tolist(), strict=True))  # type: ignore[arg-type]

    first = dealt(list(range(size)), {})
    assert all(first[n] == first[n + 1] for n in range(0, 200, 2))
    assert sum(first.values()) == 40  # the form is no one group, which would be more than is held out
    assert dealt(rng.permutation(size).tolist(), {}) == first
    torn = {0: 0, 1: 1, 3: 1}
    assert {row: side for row, side in dealt(list(range(size)), torn).items() if row in (0, 1, 2, 3)} == {**torn, 2: 1}
