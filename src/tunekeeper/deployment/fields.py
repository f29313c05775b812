"""The fields of a served GGUF file beside those that its checkpoint gives: what a file says of itself, before it is run.

A small wrong number (a rotary base, an epsilon, two merges in another order, a type that is coarser than the name says) can leave
the answers of a few prompts alone and those of users not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf

from tunekeeper.deployment import rope
from tunekeeper.deployment.checkpoint import Shape, expected_tensors
from tunekeeper.deployment.gguf import describe_shape, gguf_name
from tunekeeper.deployment.header import GgufTensor, open_model, read_gguf
from tunekeeper.deployment.quantize import KINDS, PLAIN, tensor_type
from tunekeeper.deployment.splits import OTHERS
from tunekeeper.deployment.tokens import Tokens, tokens_of
from tunekeeper.text.tokenizers import TokenizerFiles

NOT_COMPUTED = ("context_length", "vocab_size")
"""Fields that say how much there is, not what is computed."""
DEFAULTS = {"rope.freq_base": 10000.0}
"""What llama.cpp takes where a field is missing."""
CHANGING = {
    "rope.scaling.factor": 1.0, "rope.scale_linear": 1.0, "rope.scaling.attn_factor": 1.0, "rope.freq_base_swa": 10000.0,
    "attention.causal": True,
}  # fmt: skip
"""Fields that llama.cpp obeys wherever they are, with the value that changes nothing."""
MERGES, PRE = "tokenizer.ggml.merges", "tokenizer.ggml.pre"
OURS = "tunekeeper."
"""How the fields begin that only files written here have."""


def computes(path: Path, shape: Shape) -> str:
    """The first field by which llama.cpp computes otherwise than the checkpoint, in one line; empty when there is none.

    A field that one of the two leaves out is what llama.cpp takes for it, where that is known.
    """
    header, wanted = read_gguf(path), described(shape)
    for name, value in wanted.items():
        key = f"{shape.architecture}.{name}"
        found = header.pairs.get(key, DEFAULTS.get(name))
        if found is None and not name.startswith("rope.scaling."):
            continue  # what llama.cpp derives from others, as the width of a head
        if not _equal(found, value):
            return f"{key} is {_said(found)}, the checkpoint has {_said(value)}"
    scaling = header.pairs.get(f"{shape.architecture}.rope.scaling.type")
    if scaling not in (None, "none") and "rope.scaling.type" not in wanted and shape.rope != "longrope":
        return f"{shape.architecture}.rope.scaling.type is {scaling!r}, the checkpoint has none"
    for name, neutral in CHANGING.items():
        found = header.pairs.get(f"{shape.architecture}.{name}", neutral)
        if name not in wanted and not _equal(found, neutral):
            return f"{shape.architecture}.{name} is {_said(found)}, the checkpoint has none"
    names = tensor_names(shape)
    extra = next((tensor.name for tensor in header.tensors if tensor.name not in names), None)
    return f"the file has a tensor {extra}, the checkpoint has none" if extra else ""


def tensor_names(shape: Shape) -> frozenset[str]:
    """Every tensor that llama.cpp may find in a file of this shape; of a tied one the output layer too, which is then compared
    with the embedding."""
    names = {gguf_name(name, shape) for name in expected_tensors(shape)} | ({"output.weight"} if shape.tied else set())
    factors = {f"rope_factors_{length}.weight" for length in ("long", "short")} if shape.rope_factors else set()
    return frozenset(names | factors | ({"rope_freqs.weight"} if rope.in_factors(shape) else set()))


def described(shape: Shape) -> dict[str, Any]:
    """What a file of this shape says of how it computes: field without the architecture's name → value."""
    writer = gguf.GGUFWriter(None, shape.architecture)
    describe_shape(writer, shape)
    start = f"{shape.architecture}."
    names = {key.removeprefix(start): field.value for key, field in writer.kv_data[0].items() if key.startswith(start)}
    return {name: value for name, value in names.items() if name not in NOT_COMPUTED}


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return math.isclose(float(found), float(wanted), rel_tol=1e-5)  # a field has the digits of a float32
    return bool(found == wanted)


