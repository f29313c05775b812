from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.contradictions import believed, contradicting_groups, contradictions
from tunekeeper.data.inspection import inspect

MakeExample = Callable[..., Example]


def test_each_side_of_a_contradiction_names_the_other(row: MakeExample) -> None:
    rows = [
        row("Where?", "here", id="a"),
        row("where", "Here.", id="b"),
        row("WHERE?", "there", id="c"),
        row("Who?", "me", id="d"),
    ]
    assert [(f.id, f.of) for f in contradictions(rows)] == [("a", "c"), ("b", "c"), ("c", "a")]
    assert contradictions(rows)[2].detail == "it answers 'there', a answers 'here'"
    assert [[e.id for e in group] for group in contradicting_groups(rows)] == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("answers", "votes", "expected"),
    [
        ([("x", "2026-01-01"), ("y", "2026-01-02")], {}, "y"),
        ([("x", "2026-01-02"), ("y", "2026-01-02")], {}, None),
        ([("x", "2026-01-01"), ("y", None)], {}, None),
        ([("x", None), ("x!", None), ("y", None)], {}, "x!"),
        ([("x", None), ("y", None)], {"x": 3}, "x"),
        ([("x", None), ("y", None), ("z", None)], {"x": 2}, None),
    ],
)
def test_the_newest_answer_is_believed_then_that_of_more_than_half(
    row: MakeExample, answers: list[tuple[str, str | None]], votes: dict[str, int], expected: str | None
) -> None:
    group = [row("Q?", text, **({"created": at} if at else {})) for text, at in answers]
    counted = {e.fingerprint: votes.get(str(e.messages[-1]["content"]), 1) for e in group}
    found = believed(group, counted)
    assert found == (None if expected is None else expected.rstrip("!"))


LONG = (
    "I bought a Pixel Pad from your shop in Oslo last week and since this morning the screen stays black whenever the charger"
    " is plugged in, although I tried two other cables, so please tell me what I should do about it before the weekend"
)
BUG, BILLING = '{"category": "bug"}', '{"category": "billing"}'


@pytest.mark.parametrize(
    ("one", "other", "answers"),
    [
        ("Where is my parcel?", "hello, where is my parcel please", ("It left today.", "We lost it.")),
        ("The screen is black", "My screen is BLACK!!", (BUG, BILLING)),
        ("Charged twice for order 44110", "I was charged twice for order 90217", (BUG, BILLING)),
        (LONG, LONG.replace("morning", "mornin").replace("cables", "cabels"), ("Bring it in.", "Wait a day.")),
        (LONG, LONG.replace("although", "even though"), (BUG, BILLING)),
        (LONG, "Good evening! " + LONG, (BUG, BILLING)),
    ],
)
def test_nearly_the_same_question_with_another_answer_is_shown_beside_it(
    row: MakeExample, one: str, other: str, answers: tuple[str, str]
) -> None:
    rows = [row(one, answers[0], id="a"), row("Something else entirely?", BUG, id="x"), row(other, answers[1], id="b")]
    found = contradictions(rows, 0.85)
    assert [(f.id, f.of) for f in found] == [("a", "b"), ("b", "a")]
    assert all(part[:40] in found[0].detail for part in (answers[0], answers[1], other))
    assert contradictions(rows) == []
    assert contradictions([rows[0], row(other, answers[0], id="b")], 0.85) == []


@pytest.mark.parametrize(
    ("one", "other", "answers"),
    [
        ("Where is order 44110?", "Where is order 90217?", ("Order 44110 left today.", "Order 90217 is at the border by now.")),
        ("What is 2 plus 3?", "What is 2 plus 4?", ("five", "six")),
        ("It works now", "It does not work now", (BUG, BILLING)),
        (LONG, LONG.replace("stays black", "no longer stays black"), (BUG, BILLING)),
        (LONG, LONG.replace("Pixel Pad", "Nimbus Box"), ("Press the button of the Pad.", "Turn the Box off and on again.")),
        ("Move me from Basic to Pro", "Move me from Pro to Basic", ("upgrade", "downgrade")),
        ("Where is my parcel?", "hello, where is my parcel please", ("It left today.", "it left today")),
    ],
)
def test_another_question_may_have_another_answer(row: MakeExample, one: str, other: str, answers: tuple[str, str]) -> None:
    assert contradictions([row(one, answers[0], id="a"), row(other, answers[1], id="b")], 0.85) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Wo ist mein Paket?", "Guten Tag, wo ist denn bitte mein Paket? Danke und viele Grüße"),
        ("Où est mon colis ?", "Bonjour, où est mon colis s'il vous plaît ? Merci beaucoup"),
        ("¿Dónde está mi paquete?", "Hola, buenos días, ¿dónde está mi paquete, por favor? Gracias"),
        ("Dov'è il mio pacco?", "Salve, dov'è il mio pacco per favore? Grazie mille"),
        ("Onde está a minha encomenda?", "Olá, boa tarde, onde está a minha encomenda, por favor? Obrigado"),
        ("Waar is mijn pakket?", "Goedemorgen, waar is mijn pakket alstublieft? Bedankt"),
        ("Gdzie jest moja paczka?", "Dzień dobry, gdzie jest moja paczka? Proszę i dziękuję"),
        ("Где моя посылка?", "Здравствуйте, подскажите пожалуйста, где моя посылка? Спасибо"),
        ("Kargom nerede?", "Merhaba, kargom nerede lütfen? Teşekkürler"),
    ],
)
def test_greetings_and_politeness_do_not_matter_in_other_languages_either(row: MakeExample, one: str, other: str) -> None:
    rows = [row(one, "A.", id="a"), row(other, "B.", id="b")]
    assert [(f.id, f.of) for f in contradictions(rows, 0.85)] == [("a", "b"), ("b", "a")]


