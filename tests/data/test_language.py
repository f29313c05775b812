from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.data.planted_faults import SWITCHED
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.language import KNOWN, language_of, languages_of, switched
from tunekeeper.data.quality import examine

TEXTS = {
    "en": "The parcel is not here and we have to wait for it. Can you please tell me what happened?",
    "de": "Das Paket ist nicht da und ich warte seit Montag. Können Sie mir bitte sagen, wo es ist?",
    "fr": "Le colis n'est pas arrivé et je ne sais pas où il est. Pouvez-vous me dire ce qui se passe dans votre dépôt ?",
    "es": "El paquete no ha llegado y no sé dónde está. ¿Me puede decir lo que pasa con mi pedido, por favor?",
    "it": "Il pacco non è arrivato e non so dove sia. Mi può dire che cosa è successo con il mio ordine, per favore?",
    "pt": "A encomenda não chegou e eu não sei onde está. Você pode me dizer o que aconteceu com o meu pedido?",
    "nl": "Het pakket is er niet en ik weet niet waar het is. Kunt u mij zeggen wat er met mijn bestelling is?",
    "sv": "Paketet har inte kommit och jag vet inte var det är. Kan ni säga vad som har hänt med min beställning?",
    "da": "Pakken er ikke kommet, og jeg ved ikke, hvor den er. Kan I sige mig, hvad der er sket med min ordre af i går?",
    "pl": "Paczka nie przyszła i nie wiem, gdzie jest. Czy mogą mi państwo powiedzieć, co się z nią stało i jak to możliwe?",
    "cs": "Balík ještě není tady a já nevím, kde je. Můžete mi prosím říct, jak se to stalo a kdy bude můj balík tady?",
    "fi": "Paketti ei ole tullut ja en tiedä, missä se on. Voitteko kertoa, mikä on ongelma ja miten minun pitää tehdä?",
    "hu": "A csomag még nem érkezett meg, és nem tudom, hol van. Meg tudja mondani, hogy mi történt, vagy kell még várni?",
    "id": "Paket saya belum sampai dan saya tidak tahu di mana. Apa yang bisa saya lakukan untuk pesanan ini?",
    "ro": "Coletul nu a ajuns și nu știu unde este. Puteți să îmi spuneți ce s-a întâmplat cu comanda mea, vă rog?",
    "tr": "Kargom daha gelmedi ve nerede bilmiyorum. Bu sipariş için ne yapmam gerek, lütfen bana bir bilgi verir misiniz?",
    "vi": "Gói hàng của tôi vẫn chưa đến và tôi không biết nó ở đâu. Bạn có thể cho tôi biết chuyện gì đã xảy ra không?",
    "ru": "Посылка не пришла, и я не знаю, где она.",
    "uk": "Посилка не прийшла, і я не знаю, де вона.",
    "el": "Το δέμα δεν έφτασε.",
    "ar": "لم يصل الطرد بعد",
    "he": "החבילה לא הגיעה",
    "hi": "पैकेज नहीं आया",
    "th": "พัสดุยังไม่มาถึง",
    "ja": "荷物がまだ届いていません。",
    "zh": "包裹还没有到。",
    "ko": "소포가 아직 도착하지 않았습니다.",
}


@pytest.mark.parametrize("code", KNOWN)
def test_a_plain_sentence_of_each_known_language_is_told(code: str) -> None:
    assert language_of(TEXTS[code]) == code


@pytest.mark.parametrize(
    "text",
    ["", "42 %", "Yes", "OK thanks", '{"category": "bug"}', "SELECT id FROM rows", "Ana Leo Olga Jon", "Kubernetes nginx curl"],
)
def test_of_too_little_nothing_is_said(text: str) -> None:
    assert language_of(text) is None


def test_a_foreign_name_in_a_text_changes_nothing() -> None:
    assert language_of(TEXTS["en"] + " It was sold as 東京 in Wien.") == "en"


@pytest.mark.parametrize(
    "text", ["A slot without a price costs nothing, as a rule", "A budget is a calendar day, as we do no other"]
)
def test_english_with_the_little_words_of_others_is_not_taken_for_them(text: str) -> None:
    assert language_of(text) in ("en", None)


def test_a_row_that_answers_in_another_language_is_told_where_hardly_any_does(row: Callable[..., Example]) -> None:
    same = [
        row(f"Where is my parcel number {i}? I have waited for it since May.", f"It is on the way to you, van {i}.")
        for i in range(40)
    ]
    odd = [row(*pair, id=f"odd{i}") for i, pair in enumerate(SWITCHED)]
    found = switched([*same, *odd])
    assert [(f.kind, f.id) for f in found] == [("language", f"odd{i}") for i in range(3)]
    assert found[0].detail == "asked in de, answered in en; 40 of 43 rows are answered in the language they ask in"
    assert switched([*same[:5], *odd]) == [], "too few to know what is usual"
    assert switched([*same, *odd * 4]) == [], "a set of translations"


def test_a_question_without_a_telling_letter_may_be_in_either_language_of_its_script(row: Callable[..., Example]) -> None:
    short = "Де моя посилка, order 4412?"
    assert (language_of(short), languages_of(short)) == (None, ("uk", "ru"))
    assert language_of("Где је мој пакет? Она ждёт.") is None, "letters of Serbian are not Russian"
    same = [row("Где она? Мы ждём её.", f"Вы получите её, номер {i}.") for i in range(30)]
    assert switched([*same, row(short, "Вона вже у Львові.")]) == []
    told = "the prompt seems to be uk or ru; en is wanted"
    assert [f.detail for f in examine(row(short, "ok"), Config(languages=("en",))) if f.kind == "language"] == [told]
    assert [f for f in examine(row(short, "ok"), Config(languages=("uk",))) if f.kind == "language"] == []


def test_a_word_of_japanese_in_quotes_makes_no_japanese_question() -> None:
    assert language_of("什么是「おもてなし」？") == "zh"
    assert language_of("「安全」とは何ですか") == "ja"
