"""Near duplicates against an index that compares everything: nothing wrong is found, and hardly anything missed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
from scipy.sparse import csr_array

from tunekeeper.data import nearness
from tunekeeper.data.nearness import FEW, bands_for, near_pairs
from tunekeeper.text.shingles import shingles

Pairs = dict[tuple[int, int], float]


def exact(texts: Sequence[str], threshold: float) -> Pairs:
    """Every pair at or above the threshold, from the product of the matrix of texts and shingles with itself."""
    sets = [shingles(text) for text in texts]
    first: dict[frozenset[str], int] = {}
    found = {(first[s], i): 1.0 for i, s in enumerate(sets) if s and first.setdefault(s, i) != i}
    numbers: dict[str, int] = {}
    rows = list(first.values())
    places = [(row, numbers.setdefault(each, len(numbers))) for row, i in enumerate(rows) for each in sets[i]]
    matrix = csr_array(([1] * len(places), tuple(zip(*places, strict=True))), shape=(len(rows), len(numbers)))
    shared = (matrix @ matrix.T).tocoo()
    for a, b, both in zip(*(each.tolist() for each in (*shared.coords, shared.data)), strict=True):
        i, j = rows[a], rows[b]
        similarity = both / (len(sets[i]) + len(sets[j]) - both)
        if i < j and similarity >= threshold:
            found[i, j] = similarity
    return found


def vocabulary(rng: random.Random, size: int) -> list[str]:
    return ["".join(rng.choices("abcdefghijklmnopqrst", k=rng.randint(2, 9))) for _ in range(size)]


def traffic(rng: random.Random, n: int) -> list[str]:
    """Texts that share whole sentences, many of them an earlier one with some words changed, some only in case and marks."""
    words = vocabulary(rng, 900)
    sentences = [" ".join(rng.choices(words, k=rng.randint(5, 12))) for _ in range(120)]
    texts = [". ".join(rng.choices(sentences, k=rng.randint(1, 5))) for _ in range(n // 2)]
    while len(texts) < n:
        changed = rng.choice(texts).split()
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            changed[rng.randrange(len(changed))] = rng.choice(words)
        texts.append(rng.choice((str.upper, str.title, str.strip))(" ".join(changed)))
    return rng.sample(texts, n)


def short(rng: random.Random, n: int) -> list[str]:
    words = vocabulary(rng, 6)
    return [" ".join(rng.choices(words, k=rng.randint(0, 8))) for _ in range(n)]


def forms(rng: random.Random, n: int) -> list[str]:
    """One long form; every row resembles all others by about 0.65, and some others by more."""
    words = vocabulary(rng, 2000)
    form = " ".join(rng.choices(words, k=40))
    kinds = [rng.choices(words, k=11) for _ in range(n // 8)]
    return [f"{form} {' '.join(rng.sample(words, 1) + rng.choice(kinds)[1:])}" for _ in range(n)]


def chinese(rng: random.Random, n: int) -> list[str]:
    letters = "我的订单在哪里需要帮助退款发货地址电话号码更换账户密码登录失败怎么办"
    texts = ["".join(rng.choices(letters, k=rng.randint(6, 25))) for _ in range(n // 3)]
    return texts + [text[:-1] + "吗？" for text in texts] + [text[1:] for text in texts]


@pytest.mark.parametrize("threshold", [0.7, 0.85])
@pytest.mark.parametrize("make", [traffic, short, forms, chinese])
def test_the_pairs_are_those_of_an_exact_index(make: Callable[[random.Random, int], list[str]], threshold: float) -> None:
    texts = make(random.Random(f"{make.__name__}{threshold}"), 1200)
    assert len(texts) > FEW
    found = {(i, j): similarity for i, j, similarity in near_pairs(texts, threshold)}
    expected = exact(texts, threshold)
    assert len(expected) > 50
    assert {pair: expected.get(pair) for pair in found} == found
    assert len(found) >= 0.97 * len(expected)


@pytest.mark.parametrize("make", [traffic, short, forms, chinese])
def test_few_texts_are_all_compared(make: Callable[[random.Random, int], list[str]]) -> None:
    texts = make(random.Random(make.__name__), FEW - 10)
    pairs = list(near_pairs(texts, 0.6))
    assert {(i, j): similarity for i, j, similarity in pairs} == exact(texts, 0.6)
    assert len(pairs) == len(exact(texts, 0.6)) > 10


def test_texts_with_the_same_words_are_paired_with_the_first_only() -> None:
    texts = ["Hello, you there!", "hello you there", "", "HELLO you - there", "..."] + [
        f"unique{i} text{i} {i}" for i in range(FEW)
    ]
    assert list(near_pairs(texts, 0.9)) == [(0, 1, 1.0), (0, 3, 1.0)] == list(near_pairs(texts[:5], 0.9))


def test_texts_without_words_are_like_nothing() -> None:
    assert list(near_pairs(["", "?!", "…"] * FEW, 0.5)) == [] == list(near_pairs([], 0.5))
    assert list(near_pairs(["", "a b c"] + ["!"] * FEW + ["A, b: c"], 0.5)) == [(1, FEW + 2, 1.0)]


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0])
def test_a_pair_at_the_threshold_is_found_nearly_always(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert bands * rows <= nearness.HASHES
    assert threshold < 0.1 or 1 - (1 - threshold**rows) ** bands >= nearness.FOUND


def test_no_word_is_too_long_or_too_odd() -> None:
    odd = ["x" * 100_000 + " \ud800 end", "\ud800 \udfff", "\x00\x01", "a" * 5000]
    texts = odd + [f"{text} more{i}" for i, text in enumerate(odd)] + [f"filler{i} {i} {i}" for i in range(FEW)]
    assert {(i, j): s for i, j, s in near_pairs(texts, 0.6)} == exact(texts, 0.6)


def test_where_not_all_of_a_bucket_can_meet_the_most_similar_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearness, "MOST_MEETINGS", 40_000)
    texts = forms(random.Random(5), 1500)
    found = {(i, j) for i, j, _ in near_pairs(texts, 0.85)}
    expected = exact(texts, 0.85)
    assert found <= expected.keys()
    assert len(found) >= 0.9 * len(expected) > 100


def test_long_texts_are_verified_in_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = traffic(random.Random(9), FEW + 200)
    whole = list(near_pairs(texts, 0.7))
    monkeypatch.setattr(nearness, "SHINGLES_AT_ONCE", 40)
    assert list(near_pairs(texts, 0.7)) == whole
    assert len(whole) > 50


def test_another_process_finds_the_same() -> None:
    code = (
        "import random; from tests.data.test_nearness import forms; from tunekeeper.data.nearness import near_pairs;"
        "print(list(near_pairs(forms(random.Random(1), 700), 0.8)))"
    )
    other = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True)
    assert other.stdout == f"{list(near_pairs(forms(random.Random(1), 700), 0.8))}\n" != "[]\n"
