"""What `training` and `training_gpu` share: a spec that both sides learn, our side of it, and the judge of what was learned.

A training runs in a process of its own, `python -m benchmarks.tuning SPEC` for ours and peers/sft.py for TRL's; both learn the
same tokens of the same rows by the same recipe, and their figure is what the training alone took.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import Contender, Rounds
from benchmarks.near import LAUNCH
from benchmarks.peers.sft import model_of
from benchmarks.peers.starters import MAKE, PEERS
from tunekeeper.demo.world import WORLD_1, conversation
from tunekeeper.training.encode import Encoded, encode
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.recipe import from_json
from tunekeeper.training.rows import Row

REPOSITORY = Path(__file__).resolve().parents[1]
BASE = REPOSITORY / "examples" / "support_desk" / "base"
SFT = REPOSITORY / "benchmarks" / "peers" / "sft.py"
PEER = PEERS / "trl"
APART = 1000
"""How far the seeds of two rounds are apart: TRL orders the rows of epoch `e` by `seed + e`, so near ones share most orders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One training that both sides do."""

    folder: Path
    """Where specs, rows and adapters lie."""
    name: str
    """Tells the works of a folder apart."""
    recipe: Mapping[str, Any]
    """Recipe values that differ from the product's defaults."""
    base: Path | None = BASE
    """The checkpoint; None: random weights of `shape`."""
    shape: Mapping[str, Any] | None = None
    """Qwen2Config's arguments."""
    dtype: str = "float32"
    """Number format of the base."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    packs_at_once: int = 8
    """Most full sequences that TRL packs into a part of a step."""

    def rows(self, rows: Sequence[Encoded]) -> None:
        """Write the rows that are learned."""
        self._rows.write_text("".join(json.dumps({"ids": row.ids, "learned": row.learned}) + "\n" for row in rows))

    @property
    def _rows(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def spec(self, side: str, *, tuned: bool = False, liger: bool = False, **recipe: Any) -> Path:
        """The file that one side is given. `tuned`: TRL with what it recommends for speed; `liger`: and with Liger's kernels."""
        chosen = from_json({**self.recipe, **recipe})
        packs = self._packs(chosen.batch, chosen.max_tokens)
        parts = math.ceil(packs / self.packs_at_once)
        value = {
            "base": None if self.base is None else str(self.base),
            "shape": self.shape,
            "dtype": self.dtype,
            "attention": "sdpa",
            "device": self.device,
            "rows": str(self._rows),
            "recipe": chosen.as_json(),
            "tuned": tuned,
            "liger": liger,
            "packs": math.ceil(packs / parts),
            "packed_parts": parts,
            "tokenizer": str(BASE),
            "work": str(self.folder / f"{self.name}-{side}"),
            "adapter": None if self.base is None else str(self.adapter(side)),
        }
        path = self.folder / f"{self.name}-{side}.json"
        path.write_text(json.dumps(value))
        return path

    def adapter(self, side: str) -> Path:
        """Where a side leaves its adapter; there is none of random weights."""
        return self.folder / f"{self.name}-{side}-adapter"

    def _packs(self, batch: int, most: int) -> int:
        """Full sequences that hold as many tokens as a batch of rows."""
        lengths = [len(json.loads(line)["ids"]) for line in self._rows.read_text().splitlines()]
        return max(1, round(batch * sum(lengths) / len(lengths) / most))


def tickets(count: int, seed: int) -> list[Encoded]:
    """Conversations of the demo, encoded as a run would."""
    drawn = WORLD_1.tickets(random.Random(seed), "known")
    codec = codec_of(BASE)
    return [encode(codec, Row(id=str(number), messages=tuple(conversation(next(drawn))))) for number in range(count)]


def ours(spec: Path) -> dict[str, float]:
    """Our training of a spec in a process of its own: tokens, cpu, seconds, peak_mb, and the whole process's cpu."""
    return _child([sys.executable, "-m", "benchmarks.tuning", str(spec)])


def trl(spec: Path) -> dict[str, float]:
    """The same of TRL, in its own environment."""
    return _child([str(PEER / "bin" / "python"), str(SFT), str(spec)])


def contender(side: Callable[[Path], dict[str, float]], spec: Callable[[], Path]) -> Contender:
    """A side as `interleave` runs it, with the figure that counts: tokens a CPU second and a wall second."""

    def run() -> dict[str, float]:
        took = side(spec())
        return took | {"per_cpu": took["tokens"] / took["cpu"], "per_second": took["tokens"] / took["seconds"]}

    return run


