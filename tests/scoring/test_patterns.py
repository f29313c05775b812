from __future__ import annotations

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.scoring.formats import check, validate

REFERENCE = {"kind": "regex", "pattern": "REF-.+"}


def test_a_hostile_answer_does_not_slow_a_pattern_down() -> None:
    assert check("a" * 50_000 + "!", {"kind": "regex", "pattern": "(a+)+"})[0] is False


def test_half_a_surrogate_pair_can_be_looked_through() -> None:
    assert check("REF-\ud800", REFERENCE) == (True, "")
    assert check('"REF-\ud800"', {"kind": "schema", "schema": {"type": "string", "pattern": "^REF-"}}) == (True, "")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"kind": "regex", "pattern": "(?!x)"}, "models/desk.yaml format"),
        ({"kind": "schema", "schema": {"pattern": "(?!x)"}}, "models/desk.yaml format.schema"),
    ],
)
def test_what_is_not_linear_is_refused_where_it_stands(spec: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigError, match=r"\(\?!x\)") as refused:
        validate(spec, "models/desk.yaml format")
    assert refused.value.message.startswith(where)
    assert refused.value.fix == "write it for RE2, without look-around"
