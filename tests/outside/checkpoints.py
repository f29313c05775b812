"""Checkpoints that nobody of the project made: random Llama and Qwen2 with tokenizers of their own.

`python checkpoints.py FOLDER` makes `llama`, `qwen` and `wide` in one process: torch stays out of the test process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TEXT = ["the quick brown fox sends invoices, refunds and tickets of high or low priority to 12 categories"] * 9
SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tokenizer(folder: Path) -> int:
    """Train and save a byte-level tokenizer; its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"]
    )
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return len(made)


def save_model(folder: Path, kind: str, **shape: Any) -> None:
    """A random model with its tokenizer."""
    import torch
    import transformers

    torch.manual_seed(len(folder.name))
    whole = {
        "vocab_size": save_tokenizer(folder), "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "eos_token_id": 4, "bos_token_id": None, "pad_token_id": 0, **shape,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**whole)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)


def main(folder: Path) -> None:
    """All of them."""
    import torch

    torch.set_num_threads(1)
    save_model(folder / "llama", "Llama", hidden_size=64, intermediate_size=96)
    save_model(folder / "qwen", "Qwen2", hidden_size=64, intermediate_size=96, tie_word_embeddings=True)
    save_model(folder / "wide", "Llama", hidden_size=256, intermediate_size=512)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
