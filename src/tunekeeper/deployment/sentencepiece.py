"""A SentencePiece tokenizer as tokenizer.json has it, as llama.cpp's scores; refused where the two would merge differently.

transformers merges the pair that stands first in a list, llama.cpp the pair whose result has the highest score. They do the
same when every pair that could be merged is in the list, and the pairs of one result stand together in it, or are all runs of
one character (SentencePiece gives its runs of spaces one score).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.tokenizers import TokenizerFiles

_SPACE = "\u2581"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_NEVER_STRIPS = ("<unk>", "<s>", "<|endoftext|>")
"""Tokens after which llama.cpp keeps white space even where it strips it after the others."""
_INSTEAD = "serve it with vLLM, which uses the same tokenizer as training"
FIRST = "training puts a space before a text that no special token begins, llama.cpp does not: begin raw prompts with a space"
"""What a server of a tokenizer with `prepend_scheme: first` must be told; prompts of a chat begin with a special token."""
ONCE = (
    "training puts no second space before a text, or what follows a special token, that begins with one, llama.cpp does: send "
    "texts without such spaces"
)
"""The same of `prepend_scheme: always`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """What GGUF needs to know of a SentencePiece vocabulary."""

    types: list[int]
    """GGUF token types by id."""
    scores: list[float]
    """Higher is merged first."""
    unknown: int | None
    """Id for what has no token; None where there is none."""
    space_prefix: bool
    """Whether a text, also one after a special token, begins with a space."""
    stripped: bool
    """Whether white space after special tokens is dropped."""


def read(files: TokenizerFiles, vocab: int) -> Pieces:
    """The pieces of a BPE tokenizer with byte fallback, for a model of `vocab` rows. Raises ArtifactError where llama.cpp would
    make other tokens of a text."""
    where, model = files.folder / "tokenizer.json", files.tokenizer["model"]
    table = {str(text): int(id) for text, id in (model.get("vocab") or {}).items()}
    kinds = {int(added["id"]): _CONTROL if added.get("special") else _USER_DEFINED for added in files.added}
    unknown = table.get(str(model.get("unk_token")))
    octets = {table.get(f"<0x{octet:02X}>") for octet in range(256)}
    if None in octets:
        raise ArtifactError(f"{where}: byte fallback without a token for each of the 256 bytes")
    types = [_UNUSED] * vocab
    for id in (id for id in table.values() if 0 <= id < vocab):
        types[id] = _NORMAL
    for octet in octets:
        types[octet or 0] = _BYTE
    for id, kind in kinds.items():
        if 0 <= id < vocab:
            types[id] = kind
    if unknown is not None:
        types[unknown] = _UNKNOWN
    _refuse_eaten(files)
    return Pieces(
        types=types,
        scores=_scores(files, vocab),
        unknown=unknown,
        space_prefix=_space_prefix(files),
        stripped=_stripped(files),
    )


def _scores(files: TokenizerFiles, vocab: int) -> list[float]:
    """Minus the place of each token's pairs in the list of merges; single characters are never merged into."""
    where, table = files.folder / "tokenizer.json", files.vocabulary
    scores = [0.0] * vocab
    merges = [_pair(merge) for merge in files.tokenizer["model"].get("merges") or ()]
    pairs = set(merges)
    made = {text for text in table if len(text) == 1} | {left + right for left, right in merges}
    for left, right in merges:
        if not 0 <= table.get(left + right, -1) < vocab:
            raise ArtifactError(f"{where}: {left!r} and {right!r} are merged into a token that the model does not have")
    for at, texts in _blocks([left + right for left, right in merges]):
        if len(texts) > 1:
            _check_runs(where, texts, merges)
        for text in texts:
            scores[table[text]] = -float(at + 1)
    for text in table:
        for at in range(1, len(text)):
            pair = (text[:at], text[at:])
            if pair not in pairs and pair[0] in made and pair[1] in made:
                raise ArtifactError(
                    f"{where}: {pair[0]!r} and {pair[1]!r} are not merged, llama.cpp would merge them", fix=_INSTEAD
                )
    return scores


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return str(left), str(right)


