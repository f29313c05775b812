"""What transformers 5 makes of tokenizer.json and of the settings beside it, where it does not take the file as it stands.

Its classes for Llama 2, Code Llama, Qwen, Gemma, GPT-2 and GPT-NeoX take vocabulary, merges and post-processor from the file and
put their own normalizer and pre-tokenizer in the place of the file's: a Llama 2 has no space after a special token any more. The
added tokens they take from the settings, where those list them. Which class it takes comes from tokenizer_config.json and from
the model's family (`AutoTokenizer.from_pretrained`). Pure; without transformers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

BACKEND = "TokenizersBackend"
"""The class that takes the file as it stands."""
LLAMA, CODE, GEMMA = "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"
QWEN2, QWEN35, GPT2, NEOX = "Qwen2Tokenizer", "Qwen3_5Tokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer"
OF_PIECES = (LLAMA, CODE, GEMMA)
"""Classes of SentencePiece's vocabularies; the others are of bytes."""
OWN = {
    "llama": BACKEND,
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), QWEN2),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text"), QWEN35),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), GEMMA),
    **dict.fromkeys(("phi", "gpt2", "gptj", "gpt_neo", "opt", "starcoder2"), GPT2),
    **dict.fromkeys(("gpt_neox", "olmo"), NEOX),
}
"""Family → the class that it has where nothing names one."""
ALWAYS = ("qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text")
"""Families whose own class is taken whatever the settings name."""
NEVER = ("mistral", "mixtral", "phi3", "phimoe", "granite", "granitemoe", "glm", "glm4", "olmo2", "olmo3", "stablelm")
"""Families whose tokenizer.json is taken as it stands, whatever the settings name."""
ALIKE = {"CodeGenTokenizer": GPT2, "BloomTokenizer": BACKEND, "PreTrainedTokenizer": BACKEND}
"""Classes that do the same as another."""
_ENDS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_PIECES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SPECIAL: dict[str, dict[str, str]] = {
    LLAMA: _PIECES,
    CODE: _PIECES
    | {
        "prefix_token": "▁<PRE>",
        "middle_token": "▁<MID>",
        "suffix_token": "▁<SUF>",
        "eot_token": "▁<EOT>",
        "fill_token": "<FILL_ME>",
    },
    GEMMA: {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"},
    **dict.fromkeys((QWEN2, QWEN35), dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")),
    GPT2: _ENDS,
    NEOX: _ENDS | {"pad_token": "<|padding|>"},
}
"""Special tokens that a class has where the settings say nothing of them."""
FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")
_FIRST = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"
_REST = r"]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    QWEN2: _WORDS + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}" + _REST,
    QWEN35: _WORDS + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}" + _REST,
}
_SPACE = "\u2581"


