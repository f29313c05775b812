"""The reference transcript: what the trained model answers, written before the trainer exits. Parity compares servers with it.

Runs in a child process: imports torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tunekeeper.training.encode import Codec
from tunekeeper.training.exact import in_float32
from tunekeeper.training.loading import pad_of
from tunekeeper.training.places import TABLES
from tunekeeper.training.rows import Row, question

GROUP = 20


def write(path: Path, model: Any, tokenizer: Any, codec: Codec, rows: Sequence[Row], answer_tokens: int) -> int:
    """Write a line a prompt to `path`, replaced as a whole; returns how many.

    Every sum is worked out in float32, whatever the model's format: that is what servers are compared with.

    A line: `{id, messages, tools, rendered, prompt_ids, answer, answer_ids, logprobs, finish_reason}`. `answer` is greedy,
    without its end token; `answer_ids` end with it when it came; `logprobs` (natural) has one number for each of them.
    """
    part = path.with_suffix(".part")
    count = 0
    with part.open("w", encoding="utf-8") as file, in_float32(model):
        for line in lines(model, tokenizer, codec, rows, answer_tokens):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    part.replace(path)
    return count


def lines(model: Any, tokenizer: Any, codec: Codec, rows: Sequence[Row], answer_tokens: int) -> Iterator[dict[str, Any]]:
    """The transcript's lines, one a row, for the prompt before each row's last answer."""
    model.eval()
    places = _places(model)
    prompts = [each for row in rows if len((each := (row, *_prompt(codec, row)))[2]) < places]
    for start in range(0, len(prompts), GROUP):
        group = prompts[start : start + GROUP]
        answers = greedy(model, tokenizer, [ids for _, _, ids in group], answer_tokens)
        for (row, rendered, ids), answer in zip(group, answers, strict=True):
            ended = bool(answer) and answer[-1] in _ends(model, tokenizer)
            yield {
                "id": row.id,
                "messages": question(row),
                "tools": list(row.tools),
                "rendered": rendered,
                "prompt_ids": ids,
                "answer": tokenizer.decode(answer[:-1] if ended else answer, skip_special_tokens=False),
                "answer_ids": answer,
                "logprobs": log_probabilities(model, ids, answer),
                "finish_reason": "stop" if ended else "length",
            }


def answers(model: Any, tokenizer: Any, codec: Codec, rows: Sequence[Row], answer_tokens: int) -> list[str]:
    """The greedy answer to each row's messages, which end with the question, without its end token."""
    model.eval()
    ends = _ends(model, tokenizer)
    prompts = [codec.tokenize(codec.render(list(row.messages), list(row.tools), True)) for row in rows]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [""] * len(prompts)
    for start in range(0, len(order), GROUP):
        places = order[start : start + GROUP]
        for place, ids in zip(places, greedy(model, tokenizer, [prompts[i] for i in places], answer_tokens), strict=True):
            ended = bool(ids) and ids[-1] in ends
            found[place] = tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=False)
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]
def greedy(model: Any, tokenizer: Any, prompts: Sequence[list[int]], limit: int) -> list[list[int]]:
    """Greedy answers of at most `limit` tokens, with the end token where it came; none where a prompt leaves no place for one."""
    places = _places(model)
    short = [prompt for prompt in prompts if len(prompt) < places]
    if len(short) < len(prompts):
        said = iter(greedy(model, tokenizer, short, limit) if short else ())
        return [next(said) if len(prompt) < places else [] for prompt in prompts]
    width = max(map(len, prompts))
    limit = int(min(limit, places - width))
    pad, device = pad_of(tokenizer), next(model.parameters()).device
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    ends = sorted(_ends(model, tokenizer))
    found = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=limit, do_sample=False, pad_token_id=pad, eos_token_id=ends or None
    )
    return [_cut(answer, set(ends)) for answer in found[:, width:].tolist()]


@torch.no_grad()  # type: ignore[untyped-decorator]
def log_probabilities(model: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """Natural log-probability of each answer token after its prefix, from one pass without padding."""
    if not answer:
        return []
    ids = torch.tensor([prompt + answer], device=next(model.parameters()).device)
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    chosen = torch.log_softmax(logits, -1)[torch.arange(len(answer)), torch.tensor(answer)]
    return [round(value, 6) for value in chosen.tolist()]


def _prompt(codec: Codec, row: Row) -> tuple[str, list[int]]:
    rendered = codec.render(question(row), list(row.tools), True)
    return rendered, codec.tokenize(rendered)


def _cut(answer: list[int], ends: set[int]) -> list[int]:
    """Up to and with the first end token; what generation filled up behind it is gone."""
    for i, token in enumerate(answer):
        if token in ends:
            return answer[: i + 1]
    return answer


def _places(model: Any) -> float:
    """Tokens that a model can be given: as many as it has learned places for, without end where it works them out."""
    learned = any(name.endswith(TABLES) for name, _ in model.named_parameters())
    return float(model.config.max_position_embeddings) if learned else math.inf


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: the tokenizer's and those of generation_config.json."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}
