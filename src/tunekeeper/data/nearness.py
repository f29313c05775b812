"""Which of many texts are nearly the same, in arrays: exact fold, MinHash in bands for candidates, exact Jaccard on those.

Every text becomes a sorted run of 52-bit hashes of its shingles; 125 to 128 hashes by rensa put similar texts into the same
buckets; scipy counts what two runs share. So 100,000 texts cost seconds and a million fits into memory.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from tunekeeper.text.shingles import shingles, tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

HASHES = 128
"""MinHash values of a text at most; their number is what finding candidates costs."""
FOUND = 0.985
"""Chance, at least, that a pair that is just as similar as the threshold becomes a candidate."""
SEED = 42
FEW = 300
"""Texts below which each is compared with all that share a shingle with it."""
REMEMBERED_WORDS = 1_000_000
BLOCK_ROWS = 512
"""Texts hashed at once, so that what is made of them stays near the processor; at most 4,096, since a text's place in its block
and 52 bits of a shingle share one number."""
BLOCK_WORDS = 1_000_000
MOST_MEETINGS = 8_000_000
"""Times that two texts may meet in a bucket, over all bands, or `MEETINGS` for each text where that is more. Beyond, a text meets
only its neighbours in large buckets, its most similar: 5,000 rows of one form kept 99 % of their pairs with 2 million."""
MEETINGS = 16
PAIRS_AT_ONCE, SHINGLES_AT_ONCE = 100_000, 10_000_000
"""Candidates verified at once, and the shingles of their texts: what verifying takes of memory."""
_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def bands_for(threshold: float) -> tuple[int, int]:
    """(bands, hashes in each) for a Jaccard threshold of 0 to 1: the longest bands that find a pair at the threshold with chance
    `FOUND`. 25 of 5 at 0.7, 16 of 8 at 0.85."""
    long = [rows for rows in range(1, 33) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= FOUND]
    rows = max(long, default=1)
    return HASHES // rows, rows


def near_pairs(texts: Iterable[str], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Places (i < j) of texts whose Jaccard similarity is at least `threshold` (above 0, to 1), with the similarity.

    Texts with the same shingles are each paired with the first of them only, and that first alone with others. Texts without a
    word are like nothing. Few texts are all compared, without loading anything; of more, see `FOUND` and `MOST_MEETINGS`.
    """
    rest = iter(texts)
    few = list(islice(rest, FEW))
    if len(few) < FEW:
        yield from _all_compared(few, threshold)
        return
    block, index = _Block(), _Index(*bands_for(threshold))
    for text in chain(few, rest):
        block.add(text)
        if block.full:
            index.take(block)
            block = _Block()
    index.take(block)
    yield from index.same
    yield from index.pairs(threshold)


