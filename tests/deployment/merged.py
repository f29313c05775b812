"""`python -m tests.deployment.merged CHECKPOINT FOLDER…`: what transformers, in float32, makes of merged checkpoints.

For each folder: the log-probabilities of a transcript's answers, greedy choices and prompt tokens, as JSON lines. torch stays out
of the test process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Heard:
    """How a checkpoint, loaded by transformers, takes a transcript."""

    worst: float
    agree: bool
    prompts: bool
    dtype: str


def hear(pairs: list[tuple[Path, Path]]) -> list[Heard]:
    """`(checkpoint folder, transcript)` each, judged in one child process."""
    root = Path(__file__).resolve().parents[2]
    arguments = [str(path) for pair in pairs for path in pair]
    done = subprocess.run([sys.executable, "-m", "tests.deployment.merged", *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [Heard(**json.loads(line)) for line in done.stdout.splitlines()]


def judge(folder: Path, transcript: Path) -> dict[str, Any]:
    """One checkpoint beside the answers that its adapter gave in training."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    worst, agree, prompts = 0.0, True, True
    for line in map(json.loads, transcript.read_text().splitlines()):
        rendered = tokenizer.apply_chat_template(line["messages"], tokenize=False, add_generation_prompt=True)
        prompts &= tokenizer(rendered, add_special_tokens=False)["input_ids"] == line["prompt_ids"]
        ids = torch.tensor([line["prompt_ids"] + line["answer_ids"]])
        with torch.no_grad():
            scores = torch.log_softmax(model(ids).logits[0, len(line["prompt_ids"]) - 1 : -1].double(), -1)
        said = scores[torch.arange(len(line["answer_ids"])), torch.tensor(line["answer_ids"])].tolist()
        worst = max([worst, *(abs(a - b) for a, b in zip(said, line["logprobs"], strict=True))])
        agree &= scores.argmax(-1).tolist() == line["answer_ids"]
    dtype = str(AutoConfig.from_pretrained(folder).dtype).removeprefix("torch.")
    return {"worst": worst, "agree": agree, "prompts": prompts, "dtype": dtype}


def main(paths: list[Path]) -> None:
    """Judge pair by pair."""
    import torch

    torch.set_num_threads(1)
    for folder, transcript in zip(paths[::2], paths[1::2], strict=True):
        print(json.dumps(judge(folder, transcript)))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
