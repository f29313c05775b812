"""Sealed boxes: whoever has no secret key learns nothing, whoever has it reads what was taken out."""

from __future__ import annotations

import base64

import pytest

from tunekeeper.core.errors import ConfigError, DataError
from tunekeeper.text.redaction import Redactor
from tunekeeper.text.seals import Seal, is_box, joined, make_keys, opened

SECRET, PUBLIC = make_keys()


def test_a_box_gives_back_what_was_put_in_to_its_key_alone() -> None:
    box = Seal(PUBLIC).close({"[EMAIL:1]": "ana@example.com"})
    assert opened(box, SECRET + "\n") == {"[EMAIL:1]": "ana@example.com"}
    assert b"ana" not in base64.b64decode(box)
    assert "ana" not in box
    with pytest.raises(DataError, match="does not open"):
        opened(box, make_keys()[0])
    with pytest.raises(DataError, match="does not open"):
        opened(box[:-8] + "AAAAAAA=", SECRET)
    with pytest.raises(DataError, match="does not open"):
        opened("no base64", SECRET)


def test_several_boxes_open_as_one_and_not_at_all_where_one_does_not() -> None:
    seal, other = Seal(PUBLIC), Seal(make_keys()[1])
    box = joined(joined(None, seal.close({"[EMAIL:1]": "ana@example.com"})), seal.close({"[PHONE:2]": "0664 1234567"}))
    assert opened(box, SECRET) == {"[EMAIL:1]": "ana@example.com", "[PHONE:2]": "0664 1234567"}
    with pytest.raises(DataError, match="does not open"):
        opened(joined(box, other.close({})), SECRET)


def test_what_only_bears_the_name_of_a_box_is_none() -> None:
    box = Seal(PUBLIC).close({})
    assert is_box(box)
    assert is_box(joined(box, box))
    others = (None, 7, [box], {"a": box}, "", "yes", "é" * 80, "AAAA" * 16, f"{box}.", f"{box}.AAAA")
    assert not any(map(is_box, others))


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(b"x" * 31).decode(), "é" * 44])
def test_what_is_no_key_is_one_line(key: str) -> None:
    with pytest.raises(ConfigError, match="no key of 32 bytes"):
        Seal(key)
    with pytest.raises(ConfigError, match="no key of 32 bytes"):
        opened(Seal(PUBLIC).close({"a": "b"}), key)


def test_the_same_text_has_the_same_number_and_an_older_number_is_not_used_again() -> None:
    redactor = Redactor(seal=Seal(PUBLIC))
    value = {"a": "ana@example.com and bo@example.com", "b": ["ana@example.com", "+49 30 1234567"], "c": "[EMAIL:4] before"}
    clean, counts, box = redactor.sealed_json(value)
    assert clean == {"a": "[EMAIL:5] and [EMAIL:6]", "b": ["[EMAIL:5]", "[PHONE:7]"], "c": "[EMAIL:4] before"}
    assert counts == {"email": 3, "phone": 1}
    assert box is not None
    assert opened(box, SECRET) == {
        "[EMAIL:5]": "ana@example.com",
        "[EMAIL:6]": "bo@example.com",
        "[PHONE:7]": "+49 30 1234567",
    }


def test_without_a_seal_and_without_a_find_nothing_is_kept() -> None:
    assert Redactor().sealed_json(["ana@example.com"]) == (["[EMAIL]"], {"email": 1}, None)
    assert Redactor(seal=Seal(PUBLIC)).sealed_json(["hello"]) == (["hello"], {}, None)
