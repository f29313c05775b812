"""What a sink is given of an inference, how long it may be, and how much goes at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tunekeeper.core.nouns.serving import Inference
from tunekeeper.notify.records import batches, fitted, record_of


def test_a_record_holds_the_fields_of_an_inference_and_bodies_only_where_they_are_asked_for() -> None:
    made = Inference(
        request_id="r1", timestamp=datetime(2026, 1, 5, 9, tzinfo=UTC), model_id="desk", request={"a": 1}, prompt_tokens=3
    )
    told = record_of(made, bodies=False)
    assert (told["event"], told["timestamp"], told["prompt_tokens"]) == ("inference", "2026-01-05T09:00:00Z", 3)
    assert {"request", "response", "drift_flags", "quality_score"} & told.keys() == set()
    assert record_of(made, bodies=True)["request"] == {"a": 1}


def test_what_is_too_long_goes_without_what_makes_it_so() -> None:
    long = "x" * 500
    assert json.loads(fitted({"a": 1}, 100)) == {"a": 1}
    assert json.loads(fitted({"a": 1, "request": long}, 100)) == {"a": 1, "bodies_off": "size"}
    lean = json.loads(fitted({"a": 1, "metadata": {"note": long}}, 100))
    assert lean == {"a": 1, "bodies_off": "size", "metadata": {}, "segments": {}}


def test_whatever_a_client_sent_can_be_written() -> None:
    odd = {"long": 2**80, "half": "\ud800", "whole": "\U0001d11e"}
    assert json.loads(fitted({"metadata": odd}, 1000))["metadata"] == odd


def test_batches_hold_everything_in_order() -> None:
    assert list(batches([b"aa", b"bb", b"cccccc", b"d"], 2, 6)) == [[b"aa", b"bb"], [b"cccccc"], [b"d"]]
    assert list(batches([], 2, 6)) == []
