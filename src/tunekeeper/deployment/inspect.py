"""What a model file or adapter folder from outside is, without running anything in it: bounded header checks only."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.adapter import ANOTHER, open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.deployment.header import GgufHeader, read_gguf
from tunekeeper.deployment.merging import check_files, recorded_files
from tunekeeper.deployment.publish import whole_or_absent
from tunekeeper.deployment.safetensors import read_header, regular_size
from tunekeeper.text.tokenizers import read_tokenizer

MAX_PARTS = 1000
"""Parts of a split model that are looked for."""


def inspect(path: Path, base: Path | None = None) -> dict[str, Any]:
    """What `path` (GGUF, safetensors, checkpoint or adapter folder) holds; with `base`, whether an adapter fits it.

    Raises ArtifactError for anything damaged, foreign, or of a kind that can run code; NotFound when there is no such path.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder", fix=f"ls {quote(str(path.parent))}")
    if path.is_dir() and (path / "adapter_config.json").exists():
        return _adapter(path, base)
    if base is not None and path.suffix == ".gguf":
        return _gguf(path) | _gguf_fits(path, base)
    if base is not None:
        raise ArtifactError(f"{path}: not an adapter, so it cannot fit a base", fix="leave out --base")
    if path.is_dir():
        return _checkpoint(path)
    regular_size(path)
    with path.open("rb") as file:
        magic = file.read(4)
    return _gguf(path) if magic == b"GGUF" or path.suffix == ".gguf" else _safetensors(path)


def _gguf(path: Path) -> dict[str, Any]:
    header = read_gguf(path)
    types: dict[str, int] = {}
    for tensor in header.tensors:
        types[tensor.kind] = types.get(tensor.kind, 0) + 1
    return {
        "kind": "gguf-adapter" if header.adapter else "gguf",
        "path": str(path),
        "bytes": path.stat().st_size,
        "architecture": header.architecture,
        "name": header.pairs.get("general.name"),
        "tensors": len(header.tensors),
        "types": types,
        "parameters": sum(_count(tensor.shape) for tensor in header.tensors),
        "context": header.pairs.get(f"{header.architecture}.context_length"),
        "template": header.pairs.get("tokenizer.chat_template") is not None,
        "metadata": {key: value for key, value in header.pairs.items() if key.startswith(("tunekeeper.", "adapter."))},
    } | _split(path, header)


def _split(path: Path, header: GgufHeader) -> dict[str, Any]:
    """Which part of a split model a file is, and which parts do not lie beside it; empty for a whole one."""
    if header.part is None:
        return {}
    number, count = header.part
    stem = path.name.removesuffix(f"-{number:05}-of-{count:05}.gguf")
    others = (f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, min(count, MAX_PARTS) + 1) if part != number)
    return {"split": {"part": number, "of": count, "missing": [name for name in others if not path.with_name(name).is_file()]}}


def _gguf_fits(path: Path, base: Path) -> dict[str, Any]:
    header = read_gguf(path)
    checkpoint = open_checkpoint(base)
    if not header.adapter:
        raise ArtifactError(f"{path}: a model, not an adapter, so it cannot fit a base", fix="leave out --base")
    digest = weights_digest(base)
    _check_gguf_adapter(path, header, checkpoint.shape.architecture, _named_shapes(base))
    told = header.pairs.get("tunekeeper.base_digest")
    if told and told != digest:
        raise ArtifactError(f"{path}: the adapter was made for base {str(told)[:19]}…, this base is {digest[:19]}…", fix=ANOTHER)
    return {"base": str(base), "fits": True, "proven": bool(told)}


def _named_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    from tunekeeper.deployment.checkpoint import expected_tensors
    from tunekeeper.deployment.gguf import gguf_name

    shape = open_checkpoint(base).shape
    return {gguf_name(name, shape): size for name, size in expected_tensors(shape).items()}


