"""A checkpoint loaded as the trainers take it: base, tokenizer, a new or a continued adapter. Runs no code of the checkpoint.

Imported in a training child: torch, transformers and peft inside functions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import MissingExtra
from tunekeeper.training.base import Base
from tunekeeper.training.encode import Codec
from tunekeeper.training.recipe import Recipe


def prepare_threads(threads: int) -> None:
    """Tell OpenMP, before torch is imported, not to spin: spinning threads on a busy machine cost twenty times the time."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["GOMP_SPINCOUNT"] = "0"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(threads)


def load(base: Base, recipe: Recipe, parent: Path | None) -> tuple[Any, Any, str]:
    """(PEFT model ready to train, tokenizer, dtype name): a new adapter, or the parent's continued."""
    import torch
    from peft import PeftModel

    torch.manual_seed(recipe.seed)
    model, tokenizer, dtype = load_plain(base, recipe)
    if parent is not None:
        return PeftModel.from_pretrained(prepared(model, recipe), str(parent), is_trainable=True), tokenizer, dtype
    return adapted(model, recipe), tokenizer, dtype


def prepared(model: Any, recipe: Recipe) -> Any:
    """The base as an adapter is put on it: in 4 bits made ready for gradients, activations worked out again where asked."""
    from peft import prepare_model_for_kbit_training

    if recipe.qlora:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})  # the other kind loses the gradient of a frozen base
    return model


def adapted(model: Any, recipe: Recipe) -> Any:
    """The base with a new adapter, its start drawn from torch's random state."""
    from peft import LoraConfig, get_peft_model

    targets: str | list[str] = "all-linear" if recipe.targets == ("all-linear",) else list(recipe.targets)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        use_dora=recipe.dora,
        use_rslora=recipe.rslora,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(prepared(model, recipe), config)


def load_plain(base: Base, recipe: Recipe) -> tuple[Any, Any, str]:
    """(base model on its device, tokenizer, dtype name). Runs no code of the checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    dtype = chosen_dtype(recipe.dtype, gpu=gpu)
    options: dict[str, Any] = {"quantization_config": _four_bits(dtype)} if recipe.qlora else {}
    device = "cuda" if gpu else "cpu"
    if recipe.qlora:
        options["device_map"] = {"": device}
    tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
    )
    return model if recipe.qlora else model.to(device), tokenizer, dtype


def chosen_dtype(wanted: str, *, gpu: bool, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """float32, bfloat16 or float16 for this machine; `auto` takes bfloat16 only where it is not emulated."""
    if wanted != "auto":
        return wanted
    if gpu:
        return "bfloat16"
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def codec_of(tokenizer: Any) -> Codec:
    """Rendering and tokenizing by transformers itself, the yardstick of every server. A template is a program from outside: it is
    tried beforehand where it can reach nothing and has an end. Raises ArtifactError when it fails there."""
    from tunekeeper.training import previewing

    tried = previewing.codec_of(Path(tokenizer.name_or_path)).render

    def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        tried(messages, tools, prompt)
        text = tokenizer.apply_chat_template(messages, tools=tools or None, add_generation_prompt=prompt, tokenize=False)
        return str(text)

    def tokenize(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Codec(render=render, tokenize=tokenize, ends=(tokenizer.eos_token,) if tokenizer.eos_token else ())


def _four_bits(dtype: str) -> Any:
    """The 4-bit settings of QLoRA: NF4, double quantization. Raises MissingExtra without bitsandbytes."""
    import torch
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training.qlora needs bitsandbytes", fix="pip install 'tunekeeper[qlora]'") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
