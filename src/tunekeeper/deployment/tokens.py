"""A tokenizer's files as GGUF metadata, or a refusal: a tokenizer that llama.cpp would run differently is never written.

llama.cpp knows byte-level BPE by the name of its split expression; the name is derived from the expression itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment import sentencepiece, splits
from tunekeeper.deployment.differences import INSTEAD
from tunekeeper.text.tokenizers import TokenizerFiles

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
_GPT_4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDING}[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDING}"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE = {
    _LETTERS + r"\p{N}" + _REST: ("qwen2", "qwen2"),
    _LETTERS + r"\p{N}{1,3}" + _REST: ("dbrx", "llama-bpe"),
    # Its own "gpt-4o" splits words at combining marks; this one, made for another model, does not. Tekken has no such twin.
    _GPT_4O: ("granite-embed-multi-97m", "granite-embed-multi-97m"),
    _TEKKEN: ("tekken", "tekken"),
}
"""Split expression → llama.cpp's names of the pre-tokenizers that do the same: of one that merges all that it finds, and of one
that takes a word that is a token whole (`ignore_merges`), where there is such a one."""
TAKES_WHOLE = ("llama-bpe", "granite-embed-multi-97m", "tekken")
"""Those that do take it whole."""
UNBEGUN = "training's chats begin without {bos}, so this file puts none before a text: begin raw prompts with it"
"""What a server must be told of a tokenizer that puts a token before every text, but whose chat template does not write it."""
UNENDED = "answers end at {texts} too in training, for which this file has no place: give the server these as `stop`"
"""The same where generation_config.json names more ends than GGUF has names for."""
_CAPITALS = "llama.cpp splits words of capitals where accented ones meet plain ones (GRÖSSE), training does not"
_MARKS = (
    "llama.cpp splits words at combining marks (Hindi, Tamil, Thai, vowel signs of Arabic and Hebrew, accents written apart), "
    "training does not: send accents in NFC, and serve texts of those scripts with vLLM"
)
_NAMES = "llama.cpp splits names after an apostrophe that could be a short form (O'Donnell, D'Souza), training does not"
SPLIT_OTHERWISE = {"granite-embed-multi-97m": (_CAPITALS,), "tekken": (_CAPITALS, _MARKS), "qwen35": (_NAMES,)}
"""Pre-tokenizer → what its server must be told; all other texts become the token ids of training. Parity sees it where a
model's own prompts have such words."""
LOOKS_SPECIAL = ("</s>", "<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_turn>", "<|endoftext|>", "<|im_end|>", "<|end|>",
    "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<PRE>", "<SUF>", "<MID>", "<EOD>")  # fmt: skip
"""Texts that llama.cpp takes for ends, whatever type they are given."""
BACK = "put back the tokenizer.json that came with the weights"
"""What to do with one that contradicts itself or the weights."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What GGUF needs to know of a tokenizer."""

    pre: str
    """llama.cpp's name of the pre-tokenizer."""
    texts: list[str]
    """Token texts by id, padded to the model's vocabulary."""
    types: list[int]
    """GGUF token types by id."""
    merges: list[str]
    """Merges, in order, as `left right`."""
    special: dict[str, int]
    """bos, eos, eot, pad → id, where set."""
    add_bos: bool
    """Whether encoding begins with bos."""
    add_eos: bool
    """Whether encoding ends with eos."""
    template: str | None
    """Chat template."""
    tool_template: str | None
    """The one that takes its place where tools are given; None where one does for all."""
    notes: tuple[str, ...]
    """What the server cannot do itself, e.g. Unicode normalisation."""
    model: str = "gpt2"
    """llama.cpp's name of the kind: gpt2 (byte-level) or llama (SentencePiece)."""
    scores: list[float] = field(default_factory=list)
    """SentencePiece's scores by id, which order merging; empty for byte-level."""
    space_prefix: bool = False
    """SentencePiece: whether a text begins with a space."""
    stripped: bool = False
    """Whether white space after special tokens is dropped, as Phi-3 does."""


