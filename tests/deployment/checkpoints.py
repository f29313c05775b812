"""Tiny checkpoints with random weights and real byte-level BPE tokenizers, made in a second; adapters for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
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
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def make_tokenizer(folder: Path, *, regex: str = QWEN2, nfc: bool = True, template: str = CHATML, vocab: int = 420) -> int:
    """Train and save a tokenizer; its size."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    if nfc:
        raw.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def make_checkpoint(
    folder: Path, family: str = "qwen2", *, hidden: int = 64, seed: int = 0, dtype: str = "float32", **options: Any
) -> Path:
    """A random model whose weights are large enough that its answers vary; biases included."""
    import torch
    import transformers

    name = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[family]
    size = make_tokenizer(folder, regex=LLAMA3 if family == "llama" else QWEN2)
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": (size + 63) // 64 * 64, "hidden_size": hidden, "intermediate_size": hidden * 2, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "tie_word_embeddings": family == "qwen2", "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    if family == "qwen3":
        settings["head_dim"] = hidden // 4
    if family == "mistral":
        settings["sliding_window"] = None
    settings |= options
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**settings))
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key:
                value.copy_(1 + 0.1 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * (0.4 if "embed" in key or "lm_head" in key else 0.12))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, *, seed: int = 1, targets: Any = None, size: float = 0.1, **options: Any) -> Path:
    """A random LoRA adapter of `base`, saved as PEFT saves it."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = targets or ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = {"r": 4, "lora_alpha": 8, "target_modules": targets, "task_type": "CAUSAL_LM"} | options
    tuned = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():
        for key, value in tuned.named_parameters():
            if "lora_" in key or "modules_to_save" in key or "magnitude" in key:
                value.add_(torch.randn_like(value) * size)
    tuned.save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Overwrite keys of a JSON file."""
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps(value))
