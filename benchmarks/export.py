"""A checkpoint to GGUF: f16, and Q4_K_M, in CPU time and memory; beside llama.cpp's converter and quantizer.

The checkpoint has the shape of Qwen2 1.5B and random weights in bfloat16. Ours is one command of `tunekeeper export gguf` for
each file, with its check, its digest and the base's. Theirs is `convert_hf_to_gguf.py` and, for Q4_K_M, `llama-quantize` of what
that wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import psutil

from benchmarks import bench
from benchmarks.bench import Figure, Rounds
from benchmarks.peers import llamacpp
from benchmarks.peers.contender import REPOSITORY
from benchmarks.peers.starters import MAKE, PEERS

BASE = REPOSITORY / "examples" / "support_desk" / "base"
"""Whose tokenizer the checkpoint has."""
PRE = "qwen2"
KINDS = ("f16", "Q4_K_M")
PAUSE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The shape of a Qwen2 model."""

    hidden: int
    """Width."""
    inner: int
    """Width of the middle of a block."""
    layers: int
    """Blocks."""
    heads: int
    """Attention heads."""
    shared: int
    """Key and value heads."""
    vocab: int
    """Rows of the embedding."""

    @property
    def largest(self) -> int:
        """Bytes of its largest tensor in float32."""
        return 4 * self.hidden * max(self.vocab, self.inner)


WHOLE = Size(hidden=1536, inner=8960, layers=28, heads=12, shared=2, vocab=151_936)
SMALL = Size(hidden=256, inner=768, layers=8, heads=4, shared=2, vocab=2_048)