def _said(value: Any) -> str:
    return "not there" if value is None else f"{value:g}" if isinstance(value, float) else repr(value)


def tokenizer(path: Path, shape: Shape, files: TokenizerFiles, eos: tuple[int, ...]) -> str:
    """The first entry of the file's tokenizer that is not what the checkpoint's makes, in one line; empty when none differs.

    Of a file that was written here everything is compared; of one from elsewhere the merges, which every converter copies.
    """
    fields = open_model(path).fields
    if f"{OURS}base_digest" not in fields and files.tokenizer["model"].get("byte_fallback"):
        return ""
    wanted = _tokens(tokens_of(files, shape.vocab, eos)) if f"{OURS}base_digest" in fields else {MERGES: _merges(files)}
    for key, trained in wanted.items():
        found = fields[key].contents() if key in fields else None
        if key == PRE and found in OTHERS.get(str(trained), ()):
            continue  # chosen for the rows that it learned
        if isinstance(trained, list) and isinstance(found, list) and len(trained) == len(found):
            at = next((i for i, (a, b) in enumerate(zip(trained, found, strict=True)) if not _equal(b, a)), None)
            if at is not None:
                return f"{key} has {found[at]!r} at {at}, training {trained[at]!r}"
        elif isinstance(trained, list) and isinstance(found, list):
            return f"{key} has {len(found)} entries, in training {len(trained)}"
        elif not _equal(found, trained):
            return f"{key} is {_said(found)}, in training {_said(trained)}"
    return ""


def _tokens(tokens: Tokens) -> dict[str, Any]:
    """What decides which tokens a text becomes. What ends an answer, and the template, are seen in what the server does."""
    found: dict[str, Any] = {
        "tokenizer.ggml.model": tokens.model,
        PRE: tokens.pre,
        "tokenizer.ggml.tokens": tokens.texts,
        "tokenizer.ggml.token_type": tokens.types,
        "tokenizer.ggml.add_bos_token": tokens.add_bos,
    }
    if tokens.scores:
        return found | {"tokenizer.ggml.scores": tokens.scores, "tokenizer.ggml.add_space_prefix": tokens.space_prefix}
    return found | {MERGES: tokens.merges}


def _merges(files: TokenizerFiles) -> list[str]:
    return [m if isinstance(m, str) else " ".join(m) for m in files.tokenizer["model"].get("merges") or ()]


def coarser(path: Path) -> str:
    """A tensor that is stored in fewer bits than a file of the type that it says it is, or in another type of as many, in one
    line; empty without one.

    Only where the file says a type that is known here. More bits than that are no fault.
    """
    header = read_gguf(path)
    kind = next((name for name, (_, number) in (KINDS | PLAIN).items() if number == header.pairs.get("general.file_type")), None)
    if kind is None:
        return ""
    worst = [(tensor, wanted) for tensor in header.tensors if (wanted := _least(tensor, kind)) is not None]
    if not worst:
        return ""
    tensor, wanted = worst[0]
    more = f", and {len(worst) - 1} more" if len(worst) > 1 else ""
    return f"{tensor.name} is {tensor.kind}{more}; the file says that it is {kind}, which has at least {wanted.name} there"


def _least(tensor: GgufTensor, kind: str) -> gguf.GGMLQuantizationType | None:
    """The type that a tensor has at least in a file of `kind`, where its own has fewer bits; None when all is well."""
    if kind != "f32" and tensor_type(tensor.name, tensor.shape, kind, 1, False)[0] == gguf.GGMLQuantizationType.F32:
        return None
    # Some tensors have more bits than the others in llama.cpp's mix; this one never has.
    wanted, _ = tensor_type("blk.0.ffn_up.weight", tensor.shape, kind, 1, False)
    return wanted if tensor.kind != wanted.name and _bits(gguf.GGMLQuantizationType[tensor.kind]) <= _bits(wanted) else None


def _bits(kind: gguf.GGMLQuantizationType) -> float:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return float(8 * size / block)
