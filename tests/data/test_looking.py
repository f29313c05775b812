from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.patience import until
from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, lines, looking, versions
from tunekeeper.data.config import Config
from tunekeeper.data.examples import encode
from tunekeeper.data.looking import Looker
from tunekeeper.store.runs import NONE, Looked
from tunekeeper.workspace import Workspace

SECTION = Config()
PARSE = pytest.mark.parametrize("parse", [True, False], ids=["first", "later"])


@pytest.fixture
def rows(row: Any) -> list[Example]:
    """Rows of which some say their side elsewhere, or are not canonical when they are written."""
    made = [row(f"q{n} {'x' * (n % 40)}", "a", id=f"t{n}", category=f"c{n % 3}", synthetic=n % 5 == 0) for n in range(600)]
    made = [replace(each, split="eval" if n % 10 == 0 else "train") for n, each in enumerate(made)]
    return [replace(each, weight=0.5) if n % 100 == 50 else each for n, each in enumerate(made)]


@pytest.fixture
def draft(rows: list[Example], tmp_path: Path) -> Path:
    path = tmp_path / "draft.jsonl"
    whole = [encode(each, with_split=True) for each in rows]
    whole[7] = b" " + whole[7]
    path.write_bytes(b"".join(whole))
    return path


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a draft is and however few processors there are, a process of its own looks at it."""
    monkeypatch.setattr(looking, "APART", 1)
    monkeypatch.setattr(looking, "EARLY", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def look(path: Path, parse: bool) -> list[Looked]:
    with Looker(path) as looker:
        return list(looker.looked(NONE, parse))


def rows_of(seen: list[Looked]) -> list[bytes]:
    return [line for some in seen for line in some.lines]


@PARSE
def test_what_is_seen_is_every_row_with_its_side_and_what_is_counted_of_it(rows: list[Example], draft: Path, parse: bool) -> None:
    (seen,) = look(draft, parse)
    canonical = [encode(each) for each in rows]
    assert seen.lines == (canonical if parse else [*canonical[:7], b" " + canonical[7], *canonical[8:]])
    assert [lines.SIDES[side] for side in seen.sides] == [each.split for each in rows]
    assert sum(seen.counts) == len(rows)
    assert len(seen.marks) == len(seen.turns) == len(seen.counts) == -sum(seen.turns)
    told = [mark for _, mark in map(lines.look, canonical)]
    assert [str(each) for each in zip(*seen.told, strict=True)] == ([str(tuple(mark)) for mark in told] if parse else [])


@PARSE
def test_a_process_of_its_own_sees_the_same(draft: Path, parse: bool, apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    there = look(draft, parse)
    monkeypatch.setattr(looking, "APART", 1 << 40)
    here = look(draft, parse)
    assert [str(each) for each in there] == [str(each) for each in here]


@PARSE
def test_where_the_process_is_killed_the_rest_is_looked_at_here(rows: list[Example], tmp_path: Path, parse: bool) -> None:
    path = tmp_path / "draft.jsonl"
    long = [replace(each, metadata={**each.metadata, "more": "y" * 20_000}) for each in rows]
    path.write_bytes(b"".join(encode(each, with_split=True) for each in long))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "APART", 1)
        patch.setattr(looking, "EARLY", 2)
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        with Looker(path) as looker:
            assert looker.pid is not None
            some = looker.looked(NONE, parse)
            seen = [next(some) for _ in range(3)]
            os.kill(looker.pid, signal.SIGKILL)
            seen += some
    assert len(seen) > 4
    assert rows_of(seen) == [encode(each) for each in long]


ASKER = """\
import os, sys
from pathlib import Path
from tunekeeper.data import looking
from tunekeeper.store.runs import NONE
looking.APART, looking.EARLY, looking.SPAN = 1, 0, 20_000
os.sched_getaffinity = lambda _: {0, 1}
looker = looking.Looker(Path(sys.argv[1]))
next(looker.looked(NONE, True))
print(looker.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_ends_with_the_one_that_asked(draft: Path) -> None:
    command = [sys.executable, "-c", ASKER, str(draft)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        asker.kill()
    until(lambda: not runs(pid))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("bad", [b"not a row\n", b'{"id": \xff}\n'], ids=["no JSON", "no UTF-8"])
def test_a_line_that_is_no_row_is_the_same_failure_whoever_looks(
    draft: Path, bad: bytes, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft.write_bytes(draft.read_bytes() + bad)
    for size in (1, 1 << 40):
        monkeypatch.setattr(looking, "APART", size)
        with pytest.raises(orjson.JSONDecodeError):
            look(draft, True)


def test_no_draft_is_as_good_as_an_empty_one(tmp_path: Path, apart: None) -> None:
    assert look(tmp_path / "none", True) == []
    (tmp_path / "draft.jsonl").write_bytes(b"")
    assert look(tmp_path / "draft.jsonl", True) == []


def test_versions_are_the_same_whoever_looked_at_their_draft(
    ws: Workspace, task: Model, rows: list[Example], apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "SPAN", 20_000)
    found = []
    for size in (1, 1 << 40):
        monkeypatch.setattr(looking, "APART", size)
        changed = [replace(each, metadata={"n": size}) if n % 60 == 0 else each for n, each in enumerate(rows)]
        for each in (rows, changed, changed[5:], rows):
            drafts.save_draft(ws, "desk", each)
            version = data.freeze(ws, task, SECTION)
            assert [*versions.read_examples(ws, version)] == sorted(each, key=lambda e: e.split == "eval")
            found.append(version.digest)
    assert found[0] == found[3] == found[4] == found[7]
    assert len(set(found)) == 5


def test_a_run_that_is_known_is_not_looked_into(
    ws: Workspace, task: Model, rows: list[Example], apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts.save_draft(ws, "desk", rows)
    data.freeze(ws, task, SECTION)
    asked: list[int] = []
    real: Callable[..., Looked] = looking.look_at

    def counting(*given: Any) -> Looked:
        seen = real(*given)
        asked.append(len(seen.lines))
        return seen

    monkeypatch.setattr(looking, "APART", 1 << 40)
    monkeypatch.setattr(looking, "look_at", counting)
    drafts.save_draft(ws, "desk", [replace(each, metadata={}) if n == 300 else each for n, each in enumerate(rows)])
    data.freeze(ws, task, SECTION)
    assert 1 <= sum(asked) < 40
