"""Training on a GPU: our loop beside TRL's SFTTrainer at its defaults and at its best, on models of 1.5 and 7 billion numbers.

Random weights in the shapes of Qwen2.5: speed does not depend on what they say. 500 examples of mixed length, three epochs, the
product's defaults. `make bench-peers ARGS=trl` makes TRL's environment; its best settings are those that its documentation
recommends for speed: packing, bfloat16, no recomputation, FlashAttention where `flash_attn` is installed in it, else SDPA; once
without and once with Liger's kernels, of which the faster counts. A side that the GPU does not hold is left out, and it is said.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.bench import Figure, Rounds
from benchmarks.tuning import Work, beside, missing
from tunekeeper.training.encode import Encoded

EXAMPLES = 500
SHORTEST, LONGEST, USUAL = 64, 1500, 350
"""Tokens of an example: the ends, and the median between them."""
QWEN = {"vocab_size": 151_936, "num_hidden_layers": 28, "max_position_embeddings": 32_768, "rope_parameters": {"rope_theta": 1e6}}
SHAPES: dict[str, dict[str, Any]] = {
    "1_5b": {
        **QWEN,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7b": {
        **QWEN,
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}
RECIPES = {"1_5b": {"accumulation": 2}, "7b": {"accumulation": 8}}
"""What differs from the product's defaults: parts of a step, so that 80 GB hold one."""
PACKS_AT_ONCE = {"1_5b": 8, "7b": 2}
"""The same for TRL's packs: a token of the 7B shape keeps some 7 MB of activations, a full pack 2,048 tokens."""
TO_DEFAULTS, TO_BEST, MINUTES = 1.2, 1.0, 15.0
"""Goals: our tokens a second to TRL's, and the articles' minutes for 500 examples on 7 billion numbers."""
OURS, TUNED = ("ours", "ours_packed"), ("trl_tuned", "trl_liger")
SIDES = (*OURS, "trl", *TUNED)


def examples(count: int, vocabulary: int, seed: int = 1) -> list[Encoded]:
    """Conversations of random words, log-normal in length, of which the last third is the answer that is learned."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        length = min(LONGEST, max(SHORTEST, round(rng.lognormvariate(0, 0.7) * USUAL)))
        asked = length - length // 3
        ids = tuple(rng.randrange(10, vocabulary) for _ in range(length))
        found.append(Encoded(ids=ids, learned=(False,) * asked + (True,) * (length - asked)))
    return found


def figures(shape: str, rounds: Rounds, *, promised: bool) -> list[Figure]:
    """The lines of one shape. `promised`: whether the run is whole, so that its goals count."""

    def goal(value: float) -> float | None:
        return value if promised else None

    def of(side: str, quantity: str, factor: float = 1.0) -> bench.Middle | None:
        return rounds.over(lambda one: one[side][quantity] * factor)

    def fastest(one: Mapping[str, bench.Sample], sides: Sequence[str]) -> float:
        there = [one[side]["per_second"] for side in sides if side in one]
        return max(there) if there else one[sides[0]]["per_second"]  # which is missing, and so the figure

    to_default = rounds.over(lambda one: one["ours"]["per_second"] / one["trl"]["per_second"])
    best = rounds.over(lambda one: fastest(one, OURS) / fastest(one, TUNED))
    fast: dict[str, Any] = {"direction": "higher"}
    found = [
        bench.figure(f"{shape}_tokens_per_s", of("ours", "per_second"), "1/s", **fast),
        bench.figure(f"{shape}_tokens_per_s_packed", of("ours_packed", "per_second"), "1/s", **fast),
        bench.figure(f"{shape}_to_trl", to_default, "x", goal=goal(TO_DEFAULTS), peer="trl", **fast),
        bench.figure(f"{shape}_best_to_trl_tuned", best, "x", goal=goal(TO_BEST), peer="trl", **fast),
        *(bench.figure(f"{shape}_{side}_tokens_per_s", of(side, "per_second"), "1/s", peer="trl", **fast) for side in SIDES[2:]),
        *(bench.figure(f"{shape}_gpu_peak_{side}", of(side, "gpu_mb"), "MB") for side in SIDES),
    ]
    if shape == "7b":
        found.append(bench.figure("7b_500_examples", of("ours", "seconds", 1 / 60), "min", goal=goal(MINUTES)))
    return found


def work_of(shape: str, folder: Path, *, quick: bool) -> Work:
    """The training of a shape, its examples written. `quick`: 32 of them, once."""
    values = SHAPES[shape]
    recipe = {**RECIPES[shape], **({"epochs": 1} if quick else {})}
    where: dict[str, Any] = {"dtype": "bfloat16", "device": "cuda", "packs_at_once": PACKS_AT_ONCE[shape]}
    work = Work(folder=folder, name=shape, recipe=recipe, base=None, shape=values, **where)
    work.rows(examples(32 if quick else EXAMPLES, values["vocab_size"]))
    return work


def main() -> int:
    """Run it; returns the exit code, 0 too where there is no GPU to measure."""
    given = bench.parser(__doc__, rounds=3).parse_args()
    import torch

    if not torch.cuda.is_available():
        print("training_gpu: not measured: this machine has no GPU that torch can use")
        return 0
    lacking = dict(missing())
    sides = OURS if lacking else SIDES
    rounds = 1 if given.quick else given.rounds
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        for shape in SHAPES:
            measured = beside(work_of(shape, Path(name), quick=given.quick), sides, rounds, failed=lacking)
            found += figures(shape, measured, promised=not given.quick)
    print(f"on {torch.cuda.get_device_name(0)}")
    bench.report("training_gpu", rounds, found, given.results, lacking)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
