"""How much memory a run takes, and what would make it fit. Estimates learn from the runs before.

Formula: weights in their format, 16 bytes a learned number (weight, gradient and AdamW's two moments in float32; Rajbhandari et
al., "ZeRO", 2020, section 3.1), and activations of about 16 hidden-sized and 4 inner-sized values a token and layer, plus three
rows of the vocabulary a token for the loss (Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models",
2022, section 4, without its attention matrix, which the fused kernels do not keep; a processor has none for attention with
dropout, GPT-2's, and transformers none at all for some families). DoRA and dropout keep more of each adapted layer. Full tuning
learns every number, and has them once more in 16 bits where it works in 16 bits. Beside 37 real trainings on a
processor, from 0.6 to 4.1 GB, it is 1.1 to 1.7 times what they took, and up to 2.2 on Gemma 2 with `checkpointing`.
"""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError, DiskFull
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.base import parameters, read_json, weight_files
from tunekeeper.training.device import Room, number_format
from tunekeeper.training.header import tensor_header
from tunekeeper.training.recipe import Recipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FOUR_BIT = 4.127 / 8
"""Bytes a number takes in NF4 with double quantization: 0.127 bits for its block's constants (Dettmers et al., "QLoRA", 2023,
section 3)."""
ADAM = 16
KEPT_MODELS = 2
"""Epochs of full tuning whose whole models a run keeps: the best so far and the last."""
LIBRARIES = 800_000_000
"""Bytes that torch and its companions take before anything is loaded, on the processor's side."""
SMALLEST_RANK = 4
ROOMY = 2
"""How many times what a run needs is free where it may keep what it has let go of: a C library's heap grows by holes to more
than twice what is in it."""
HOLES = 0.7
"""Share of the activations that such a heap has of holes, of tensors smaller than `APART`: 0 to 0.64 were measured, on six
shapes. A run that gives back what it lets go of has them as well: of tensors smaller than `GIVEN_BACK`, which are most of a small
part's."""
GIVEN_BACK = 4 << 20
"""Bytes of a tensor that such a run gives back at once."""
APART = 32 << 20
"""Bytes of a tensor from which on such a heap takes no part in it: glibc asks the system for it alone, and gives it back at once.
Of a shorter batch's tensors, which may be as large, it has the holes."""
DORA = 2
"""Rows of each adapted layer's result that DoRA keeps of a token: the base's and the adapter's, which it scales apart."""
DROPPED = 1.4
"""Float32 rows of each adapted layer's input that dropout keeps of a token: 0.9 to 1.4 were measured."""
LOGITS = 3
"""Rows of the vocabulary that the loss keeps of a learned token; two more where a function bounds them."""
EAGER = ("bloom", "codegen", "gemma2", "gpt_neo", "gpt_neox_japanese", "gpt_oss", "gptj", "mpt", "vaultgemma", "xglm")
"""Families for which transformers has no fused attention on any device."""
EAGER_BYTES = (8, 16)
"""Bytes of a number of their attention matrices: in each layer, and in the one being worked on besides. Measured on Gemma 2, in
float32 and in bfloat16."""
NAMES = (
    ("hidden_size", "n_embd", "d_model"),
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    ("intermediate_size", "n_inner", "ffn_dim"),
    ("vocab_size",),
)
"""What configs call the hidden size, the layers, the inner size and the words."""
NO_LAYERS = ("embed_tokens", "embed_positions", "embed_in", "embed_out", "word_embeddings", "lm_head", "wte", "wpe")
"""What `all-linear` leaves out: embeddings and output heads."""
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
"""What configs call the heads of a layer's attention."""
ATTENTION_DROPOUT = ("attn_pdrop", "attention_dropout")
"""What configs call the share of attention that is dropped while training: 0.1 in GPT-2, 0 in what came later."""
MATRICES = (3, 4)
"""Attention matrices that a layer keeps for its way back where no fused kernel serves, and those that the one being worked on
has besides (measured: 6.9 GB on a base of GPT-2's shape, with which the estimate agrees to 1 %)."""
MASK = 12
"""Bytes of each pair of a pack's tokens: who sees whom, as it is made, and as the attention takes it."""
UNFUSED = ("gelu_new",)
"""Activation functions that transformers works out step by step, keeping what lies between."""
FACTORS = (0.3, 4.0)
"""Bounds of what earlier runs may make of an estimate."""
ALIKE = 2
"""How many times larger or smaller by the formula a run may be that an estimate learns from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a run takes, in bytes."""

    weights: int
    """The base and what is learned, with gradients and moments."""
    activations: int
    """What the largest part of a step keeps for its way back."""
    libraries: int
    """What the libraries take."""
    holes: int = 0
    """What stays taken of what was let go, on a processor."""
    tight: bool = False
    """Whether the run gives back at once what it lets go of, see `is_tight`."""
    factor: float = 1.0
    """What earlier runs of this base took, as a multiple of their estimates."""

    @property
    def total(self) -> int:
        """All of it."""
        return round((self.weights + self.activations + self.libraries + self.holes) * self.factor)


