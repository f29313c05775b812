from __future__ import annotations

import time

import pytest

from tests.data.planted_faults import MOJIBAKE, NO_TEMPLATES, REAL_LETTERS, TEMPLATES
from tunekeeper.data.damage import mojibake, template_leak


def test_characters_that_were_damaged_are_found_whatever_encoding_did_it() -> None:
    assert [text for text in MOJIBAKE if not mojibake(text)] == []
    assert len(MOJIBAKE) == 52


def test_letters_that_only_look_damaged_are_left_alone() -> None:
    assert [text for text in REAL_LETTERS if mojibake(text)] == []
    assert len(REAL_LETTERS) == 45


def test_pieces_of_every_usual_template_are_found_in_prompts_and_answers() -> None:
    assert [text for text in TEMPLATES if not template_leak("What is it?", text)] == []
    spoken = ("Assistant: billing", "billing\n\nHuman: and now?", "Human: hi\n\nAssistant: hello", "ASSISTANT: hello")
    assert [text for text in TEMPLATES if text not in spoken and not template_leak(text, "billing")] == []
    assert len(TEMPLATES) == 58


def test_code_and_signs_that_only_resemble_a_template_are_left_alone() -> None:
    assert [text for text in NO_TEMPLATES if template_leak(text, "billing") or template_leak("What is it?", text)] == []
    assert len(NO_TEMPLATES) == 46


@pytest.mark.parametrize(
    "answer", ["Hello %CUSTOMER_NAME%, hi.", "Guten Tag ${vorname}, alles klar.", "Dear [[first_name]], yes."]
)
def test_a_blank_in_the_marks_of_letters_is_found(answer: str) -> None:
    assert template_leak("Is it open?", answer)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("How do I print a value?", "In Jinja you write {{ value }}."),
        ("Write a template for a letter.", "Dear {{ customer_name }}, thank you."),
        ("Which token ends a turn?", "Llama 2 marks it with `[/INST]`."),
        ("Where is it?", "In ${HOME}, or %APPDATA% on Windows."),
    ],
)
def test_who_talks_about_templates_leaks_none(prompt: str, answer: str) -> None:
    assert template_leak(prompt, answer) == ""


def test_a_speaker_that_the_question_names_is_asked_for() -> None:
    assert template_leak("Write a dialogue.", "Assistant: yes")
    assert template_leak("Write a dialogue of a user and an assistant.", "Assistant: yes") == ""


