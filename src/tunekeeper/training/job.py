"""What runs in a training child: load, learn, save, write the reference transcript.

Imports the standard library and dependency-free files of ours; torch, transformers and peft inside functions, so that a bare
GPU machine needs nothing else. `context` has `root`, `work` and `progress(fraction, **fields)`.
"""

from __future__ import annotations

import contextlib
import json
import platform
import resource
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_json
from tunekeeper.store.blobs import link_or_copy
from tunekeeper.training.adapter import check_parent, settle, write_sidecar
from tunekeeper.training.base import Base, read_base, talking_base
from tunekeeper.training.card import write_card
from tunekeeper.training.checkpoint import as_saved, check_tuned_parent, save_checkpoint
from tunekeeper.training.device import choose, here
from tunekeeper.training.encode import Codec, Encoded, conversations
from tunekeeper.training.loading import codec_of, load, load_plain, load_tokenizer, pad_of, prepare_memory, prepare_threads
from tunekeeper.training.memory import refuse_full_disk, refuse_too_large
from tunekeeper.training.places import beyond, refuse_beyond
from tunekeeper.training.recipe import Recipe, from_json
from tunekeeper.training.rows import Row, nothing_fits, of_objective, read_questions, read_rows, select, weight_of
from tunekeeper.training.turns import FOLDER, turn
from tunekeeper.training.workfolder import ADAPTER, ANSWERS, BEGUN, CHECKPOINT, CURVE, EPOCHS, MODEL, TRANSCRIPT, Context

if TYPE_CHECKING:
    from tunekeeper.training.loop import Curve, Progress, Setup

    Fit = Callable[[Setup, Progress], Curve]

HELD_FOR_LOSS = 64


def run(input: dict[str, Any], context: Context, fit: Fit | None = None) -> dict[str, Any]:
    """Train one adapter, or every number of the base. Killed and started again it resumes from its last epoch and gives the same.

    `fit`: what learns, in place of our own loop.

    `input`: base (folder), base_digest, tokenizer_digest and template_digest (None: not looked at), train (JSONL), eval (JSONL or
    None), recipe (dict), dataset_digest, parent (folder of an adapter or a tuned checkpoint, or None), parent_base (base digest
    that the ledger holds for it, or None), parent_digest, known (JSONL of the parent's rows, or None), epoch (of full tuning one
    whose model stays in any case, or None), sample (JSONL of questions answered after each epoch, or None), transcript (prompts),
    answer_tokens. Returns loss, eval_loss, seconds, cpu_seconds, tokens_per_second, rows …; leaves `adapter/`, or `model/` of
    full tuning (the last epoch's), `transcript.jsonl` and `epochs/` in `context.work`. Raises UserErrors.
    """
    with contextlib.ExitStack() as held:
        return _run(input, context, fit, held)


def _run(input: dict[str, Any], context: Context, fit: Fit | None, held_memory: contextlib.ExitStack) -> dict[str, Any]:
    recipe = from_json(input["recipe"])
    choose(context.work)
    prepare_threads(recipe.threads)
    base = talking_base(Path(input["base"]))
    base.refuse_changed(input, "the run")
    parent = Path(input["parent"]) if input.get("parent") else None
    if parent is not None and recipe.method == "full":
        check_tuned_parent(parent, base)
    elif parent is not None:
        check_parent(parent, base, recipe, input.get("parent_base"))
    rows, replayed = _chosen(input, recipe)
    held = read_rows(Path(input["eval"])) if input.get("eval") else []
    tokenizer = load_tokenizer(base)
    taken = _taken(codec_of(tokenizer), rows, held, recipe)
    refuse_beyond(base.folder, max(map(_longest, (*taken.rows, *taken.held))))
    begun = _begun(context.work, base, taken, replayed)
    longest, most = max(map(_longest, taken.rows)), max(map(_most_learned, taken.rows))
    needed = refuse_too_large(base.folder, recipe, longest, here(), learned=most).total
    trainings = context.root / "work" / FOLDER
    held_memory.enter_context(turn(trainings, needed, here, lambda why: context.progress(0.0, note=why)))
    estimate = refuse_too_large(base.folder, recipe, longest, there := here(), learned=most)
    refuse_full_disk(base.folder, recipe, context.work, there)
    if estimate.tight:
        prepare_memory()
    context.progress(0.0, note="loading the base")
    model, dtype = load(base, recipe, parent)
    setup = _setup(model, tokenizer, taken, recipe)
    from tunekeeper.training import exact

    leaves = _Leaves(context.work, input, base, recipe, model, tokenizer, held, exact.holds_own_numbers(base, recipe, dtype))
    setup = replace(setup, checkpoint=context.work / CHECKPOINT, key=digest_json(input), at_epoch=leaves.epoch)

    from tunekeeper.training import loop

    before = energy_joules()
    curve = (fit or loop.fit)(setup, lambda fraction, **fields: context.progress(0.97 * fraction, **fields))
    used, peak = _watt_hours(before, energy_joules()), _peak_bytes()
    leaves.result(curve.epoch)
    written = 0
    if not leaves.exact:
        context.progress(0.98, note="writing the reference transcript on the base in its own numbers")
        del setup, model
        written = leaves.transcripts_apart(curve.epoch)
    elif not leaves.chosen_later:
        context.progress(0.98, note="writing the reference transcript")
        with leaves.as_saved():
            written = leaves.transcript(context.work / TRANSCRIPT)
    ended = {
        "adapter": folder_of(recipe),
        "transcript": TRANSCRIPT if written else None,
        "final_loss": curve.loss[-1],
        "tokens_per_second": curve.tokens / max(curve.seconds, 1e-9),
        "dtype": dtype,
        "memory": {"estimated": estimate.total, "peak": peak},
        "machine": begun["machine"] | ({} if used is None else {"energy_wh": used}),
    }
    return asdict(curve) | begun | ended


