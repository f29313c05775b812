"""The files that versions are measured with are what a draft is, and the figures are those of the rounds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.bench import Rounds
from tunekeeper.data.examples import decode, encode


def test_the_two_files_are_drafts_of_which_one_and_a_half_percent_differ(tmp_path: Path) -> None:
    first, second = data.write(tmp_path, 2000)
    one, other = first.read_bytes().splitlines(keepends=True), second.read_bytes().splitlines(keepends=True)
    changed = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    assert 10 <= len(changed) <= 60
    for line in (one[0], changed[0][1]):
        assert encode(decode(line), with_split=True) == line
    before, after = map(decode, changed[0])
    assert (before.id, before.messages[1], before.split) == (after.id, after.messages[1], after.split)
    assert before.messages[2] != after.messages[2]
    assert before.fingerprint != after.fingerprint
    assert 600 <= sum(map(len, one)) / len(one) <= 800, "about 728 bytes a row"


def test_commands_are_timed_with_their_memory_and_one_that_fails_ends_it(tmp_path: Path) -> None:
    ran = data.run(tmp_path, ["sh", "-c", "echo done > made; echo said"])
    assert (ran.said, (tmp_path / "made").read_text(), data.size(tmp_path)) == ("said\n", "done\n", 5e-6)
    assert ran.wall > 0
    assert ran.peak > 0
    with pytest.raises(SystemExit, match="no such thing"):
        data.run(tmp_path, ["sh", "-c", "echo no such thing; exit 3"])


def test_a_peer_that_is_not_there_is_not_measured_and_goals_stand_where_they_were_set() -> None:
    rng = random.Random(1)
    keys = [f"{when}_{what}" for when in ("first", "second") for what in ("s", "cpu_s", "mb", "peak_mb")]
    mine = dict.fromkeys([*keys, "diff_s", "diff_command_s", "checkout_s", "peak_mb"], 1.0)
    rounds = Rounds([{"ours": mine, "git": {key: 2.0 + rng.random() for key in keys}}])
    found = {each.id: each for each in data.figures(rounds, promised=True)}
    assert found["first_commit_to_git"].holds is True
    assert (found["second_commit_to_dvc"].value, found["second_commit_to_dvc"].goal) == (None, 0.55)
    assert {each.goal for each in data.figures(rounds, promised=False)} == {None}
