"""Rebuilds this example's files from seeds: `python rebuild.py base` (90 CPU seconds), `digests`, `data`, `suite`, or `all`.

The base is a tiny Qwen2 (2.0 M parameters) pretrained on made-up text. It learns the *shape* of the desk's answers and the
language of its tickets, never the desk's policy: in pretraining the labels of the triage task are drawn at random.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tunekeeper.demo.phrases import CATEGORIES, OTHER_PRODUCTS, PRIORITIES, PRODUCTS
from tunekeeper.demo.raw import export, suite_cases, write_export
from tunekeeper.demo.world import SYSTEM, World, request, triage

HERE = Path(__file__).resolve().parent
BASE = HERE / "base"
SEED = 7
VOCABULARY = 960
STEPS = 180
BATCH = 32
PEAK_RATE = 3e-3
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN2_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
REPLIES = (
    "Sorry about {x} with {p}. We will look at it.",
    "Thanks for telling us about {x}. The {p} team will reply soon.",
    "We have noted {x} for {p}.",
    "I understand, {x} is on our list. {p} experts will help.",
)
Document = str | list[dict[str, Any]]
WIDE = World(products=PRODUCTS + OTHER_PRODUCTS)


def document(rng: random.Random) -> Document:
    """One pretraining text: prose, a helpful reply, an extraction, or a triage with random labels (one in six with shots)."""
    ticket = WIDE.ticket(rng)
    kind = rng.random()
    if kind < 0.10:
        return f"{ticket.name} wrote about {ticket.product}: {ticket.text} It was about {ticket.about}."
    if kind < 0.34:
        reply = rng.choice(REPLIES).format(x=ticket.about, p=ticket.product)
        return _chat("You are a helpful support agent.", ticket.text, reply)
    if kind < 0.72:
        fields = {"product": ticket.product, "about": ticket.about, "tone": ticket.tone_word}
        return _chat("Extract the fields as JSON.", ticket.text, json.dumps(fields))
    shots = rng.choice((1, 1, 1, 1, 1, 3))
    messages = [{"role": "system", "content": SYSTEM}]
    for _ in range(shots):
        answer = triage(rng.choice(CATEGORIES), rng.choice(PRIORITIES))
        messages += [request(WIDE.ticket(rng))[-1], {"role": "assistant", "content": answer}]
    return messages


def _chat(system: str, user: str, assistant: str) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": user},
        {"role": "assistant", "content": assistant},
    ]


def build_tokenizer() -> Any:
    """Byte-level BPE over the pretraining text, with Qwen2's split expression and NFC, so that llama.cpp's own agrees with it."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(SEED + 777)
    documents = (document(rng) for _ in range(4000))
    texts = (d if isinstance(d, str) else "\n".join(f"{m['role']}\n{m['content']}" for m in d) for d in documents)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    return fast


def build_model(tokenizer: Any) -> Any:
    """A fresh Qwen2 with 2.0 M parameters; every row length is a multiple of 256, so that K-quants apply."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


def batches(documents: list[list[int]], rng: random.Random) -> Iterator[list[list[int]]]:
    """Endless batches of documents of similar length, in random order."""
    while True:
        rng.shuffle(documents)
        for start in range(0, len(documents) - BATCH * 8 + 1, BATCH * 8):
            pool = sorted(documents[start : start + BATCH * 8], key=len)
            groups = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
            rng.shuffle(groups)
            yield from groups


def pretrain(model: Any, documents: list[list[int]], pad: int) -> float:
    """Train `model` on whole documents for STEPS steps, cosine from PEAK_RATE; returns the smoothed loss in nats a token."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    model.train()
    smooth: float | None = None
    source, start = batches(documents, random.Random(SEED + 2)), time.process_time()
    for step in range(STEPS):
        rows = next(source)
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        rate = PEAK_RATE * min(1.0, (step + 1) / 20) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / STEPS)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        now = float(loss.item())
        smooth = now if smooth is None else 0.9 * smooth + 0.1 * now
        if (step + 1) % 25 == 0:
            print(
                f"step {step + 1}/{STEPS} loss {smooth:.3f} {time.process_time() - start:.0f} CPU-s", file=sys.stderr, flush=True
            )
    return smooth or 0.0


def rebuild_base() -> None:
    """Write base/: model.safetensors (fp16), config, tokenizer, chat template."""
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    if len(tokenizer) != VOCABULARY:
        raise SystemExit(f"the tokenizer has {len(tokenizer)} tokens, not {VOCABULARY}: widen the pretraining text")
    model = build_model(tokenizer)
    rng = random.Random(SEED + 1)
    rows = []
    for _ in range(8000):
        doc = document(rng)
        text = doc + SPECIAL[0] if isinstance(doc, str) else tokenizer.apply_chat_template(doc, tokenize=False)
        rows.append(tokenizer(text, add_special_tokens=False)["input_ids"][:320])
    loss = pretrain(model, rows, tokenizer.pad_token_id)
    BASE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE) as part:
        tokenizer.save_pretrained(part)
        model.to(torch.float16).save_pretrained(part)
        for file in sorted(Path(part).iterdir()):
            file.chmod(0o644)
            file.replace(BASE / file.name)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, loss {loss:.3f} after {STEPS} steps", file=sys.stderr)


def write_digests() -> None:
    """Record the sha256 of every file of base/ in base/DIGESTS, in the format of `sha256sum`."""
    files = sorted(p for p in BASE.iterdir() if p.name != "DIGESTS")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files]
    (BASE / "DIGESTS").write_text("".join(lines))


def rebuild_data() -> set[str]:
    """Write data/tickets.csv and data/tickets.jsonl; returns the ticket texts in them."""
    found = export()
    write_export(HERE / "data", found)
    return found.texts


def rebuild_suite() -> None:
    """Write suites/core.jsonl: 200 cases that share no text with the export."""
    lines = [json.dumps(case, ensure_ascii=False) + "\n" for case in suite_cases(200, avoid=export().texts)]
    (HERE / "suites").mkdir(exist_ok=True)
    (HERE / "suites" / "core.jsonl").write_text("".join(lines), "utf-8")


def main(words: list[str]) -> int:
    """Rebuild what is named; returns the exit code."""
    parts = {"base": rebuild_base, "digests": write_digests, "data": rebuild_data, "suite": rebuild_suite}
    chosen = list(parts) if words == ["all"] else words
    if not chosen or any(word not in parts for word in chosen):
        print(f"usage: python rebuild.py all | {' | '.join(parts)}", file=sys.stderr)
        return 2
    for word in chosen:
        parts[word]()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