def as_loaded(tokenizer: dict[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json as transformers has it after loading: `tokenizer` itself where that is the same. `config`: the settings as
    `settled` puts them together, `model`: of the model's config.json. Its added tokens are then those to add, in their order;
    their ids come from adding them."""
    name = class_of(tokenizer, config, model)
    if name in (None, BACKEND) or tokenizer["model"].get("type") != "BPE":
        return tokenizer
    steps, ways = _made(str(name), tokenizer, config)
    own, added = tokenizer["model"], _added_by(tokenizer, config)
    as_it_stands = all(_plain(tokenizer.get(key)) == _plain(step) for key, step in steps.items())
    if as_it_stands and _adds_alike(tokenizer, added) and all(bool(own.get(key)) == bool(way) for key, way in ways.items()):
        return tokenizer
    return {**tokenizer, **steps, "model": {**own, **ways}, "added_tokens": added}


def known(tokenizer: Mapping[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Whether what `as_loaded` says is all that transformers does with these files."""
    name, own = class_of(tokenizer, config, model), tokenizer["model"]
    if name is None or config.get("auto_map"):
        return False
    return name == BACKEND or (own.get("type") == "BPE" and ("<0x00>" in (own.get("vocab") or ())) == (name in OF_PIECES))


def class_of(tokenizer: Mapping[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """The class that transformers takes; None where that is not one of those known here."""
    told = str(config.get("tokenizer_class") or model.get("tokenizer_class") or "").removesuffix("Fast")
    told, family = ALIKE.get(told, told), str(model.get("model_type") or "")
    if family in ALWAYS:
        return OWN[family]
    if family in NEVER or (told == LLAMA and _of_bytes(tokenizer)) or (told == BACKEND and family):
        return BACKEND
    if family not in OWN:
        return None
    return (told if told in SPECIAL else None) if told else OWN[family]


def settled(config: Mapping[str, Any], older: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as transformers puts them together. `older`: of special_tokens_map.json, which counts beside settings that do
    not list their added tokens, as those of before 2023."""
    found = _one_name(config)
    if "added_tokens_decoder" in config:
        return found
    extra = [each for told in (found, older) for each in _listed(told.get("extra_special_tokens"))]
    more = {key: {**value, "special": True} if isinstance(value, dict) else value for key, value in older.items()}
    return _one_name(found | more | ({"extra_special_tokens": extra} if extra else {}))


def special(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that the settings name: name → text."""
    return {name: str(_text(value)) for name, value in _special(config).items()}


def _special(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same as they are written, in transformers' order."""
    more = [key for key in config if key.endswith("_token") and key not in _FIRST]
    extra = config.get("extra_special_tokens")
    found = {key: config.get(key) for key in (*_FIRST, *more)} | (extra if isinstance(extra, dict) else {})
    return {key: value for key, value in found.items() if _text(value) is not None}


def named(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every token that the settings name, in the order in which transformers adds them: text → flags."""
    found = {str(_text(each)): each for each in _decoder(config)}
    for value in _special(config).values():
        text = str(_text(value))
        found[text] = found.get(text, value if isinstance(value, dict) else {}) | {"special": True}
    extra = config.get("extra_special_tokens")
    for value in _listed(config.get("additional_special_tokens") if isinstance(extra, dict) else extra):
        found.setdefault(str(_text(value)), value if isinstance(value, dict) else {"special": True})
    return found


def _one_name(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that call what is special besides by its newer name."""
    found = dict(config)
    if found.get("additional_special_tokens") and not found.get("extra_special_tokens"):
        found["extra_special_tokens"] = found.pop("additional_special_tokens")
    return found


def _listed(value: Any) -> list[Any]:
    return [each for each in value if _text(each) is not None] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    """Text of a token, which is written as a text or with its flags; half a character in it becomes a question mark."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _decoder(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told = config.get("added_tokens_decoder")
    decoder: dict[str, Any] = told if isinstance(told, dict) else {}
    for id in sorted(filter(str.isdigit, decoder), key=int):
        if isinstance(decoder[id], dict) and _text(decoder[id]) is not None:
            yield decoder[id] | {"id": int(id)}


def _added_by(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tokens that a class adds to the vocabulary that it makes: those that the settings list, or else the file."""
    listed = _decoder(config) if "added_tokens_decoder" in config else tokenizer.get("added_tokens") or ()
    names = set(special(config).values())
    return [
        {**each, "special": True} if each["content"] in names else each for each in sorted(listed, key=lambda each: each["id"])
    ]


def _adds_alike(tokenizer: Mapping[str, Any], added: list[dict[str, Any]]) -> bool:
    """Whether adding these tokens to the vocabulary gives those that tokenizer.json lists, with their ids."""
    vocab = tokenizer["model"].get("vocab") or {}
    free = itertools.count(len(vocab))
    made = [(vocab[each["content"]] if each["content"] in vocab else next(free), _flags(each)) for each in added]
    return made == [(each["id"], _flags(each)) for each in _in_order(tokenizer)]


def _in_order(tokenizer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(tokenizer.get("added_tokens") or (), key=lambda each: int(each["id"]))


def _flags(each: Mapping[str, Any]) -> tuple[object, ...]:
    normalized = each.get("normalized", not each.get("special"))
    return (each["content"], bool(normalized), *(bool(each.get(flag)) for flag in FLAGS if flag != "normalized"))


def _made(name: str, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps of a class, and the ways in which it merges."""
    given = config.get("add_prefix_space")
    never = given is not None and not given
    cut: Any = {"type": "ByteLevel", "add_prefix_space": bool(given), "trim_offsets": True, "use_regex": name not in _SPLITS}
    normal: Any = None if name == GPT2 else {"type": "NFC"}
    if name in (LLAMA, CODE):
        scheme = "never" if never else "always" if name == LLAMA and config.get("legacy") else "first"
        cut, normal = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}, None
    elif name == GEMMA:
        cut = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
        normal = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    elif name in _SPLITS:
        split = {"type": "Split", "pattern": {"Regex": _SPLITS[name]}, "behavior": "Isolated", "invert": False}
        cut = {"type": "Sequence", "pretokenizers": [split, cut]}
    of_pieces = name in OF_PIECES
    ways: dict[str, Any] = {"byte_fallback": of_pieces, "fuse_unk": of_pieces, "ignore_merges": False}
    steps = {"normalizer": normal, "pre_tokenizer": cut} | (_begun(tokenizer, config) if name == CODE else {})
    return steps, ways if of_pieces else ways | {"unk_token": None}


def _begun(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The step that begins every text with bos, which one class puts in the place of the file's; empty where there is no bos."""
    text = _text(config.get("bos_token"))
    ids = {each["content"]: each["id"] for each in tokenizer.get("added_tokens") or ()} | (tokenizer["model"].get("vocab") or {})
    if text not in ids:
        return {}
    token = {"id": text, "ids": [ids[text]], "tokens": [text]}
    one, two = [
        [{"SpecialToken": {"id": text, "type_id": side}}, {"Sequence": {"id": "AB"[side], "type_id": side}}] for side in (0, 1)
    ]
    return {"post_processor": {"type": "TemplateProcessing", "single": one, "pair": one + two, "special_tokens": {text: token}}}


def _of_bytes(tokenizer: Any) -> bool:
    """Whether any step anywhere in the file works on bytes."""
    if isinstance(tokenizer, Mapping):
        return tokenizer.get("type") == "ByteLevel" or any(
            _of_bytes(value) for key, value in tokenizer.items() if key not in ("model", "added_tokens")
        )
    return isinstance(tokenizer, list) and any(map(_of_bytes, tokenizer))


def _plain(step: Any) -> Any:
    """A step without what changes no ids, so that two that do the same are alike."""
    if isinstance(step, Mapping):
        return {key: _plain(value) for key, value in step.items() if key != "trim_offsets" and value is not None}
    return [_plain(value) for value in step] if isinstance(step, list) else step