def folder_of(recipe: Recipe) -> str:
    """Name of the folder with what was learned."""
    return MODEL if recipe.method == "full" else ADAPTER


@dataclass(slots=True)
class _Leaves:
    """What a run leaves behind: after each epoch all that is needed should it be the one that is kept, at the end the last."""

    work: Path
    input: dict[str, Any]
    base: Base
    recipe: Recipe
    model: Any
    tokenizer: Any
    held: list[Row]
    exact: bool
    """Whether the model learns on the numbers that it will be served with."""

    @property
    def chosen_later(self) -> bool:
        """Whether the parent chooses among the epochs."""
        return self.recipe.keep != "last" and self.recipe.epochs > 1

    def epoch(self, curve: Curve) -> None:
        """Put what the epoch learned aside, with its answers and its reference transcript."""
        part = self.work / EPOCHS / f".{curve.epoch}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with self.as_saved():
            self.learned(part / folder_of(self.recipe), curve)
            if self.chosen_later:
                self.answers(part / ANSWERS)
                if self.exact:
                    self.transcript(part / TRANSCRIPT)
        (part / CURVE).write_text(json.dumps(asdict(curve)))
        whole = self.work / EPOCHS / str(curve.epoch)
        shutil.rmtree(whole, ignore_errors=True)
        part.replace(whole)
        if self.recipe.method == "full":
            self.thin(curve)

    def thin(self, curve: Curve) -> None:
        """Keep of the whole models the best so far and the last: each takes what the base takes."""
        from tunekeeper.training import selection  # it scores, and a run starts without what scoring needs

        asked = self.input.get("sample")
        task = selection.shares(self.work, Path(asked), self.input["scorers"], curve.epoch) if asked else (None,) * curve.epoch
        selection.thin(self.work, task, curve.eval_loss, self.recipe.keep, self.input.get("epoch"))

    def as_saved(self) -> contextlib.AbstractContextManager[None]:
        """The model as whoever loads its files will have it: answers and transcript are those of what is kept."""
        return as_saved(self.model) if self.recipe.method == "full" else contextlib.nullcontext()

    def result(self, epoch: int) -> None:
        """What the last epoch left, in the run's own folder; the same files, so that a whole model is not there twice."""
        name = folder_of(self.recipe)
        shutil.rmtree(self.work / name, ignore_errors=True)
        shutil.copytree(self.work / EPOCHS / str(epoch) / name, self.work / name, copy_function=link_or_copy)

    def learned(self, folder: Path, curve: Curve) -> None:
        """The adapter, or the whole model, as it is now, with its card and sidecar."""
        if self.recipe.method == "full":
            save_checkpoint(self.model, folder, self.base)
        else:
            self.model.save_pretrained(folder, safe_serialization=True)
            settle(folder)
        dataset, parent = self.input["dataset_digest"], self.input.get("parent_digest")
        write_card(folder, self.base, self.recipe, dataset=dataset, parent=parent, eval_loss=curve.eval_loss, epoch=curve.epoch)
        write_sidecar(folder, self.base, self.recipe, dataset=dataset, parent=parent)

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

    def transcripts_apart(self, last: int) -> int:
        """The reference transcripts of the epochs, on the base as it is served in the place of the one that learned, which goes.
        Returns the lines of the run's own, 0 where the parent chooses among the epochs, or where the base is too large."""
        from tunekeeper.training import exact

        self.model = None
        plain = exact.plain_base(self.base, self.recipe) if self.held and self.input["transcript"] else None
        if plain is None:
            return 0
        for epoch in range(1, last + 1) if self.chosen_later else (last,):
            folder = self.work / EPOCHS / str(epoch)
            with exact.served(plain, folder / ADAPTER) as self.model:
                written = self.transcript((folder if self.chosen_later else self.work) / TRANSCRIPT)
        return 0 if self.chosen_later else written

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
    choose(context.work)
    prepare_threads(recipe.threads)
    base = read_base(Path(input["base"]))
    rows = read_rows(Path(input["prompts"]))[: input["count"]]
    tokenizer = load_tokenizer(base)
    model, dtype = load_plain(base, recipe)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """The rows that a loop is given, as tokens."""

    rows: list[Any]
    """Conversations, or pairs of them, that fit `max_tokens`."""
    count: int
    """Rows that they are of."""
    weights: list[float]
    """Chance of each being used in an epoch, 0 to 1."""
    held: list[Any]
    """Held-out ones that the loss is taken of."""
    left_out: int
    """Conversations that are too long."""


