from __future__ import annotations

import pytest

from tunekeeper.text.vocabulary import Glossary, content_words, document_frequency, jaccard, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't panic: 3 e-mails, NAÏVE!", ["don't", "panic", "3", "e", "mails", "naïve"]),
        ("snake_case 'quoted'", ["snake", "case", "quoted"]),
        ("Ångström ＦＵＬＬ", ["ångström", "full"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_content_words_tell_a_topic() -> None:
    assert content_words("Hello, I have not received my 2 parcels, please help") == ["received", "parcels", "help"]
    assert document_frequency(["parcel parcel", "Parcel late"]) == {"parcel": 2, "late": 1}


@pytest.mark.parametrize(("a", "b", "expected"), [("ab", "bc", 1 / 3), ("a", "a", 1.0), ("", "", 0.0), ("a", "b", 0.0)])
def test_jaccard_is_the_shared_part(a: str, b: str, expected: float) -> None:
    assert jaccard(frozenset(a), frozenset(b)) == expected


def test_a_glossary_finds_whole_words_in_any_case_and_the_longest_first() -> None:
    glossary = Glossary({"Nimbus": "Cloud", "Nimbus Mail": "Lumen Post", " ": "x"})
    text = "NIMBUS  mail and nimbus, not nimbused"
    assert glossary.find(text) == ["NIMBUS  mail", "nimbus"]
    assert glossary.rewrite(text) == "Lumen Post and Cloud, not nimbused"
    assert glossary.suggestions("Nimbus Nimbus") == [("Nimbus", "Cloud")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请打开旧版应用。", "请打开新版应用。"),
        ("旧アプリを開く", "新アプリを開く"),
        ("旧アプリケーションを開く", "旧アプリケーションを開く"),
        ("請用Nimbus登入", "請用Nimbus登入"),
    ],
)
def test_a_term_of_a_script_without_blanks_is_found_between_other_letters(text: str, expected: str) -> None:
    assert Glossary({"旧版应用": "新版应用", "旧アプリ": "新アプリ"}).rewrite(text) == expected


def test_a_glossary_with_signs_of_expressions_is_taken_by_the_letter() -> None:
    assert Glossary({"C++ (old)": "C++23"}).rewrite("use C++ (old) here, not C++") == "use C++23 here, not C++"
    assert Glossary({}).rewrite("as it is") == "as it is"


def test_a_new_term_that_holds_the_old_one_is_written_once() -> None:
    glossary = Glossary({"Nimbus": "Nimbus Pro"})
    once = glossary.rewrite("nimbus is slow, Nimbus  Pro is not")
    assert once == "Nimbus Pro is slow, Nimbus  Pro is not"
    assert (glossary.find(once), glossary.rewrite(once)) == ([], once)


def test_what_was_renamed_twice_gets_its_last_name_and_a_circle_ends() -> None:
    assert Glossary({"Box": "Crate", "Crate": "Parcel"}).rewrite("a box, a crate") == "a Parcel, a Parcel"
    assert Glossary({"Box": "Crate", "Crate": "Box"}).rewrite("a box") == "a Crate"
    assert Glossary({"Box": "box"}).rewrite("a BOX") == "a box"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two Pixel Pads", "two Pixel Slates"),
        (
            "the Pixel Pad's lid, the Pixel  Pad’s lid, the pixel pads' lids",
            "the Pixel Slate's lid, the Pixel Slate’s lid, the Pixel Slates' lids",
        ),
        ("PIXEL PAD IS SLOW", "PIXEL SLATE IS SLOW"),
        ("Hoover the floor. HOOVER it! Two hoovers", "Vacuum the floor. VACUUM it! Two vacuums"),
        ("Boxes, a box, boxing, a boxer", "Switches, a Switch, boxing, a boxer"),
        ("APIs and an API", "Gateways and an Gateway"),
        (
            "des Pixel Pads, die Pixel-Pad-Hülle, Pixelpad, Pixel Padhülle",
            "des Pixel Slates, die Pixel-Pad-Hülle, Pixelpad, Pixel Padhülle",
        ),
        ("the old Faxes' noise", "the old  noise"),
    ],
)
def test_a_term_is_known_in_its_number_and_as_it_is_written(text: str, expected: str) -> None:
    glossary = Glossary({"Pixel Pad": "Pixel Slate", "hoover": "vacuum", "Box": "Switch", "API": "Gateway", "Fax": ""})
    assert glossary.rewrite(text) == expected
    assert glossary.rewrite(expected) == expected


