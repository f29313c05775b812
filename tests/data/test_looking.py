from __future__ import annotations

import os
import signal
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, judged, lines, looking, versions
from tunekeeper.data.config import Config
from tunekeeper.data.examples import encode
from tunekeeper.data.looking import Looker
from tunekeeper.data.tallies import SIDES
from tunekeeper.store.runs import Known, Looked, load
from tunekeeper.workspace import Workspace

SECTION = Config()


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
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def look(path: Path) -> list[Looked]:
    with Looker(path, path.with_name("none.runs")) as looker:
        return list(looker.looked(Known(seed=5)))


def rows_of(seen: list[Looked]) -> list[bytes]:
    return [line for some in seen for line in some.text.splitlines(keepends=True)]


def test_what_is_seen_is_every_row_with_its_side_and_what_is_counted_of_it(rows: list[Example], draft: Path) -> None:
    (seen,) = look(draft)
    canonical = [encode(each) for each in rows]
    assert seen.text == b"".join(canonical)
    assert [SIDES[side] for side in seen.sides] == [each.split for each in rows]
    told = [mark for _, mark in map(lines.look, canonical)]
    counted = zip(seen.topics, map(bool, seen.made_up), array("d", seen.dates), strict=True)
    assert [str(each) for each in counted] == [str(tuple(mark)) for mark in told]


