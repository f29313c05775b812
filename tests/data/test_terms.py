from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.terms import fingerprints_of, renamed, rewritten_example
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.text.vocabulary import Glossary

MakeExample = Callable[..., Example]
AT = datetime(2026, 3, 1, tzinfo=UTC)
GLOSSARY = Glossary({"Nimbus Mail": "Lumen Post", "triage": "sorting"})


def test_a_row_remembers_when_its_terms_changed_and_what_it_was(row: MakeExample) -> None:
    old = row("Is nimbus  mail down?", "Nimbus Mail is up", id="a", category="bug")
    new = rewritten_example(old, GLOSSARY, AT)
    assert [m["content"] for m in new.messages[1:]] == ["Is Lumen Post down?", "Lumen Post is up"]
    assert new.messages[0] == old.messages[0], "the instructions belong to the model file"
    assert (new.id, new.split, new.source, new.metadata["category"]) == ("a", old.split, old.source, "bug")
    terms = {"nimbus  mail": "Lumen Post", "Nimbus Mail": "Lumen Post"}
    assert new.metadata["rewritten"] == [{"at": AT.isoformat(), "terms": terms, "was": old.fingerprint}]
    assert new.fingerprint == fingerprint(new.messages) != old.fingerprint


def test_a_row_without_old_terms_stays_the_very_same(row: MakeExample) -> None:
    old = row("Is it down?", "No")
    assert rewritten_example(old, GLOSSARY, AT) is old
    once = rewritten_example(row("Nimbus Mail?", "No"), GLOSSARY, AT)
    assert rewritten_example(once, GLOSSARY, AT) is once


def test_every_text_that_a_row_ever_had_is_known(row: MakeExample) -> None:
    first = row("Nimbus Mail?", "No")
    second = rewritten_example(first, GLOSSARY, AT)
    third = rewritten_example(second, Glossary({"Lumen Post": "Orbit"}), AT)
    assert fingerprints_of(third) == [third.fingerprint, first.fingerprint, second.fingerprint]
    assert fingerprints_of(first) == [first.fingerprint]


@pytest.mark.parametrize("odd", ["yes", [1, {"was": 2}], {}])
def test_a_column_that_happens_to_have_our_name_harms_nothing(row: MakeExample, odd: object) -> None:
    old = row("Nimbus Mail?", "No", rewritten=odd)
    assert fingerprints_of(old) == [old.fingerprint]
    assert rewritten_example(old, GLOSSARY, AT).messages[1]["content"] == "Lumen Post?"


def test_parts_of_a_message_are_renamed_and_what_is_no_text_stays() -> None:
    image = {"type": "image_url", "image_url": {"url": "nimbus mail"}}
    parts = [{"type": "text", "text": "Nimbus Mail"}, image]
    assert renamed(parts, GLOSSARY) == [{"type": "text", "text": "Lumen Post"}, image]
    assert renamed(None, GLOSSARY) is None
