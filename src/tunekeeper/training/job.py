"""What runs in a training child: load, learn, save, write the reference transcript.

Imports the standard library and dependency-free files of ours; torch, transformers and peft inside functions, so that a bare
GPU machine needs nothing else. `context` has `root`, `work` and `progress(fraction, **fields)`.
"""

from __future__ import annotations

import json
import platform
import resource
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tunekeeper.core.errors import ArtifactError, DataError
from tunekeeper.core.ids import digest_json
from tunekeeper.training.adapter import check_parent, write_sidecar
from tunekeeper.training.base import Base, read_base, talking_base
from tunekeeper.training.encode import Codec, Encoded, encode
from tunekeeper.training.loading import codec_of, load, load_plain, prepare_threads
from tunekeeper.training.memory import refuse_too_large, room
from tunekeeper.training.recipe import Recipe, from_json
from tunekeeper.training.rows import Row, last_only, read_questions, read_rows, select

if TYPE_CHECKING:
    from tunekeeper.training.loop import Curve, Progress, Setup

    Fit = Callable[[Setup, Progress], Curve]

HELD_FOR_LOSS = 64
ADAPTER = "adapter"
TRANSCRIPT = "transcript.jsonl"
CHECKPOINT = "checkpoint.pt"
TRL_CHECKPOINTS = "trl"
"""Folder that TRL keeps its own in."""
EPOCHS = "epochs"
"""Folder with a folder for each finished epoch: its adapter, the curve so far, and what it answered to the sample."""
ANSWERS = "answers.jsonl"
CURVE = "curve.json"


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def work(self) -> Path:
        """Scratch folder; what is left there is the result. The same folder in every attempt."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""


def run(input: dict[str, Any], context: Context, fit: Fit | None = None) -> dict[str, Any]:
    """Train one adapter. Killed and started again it resumes from its last epoch and gives the same adapter.

    `fit`: what learns, in place of our own loop.

    `input`: base (folder), base_digest (or None), train (JSONL), eval (JSONL or None), recipe (dict), dataset_digest,
    parent (adapter folder or None), parent_base (base digest that the ledger holds for it, or None), parent_digest,
    known (JSONL of the parent's rows, or None), sample (JSONL of questions answered after each epoch, or None), transcript
    (prompts), answer_tokens. Returns loss, eval_loss, seconds, cpu_seconds, tokens_per_second, rows …; leaves `adapter/` (the
    last epoch's), `transcript.jsonl` and `epochs/` in `context.work`. Raises UserErrors.
    """
    recipe = from_json(input["recipe"])
    prepare_threads(recipe.threads)
    base = talking_base(Path(input["base"]))
    if input.get("base_digest") not in (None, base.digest):
        raise ArtifactError(f"{base.folder}: the base is {base.digest}, the run was begun with {input['base_digest']}")
    parent = Path(input["parent"]) if input.get("parent") else None
    if parent is not None:
        check_parent(parent, base, recipe, input.get("parent_base"))
    rows, replayed = _chosen(input, recipe)
    held = read_rows(Path(input["eval"])) if input.get("eval") else []
    context.progress(0.0, note="loading the base")
    model, tokenizer, dtype = load(base, recipe, parent)
    setup, left_out = _setup(model, tokenizer, rows, held, recipe)
    most = max(map(_most_learned, setup.rows))
    estimate = refuse_too_large(base.folder, recipe, max(map(_longest, setup.rows)), room(), learned=most)
    leaves = _Leaves(context.work, input, base, recipe, model, tokenizer, held)
    setup = replace(setup, checkpoint=context.work / CHECKPOINT, key=digest_json(input), at_epoch=leaves.epoch)

    from tunekeeper.training import loop

    before = energy_joules()
    curve = (fit or loop.fit)(setup, lambda fraction, **fields: context.progress(0.97 * fraction, **fields))
    used = _watt_hours(before, energy_joules())
    leaves.adapter(context.work / ADAPTER)
    written = 0
    if not leaves.chosen_later:
        context.progress(0.98, note="writing the reference transcript")
        written = leaves.transcript(context.work / TRANSCRIPT)
    return asdict(curve) | {
        "adapter": ADAPTER,
        "transcript": TRANSCRIPT if written else None,
        "final_loss": curve.loss[-1],
        "tokens_per_second": curve.tokens / max(curve.seconds, 1e-9),
        "rows": len(setup.rows),
        "replayed": replayed,
        "left_out": left_out,
        "dtype": dtype,
        "memory": {"estimated": estimate.total, "peak": _peak_bytes()},
        "machine": machine() | ({} if used is None else {"energy_wh": used}),
    }


@dataclass(frozen=True, slots=True)
class _Leaves:
    """What a run leaves behind: after each epoch all that is needed should it be the one that is kept, at the end the last."""

    work: Path
    input: dict[str, Any]
    base: Base
    recipe: Recipe
    model: Any
    tokenizer: Any
    held: list[Row]

    @property
    def chosen_later(self) -> bool:
        """Whether the parent chooses among the epochs."""
        return self.recipe.keep != "last" and self.recipe.epochs > 1

    def epoch(self, curve: Curve) -> None:
        """Put the epoch's adapter aside, with its answers and its reference transcript."""
        part = self.work / EPOCHS / f".{curve.epoch}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.adapter(part / ADAPTER)
        if self.chosen_later:
            self.answers(part / ANSWERS)
            self.transcript(part / TRANSCRIPT)
        (part / CURVE).write_text(json.dumps(asdict(curve)))
        whole = self.work / EPOCHS / str(curve.epoch)
        shutil.rmtree(whole, ignore_errors=True)
        part.replace(whole)

    def adapter(self, folder: Path) -> None:
        """The adapter as it is now, with its sidecar."""
        shutil.rmtree(folder, ignore_errors=True)
        self.model.save_pretrained(folder, safe_serialization=True)
        write_sidecar(
            folder, self.base, self.recipe, dataset=self.input["dataset_digest"], parent=self.input.get("parent_digest")
        )

    def answers(self, path: Path) -> None:
        """The greedy answer to each question of the sample, `{id, answer}` a line; nothing without a sample."""
        if not self.input.get("sample"):
            return
        from tunekeeper.training.transcript import answers

        rows = read_questions(Path(self.input["sample"]))
        texts = answers(self.model, self.tokenizer, codec_of(self.tokenizer), rows, self.input["answer_tokens"])
        with path.open("w", encoding="utf-8") as file:
            for row, text in zip(rows, texts, strict=True):
                file.write(json.dumps({"id": row.id, "answer": text}, ensure_ascii=False) + "\n")

    def transcript(self, path: Path) -> int:
        """The reference transcript of the model as it is now; returns its lines, 0 without held-out rows."""
        asked = self.held[: self.input["transcript"]]
        if not asked:
            return 0
        return _transcribe(path, self.model, self.tokenizer, codec_of(self.tokenizer), asked, self.input["answer_tokens"])


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
    context.progress(0.5, note="writing the reference transcript")
    written = _transcribe(context.work / TRANSCRIPT, model, tokenizer, codec_of(tokenizer), rows, input["answer_tokens"])
    return {"transcript": TRANSCRIPT, "transcribed": written, "dtype": dtype, "base_digest": base.digest}


def _chosen(input: dict[str, Any], recipe: Recipe) -> tuple[list[Row], int]:
    rows = read_rows(Path(input["train"]))
    if recipe.replay is None or not input.get("known"):
        return rows, 0
    return select(rows, read_rows(Path(input["known"])), recipe.replay, recipe.seed)


def _setup(model: Any, tokenizer: Any, rows: list[Row], held: list[Row], recipe: Recipe) -> tuple[Any, int]:
    """The loop's Setup and how many rows were too long."""
    from tunekeeper.training.loop import Setup

    codec = codec_of(tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    rows, held = _of_objective(rows, recipe), _of_objective(held, recipe, needed=False)
    pairs = [(_learned(codec, row, recipe), row.weight) for row in rows]
    kept = [(row, weight) for row, weight in pairs if _longest(row) <= recipe.max_tokens]
    if not kept or not any(weight > 0 for _, weight in kept):
        most = recipe.max_tokens
        why = f"none of {len(rows)} rows has at most {most} tokens and a weight above 0"
        raise DataError(why, fix="raise training.max_tokens")
    seen = [_learned(codec, row, recipe) for row in held[:HELD_FOR_LOSS]]
    seen = [row for row in seen if _longest(row) <= recipe.max_tokens]
    learned: list[Any] = [row for row, _ in kept]
    if recipe.objective == "dpo":
        from tunekeeper.training.preference import with_reference

        size = max(1, recipe.batch // recipe.accumulation)
        learned, seen = (with_reference(model, each, pad, size) for each in (learned, seen))
    weights = [weight for _, weight in kept]
    setup = Setup(model=model, rows=learned, weights=weights, held=seen, pad=pad, recipe=recipe, tokenizer=tokenizer)
    return setup, len(pairs) - len(kept)


def _of_objective(rows: list[Row], recipe: Recipe, *, needed: bool = True) -> list[Row]:
    """The rows that say something to the objective: all of them, or for preferences one for each rejected answer."""
    if recipe.objective != "dpo":
        return rows
    found = [each for row in rows for each in row.compared]
    if not found and needed:
        raise DataError(
            f"none of {len(rows)} rows has a rejected answer to learn a preference from",
            fix="collect preferences with `tunekeeper data review`, or set training.objective to sft",
        )
    return found


def _learned(codec: Codec, row: Row, recipe: Recipe) -> Any:
    """A row as the loop takes it."""
    if recipe.objective != "dpo":
        return encode(codec, row)
    from tunekeeper.training.preference import Pair

    return Pair(chosen=encode(codec, last_only(row)), rejected=encode(codec, last_only(row.other)))


def _longest(row: Any) -> int:
    """Tokens of the longest conversation in a row."""
    return len(row.ids) if isinstance(row, Encoded) else max(len(row.chosen.ids), len(row.rejected.ids))


def _most_learned(row: Any) -> int:
    """Learned tokens of the conversation in a row that has more of them."""
    return max(sum(each.learned) for each in ((row,) if isinstance(row, Encoded) else (row.chosen, row.rejected)))


def _transcribe(path: Path, model: Any, tokenizer: Any, codec: Codec, rows: list[Row], answer_tokens: int) -> int:
    from tunekeeper.training.transcript import write

    return write(path, model, tokenizer, codec, rows, answer_tokens)


def machine() -> dict[str, Any]:
    """What the run stands on: device, processor, python, versions of the libraries and of ours."""
    import peft
    import tokenizers
    import torch
    import transformers

    import tunekeeper

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.machine()
    versions = {each.__name__: each.__version__ for each in (torch, transformers, peft, tokenizers)}
    return {
        "device": device,
        "processor": _processor(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "tunekeeper": tunekeeper.__version__,
        **versions,
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _peak_bytes() -> int:
    """The most memory this run has had: on the GPU what torch took of it, else what the kernel gave this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _watt_hours(before: float | None, after: float | None) -> float | None:
    # The counters start anew when they are full; what was used is then not known.
    return None if before is None or after is None or after < before else round((after - before) / 3600, 4)


def energy_joules(folder: Path = Path("/sys/class/powercap")) -> float | None:
    """What the processor packages have used since some moment, by RAPL; None where it cannot be read."""
    counters = sorted(folder.glob("intel-rapl:?/energy_uj"))
    try:
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None  # since 2020 kernels show it to root alone
