from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.serving import Attempt, Feedback, Inference
from tunekeeper.monitoring.pairs import Judge, tells
from tunekeeper.scoring.scorers import Exact, Judged

AT = datetime(2026, 1, 5, tzinfo=UTC)
FORMAT = {"kind": "json", "fields": {"category": []}}
GOOD = '{"category": "bug"}'


def answered(id: str, text: str | None = GOOD, **fields: Any) -> Inference:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if "tool_calls" in fields:
        message["tool_calls"] = fields.pop("tool_calls")
    known: dict[str, Any] = {"model_id": "desk", "timestamp": AT, "response": {"choices": [{"message": message}]}, **fields}
    return Inference(request_id=id, **known)


def judge(*truths: tuple[str, Any], spec: dict[str, Any] | None = None) -> Judge:
    said = [
        Feedback(id=f"fb_{n}", request_id=id, timestamp=AT, kind="label", value=value) for n, (id, value) in enumerate(truths)
    ]
    return Judge(said, FORMAT if spec is None else spec, Exact())


def test_two_answers_say_the_same_whatever_their_white_space() -> None:
    assert judge().pair(answered("u"), answered("c", '{ "category":"bug" }'))[0].same is True
    assert judge().pair(answered("u"), answered("c", '{"category": "refund"}'))[0].same is False
    assert judge(spec={}).pair(answered("u", "All  is\nwell."), answered("c", " All is well. "))[0].same is True


def test_calls_of_tools_are_compared_by_name_and_arguments() -> None:
    def call(arguments: str) -> list[dict[str, Any]]:
        return [{"id": arguments, "type": "function", "function": {"name": "book", "arguments": arguments}}]

    asked = answered("u", None, tool_calls=call('{"day":1,"n":2}'))
    assert judge().pair(asked, answered("c", None, tool_calls=call('{"n": 2, "day": 1}')))[0].same is True
    assert judge().pair(asked, answered("c", None, tool_calls=call('{"n": 3, "day": 1}')))[0].same is False
    pair, worse = judge().pair(asked, answered("c", "I cannot."))
    assert (pair.same, pair.formats, worse) == (False, None, None)


def test_a_copy_that_fails_where_users_were_served_is_a_regression() -> None:
    failed = answered("c", status="error", error="upstream_timeout")
    pair, worse = judge().pair(answered("u", segments={"plan": "pro"}), failed)
    assert worse is not None
    assert (pair.failed, pair.same, pair.sizes) == ((False, True), None, {})
    assert (worse.kind, worse.why, worse.segments) == ("error", "upstream_timeout", {"plan": "pro"})
    _, worse = judge().pair(answered("u"), answered("c", "I would rather not say."))
    assert worse is not None
    assert (worse.kind, worse.parent, worse.copy) == ("format", "u", "c")
    assert judge().pair(answered("u", "no"), failed)[1] is not None
    assert judge().pair(answered("u", status="error", error="upstream_error"), failed)[1] is None


def test_a_request_that_was_rescued_counts_as_failed_by_its_own_slot() -> None:
    rescued = answered("u", attempts=(Attempt(slot="blue", error="upstream_error"), Attempt(slot="green")))
    pair, _ = judge().pair(rescued, answered("c"))
    assert (pair.failed, pair.same) == ((True, False), None)


def test_scores_are_what_was_said_else_what_the_true_answer_says() -> None:
    wrong = answered("c", '{"category": "refund"}')
    pair, worse = judge(("u", GOOD)).pair(answered("u"), wrong)
    assert pair.scores == (1.0, 0.0)
    assert worse is not None
    assert (worse.kind, worse.why) == ("score", "0 where users got 1")
    said = judge().pair(answered("u", quality_score=0.4), answered("c", quality_score=0.9))
    assert (said[0].scores, said[1]) == ((0.4, 0.9), None)
    assert judge().pair(answered("u"), wrong)[0].scores is None


def test_what_was_left_or_ended_by_us_tells_nothing() -> None:
    assert tells(answered("u"), answered("c"))
    assert not tells(answered("u", status="cancelled"), answered("c"))
    assert not tells(answered("u"), answered("c", status="interrupted"))
    for code in ("draining", "overloaded", "log_unavailable"):
        assert not tells(answered("u"), answered("c", status="error", error=code))
    assert tells(answered("u"), answered("c", status="error", error="upstream_rejected"))


def test_a_scorer_that_raises_or_says_what_is_no_number_leaves_the_pair_unjudged() -> None:
    class Fails(Exact):
        def score(self, answer: str, case: Case) -> Judged:
            if "refund" in answer:
                raise ValueError("no network")
            return (7.0, "seven") if "seven" in answer else super().score(answer, case)

    broken = Judge([Feedback(id="fb", request_id="u", timestamp=AT, kind="label", value=GOOD)], FORMAT, Fails())
    for said in ("refund", "seven"):
        pair, worse = broken.pair(answered("u"), answered("c", f'{{"category": "{said}"}}'))
        assert (pair.scores, pair.same, worse) == (None, False, None)
    assert broken.pair(answered("u"), answered("c"))[0].scores == (1.0, 1.0)