@pytest.mark.parametrize(
    ("long", "turned"),
    [
        (("kann ich die gelieferte Ware", "nach vierzehn Tagen im Laden in Köln zurückgeben"), "nicht"),
        (("puis-je rendre la marchandise", "livrée après quatorze jours dans la boutique de Lyon"), "pas"),
        (("puedo devolver la mercancía", "entregada después de catorce días en la tienda de Madrid"), "no"),
        (("posso rendere la merce", "consegnata dopo quattordici giorni nel negozio di Roma oggi"), "non"),
        (("можно вернуть доставленный товар", "через четырнадцать дней в магазине на главной улице"), "не"),
    ],
)
def test_a_not_makes_another_question_in_other_languages_too(row: MakeExample, long: tuple[str, str], turned: str) -> None:
    one, other = " ".join(long), f"{long[0]} {turned} {long[1]}"
    assert contradictions([row(one, BUG, id="a"), row(other, BILLING, id="b")], 0.85) == []


def test_rows_about_other_pictures_do_not_contradict(row: MakeExample) -> None:
    def about(url: str, answer: str, asked: str = "What is this?") -> Example:
        shown = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": asked}]
        said = ({"role": "user", "content": shown}, {"role": "assistant", "content": answer})
        return dataclasses.replace(row("What is this?", answer, id=answer), messages=said)

    rows = [about("a.png", "A cat."), about("b.png", "A dog."), about("c.png", "A bird.", "Hi, what is this please?")]
    assert contradicting_groups(rows) == []
    assert contradictions(rows, 0.85) == []
    assert len(contradictions([*rows, about("a.png", "A hat.")])) == 2


def test_questions_under_other_instructions_do_not_contradict(row: MakeExample) -> None:
    strict = dataclasses.replace(
        row("hi, where is it", BILLING, id="b"), messages=({"role": "user", "content": "hi, where is it"},)
    )
    answered = dataclasses.replace(strict, messages=(*strict.messages, {"role": "assistant", "content": BILLING}))
    assert contradictions([row("Where is it?", BUG, id="a"), answered], 0.85) == []


def test_a_form_that_many_fill_in_is_no_contradiction(row: MakeExample) -> None:
    rng = random.Random(4)
    names = [
        f"{a}{b}" for a in ("mar", "jo", "al", "el", "ka", "ste", "vi", "no") for b in ("ia", "han", "ice", "ena", "rin", "fan")
    ]
    labels = ["shipped", "lost", "at the border"]
    rows = [row(f"Status of order {rng.randrange(10**6, 10**7)}?", rng.choice(labels), id=f"o{i}") for i in range(60)]
    rows += [row(LONG.replace("Pixel Pad", name), rng.choice((BUG, BILLING)), id=name) for name in names]
    rows += [row(f"{LONG} Yours, {name}", f"Dear {name}, {rng.choice(labels)}.", id=f"y{name}") for name in names]
    assert contradictions(rows, 0.85) == []


def test_a_slip_among_many_that_fill_in_a_form_alike_is_one(row: MakeExample) -> None:
    rows = [row(f"I was charged twice for order {10_000 + i}", BILLING, id=f"o{i}") for i in range(20)]
    slip = row("I was charged twice for order 77777", BUG, id="slip")
    found = contradictions([*rows[:9], slip, *rows[9:]], 0.85)
    assert next(f for f in found if f.id == "slip").of == "o0"
    assert {f.of for f in found if f.id != "slip"} == {"slip"}


