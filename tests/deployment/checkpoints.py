"""Tiny checkpoints with random weights and real byte-level BPE tokenizers, adapters for them, and what transformers answers.

`python -m tests.deployment.checkpoints FOLDER` makes them all in one child process: torch stays out of the test process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2, LLAMA3 = SPLIT % r"\p{N}", SPLIT % r"\p{N}{1,3}"
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {"cases": GPT_4O, "tekken": TEKKEN}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LINES = [
    "My invoice is wrong and I want a refund for 1234 dollars.",
    'Answer with JSON: {"category": "billing", "priority": "high"}',
    "The app crashes when I open it. It's broken, they're sorry, we'll see!",
    "system user assistant Triage the ticket.  Größe, naïve, 你好, 🎉 and tabs\tand\nlines",
] * 8
MARKED = ["ÉCOLE École camelCase हिन्दी हिन्दी it'll IT'LL AÑO наДом ПриветМир"] * 8
PROMPTS = (
    [{"role": "system", "content": "Answer with JSON."}, {"role": "user", "content": "My invoice is wrong, 12345 dollars"}],
    [{"role": "user", "content": "The app crashes 🎉\n\n  It's broken, 你好"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Größe?"}],
)
SYSTEM = {"role": "system", "content": "Triage the ticket. Answer with JSON."}
TICKETS = tuple(
    [SYSTEM, {"role": "user", "content": text}]
    for text in ("I was charged twice for Pixel Pad.", "Solo Watch deleted all of our data.", "I wish Orbit CRM worked offline.")
)
DESK = Path(__file__).resolve().parents[2] / "examples" / "support_desk" / "base"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Plan:
    """One checkpoint, perhaps with one adapter."""

    family: str
    config: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    dtype: str = "float32"
    tokenizer: str = "bytes"
    settings: dict[str, Any] = field(default_factory=dict)
    """Of tokenizer_config.json."""


ROPE3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA3 = {
    "num_hidden_layers": 7, "sliding_window": 24, "query_pre_attn_scalar": 16,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
    },
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0],
    "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
}  # fmt: skip
QUARTERS = {
    "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5], "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
}  # fmt: skip
YARN_OF_ITS_OWN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64,
    "beta_fast": 20.0, "beta_slow": 1.5, "truncate": False, "attention_factor": 0.8,
}  # fmt: skip
TIED = ("qwen2", "gemma", "gemma2", "gemma3")
CLASSES = {"gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig")}
PLANS = {
    "llama": Plan("llama", lora={}),
    "llama3-rope": Plan("llama", {"rope_parameters": ROPE3}),
    "llama-linear-bf16": Plan(
        "llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}, dtype="bfloat16"
    ),
    "llama-bias": Plan("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2-yarn": Plan(
        "qwen2",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}},
    ),
    "mistral-rslora": Plan("mistral", lora={"use_rslora": True}),
    "qwen2-ranks": Plan(
        "qwen2", lora={"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6}, "alpha_pattern": {"k_proj": 32}}
    ),
    "qwen2-dora": Plan("qwen2", lora={"use_dora": True}),
    "qwen2-tied": Plan("qwen2", lora={"target_modules": ["q_proj", "embed_tokens"]}),
    "qwen3-head": Plan("qwen3", lora={"modules_to_save": ["lm_head"]}),
    "gemma": Plan("gemma", lora={}, tokenizer="spaces"),
    "gemma2": Plan("gemma2", {"sliding_window": 24, "query_pre_attn_scalar": 16, "num_hidden_layers": 3}, tokenizer="spaces"),
    "gemma3": Plan("gemma3", GEMMA3, lora={}, tokenizer="spaces"),
    "phi3": Plan("phi3", lora={"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}, tokenizer="stripping"),
    "phi3-longrope": Plan("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 512}, tokenizer="prefixed"),
    "llama-prefixed": Plan("llama", tokenizer="prefixed"),
    "llama-2": Plan("llama", tokenizer="prefixed", settings={"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    "phi4-mini": Plan(
        "phi3",
        {"rope_parameters": QUARTERS, "original_max_position_embeddings": 512, "tie_word_embeddings": True},
        tokenizer="cases",
    ),
    "mistral-v3": Plan("mistral", tokenizer="first"),
    "mistral-nemo": Plan("mistral", {"head_dim": 24}, tokenizer="tekken"),
    "phi2": Plan("phi", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}),
    "llama-yarn": Plan("llama", {"rope_parameters": YARN_OF_ITS_OWN}),
    "llama-biases": Plan("llama", {"attention_bias": True}, lora={"bias": "all"}),
    "qwen2-head": Plan("qwen2", lora={"target_modules": ["embed_tokens", "lm_head"]}),
}


LOADED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("prefixed", "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    ("prefixed", "llama", {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}),
    ("prefixed", "llama", {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}),
    ("prefixed", "llama", {"tokenizer_class": None}),
    ("prefixed", "llama", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ("prefixed", "mistral", {"tokenizer_class": "LlamaTokenizer", "legacy": True}),
    ("prefixed", "phi3", {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    ("prefixed", "qwen3", {"tokenizer_class": "LlamaTokenizer"}),
    ("prefixed", "gemma2", {"tokenizer_class": "GemmaTokenizerFast"}),
    ("spaces", "gemma", {"tokenizer_class": "GemmaTokenizer"}),
    ("spaces", "gemma3_text", {"tokenizer_class": None}),
    ("cases", "llama", {"tokenizer_class": None}),
    ("cases", "llama", {"tokenizer_class": "LlamaTokenizerFast"}),
    ("cases", "llama", {"tokenizer_class": "GPT2Tokenizer"}),
    ("cases", "qwen2", {}),
    ("cases", "qwen2", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ("cases", "qwen3", {}),
    ("cases", "qwen3", {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": True}),
    ("cases", "phi", {"tokenizer_class": "CodeGenTokenizer"}),
    ("cases", "phi", {"tokenizer_class": "TokenizersBackend"}),
    ("cases", "mixtral", {"tokenizer_class": "LlamaTokenizer"}),
    ("prefixed", "llama", {"tokenizer_class": "CodeLlamaTokenizer"}),
    ("first", "llama", {"tokenizer_class": "CodeLlamaTokenizerFast", "add_prefix_space": False, "fill_token": None}),
    ("cases", "qwen3_5", {"tokenizer_class": "TokenizersBackend"}),
    ("cases", "gpt_neox", {"tokenizer_class": "GPTNeoXTokenizerFast"}),
    ("cases", "llama", {"extra_special_tokens": ["<|tool|>"], "pad_token": "<pad>"}),
    ("cases", "phi3", {"extra_special_tokens": {"image_token": "<|tool|>"}, "sound_token": "<pad>"}),
    (
        "cases",
        "qwen3",
        {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"2": {"content": "<|im_end|>", "special": True}}},
    ),
    (
        "prefixed",
        "llama",
        {"tokenizer_class": None, "eos_token": None, "older": {"eos_token": {"content": "</s>"}, "pad_token": "<pad>"}},
    ),
    ("first", "mistral", {"added_tokens_decoder": {}, "older": {"eos_token": "</s>"}}),
)
"""Tokenizer, family of the model, and what is changed in tokenizer_config.json; `older`: special_tokens_map.json. See
`make_loaded`."""
TOLD = (
    "<s>[INST] hi [/INST]", "hello  world", " it's 12345 dollars 你好 🎉 हिन्दी IT'LL", "a\n\n b",
    "<|im_start|>user\nMy invoice is wrong<|im_end|>\n<|im_start|>assistant\n", "e\u0301cole École GRÖSSE", "",
    "a <|tool|> b<|tool|>", "<pad></s> \u2581<SUF>c\u2581<MID>",
)  # fmt: skip


def make_loaded(folder: Path) -> None:
    """`<number>/` of each of `LOADED`: its tokenizer, and in loaded.json the ids and tokens that transformers has."""
    from transformers import AutoTokenizer

    for number, (kind, family, settings) in enumerate(LOADED):
        place = folder / str(number)
        _ = make_tokenizer(place, GPT_4O) if kind == "cases" else make_pieces(place, kind)
        (place / "config.json").write_text(json.dumps({"model_type": family}))
        (place / "special_tokens_map.json").write_text(json.dumps(settings.get("older", {})))
        edit_json(place / "tokenizer_config.json", **settings | {"older": None})
        loaded = AutoTokenizer.from_pretrained(place)
        told = {"ids": [loaded(text, add_special_tokens=False)["input_ids"] for text in TOLD]}
        told |= {"whole": [loaded(text)["input_ids"] for text in TOLD], "special": loaded.special_tokens_map}
        (place / "loaded.json").write_text(json.dumps(told | {"vocabulary": loaded.get_vocab()}))


def make_all(folder: Path) -> None:
    """Make every plan under `folder` in a child process."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.deployment.checkpoints", str(folder)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def make_tokenizer(folder: Path, regex: str = QWEN2) -> int:
    """Train and save a tokenizer; its size. `regex`: how it splits text, as the real one of that family does."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(ignore_merges=regex == TEKKEN))
    if regex != TEKKEN:
        raw.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        LINES + (MARKED if regex in SPLITS.values() else []),
        trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def make_pieces(folder: Path, kind: str) -> int:
    """Make and save a SentencePiece vocabulary as transformers keeps one: every pair of each token is a merge, in the tokens'
    order. `kind`: "spaces" (Gemma), "prefixed" (Llama 2), "stripping" (Phi-3), "first" (Mistral from v0.3 on). Its size.

    All but Gemma's have runs of spaces of one score at the end, which transformers sorts by their lengths.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "\u2581")
    learned.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learned_order = sorted(learned.get_vocab().items(), key=lambda entry: entry[1])
    names = ["<unk>", "<s>", "<|im_end|>", "<|endoftext|>", "<|im_start|>", "</s>", *(f"<0x{octet:02X}>" for octet in range(256))]
    vocabulary = {text: id for id, text in enumerate([*names, "\u2581", *(t for t, _ in learned_order if t != "\u2581")])}
    splits = [(text[:at], text[at:]) for text in list(vocabulary)[len(names) :] for at in range(1, len(text))]
    runs = {"\u2581" * length for length in (2, 3, 4, 5, 6, 7, 8, 10, 12)} if kind != "spaces" else set()
    vocabulary |= {run: len(vocabulary) + place for place, run in enumerate(sorted(runs - set(vocabulary)))}
    pieces = set(list(vocabulary)[len(names) :])
    merges = [(a, b) for a, b in splits if a in pieces and b in pieces and a + b not in runs]
    both = [(run[:at], run[at:]) for run in runs for at in range(1, len(run)) if {run[:at], run[at:]} <= pieces]
    merges += sorted(both, key=lambda pair: (len(pair[0]), len(pair[1])), reverse=True)
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    space = normalizers.Replace(" ", "\u2581")
    if kind == "first":
        raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    else:
        raw.normalizer = space if kind == "spaces" else normalizers.Sequence([normalizers.Prepend("\u2581"), space])
    raw.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    strips = kind == "stripping"
    raw.add_special_tokens(
        [AddedToken(n, rstrip=strips and n in names[2:6] and n != names[3], normalized=False) for n in names[:6]]
    )
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def make_checkpoint(folder: Path, plan: Plan, hidden: int = 64) -> Path:
    """A random model whose weights are large enough that its answers vary; biases and norms included."""
    import torch
    import transformers

    if plan.tokenizer in ("bytes", *SPLITS):
        size = make_tokenizer(folder, SPLITS.get(plan.tokenizer, LLAMA3 if plan.family == "llama" else QWEN2))
    else:
        size = make_pieces(folder, plan.tokenizer)
    edit_json(folder / "tokenizer_config.json", **plan.settings)
    torch.manual_seed(0)
    name = plan.family.capitalize()
    settings: dict[str, Any] = {
        "vocab_size": size + 8, "hidden_size": hidden, "intermediate_size": hidden * 2, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 4, "max_position_embeddings": 512,
        "tie_word_embeddings": plan.family in TIED, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    if plan.family == "mistral":
        settings["sliding_window"] = None
    made, described = CLASSES.get(plan.family, (f"{name}ForCausalLM", f"{name}Config"))
    model = getattr(transformers, made)(getattr(transformers, described)(**settings | plan.config))
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key:
                # A Gemma stores norms less one; its embeddings are large, so that layers must be loud to be heard.
                middle = 1 if not plan.family.startswith("gemma") else 5 if "post_" in key and plan.family != "gemma" else 0
                value.copy_(middle + 0.1 * torch.randn_like(value))
            elif plan.family == "gemma" and ("o_proj" in key or "down_proj" in key):
                value.copy_(torch.randn_like(value) * 6 * hidden**-0.5)
            else:
                loud = 0.2 if plan.family.startswith("gemma") else 0.4
                value.copy_(torch.randn_like(value) * (loud if "embed" in key or "lm_head" in key else hidden**-0.5))
    model.to(getattr(torch, plan.dtype)).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, options: dict[str, Any], size: float = 0.1) -> Any:
    """A random adapter of `base`, saved as PEFT saves it; the model that answers with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "task_type": "CAUSAL_LM"} | options
    tuned = get_peft_model(load(base), LoraConfig(**settings))
    with torch.no_grad():
        for key, value in tuned.named_parameters():
            if any(part in key for part in ("lora_", "modules_to_save.default", "magnitude")) or value.requires_grad:
                value.add_(torch.randn_like(value) * size)
    tuned.save_pretrained(folder)
    return tuned


def load(base: Path) -> Any:
    """The model in float32, whatever it is stored in."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def transcribe(model: Any, base: Path, path: Path, prompts: Sequence[list[dict[str, str]]] = PROMPTS, length: int = 10) -> None:
    """Write what transformers renders, tokenizes and answers, greedily and without a cache."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model.eval()
    lines = []
    for number, messages in enumerate(prompts):
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        answer: list[int] = []
        logprobs: list[float] = []
        while len(answer) < length and (not answer or answer[-1] != 2):
            with torch.no_grad():
                scores = torch.log_softmax(model(torch.tensor([prompt + answer])).logits[0, -1].double(), -1)
            answer.append(int(scores.argmax()))
            logprobs.append(float(scores.max()))
        stopped = answer[-1] == 2
        line = {
            "id": f"p{number}", "messages": messages, "rendered": rendered, "prompt_ids": prompt, "logprobs": logprobs,
            "answer": tokenizer.decode(answer[: len(answer) - stopped]), "answer_ids": answer,
            "finish_reason": "stop" if stopped else "length",
        }  # fmt: skip
        lines.append(json.dumps(line) + "\n")
    path.write_text("".join(lines))


def edit_json(path: Path, **changes: Any) -> None:
    """Overwrite keys of a JSON file; None removes one."""
    value = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def main(folder: Path) -> None:
    """Every plan: `<name>/base`, `<name>/adapter`, `<name>/transcript.jsonl`; `wide/base`, with rows long enough for K-quants;
    `desk`, an adapter of the example's base; and `tokenizers`, see `make_loaded`.
    """
    import torch

    torch.set_num_threads(1)
    for name, plan in PLANS.items():
        base = make_checkpoint(folder / name / "base", plan)
        model = load(base) if plan.lora is None else make_adapter(folder / name / "adapter", base, plan.lora)
        transcribe(model, base, folder / name / "transcript.jsonl")
    make_checkpoint(folder / "wide" / "base", Plan("qwen2"), hidden=256)
    tuned = make_adapter(folder / "desk" / "adapter", DESK, {}, size=0.04)
    transcribe(tuned, DESK, folder / "desk" / "transcript.jsonl", TICKETS, 24)
    make_loaded(folder / "tokenizers")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