def tokens_of(files: TokenizerFiles, vocab: int, ends: tuple[int, ...], rows: Iterable[tuple[str, ...]] = ()) -> Tokens:
    """The GGUF view of a tokenizer for a model of `vocab` rows whose answers end with the ids `ends`. Raises ArtifactError.

    `rows`: texts of each row that the model learned; they are read only where llama.cpp has no exact twin of the tokenizer's
    expression, to say how many become other tokens, and to choose the twin that is exact for all of them where there is one.
    """
    where = files.folder / "tokenizer.json"
    model = files.tokenizer["model"]
    if model.get("type") != "BPE":
        raise ArtifactError(
            f"{where}: a {model.get('type')} tokenizer; only BPE, byte-level or of SentencePiece, can be exported", fix=INSTEAD
        )
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise ArtifactError(f"{where}: {key} has no place in llama.cpp's BPE", fix=INSTEAD)
    if model.get("byte_fallback"):
        return _of_sentencepiece(files, vocab, ends)
    pre, counted = _twin(files, rows)
    by_id = _by_id(files, vocab)
    _check_merging(files, pre)
    by_id |= _renamed(files)
    kinds = {int(a["id"]): CONTROL if a.get("special") else USER_DEFINED for a in files.added}
    bos, eos, unbegun = _added_around(files)
    special, unended = _special(files, vocab, ends)
    files.encode("")  # what training could not have read, as merges of no tokens, is refused in the library's words
    return Tokens(
        pre=pre,
        texts=[by_id.get(id, f"[PAD{id}]") for id in range(vocab)],
        types=[kinds.get(id, NORMAL if id in by_id else UNUSED) for id in range(vocab)],
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or ()],
        special=special,
        add_bos=bos,
        add_eos=eos,
        template=files.template,
        tool_template=files.tool_template,
        notes=_notes(files) + SPLIT_OTHERWISE.get(pre, ()) + counted + unbegun + unended,
    )


def _twin(files: TokenizerFiles, rows: Iterable[tuple[str, ...]]) -> tuple[str, tuple[str, ...]]:
    """The pre-tokenizer for these rows, and how many of them are affected, in words."""
    pre = pre_tokenizer(files)
    if pre not in splits.EXPRESSIONS:
        return pre, ()
    choice = splits.choose(files, pre, rows, lambda other: _merges_alike(files, other))
    return choice.pre, (choice.note,) if choice.rows else ()


def _merges_alike(files: TokenizerFiles, pre: str) -> bool:
    try:
        _check_merging(files, pre)
    except ArtifactError:
        return False
    return True


def same_anyway(files: TokenizerFiles) -> Callable[[str], bool]:
    """Whether a text becomes the token ids of training with whichever pre-tokenizer a file of this tokenizer may name; what does
    not is known, and told at export."""
    try:
        pre = pre_tokenizer(files)
    except ArtifactError:
        return lambda text: True
    checks = [splits.same_ids(files, name) for name in (pre, *splits.OTHERS.get(pre, ()))]
    return lambda text: all(same(text) for same in checks)


def _of_sentencepiece(files: TokenizerFiles, vocab: int, ends: tuple[int, ...]) -> Tokens:
    files.encode("")
    found = sentencepiece.read(files, vocab)
    by_id = _by_id(files, vocab, pieces=True, stripped=found.stripped)
    bos, eos, unbegun = _added_around(files)
    special, unended = _special(files, vocab, ends)
    return Tokens(
        pre="default",
        texts=[by_id.get(id, f"[PAD{id}]") for id in range(vocab)],
        types=found.types,
        merges=[],
        special=special if found.unknown is None else special | {"unknown": found.unknown},
        add_bos=bos,
        add_eos=eos,
        template=files.template,
        tool_template=files.tool_template,
        notes=sentencepiece.notes(files) + unbegun + unended,
        model="llama",
        scores=found.scores,
        space_prefix=found.space_prefix,
        stripped=found.stripped,
    )


