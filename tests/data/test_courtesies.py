from __future__ import annotations

import pytest

from tunekeeper.data import courtesies
from tunekeeper.text.fingerprints import normalise


def plain(answer: str) -> str:
    return courtesies.plain(normalise(answer))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Hold it for 5 seconds, thanks for asking.", "Hold it for 5 seconds."),
        ("Thanks for asking! It is under Billing.", "it is under billing"),
        ("Sure: open Plans. Let me know if you need anything else!", "Open Plans"),
        ("Hi there! Great question. It opens at nine. I hope this helps. Have a great day!", "It opens at nine"),
        ("Guten Tag, halten Sie die Taste. Ich hoffe, das hilft! Freundlichen Grüßen", "Halten Sie die Taste."),
        ("Bonjour, ouvrez Commandes. N'hésitez pas à nous écrire. Bonne journée !", "Ouvrez Commandes"),
        ("¡Claro! Abra Ajustes. Saludos cordiales", "Abra Ajustes."),
        ("Certo, apra il menu. Buona giornata!", "Apra il menu"),
        ("Olá! Abra o menu. Espero ter ajudado.", "Abra o menu"),
        ("Natuurlijk, open het menu. Fijne dag nog!", "Open het menu"),
        ("Dzień dobry! Proszę otworzyć menu. Pozdrawiam", "Proszę otworzyć menu"),
        ("Здравствуйте! Откройте меню. Хорошего дня!", "Откройте меню"),
        ("お問い合わせありがとうございます。設定を開いてください。よろしくお願いいたします。", "設定を開いてください。"),
        ("您好！请打开设置。祝您生活愉快！", "请打开设置"),
    ],
)
def test_courtesies_before_and_behind_an_answer_say_nothing(answer: str, said: str) -> None:
    assert plain(answer) == plain(said)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Thanks to Ana it works.", "It works."),
        ("Yes, open Plans.", "Open Plans."),
        ("No.", "Sure."),
        ("Sure thing", "Of course"),
        ("It works. Feel free to contact us at 4711.", "It works."),
        ("x = -5, thanks", "x = 5"),
        ("He has gone.", "He had gone."),
        ("Sure-fire steps help.", "Fire steps help."),
        ('{"note": "sure, thanks"}', '{"note": "sure"}'),
    ],
)
def test_what_tells_something_is_no_courtesy(one: str, other: str) -> None:
    assert plain(one) != plain(other)


def test_an_answer_of_nothing_but_courtesies_says_these() -> None:
    assert plain("Thank you! Have a nice day.") == plain("Have a nice day") == "have a nice day"
