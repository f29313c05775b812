"""Run by the Python of `make bench-peers ARGS=trl`: TRL's SFTTrainer learns what a spec says. Imports nothing of ours.

`sft.py SPEC` reads the JSON that `benchmarks/tuning.py` writes and prints, as its last line, what the training took.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

IGNORED = -100


def model_of(spec: dict[str, Any]) -> Any:
    """The base on its device: the checkpoint in `base`, else random weights of the Qwen2 `shape`. `attention`: as transformers
    calls it."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype, attention = getattr(torch, spec["dtype"]), spec["attention"]
    if spec["base"] is not None:
        found = AutoModelForCausalLM.from_pretrained(
            spec["base"], dtype=dtype, local_files_only=True, use_safetensors=True, attn_implementation=attention
        )
        return found.to(spec["device"])
    torch.manual_seed(0)
    with torch.device(spec["device"]):  # made where it is used: 7 billion random numbers take minutes on a processor
        return AutoModelForCausalLM.from_config(Qwen2Config(**spec["shape"]), dtype=dtype, attn_implementation=attention)


def rows_of(spec: dict[str, Any]) -> dict[str, list[list[int]]]:
    """Columns `input_ids` and `labels`, the same tokens that ours learns."""
    lines = [json.loads(line) for line in Path(spec["rows"]).read_text().splitlines()]
    labels = [[token if learn else IGNORED for token, learn in zip(line["ids"], line["learned"], strict=True)] for line in lines]
    return {"input_ids": [line["ids"] for line in lines], "labels": labels}


def settings(spec: dict[str, Any]) -> dict[str, Any]:
    """SFTConfig's arguments: the recipe, and of the rest its defaults or, with `tuned`, what its documentation recommends for
    speed: no recomputation, on a processor rows of like length side by side, on a GPU packing and, with `liger`, Liger's
    kernels."""
    recipe, gpu = spec["recipe"], spec["device"] != "cpu"
    given = {
        "output_dir": spec["work"],
        "per_device_train_batch_size": math.ceil(recipe["batch"] / recipe["accumulation"]),
        "gradient_accumulation_steps": recipe["accumulation"],
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.05},
        "warmup_steps": recipe["warmup_steps"],
        "weight_decay": recipe["weight_decay"],
        "max_grad_norm": recipe["clip"],
        "max_length": recipe["max_tokens"],
        "seed": recipe["seed"],
        "bf16": spec["dtype"] == "bfloat16",
        "use_cpu": not gpu,
        "save_strategy": "no",  # what ours saves is not in its figure either
        "report_to": "none",
        "disable_tqdm": True,
    }
    if not spec["tuned"]:
        return given
    packed = {
        "packing": True,
        "per_device_train_batch_size": spec["packs"],
        "gradient_accumulation_steps": spec["packed_parts"],
        "use_liger_kernel": spec["liger"],
    }
    faster: dict[str, Any] = packed if gpu else {"train_sampling_strategy": "group_by_length"}
    return given | {"gradient_checkpointing": False} | faster


def main(spec: dict[str, Any]) -> dict[str, float]:
    """Train; returns tokens, cpu and wall seconds of the training alone, and on a GPU its peak in MB."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    recipe = spec["recipe"]
    torch.set_num_threads(recipe["threads"])
    if spec["liger"] and importlib.util.find_spec("liger_kernel") is None:
        raise ImportError(f"{sys.prefix} has no liger-kernel: {sys.prefix}/bin/pip install liger-kernel")
    rows = rows_of(spec)
    flash = spec["tuned"] and spec["device"] != "cpu" and importlib.util.find_spec("flash_attn") is not None
    trainer = SFTTrainer(
        model=model_of(spec | ({"attention": "flash_attention_2"} if flash else {})),
        args=SFTConfig(**settings(spec)),
        train_dataset=Dataset.from_dict(rows),
        processing_class=AutoTokenizer.from_pretrained(spec["tokenizer"], local_files_only=True),
        peft_config=LoraConfig(r=recipe["rank"], lora_alpha=recipe["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    began, used = time.monotonic(), time.process_time()
    trainer.train()
    if spec["device"] != "cpu":
        torch.cuda.synchronize()
    took = {"seconds": time.monotonic() - began, "cpu": time.process_time() - used}
    if spec["adapter"] is not None:
        trainer.model.save_pretrained(spec["adapter"])
    peak = {"gpu_mb": torch.cuda.max_memory_reserved() / 1e6} if spec["device"] != "cpu" else {}
    return took | peak | {"tokens": float(recipe["epochs"] * sum(map(len, rows["input_ids"])))}


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