def pre_tokenizer(files: TokenizerFiles) -> str:
    """llama.cpp's name for the way tokenizer.json splits text. Raises ArtifactError for one it does not have."""
    where = files.folder / "tokenizer.json"
    steps = list(_steps(files.tokenizer.get("pre_tokenizer"), "pretokenizers"))
    kinds = [step.get("type") for step in steps]
    last = steps[-1] if steps else {}
    if not kinds or kinds[-1] != "ByteLevel" or last.get("add_prefix_space"):
        raise ArtifactError(
            f"{where}: pre-tokenizer {kinds} is not byte-level without a prefix space; it cannot be exported", fix=INSTEAD
        )
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        return "gpt-2"
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        split = steps[0]
        expression = (split.get("pattern") or {}).get("Regex")
        if expression in PRE and split.get("behavior") == "Isolated" and not split.get("invert"):
            return PRE[expression][bool(files.tokenizer["model"].get("ignore_merges"))]
    raise ArtifactError(
        f"{where}: unknown pre-tokenizer {kinds}, llama.cpp would split text differently",
        fix="use a base whose tokenizer splits like GPT-2, Llama 3, Qwen2, GPT-4o or Tekken, or serve it with vLLM",
    )


def _steps(step: Any, several: str) -> Iterator[dict[str, Any]]:
    """A step, or the steps of a sequence, which stand in its field `several`."""
    if not isinstance(step, dict):
        return
    if step.get("type") == "Sequence":
        for inner in step.get(several) or ():
            yield from _steps(inner, several)
        return
    yield step


def _by_id(files: TokenizerFiles, vocab: int, *, pieces: bool = False, stripped: bool = False) -> dict[int, str]:
    where = files.folder / "tokenizer.json"
    by_id: dict[int, str] = {}
    for text, id in files.vocabulary.items():
        if id >= vocab and text in files.unlisted:
            continue  # the settings alone name it, and nothing that was learned holds it: mostly a token to fill up with
        if not 0 <= id < vocab:
            raise ArtifactError(
                f"{where}: token {text!r} has id {id}, the model has {vocab} rows: tokenizer and weights do not belong together",
                fix=BACK,
            )
        if id in by_id and pieces and (by_id[id].startswith("<0x") or text.startswith("<0x")):
            # Another name of a byte's token, as Gemma has for the tabulator.
            by_id[id] = max(by_id[id], text, key=lambda name: name.startswith("<0x"))
            continue
        if id in by_id:
            raise ArtifactError(f"{where}: id {id} is both {by_id[id]!r} and {text!r}", fix=BACK)
        by_id[id] = text
    vocabulary = files.tokenizer["model"].get("vocab") or {}
    free = itertools.count(len(vocabulary))
    for added in sorted(files.added, key=lambda each: int(each["id"])):
        got = vocabulary[added["content"]] if added["content"] in vocabulary else next(free)
        if got != added["id"]:
            why = f"is told to have id {added['id']}, and gets {got} once it is loaded: an id before it belongs to no token"
            raise ArtifactError(f"{where}: token {added['content']!r} {why}", fix=BACK)
        odd = next(
            (key for key in ("lstrip", "rstrip", "single_word") if added.get(key) and not (stripped and key == "rstrip")), None
        )
        if odd:
            raise ArtifactError(f"{where}: token {added.get('content')!r} has {odd}, which llama.cpp does not do", fix=INSTEAD)
    return by_id


def _check_merging(files: TokenizerFiles, pre: str) -> None:
    # Some of llama.cpp's look a whole word up before merging, the others never do: the same only if merging finds it too.
    if bool(files.tokenizer["model"].get("ignore_merges")) == (pre in TAKES_WHOLE):
        return
    from tokenizers.models import BPE

    pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in files.tokenizer["model"].get("merges") or ()]
    merges = [(str(left), str(right)) for left, right in pairs]
    plain = BPE(vocab=files.tokenizer["model"]["vocab"], merges=merges)
    added = {a["content"] for a in files.added}
    for text in files.vocabulary:
        if text not in added and len(plain.tokenize(text)) != 1:
            where = files.folder / "tokenizer.json"
            raise ArtifactError(
                f"{where}: token {text!r} is found by merging in one and by lookup in the other of transformers and llama.cpp",
                fix=INSTEAD,
            )


