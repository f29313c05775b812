"""The model as it will be served: the base's own numbers, and every sum worked out in float32.

A model that learns in 16 bits, or on a base of 4, says something else than the files that are exported: their yardstick is
transformers in float32. Runs in a child process: imports torch.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tunekeeper.training.base import Base, parameters, weight_files
from tunekeeper.training.device import processor
from tunekeeper.training.header import tensor_header
from tunekeeper.training.loading import load_plain
from tunekeeper.training.memory import BYTES
from tunekeeper.training.recipe import Recipe

FORMATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
HALVES = (torch.float16, torch.bfloat16)
SPARE = 1.3
"""What answering takes beside the weights: the float32 copy of a layer, activations, the cache."""


class InFloat32(TorchFunctionMode):  # type: ignore[misc]
    """While it is on, a model of 16-bit weights works in float32: what comes out of its embeddings is widened, and a weight is
    where it meets what is wide. One layer's weights at a time are there twice."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.embedding:
            found = func(*args, **kwargs)
            return found.float() if found.dtype in HALVES else found
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        if not _writes(func) and any(t.dtype == torch.float32 for t in tensors) and any(t.dtype in HALVES for t in tensors):
            args, kwargs = tuple(map(_wide, args)), {name: _wide(each) for name, each in kwargs.items()}
        return func(*args, **kwargs)


def _writes(func: Any) -> bool:
    """Whether a function changes its first argument, which must stay the tensor that it is."""
    name = getattr(func, "__name__", "")
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALVES else value


def stored_format(folder: Path) -> str:
    """The number format of a checkpoint's files; float32 where they hold several."""
    kinds = {entry["dtype"] for file in weight_files(folder) for entry in tensor_header(file).values()}
    return FORMATS.get(kinds.pop(), "float32") if len(kinds) == 1 else "float32"


def holds_own_numbers(base: Base, recipe: Recipe, dtype: str) -> bool:
    """Whether a model that learns in `dtype` holds what its files will: not in 4 bits, nor in a narrower format than theirs."""
    if recipe.method == "full":
        return True  # what is saved are its own numbers, as they were rounded
    return not recipe.qlora and dtype in ("float32", stored_format(base.folder))


def in_float32(model: Any) -> contextlib.AbstractContextManager[Any]:
    """The context in which a model works in float32; nothing changes for one whose weights are float32."""
    return InFloat32() if any(each.dtype in HALVES for each in model.parameters()) else contextlib.nullcontext()


def plain_base(base: Base, recipe: Recipe) -> Any:
    """The base in its own format, on the GPU where it has room, else on the processor; None where it is too large for both.

    To be called once the model that learned has been let go.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    dtype = stored_format(base.folder)
    gpu = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    where = place(parameters(base.folder) * BYTES[dtype], gpu, processor().total)
    return None if where is None else load_plain(base, replace(recipe, qlora=False, dtype=dtype), where)[0]


def place(weights: int, gpu: int, cpu: int) -> str | None:
    """Where a model of so many bytes can answer, given the free bytes of a GPU and the processor's: cuda, cpu or None. Pure."""
    wanted = weights * SPARE
    return "cuda" if wanted <= gpu else "cpu" if wanted <= cpu else None


@contextlib.contextmanager
def served(plain: Any, adapter: Path) -> Iterator[Any]:
    """The plain base with an adapter on it, which is taken off again."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(plain, str(adapter))
    try:
        yield model
    finally:
        model.unload()
