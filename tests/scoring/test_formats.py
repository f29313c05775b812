from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.scoring.formats import check, validate

TRIAGE = {"kind": "json", "fields": {"category": ["billing", "refund"], "note": []}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"category": "billing", "note": "x"}', ""),
        (' {"note": null, "category": "refund"}\n', ""),
        ('{"category": "billing"}', "field note is missing"),
        ('{"category": "shipping", "note": ""}', 'category is "shipping", not one of billing, refund'),
        ('{"category": "billing", "note": "", "mood": 1}', "field mood is not in the format"),
        ('Sure! {"category": "billing", "note": ""}', "not JSON"),
        ('{"category": "billing", "category": "refund", "note": ""}', "not JSON: a key is repeated"),
        ('{"category": "billing", "note": NaN}', "not JSON: NaN is no JSON"),
        ('["billing"]', "JSON, but list instead of an object"),
        ("[" * 100_000, "not JSON"),
        ("", "empty answer"),
    ],
)
def test_a_json_answer_is_well_formed_or_the_reason_is_given(answer: str, reason: str) -> None:
    ok, said = check(answer, TRIAGE)
    assert ok is (reason == "")
    assert said.startswith(reason)


def test_further_fields_are_allowed_where_the_format_says_so() -> None:
    assert check('{"category": "billing", "note": 1, "mood": 2}', {**TRIAGE, "extra": True}) == (True, "")


def test_text_is_anything_but_empty_and_a_pattern_matches_the_whole_answer() -> None:
    assert check("hello", {}) == (True, "")
    assert check("  ", {"kind": "text"})[0] is False
    assert check("REF-123456\n", {"kind": "regex", "pattern": "REF-[0-9]{6}"}) == (True, "")
    assert check("see REF-123456", {"kind": "regex", "pattern": "REF-[0-9]{6}"})[0] is False


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"kind": "jsn"}, "write 'json'"),
        ({"kind": "json", "feilds": {}}, "write 'fields'"),
        ({"kind": "json", "fields": {"category": "billing"}}, "list of its values"),
        ({"kind": "regex"}, "needs a pattern"),
        ({"kind": "regex", "pattern": "(?=x)"}, "without look-around"),
    ],
)
def test_a_format_that_is_none_is_refused_with_the_near_word(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=r"models/x\.yaml") as error:
        validate(spec, "models/x.yaml: format")
    assert said in str(error.value)


def test_a_check_against_an_unknown_kind_is_an_error_and_no_judgement() -> None:
    with pytest.raises(ConfigError, match="jsn"):
        check("x", {"kind": "jsn"})


def test_a_kind_or_a_key_that_is_no_text_is_refused() -> None:
    for spec in ({"kind": ["json"]}, {1: 2}):
        with pytest.raises(ConfigError, match=r"is none of|unknown key 1"):
            validate(spec)  # type: ignore[arg-type]
