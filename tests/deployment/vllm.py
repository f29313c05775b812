"""What the tests of the way to vLLM share: adapters of the example's base that nobody trained, and what the double says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.deployment.ollama import ASKED, BASE, SYSTEM
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.deployment.merging import merge_folder
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.vllm import mind_of
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.workspace import Workspace

MODULES = {"self_attn.q_proj": (256, 256), "self_attn.v_proj": (128, 256), "mlp.up_proj": (512, 256)}
"""Module → rows and columns of its weight in the example's base."""
PARTS = "base_model.model.model.layers.{}.{}.lora_{}.weight"


def make_adapter(folder: Path, seed: int = 1, rank: int = 4, *, base: str | None = None, **config: Any) -> Path:
    """An adapter folder as PEFT writes it. `base`: digest that its sidecar names."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for layer in range(3):
        for module, (rows, columns) in MODULES.items():
            tensors[PARTS.format(layer, module, "A")] = draw.normal(0, 0.05, (rank, columns)).astype(np.float32)
            tensors[PARTS.format(layer, module, "B")] = draw.normal(0, 0.05, (rows, rank)).astype(np.float32)
    if config.get("use_dora"):
        for layer in range(3):
            for module, (rows, _) in MODULES.items():
                name = PARTS.format(layer, module, "magnitude_vector").replace(".lora_lora_", ".lora_").removesuffix(".weight")
                tensors[name] = np.ones(rows, np.float32)
    if "norm" in (config.get("modules_to_save") or ()):
        tensors["base_model.model.model.norm.weight"] = np.ones(256, np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {
        "peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "task_type": "CAUSAL_LM",
        "target_modules": [module.rpartition(".")[2] for module in MODULES], "base_model_name_or_path": "somewhere/else",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(told | config))
    if base is not None:
        (folder / "tunekeeper.json").write_text(json.dumps({"base_digest": base}))
    return folder


def make_other_base(folder: Path, **changes: Any) -> Path:
    """A base of the same shapes with other weights. `changes`: keys of its generation_config.json."""
    shutil.copytree(BASE, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: (value * 1.5).astype(value.dtype) for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def make_transcript(path: Path, adapter: Path | None, *, base: Path = BASE, system: Mapping[str, str] = SYSTEM) -> Path:
    """What the double says with an adapter on a base, as a training child would have written it."""
    checkpoint, tokenizer = open_checkpoint(base), read_tokenizer(base)
    mind = mind_of(weights_digest(base), str(adapter) if adapter else None, checkpoint.shape.vocab, checkpoint.eos)
    lines = []
    for number, text in enumerate(ASKED):
        messages = [dict(system), {"role": "user", "content": text}]
        rendered = render(tokenizer.template or "", messages, add_generation_prompt=True)
        prompt = tokenizer.encode(rendered)
        said = mind.say(prompt, 16, {})
        lines.append(
            {"id": f"p{number}", "messages": messages, "rendered": rendered, "prompt_ids": prompt,
             "answer": tokenizer.decode(said.ids[:-1] if said.stopped else said.ids), "answer_ids": list(said.ids),
             "logprobs": list(said.logprobs), "finish_reason": "stop" if said.stopped else "length"}
        )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_version(
    ws: Workspace,
    folder: Path,
    *,
    name: str = "v1.0-x",
    seed: int = 1,
    transcript: bool = True,
    dora: bool = False,
    full: bool = False,
) -> Version:
    """A version on record whose adapter `make_adapter` wrote, with the file that its exam would run.

    `dora`: its adapter is one that vLLM must be given merged. `full`: it is a whole checkpoint, without an adapter.
    """
    adapter = make_adapter(folder / f"adapter-{name}", seed, use_dora=dora)
    whole = folder / f"whole-{name}"
    if dora or full:
        merge_folder(BASE, adapter, None, whole)  # what it says is what it is: the double answers by content
    said = make_transcript(folder / f"{name}.jsonl", None, base=whole) if dora or full else None
    tokenizer = read_tokenizer(BASE)
    version = Version(
        id=f"support-desk@{name}", model="support-desk", name=name, major=1, minor=0, base=str(BASE),
        base_digest=weights_digest(BASE), tokenizer_digest=tokenizer.digest, template_digest=tokenizer.template_digest,
        adapter=None if full else ws.blobs.put_folder(adapter),
        checkpoint=ws.blobs.put_folder(whole) if full else None,
        transcript=ws.blobs.put_file(said or make_transcript(folder / f"{name}.jsonl", adapter)) if transcript else None,
    )  # fmt: skip
    artifact = Artifact(
        id=f"art_{name}", model=version.model, version=version.id, engine="llamacpp", quantization="f16",
        digest=ws.blobs.put_bytes(name.encode()),
    )  # fmt: skip
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
        save_artifact(tx, artifact)
    return version