def tensors(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and dimensions of every tensor."""
    width = size.hidden // size.heads * size.shared
    yield "model.embed_tokens.weight", (size.vocab, size.hidden)
    for number in range(size.layers):
        at = f"model.layers.{number}"
        yield f"{at}.input_layernorm.weight", (size.hidden,)
        yield f"{at}.post_attention_layernorm.weight", (size.hidden,)
        for part, rows in (("q", size.hidden), ("k", width), ("v", width)):
            yield f"{at}.self_attn.{part}_proj.weight", (rows, size.hidden)
            yield f"{at}.self_attn.{part}_proj.bias", (rows,)
        yield f"{at}.self_attn.o_proj.weight", (size.hidden, size.hidden)
        yield f"{at}.mlp.gate_proj.weight", (size.inner, size.hidden)
        yield f"{at}.mlp.up_proj.weight", (size.inner, size.hidden)
        yield f"{at}.mlp.down_proj.weight", (size.hidden, size.inner)
    yield "model.norm.weight", (size.hidden,)


def write(folder: Path, size: Size, seed: int = 7) -> Path:
    """A checkpoint of that shape. Its values are exact in bfloat16 and in half precision, so that every way to Q4_K_M begins with
    the same numbers."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copyfile(BASE / name, folder / name)
    known = json.loads((BASE / "config.json").read_text())
    ends = {key: known[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in known}
    shape = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "torch_dtype": "bfloat16",
        "hidden_size": size.hidden, "intermediate_size": size.inner, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "num_key_value_heads": size.shared, "vocab_size": size.vocab,
        "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(ends | shape))
    header, at = {}, 0
    for name, dimensions in tensors(size):
        end = at + 2 * int(np.prod(dimensions))
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [at, end]}
        at = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    pool, chance = _pool(seed), np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, dimensions in tensors(size):
            left = int(np.prod(dimensions))
            while left:
                part = pool[chance.integers(len(pool) // 2) :][:left]
                file.write(part.data)
                left -= len(part)
    return folder


def _pool(seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    values = np.random.default_rng(seed).standard_normal(1 << 22, np.float32) * np.float32(0.02)
    values[np.abs(values) < 2.0**-14] = 0.0  # below it half precision keeps fewer bits than bfloat16
    return (values.view(np.uint32) >> 16).astype(np.uint16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What commands took together."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all their processes."""
    peak: float
    """MB of memory of their own that they held at most; pages of files do not count, for the system takes those back."""


def run(*commands: Sequence[str]) -> Ran:
    """Run commands one after the other. Raises SystemExit with what a failing one said."""
    wall = cpu = peak = 0.0
    for command in commands:
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            child = subprocess.Popen(command, cwd=REPOSITORY, stdout=out, stderr=subprocess.STDOUT)
            with own_memory(child.pid) as most:
                _, status, used = os.wait4(child.pid, 0)
            wall += time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            if child.returncode:
                raise SystemExit(f"{' '.join(command)}: {out.read().decode('utf-8', 'replace')[-2000:]}")
        cpu, peak = cpu + used.ru_utime + used.ru_stime, max(peak, most[0])
    return Ran(wall=wall, cpu=cpu, peak=peak)


@contextmanager
def own_memory(pid: int) -> Iterator[list[float]]:
    """The most MB of anonymous memory that a process and its descendants hold while the block runs."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(PAUSE):
            with suppress(psutil.Error):
                family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
                most[0] = max(most[0], sum(map(own_mb, family)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def own_mb(pid: int) -> float:
    """MB of memory that belong to a process and to no file; 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1e3
    return 0.0


def ours(checkpoint: Path, folder: Path) -> dict[str, float]:
    """One command for each file."""
    program = [sys.executable, "-m", "tunekeeper", "export", "gguf", "--checkpoint", str(checkpoint)]
    runs = {kind: [[*program, "--quant", kind, "--out", str(folder / f"ours-{kind}.gguf")]] for kind in KINDS}
    return _sample(runs)


def theirs(environment: Path, checkpoint: Path, folder: Path) -> dict[str, float]:
    """The converter, and the quantizer on what it wrote; with the libraries that we have."""
    plain = folder / "theirs-f16.gguf"
    script = str(REPOSITORY / "benchmarks" / "peers" / "convert.py")
    convert = [sys.executable, script, str(llamacpp.source(environment)), PRE, str(checkpoint), "--outfile", str(plain)]
    quantize = [str(llamacpp.quantizer(environment)), str(plain), str(folder / "theirs-Q4_K_M.gguf"), "Q4_K_M", "1"]
    made = run([*convert, "--outtype", "f16"])
    small = run(quantize)
    whole = Ran(wall=made.wall + small.wall, cpu=made.cpu + small.cpu, peak=max(made.peak, small.peak))
    return _quantities("f16", made) | _quantities("Q4_K_M", whole)


def _sample(runs: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, float]:
    sample: dict[str, float] = {}
    for kind, commands in runs.items():
        sample |= _quantities(kind, run(*commands))
    return sample


def _quantities(kind: str, ran: Ran) -> dict[str, float]:
    return {f"{kind}_cpu_s": ran.cpu, f"{kind}_s": ran.wall, f"{kind}_peak_mb": ran.peak}


def unlike(one: Path, other: Path) -> int:
    """How many tensors two GGUF files do not share, in name, type, dimensions and bytes."""
    first, second = ({each.name: each for each in gguf.GGUFReader(path).tensors} for path in (one, other))
    same: int = sum(
        name in second
        and tensor.tensor_type == second[name].tensor_type
        and list(tensor.shape) == list(second[name].shape)
        and np.array_equal(tensor.data, second[name].data)
        for name, tensor in first.items()
    )
    return max(len(first), len(second)) - same


def measure(root: Path, size: Size, rounds: int) -> tuple[Rounds, dict[str, float]]:
    """The rounds, and how many tensors of the files are unlike (empty without the peer)."""
    checkpoint, out, environment = write(root / "checkpoint", size), root / "out", PEERS / "llamacpp"
    out.mkdir()
    taking: dict[str, bench.Contender] = {"ours": partial(ours, checkpoint, out)}
    if not missing():
        taking["llamacpp"] = partial(theirs, environment, checkpoint, out)
    found = bench.interleave(taking, rounds)
    if "llamacpp" not in taking:
        return found, {}
    return found, {kind: float(unlike(out / f"ours-{kind}.gguf", out / f"theirs-{kind}.gguf")) for kind in KINDS}


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    return {} if llamacpp.quantizer(PEERS / "llamacpp").exists() else {"llama.cpp": f'{MAKE} ARGS="llamacpp"'}


def figures(rounds: Rounds, differing: Mapping[str, float], size: Size) -> Iterator[Figure]:
    """The table. The goals of cost stand at the size they were set for; the bytes must be equal at any."""
    whole = size == WHOLE
    for kind in KINDS:
        for quantity, unit in (("cpu_s", "s"), ("s", "s"), ("peak_mb", "MB")):
            yield bench.figure(f"{kind}_{quantity}", rounds.over(partial(_of, "ours", f"{kind}_{quantity}")), unit)
        ratio = rounds.over(partial(_ratio, f"{kind}_cpu_s"))
        yield bench.figure(f"{kind}_cpu_to_llamacpp", ratio, "x", goal=1.3 if whole else None, peer="llama.cpp")
        ratio = rounds.over(partial(_ratio, f"{kind}_peak_mb"))
        yield bench.figure(f"{kind}_peak_to_llamacpp", ratio, "x", peer="llama.cpp")
        held = rounds.over(partial(_held, f"{kind}_peak_mb", size))
        yield bench.figure(f"{kind}_peak_to_largest_tensor", held, "x", goal=2.0 if whole else None)
        count = differing.get(kind)
        yield Figure(id=f"{kind}_tensors_unlike_llamacpp", value=count, unit="tensors", goal=0.0, peer="llama.cpp")
        for quantity, unit in (("cpu_s", "s"), ("s", "s"), ("peak_mb", "MB")):
            found = rounds.over(partial(_of, "llamacpp", f"{kind}_{quantity}"))
            yield bench.figure(f"llamacpp_{kind}_{quantity}", found, unit, peer="llama.cpp")


def _of(contender: str, quantity: str, one: Mapping[str, bench.Sample]) -> float:
    return one[contender][quantity]


def _ratio(quantity: str, one: Mapping[str, bench.Sample]) -> float:
    return one["ours"][quantity] / one["llamacpp"][quantity]


def _held(quantity: str, size: Size, one: Mapping[str, bench.Sample]) -> float:
    return one["ours"][quantity] * 1e6 / size.largest


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument(
        "--folder", type=bench.folder, help="where the files are made (16 GB); default: the system's temporary folder"
    )
    parser.add_argument(
        "--layers",
        type=bench.positive,
        default=WHOLE.layers,
        help=f"blocks of the checkpoint; default {WHOLE.layers}, all of them",
    )
    given = parser.parse_args()
    size, rounds = (SMALL, 1) if given.quick else (replace(WHOLE, layers=given.layers), given.rounds)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-", dir=given.folder) as name:
        found, differing = measure(Path(name), size, rounds)
    bench.report("export", rounds, [*figures(found, differing, size)], given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