def _check_gguf_adapter(path: Path, header: GgufHeader, architecture: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if header.architecture != architecture:
        raise ArtifactError(f"{path}: an adapter for {header.architecture}, this base is {architecture}", fix=ANOTHER)
    found = {tensor.name: tensor.shape for tensor in header.tensors}
    for name, size in found.items():
        stem, _, half = name.rpartition(".lora_")
        if stem not in shapes or half not in ("a", "b"):
            raise ArtifactError(f"{path}: tensor {name} changes nothing this base has: another base", fix=ANOTHER)
        rows, columns = shapes[stem]
        if (half == "a" and size[1] != columns) or (half == "b" and size[0] != rows):
            raise ArtifactError(
                f"{path}: tensor {name} is {size}, this base's weight is {shapes[stem]}: another base", fix=ANOTHER
            )


def _safetensors(path: Path) -> dict[str, Any]:
    tensors = read_header(path)
    types: dict[str, int] = {}
    for tensor in tensors.values():
        types[tensor.dtype] = types.get(tensor.dtype, 0) + 1
    return {
        "kind": "safetensors",
        "path": str(path),
        "bytes": path.stat().st_size,
        "tensors": len(tensors),
        "types": types,
        "parameters": sum(_count(tensor.shape) for tensor in tensors.values()),
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(path)
    tokenizer = read_tokenizer(path)
    return {
        "kind": "checkpoint",
        "path": str(path),
        "architecture": checkpoint.shape.family,
        "tensors": len(list(checkpoint.weights)),
        "parameters": sum(_count(checkpoint.weights.shape(name)) for name in checkpoint.weights),
        "context": checkpoint.shape.context,
        "base_digest": weights_digest(path),
        "tokenizer_digest": tokenizer.digest,
        "template_digest": tokenizer.template_digest,
    }


def _adapter(path: Path, base: Path | None) -> dict[str, Any]:
    weights = path / "adapter_model.safetensors"
    if base is None:
        found = _safetensors(weights) if weights.is_file() else {}
        if not found:
            raise ArtifactError(f"{path}: no adapter_model.safetensors", fix="save the adapter as safetensors")
        return {**found, "kind": "adapter", "path": str(path)}
    checkpoint = open_checkpoint(base)
    digest = weights_digest(base)
    adapter = open_adapter(path, checkpoint, base_digest=digest)
    return {
        "kind": "adapter",
        "path": str(path),
        "base": str(base),
        "fits": True,
        "proven": adapter.base_digest == digest,
        "weights": len(adapter.parts) + len(adapter.replaced),
        "merge_only": adapter.merge_only,
    }


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def write_sidecar(path: Path, digest: str) -> Path:
    """Write `<path>.sha256` as sha256sum does, so that any tool can check the file; the sidecar's path."""
    sidecar = _sidecar(path)
    with whole_or_absent(sidecar) as part:
        part.write_text(f"{digest.removeprefix('sha256:')}  {path.name}\n", "utf-8")
    return sidecar


def verify(path: Path) -> dict[str, Any]:
    """Compare a file, or every file of a folder that has a `.sha256` beside it, with its recorded digest; of a merged checkpoint
    every file that its sidecar names.

    `{verified: n, files: {name: digest}}`. Raises ArtifactError for the first that differs, NotFound when there is no record.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder", fix=f"ls {quote(str(path.parent))}")
    if recorded := recorded_files(path):
        check_files(path, recorded)
        return {"verified": len(recorded), "files": {str(path / name): digest for name, digest in sorted(recorded.items())}}
    files = _recorded_in(path) if path.is_dir() else [path]
    if path.is_dir() and not files:
        raise NotFound(f"{path}: no file in it has a .sha256 beside it", fix="tunekeeper export gguf writes one")
    return {"verified": len(files), "files": {str(file): _verified(file) for file in files}}


def _recorded_in(folder: Path) -> list[Path]:
    """The files of a folder, links among them, that have a digest recorded."""
    files = {path.with_suffix("") for path in folder.rglob("*.sha256")}
    return sorted(files | {path for path in folder.rglob("*") if path.is_symlink() and _sidecar(path.resolve()).is_file()})


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _verified(path: Path) -> str:
    """The digest of a file that is as recorded: beside the file that a link leads to, where exports write, or beside the link."""
    sidecar = next((found for found in (_sidecar(path.resolve()), _sidecar(path)) if found.is_file()), _sidecar(path))
    if not sidecar.is_file():
        raise NotFound(f"{path}: no {sidecar.name} says what its digest should be", fix="tunekeeper export gguf writes one")
    words = sidecar.read_bytes()[:200].decode("ascii", "replace").split()
    if not path.is_file():
        raise ArtifactError(f"{path}: recorded in {sidecar.name} but missing")
    found = digest_file(path)
    if not words or found != f"sha256:{words[0].lower()}":
        raise ArtifactError(f"{path}: its digest is {found}, recorded is {words[0] if words else 'nothing'}: changed or damaged")
    return found
