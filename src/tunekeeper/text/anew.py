"""What transformers 5 makes of tokenizer.json where it does not take it as it stands.

Its classes for Llama 2, Qwen2, Gemma and GPT-2 take vocabulary, merges, added tokens and post-processor from the file and put
their own normalizer and pre-tokenizer in the place of the file's: a Llama 2 has no space after a special token any more. Which
class it takes comes from tokenizer_config.json and from the model's family (`AutoTokenizer.from_pretrained`). Pure; without
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LLAMA, QWEN2, GEMMA, GPT2 = "LlamaTokenizer", "Qwen2Tokenizer", "GemmaTokenizer", "GPT2Tokenizer"
OWN: dict[str, str | None] = {"llama": None, "qwen2": QWEN2, "qwen3": QWEN2, "gemma": GEMMA, "gemma2": GEMMA, "gemma3": GEMMA,
    "gemma3_text": GEMMA, "phi": GPT2}  # fmt: skip
"""Family → the class that it has where nothing names one; None: the file as it stands."""
ALWAYS = ("qwen2",)
"""Families whose own class is taken whatever the settings name."""
NEVER = ("mistral", "phi3")
"""Families whose tokenizer.json is taken as it stands, whatever the settings name."""
ALIKE = {"CodeGenTokenizer": GPT2}
"""Classes that do the same as another."""
SPECIAL: dict[str, dict[str, str]] = {
    LLAMA: {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    QWEN2: {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    GEMMA: {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
    GPT2: {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
}
"""Special tokens that a class has where the settings say nothing of them."""
_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPACE = "\u2581"


def as_loaded(tokenizer: dict[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json as transformers has it after loading: `tokenizer` itself where that is the same. `config`: of
    tokenizer_config.json, `model`: of the model's config.json."""
    name = class_of(tokenizer, config, model)
    if name is None or tokenizer["model"].get("type") != "BPE":
        return tokenizer
    steps, ways = _made(name, config)
    own = tokenizer["model"]
    as_it_stands = all(_plain(tokenizer.get(key)) == _plain(step) for key, step in steps.items())
    if as_it_stands and all(bool(own.get(key)) == bool(way) for key, way in ways.items()):
        return tokenizer
    return {**tokenizer, **steps, "model": {**own, **ways}}


def class_of(tokenizer: Mapping[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """The class that puts steps of its own in the place of the file's; None where the file is taken as it stands."""
    told = str(config.get("tokenizer_class") or model.get("tokenizer_class") or "").removesuffix("Fast")
    told, family = ALIKE.get(told, told), str(model.get("model_type") or "")
    if family in ALWAYS:
        return OWN[family]
    if family in NEVER or (family and family not in OWN) or (told == LLAMA and _of_bytes(tokenizer)):
        return None
    return (told if told in SPECIAL else None) if told else OWN.get(family)


def _made(name: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps of a class, and the ways in which it merges."""
    given = config.get("add_prefix_space")
    if name == LLAMA:
        scheme = "never" if given is not None and not given else "always" if config.get("legacy") else "first"
        cut: Any = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}
        normal: Any = None
    elif name == GEMMA:
        cut = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
        normal = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    else:
        cut = {"type": "ByteLevel", "add_prefix_space": bool(given), "trim_offsets": True, "use_regex": name == GPT2}
        normal = None
    if name == QWEN2:
        split = {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False}
        cut, normal = {"type": "Sequence", "pretokenizers": [split, cut]}, {"type": "NFC"}
    of_pieces = name in (LLAMA, GEMMA)
    ways: dict[str, Any] = {"byte_fallback": of_pieces, "fuse_unk": of_pieces, "ignore_merges": False}
    return {"normalizer": normal, "pre_tokenizer": cut}, ways if of_pieces else ways | {"unk_token": None}


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
