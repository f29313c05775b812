"""What the tests of the way to Ollama share: a small file of the example's base, a transcript, a double that answers by it."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tunekeeper.deployment.exporting import export_folder
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer

BASE = Path(__file__).resolve().parents[2] / "examples" / "support_desk" / "base"
SYSTEM = {"role": "system", "content": "Triage the ticket. Answer with JSON."}
ASKED = ("I was charged twice for Pixel Pad.", "Solo Watch deleted all of our data.", "I wish Orbit CRM {{ worked }} offline.")
ANSWERS = ('{"category": "billing", "priority": "high"}', '{"category": "bug", "priority": "urgent"}', '{"category": "feature"}')


def make_file(path: Path, kind: str = "f16") -> Path:
    """The example's base as a GGUF file."""
    path.write_bytes(_made(kind))
    return path


@cache
def _made(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        export_folder(BASE, None, kind, Path(folder) / "m.gguf")
        return (Path(folder) / "m.gguf").read_bytes()


def make_artifact(folder: Path, kind: str = "f16", **more: Any) -> Path:
    """An artifact folder of it."""
    folder.mkdir(parents=True, exist_ok=True)
    make_file(folder / "m.gguf", kind)
    (folder / "serve.json").write_text(json.dumps({"gguf": "m.gguf", **more}))
    return folder


def make_transcript(path: Path, *, system: bool = True) -> Path:
    """A reference transcript with answers that nobody trained."""
    template = read_tokenizer(BASE).template or ""
    lines = []
    for number, (text, answer) in enumerate(zip(ASKED, ANSWERS, strict=True)):
        messages = [*([SYSTEM] if system else []), {"role": "user", "content": text}]
        rendered = render(template, messages, add_generation_prompt=True)
        lines.append(
            {"id": f"p{number}", "messages": messages, "rendered": rendered, "prompt_ids": [1], "answer": answer,
             "answer_ids": [1] * 16, "logprobs": [0.0] * 16, "finish_reason": "stop"}
        )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def trained(prompt: str, model: Any, options: dict[str, Any]) -> str:
    """What training answered to a prompt, with the end token; nonsense for any other prompt."""
    template = read_tokenizer(BASE).template or ""
    for text, answer in zip(ASKED, ANSWERS, strict=True):
        messages = [SYSTEM, {"role": "user", "content": text}]
        if prompt == render(template, messages, add_generation_prompt=True):
            return answer + "<|im_end|>\nand more"
    return "Wholly other words than those."