def _renamed(files: TokenizerFiles) -> dict[int, str]:
    """Other names of ordinary tokens that no text becomes, and that llama.cpp would take for ends: `</s>` of Qwen."""
    special = {added["content"] for added in files.added}
    looking = [text for text in LOOKS_SPECIAL if text in files.vocabulary and text not in special]
    ids = {text: files.vocabulary[text] for text in looking}
    return {id: f"[never {id}]" for text, id in ids.items() if id not in files.encode(text)}


def _added_around(files: TokenizerFiles) -> tuple[bool, bool, tuple[str, ...]]:
    """Whether encoding puts bos before and eos after a text, and what a server must be told of it.

    Not bos where the chat template writes none: training renders a chat and adds nothing, llama.cpp would add it.
    """
    where = files.folder / "tokenizer.json"
    bos = eos = False
    for step in _steps(files.tokenizer.get("post_processor"), "processors"):
        if step.get("type") == "ByteLevel":
            continue
        if step.get("type") != "TemplateProcessing":
            raise ArtifactError(f"{where}: post-processor {step.get('type')} cannot be exported", fix=INSTEAD)
        names = [item["SpecialToken"]["id"] if "SpecialToken" in item else None for item in step.get("single") or ()]
        at = names.index(None) if None in names else 0
        special = files.special()
        if names[:at] not in ([], [special.get("bos_token")]) or names[at + 1 :] not in ([], [special.get("eos_token")]):
            raise ArtifactError(
                f"{where}: the post-processor adds {names}; only bos before and eos after can be exported", fix=INSTEAD
            )
        bos, eos = bos or bool(names[:at]), eos or bool(names[at + 1 :])
    told = files.config.get("add_bos_token")
    if told is not None and bool(told) != bos and files.id_of("bos_token") is not None:
        raise ArtifactError(
            f"{where}: the post-processor and add_bos_token in tokenizer_config.json contradict each other", fix=BACK
        )
    text, template = files.special().get("bos_token"), files.template
    if bos and text and template is not None and "bos_token" not in template and text not in template:
        return False, eos, (UNBEGUN.format(bos=text),)
    return bos, eos, ()


def _special(files: TokenizerFiles, vocab: int, ends: tuple[int, ...]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Ids by llama.cpp's name for them, and what a server must be told of ends that it has no name for."""
    ids = {name: files.id_of(f"{name}_token") for name in ("bos", "pad", "eos")}
    found = {name: id if id is not None and id < vocab else None for name, id in ids.items()}
    # transformers ends an answer at any id of generation_config.json; GGUF has names for three, and llama.cpp knows some by text.
    texts = {id: text for text, id in files.vocabulary.items()}
    others = sorted((id for id in ends if id != found["eos"] and 0 <= id < vocab), key=lambda id: texts.get(id) in LOOKS_SPECIAL)
    if found["eos"] is None and others:
        found["eos"] = others.pop(0)
    if others:
        found["eot"] = others[0]
    if len(others) > 1:
        found["eom"] = others[1]
    left = [texts.get(id, str(id)) for id in others[2:] if texts.get(id) not in LOOKS_SPECIAL]
    unended = (UNENDED.format(texts=", ".join(map(repr, left))),) if left else ()
    return {name: id for name, id in found.items() if id is not None}, unended


def normalises(files: TokenizerFiles) -> bool:
    """Whether texts are brought into NFC before they are split."""
    return any(step.get("type") == "NFC" for step in _steps(files.tokenizer.get("normalizer"), "normalizers"))


def _notes(files: TokenizerFiles) -> tuple[str, ...]:
    kinds = [step.get("type") for step in _steps(files.tokenizer.get("normalizer"), "normalizers")]
    if odd := [kind for kind in kinds if kind != "NFC"]:
        raise ArtifactError(f"{files.folder / 'tokenizer.json'}: normalizer {odd[0]} is not done by llama.cpp", fix=INSTEAD)
    return ("the tokenizer normalises text to NFC, llama.cpp does not: send text in NFC",) if kinds else ()
