"""Near duplicates with another library, in its environment: `python nearly.py LIBRARY FILE THRESHOLD OUT`.

The same check as ours, written for each library as it likes best: rows read with orjson, equal ones folded, shingles hashed once,
candidates from 20 bands of 6, exact Jaccard on them. Needs `tunekeeper` on the path for what a word is, and nothing else of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import xxhash

from tunekeeper.text.shingles import shingles

BANDS, ROWS = 20, 6
Sets = list[frozenset[str]]


def read(path: Path) -> Iterator[tuple[int, frozenset[str]]]:
    """Place and shingles of each row of the file."""
    with path.open("rb") as file:
        for place, line in enumerate(file):
            said = (m["content"] for m in orjson.loads(line)["messages"] if m["role"] != "system")
            yield place, shingles("\n".join(said))


def hashed(words: Iterable[str]) -> list[int]:
    """32 bits of each shingle: a library's own hash of bytes takes several times as long."""
    return [xxhash.xxh32_intdigest(word.encode()) for word in words]


def same(value: int) -> int:
    """A hash of a hash."""
    return value


def datasketch(sets: Sets, threshold: float) -> Iterator[tuple[int, int]]:
    """Candidates of datasketch: digests in bulk, then inserted and asked."""
    from datasketch import MinHash, MinHashLSH

    digests = MinHash.bulk([hashed(words) for words in sets], num_perm=BANDS * ROWS, hashfunc=same)
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    for j, digest in enumerate(digests):
        for i in index.query(digest):
            yield i, j
        index.insert(j, digest, check_duplication=False)


def gaoya(sets: Sets, threshold: float) -> Iterator[tuple[int, int]]:
    """Candidates of gaoya: shingles given as they are, hashed by it, filtered by its own estimate below the threshold."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, threshold - 0.15, BANDS, ROWS, None, list, id_container="vec")
    index.par_bulk_insert_docs(list(range(len(sets))), sets)
    for start in range(0, len(sets), 1000):
        for j, found in enumerate(index.par_bulk_query(sets[start : start + 1000]), start):
            yield from ((i, j) for i in found if i < j)


def main(library: str, path: Path, threshold: float, out: Path) -> int:
    """Write the pairs as JSON."""
    first: dict[frozenset[str], int] = {}
    pairs = [(first[words], place) for place, words in read(path) if words and first.setdefault(words, place) != place]
    sets, places = list(first), list(first.values())
    for i, j in {"datasketch": datasketch, "gaoya": gaoya}[library](sets, threshold):
        shared = len(sets[i] & sets[j])
        if shared >= threshold * (len(sets[i]) + len(sets[j]) - shared):
            pairs.append((places[i], places[j]))
    out.write_text(json.dumps(pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
