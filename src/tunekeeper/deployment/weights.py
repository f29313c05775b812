"""The served file's weights beside those that checkpoint and adapter give: which part of a difference is the adapter's.

A difference along the adapter's own direction is a merging fault (missing, doubled, wrongly scaled); what is left and larger
than correct quantization leaves is a quantization fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from tunekeeper.deployment.parity import Weighed
from tunekeeper.deployment.quantize import kernel

Array = NDArray[Any]
ROWS = 256
"""Rows of a tensor that are compared, evenly spaced: enough for three digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The files of an artifact."""

    model: Path
    """Its GGUF file."""
    lora: Path | None = None
    """Its adapter GGUF, where that is apart."""
    lora_scale: float = 1.0
    """Scale at which the adapter is applied."""


@dataclass(slots=True)
class _Sums:
    """Sums of squares and products over all tensors: d is served minus right, a the adapter's share of right."""

    dd: float = 0.0
    da: float = 0.0
    aa: float = 0.0
    cost: float = 0.0
    right: float = 0.0


def weigh(served: Served, checkpoint: Checkpoint, adapter: Adapter | None) -> Weighed:
    """Compare every tensor. Raises ArtifactError when the file's tensors are not those of the checkpoint."""
    found = {tensor.name: tensor for tensor in open_model(served.model).tensors}
    extra = _lora(served)
    plain = {name: make for name, _, make in merged_tensors(checkpoint, None)}
    expected = list(merged_tensors(checkpoint, adapter))
    sums, worst, most = _Sums(), "", -1.0
    for name, shape, make in expected:
        tensor = found.get(name) or (
            found.get("token_embd.weight") if name == "output.weight" and checkpoint.shape.tied else None
        )
        if tensor is None or tuple(int(n) for n in reversed(tensor.shape)) != shape:
            raise ArtifactError(f"{served.model}: tensor {name} is missing or has other dimensions than the checkpoint's")
        value, chosen = _stored(tensor, shape)
        right = make()[chosen]
        if name in extra:
            value = value + served.lora_scale * extra[name](chosen)
        before = plain.get(name) or plain.get("token_embd.weight")
        added = right - before()[chosen] if before and adapter is not None else np.zeros_like(right)
        excess = _add(sums, value - right, added, right, _cost(right, tensor.tensor_type))
        if excess > most:
            worst, most = name, excess
    # Least squares: the difference's part along the adapter is share - 1 times it, the rest is left.
    along = sums.da / sums.aa if sums.aa > 0 else 0.0
    left = max(0.0, sums.dd - along * sums.da)
    share = 1 + along if sums.aa > 0 else None
    whole = sums.right or 1.0
    return Weighed(n=len(expected), share=share, error=(left / whole) ** 0.5, expected=(sums.cost / whole) ** 0.5, worst=worst)


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


def _add(sums: _Sums, difference: Array, added: Array, right: Array, cost: float) -> float:
    dd, norm = _product(difference, difference), _product(right, right)
    sums.dd += dd
    sums.da += _product(difference, added)
    sums.aa += _product(added, added)
    sums.cost += cost
    sums.right += norm
    return (dd - cost) / (norm or 1.0)


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
