"""A checkpoint loaded as the trainers take it: base, tokenizer, a new or a continued adapter. Runs no code of the checkpoint.

Imported in a training child: torch, transformers and peft inside functions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, ConfigError, MissingExtra
from tunekeeper.training.base import Base, parameters
from tunekeeper.training.device import here, number_format
from tunekeeper.training.encode import Codec
from tunekeeper.training.memory import GIVEN_BACK
from tunekeeper.training.recipe import Recipe

ONEDNN_KERNELS = "64"
"""Kernels that torch keeps of those it makes for each shape on a processor in bfloat16. By default 1,024: rows of 63 lengths on a
base of 2 million numbers took 2.3 GB, with 64 they take 1.4, in the same time."""
M_MMAP_THRESHOLD = -3
"""Of glibc's `mallopt`: bytes from which on memory is taken apart from the heap. Set, it does not grow by itself any more."""


def prepare_memory() -> None:
    """Where memory counts more than time, before a model is loaded: what a tensor took goes back to the system when it is let go,
    in pages of 2 MB where there are such. glibc keeps holes of it instead, which are seldom the size of the next one: on a Llama
    of 27 million numbers 1.8 GB for 0.4 of tensors, and with this 0.8, for a tenth to a third more CPU time."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, GIVEN_BACK)


def prepare_threads(threads: int) -> None:
    """Tell OpenMP, before torch is imported, not to spin: spinning threads on a busy machine cost twenty times the time."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["GOMP_SPINCOUNT"] = "0"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", ONEDNN_KERNELS)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(threads)


def load(base: Base, recipe: Recipe, parent: Path | None) -> tuple[Any, str]:
    """(model ready to train, dtype name): the base with a new adapter, or with the parent's continued; in full tuning the base
    itself, or the parent's checkpoint."""
    import torch
    from peft import PeftConfig, PeftModel

    torch.manual_seed(recipe.seed)
    if recipe.method == "full":
        return whole(base if parent is None else replace(base, folder=parent), recipe)
    model, dtype = load_plain(base, recipe)
    if parent is not None:
        settings = PeftConfig.from_pretrained(str(parent))
        settings.lora_dropout = recipe.dropout  # of the run, where shape and scale are the adapter's
        return PeftModel.from_pretrained(prepared(model, recipe), str(parent), is_trainable=True, config=settings), dtype
    return adapted(model, recipe), dtype


def prepared(model: Any, recipe: Recipe) -> Any:
    """The base as it learns: in 4 bits made ready for gradients, activations worked out again where asked."""
    from peft import prepare_model_for_kbit_training

    if recipe.qlora:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})  # the other kind loses the gradient of a frozen base
    return model


def whole(base: Base, recipe: Recipe) -> tuple[Any, str]:
    """(model whose every number learns, dtype name). The numbers are kept in float32, where small steps add up, and are worked
    with in the run's format, which the model's `config.dtype` names."""
    import torch

    model, _ = load_plain(base, replace(recipe, dtype="float32"))
    dtype = number_format(recipe.dtype, here(), parameters(base.folder))
    model.config.dtype = getattr(torch, dtype)
    return prepared(model.requires_grad_(True), recipe), dtype


def adapted(model: Any, recipe: Recipe) -> Any:
    """The base with a new adapter, its start drawn from torch's random state. Raises ConfigError where it takes none such."""
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
    try:
        return get_peft_model(prepared(model, recipe), config)
    except ValueError as error:  # Mamba works past its layers, experts in one tensor take no DoRA
        why = " ".join(str(error).split())[:200]
        fix = "name other layers in `targets`, or leave out `dora` and `dropout`"
        raise ConfigError(f"recipe: this base takes no such adapter: {why}", fix=fix) from error


def load_tokenizer(base: Base) -> Any:
    """The tokenizer of a checkpoint. Runs no code of it. Raises ArtifactError."""
    from transformers import AutoTokenizer

    with _in_one_line(base):
        return AutoTokenizer.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)