def need(folder: Path, recipe: Recipe, longest: int, there: Room, *, factor: float = 1.0, learned: int | None = None) -> Need:
    """What training the checkpoint in `folder` takes. `longest`: tokens of the longest row. `there`: the device that trains.
    `learned`: most tokens that a row learns, all that the output head is asked for; None: as many as it has."""
    size = number_size(recipe, there, parameters(folder))
    weights = base_bytes(folder, recipe, size) + learned_parameters(folder, recipe) * ADAM
    kept = _activations(folder, recipe, longest, there, size, learned)
    activations, libraries = sum(each.total for each in kept), 0 if there.gpu else LIBRARIES
    tight = is_tight(recipe, round(weights + activations + libraries), there)
    small = sum(each.total * min(1.0, (GIVEN_BACK if tight else APART) / each.one) for each in kept if each.total)
    return Need(
        weights=round(weights),
        activations=round(activations),
        libraries=libraries,
        holes=0 if there.gpu else round(HOLES * small),
        tight=tight,
        factor=factor,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a step keeps of one kind of tensor, in bytes."""

    total: float
    """All of them."""
    one: float
    """One of them."""


def _activations(folder: Path, recipe: Recipe, longest: int, there: Room, size: int, learned: int | None) -> tuple[_Kept, ...]:
    """What the largest part of a step keeps for its way back. `size`: bytes of a number."""
    hidden, layers, inner, words = dimensions(folder)
    tokens = tokens_at_once(recipe, longest)
    said = tokens if learned is None else min(tokens, tokens_at_once(replace(recipe, packing=False), learned))
    once = 1 if recipe.checkpointing else layers
    unfused = activation(folder) in UNFUSED
    wide = 16 * once * hidden + (layers * hidden if recipe.checkpointing else 0)
    if recipe.dora:
        wide += DORA * sum(rows for rows, _ in targeted(folder, recipe)) * once // max(layers, 1)
    logits = LOGITS + (2 if read_json(folder / "config.json").get("final_logit_softcapping") else 0)
    found = [
        _Kept(tokens * wide * size, tokens * hidden * size),
        _Kept(tokens * (8 if unfused else 4) * once * inner * size, tokens * inner * size),
        _Kept(said * logits * words * 4, said * words * 4),
    ]
    if recipe.dropout and recipe.method == "lora":
        columns = sum(columns for _, columns in targeted(folder, recipe)) * once // max(layers, 1)
        found.append(_Kept(tokens * DROPPED * columns * 4, tokens * hidden * 4))
    width = recipe.max_tokens if recipe.packing else min(longest, recipe.max_tokens)
    if heads := eager_heads(folder):
        found.append(_Kept(tokens * width * heads * (EAGER_BYTES[0] * once + EAGER_BYTES[1]), tokens * width * heads * size))
    elif heads := 0 if there.gpu else dropping_heads(folder):
        matrix = tokens * width * heads * size
        found.append(_Kept(matrix * (MATRICES[0] * once + MATRICES[1]), matrix))
    if recipe.packing and not there.gpu:
        found.append(_Kept(width * width * MASK, width * width * 4))
    return tuple(found)


def dimensions(folder: Path) -> tuple[int, int, int, int]:
    """(hidden, layers, inner, words) of a checkpoint by its config, whatever its architecture calls them; of experts the inner
    size is that of all which a token passes. 0 for what it does not say."""
    config = read_json(folder / "config.json")
    if isinstance(part := config.get("text_config"), dict):  # of a model that sees as well
        config = config | part
    hidden, layers, inner, words = (
        next((int(config[name]) for name in names if type(config.get(name)) is int), 0) for names in NAMES
    )
    experts = config.get("num_experts_per_tok")
    each = config.get("moe_intermediate_size") or inner
    return hidden, layers, max(inner or 4 * hidden, each * experts if type(experts) is int else 0), words


def activation(folder: Path) -> str | None:
    """What a checkpoint's config calls the function between the two halves of a layer."""
    config = read_json(folder / "config.json")
    return next((config[name] for name in ("activation_function", "hidden_act") if isinstance(config.get(name), str)), None)


def dropping_heads(folder: Path) -> int:
    """Heads of a layer's attention where some of it is dropped while training; 0 where none is."""
    config = read_json(folder / "config.json")
    if not any(isinstance(share := config.get(name), int | float) and share > 0 for name in ATTENTION_DROPOUT):
        return 0
    return _heads(config)


def eager_heads(folder: Path) -> int:
    """Heads of a layer's attention of a family that has no fused one; 0 of all others."""
    config = read_json(folder / "config.json")
    return _heads(config) if config.get("model_type") in EAGER else 0


def _heads(config: dict[str, Any]) -> int:
    return next((config[name] for name in HEADS if type(config.get(name)) is int), 0)


def number_size(recipe: Recipe, there: Room, numbers: int) -> int:
    """Bytes of a number in the run's format. `numbers`: of the base."""
    return BYTES[number_format(recipe.dtype, there, numbers)]


def base_bytes(folder: Path, recipe: Recipe, size: int) -> float:
    """What the base takes beside what is learned, `size` bytes a number where not quantized. In 4 bits are its linear layers
    alone; embeddings, output head and norms are float32 there (peft's `prepare_model_for_kbit_training`)."""
    every = parameters(folder)
    if recipe.method == "full":
        return every * size if size < BYTES["float32"] else 0  # what it learns in float32, once more to work with
    if not recipe.qlora:
        return every * size
    linear = sum(math.prod(shape) for name, shape in shapes(folder) if len(shape) == 2 and is_target(name, ("all-linear",)))
    return linear * FOUR_BIT + (every - linear) * BYTES["float32"]


def tokens_at_once(recipe: Recipe, longest: int) -> int:
    """Tokens of the largest part of a step, filled up: a part's rows side by side, or one full pack; pairs count twice."""
    if recipe.packing:
        return recipe.max_tokens
    rows = math.ceil(recipe.batch / recipe.accumulation)
    return rows * min(longest, recipe.max_tokens) * (2 if recipe.objective == "dpo" else 1)


def learned_parameters(folder: Path, recipe: Recipe) -> int:
    """Numbers that the recipe learns: those of its adapter, or all of the base."""
    return parameters(folder) if recipe.method == "full" else adapter_parameters(folder, recipe)


def version_bytes(folder: Path, recipe: Recipe, there: Room) -> int:
    """Disk that a version takes: an adapter in float32, or a whole model in the run's format."""
    size = number_size(recipe, there, parameters(folder)) if recipe.method == "full" else BYTES["float32"]
    return learned_parameters(folder, recipe) * size


def run_bytes(folder: Path, recipe: Recipe, there: Room) -> int:
    """Most disk that a run takes while it goes: a version for each epoch, of whole models for the best and the last, one more on
    its way, and its checkpoint of 12 bytes a learned number (weight and both moments), old beside new."""
    kept = min(recipe.epochs, KEPT_MODELS) if recipe.method == "full" else recipe.epochs
    return version_bytes(folder, recipe, there) * (kept + 1) + 2 * 12 * learned_parameters(folder, recipe)


def adapter_parameters(folder: Path, recipe: Recipe) -> int:
    """Numbers an adapter of this recipe has: rank x (rows + columns) of every targeted layer, from the headers alone."""
    return sum(recipe.rank * (rows + columns) + (rows if recipe.dora else 0) for rows, columns in targeted(folder, recipe))


def targeted(folder: Path, recipe: Recipe) -> list[list[int]]:
    """Rows and columns of each layer that gets an adapter, from the headers alone."""
    return [shape for name, shape in shapes(folder) if len(shape) == 2 and is_target(name, recipe.targets)]


def refuse_unknown_targets(folder: Path, recipe: Recipe) -> None:
    """Raise ConfigError for a target that no layer of the base ends in, naming those that there are."""
    if recipe.method == "full" or recipe.targets == ("all-linear",):
        return
    layers = [name.removesuffix(".weight") for name, shape in shapes(folder) if len(shape) == 2 and name.endswith(".weight")]
    for target in recipe.targets:
        if not any(layer == target or layer.endswith(f".{target}") for layer in layers):
            known = sorted({layer.rpartition(".")[2] for layer in layers})
            raise ConfigError(
                f"recipe: targets: no layer of {folder} is called {target}",
                fix=f"write all-linear, or some of {', '.join(known)}",
            )


def shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and dimensions of each tensor of a checkpoint."""
    for file in weight_files(folder):
        for name, entry in tensor_header(file).items():
            yield name, entry["shape"]


def is_target(name: str, targets: tuple[str, ...]) -> bool:
    """Whether a weight gets an adapter: with `all-linear` every layer but embeddings and the output head."""
    module = name.removesuffix(".weight")
    if targets == ("all-linear",):
        return name.endswith(".weight") and not module.endswith(NO_LAYERS)
    return any(module == target or module.endswith(f".{target}") for target in targets)


def full_bytes(folder: Path) -> int:
    """What tuning every number of the checkpoint would take for weights, gradients and moments: 16 bytes each, of which the
    usual mixed precision keeps 4 of the weights, 2 to work with, 2 of gradients and 8 of moments."""
    return parameters(folder) * ADAM


def method(folder: Path, recipe: Recipe, there: Room) -> str:
    """The way of tuning that the recipe chose, and what the other one would take, in one sentence."""
    plain = replace(recipe, method="lora")
    share = adapter_parameters(folder, plain) / parameters(folder)
    whole = full_bytes(folder)
    machines = math.ceil(whole / there.total)
    room = f"more than {there.device} has" if machines > 1 else f"which {there.device} has"
    several = f"; {machines} of them share it" if machines > 1 and there.gpu else ""
    if recipe.method == "full":
        took = f"about {size(whole)} before activations, {room}{several}"
        return f"full tuning learns every number and takes {took}; a LoRA of rank {plain.rank} would learn {share:.2%} of them"
    named = f"{'Q' if recipe.qlora else ''}LoRA learns {share:.2%} of the numbers"
    return f"{named}; tuning all of them would take about {size(whole)} before activations, {room}{several}"


def learned_factor(runs: Iterable[TrainingRun], base_digest: str, estimated: int) -> tuple[float, int]:
    """What finished runs of a base took, as a multiple of their estimates: the median, and how many runs stand behind it
    (1.0 and 0 without any). `estimated`: bytes that the formula says of the run to come; of another order of size others tell
    nothing, as what the libraries take is most of a small one. Pure."""
    seen = [
        run.memory["peak"] / run.memory["estimated"]
        for run in runs
        if run.base_digest == base_digest and run.memory.get("peak") and run.memory.get("estimated")
        if 1 / ALIKE <= estimated / run.memory["estimated"] <= ALIKE
    ]
    if not seen:
        return 1.0, 0
    return min(max(statistics.median(seen), FACTORS[0]), FACTORS[1]), len(seen)


def smaller(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Recipes that need less, the gentlest change first: each with what to write for it. Those up to `checkpointing` learn the
    same."""
    parts = recipe.accumulation
    while parts < recipe.batch and not recipe.packing:
        parts = min(recipe.batch, 2 * parts)
        yield f"accumulation: {parts}", replace(recipe, accumulation=parts)
    gentle = replace(recipe, accumulation=parts, checkpointing=True)
    written = f"accumulation: {parts}, checkpointing: true" if parts > 1 else "checkpointing: true"
    if not recipe.checkpointing:
        yield written, gentle
    if recipe.method == "full":
        gentle, written = replace(gentle, method="lora"), f"{written}, method: lora"
        yield written, gentle
    if not recipe.qlora:
        yield f"{written}, qlora: true", replace(gentle, qlora=True)
    rank = recipe.rank
    while rank // 2 >= SMALLEST_RANK:
        rank //= 2
        yield f"{written}, qlora: true, rank: {rank}", replace(gentle, qlora=True, rank=rank)


def suggestion(folder: Path, recipe: Recipe, longest: int, there: Room, factor: float, learned: int | None = None) -> str | None:
    """The gentlest change of the recipe that makes it fit, as it is written in a recipe file; None where nothing helps."""
    for written, other in smaller(recipe):
        if need(folder, other, longest, there, factor=factor, learned=learned).total <= there.total:
            return written
    return None


def refuse_too_large(
    folder: Path, recipe: Recipe, longest: int, there: Room, factor: float = 1.0, learned: int | None = None
) -> Need:
    """What the run takes. Raises ConfigError when the device does not have that much, whoever else uses it, with the change
    that would make it fit."""
    found = need(folder, recipe, longest, there, factor=factor, learned=learned)
    if found.total > there.total:
        way = suggestion(folder, recipe, longest, there, factor, learned)
        what = f"this run needs about {size(found.total)} and {there.device} has {size(there.total)}"
        raise ConfigError(what, fix=f"put `{way}` into the recipe" if way else "take a smaller base, or another machine")
    return found


def is_tight(recipe: Recipe, needed: int, there: Room) -> bool:
    """Whether memory counts more than time: on a processor, where `checkpointing` says so or not much more than what the run
    needs is free. Pure."""
    return not there.gpu and (recipe.checkpointing or needed * ROOMY > there.free)


def refuse_full_disk(folder: Path, recipe: Recipe, work: Path, there: Room) -> None:
    """Raise DiskFull when the disk of `work` has less free than the run puts there while it goes."""
    wanted, free = run_bytes(folder, recipe, there), shutil.disk_usage(work).free
    if wanted > free:
        what = f"this run writes about {size(wanted)} and the disk of {work} has {size(free)} free"
        smaller = "`method: lora`" if recipe.method == "full" else "fewer epochs"
        raise DiskFull(what, fix=f"free some space, or put {smaller} into the recipe")


def size(number: float) -> str:
    """Bytes for people: `24.1 MB`, `112.3 GB`."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
