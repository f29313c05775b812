from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.serving import Promotion, Route, Share, Slot
from tunekeeper.gateway.routing import Unit, bucket_of, choose
from tunekeeper.rollout.routes import RouteSeed, all_to, answers, heaviest, held, holding, seeded, under, way_back, with_weights

MODEL = "desk"
BLUE = replace(all_to(Route(model=MODEL), "blue", salt="s1"), generation=3)


def slot(id: str, version: str, **fields: Any) -> Slot:
    return Slot(id=id, model=MODEL, version=version, **{"endpoint": "http://127.0.0.1:1/v1", "observed": "ready", **fields})


SLOTS = {"blue": slot("blue", "v1"), "green": slot("green", "v2"), "red": slot("red", "v3")}


def line(generation: int, champion: str, version: str, *, left: str | None = None) -> Promotion:
    kind = "rollback" if left else "promotion"
    return Promotion(
        id=f"prm_{generation}",
        model=MODEL,
        generation=generation,
        champion=champion,
        version=version,
        previous=None,
        kind=kind,
        left=left,
    )


def weights(route: Route) -> dict[str, int]:
    return {share.slot: share.weight for share in route.shares}


def test_a_challenger_gets_its_weight_and_the_champion_stands_first() -> None:
    route = with_weights(BLUE, {"green": 500}, "blue", "green")
    assert weights(route) == {"blue": 9_500, "green": 500}
    assert [(share.slot, share.variant) for share in route.shares] == [("blue", "champion"), ("green", "challenger")]
    assert (route.salt, route.challenger) == ("s1", "green")


def test_a_slot_without_weight_is_no_share() -> None:
    route = with_weights(with_weights(BLUE, {"green": 500}, "blue", "green"), {"green": 0}, "blue", None)
    assert weights(route) == {"blue": 10_000}
    assert held(route) == {"blue": ((0, 10_000),)}


def test_only_when_one_slot_gets_everything_the_salt_changes_and_the_rollout_ends() -> None:
    canary = replace(with_weights(BLUE, {"green": 500}, "blue", "green"), rollout="rol_1")
    after = all_to(canary, "green", salt="s2")
    assert weights(after) == {"green": 10_000}
    assert (after.salt, after.champion, after.previous, after.rollout, after.challenger) == ("s2", "green", "blue", None, None)


def test_everything_to_the_champion_keeps_what_it_would_go_back_to() -> None:
    assert all_to(replace(BLUE, previous="red"), "blue", salt="s2").previous == "red"


def test_a_slot_that_gets_everything_is_its_own_shadow_no_more() -> None:
    assert all_to(replace(BLUE, shadow="green"), "green", salt="s2").shadow is None
    assert all_to(replace(BLUE, shadow="red"), "green", salt="s2").shadow == "red"


def seed(block: str = "b1", **fields: Any) -> RouteSeed:
    return RouteSeed(model=MODEL, weights=fields.pop("weights", {"blue": 9_000, "green": 1_000}), block=block, **fields)


def test_an_empty_store_takes_the_file_s_weights() -> None:
    route = seeded(None, seed(), "salt")
    assert route is not None
    assert weights(route) == {"blue": 9_000, "green": 1_000}
    assert (route.champion, route.challenger, route.salt, route.seed) == ("blue", "green", "salt", "b1")


def test_what_is_committed_wins_until_the_block_itself_changes() -> None:
    first = seeded(None, seed(), "salt")
    assert first is not None
    moved = all_to(first, "green", salt="later")
    assert seeded(moved, seed(), "x") is None, "nothing to commit"
    floor = seeded(moved, seed(confidence_floor=0.5), "x")
    assert floor is not None
    assert (floor.confidence_floor, floor.shares) == (0.5, moved.shares)
    other = seeded(moved, seed(assign_by="session"), "x")
    assert other is not None
    assert (weights(other), other.assign_by, other.salt) == ({"green": 10_000}, "session", "later")
    again = seeded(moved, seed("b2"), "x")
    assert again is not None
    assert weights(again) == {"blue": 9_000, "green": 1_000}


def test_a_static_file_always_wins() -> None:
    first = seeded(None, seed(static="routing.yaml"), "salt")
    assert first is not None
    route = seeded(all_to(first, "green", salt="x"), seed(static="routing.yaml"), "y")
    assert route is not None
    assert weights(route) == {"blue": 9_000, "green": 1_000}


def test_the_heaviest_slot_is_the_first_named_among_equals() -> None:
    assert heaviest({"a": 1, "b": 3, "c": 3}) == "b"


def test_during_a_canary_the_way_back_is_the_champion() -> None:
    assert way_back(with_weights(BLUE, {"green": 500}, "blue", "green"), [], SLOTS) == "blue"


