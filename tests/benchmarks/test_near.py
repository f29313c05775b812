"""The benchmark of near duplicates: what judges the pairs, what is measured, and which number becomes which figure."""

from __future__ import annotations

import itertools
import json
import sys

import pytest

from benchmarks import near
from benchmarks.bench import Rounds
from tunekeeper.text.shingles import shingles
from tunekeeper.text.vocabulary import jaccard


def test_the_exact_index_leaves_nothing_out():
    rows = ["\n".join(m["content"] for m in row["messages"]) for row in near.Traffic(3).rows(150)]
    texts = [shingles(text) for text in [*rows, "one two", "One, two!", "", ""]]
    for threshold in (0.5, 0.7, 0.9):
        every = {(i, j) for i, j in itertools.combinations(range(len(texts)), 2) if jaccard(texts[i], texts[j]) >= threshold}
        first = {words: place for place, words in reversed(list(enumerate(texts)))}
        expected = {(i, j) for i, j in every if first[texts[i]] == i and (texts[i] == texts[j] or first[texts[j]] == j)}
        assert near.exact(texts, threshold) == expected
        assert len(expected) > 15


def test_the_traffic_is_the_same_each_time_and_holds_pairs_on_both_sides_of_the_threshold(tmp_path):
    path = near.write(tmp_path / "rows.jsonl", 300)
    assert path.read_bytes() == near.write(tmp_path / "again.jsonl", 300).read_bytes()
    found = near.exact_of(path)
    lines = path.read_text().splitlines()
    texts = [shingles("\n".join(m["content"] for m in json.loads(line)["messages"])) for line in lines]
    assert len(near.exact(texts, 0.4)) > len(found) > len(near.exact(texts, 0.9)) > 10


def test_a_contender_is_measured_with_its_children_and_judged(tmp_path):
    path, out = near.write(tmp_path / "rows.jsonl", 400), tmp_path / "pairs.json"
    truth = near.exact_of(path)
    sample = near.ours(path, out, truth)
    assert (sample["precision"], sample["recall"], sample["pairs"]) == (1.0, 1.0, len(truth))
    assert sample["cpu"] > 0.05
    assert 10 < sample["peak_mb"] < 1000
    wrong = f"import json, sys; open(sys.argv[1], 'w').write(json.dumps({[*map(list, sorted(truth)[1:]), [0, 399]]}))"
    judged = near.measured([sys.executable, "-c", wrong, str(out)], out, truth)
    assert judged["recall"] == judged["precision"] == (len(truth) - 1) / len(truth)


def test_a_contender_that_fails_has_no_figure(tmp_path):
    with pytest.raises(SystemExit, match="ended with 3: no figure"):
        near.measured([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "none.json", None)


def test_figures_are_ratios_of_one_round_and_goals_stand_for_what_was_promised():
    one = {"cpu": 5.0, "peak_mb": 300.0, "precision": 1.0, "recall": 0.99}
    rounds = Rounds([{"ours": one, "datasketch": {**one, "cpu": 50.0}}, {"ours": one | {"cpu": 4.0}, "datasketch": one}])
    alone = {"cpu": 45.0, "peak_mb": 2000.0}
    found = {each.id: each for each in near.table(rounds, alone, promised=True)}
    assert (found["near_cpu_to_datasketch"].value, found["near_cpu_to_datasketch"].spread) == (0.45, (0.1, 0.8))
    assert (found["near_million_to_tenth"].value, found["near_million_to_tenth"].holds) == (10.0, True)
    assert found["near_cpu_to_gaoya"].value is None
    assert not [each.id for each in near.table(rounds, alone, promised=False) if each.goal not in (None, 1.0, 0.95)]


def test_peers_that_are_not_there_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "PEERS", tmp_path)
    assert near.missing() == dict.fromkeys(near.LIBRARIES, 'make bench-peers ARGS="near"')
    assert list(near.contenders(tmp_path / "rows", tmp_path / "out", set())) == ["ours"]