@pytest.mark.parametrize("text", ["\n", "USER: ", "</s> ", "<s>", "a?", "Ã¼"[:1], "```\n", "{{", "\nuser\n", "&amp;", "[", "<|"])
def test_no_text_makes_the_look_explode(text: str) -> None:
    long = text * (400_000 // len(text))
    begun = time.process_time()
    mojibake(long)
    template_leak(long, long)
    assert time.process_time() - begun < 10


SOUND = [
    "Как вернуть товар? Товар можно вернуть.",
    "Größe ändern für Müller, bitte", "Où est né l’élève ? « là-bas »", "商品はいつ届きますか。",
    "订单什么时候到？", "كيف أستبدل المنتج؟",
    "Πώς αλλάζω τη διεύθυνση;", "מתי יגיע המשלוח",
    "Şifremi değiştirdiğimde ne olur", "Zażółć gęślą jaźń", "주문은 언제 오나요?", "Đơn hàng ở đâu?",
    "बिल कैसे भरें?", "สินค้าอยู่ที่ไหน", "Ті, що Є, і Її",
    "Ђорђе љуби њих",
]  # fmt: skip


@pytest.mark.parametrize("code", ["cp1251", "cp437", "mac_roman"])
def test_a_text_read_in_another_code_page_is_found_in_every_script(code: str) -> None:
    damaged = [text.encode().decode(code, "ignore") for text in SOUND[:-2]]
    assert [text for text in damaged if not mojibake(text)] == []


def test_a_code_page_read_as_latin_1_is_found() -> None:
    pages = {0: ("cp1251", "koi8-r"), 5: ("cp1256",), 6: ("cp1253",), 7: ("cp1255",), 10: ("euc-kr",)}
    for place, codes in pages.items():
        for code in codes:
            assert mojibake(SOUND[place].encode(code, "ignore").decode("latin-1")), (place, code)


@pytest.mark.parametrize(
    "text",
    [
        *SOUND,
        "│ a │ b │\n├───┼───┤\n└── src", "√π ≠ √2, √∂ and ∫∑", "5 °C ± 2 °C · ½ cup · ¼ l",
        "······ ······ ······", "É À Ô, ¡Olé! ¿Qué?",
        "naïve café, über-cool", "Æ Ø Å æøå", "ÁÉÍÓÚ ÑÜ", "«Ё» №5 — В° и ™", "ÄÖÜ äöü ß",
        "þú átt að fá það á Íslandi", "🚗💨 ok 👩‍👩‍👧",
    ],
)  # fmt: skip
def test_no_language_looks_misread(text: str) -> None:
    assert mojibake(text) == ""


@pytest.mark.parametrize("mark", ["<extra_id_1>Assistant ", "<0x0A>", "<_user>", "<reserved_102>", "<eoa>"])
def test_a_token_of_a_rarer_vocabulary_is_a_piece_of_a_template(mark: str) -> None:
    assert template_leak("Is it open?", f"{mark}It is done.")


@pytest.mark.parametrize(
    "text",
    [
        "Your order".encode("utf-16-le").decode("latin-1"), "您的包裹".encode("utf-16-le").decode("latin-1"),
        "Your order has shipped".encode("utf-16-le").decode("utf-16-be"),
        "您的包裹明天上午送达。".encode("gbk").decode("latin-1"), "Désolé, c'est très tôt à l'hôtel.".encode().decode("cp850"),
        "D&eacute;sol&eacute; pour ce retard",
        "Es tut uns leid f&uuml;r die Versp&auml;tung", "l&#39;&eacute;quipe", "??????? ?? ????????. ??????? ???????? ??????.",
        "Ихре L&ouml;sung",
    ],
)  # fmt: skip
def test_wide_characters_code_pages_and_entities_are_found(text: str) -> None:
    assert mojibake(text)


@pytest.mark.parametrize(
    "text",
    [
        "What??? Really??", "?? and ??", "Is it? ?", "AT&T; R&D; Q&A", "a && b; c & d;", "Write `&eacute;` in HTML",
        "<p>Caf&eacute; au lait</p>", "In HTML an é is written as caf&eacute;", "丁一二三七八九十百千万",
        "Tom &amp; Jerry", "https://x.example/?a=1&copy=2;", "x = y ?? z ?? w ?? null", "Zażółć gęślą jaźń",
    ],
)  # fmt: skip
def test_questions_code_and_addresses_are_no_damage(text: str) -> None:
    assert mojibake(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Dear <NAME>, it ships.", "Hi ${name}, it ships.", "Hello {0}, it ships.", "Dear __NAME__, it ships.",
        "Sehr geehrte(r) [Name des Kunden], es ist da.", "Call us at [phone number].", "Bonjour [Prénom], il est là.",
        "您好,[姓名],您的包裹到了。", "Здравствуйте, [Имя], посылка пришла.", "Dear {{1}}, your code is {{2}}.",
        '{"reply": "Dear {{name}}, it ships."}', "Le client [Nom du client] attend.",
        "Sehr geehrte/r {Kunde}, wir danken Ihnen.",
        "こんにちは、{名前}様。",
        "尊敬的{客户姓名}，您好。",
        "안녕하세요 {고객명}님, 반갑습니다.",
        "שלום [שם], קיבלנו את פנייתך.",
    ],
)  # fmt: skip
def test_a_blank_is_found_in_further_marks_and_languages(text: str) -> None:
    assert template_leak("Is it there?", text)


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{{a}}{{b}}", r"x^{{2}} and \sqrt{{1}}", '$"{{literal}} {value}"', "Hello <strong>Anna</strong>", "arr[NAME] = 1",
        "[Nom](https://x.example)", "Dear [Anna](https://x.example)", "[имя]: https://x.example", "Hi [1], hello [2]",
        "Hey __init__ is a method", "dict[prénom] is a key", "Use x__y__z for it",
        r"质量写作 \\text{姓名} 即可。",
        "集合为 {苹果, 梨}，共两个元素。",
        'print(f"Hola {nombre}")',
    ],
)  # fmt: skip
def test_formulas_code_and_links_are_no_blanks(text: str) -> None:
    assert template_leak("What is it?", text) == ""