@pytest.mark.parametrize(
    ("one", "other"), [("How do I reset it?", "How do I reset it?"), ("How do I reset it?", "Hi, how do I reset it?")]
)
def test_an_answer_with_other_courtesies_contradicts_nothing(row: MakeExample, one: str, other: str) -> None:
    said = "Hold the button for five seconds."
    rows = [row(one, said, id="a"), row(other, said[:-1] + ", thanks for asking.", id="b"), row(one, "Sure! " + said, id="c")]
    assert contradictions(rows, 0.85) == []
    found = contradictions([*rows, row(one, "Hold it for nine seconds, thanks for asking.", id="d")], 0.85)
    assert {(f.id, f.of) for f in found} >= {("a", "d"), ("c", "d"), ("d", "a")}


def test_a_row_is_told_of_once(row: MakeExample) -> None:
    rows = [row("Where?", "here", id="a"), row("where", "there", id="b"), row("Hello, where please", "nowhere", id="c")]
    assert [(f.id, f.of) for f in contradictions(rows, 0.85)] == [("a", "b"), ("b", "a"), ("c", "a")]


def test_a_check_of_the_draft_shows_them(row: MakeExample) -> None:
    rows = [row("Where is my parcel?", BUG, id="a"), row("Hello, where is my parcel please", BILLING, id="b")]
    assert {(f.id, f.of) for f in inspect(rows, Config()) if f.kind == "contradiction"} == {("a", "b"), ("b", "a")}


def test_short_answers_to_one_form_may_be_looked_up_and_those_to_several_are_labels(row: MakeExample) -> None:
    asked = [row("Where is order 1001?", "In Oslo.", id="a"), row("Where is order 1002?", "In Bergen.", id="b")]
    assert contradictions(asked, 0.85) == []
    label = row("Which town has the fish market by the quay?", "In Bergen.", id="c")
    assert {f.id for f in contradictions([*asked, label], 0.85)} == {"a", "b"}
    thought = [
        row(f"Order {1001 + i} came broken", f'<think>\nHm {i}.\n</think>\n{{"category": "{name}"}}', id=name)
        for i, name in enumerate(("bug", "refund"))
    ]
    assert {f.id for f in contradictions(thought, 0.85)} == {"bug", "refund"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 5 + 3?", "What is 5 - 3?"),
        ("What is 5 + 3?", "What is -5 + 3?"),
        ("Compute 12*4 please", "Compute 12/4 please"),
        ("Write a for loop in C", "Write a for loop in C#"),
        ("Write a for loop in C", "Write a for loop in C++"),
        ("What does `a == b` do?", "What does `a != b` do?"),
        ("Is x < y here?", "Is x > y here?"),
    ],
)
def test_signs_of_sums_and_programs_make_another_question(row: MakeExample, one: str, other: str) -> None:
    rows = [row(one, "This is the first answer.", id="a"), row(other, "Quite another one.", id="b")]
    assert contradictions(rows, 0.85) == []
    assert {found.id for found in contradictions([*rows, row(f"Hello! {one}", "A third one.", id="c")], 0.85)} == {"a", "c"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I open the letter from **Monday**?", "How do I open the letter from Monday?"),
        ("Where is order #T-1042 - and the invoice?", "Where is order T-1042 and the invoice?"),
        ("كيف أعيد تعيين كلمة المرور؟", "كَيْفَ أُعِيدُ تَعْيِينَ كَلِمَةِ المُـــرُورِ؟"),
    ],
)
def test_other_marks_and_points_make_no_other_question(row: MakeExample, one: str, other: str) -> None:
    rows = [row(one, "This is the first answer.", id="a"), row(other, "Quite another one.", id="b")]
    assert {found.id for found in contradictions(rows, 0.85)} == {"a", "b"}


def test_answers_that_call_tools_contradict_each_other_by_what_they_call_and_with_what(row: MakeExample) -> None:
    def calling(id: str, arguments: str, call: str = "c1") -> Example:
        asked = row("What is the weather in Oslo?", "x", id=id)
        calls = [{"id": call, "type": "function", "function": {"name": "weather", "arguments": arguments}}]
        said = {"role": "assistant", "content": None, "tool_calls": calls}
        return dataclasses.replace(asked, messages=(*asked.messages[:-1], said))

    same = [calling("a", '{"city": "Oslo", "days": 1}'), calling("b", '{"days":1,"city":"Oslo"}', "c2")]
    assert contradictions(same, 0.85) == []
    found = contradictions([*same, calling("c", '{"city": "Bergen"}')], 0.85)
    assert [(each.id, each.of) for each in found] == [("a", "c"), ("b", "c"), ("c", "a")]
    assert "Bergen" in found[0].detail