def _taken(codec: Codec, rows: list[Row], held: list[Row], recipe: Recipe) -> _Taken:
    rows, held = of_objective(rows, recipe.objective), of_objective(held, recipe.objective, needed=False)
    found = [(place, each, row.weight) for place, row in enumerate(rows) for each in _learned(codec, row, recipe)]
    kept = [(place, each, weight) for place, each, weight in found if _longest(each) <= recipe.max_tokens]
    if not any(weight > 0 for _, _, weight in kept):
        raise nothing_fits(len(rows), recipe.max_tokens)
    seen = [each for row in held[:HELD_FOR_LOSS] for each in _learned(codec, row, recipe)]
    seen = [row for row in seen if _longest(row) <= recipe.max_tokens]
    return _Taken(
        rows=[each for _, each, _ in kept],
        count=len({place for place, _, _ in kept}),
        weights=[weight for _, _, weight in kept],
        held=seen,
        left_out=len(found) - len(kept),
    )


def _begun(work: Path, base: Base, taken: _Taken, replayed: int) -> dict[str, Any]:
    """What is known before the first step, and put down for a run that is cancelled: rows, replayed, left_out, notes, machine."""
    notes = beyond(base.folder, map(_longest, taken.rows))
    found = {"rows": taken.count, "replayed": replayed, "left_out": taken.left_out, "notes": notes, "machine": machine()}
    (part := work / f".{BEGUN}").write_text(json.dumps(found), "utf-8")
    part.replace(work / BEGUN)
    return found


def _setup(model: Any, tokenizer: Any, taken: _Taken, recipe: Recipe) -> Setup:
    from tunekeeper.training.loop import Setup

    pad = pad_of(tokenizer)
    rows, held = taken.rows, taken.held
    if recipe.packing:
        _refuse_mixed_rows(model)
    if recipe.objective == "dpo":
        from tunekeeper.training.preference import with_reference

        size = max(1, recipe.batch // recipe.accumulation)
        rows, held = (with_reference(model, each, pad, size) for each in (rows, held))
    return Setup(model=model, rows=rows, weights=taken.weights, held=held, pad=pad, recipe=recipe, tokenizer=tokenizer)


def _refuse_mixed_rows(model: Any) -> None:
    """Raise ConfigError for a model that would learn a row as the continuation of the one it is packed behind."""
    from tunekeeper.training.forward import keeps_rows_apart

    if not keeps_rows_apart(model.eval()):
        kind = model.config.model_type
        raise ConfigError(f"recipe: packing: a row of {kind} sees the rows it is packed behind", fix="set packing to false")


def _learned(codec: Codec, row: Row, recipe: Recipe) -> list[Any]:
    """What the loop takes of a row: a conversation, or several, or a pair."""
    found = conversations(codec, row, recipe.objective)
    if recipe.objective != "dpo":
        return [each for (each,) in found]
    from tunekeeper.training.preference import Pair

    return [Pair(chosen=chosen, rejected=rejected, weight=weight_of(row.messages[-1])) for chosen, rejected in found]


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

    there = here()
    versions = {each.__name__: each.__version__ for each in (torch, transformers, peft, tokenizers)}
    return {
        "device": there.device if there.gpu else platform.machine(),
        **({"device_id": there.id} if there.id else {}),
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
