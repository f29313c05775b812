"""What an answer says besides its courtesies: the greeting before it, the thanks, wishes and offers behind it. Pure.

Two answers to one question that differ in nothing else do not contradict each other. Only phrases at the beginning and at the
end are left away, and only where a mark parts them from the rest: `Sure, it is blue` says `It is blue`, `Thanks to Ana it is`
does not.
"""

from __future__ import annotations

import re

from tunekeeper.text.fingerprints import normalise

_THANKS = r"""
    (?:many )?thanks(?: a lot| so much)?(?: for (?:asking|reaching out|writing|your \w+|the question|contacting us|waiting))?
    thank you(?: so much| very much)?(?: for (?:asking|reaching out|writing|your \w+|the question|contacting us|waiting))?
    (?:vielen |herzlichen |besten )?danke?(?: schön)?(?: für (?:die|ihre|deine|eure) \w+)?
    merci(?: beaucoup| bien)?(?: (?:pour|de) (?:votre|ta|ton) \w+)?
    (?:muchas |mil )?gracias(?: por (?:(?:su|tu) )?\w+)?
    (?:molte |tante )?grazie(?: mille)?(?: per (?:la|il) (?:sua|tua|suo|tuo) \w+)?
    (?:muito )?obrigad[oa](?: pel[oa] (?:sua |seu |tua |teu )?\w+)?
    (?:hartelijk )?(?:dank|bedankt)(?: (?:je|u) wel)?(?: voor (?:uw|je|de|het) \w+)?
    (?:bardzo )?dziękuj(?:ę|emy)(?: za \w+)?
    (?:большое )?спасибо(?: за (?:ваш |ваше )?\w+)?
    (?:ご質問|ご連絡|お問い合わせ)?(?:いただき|を)?、?(?:誠に)?ありがとうございます
    (?:谢谢|感谢)(?:您|你)?(?:的)?(?:提问|咨询|来信|耐心等待)?
    (?:문의(?:해)? ?주셔서 )?감사합니다
"""
_BEFORE = r"""
    (?:hello|hi|hey)(?: there)?
    good (?:morning|afternoon|evening)
    (?:good|great|excellent) question
    (?:sure(?: thing)?|certainly|of course|no problem|glad you asked|happy to help|you're welcome)
    (?:i(?:'d| would) be|i'm|i am) (?:happy|glad) to help(?: you)?(?: with (?:that|this))?
    (?:hallo|guten (?:tag|morgen|abend)|gern|gerne|natürlich|selbstverständlich|gute frage|kein problem)
    (?:bonjour|bonsoir|salut|bien sûr|avec plaisir|(?:bonne|excellente) question|pas de problème)
    ¡?(?:hola|buenos días|buenas tardes|buenas noches|claro(?: que sí)?|por supuesto|con (?:mucho )?gusto|buena pregunta)
    (?:ciao|salve|buongiorno|buonasera|certo|certamente|volentieri|(?:buona|ottima) domanda)
    (?:olá|oi|bom dia|boa tarde|boa noite|claro|com certeza|boa pergunta)
    (?:hoi|goededag|goedemorgen|goedemiddag|goedenavond|natuurlijk|graag|goede vraag)
    (?:dzień dobry|cześć|witam|oczywiście|jasne|dobre pytanie)
    (?:здравствуйте|привет|добрый день|добрый вечер|доброе утро|конечно|хороший вопрос)
    (?:こんにちは|もちろんです)
    (?:您好|你好|当然)
    (?:안녕하세요|물론입니다)
"""
_BEHIND = r"""
    (?:i )?hope (?:this|that|it) helps
    (?:please )?let (?:me|us) know if (?:you (?:need|have) (?:any|more|further|other)|there is any|there's any|(?:i|we) can)…
    (?:please )?(?:don't|do not) hesitate to …
    (?:please )?feel free to (?:ask|contact us|reach out|write)…
    (?:is there|do you need) anything else…
    (?:i wish you|have) an? (?:great|nice|good|lovely|wonderful) (?:day|evening|weekend|one)
    (?:(?:kind|best|warm) regards|cheers|you're welcome|happy to help|take care)
    ich hoffe, (?:das|dies) hilft(?: ihnen| dir)?(?: weiter)?
    (?:einen )?schönen (?:tag|abend)(?: noch)?
    (?:(?:mit )?freundlichen grüßen|(?:viele|beste|liebe) grüße|gern geschehen)
    bei (?:weiteren )?fragen (?:melden sie sich|stehen wir|helfen wir|sind wir)…
    (?:(?:bonne journée|bonne soirée|cordialement)|j'espère que (?:cela|ça) …|n'hésitez pas à …)
    (?:que tengas? )?(?:un )?buen día
    (?:saludos(?: cordiales)?|espero que (?:esto )?(?:le |te )?(?:ayude|sirva)|no dude en …)
    (?:buona giornata|cordiali saluti|spero (?:che )?(?:questo )?(?:ti |le )?(?:sia utile|sia d'aiuto|aiuti)|non esiti a …)
    (?:tenha um (?:bom|ótimo) dia|cumprimentos|espero ter ajudado|espero que (?:isso|isto) ajude)
    (?:fijne dag(?: nog)?|(?:met )?vriendelijke groet(?:en)?|ik hoop dat (?:dit|het) helpt)
    (?:miłego dnia|pozdrawiam|pozdrawiamy|mam nadzieję, że to pomoże)
    (?:хорошего дня|с уважением|надеюсь, это поможет|обращайтесь)
    (?:お役に立てれば幸いです|(?:どうぞ)?よろしくお願い(?:いた)?します)
    (?:希望(?:这)?对您有(?:所)?帮助|祝您(?:生活)?愉快)
    도움이 되(?:길 바랍니다|었기를 바랍니다)
"""
_OPEN_END = r"[^.!?\d@:]{0,60}"
"""What an offer may go on with: no number and no address, which would be something to know."""
_PARTED = r"[.,!?;:…。、～–—-]+(?:\s+|(?=[^\x00-\u02ff]))"
"""What stands between a courtesy and what is said."""
_LOOKED_AT = 160
"""Characters at the end of an answer among which its last courtesy is looked for."""
_MOST = 4
"""Courtesies at one end of an answer."""


