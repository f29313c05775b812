"""The tokenizer of a checkpoint as transformers makes it, where that is installed: what a model is trained with.

transformers 5 makes many kinds anew out of vocabulary and merges, by what `tokenizer_class` says (of Llama, GPT-2, T5, BERT and
more), and does not ask tokenizer.json how to cut and normalise. So the ids may be others than tokenizer.json alone gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, MissingExtra
from tunekeeper.text.tokenizers import TokenizerFiles, read_settings, read_tokenizer


@dataclass(frozen=True, kw_only=True)
class Rebuilt(TokenizerFiles):
    """Files of a folder with the tokenizer that transformers makes of them."""

    made: Any
    """It."""

    def special(self) -> dict[str, str]:
        """The special tokens that are set: a class has some of its own where the settings name none."""
        return {name: text for name, text in self.made.special_tokens_map.items() if isinstance(text, str)}

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        """The token ids of a text."""
        return list(self.made.encode(text, add_special_tokens=add_special, verbose=False))


def load_rebuilt(folder: Path) -> TokenizerFiles:
    """The tokenizer in `folder`, with or without a tokenizer.json. Runs no code of it. Raises ArtifactError where transformers
    cannot load it, MissingExtra where transformers is needed and not installed."""
    files = read_settings(folder)
    if (folder / "tokenizer.json").is_file():
        files = read_tokenizer(folder)
        if files.known:
            return files
    with _in_one_line(folder):
        from transformers import AutoTokenizer
        from transformers.utils import logging

        said = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)  # what it says of files that it cannot read is in its error as well
        try:
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        finally:
            logging.set_verbosity(said)
    if made.get_vocab().keys() <= {*made.all_special_tokens, *made.get_added_vocab()}:
        raise ArtifactError(f"{folder}: transformers finds no vocabulary for its tokenizer", fix="save it with a tokenizer.json")
    return Rebuilt(**{each.name: getattr(files, each.name) for each in fields(TokenizerFiles)}, made=made)


@contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """What transformers says of files that it cannot load, as one of our errors."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise MissingExtra("transformers is not installed", fix="pip install 'tunekeeper[train]'") from None
    except Exception as error:  # whatever is wrong with the files comes out in its own way
        why = next(iter(str(error).strip().splitlines()), "")[:200]
        raise ArtifactError(
            f"{folder}: transformers cannot load its tokenizer: {type(error).__name__}: {why}",
            fix="save it with a tokenizer.json",
        ) from error
