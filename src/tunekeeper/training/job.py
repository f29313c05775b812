"""What runs in a training child: load, learn, save, write the reference transcript.

Imports the standard library and dependency-free files of ours; torch, transformers and peft inside functions, so that a bare
GPU machine needs nothing else. `context` has `root`, `work` and `progress(fraction, **fields)`.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ArtifactError, DataError, MissingExtra
from tunekeeper.core.ids import digest_json
from tunekeeper.training.adapter import check_parent, write_sidecar
from tunekeeper.training.base import Base, read_base
from tunekeeper.training.encode import Codec, encode, fitting
from tunekeeper.training.recipe import Recipe, from_json
from tunekeeper.training.rows import Row, read_rows, select

HELD_FOR_LOSS = 64
ADAPTER = "adapter"
TRANSCRIPT = "transcript.jsonl"
CHECKPOINT = "checkpoint.pt"


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def work(self) -> Path:
        """Scratch folder; what is left there is the result. The same folder in every attempt."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Train one adapter. Killed and started again it resumes from its last epoch and gives the same adapter.

    `input`: base (folder), base_digest (or None), train (JSONL), eval (JSONL or None), recipe (dict), dataset_digest,
    parent (adapter folder or None), parent_base (base digest that the ledger holds for it, or None), parent_digest,
    known (JSONL of the parent's rows, or None), transcript (prompts), answer_tokens. Returns loss, eval_loss, seconds,
    cpu_seconds, tokens_per_second, rows …; leaves `adapter/` and `transcript.jsonl` in `context.work`. Raises UserErrors.
    """
    recipe = from_json(input["recipe"])
    prepare_threads(recipe.threads)
    base = read_base(Path(input["base"]))
    if input.get("base_digest") not in (None, base.digest):
        raise ArtifactError(f"{base.folder}: the base is {base.digest}, the run was begun with {input['base_digest']}")
    parent = Path(input["parent"]) if input.get("parent") else None
    if parent is not None:
        check_parent(parent, base, recipe, input.get("parent_base"))
    rows, replayed = _chosen(input, recipe)
    held = read_rows(Path(input["eval"])) if input.get("eval") else []
    context.progress(0.0, note="loading the base")
    model, tokenizer, dtype = load(base, recipe, parent)
    codec = codec_of(tokenizer)
    setup, left_out = _setup(model, tokenizer, rows, held, recipe)
    setup = replace(setup, checkpoint=context.work / CHECKPOINT, key=digest_json(input))

    from tunekeeper.training.loop import fit

    curve = fit(setup, lambda fraction, **fields: context.progress(0.97 * fraction, **fields))
    folder = context.work / ADAPTER
    model.save_pretrained(folder, safe_serialization=True)
    write_sidecar(folder, base, recipe, dataset=input["dataset_digest"], parent=input.get("parent_digest"))
    written = 0
    if held and input["transcript"] > 0:
        written = _transcribe(context, model, tokenizer, codec, held[: input["transcript"]], input["answer_tokens"])
    return asdict(curve) | {
        "adapter": ADAPTER,
        "transcript": TRANSCRIPT if written else None,
        "transcribed": written,
        "final_loss": curve.loss[-1],
        "tokens_per_second": curve.tokens / max(curve.seconds, 1e-9),
        "rows": len(setup.rows),
        "replayed": replayed,
        "left_out": left_out,
        "dtype": dtype,
        "machine": _machine(),
    }


def transcript(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """The reference transcript of a checkpoint that no run of ours made.

    `input`: base (folder), adapter (folder or None), prompts (JSONL), count, answer_tokens, threads. Leaves `transcript.jsonl`.
    """
    recipe = from_json({"threads": input.get("threads", 1), "dtype": "float32"})
    prepare_threads(recipe.threads)
    base = read_base(Path(input["base"]))
    rows = read_rows(Path(input["prompts"]))[: input["count"]]
    model, tokenizer, dtype = load_plain(base, recipe)
    if input.get("adapter"):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, input["adapter"])
    written = _transcribe(context, model, tokenizer, codec_of(tokenizer), rows, input["answer_tokens"])
    return {"transcript": TRANSCRIPT, "transcribed": written, "dtype": dtype, "base_digest": base.digest}


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
    from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(recipe.seed)
    model, tokenizer, dtype = load_plain(base, recipe)
    if recipe.qlora:
        model = prepare_model_for_kbit_training(model)
    if parent is not None:
        return PeftModel.from_pretrained(model, str(parent), is_trainable=True), tokenizer, dtype
    targets: str | list[str] = "all-linear" if recipe.targets == ("all-linear",) else list(recipe.targets)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config), tokenizer, dtype


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
    """Rendering and tokenizing by transformers itself, the yardstick of every server."""

    def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        text = tokenizer.apply_chat_template(messages, tools=tools or None, add_generation_prompt=prompt, tokenize=False)
        return str(text)

    def tokenize(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Codec(render=render, tokenize=tokenize, ends=(tokenizer.eos_token,) if tokenizer.eos_token else ())


def _chosen(input: dict[str, Any], recipe: Recipe) -> tuple[list[Row], int]:
    rows = read_rows(Path(input["train"]))
    if recipe.replay is None or not input.get("known"):
        return rows, 0
    return select(rows, read_rows(Path(input["known"])), recipe.replay, recipe.seed)


def _setup(model: Any, tokenizer: Any, rows: list[Row], held: list[Row], recipe: Recipe) -> tuple[Any, int]:
    """The loop's Setup and how many rows were too long."""
    from tunekeeper.training.loop import Setup

    codec = codec_of(tokenizer)
    pairs = [(encode(codec, row), row.weight) for row in rows]
    kept = [(row, weight) for row, weight in pairs if len(row.ids) <= recipe.max_tokens]
    if not kept or not any(weight > 0 for _, weight in kept):
        most = recipe.max_tokens
        why = f"none of {len(rows)} rows has at most {most} tokens and a weight above 0"
        raise DataError(why, fix="raise training.max_tokens")
    seen, _ = fitting((encode(codec, row) for row in held[:HELD_FOR_LOSS]), recipe.max_tokens)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    setup = Setup(
        model=model,
        rows=[row for row, _ in kept],
        weights=[weight for _, weight in kept],
        held=seen,
        pad=pad,
        recipe=recipe,
    )
    return setup, len(pairs) - len(kept)


def _transcribe(context: Context, model: Any, tokenizer: Any, codec: Codec, rows: list[Row], answer_tokens: int) -> int:
    from tunekeeper.training.transcript import write

    context.progress(0.98, note="writing the reference transcript")
    return write(context.work / TRANSCRIPT, model, tokenizer, codec, rows, answer_tokens)


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


def _machine() -> dict[str, Any]:
    import peft
    import torch
    import transformers

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.machine()
    return {"device": device, "torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
