from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import SCORERS, judged, scorer


def case(expected: Any = None, *tags: str) -> Case:
    return Case(id="c1", messages=({"role": "user", "content": "?"},), expected=expected, tags=tags)


def test_exact_compares_json_by_value_and_text_by_words() -> None:
    exact = scorer("exact")
    assert exact.score('{"b":1, "a":2}', case('{"a": 2, "b": 1}')) == (1.0, "equal")
    assert exact.score('{"a": 2}', case({"a": 2}))[0] == 1.0
    assert exact.score(" Close  the case.\n", case("Close the case."))[0] == 1.0
    assert exact.score("close the case.", case("Close the case."))[0] == 0.0
    assert scorer("exact", ignore_case=True).score("close the case.", case("Close the case."))[0] == 1.0
    assert exact.score("no", case("yes")) == (0.0, 'expected "yes"')
    assert exact.score("{broken", case("{broken"))[0] == 1.0


def test_json_fields_gives_the_share_that_is_right_and_names_the_wrong_ones() -> None:
    both = case('{"category": "billing", "priority": "high"}')
    fields = scorer("json_fields")
    assert fields.score('{"category": "billing", "priority": "high", "x": 1}', both) == (1.0, "all fields right")
    assert fields.score('{"category": "billing", "priority": "low"}', both) == (0.5, 'priority is "low", expected "high"')
    assert fields.score("billing", both)[0] == 0.0
    assert scorer("json_fields", fields=["category"]).score('{"category": "billing"}', both)[0] == 1.0


def test_a_reference_that_cannot_judge_is_an_error_and_not_a_zero() -> None:
    fields = scorer("json_fields")
    assert fields.score("{}", case("billing"))[0] is None
    assert fields.score("{}", case([1]))[0] is None
    assert scorer("json_fields", fields=["mood"]).score("{}", case({"a": 1}))[0] is None
    assert scorer("regex").score("x", case("("))[0] is None


def test_scorers_that_need_a_reference_pass_over_cases_without_one() -> None:
    for name in ("exact", "json_fields", "contains", "regex"):
        assert not scorer(name).applies(case())
    assert scorer("contains", none_of=["sorry"]).applies(case())
    assert scorer("regex", pattern="x").applies(case())


def test_contains_looks_for_all_and_none() -> None:
    assert scorer("contains").score("Your REFUND is on its way", case(["refund", "way"]))[0] == 1.0
    assert scorer("contains").score("hello", case("refund")) == (0.0, 'lacks "refund"')
    assert scorer("contains", none_of=["guarantee"]).score("We guarantee it", case())[0] == 0.0
    assert scorer("contains", all_of=["A"], ignore_case=False).score("a", case())[0] == 0.0


def test_regex_finds_its_pattern_somewhere() -> None:
    assert scorer("regex", pattern=r"\d{4}").score("in 2026", case())[0] == 1.0
    assert scorer("regex").score("in 26", case(r"\d{4}"))[0] == 0.0


def test_words_are_counted_in_any_script() -> None:
    limit = scorer("word_limit", at_most=5, at_least=2)
    assert limit.score("It's fine now", case()) == (1.0, "3 words")
    assert limit.score("ok", case())[0] == 0.0
    assert limit.score("请重新启动您的路由器", case()) == (0.0, "10 words, more than 5")


def test_format_judges_the_task_s_format_and_leaves_out_of_scope_cases_alone() -> None:
    triage = scorer("format", spec={"kind": "json", "fields": {"category": ["billing"]}})
    assert triage.score('{"category": "billing"}', case())[0] == 1.0
    assert triage.score("billing", case())[0] == 0.0
    assert not triage.applies(case(None, "out_of_scope"))


def test_unknown_names_and_options_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="write 'exact'"):
        scorer("exct")
    with pytest.raises(ConfigError, match="it has: ignore_case"):
        scorer("exact", case=True)
    with pytest.raises(ConfigError, match="RE2"):
        scorer("regex", pattern="(?<=x)y")
    with pytest.raises(ConfigError, match="not a list of texts"):
        scorer("contains", all_of="refund")


def test_every_scorer_of_the_table_gives_a_value_in_range_and_a_reason() -> None:
    for name in SCORERS.names():
        value, reason = scorer(name).score('{"a": 1}', case('{"a": 1}'))
        assert value is not None
        assert 0 <= value <= 1
        assert reason


class Odd:
    """A scorer that somebody wrote in a hurry."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def applies(self, case: Case) -> bool:
        return case.expected is not None

    def score(self, answer: str, case: Case) -> Any:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ((1, "right"), (1.0, "right")),
        ((None, "the judge is away"), (None, "the judge is away")),
        (ZeroDivisionError("division\n by zero"), (None, "the scorer failed: ZeroDivisionError: division by zero")),
        ((float("nan"), "?"), (None, "the scorer gave NaN, not a number from 0 to 1")),
        (("0.5", "half"), (None, 'the scorer gave "0.5", not a number from 0 to 1')),
        ((7, "of ten"), (None, "the scorer gave 7, not a number from 0 to 1")),
        (None, (None, "the scorer failed: TypeError: cannot unpack non-iterable NoneType object")),
    ],
)
def test_a_scorer_that_fails_has_not_judged(said: Any, found: tuple[float | None, str]) -> None:
    assert judged(Odd(said), "?", case("yes")) == found
    assert judged(Odd(said), "?", case()) is None
