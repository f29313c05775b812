from __future__ import annotations

import pytest

from tunekeeper.data.profanity import profane


@pytest.mark.parametrize(
    "written",
    [
        *("damn", "DAMN", "d4mn", "D@MN", "d a m n", "D.A.M.N", "d-a-m-n", "daaaamn", "d*mn", "d**n", "da-mn", "d_amn"),
        *("d\u0430mn", "ｄａｍｎ", "d\u200bamn", "d\u00adamn", "d*a*m*n"),
    ],
)
def test_a_bad_word_is_known_in_disguise(written: str) -> None:
    assert profane(f"Where is my {written} parcel?", ["damn", "heck"]).startswith("bad words: ")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Adam needs it",
            "Madam, now",
            "the Amsterdam net",
            "a d am note",
            "d a mn",
            "Dam 4 north",
            "plan D a.m. noon",
            "damned",
        ),
        *("the A55 phone", "a 55 m", "as soon as", "an assassin", "good", "d***", "d4m4n", "code 4m4", "goood", "****"),
        *("D, A, M, N", "d/a/m/n", "condamner", "A.S.A.P.", "año", "8008 5h0p"),
    ],
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert profane(text, ["damn", "ass", "god", "ano", "boob"]) == ""


def test_words_of_other_scripts_and_of_several_words_are_known_as_they_are_written() -> None:
    assert profane("так д у р а к и", ["дурак", "дураки"]) == "bad words: д у р а к и"
    assert profane("tu es un c0nnard", ["connard", "va te faire"]) == "bad words: c0nnard"
    assert profane("Va te  faire!", ["connard", "va te faire"]) == "bad words: Va te  faire"
    assert profane("馬鹿だ", ["馬鹿"]) == "bad words: 馬鹿"
    assert profane("fine", []) == ""