def test_a_process_of_its_own_sees_the_same(draft: Path, apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SPAN", 20_000)
    with Looker(draft, draft.with_name("none.runs")) as looker:
        assert looker.pid is not None
        there = list(looker.looked(Known()))
        assert looker.pid is not None, "it was there to the end"
    monkeypatch.setattr(looking, "APART", 1 << 40)
    here = look(draft)
    assert [replace(each, seed=0, marks=b"", hashes=b"") for each in there] == [
        replace(e, seed=0, marks=b"", hashes=b"") for e in here
    ]
    assert len({each.seed for each in there}) == 1


def test_where_the_process_is_killed_the_rest_is_looked_at_here(rows: list[Example], tmp_path: Path, apart: None) -> None:
    path = tmp_path / "draft.jsonl"
    long = [replace(each, metadata={**each.metadata, "more": "y" * 20_000}) for each in rows]
    path.write_bytes(b"".join(encode(each, with_split=True) for each in long))
    with Looker(path, tmp_path / "none.runs") as looker:
        assert looker.pid is not None
        some = looker.looked(Known())
        seen = [next(some) for _ in range(2)]
        os.kill(looker.pid, signal.SIGKILL)
        seen += some
    assert len(seen) > 4
    assert rows_of(seen) == [encode(each) for each in long]
    assert len({each.seed for each in seen}) == 1, "hashes that are kept together are made alike"


def test_a_draft_that_was_replaced_before_it_was_locked_is_looked_at_anew(rows: list[Example], draft: Path, apart: None) -> None:
    with Looker(draft, draft.with_name("none.runs")) as looker:
        other = draft.with_name("other")
        other.write_bytes(b"".join(encode(each, with_split=True) for each in rows[5:]))
        other.replace(draft)
        assert rows_of(list(looker.looked(Known()))) == [encode(each) for each in rows[5:]]


ASKER = """\
import os, sys
from pathlib import Path
from tunekeeper.data import looking
from tunekeeper.store.runs import Known
looking.APART, looking.SPAN = 1, 20_000
os.sched_getaffinity = lambda _: {0, 1}
looker = looking.Looker(Path(sys.argv[1]), Path(sys.argv[1] + ".none"))
next(looker.looked(Known()))
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
        with pytest.raises(DataError, match="a stored row is damaged"):
            look(draft)


def test_no_draft_is_as_good_as_an_empty_one(tmp_path: Path, apart: None) -> None:
    assert look(tmp_path / "none") == []
    assert looking.state_of(tmp_path / ("x" * 5000)) == (0, 0, 0)
    (tmp_path / "draft.jsonl").write_bytes(b"")
    assert look(tmp_path / "draft.jsonl") == []


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


def test_rows_of_the_last_version_are_not_looked_at_again_whoever_looks(
    ws: Workspace, task: Model, rows: list[Example], apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts.save_draft(ws, "desk", rows)
    first = data.freeze(ws, task, SECTION)
    for size in (1, 1 << 40):
        monkeypatch.setattr(looking, "APART", size)
        drafts.save_draft(ws, "desk", [replace(each, metadata={"n": size}) if n == 300 else each for n, each in enumerate(rows)])
        known = load(ws.rows.runs_of("desk"))
        assert known.manifest == data.versions.latest(ws, "desk").manifest
        with looking.ahead(ws.root, "desk") as looker:
            assert (looker.pid is None) == (size > 1)
            seen = list(looker.looked(known))
            assert len(rows_of(seen)) == 1
            version = data.freeze(ws, task, SECTION)
        assert version.digest != first.digest


def test_what_was_seen_beside_another_version_does_not_count(
    ws: Workspace, task: Model, rows: list[Example], apart: None
) -> None:
    drafts.save_draft(ws, "desk", rows)
    first = data.freeze(ws, task, SECTION)
    edited = [replace(each, metadata={}) for each in rows]
    with looking.ahead(ws.root, "desk") as looker:
        drafts.save_draft(ws, "desk", edited)
        second = data.freeze(ws, task, SECTION)
        drafts.save_draft(ws, "desk", rows)
        third = data.freeze(ws, task, SECTION, looker=looker)
    assert (third.digest, third.parent) == (first.digest, second.id)
    assert [*versions.read_examples(ws, third)] == [*versions.read_examples(ws, first)]


def test_how_good_a_draft_is_says_the_process_that_looked_at_it(draft: Path, apart: None) -> None:
    good = judged.of_draft(draft, None, SECTION, {"type": "json"})
    assert good is not None
    with Looker(draft, draft.with_name("none.runs")) as looker:
        assert looker.quality() is None, "nobody asked it"
        looker.ask_quality(SECTION, {"type": "json"})
        list(looker.looked(Known()))
        assert looker.quality() == good
    with Looker(draft, draft.with_name("none.runs")) as looker:
        looker.ask_quality(SECTION, {"type": "json"})
        list(looker.looked(Known()))
        assert looker.pid is not None
        os.kill(looker.pid, signal.SIGKILL)
        os.waitid(os.P_PID, looker.pid, os.WEXITED | os.WNOWAIT)
        assert looker.quality() in (None, good), "it may have said so before"
    with Looker(draft.with_name("none.jsonl"), draft.with_name("none.runs")) as looker:
        looker.ask_quality(SECTION, {})
        assert (looker.pid, looker.quality()) == (None, None)


def test_a_version_is_as_good_whoever_looked_at_its_draft(
    ws: Workspace, task: Model, rows: list[Example], apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = [replace(each, messages=(*each.messages[:-1], {"role": "assistant", "content": ""})) for each in rows[:100]]
    reports = []
    for size in (1, 1 << 40):
        monkeypatch.setattr(looking, "APART", size)
        for each in ([*poor, *rows[100:]], [*poor[:50], *rows[50:]]):
            drafts.save_draft(ws, "desk", each)
            reports.append(data.freeze(ws, task, SECTION).report["quality"])
    assert reports[:2] == reports[2:]
    assert [(each["of"], each["rows"]) for each in reports] == [(600, 600)] * 4
    assert reports[0]["clean"] < reports[1]["clean"] < 1
    drafts.save_draft(ws, "desk", rows)
    assert data.freeze(ws, task, SECTION, report={"quality": None}).report["quality"] is None, "who knows better is believed"


def test_the_spans_of_a_draft_are_whole_lines_and_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    for end in (b"", b"\n"):
        path.write_bytes(b"\n".join(b"%d" % n * (n % 90) for n in range(500)) + end)
        whole = path.read_bytes()
        with path.open("rb") as file:
            spans = list(looking.spans(file, 300))
        assert b"".join(whole[a:b] for a, b in spans) == whole
        assert all(whole[:b].endswith(b"\n") for _, b in spans[:-1])
        assert len(spans) > 50
