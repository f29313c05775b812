"""The served file's weights beside those that checkpoint and adapter give: which part of a difference is the adapter's.

Each tensor for itself. A difference along the adapter's own direction is a merging fault (missing, doubled, wrongly scaled, one
layer left out), and so is one of few directions, as another adapter or a transposed one leaves, and one whose rows are made of
the base's and the adapter's, as DoRA with a wrong scale or without its magnitudes leaves; what is larger otherwise than correct
quantization leaves is a quantization fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.adapter import Adapter
from tunekeeper.deployment.checkpoint import Checkpoint
from tunekeeper.deployment.gguf import merged_tensors
from tunekeeper.deployment.header import open_model, read_gguf
from tunekeeper.deployment.parity import SURE, Weighed, Weight
from tunekeeper.deployment.quantize import kernel

Array = NDArray[Any]
ROWS = 256
"""Rows of a tensor that are compared, evenly spaced: enough for three digits."""
DIRECTIONS = 16
"""Most directions of a difference that adapters explain."""
LOCAL, FEW = 0.8, 8
"""A difference is local when this share of it lies in one of so many equal parts."""
OFF = 0.1
"""How far the adapter's share in a tensor may be from 1 where rows are set aside."""
BLOCK = 32
"""Values of a row that share a scale or an offset in most quantized types."""
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
"""Names of the two tensors that may be tied."""
FLOATS = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The files of an artifact."""

    model: Path
    """Its GGUF file."""
    lora: Path | None = None
    """Its adapter GGUF, where that is apart."""
    lora_scale: float = 1.0
    """Scale at which the adapter is applied."""


def weigh(served: Served, checkpoint: Checkpoint, adapter: Adapter | None) -> Weighed:
    """Compare every tensor. Raises ArtifactError when the file's tensors are not those of the checkpoint."""
    found = {tensor.name: tensor for tensor in open_model(served.model).tensors}
    extra = _lora(served)
    plain = {name: make for name, _, make in merged_tensors(checkpoint, None)}
    wanted = {name: (shape, make) for name, shape, make in merged_tensors(checkpoint, adapter)}
    if checkpoint.shape.tied and OUTPUT in found:
        wanted.setdefault(OUTPUT, wanted[EMBEDDING])  # a file may hold what is tied twice
    dora = adapter is not None and any(part.magnitude is not None for part in adapter.parts.values())
    compared: list[Weight] = []
    for name, (shape, make) in wanted.items():
        tensor = found.get(name) or (found.get(EMBEDDING) if name == OUTPUT and checkpoint.shape.tied else None)
        if tensor is None or tuple(int(n) for n in reversed(tensor.shape)) != shape:
            raise ArtifactError(f"{served.model}: tensor {name} is missing or has other dimensions than the checkpoint's")
        value, chosen = _stored(tensor, shape)
        right = make()[chosen]
        if name in extra:
            value = value + served.lora_scale * extra[name](chosen)
        before = plain.get(name) or plain.get(EMBEDDING)
        added = right - before()[chosen] if before and adapter is not None else np.zeros_like(right)
        compared.append(_weight(name, tensor.tensor_type, value, right, added, dora))
    return Weighed(tensors=tuple(compared))


def _weight(name: str, kind: gguf.GGMLQuantizationType, value: Array, right: Array, added: Array, dora: bool) -> Weight:
    difference = value - right
    weight = Weight(
        name=name,
        quantized=kind not in FLOATS,
        values=right.size,
        dd=_product(difference, difference),
        da=_product(difference, added),
        dr=_product(difference, right),
        aa=_product(added, added),
        ar=_product(added, right),
        rr=_product(right, right),
        cost=_cost(right, kind),
    )
    if right.ndim != 2 or not 2 * weight.cost < weight.left < weight.rr:
        return weight  # nothing is odd about it, or more than any adapter is about: its directions say nothing
    if ((value == 0).all(axis=1) & (right != 0).any(axis=1)).any():
        return weight  # rows that are gone: no adapter takes them away
    return replace(weight, like_an_adapter=_merged_otherwise(weight, difference, right, added, dora))


def _merged_otherwise(weight: Weight, difference: Array, right: Array, added: Array, dora: bool) -> bool:
    """Whether a difference is what merging in another way leaves."""
    louder, apart = _set_aside(difference, right)
    _, across = _set_aside(added, right)
    _, rest = _set_aside(apart, across)
    left = _product(rest, rest)
    if left > 2 * weight.cost:
        return _like_an_adapter(apart if dora else difference - weight.along * added, right)
    # Each row is a sum of the base's and the adapter's, up to what its type costs.
    whole = _product(across, across)
    unsure = float((left / weight.values / whole) ** 0.5) if whole > 0 else 0.0
    share = _product(apart, across) / whole if whole > 0 else 0.0
    return abs(share) > OFF + SURE * unsure or (dora and _uneven(louder))


