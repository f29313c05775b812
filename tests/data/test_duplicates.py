from __future__ import annotations

import random
from collections.abc import Callable

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.duplicates import Groups, exact_duplicates, near_duplicates, similar_pairs
from tunekeeper.text.vocabulary import jaccard, shingles

MakeExample = Callable[..., Example]


def noisy_texts(n: int, seed: int) -> list[str]:
    """Texts that share sentences, as real traffic does, many of them varied by a word or two."""
    rng = random.Random(seed)
    sentences = [" ".join(f"w{rng.randrange(400)}" for _ in range(9)) for _ in range(60)]
    texts = []
    for _ in range(n):
        words = " ".join(rng.sample(sentences, 3)).split()
        texts.append(" ".join(words))
        for _ in range(rng.choice((0, 0, 1))):
            varied = list(words)
            varied[rng.randrange(len(varied))] = f"x{rng.randrange(10**6)}"
            texts.append(" ".join(varied))
    return texts


def test_pairs_are_those_of_an_exact_index() -> None:
    texts = noisy_texts(250, 1)
    sets = [shingles(t) for t in texts]
    exact = {(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if jaccard(sets[i], sets[j]) >= 0.7}
    found = {(i, j) for i, j, _ in similar_pairs(texts, 0.7)}
    assert len(exact) > 50
    assert found <= exact
    assert len(found) >= 0.95 * len(exact)


def test_the_similarity_told_is_the_exact_one() -> None:
    texts = noisy_texts(60, 2)
    for i, j, similarity in similar_pairs(texts, 0.5):
        assert similarity == jaccard(shingles(texts[i]), shingles(texts[j]))


def test_texts_with_the_same_words_are_paired_with_the_first_only() -> None:
    assert list(similar_pairs(["Hello, you there!", "hello you there", "", "HELLO you - there"], 0.9)) == [
        (0, 1, 1.0),
        (0, 3, 1.0),
    ]


def test_a_near_duplicate_names_the_row_it_is_most_like(row: MakeExample) -> None:
    text = " ".join(f"word{i}" for i in range(40))
    rows = [
        row(text, "a", id="a"),
        row(text + " more", "a", id="b"),
        row(text + " more!", "a", id="c"),
        row("short", "a", id="d"),
    ]
    assert [(f.id, f.of) for f in near_duplicates(rows, 0.85)] == [("b", "a"), ("c", "b")]


def test_an_exact_duplicate_names_the_first(row: MakeExample) -> None:
    rows = [row("Hi", "a", id="a"), row("Hi ", "a", id="b"), row("hi", "a", id="c")]
    assert [(f.id, f.of, f.file, f.line) for f in exact_duplicates(rows)] == [("b", "a", "x.jsonl", 1)]


def test_groups_join_transitively() -> None:
    groups = Groups(5)
    groups.join(3, 4)
    groups.join_equal(["a", None, "b", "a", None])
    assert groups.members() == {0: [0, 3, 4], 1: [1], 2: [2]}
