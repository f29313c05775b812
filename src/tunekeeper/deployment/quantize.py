"""Quantizing a GGUF file with llama.cpp's own kernel, `ggml_quantize_chunk`, which the `xllamacpp` extension exports.

Which tensor gets which type follows llama.cpp's quantizer (`llama_tensor_get_type`), so that the bytes are the same. The
export is undocumented: the kernel is tried on known values before it is trusted.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError, MissingExtra, OurFault
from tunekeeper.deployment.gguf import Encoder, to_half, write_tensors
from tunekeeper.deployment.header import AGAIN, open_model
from tunekeeper.deployment.publish import whole_or_absent

Array = NDArray[Any]
KINDS = {"Q8_0": (Type.Q8_0, 7), "Q4_K_M": (Type.Q4_K, 15), "Q5_K_M": (Type.Q5_K, 17), "Q6_K": (Type.Q6_K, 18)}
"""Name → main tensor type and llama.cpp's file type number."""
PLAIN = {"f32": (Type.F32, 0), "f16": (Type.F16, 1), "bf16": (Type.BF16, 32)}
"""The same of kinds that are not quantized."""
_RULED = re.compile(r"(token_embd|output|blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(up|gate|down)))\.weight|.*_norm.*")
"""Matrices whose types follow the rules here."""
_SMALLER = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """What quantizing did."""

    types: dict[str, int]
    """Tensor type → number of tensors."""
    fallback: tuple[str, ...]
    """Tensors whose rows did not fit their type, as `name: type`."""


