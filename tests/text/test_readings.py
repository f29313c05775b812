"""What is written otherwise than it is read: found all the same, replaced whole, and never passed by the filter."""

from __future__ import annotations

import html
import json
import random
import urllib.parse
from collections.abc import Callable

import pytest

from tests.text.personal import MAKERS
from tunekeeper.text.readings import LEVELS, Reading, readings, written
from tunekeeper.text.redaction import Redactor

REDACTOR = Redactor()
VALUES = (
    "ana.li@example.com",
    "+49 30 1234567",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "192.0.2.77",
    "2001:db8::7a:1",
)


def entities(text: str) -> str:
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)


def unseen(text: str) -> str:
    return "\u200b".join((text[:3], text[3:6], text[6:]))


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c in "0123456789" else c for c in text)


def nested(text: str) -> str:
    return json.dumps({"note": f"from him:\n{text}\n\tand so on", "n": 1})


WRITERS: dict[str, Callable[[str], str]] = {
    "entities": lambda text: f"<td>{entities(text)}</td>",
    "all as entities": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "blanks of HTML": lambda text: html.escape(text).replace(" ", "&nbsp;").replace("@", "&commat;"),
    "a URL": lambda text: f"https://shop.example/?who={urllib.parse.quote(text, safe='')}&x=1",
    "unseen signs": unseen,
    "wide digits": wide,
    "JSON in a text": nested,
    "JSON in JSON in a text": lambda text: json.dumps({"arguments": nested(text)}),
    "escapes of JSON": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in text),
    "Markdown's backslashes": lambda text: f"**{text.replace('.', chr(92) + '.').replace('-', chr(92) + '-')}**",
    "emphasis": lambda text: f"_{text}_",
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_found_however_a_program_wrote_it_and_nothing_of_it_stays(writer: str, value: str) -> None:
    text = WRITERS[writer](value)
    clean, counts = REDACTOR.redact(text)
    assert sum(counts.values()) == 1
    assert clean.partition("[")[0] == text[: len(clean.partition("[")[0])]
    assert not any(c.isdecimal() for c in clean.replace('"n": 1', "").replace('"n\\": 1', "").replace("x=1", ""))
    assert REDACTOR.may_hold(text.encode())


@pytest.mark.parametrize("value", VALUES)
def test_json_in_a_text_stays_json_when_a_value_behind_a_line_break_is_taken_out(value: str) -> None:
    assert json.loads(REDACTOR.redact(nested(value))[0])["note"].startswith("from him:\n[")


@pytest.mark.parametrize("kind", MAKERS)
def test_the_filter_never_says_no_where_a_reading_holds_something(kind: str) -> None:
    rng, hits = random.Random(kind), 0
    for _ in range(400):
        text = WRITERS[rng.choice(list(WRITERS))](MAKERS[kind](rng))
        if not REDACTOR.find(text):
            continue
        hits += 1
        for body in (text.encode(), json.dumps([text]).encode(), json.dumps({"a": text}, ensure_ascii=False).encode()):
            assert REDACTOR.may_hold(body), (text, body)
    assert hits > 300


@pytest.mark.parametrize(
    "text",
    [r"C:\new\table\n10.txt", "100%20 of &amp; 12 &copy; 7", "１２個、３４円", "نمی\u200cدانم ١٢٣", "\\d{3}\\.\\d{4}", "❤️ 4️⃣2️⃣"],
)
def test_what_reads_otherwise_and_is_nobodys_stays_as_it_is(text: str) -> None:
    assert REDACTOR.redact(text) == (text, {})


def test_a_part_of_a_reading_is_led_back_to_where_it_is_written() -> None:
    text = "a\\u0040b\u200bc&#46;d%2Ee \\n\\nf"
    reading = Reading(text)
    assert reading.text == "a@bc.d.e \n\nf"
    assert [text[slice(*reading.written((at, at + 1)))] for at in range(len(reading.text))] == [
        "a", "\\u0040", "b", "c", "&#46;", "d", "%2E", "e", " ", "\\n", "\\n", "f",
    ]  # fmt: skip


def test_a_text_is_read_anew_until_it_says_the_same_and_three_times_at_most() -> None:
    assert readings("plain @ 12") == []
    deep = json.dumps(json.dumps(json.dumps(json.dumps("a\nb"))))
    levels = readings(deep)
    assert len(levels) == LEVELS
    assert deep[slice(*written(levels, (0, len(levels[-1].text))))] == deep


def test_signs_beyond_what_may_be_looked_at_stay_as_they_are_written() -> None:
    left = [6]

    def take(size: int) -> bool:
        left[0] -= size
        return left[0] >= 0

    assert Reading("%41%41%41", take).text == "AA%41"


def test_signs_that_nobody_sees_cost_nothing_where_they_can_be_part_of_nothing() -> None:
    assert not REDACTOR.may_hold('{"content":"danke ❤️ bis bald 👩‍💻, نمی‌دانم"}'.encode())
    assert REDACTOR.may_hold("an\u200ba@x.de".encode())