def _blocks(results: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The stretches of a list of merges that share no result with another: where each begins, and what it makes."""
    last = {text: at for at, text in enumerate(results)}
    begin = 0
    while begin < len(results):
        texts, end, at = {results[begin]: None}, last[results[begin]], begin
        while at < end:
            at += 1
            texts[results[at]] = None
            end = max(end, last[results[at]])
        yield begin, list(texts)
        begin = end + 1


def _check_runs(where: Path, texts: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
    """Tokens whose merges are mixed get one score, and llama.cpp merges the leftmost pair of that score first. Runs of one
    character, as SentencePiece keeps of spaces, come out the same: tried on all lengths up to three times the longest.

    Raises ArtifactError where they do not.
    """
    letter, longest = texts[0][0], max(map(len, texts))
    ranks = {(len(left), len(right)): rank for rank, (left, right) in enumerate(merges) if {*left, *right} == {letter}}
    alike = all(set(text) == {letter} for text in texts)
    if not alike or any(_merged(ranks, n, True) != _merged(ranks, n, False) for n in range(2, 3 * longest + 2)):
        raise ArtifactError(
            f"{where}: the merges into {texts[0]!r} do not stand together, llama.cpp knows one rank", fix=_INSTEAD
        )


def _merged(ranks: Mapping[tuple[int, int], int], length: int, ranked: bool) -> list[int]:
    """Lengths of the tokens of a run of one character: by rank and place, as transformers merges, or by place alone."""
    parts = [1] * length
    while found := [(ranks[pair], at) for at, pair in enumerate(itertools.pairwise(parts)) if pair in ranks]:
        _, at = min(found) if ranked else min(found, key=lambda entry: entry[1])
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _space_prefix(files: TokenizerFiles) -> bool:
    """Whether a space is put before each text, from the normaliser or the pre-tokenizer."""
    where, tokenizer = files.folder / "tokenizer.json", files.tokenizer
    normalizer, splitter = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    steps = [normalizer] if normalizer else []
    if normalizer and normalizer.get("type") == "Sequence":
        steps = list(normalizer.get("normalizers") or ())
    kinds = [_step(step) for step in steps]
    if kinds in (["space"], ["prefix", "space"]) and (splitter is None or _on_spaces(splitter)):
        return "prefix" in kinds
    if not kinds and splitter and splitter.get("type") == "Metaspace" and splitter.get("replacement") == _SPACE:
        scheme = splitter.get("prepend_scheme", "always")
        if splitter.get("split") is False and scheme in ("always", "never", "first"):
            # "first" puts a space before a text only where no special token begins it, as prompts of a chat always do.
            return bool(scheme == "always")
    raise ArtifactError(
        f"{where}: normalizer {[step.get('type') for step in steps]} and pre-tokenizer {(splitter or {}).get('type')} put spaces "
        "where llama.cpp does not",
        fix=_INSTEAD,
    )


def first_only(files: TokenizerFiles) -> bool:
    """Whether a space is put before a text that no special token begins, and before no other."""
    return _scheme(files) == "first"


def notes(files: TokenizerFiles) -> tuple[str, ...]:
    """What a server must be told of where training puts spaces."""
    return {"first": (FIRST,), "always": (ONCE,)}.get(_scheme(files), ())


def _scheme(files: TokenizerFiles) -> str:
    """Where a Metaspace puts a space; empty where there is none."""
    splitter = files.tokenizer.get("pre_tokenizer") or {}
    return str(splitter.get("prepend_scheme", "always")) if splitter.get("type") == "Metaspace" else ""


def _step(step: Mapping[str, Any]) -> str:
    if step.get("type") == "Prepend" and step.get("prepend") == _SPACE:
        return "prefix"
    if step.get("type") == "Replace" and step.get("content") == _SPACE and (step.get("pattern") or {}).get("String") == " ":
        return "space"
    return "other"


def _on_spaces(splitter: Mapping[str, Any]) -> bool:
    """Whether it splits at spaces only, of which normalising has left none."""
    return splitter.get("type") == "Split" and (splitter.get("pattern") or {}).get("String") == " "


def _refuse_eaten(files: TokenizerFiles) -> None:
    """Raises ArtifactError for an added token that training finds only together with the space before it, llama.cpp by itself:
    one that is looked for in the normalised text, which `Prepend` and `Replace` change in it."""
    where = files.folder / "tokenizer.json"
    for added in files.added if files.tokenizer.get("normalizer") else ():
        text = str(added["content"])
        if not added.get("normalized") or (added.get("special") and text not in (files.template or "")):
            continue
        if files.encode(f"a{text}b") != [*files.encode("a"), int(added["id"]), *files.encode("b")]:
            raise ArtifactError(
                f"{where}: token {text!r} is looked for in normalised text (normalized: true), which llama.cpp does not do",
                fix="train with it added as AddedToken(..., normalized=False), or serve it with vLLM",
            )


def _stripped(files: TokenizerFiles) -> bool:
    """Whether white space is dropped after special tokens: after all but three, as llama.cpp does for Phi-3, or after none."""
    where = files.folder / "tokenizer.json"
    strips = {added["content"] for added in files.added if added.get("rstrip")}
    if not strips:
        return False
    absent = [token for token in (*_NEVER_STRIPS, "</s>") if token not in files.vocabulary]
    if absent:
        raise ArtifactError(f"{where}: rstrip without a token {absent[0]}, which llama.cpp expects with it", fix=_INSTEAD)
    wanted = {added["content"] for added in files.added if added["content"] not in _NEVER_STRIPS}
    if strips != wanted:
        odd = sorted(strips ^ wanted)[0]
        raise ArtifactError(f"{where}: token {odd!r} has rstrip where llama.cpp would do otherwise", fix=_INSTEAD)
    return True
