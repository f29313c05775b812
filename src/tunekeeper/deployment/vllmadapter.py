"""What a vLLM server is asked to hold: an adapter of a known base, under a name that no other content ever gets.

vLLM reads an adapter's folder itself, so that the folder must be shared with it, and it takes any adapter whose shapes fit: one
of another base is accepted and answers nonsense. Everything that can be known before it is asked is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.source import open_source
from tunekeeper.engines.vllm import Holding
from tunekeeper.text.tokenizers import read_tokenizer

MERGE = "serve it merged: export vllm with --merged, or deployment.merged: true"
MARK = 8
"""Hex digits of an adapter's digest in its name: the same name is always the same content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base as its digests tell it."""

    folder: Path
    """Where it lies here."""
    weights: str
    """Digest of its weights."""
    tokenizer: str | None
    """Digest of its tokenizer.json."""
    template: str | None
    """Digest of its chat template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a server is to hold."""

    base: Base
    """The base that it must serve."""
    name: str | None
    """Model name of the adapter there; None wants the base itself."""
    folder: Path | None = None
    """The adapter's folder here; None for the base itself."""
    there: str | None = None
    """The same folder as the server names it."""
    root: str | None = None
    """The base's folder as the server names it, where that is known; else its name here."""


def read_base(folder: Path, *, weights: str | None = None, tokenizer: str | None = None, template: str | None = None) -> Base:
    """A base folder's digests. Raises ArtifactError when they are not those given: a version was trained on another one."""
    files = read_tokenizer(folder)
    found = Base(folder=folder, weights=weights_digest(folder), tokenizer=files.digest, template=files.template_digest)
    for what, here, known in (
        ("weights", found.weights, weights),
        ("tokenizer", found.tokenizer, tokenizer),
        ("chat template", found.template, template),
    ):
        if known is not None and here != known:
            raise ArtifactError(
                f"{folder}: its {what} changed since this version was trained ({str(here)[:19]}…, trained with {known[:19]}…)",
                fix="put the base back that the version was trained on",
            )
    return found


def check_adapter(folder: Path, base: Base) -> None:
    """Read an adapter as vLLM will. Raises ArtifactError for one of another base, a damaged one, and kinds that vLLM has not."""
    adapter = open_adapter(folder, open_source(base.folder), base_digest=base.weights)
    kind = adapter.merge_only
    if kind is None and any((part.scale, part.a.shape[0]) != (adapter.scale, adapter.rank) for part in adapter.parts.values()):
        kind = "a rank or alpha pattern"
    if kind is not None:
        raise ArtifactError(f"{folder}: {kind} is nothing that vLLM puts on at run time", fix=MERGE)


def check_served(address: str, holding: Holding, base: Base, known_as: str | None = None) -> bool:
    """Whether the server's base was seen to be `base`, by its files; False when they cannot be seen from here.

    `address`: the server's, for messages. `known_as`: how the server names the base's folder, where it is shared under another
    name. Raises ArtifactError when it serves another base, tokenizer or chat template.
    """
    if holding.root in (known_as, str(base.folder)):
        return True  # the digests of `base` are of these very files
    root = Path(holding.root)
    if not root.is_dir() or not any(root.glob("*.safetensors")):
        return False
    files = read_tokenizer(root)
    for what, served, wanted in (
        ("base", weights_digest(root), base.weights),
        ("tokenizer", files.digest, base.tokenizer),
        ("chat template", files.template_digest, base.template),
    ):
        if served != wanted:
            raise ArtifactError(
                f"vLLM at {address} serves another {what}: {holding.root} has {str(served)[:19]}…, "
                f"the adapter was trained on {str(wanted)[:19]}…",
                fix=f"start it with {base.folder}",
            )
    return True


def adapter_name(stem: str, digest: str) -> str:
    """The one name of an adapter: what it is called, and what it is. `digest`: `sha256:…` of its files."""
    return f"{stem}-{digest.removeprefix('sha256:')[:MARK]}"


def named_there(folder: Path, shared: Path, there: str | None) -> str:
    """A folder below `shared` as a server names it, to which `shared` is known as `there`; None: by the same name."""
    if there is None:
        return str(folder)
    return str(PurePosixPath(there) / folder.relative_to(shared).as_posix())
