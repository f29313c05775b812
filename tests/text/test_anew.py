"""The yardstick is what `AutoTokenizer` of the installed transformers makes of the same folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.deployment.checkpoints import LOADED, TOLD, make_all
from tests.once import made_once
from tunekeeper.text.tokenizers import read_tokenizer


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<number>/`, a tokenizer of `LOADED` each."""
    return made_once(tmp_path_factory, "checkpoints", make_all) / "tokenizers"


@pytest.mark.parametrize("number", range(len(LOADED)), ids=lambda number: "-".join(map(str, LOADED[number])))
def test_a_text_becomes_the_ids_that_transformers_gives_it(made: Path, number: int) -> None:
    ours, theirs = read_tokenizer(made / str(number)), json.loads((made / str(number) / "loaded.json").read_text())

    assert [ours.encode(text) for text in TOLD] == theirs["ids"]
    assert [ours.encode(text, add_special=True) for text in TOLD] == theirs["whole"]
    assert ours.special() == theirs["special"]
    assert ours.vocabulary == theirs["vocabulary"]


@pytest.mark.parametrize("number", [3, 5, 12, 19])
def test_a_file_that_is_taken_as_it_stands_is_read_as_it_stands(made: Path, number: int) -> None:
    files = read_tokenizer(made / str(number))

    assert not files.anew
    assert files.tokenizer == json.loads((files.folder / "tokenizer.json").read_text())


def test_a_configuration_that_cannot_be_read_says_nothing_of_the_family(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "14", tmp_path / "copy"))
    assert read_tokenizer(folder).anew
    (folder / "config.json").write_text("{")

    assert not read_tokenizer(folder).anew
