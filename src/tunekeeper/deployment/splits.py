"""How llama.cpp splits text where it has no exact twin of a tokenizer's expression: the same expression that it runs, put into
the training-time tokenizer, says which texts become other tokens there, and in how many rows of a project that happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tunekeeper.text.tokenizers import TokenizerFiles

_FIRST = r"[^\r\n\p{L}\p{N}]?"
_CASED, _CASED_MARKED = r"(?:(?=[\p{L}])[^%s])", r"(?:(?=[\p{L}\p{M}])[^%s])"
_ENDING = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(letter: str, ending: str) -> str:
    upper, lower = letter % "a-z", letter % "A-Z"
    return rf"{_FIRST}{upper}*{lower}+{ending}|{_FIRST}{upper}+{lower}*{ending}|"


EXPRESSIONS = {
    "granite-embed-multi-97m": _words(_CASED_MARKED, f"{_ENDING}?") + r"\p{N}{1,3}" + _REST,
    "tekken": _words(_CASED, "") + r"\p{N}" + _REST,
    "qwen35": _ENDING + rf"|{_FIRST}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""llama.cpp's name of a pre-tokenizer without an exact twin → the expression that it runs."""
OTHERS: dict[str, tuple[str, ...]] = {"tekken": ("qwen35",)}
"""Name → others that come near as well, and differ elsewhere: qwen35 keeps marks and capitals, and splits O'Donnell."""
ROWS = 2000
"""Rows that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The pre-tokenizer for a project's rows."""

    pre: str
    """llama.cpp's name of it."""
    rows: int
    """Rows that were looked at."""
    differ: int
    """Those that become other tokens than in training."""

    @property
    def note(self) -> str:
        """How many rows are affected, in one line."""
        return f"{self.differ} of the {self.rows} rows that were looked at become other tokens in llama.cpp than in training"


def choose(files: TokenizerFiles, pre: str, rows: Iterable[tuple[str, ...]], whole: Callable[[str], bool]) -> Choice:
    """`pre`, or another that comes near where only that one gives the token ids of training in all `rows` (texts of each).

    `whole`: whether a name can be used with this tokenizer's way of merging. Pure.
    """
    known = list(rows)[:ROWS]
    found = [Choice(pre=name, rows=len(known), differ=_differing(files, name, known)) for name in (pre, *OTHERS.get(pre, ()))]
    return next((choice for choice in found if not choice.differ and (choice.pre == pre or whole(choice.pre))), found[0])


def _differing(files: TokenizerFiles, pre: str, rows: list[tuple[str, ...]]) -> int:
    same = same_ids(files, pre)
    return sum(not all(same(text) for text in texts) for texts in rows)


def same_ids(files: TokenizerFiles, pre: str) -> Callable[[str], bool]:
    """Whether a text becomes the token ids of training with llama.cpp's `pre`; always, where that is an exact twin."""
    expression = EXPRESSIONS.get(pre)
    if expression is None:
        return lambda text: True
    from tokenizers import Tokenizer

    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    steps = {"type": "Sequence", "pretokenizers": [split, bytes_only]}
    model = {**files.tokenizer["model"], "ignore_merges": pre != "qwen35"}
    served = Tokenizer.from_str(json.dumps({**files.tokenizer, "pre_tokenizer": steps, "model": model}))
    return lambda text: list(served.encode(text, add_special_tokens=False).ids) == files.encode(text)