@lru_cache(maxsize=1)
def kernel() -> Callable[[Array, Type], Array]:
    """`quantize(rows, type) -> bytes` of llama.cpp, after its self-test.

    Raises MissingExtra without xllamacpp, OurFault when its results are not what they must be.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtra(
            "quantizing needs package xllamacpp, which is not installed", fix="pip install 'tunekeeper[local]'"
        ) from error
    library = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"), None)
    function = getattr(ctypes.CDLL(str(library)), "ggml_quantize_chunk", None) if library else None
    if function is None:
        raise OurFault(
            "this build of xllamacpp does not export ggml_quantize_chunk", fix="install the version in requirements.lock"
        )
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]

    def quantize(values: Array, kind: Type) -> Array:
        values = np.ascontiguousarray(values, np.float32)
        columns = values.shape[-1]
        rows = values.size // columns
        block, size = gguf.GGML_QUANT_SIZES[kind]
        out = np.empty((rows, columns // block * size), np.uint8)
        written = function(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
        if written != out.nbytes:
            raise OurFault(f"llama.cpp's quantizer wrote {written} bytes of {kind.name} where {out.nbytes} were due")
        return out

    _self_test(quantize)
    return quantize


def _self_test(quantize: Callable[[Array, Type], Array]) -> None:
    values = np.sin(np.arange(4 * 256, dtype=np.float32) * 0.37).reshape(4, 256)
    if not np.array_equal(quantize(values, Type.Q8_0), gguf.quants.quantize(values, Type.Q8_0)):
        raise OurFault(
            "llama.cpp's Q8_0 differs from the reference implementation", fix="install the version in requirements.lock"
        )
    for kind, limit in ((Type.Q4_K, 0.1), (Type.Q5_K, 0.05), (Type.Q6_K, 0.03)):
        back = gguf.quants.dequantize(quantize(values, kind), kind)
        if float(np.abs(back - values).max()) > limit:
            raise OurFault(
                f"llama.cpp's {kind.name} does not give back what was put in", fix="install the version in requirements.lock"
            )


def tensor_type(
    name: str, shape: tuple[int, ...], kind: str, layers: int, tied: bool, *, seventy: bool = False
) -> tuple[Type, bool]:
    """The type llama.cpp's quantizer gives a tensor, and whether it had to fall back because its rows do not fit.

    `shape`: outermost dimension first. `layers`: blocks of the model. `tied`: whether the file has no output tensor.
    `seventy`: whether it is what llama.cpp takes for Llama 70B, whose small value projections get more bits.
    """
    if len(shape) < 2 or "_norm" in name or not name.endswith(".weight") or name.startswith("rope_freqs"):
        return Type.F32, False
    if kind in PLAIN:
        return PLAIN[kind][0], False
    wanted = KINDS[kind][0]
    if wanted != Type.Q8_0:
        match = re.match(r"blk\.(\d+)\.", name)
        widened = match is not None and re.search(r"attn_v\.|attn_qkv\.|ffn_down\.", name) and _more_bits(int(match[1]), layers)
        if widened or name == "output.weight" or (name == "token_embd.weight" and tied):
            wanted = Type.Q6_K
        if seventy and "attn_v." in name and wanted == Type.Q4_K:
            wanted = Type.Q5_K
    chosen = wanted
    if shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0]:
        chosen = _SMALLER.get(chosen, Type.F16)
    if chosen != Type.F16 and shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0]:
        chosen = Type.F16
    return chosen, chosen != wanted


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def encoder(name: str, shape: tuple[int, ...], kind: Type) -> Encoder:
    """How a tensor of `shape` becomes bytes of `kind`."""
    count = int(np.prod(shape))
    if kind == Type.F32:
        return kind, 4 * count, lambda value: value
    if kind == Type.F16:
        return kind, 2 * count, lambda value: to_half(name, value)
    if kind == Type.BF16:
        return kind, 2 * count, lambda value: gguf.quants.quantize(value, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    quantize = kernel()
    return kind, count // block * size, lambda value: quantize(value, kind)


def quantize_file(source: Path, target: Path, kind: str) -> Quantized:
    """Make a GGUF file of f32, f16 or bf16 one of a `kind` of `KINDS` or `PLAIN`; whole or not at all.

    Raises ArtifactError, also for a value that the kind cannot hold."""
    reader = open_model(source)
    architecture = str(reader.fields["general.architecture"].contents())
    _refuse_other_rules(source, reader, architecture)
    blocks = reader.fields.get(f"{architecture}.block_count")
    if blocks is None or type(blocks.contents()) is not int:
        raise ArtifactError(f"{source}: nothing says how many blocks it has ({architecture}.block_count)", fix=AGAIN)
    layers = int(blocks.contents())
    seventy = architecture == "llama" and layers == 80 and _grouped(reader, architecture)
    tied = not any(tensor.name == "output.weight" for tensor in reader.tensors)
    types: dict[str, int] = {}
    fallback: list[str] = []
    plan = []
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        chosen, fell = tensor_type(tensor.name, shape, kind, layers, tied, seventy=seventy)
        types[chosen.name] = types.get(chosen.name, 0) + 1
        if fell:
            fallback.append(f"{tensor.name}: {chosen.name}")
        plan.append((tensor.name, shape, encoder(tensor.name, shape, chosen), partial(values_of, tensor, shape)))
    with whole_or_absent(target) as part:
        writer = gguf.GGUFWriter(part, architecture)
        try:
            _copy_fields(reader, writer, (KINDS | PLAIN)[kind][1], source)
            write_tensors(writer, plan)
        finally:
            writer.close()
    return Quantized(types=types, fallback=tuple(fallback))


def _refuse_other_rules(source: Path, reader: gguf.GGUFReader, architecture: str) -> None:
    """Raise ArtifactError for what llama.cpp quantizes by other rules: routers of experts, convolutions, positions."""
    odd = next((tensor.name for tensor in reader.tensors if len(tensor.shape) > 1 and not _RULED.fullmatch(tensor.name)), None)
    if odd or architecture == "falcon":
        raise ArtifactError(
            f"{source}: {odd or 'a falcon'} is quantized by rules that are not known here",
            fix="quantize it with llama.cpp's own llama-quantize",
        )


def _grouped(reader: gguf.GGUFReader, architecture: str) -> bool:
    heads, shared = (reader.fields.get(f"{architecture}.attention.head_count{end}") for end in ("", "_kv"))
    return heads is not None and shared is not None and heads.contents() != shared.contents()


def values_of(tensor: gguf.ReaderTensor, shape: tuple[int, ...]) -> Array:
    """A tensor of a GGUF file in float32."""
    if tensor.tensor_type in (Type.F32, Type.F16):
        return np.ascontiguousarray(tensor.data, np.float32).reshape(shape)
    return np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter, file_type: int, source: Path) -> None:
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        try:
            value = field.contents()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{source}: {key} holds a text that is not UTF-8 ({error.reason})", fix=AGAIN) from error
        inner = {"sub_type": field.types[-1]} if field.types[0] == gguf.GGUFValueType.ARRAY else {}
        writer.add_key_value(key, value, field.types[0], **inner)
    writer.add_file_type(file_type)