def _all_compared(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int, float]]:
    """The same by an index of every shingle: exact, and quadratic where all texts resemble each other."""
    first: dict[frozenset[str], int] = {}
    holders: defaultdict[str, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    near = []
    for j, words in enumerate(map(shingles, texts)):
        if words and first.setdefault(words, j) != j:
            yield first[words], j, 1.0
            continue
        sizes[j] = len(words)
        for i, shared in Counter(chain.from_iterable(holders[word] for word in words)).items():
            similarity = shared / (sizes[i] + sizes[j] - shared)
            if similarity >= threshold:
                near.append((i, j, similarity))
        for word in words:
            holders[word].append(j)
    yield from sorted(near)


class _WordHashes(dict[str, int]):
    """Word → 64-bit hash, the same in every process; remembers the words it saw, within bounds."""

    def __missing__(self, word: str) -> int:
        import xxhash

        if len(self) >= REMEMBERED_WORDS:
            self.clear()
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


_HASH_OF = _WordHashes()


class _Block:
    """Some thousand texts on their way into arrays."""

    def __init__(self) -> None:
        self._words = array("Q")
        self._ends = array("q")

    def add(self, text: str) -> None:
        found = tokens(text)
        self._words.extend(map(_HASH_OF.__getitem__, found))
        if 0 < len(found) < 3:
            self._words.extend((0,) * (3 - len(found)))  # a short text is one shingle
        self._ends.append(len(self._words))

    @property
    def full(self) -> bool:
        return len(self._ends) >= BLOCK_ROWS or len(self._words) >= BLOCK_WORDS

    def shingles(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of shingles (52 bits, each once a text, sorted) of all texts in a row, and how many each text has."""
        import numpy as np

        words, ends = np.frombuffer(self._words, dtype=np.uint64), np.frombuffer(self._ends, dtype=np.int64)
        if not len(words):
            return words, np.zeros(len(ends), dtype=np.int64)
        rows = np.repeat(np.arange(len(ends), dtype=np.uint64), np.diff(ends, prepend=0))
        with np.errstate(over="ignore"):
            runs = _mixed((words[:-2] * np.uint64(_ODD[0]) + words[1:-1]) * np.uint64(_ODD[1]) + words[2:])
        inside = rows[:-2] == rows[2:]
        keyed = _once(runs[inside] >> np.uint64(12) | rows[:-2][inside] << np.uint64(52))
        counts = np.bincount((keyed >> np.uint64(52)).astype(np.int64), minlength=len(ends))
        return keyed & np.uint64(2**52 - 1), counts


def _mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value (the finish of splitmix64)."""
    import numpy as np

    for shift, factor in ((30, _ODD[1]), (27, _ODD[2])):
        values = (values ^ values >> np.uint64(shift)) * np.uint64(factor)
    return values ^ values >> np.uint64(31)


def _once(values: Hashes) -> Hashes:
    """The different values, sorted; the array that is given is sorted too."""
    import numpy as np

    values.sort()
    new: NDArray[np.bool_] = np.diff(values, prepend=~values[:1]) != 0
    return values[new]


class _Index:
    """All different texts: their shingles, and the bucket of each in every band."""

    def __init__(self, bands: int, rows: int) -> None:
        self.bands, self.rows = bands, rows
        self.same: list[tuple[int, int, float]] = []
        self._first: dict[int, int] = {}
        self._seen = 0
        self._places = array("q")
        self._hashes = array("Q")
        self._ends = array("q", [0])
        self._buckets: list[NDArray[np.uint32]] = []

    def take(self, block: _Block) -> None:
        """Add the texts of a block, those apart that say the same as an earlier one."""
        import numpy as np

        hashes, counts = block.shingles()
        fresh = self._fresh(hashes, counts)
        kept = counts[fresh]
        hashes = hashes[np.repeat(fresh, counts)]
        if not len(kept):
            return
        self._hashes.frombytes(hashes.tobytes())
        self._ends.frombytes((np.cumsum(kept) + self._ends[-1]).tobytes())
        self._buckets.append(self._bucketed(hashes, kept))

    def _fresh(self, hashes: Hashes, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which texts of a block have words, and not the same shingles as an earlier one."""
        import numpy as np

        fresh = counts > 0
        starts = (np.cumsum(counts) - counts)[fresh]
        sums = np.add.reduceat(_mixed(hashes), starts).tolist() if len(starts) else []
        for row, key in zip(np.flatnonzero(fresh).tolist(), sums, strict=True):
            place = self._seen + row
            first = self._first.setdefault(key, place)
            if first != place:
                fresh[row] = False
                self.same.append((first, place, 1.0))
            else:
                self._places.append(place)
        self._seen += len(counts)
        return fresh

    def _bucketed(self, hashes: Hashes, counts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Bucket of each text in each band, bands × texts."""
        import numpy as np
        from rensa import RMinHash

        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.uint64)
        made = RMinHash.digest_matrix_from_flat_token_hashes(hashes << np.uint64(12), offsets, self.bands * self.rows, SEED)
        digests = np.fromiter(chain.from_iterable(made.to_rows()), dtype=np.uint64, count=len(counts) * self.bands * self.rows)
        digests = digests.reshape(len(counts), self.bands, self.rows)
        buckets = np.zeros((len(counts), self.bands), dtype=np.uint64)
        with np.errstate(over="ignore"):
            for row in range(self.rows):
                buckets = _mixed(buckets + digests[:, :, row])
        return np.ascontiguousarray((buckets >> np.uint64(32)).astype(np.uint32).T)

    def pairs(self, threshold: float) -> Iterator[tuple[int, int, float]]:
        """Pairs of different texts that are similar enough, in order."""
        import numpy as np

        codes, n = self._candidates(), len(self._places)
        ends = np.frombuffer(self._ends, dtype=np.int64)
        sizes = ends[1:] - ends[:-1]
        for start in range(0, len(codes), PAIRS_AT_ONCE):
            some = codes[start : start + PAIRS_AT_ONCE]
            left, right = (some // np.uint64(n)).astype(np.int64), (some % np.uint64(n)).astype(np.int64)
            near = np.minimum(sizes[left], sizes[right]) / np.maximum(sizes[left], sizes[right]) >= threshold
            left, right = left[near], right[near]
            loads = np.cumsum(sizes[left] + sizes[right]) // SHINGLES_AT_ONCE
            for part in np.split(np.arange(len(left)), np.flatnonzero(np.diff(loads)) + 1):
                yield from self._verified(left[part], right[part], sizes, threshold)

    def _verified(
        self, left: NDArray[np.int64], right: NDArray[np.int64], sizes: NDArray[np.int64], threshold: float
    ) -> Iterator[tuple[int, int, float]]:
        import numpy as np

        places = np.frombuffer(self._places, dtype=np.int64)
        shared = np.diff(self._matrix[left].multiply(self._matrix[right]).indptr)
        similar = shared / (sizes[left] + sizes[right] - shared)
        enough = similar >= threshold
        yield from zip(places[left[enough]].tolist(), places[right[enough]].tolist(), similar[enough].tolist(), strict=True)

    @cached_property
    def _matrix(self) -> Any:
        """The shingles as a sparse matrix of texts × hashes."""
        import numpy as np
        from scipy.sparse import csr_array

        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        ends = np.frombuffer(self._ends, dtype=np.int64)
        return csr_array((np.ones(len(hashes), dtype=np.int8), hashes, ends), shape=(len(ends) - 1, 2**52))

    def _candidates(self) -> Hashes:
        """Pairs that share a bucket, each once, as `i * texts + j`, sorted."""
        import numpy as np

        if not self._buckets:
            return np.zeros(0, dtype=np.uint64)
        bands = np.concatenate(self._buckets, axis=1)
        self._buckets.clear()
        window = _window(bands)
        met: list[Hashes] = []
        n = np.uint64(bands.shape[1])
        for band in range(self.bands):
            # Beside the most similar: where not all of a bucket can meet, those do that share the next band too.
            keys = bands[band].astype(np.uint64) << np.uint64(32) | bands[(band + 1) % self.bands]
            order = np.argsort(keys).astype(np.uint64)
            met += [np.minimum(i, j) * n + np.maximum(i, j) for i, j in _meetings(order, bands[band][order], window)]
        return _once(np.concatenate(met)) if met else np.zeros(0, dtype=np.uint64)


def _meetings(order: Hashes, buckets: NDArray[np.uint32], window: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Pairs within each bucket of a band, at most `window` places apart. `order`: texts sorted by their bucket."""
    import numpy as np

    alive = np.arange(len(order) - 1)
    for apart in range(1, window + 1):
        alive = alive[alive + apart < len(order)]
        alive = alive[buckets[alive] == buckets[alive + apart]]
        if not len(alive):
            return
        yield order[alive], order[alive + apart]


def _window(bands: NDArray[np.uint32]) -> int:
    """How far apart in a bucket two texts may stand to meet, so that they meet `MOST_MEETINGS` times at most."""
    import numpy as np

    sizes = np.concatenate([np.unique(band, return_counts=True)[1] for band in bands])
    sizes = sizes[sizes > 1].astype(np.float64)
    window = int(sizes.max(initial=1))
    most = max(MOST_MEETINGS, MEETINGS * bands.shape[1])
    while window > 1 and float(np.where(sizes <= window, sizes * (sizes - 1) / 2, sizes * window).sum()) > most:
        window //= 2
    return window
