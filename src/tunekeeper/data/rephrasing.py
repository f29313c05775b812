"""What lies between two questions: nothing that matters, an identifier, a few words, or the point. Pure.

Greetings, politeness, articles and spelling do not matter. An order number may or may not: it does where the answer is looked up,
it does not where the answer is a label. Numbers, negations and question words are the point, and so are other words, unless two
long questions are nearly the same as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from tunekeeper.text.shingles import tokens

Difference = Literal["nothing", "words", "point"]
_SAID_ANYWAY = """
    a an the please kindly hi hello hey dear thanks thank you thx cheers regards greetings sincerely so just really very well ok
    okay oh um also would could can i im id me my we our us is am are was were be been got get have has had do does did sir madam
    team there everyone

    bitte danke dankeschön hallo guten tag morgen abend sehr geehrte geehrter damen und herren liebe lieber viele vielen
    freundliche freundlichen grüße grüßen gruß mfg lg denn doch eigentlich gern gerne der das ein eine einen einem ist sind

    bonjour bonsoir salut merci beaucoup svp stp s'il vous te plaît plait cordialement le la les l un une est sont mon ma mes

    hola buenos buenas días dias tardes noches por favor gracias muchas saludos cordiales el los las un una es está esta mi mis

    salve ciao buongiorno buonasera per favore piacere grazie mille cordiali saluti gentile il lo gli è mio mia miei

    olá ola bom boa tarde noite obrigado obrigada cumprimentos uma meu minha

    goedemorgen goedemiddag goedendag dag alstublieft alsjeblieft bedankt dank groet groeten vriendelijke met de het een mijn

    dzień dobry cześć witam proszę dziękuję pozdrawiam jest mój moja moje

    здравствуйте привет добрый день пожалуйста подскажите спасибо уважением мой моя моё мои

    مرحبا السلام عليكم أهلا صباح الخير من فضلك فضلكم لو سمحت سمحتم شكرا شكرًا جزيلا

    안녕하세요 안녕하십니까 감사합니다 부탁드립니다 부탁해요 혹시

    merhaba selam lütfen teşekkürler teşekkür ederim iyi günler hej tack vänligen snälla takk tak venlig hilsen

    добрий день будь ласка підкажіть дякую dobrý den prosím děkuji bună ziua vă rog mulțumesc jó napot kérem köszönöm hei kiitos
    γεια σας παρακαλώ ευχαριστώ नमस्ते नमस्कार कृपया धन्यवाद שלום בבקשה תודה سلام لطفا لطفاً ممنون متشکرم
    xin chào vui lòng ạ cảm ơn halo tolong mohon terima kasih
"""
FILLERS = frozenset(tokens(_SAID_ANYWAY))
"""Words that carry no question of their own."""
_POLITE = re.compile(
    "你好|您好|请问|請問|谢谢|謝謝|多谢|麻烦你?|麻煩|劳驾|打扰一下|早上好|下午好|晚上好"
    "|こんにちは|こんばんは|おはようございます|すみません(?:が)?|恐れ入りますが|お願い(?:いた)?します|教えてください|ありがとうございます"
    "|สวัสดี|ขอบคุณ|กรุณา|รบกวน|(?:หน่อย|นะ)?(?:ค่ะ|คะ|ครับ|คับ)(?=\\W|\\Z)"
)
"""The same where nothing stands between words."""
POINTED = frozenset(
    tokens(
        "yes no not never none nothing without cannot cant dont doesnt didnt wont isnt arent wasnt havent hasnt un non "
        "nicht kein keine keinen keinem keiner nie niemals nichts ohne nein pas ne jamais sans rien aucun aucune nunca sin nada "
        "ningún ninguna senza mai niente nessun nessuna não nao sem nada niet geen nooit zonder nie bez nigdy не нет никогда без "
        "değil yok hayır inte ingen ikke aldrig 不 没 沒 無 无 未 非 ない ません 안 못"
    )
)
"""Words that turn a question into another one, also where nearly everything else is the same."""
_IDENTIFIER = re.compile(r"(?=.*\d)(?!(?:19|20)\d\d$)\w{4,}")
MASK = "00000"


def is_identifier(word: str) -> bool:
    """Whether a word names one thing among many, such as an order number; a year or a small amount does not."""
    return _IDENTIFIER.fullmatch(word) is not None


def essence(prompt: str) -> tuple[str, ...]:
    """The words of a question that matter, in order. All of them where none would be left."""
    words = tokens(prompt if prompt.isascii() else _POLITE.sub(" ", prompt) or prompt)
    return tuple(word for word in words if word not in FILLERS) or tuple(words)


def masked(words: Sequence[str]) -> tuple[str, ...]:
    """The words with every identifier made the same."""
    return tuple(MASK if is_identifier(word) else word for word in words)


def difference(a: Sequence[str], b: Sequence[str]) -> Difference:
    """What lies between two questions, each given as its `essence`: spelling is nothing; a number, or a word of `POINTED`, is the
    point; other words are words."""
    found: Difference = "nothing"
    for what, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        left, right = a[a1:a2], b[b1:b2]
        if len(left) == len(right) and all(map(_same_word, left, right)):
            continue
        if any(word in POINTED or any(map(str.isdigit, word)) for word in (*left, *right)):
            return "point"
        found = "words"
    return found


def shared(a: Sequence[str], b: Sequence[str]) -> float:
    """Part of the words of two questions that stand in both, in the same order, 0 to 1."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def _same_word(a: str, b: str) -> bool:
    """Whether two words are one, mistyped or in another ending: all but a letter of five is the same, or two of nine."""
    if a == b:
        return True
    if any(map(str.isdigit, a + b)) or {a, b} & POINTED or min(len(a), len(b)) < 5:
        return False
    return _edits(a, b) <= (1 if min(len(a), len(b)) < 9 else 2)


def _edits(a: str, b: str) -> int:
    """Letters to put in, take out, replace or swap with their neighbour until the words are the same."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before = before, row
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
