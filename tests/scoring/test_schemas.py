from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.scoring import formats
from tunekeeper.scoring.schemas import validate, violation

ORDER = {
    "type": "object",
    "required": ["category", "items"],
    "additionalProperties": False,
    "properties": {
        "category": {"enum": ["billing", "refund"]},
        "items": {"type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": True, "items": {"$ref": "#/$defs/item"}},
        "note": {"type": ["string", "null"], "maxLength": 5, "pattern": "^[a-z]*$"},
        "score": {"type": "integer", "minimum": 0, "exclusiveMaximum": 10, "multipleOf": 2},
    },
    "$defs": {"item": {"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}},
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"category": "bug"}, '$.category: is "bug", not one of "billing", "refund"'),
        ({"items": []}, "$.items: has 0 items, at least 1 are wanted"),
        ({"items": [{"price": 1}, {"price": "9"}]}, '$.items[1].price: is "9", not of type number'),
        ({"items": [{}]}, "$.items[0].price: is missing"),
        ({"items": [{"price": 1}, {"price": 1}]}, "$.items: holds an item twice"),
        ({"note": None}, ""),
        ({"note": 3}, "$.note: is 3, not of type string or null"),
        ({"note": "abcdef"}, "$.note: has 6 characters, at most 5 are wanted"),
        ({"note": "A"}, "$.note: is \"A\", which does not match '^[a-z]*$'"),
        ({"score": 4.0}, ""),
        ({"score": True}, "$.score: is true, not of type integer"),
        ({"score": 10}, "$.score: is 10, must be below 10"),
        ({"score": 3}, "$.score: is 3, must be a multiple of 2"),
        ({"more": 1}, "$.more: is not in the schema"),
    ],
)
def test_the_first_place_that_breaks_a_schema_is_named(change: dict[str, Any], why: str) -> None:
    validate(ORDER, "schema")
    assert violation({"category": "refund", "items": [{"price": 2.5}], **change}, ORDER) == why


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "a", 1),
        ({"oneOf": [{"minimum": 2}, {"maximum": 4}]}, 5, 3),
        ({"allOf": [{"minimum": 2}, {"maximum": 4}]}, 3, 5),
        ({"not": {"const": "x"}}, "y", "x"),
        ({"const": 1}, 1.0, True),
        ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 0}}, "ab", "a"),
        (
            {"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": {"type": "string"}},
            {"n_a": 1},
            {"n_a": "x"},
        ),
        ({"propertyNames": {"maxLength": 2}}, {"ab": 1}, {"abc": 1}),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1]),
        ({"contains": {"const": 1}}, [2, 1], [2]),
        ({"properties": {"next": {"$ref": "#"}}, "required": ["v"]}, {"v": 1, "next": {"v": 2}}, {"v": 1, "next": {}}),
        (True, 1, None),
    ],
)
def test_combinations_and_references_are_followed(schema: Any, good: Any, bad: Any) -> None:
    validate(schema, "schema")
    assert violation(good, schema) == ""
    assert (violation(bad, schema) == "") is (schema is True)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"requird": ["a"]}, "no keyword is called 'requird'"),
        ({"properties": {"a": {"type": "text"}}}, "schema.properties.a: no type is called 'text'"),
        ({"items": {"pattern": "("}}, "schema.items: pattern"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "https://example.com/s.json"}, "leads nowhere"),
        ({"minimum": "3"}, 'schema.minimum: "3" is no value for it'),
        ({"required": "a"}, "schema.required"),
        ({"properties": ["a"]}, "schema.properties"),
        ({"anyOf": {"a": 1}}, "schema.anyOf"),
        ({"maxItems": True}, "schema.maxItems"),
        ({"type": [[]]}, "no type is called []"),
        ({"required": [["a"]]}, "schema.required"),
        ({"$ref": "#/title", "title": "x"}, "leads nowhere"),
        ({"$ref": "#/default", "default": {"type": "text"}}, "leads nowhere"),
        ({"$ref": "#/properties", "properties": {"a": {}}}, "leads nowhere"),
        (None, "a schema is an object, not NoneType"),
        ([], "a schema is an object, not list"),
    ],
)
def test_a_schema_that_would_accept_everything_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(schema, "schema")
    assert message in caught.value.message


def test_the_format_of_a_model_may_be_a_schema() -> None:
    spec = {"kind": "schema", "schema": ORDER}
    formats.validate(spec)
    assert formats.check(json.dumps({"category": "refund", "items": [{"price": 1}]}), spec) == (True, "")
    assert formats.check('{"category": "refund"}', spec) == (False, "$.items: is missing")
    assert formats.check("refund", spec)[1].startswith("not JSON")
    assert formats.check("[1]", {"kind": "schema", "schema": {"type": "array"}}) == (True, "")
    for bad in ({"kind": "schema"}, {"kind": "schema", "schema": {"requird": ["a"]}}):
        with pytest.raises(ConfigError, match=r"format\.schema"):
            formats.validate(bad)
        with pytest.raises(ConfigError, match=r"format\.schema"):
            formats.check("{}", bad)


def test_a_multiple_is_exact_for_whole_numbers_and_no_number_is_too_large_for_it() -> None:
    even = {"kind": "schema", "schema": {"multipleOf": 2}}
    assert [formats.check(text, even)[0] for text in ("10000000000", "10000000001", "1e400", "9" * 400, "8" * 400)] == [
        True, False, False, False, True,
    ]  # fmt: skip
    tenth = {"kind": "schema", "schema": {"multipleOf": 0.1}}
    assert [formats.check(text, tenth)[0] for text in ("0.3", "0.35", "-1e999", "9" * 400)] == [True, False, False, False]