def beside(
    work: Work,
    sides: Sequence[str],
    rounds: int,
    judged: Sequence[Encoded] | None = None,
    failed: dict[str, str] | None = None,
) -> Rounds:
    """Trainings of `work` by each side, once a round with that round's seed. `judged`: the rows that every adapter is judged
    by, as quantity `loss`; None: there is nothing to judge. `failed`: is told `work, side` → why of a side that could not do it,
    which is left out from then on; without it such a side ends the benchmark, as SystemExit."""
    samples = []
    for seed in range(rounds):
        order = list(sides[seed % len(sides) :]) + list(sides[: seed % len(sides)])
        took = {}
        for side in order:
            name = f"{work.name}, {side}"
            if failed is not None and name in failed:
                continue
            try:
                took[side] = _side(work, side, APART * seed)()
            except SystemExit as why:
                if failed is None:
                    raise
                failed[name] = str(why)
                continue
            speed = f"{took[side]['per_cpu']:,.0f} tokens a CPU second, {took[side]['per_second']:,.0f} a second"
            print(f"{work.name}, round {seed + 1}, {side}: {speed}", file=sys.stderr, flush=True)
        losses = judge(work, sides, judged) if judged is not None else {}
        if losses:
            print(f"{work.name}, round {seed + 1}: loss {losses}", file=sys.stderr, flush=True)
        samples.append({side: {**took[side], **({"loss": losses[side]} if losses else {})} for side in sides if side in took})
    return Rounds(samples)


def _side(work: Work, side: str, seed: int) -> Contender:
    """`ours`, `ours_packed` (rows end to end), `trl` at its defaults, `trl_tuned`, and `trl_liger`, which is that with Liger."""
    if side.startswith("ours"):
        return contender(ours, lambda: work.spec(side, seed=seed, packing=side == "ours_packed"))
    return contender(trl, lambda: work.spec(side, tuned=side != "trl", liger=side == "trl_liger", seed=seed))


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    return {} if (PEER / ".made").exists() else {"trl": f'{MAKE} ARGS="trl"'}


def judge(work: Work, sides: Sequence[str], rows: Sequence[Encoded]) -> dict[str, float]:
    """Side → mean loss of its adapter over `rows`, nats a learned token: one row at a time, by transformers' own loss."""
    from peft import PeftModel
    from torch import no_grad, tensor

    spec = json.loads(work.spec("judge").read_text())
    found = {}
    warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers under a name that is about to go
    for side in sides:
        model = PeftModel.from_pretrained(model_of(spec), str(work.adapter(side))).eval()
        total, count = 0.0, 0
        with no_grad():
            for row in rows:
                labels = [token if learn else -100 for token, learn in zip(row.ids, row.learned, strict=True)]
                learned = sum(row.learned)
                total += model(input_ids=tensor([row.ids]), labels=tensor([labels])).loss.item() * learned
                count += learned
        found[side] = total / count
    return found


def train(spec: dict[str, Any]) -> dict[str, float]:
    """Our loop on a spec, in this process."""
    from tunekeeper.training import job, loading, loop

    recipe = from_json(spec["recipe"])
    loading.prepare_threads(recipe.threads)
    import torch

    lines = [json.loads(line) for line in Path(spec["rows"]).read_text().splitlines()]
    rows = [Encoded(ids=tuple(line["ids"]), learned=tuple(line["learned"])) for line in lines]
    work = Path(spec["work"])
    work.mkdir(parents=True, exist_ok=True)
    (work / job.CHECKPOINT).unlink(missing_ok=True)
    base = model_of(spec)
    torch.manual_seed(recipe.seed)
    model = loading.adapted(base, recipe)
    setup = loop.Setup(
        model=model, rows=rows, weights=[1.0] * len(rows), held=[], pad=0, recipe=recipe, checkpoint=work / job.CHECKPOINT
    )
    curve = loop.fit(setup, lambda fraction, **fields: None)  # its seconds end where the losses of an epoch were waited for
    if spec["adapter"] is not None:
        model.save_pretrained(spec["adapter"])
    took = {"tokens": float(curve.tokens), "seconds": curve.seconds, "cpu": curve.cpu_seconds}
    return took | ({"gpu_mb": torch.cuda.max_memory_reserved() / 1e6} if spec["device"] != "cpu" else {})


def _child(command: list[str]) -> dict[str, float]:
    """What a training says at its end, with CPU seconds and peak MB of its whole process. Raises SystemExit when it fails."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
    # One GPU, the first that is visible: transformers' Trainer spreads over all it sees, and ours takes one.
    gpu = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    paths = {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}", "PYTHONWARNINGS": "ignore"}
    there = {**os.environ, **threads, **gpu, **paths}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, *command], env=there, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    *said, last = done.stdout.strip().splitlines()
    code, cpu, peak = json.loads(last)
    if code or not said:
        why = done.stderr.strip().splitlines() or ["it said nothing"]
        raise SystemExit(f"{' '.join(command[1:3])} ended with {code}: {why[-1]}")
    return {**json.loads(said[-1]), "process_cpu": cpu, "peak_mb": peak}


if __name__ == "__main__":
    print(json.dumps(train(json.loads(Path(sys.argv[1]).read_text()))))