@pytest.mark.parametrize(
    ("history", "back"),
    [
        pytest.param([], None, id="nothing was ever live"),
        pytest.param([line(1, "blue", "v1")], None, id="itself is no way back"),
        pytest.param([line(1, "red", "v3"), line(2, "blue", "v1")], "red", id="the one before"),
        pytest.param([line(1, "red", "v3"), line(2, "green", "v2"), line(3, "blue", "v1")], "green", id="the newest before"),
        pytest.param(
            [line(1, "red", "v3"), line(2, "green", "v2"), line(3, "blue", "v1", left="green")],
            "red",
            id="not what was gone back from",
        ),
        pytest.param(
            [
                line(1, "red", "v3"),
                line(2, "green", "v2"),
                line(3, "red", "v3", left="green"),
                line(4, "green", "v2"),
                line(5, "blue", "v1"),
            ],
            "green",
            id="what was gone back from and then promoted again",
        ),
        pytest.param([line(1, "red", "v3"), line(2, "green", "v9"), line(3, "blue", "v1")], "red", id="not a slot reused since"),
        pytest.param([line(1, "gone", "v0"), line(2, "blue", "v1")], None, id="not a slot that is gone"),
    ],
)
def test_the_way_back_after_a_promotion(history: list[Promotion], back: str | None) -> None:
    assert way_back(BLUE, history, SLOTS) == back


def test_a_slot_that_does_not_answer_is_no_way_back() -> None:
    history = [line(1, "red", "v3"), line(2, "blue", "v1")]
    stopped = slot("red", "v3", files={"model": "m.gguf"}, observed="stopped")
    assert way_back(BLUE, history, {**SLOTS, "red": stopped}) is None


@pytest.mark.parametrize(
    ("fields", "ready"),
    [
        ({"files": {"model": "m.gguf"}, "observed": "ready"}, True),
        ({"files": {"model": "m.gguf"}, "observed": "starting"}, False),
        ({"observed": "absent"}, True),
        ({"observed": "ready", "endpoint": None}, False),
    ],
)
def test_an_outside_endpoint_is_taken_at_its_word_and_a_server_of_ours_must_be_ready(fields: dict[str, Any], ready: bool) -> None:
    assert answers(slot("s", "v", **fields)) is ready


@pytest.mark.parametrize("name", ["v2", "desk@v2", "green"])
def test_a_version_is_found_by_name_id_or_slot(name: str) -> None:
    assert holding(name, SLOTS.values()) == "green"
    assert holding("v9", SLOTS.values()) is None


def test_shares_are_kept_as_ranges_so_that_no_key_moves_back() -> None:
    five = with_weights(BLUE, {"green": 500}, "blue", "green")
    more = with_weights(five, {"green": 2_500}, "blue", "green")
    assert isinstance(five.shares[1], Share)
    for low, high in five.shares[1].ranges:
        assert any(start <= low and high <= end for start, end in more.shares[1].ranges)


def test_an_experiment_s_id_alone_decides_who_is_in_which_arm() -> None:
    users = [Unit("user", f"u-{number}") for number in range(4_000)]

    def arms(experiment: str, before: Route) -> list[str]:
        route = with_weights(under(before, experiment), {"green": 1_000}, "blue", "green")
        assert (route.rollout, route.salt) == (experiment, experiment)
        return [choice.slot for user in users if (choice := choose(route, user)) is not None]

    whole = all_to(Route(model="desk"), "blue", salt="one")
    first = arms("prompt-b", whole)
    assert first == arms("prompt-b", all_to(Route(model="desk"), "blue", salt="another")), "the same id assigns the same users"
    assert 0.08 < first.count("green") / len(users) < 0.12
    other = arms("prompt-c", whole)
    both = sum(a == b == "green" for a, b in zip(first, other, strict=True))
    assert 0.003 < both / len(users) < 0.02, "one experiment's users are spread over the next one's arms"
    assert bucket_of("prompt-b", users[0]) in range(10_000)


def test_more_traffic_for_an_arm_moves_nobody_back_and_no_experiment_begins_among_others_users() -> None:
    whole = all_to(Route(model="desk"), "blue", salt="one")
    small = with_weights(under(whole, "exp-1"), {"green": 1_000}, "blue", "green")
    large = with_weights(under(small, "exp-1"), {"green": 3_000}, "blue", "green")
    assert large.salt == small.salt
    assert all(any(low <= a and b <= high for low, high in held(large)["green"]) for a, b in held(small)["green"])
    with pytest.raises(UserError, match="under experiment exp-1"):
        under(small, "exp-2")
    ended = under(small, None)
    assert (ended.rollout, ended.salt, ended.shares) == (None, "exp-1", small.shares), "ending one moves nobody"
    for wrong in ("", "a b", "rol_01", "x" * 65, "-a"):
        with pytest.raises(UserError, match="cannot name an experiment"):
            under(whole, wrong)