def _either(*lists: str) -> str:
    """A pattern of any of the phrases, in small letters as `normalise` makes them."""
    found = [line.strip().casefold().replace("…", _OPEN_END) for each in lists for line in each.strip().splitlines()]
    return f"(?:{'|'.join(found)})"


_OPENING = re.compile(rf"{_either(_THANKS, _BEFORE)}\s?{_PARTED}")
_CLOSING = re.compile(rf"¿?¡?{_either(_THANKS, _BEHIND)}")
_BETWEEN = re.compile(_PARTED)
_OUTER = "。！？…¡¿、～ "


def plain(said: str) -> str:
    """An answer without its courtesies; with them where there is nothing else, and JSON as it is. `said`: as `normalise` writes
    it."""
    if said.startswith(("{", "[")):
        return said
    text = whole = said.strip(_OUTER)
    for _ in range(_MOST):
        if (opening := _OPENING.match(text)) is None:
            break
        text = text[opening.end() :].lstrip(_OUTER)
    for _ in range(_MOST):
        if (end := _ends(text)) == len(text):
            break
        text = text[:end].rstrip(_OUTER)
    return whole if text == whole else normalise(text) or whole


def _ends(text: str) -> int:
    """Where a text ends without its last courtesy, which has at most one mark inside."""
    marks = list(_BETWEEN.finditer(text, max(0, len(text) - _LOOKED_AT)))[-2:]
    return next((mark.start() for mark in marks if _CLOSING.fullmatch(text, mark.end())), len(text))
