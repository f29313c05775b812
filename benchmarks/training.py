"""Training on the demo's model: our loop beside TRL's SFTTrainer, the same tokens by the same recipe, one thread.

Each training is a process of its own; the figure is what the training alone takes. `make bench-peers ARGS=trl` makes TRL's
environment.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import bench
from benchmarks.bench import Figure, Rounds
from benchmarks.tuning import Work, beside, missing, tickets

RECIPE = {"rank": 8, "alpha": 32, "epochs": 4, "learning_rate": 0.002, "batch": 8, "max_tokens": 256}
"""The demo's, see examples/support_desk/models."""
ROWS, HELD = 256, 128
FASTER = 1.3
"""How many times TRL's tokens a CPU second ours is to learn, TRL at its defaults."""
SAME = 0.05
"""Nats a token that two losses may differ and still be called equal: what another seed changes."""
WIDE = {
    "vocab_size": 32_000,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
"""A shape with a usual vocabulary, which the demo's 960 words are not; random weights."""
SIDES = ("ours", "trl", "trl_tuned")


def figures(demo: Rounds, wide: Rounds, *, promised: bool) -> list[Figure]:
    """The table. `promised`: whether the run is long enough for its goals."""

    def goal(value: float) -> float | None:
        return value if promised else None

    def ratio(rounds: Rounds, peer: str, quantity: str) -> bench.Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] / one[peer][quantity])

    def of(side: str, quantity: str) -> bench.Middle | None:
        return demo.over(lambda one: one[side][quantity])

    def gap(peer: str) -> bench.Middle | None:
        return demo.over(lambda one: one["ours"]["loss"] - one[peer]["loss"])

    return [
        bench.figure("tokens_per_cpu_s", of("ours", "per_cpu"), "1/s", direction="higher"),
        bench.figure(
            "tokens_per_cpu_s_to_trl", ratio(demo, "trl", "per_cpu"), "x", goal=goal(FASTER), direction="higher", peer="trl"
        ),
        bench.figure("tokens_per_cpu_s_to_trl_tuned", ratio(demo, "trl_tuned", "per_cpu"), "x", direction="higher", peer="trl"),
        bench.figure("process_cpu_to_trl", ratio(demo, "trl", "process_cpu"), "x", peer="trl"),
        bench.figure("wide_tokens_per_cpu_s_to_trl", ratio(wide, "trl", "per_cpu"), "x", direction="higher", peer="trl"),
        bench.figure(
            "wide_tokens_per_cpu_s_to_trl_tuned", ratio(wide, "trl_tuned", "per_cpu"), "x", direction="higher", peer="trl"
        ),
        *(bench.figure(f"loss_{side}", of(side, "loss"), "nats", peer=None if side == "ours" else "trl") for side in SIDES),
        bench.figure("loss_over_trl", gap("trl"), "nats", goal=goal(SAME), peer="trl"),
        *(
            bench.figure(f"peak_{side}", of(side, "peak_mb"), "MB", peer=None if side == "ours" else "trl")
            for side in ("ours", "trl")
        ),
        bench.figure("wide_peak_to_trl", ratio(wide, "trl", "peak_mb"), "x", peer="trl"),
    ]


def main() -> int:
    """Run it; returns the exit code."""
    asked = bench.parser(__doc__, rounds=3)
    asked.add_argument("--rows", type=bench.positive, default=ROWS, help=f"conversations that are learned; default {ROWS}")
    given = asked.parse_args()
    sides = ("ours",) if missing() else SIDES
    rows, epochs = (32, 2) if given.quick else (given.rows, RECIPE["epochs"])
    rounds = 1 if given.quick else given.rounds
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        work = Work(folder=Path(name), name="demo", recipe={**RECIPE, "epochs": epochs})
        learned = tickets(rows + HELD, seed=5)
        work.rows(learned[:rows])
        demo = beside(work, sides, rounds, learned[rows:])
        wide = Work(folder=Path(name), name="wide", recipe={**RECIPE, "epochs": 1}, base=None, shape=WIDE)
        wide.rows(learned[:rows])
        found = figures(demo, beside(wide, sides, rounds), promised=not given.quick)
    bench.report("training", rounds, found, given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
