"""Shadow copies: logged, counted, bounded, and never felt by a user."""

from __future__ import annotations

from typing import Any

from tests.patience import until
from tunekeeper.core.nouns.serving import Timeouts
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.options import Options
from tunekeeper.store.space import Level


def test_a_copy_is_logged_under_its_own_id_and_the_user_sees_nothing_of_it(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    bench.b.answer = lambda body: "the shadow's answer"
    response = bench.chat("hi", user="ann", stream=True)
    assert "shadow" not in response.text
    records = bench.records(2)
    copy = next(r for r in records if r["purpose"] == "shadow")
    assert copy["parent_id"] == response.headers["x-tunekeeper-request-id"]
    assert (copy["variant"], copy["slot"], copy["version"], copy["status"]) == (
        "shadow",
        "b",
        "v1.1-2026-02-09-1004examples",
        "ok",
    )
    assert copy["response"]["choices"][0]["message"]["content"] == "the shadow's answer"
    assert copy["unit"] == bench.record(response)["unit"]
    assert "stream" not in bench.b.bodies[-1], "nobody reads a copy while it comes"


def test_every_request_is_copied_at_full_share_and_the_counter_agrees_with_the_log(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    for number in range(20):
        assert bench.chat(str(number)).status_code == 200
    assert sum(r["purpose"] == "shadow" for r in bench.records(40)) == 20
    assert bench.gateway.mirror.sent == bench.gateway.mirror.logged == bench.b.counts.requests == 20


def test_a_shadow_that_fails_or_hangs_is_logged_and_delays_nobody(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    bench.b.script.extend(["500", "garbage", "400"])
    for number in range(3):
        assert bench.chat(str(number)).status_code == 200
    assert {r["error"] for r in bench.records(6) if r["purpose"] == "shadow"} == {
        "upstream_error",
        "upstream_garbage",
        "upstream_rejected",
    }
    bench.publish(shadow="b", shadow_share=10_000, timeouts=Timeouts(first_token=1.0))
    bench.b.script.append("hang")
    assert bench.chat().status_code == 200
    assert bench.records(8)[-1]["error"] == "upstream_timeout", "the answer, logged before, was not held up by its copy"


def test_copies_beyond_the_budget_are_dropped_and_counted(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(shadow_concurrent=2, drain_seconds=0.2)))
    bench.publish(shadow="b", shadow_share=10_000)
    bench.b.default = "hang"
    for number in range(5):
        assert bench.chat(str(number)).status_code == 200
    assert (bench.gateway.mirror.sent, bench.gateway.mirror.dropped) == (2, 3)


def test_exams_drills_and_requests_for_a_named_version_are_not_copied(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    bench.chat(headers={"x-tunekeeper-purpose": "drill"})
    bench.chat(model="support-desk@champion")
    bench.records(2)
    assert bench.b.counts.requests == 0
    bench.replace_slot("b", endpoint=None)
    bench.chat()
    assert (bench.gateway.mirror.sent, bench.gateway.mirror.dropped) == (0, 1)


def test_no_copies_are_sent_while_the_disk_is_nearly_full(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    bench.gateway.recorder.level = Level.NO_SHADOW
    assert bench.chat().status_code == 200
    assert (bench.gateway.mirror.sent, bench.gateway.mirror.dropped) == (0, 1)


def test_copies_share_a_bounded_room_and_give_it_back(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(shadow_mb=0.1, drain_seconds=0.2)))
    bench.publish(shadow="b", shadow_share=10_000)
    mirror = bench.gateway.mirror
    bench.b.answer = lambda body: "x" * 50_000
    assert bench.chat("long").status_code == 200
    assert [r["error"] for r in bench.records(2) if r["purpose"] == "shadow"] == ["overloaded"]
    assert mirror.held == 0
    bench.b.answer = lambda body: "short"
    mirror.rests.clear()
    assert bench.chat("y" * 60_000).status_code == 200
    assert (mirror.sent, mirror.dropped) == (1, 1), "a request that does not fit is not copied"
    assert bench.chat("y" * 1_000).status_code == 200
    assert [r["status"] for r in bench.records(5) if r["purpose"] == "shadow"][-1] == "ok"


def test_a_shadow_whose_answer_was_too_long_rests_and_is_asked_again(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(shadow_mb=0.1, drain_seconds=0.2)))
    bench.publish(shadow="b", shadow_share=10_000)
    mirror = bench.gateway.mirror
    bench.b.answer = lambda body: "x" * 50_000
    assert bench.chat("long").status_code == 200
    bench.records(2)
    bench.b.answer = lambda body: "short"

    def asked_again() -> bool:
        assert bench.chat("again").status_code == 200
        return int(mirror.sent) == 2

    until(asked_again)
    assert mirror.dropped > 0, "what comes meanwhile is counted"
    assert [r["status"] for r in bench.records(3 + mirror.dropped + 1) if r["purpose"] == "shadow"] == ["error", "ok"]


def test_feedback_by_an_answers_own_id_never_means_a_copy(bench: Any) -> None:
    bench.publish(shadow="b", shadow_share=10_000)
    answer = bench.chat()
    copy = next(r for r in bench.records(2) if r["purpose"] == "shadow")
    assert copy["response"]["id"] != answer.json()["id"]
    assert "body_id" not in copy
    assert bench.record(answer)["body_id"] == answer.json()["id"]
