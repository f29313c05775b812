"""A base that is loaded once, and a version's adapter beside it: two files in place of one merged one for each version.

The adapter's file names the base's by its digest, so that its own digest stands for both. `layout` says where they lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.adapter import Adapter
from tunekeeper.deployment.checkpoint import Checkpoint
from tunekeeper.deployment.exporting import Exported, finish, write_servable
from tunekeeper.deployment.gguf import FLOATS, write_adapter
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.layout import BASE_FILE
from tunekeeper.deployment.weights import Served


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A base's file and, unless the version is the base itself, an adapter's."""

    served: Served
    """The files."""
    exported: Exported
    """What the version's own file is: the adapter's, or the base's where it has none."""
    base: str
    """Digest of the base's file."""


def write_pair(
    kept: Path,
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    kind: str,
    out: Path,
    *,
    metadata: dict[str, str],
    rows: Iterable[tuple[str, ...]] = (),
) -> Pair:
    """Write a version's adapter to `out`, and beside it the base, of type `kind`, unless it is at `kept` already.

    `metadata`: with `base_digest`, of the base's weights. `rows`: as of `write_servable`. Raises ArtifactError for an adapter
    that can only be merged.
    """
    if adapter is not None and adapter.merge_only:
        raise ArtifactError(
            f"{out.stem}: {adapter.merge_only} can only be merged",
            fix="leave out deployment.apart in the model's file, so that it is merged",
        )
    base = kept
    fallback: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if not _is_of(kept, metadata["base_digest"]):
        base = out.with_name(kept.name)
        own = {"base_digest": metadata["base_digest"]}
        fallback, notes = write_servable(checkpoint, None, kind, base, name=kept.stem, metadata=own, rows=rows)
    digest = digest_file(base)
    if adapter is None:
        made = Exported(
            path=str(base), digest=digest, bytes=base.stat().st_size, quantization=kind, fallback_tensors=fallback, notes=notes
        )
        return Pair(served=Served(model=base), exported=made, base=digest)
    half = kind if kind in FLOATS else "f16"
    write_adapter(checkpoint, adapter, out, half, name=out.stem, metadata={**metadata, BASE_FILE: digest})
    return Pair(served=Served(model=base, lora=out), exported=finish(out, kind, fallback, notes), base=digest)


def _is_of(kept: Path, digest: str) -> bool:
    """Whether a base's file is there and was made of the weights with this digest."""
    if not kept.is_file():
        return False
    try:
        return read_gguf(kept).pairs.get("tunekeeper.base_digest") == digest
    except ArtifactError:
        return False  # damaged: it is made again