def pad_of(tokenizer: Any) -> int:
    """The token id that fills up a row: never learned and never attended to, so that without one of its own any will do."""
    own = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((int(token) for token in own if token is not None), 0)


def load_plain(base: Base, recipe: Recipe, device: str | None = None) -> tuple[Any, str]:
    """(base model on its device, dtype name). `device`: None takes the GPU where there is one. Runs no code of the checkpoint."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    there = here()
    dtype = number_format(recipe.dtype, there, parameters(base.folder))
    device = device or ("cuda" if there.gpu else "cpu")
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if device != "cpu":
        options["device_map"] = {"": device}  # straight onto the GPU: the machine's own memory may be smaller than the base
    if recipe.qlora:
        return _quantized(base, options | {"quantization_config": _four_bits(dtype), "device_map": {"": device}}, device), dtype
    with _in_one_line(base):
        return _loaded(base, options), dtype


@contextlib.contextmanager
def _in_one_line(base: Base) -> Iterator[None]:
    """What transformers says of a checkpoint that it cannot load, as ArtifactError; its tokenizers raise bare Exceptions."""
    import torch
    import transformers

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, ArtifactError):
        raise
    except Exception as error:  # whatever is wrong with the files comes out in its own way
        why = next(iter(str(error).strip().splitlines()), "")[:200]
        raise ArtifactError(
            f"{base.folder}: transformers {transformers.__version__} cannot load it: {type(error).__name__}: {why}",
            fix="see whether its files belong together, and whether a newer transformers knows this model_type",
        ) from error


def _loaded(base: Base, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(
        base.folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    if missing := sorted(told["missing_keys"]):  # it would go on with numbers drawn by chance
        raise ArtifactError(
            f"{base.folder}: its weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
            fix="fetch the checkpoint again, or put back the config.json that belongs to it",
        )
    _refuse_two_outputs(base, model)
    return model


def _refuse_two_outputs(base: Base, model: Any) -> None:
    """Raise ArtifactError where this transformers does not tie what config.json ties, because the weights differ: servers do."""
    import torch

    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return
    one, other = (getattr(each, "weight", None) for each in (model.get_input_embeddings(), model.get_output_embeddings()))
    if one is not None and other is not None and one is not other and not torch.equal(one, other):
        raise ArtifactError(
            f"{base.folder}: config.json ties the output layer to the embedding, and the weights hold another lm_head.weight",
            fix="set tie_word_embeddings to false in a copy, or take lm_head.weight out of its weights, as it was trained",
        )


def _quantized(base: Base, options: dict[str, Any], device: str) -> Any:
    """The base in 4 bits. Raises MissingExtra where the bitsandbytes that is installed cannot do that on this device."""
    import torch

    try:
        return _loaded(base, options)
    except torch.OutOfMemoryError:
        raise
    except (ImportError, RuntimeError, AssertionError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingExtra(
            f"training.qlora: the bitsandbytes that is installed cannot hold {base.folder} in 4 bits on {device}: {why}",
            fix="pip install --upgrade 'tunekeeper[qlora]', or set qlora to false",
        ) from error


def codec_of(tokenizer: Any) -> Codec:
    """Rendering and tokenizing by transformers itself, the yardstick of every server. A template is a program from outside: it is
    tried beforehand where it can reach nothing and has an end. Raises ArtifactError when it fails there."""
    from tunekeeper.training import previewing

    plain = previewing.codec_of(Path(tokenizer.name_or_path))

    def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        messages = plain.prepared(messages)
        plain.render(messages, tools, prompt)
        text = tokenizer.apply_chat_template(messages, tools=tools or None, add_generation_prompt=prompt, tokenize=False)
        return str(text)

    def tokenize(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Codec(
        render=render, tokenize=tokenize, ends=plain.ends, special=plain.special, prepared=plain.prepared, size=plain.size
    )


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