def test_the_suggestion_is_what_would_be_written_there() -> None:
    glossary = Glossary({"Pixel Pad": "Pixel Slate", "Window": "Pane", "Windows": "Windows"})
    assert glossary.suggestions("Pixel Pads on Windows, two windows") == [("Pixel Pads", "Pixel Slates")]
    assert glossary.suggestions("a window's frame") == [("window's", "Pane's")]


@pytest.mark.parametrize(
    ("old", "new", "text", "expected"),
    [
        ("Größe", "Maß", "Welche Größe? GRÖSSE und größe", "Welche Maß? MASS und Maß"),
        ("Straßenplan", "Karte", "der Straßenplan, die Strassenplans", "der Karte, die Kartes"),
        ("İstanbul Box", "Bosporus", "die İstanbul Box", "die Bosporus"),
        ("Οδός", "Δρόμος", "Οδός, ΟΔΌΣ", "Δρόμος, ΔΡΌΜΟΣ"),
    ],
)
def test_a_letter_that_folds_into_two_is_found_as_it_is_written(old: str, new: str, text: str, expected: str) -> None:
    assert Glossary({old: new}).rewrite(text) == expected


@pytest.mark.parametrize("old", ["Acme Pay", "acme pay", "Acme-Pay", "AcmePay", "ACME PAY"])
@pytest.mark.parametrize(
    "written",
    ["Acme Pay", "acme-pay", "Acme_Pay", "Acme\u2011Pay", "AcmePay", "ACME  PAY", "ACME-PAY", "Acme-Pay's", "Acme\nPay"],
)
def test_a_term_of_several_words_is_known_in_other_writings(old: str, written: str) -> None:
    text = f"Open {written}, then pay."
    assert Glossary({old: "Nova Till"}).find(text) == [written]
    new = Glossary({old: "Nova Till"}).rewrite(text)
    assert new.casefold() == text.casefold().replace(written.casefold().removesuffix("'s"), "nova till")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "acme payments",
            "the acme. Pay now",
            "acmepay",
            "pre-acme-pay",
            "acme-pay-out",
            "my_acme_pay",
            "acme, pay",
            "acme - pay",
        ),
        *("https://acme-pay.example/a", "me@acme-pay.example", "acme-pay.py", "docs/acme-pay", "MyAcmePay", "AcmePayment"),
    ],
)
def test_a_longer_word_or_an_address_is_no_term(text: str) -> None:
    assert Glossary({"Acme Pay": "Nova Till"}).rewrite(text) == text


def test_an_address_is_left_as_it_is_unless_the_term_is_one() -> None:
    glossary = Glossary({"AcmePay": "Lumen Pay", "acme.example": "lumen.example"})
    text = "AcmePay: https://acmepay.example/x?AcmePay=1, www.AcmePay.io, a.b@acmepay.example, acmepay.com/buy, shop.acmepay.com."
    assert glossary.find(text) == ["AcmePay"]
    assert glossary.rewrite(text) == text.replace("AcmePay:", "Lumen Pay:")
    assert glossary.rewrite("https://acme.example/pay or ann@acme.example") == "https://lumen.example/pay or ann@lumen.example"
    assert glossary.rewrite("Use AcmePay. Then acmepay, then (AcmePay).") == "Use Lumen Pay. Then Lumen Pay, then (Lumen Pay)."
    long = "a" * 200_000 + " AcmePay " + "b." * 100_000
    assert glossary.rewrite(long) == long.replace("AcmePay", "Lumen Pay")


def test_a_term_that_is_only_written_anew_is_known_as_it_was_written() -> None:
    glossary = Glossary(
        {"e-mail": "email", "Git Hub": "GitHub", "log-in": "sign in", "One Drive Pro": "Box", "OneDrive": "Shelf"}
    )
    text = "email, e mail, Git-Hub, GitHub, git_hub; one drive failed"
    assert glossary.rewrite(text) == text
    assert glossary.rewrite("an E-mail on git hub, please log in; a One Drive, OneDrivePro") == (
        "an Email on GitHub, please sign in; a Shelf, Box"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("companies of the company's", "firms of the firm's"),
        ("COMPANIES, Companies", "FIRMS, Firms"),
        ("two parcels, a day of days", "two deliveries, a date of dates"),
        ("the AT&T bill, a COMPANY", "the Verizon bill, a FIRM"),
        ("accompanies companying", "accompanies companying"),
    ],
)
def test_a_word_in_y_has_its_plural_and_a_name_in_capitals_gives_none(text: str, expected: str) -> None:
    assert Glossary({"company": "firm", "parcel": "delivery", "day": "date", "AT&T": "Verizon"}).rewrite(text) == expected
