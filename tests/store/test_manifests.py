from __future__ import annotations

import numpy as np
import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.store.manifests import Manifest, decode, encode, packs_of


def manifest(train: np.ndarray, held: np.ndarray) -> Manifest:
    return Manifest(packs=("sha256:a", "sha256:b"), rows=(1_000_000, 20_000), sides={"train": train, "eval": held})


def test_a_manifest_comes_back_as_it_was_in_any_order() -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(5000).astype(np.uint32)
    found = decode(encode(manifest(order[:4000], order[4000:])))
    assert (found.packs, found.rows) == (("sha256:a", "sha256:b"), (1_000_000, 20_000))
    assert found.sides["train"].tolist() == order[:4000].tolist()
    assert found.sides["eval"].tolist() == order[4000:].tolist()
    assert packs_of(encode(found)) == found.packs
    empty = decode(encode(manifest(order[:0], order[:0])))
    assert [len(numbers) for numbers in empty.sides.values()] == [0, 0]


def test_a_million_rows_of_which_a_few_were_edited_anywhere_take_little() -> None:
    numbers, rng = np.arange(1_000_000, dtype=np.uint32), np.random.default_rng(2)
    edited = np.sort(rng.choice(1_000_000, 15_000, replace=False))
    numbers[edited] = np.arange(1_000_000, 1_015_000, dtype=np.uint32)
    data = encode(manifest(numbers, numbers[:0]))
    assert len(data) < 300_000
    assert np.array_equal(decode(data).sides["train"], numbers)


@pytest.mark.parametrize("cut", [0, 8, 20, 60])
def test_bytes_that_are_no_manifest_are_refused(cut: int) -> None:
    numbers = np.arange(100, dtype=np.uint32)
    with pytest.raises(ArtifactError, match="not the manifest"):
        decode(encode(manifest(numbers, numbers))[:cut])
    with pytest.raises(ArtifactError):
        decode(b'{"files": {}}')
