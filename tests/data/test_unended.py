"""Answers that stop without an end mark where nearly every answer has one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts
from tunekeeper.data.config import Config
from tunekeeper.data.quality import READMITTED
from tunekeeper.data.unended import LEAST, unended
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SENTENCES = {
    "en": "We sent the money back to your card. It takes up to five days until your bank shows it. Please open the settings of "
    "the app and choose the new plan there. Did the second mail reach you on Monday? The courier rings twice before he leaves.",
    "de": "Das Geld ist auf dem Weg zu Ihrer Bank. Bitte öffnen Sie danach die Einstellungen. Haben Sie die zweite Mail? "
    "Der Kurier klingelt zweimal und kommt am Abend wieder! Die neue Karte liegt in fünf Tagen im Briefkasten.",
    "ar": "يمكنك تغيير كلمة المرور من صفحة الإعدادات. هل وصلك البريد الإلكتروني اليوم؟ سيتم رد المبلغ خلال خمسة أيام عمل."
    " يرجى إعادة تشغيل التطبيق.",
    "hi": "आप सेटिंग पेज से पासवर्ड बदल सकते हैं। कृपया ऐप को फिर से शुरू करें। पैसे पाँच दिनों में वापस आ जाएंगे। क्या आपको दूसरा ईमेल मिला?",
    "zh": "您可以在设置页面更改密码。 请重新启动应用程序然后再试一次。 退款通常需要五个工作日。 您收到第二封确认邮件了吗？",
    "ja": "設定画面の左のメニューから請求を選んでください。 "
    "商品は三日以内に届く予定です。 返金は銀行の処理により数日かかることがあります。",
}
CUT = {
    "en": "We sent the money back to your card and it will be sho",
    "de": "Wir haben die neue Karte gestern mit dem zweiten Brie",
    "ar": "يرجى إعادة تشغيل التطبيق ثم المحاولة مرة",
    "hi": "कृपया सेटिंग पेज से अपना पासवर्ड बदलने के लिए दिए ग",
    "zh": "请重新启动应用程序然后再试一次如果还是不行请联",
    "ja": "返金は銀行の処理により数日かかることがありますので別の住",
}


@pytest.fixture(scope="module")
def said() -> dict[str, list[str]]:
    """Language → 60 different answers in prose."""
    rng = random.Random(4)
    parts = {code: text.replace("? ", "?\n").replace("！", "！\n").split("\n") for code, text in SENTENCES.items()}
    parts = {code: [s for p in each for s in _sentences(p)] for code, each in parts.items()}
    blank = {code: "" if code in ("zh", "ja") else " " for code in parts}
    return {code: [f"{i} {blank[code].join(rng.sample(each, 3))}" for i in range(60)] for code, each in parts.items()}


def _sentences(text: str) -> list[str]:
    return [s + mark for mark in ".。।" for s in text.split(f"{mark} ") if mark in text] or [text]


def rows(row: MakeExample, answers: Sequence[str], asked: str = "How is it with my order number {}?") -> list[Example]:
    return [row(asked.format(i), answer, id=f"{asked[:3]}{i}-{len(answers)}") for i, answer in enumerate(answers)]


@pytest.mark.parametrize("code", SENTENCES)
def test_an_answer_cut_off_in_its_first_sentence_is_suspected_where_all_others_end(
    code: str, said: dict[str, list[str]], row: MakeExample
) -> None:
    found = unended([*rows(row, [f"{text.rstrip('.')}." for text in said[code]]), row("and now?", CUT[code], id="cut")])
    assert [(f.kind, f.id) for f in found] == [("truncated", "cut")]
    assert "no end mark; 60 of 61 answers have one" in found[0].detail


@pytest.mark.parametrize(
    "complete",
    [
        "Shipping and customs",
        "Do this:\n\n1. open the settings of the app\n2. choose the new plan there",
        "open the settings of the app\nchoose the new plan there\nwait until the lamp is green",
        "open the door at night\nand see the quiet garden\nunder all the snow",
        "    total = first + second\n    return total if total else other",
        "SELECT name FROM users WHERE id = 3 ORDER BY name",
        "git commit --amend and then push again",
        "The Gherkin, 30 St Mary Axe, London EC3A",
        "New Courier Brings Every Parcel On Monday",
        "We sent the money back to your card today \N{SLIGHTLY SMILING FACE}",
        "We sent the money back to your card today :)",
        "**We sent the money back to your card today**",
        "You find all of it under https://example.com/help",
        "Status: we sent the money back to your card",
        "| day | what |\n|---|---|\n| Monday | we sent the money back |",
        "It is on its way.\n\nKind regards from all of us here",
        '{"category": "we sent the money back"}',
        "ログインした後に左のメニューから請求を選んでください",
        "설정 페이지에서 새 비밀번호를 바로 변경할 수 있습니다",
        "คุณสามารถเปลี่ยนรหัสผ่านได้ในหน้าการตั้งค่า",
    ],
)
def test_what_ends_without_a_mark_by_its_nature_is_not_suspected(
    complete: str, said: dict[str, list[str]], row: MakeExample
) -> None:
    usual = [f"{text.rstrip('.')}." for text in said["en"]] + said["ja"]
    assert unended([*rows(row, usual), row("and now?", complete, id="complete")]) == []


def test_nothing_is_suspected_where_a_mark_is_not_usual(said: dict[str, list[str]], row: MakeExample) -> None:
    cut = row("and now?", CUT["en"], id="cut")
    chat = [text.rstrip(".?!") for text in said["en"]]
    assert unended([*rows(row, said["en"][: LEAST - 2]), cut]) == [], "too few to know what is usual"
    assert unended([*rows(row, [*said["en"][:50], *chat[:10]]), cut]) == [], "a sixth of all answers have none"
    assert unended(rows(row, said["en"])) == []
    assert unended([]) == []


def test_a_row_is_held_against_those_that_are_asked_as_it_is(said: dict[str, list[str]], row: MakeExample) -> None:
    usual = rows(row, said["en"] * 4)
    heads = [f"the courier rings {i} times before he leaves" for i in range(12)]
    assert unended([*usual, *rows(row, heads, "Write a headline about {}")]) == []
    topic = [row(f"about {i}", text, id=f"t{i}", category="headline") for i, text in enumerate(heads)]
    assert unended([*usual, *topic]) == []
    assert len(unended([*usual, *[row(f"{i} about", text, id=f"n{i}") for i, text in enumerate(heads)]])) == 12
    same = [row(f"{i} about", heads[0], id=f"s{i}") for i in range(5)]
    assert unended([*usual, *same]) == [], "an answer that is given again is no accident"


def test_a_check_says_it_once_and_takes_a_persons_word(
    ws: Workspace, task: Model, said: dict[str, list[str]], row: MakeExample
) -> None:
    usual = rows(row, said["en"])
    known = row("and what?", "We sent the money back to your card and to the", id="known")
    wanted = row("and when?", CUT["en"], id="wanted", **{READMITTED: {"truncated": "2026-11-22"}})
    drafts.save_draft(ws, "desk", [*usual, known, wanted, row("and now?", CUT["en"] + "w", id="cut")])
    found = checks.check(ws, task, Config(), only="truncated")
    assert sorted(str(f.id) for f in found.findings) == ["cut", "known"]