def _set_aside(values: Array, other: Array) -> tuple[Array, Array]:
    """Row by row, how much of `other` is in `values`, and what is left without it."""
    squares = (other**2).sum(axis=1)
    much = np.divide((values * other).sum(axis=1), squares, out=np.zeros_like(squares), where=squares > 0)
    return much, values - much[:, None] * other


def _uneven(louder: Array) -> bool:
    """Whether rows are louder or softer each by another factor, as other magnitudes make them; one factor for all, or a few rows,
    are a matter of how they were stored."""
    return not _local(louder**2) and float(louder.std()) > abs(float(louder.mean())) / 4


def _local(energies: Array) -> bool:
    """Whether most of what there is lies in a few of many places."""
    return float(np.sort(energies)[-max(1, energies.size // FEW) :].sum()) >= LOCAL * (float(energies.sum()) or 1.0)


def _like_an_adapter(left: Array, right: Array) -> bool:
    """Whether a difference has few directions and touches all columns and rows, as what an adapter adds. Damage has about as many
    directions as the weights that it hits, or a few columns, rows or blocks, or moves whole blocks up or down."""
    if min(left.shape) < 2 * DIRECTIONS or left.shape[1] % BLOCK:
        return False
    squares = left.astype(np.float64) ** 2
    if _local(squares.sum(axis=0)) or _local(squares.reshape(-1, BLOCK).sum(axis=1)):
        return False
    return 1 - _few(left) < min(0.5, (1 - _few(right)) / 2)


def _few(values: Array) -> float:
    """The share of a matrix's energy that lies in its strongest directions, the means of its blocks set aside."""
    blocks = values.astype(np.float64).reshape(values.shape[0], -1, BLOCK)
    rows = (blocks - blocks.mean(axis=2, keepdims=True)).reshape(values.shape)
    strengths = np.linalg.eigvalsh(rows @ rows.T)
    return float(strengths[-DIRECTIONS:].sum() / (strengths.sum() or 1.0))


def _stored(tensor: gguf.ReaderTensor, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """The chosen rows of a stored tensor in float32, and which they are."""
    if len(shape) == 1:
        return np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape), slice(None)
    step = max(1, shape[0] // ROWS)
    rows = tensor.data.reshape(shape[0], -1)[::step]
    return np.asarray(gguf.quants.dequantize(rows, tensor.tensor_type), np.float32).reshape(-1, shape[1]), slice(None, None, step)


def _cost(right: Array, kind: gguf.GGMLQuantizationType) -> float:
    """Squared error of storing the right values as `kind`."""
    if kind == gguf.GGMLQuantizationType.F32:
        return 0.0
    if kind in (gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16):
        stored = gguf.quants.dequantize(gguf.quants.quantize(right, kind), kind)
    else:
        stored = gguf.quants.dequantize(kernel()(right, kind), kind).reshape(right.shape)
    return float(((stored - right) ** 2).sum())


def _product(a: Array, b: Array) -> float:
    return float((a * b).sum(dtype=np.float64))


def _lora(served: Served) -> dict[str, Callable[[Any], Array]]:
    """Base tensor name → the rows that an adapter file adds to it at scale 1."""
    if served.lora is None:
        return {}
    header = read_gguf(served.lora)
    if not header.adapter:
        raise ArtifactError(f"{served.lora}: not an adapter file")
    alpha = float(header.pairs.get("adapter.lora.alpha") or 0.0)
    halves = {
        tensor.name: np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        for tensor in gguf.GGUFReader(served.lora).tensors
    }
    found: dict[str, Callable[[Any], Array]] = {}
    for name, b in halves.items():
        if not name.endswith(".lora_b"):
            continue
        stem = name.removesuffix(".lora_b")
        a = halves.get(f"{stem}.lora_a")
        if a is None:
            raise ArtifactError(f"{served.lora}: {stem} has half of its pair")
        factor = alpha / a.shape[0] if alpha else 1.0

        def rows(chosen: Any, a: Array = a, b: Array = b, factor: float = factor) -> Array:
            product: Array = factor * (b[chosen] @ a)
            return product

        found[stem] = rows
    return found
