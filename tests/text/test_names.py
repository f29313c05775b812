"""Detectors of names: the list, a function of somebody's own, Presidio where it is installed."""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.text.names import MOST_WORDS, Listed, detector
from tunekeeper.text.redaction import NAME, Redactor


def redacted(names: list[str], text: str, *, any_case: bool = False) -> str:
    return Redactor(["email", NAME], names=Listed(names, any_case=any_case)).redact(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ana Müller called, Ana's parcel too", "[NAME] called, [NAME]'s parcel too"),
        ("Dear Ana, bye", "Dear [NAME], bye"),
        ("Anatomy and Mariana", "Anatomy and Mariana"),
        ("Ana\u00a0Müller; ana müller", "[NAME]; ana müller"),
        ("Ana. Müller", "[NAME]"),
        ("Jean-Luc O'Neill asked 李雷", "[NAME] asked [NAME]"),
        ("Ana Müller-Schmidt", "[NAME] Müller-Schmidt"),
        ("ana@example.com is Ana", "[EMAIL] is [NAME]"),
        ("", ""),
    ],
)
def test_whole_words_of_the_list_are_names_and_the_longest_counts(text: str, expected: str) -> None:
    assert redacted(["Ana", "Ana Müller", "Jean-Luc O'Neill", "李雷"], text) == expected


def test_capitals_do_not_matter_where_they_should_not() -> None:
    assert redacted(["Ana Müller"], "ANA MÜLLER and ana müller", any_case=True) == "[NAME] and [NAME]"


def test_a_list_is_read_from_a_file_and_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\ufeff# customers\nAna Müller\n\nBo\n", "utf-8")
    options = {"detector": "list", "file": "names.txt"}
    assert detector(options, tmp_path).find("Bo and Ana Müller") == [(0, 2), (7, 17)]
    file.write_text("Carla\nwith another length\n", "utf-8")
    assert detector(options, tmp_path).find("Bo and Carla") == [(7, 12)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "which detector"),
        ({"detector": "lists"}, "known: list, presidio"),
        ({"detector": "list"}, "file"),
        ({"detector": "list", "file": "none.txt"}, "none.txt"),
        ({"detector": "list", "file": "names.txt", "case": "some"}, "exact, any"),
        ({"detector": "list", "file": "long.txt"}, f"1 to {MOST_WORDS} words"),
        ({"detector": "nowhere.at_all:find"}, "cannot be loaded"),
        ({"detector": "math:pi"}, "no function"),
    ],
)
def test_what_is_no_detector_is_one_line(tmp_path: Path, options: dict[str, str], said: str) -> None:
    (tmp_path / "names.txt").write_text("Ana\n")
    (tmp_path / "long.txt").write_text("a b c d e f g h i\n")
    with pytest.raises(ConfigError, match=said):
        detector(options, tmp_path)


def test_a_function_of_ones_own_finds_names_and_is_not_believed_blindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_names.py").write_text(
        "def good(text):\n    return [(0, 3), (5, 900), (2, 1)]\n\ndef bad(text):\n    return ['Ana']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = detector({"detector": "own_names:good"}, tmp_path)
    assert Redactor([NAME], names=found).redact("Ana is here") == ("[NAME] is here", {"name": 1})
    with pytest.raises(ConfigError, match="gave no spans"):
        detector({"detector": "own_names:bad"}, tmp_path).find("Ana")
    sys.modules.pop("own_names")


def test_names_without_a_detector_are_refused_and_with_one_anything_may_hold_some() -> None:
    with pytest.raises(ConfigError, match="names need a detector"):
        Redactor([NAME])
    assert Redactor([NAME], names=Listed(["Ana"])).may_hold(b"hello")
    assert not Redactor(["email"], names=Listed(["Ana"])).may_hold(b"hello")


def test_time_grows_with_the_text_however_long_the_list_is() -> None:
    rng = random.Random(7)
    finder = Listed([f"N{rng.randrange(10**9)}x Ypsilon" for _ in range(50_000)] + ["a " * 7 + "b"], any_case=True)

    def seconds(n: int) -> float:
        begin = time.thread_time()
        finder.find("a " * n)
        return time.thread_time() - begin

    seconds(1_000)
    least = {n: min(seconds(n) for _ in range(5)) for n in (8_000, 80_000)}  # whatever else a process does only adds
    assert least[80_000] < 30 * least[8_000] + 0.3


def test_presidio_says_what_is_missing() -> None:
    if importlib.util.find_spec("presidio_analyzer") is not None:
        pytest.skip("Presidio is installed here")
    with pytest.raises(ConfigError, match="Presidio is not installed") as told:
        detector({"detector": "presidio"}, Path())
    assert "tunekeeper[pii]" in str(told.value.fix)


@pytest.mark.skipif(importlib.util.find_spec("presidio_analyzer") is None, reason="needs the extra tunekeeper[pii]")
def test_presidio_finds_names_with_a_recognizer_of_ones_own_and_needs_a_model_else(tmp_path: Path) -> None:
    import spacy  # type: ignore[import-not-found]

    with pytest.raises(ConfigError, match="the language model en_core_web_lg is not installed"):
        detector({"detector": "presidio"}, tmp_path)
    spacy.blank("en").to_disk(tmp_path / "blank")
    (tmp_path / "analyzer.yaml").write_text(
        "supported_languages: [en]\n"
        "nlp_configuration:\n  nlp_engine_name: spacy\n"
        f"  models: [{{lang_code: en, model_name: {tmp_path / 'blank'}}}]\n"
        "recognizer_registry:\n  supported_languages: [en]\n  recognizers:\n"
        "    - {name: Customers, supported_language: en, supported_entity: PERSON, deny_list: [Ana Smith], type: custom}\n"
    )
    finder = detector({"detector": "presidio", "config": "analyzer.yaml"}, tmp_path)
    assert Redactor([NAME], names=finder).redact("I am Ana Smith, hi") == ("I am [NAME], hi", {"name": 1})
