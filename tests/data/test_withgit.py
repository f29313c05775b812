"""Dataset versions under Git and DVC: what they write is stable and reads as a difference, what they keep comes back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, versions
from tunekeeper.data.config import Config
from tunekeeper.data.exports import export
from tunekeeper.workspace import Workspace, create_workspace

Tickets = Callable[..., list[tuple[str, str]]]
Write = Callable[[str, Any], Path]


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """`git("diff", …)`: its output, in a repository of its own at `repo`."""
    repo = tmp_path / "repo"
    repo.mkdir()
    apart = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    apart |= {f"GIT_{who}_{what}": "ana@desk" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=repo, env=apart, capture_output=True, text=True, check=True)
        return done.stdout

    run("init", "-q")
    return run


def chat(i: int, text: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
        "metadata": {"id": f"T{i}"},
    }


def test_a_row_that_changed_is_a_line_that_changed_and_a_row_more_is_a_line_more(
    ws: Workspace, task: Model, write: Write, tickets: Tickets, tmp_path: Path, git: Callable[..., str]
) -> None:
    repo = tmp_path / "repo"
    rows = [chat(i, text, answer) for i, (text, answer) in enumerate(tickets(60))]

    def commit(version: str) -> str:
        for old in (repo / "frozen").glob("*.jsonl"):
            old.unlink()
        versions.checkout(ws, version, repo / "frozen", model="desk")
        for format in ("openai", "sharegpt", "alpaca", "csv"):
            export(ws, version, format, "all", repo / f"rows.{format}", model="desk")
        git("add", "-A")
        changed = git("diff", "--cached", "--numstat")
        git("commit", "-q", "--allow-empty", "-m", version)
        return changed

    data.import_files(ws, task, Config(), [write("a.jsonl", rows)])
    data.freeze(ws, task, Config())
    commit("d1")
    assert commit("d1") == "", "the same version gives the same bytes"
    at = next(i for i, e in enumerate(drafts.load_draft(ws, "desk")) if e.split == "train")
    rows[at] = chat(at, tickets(60)[at][0], '{"category": "corrected"}')
    data.import_files(ws, task, Config(), [write("b.jsonl", rows)])
    data.freeze(ws, task, Config())
    names = ["frozen/train.jsonl", "rows.alpaca", "rows.csv", "rows.openai", "rows.sharegpt"]
    assert commit("d2").splitlines() == [f"1\t1\t{name}" for name in names]
    data.import_files(ws, task, Config(), [write("c.jsonl", [*rows, chat(99, "The kettle sings at noon. Customer 99.", "bug")])])
    data.freeze(ws, task, Config())
    added = [line.split("\t")[:2] for line in commit("d3").splitlines()]
    assert added == [["1", "0"]] * 5


def test_what_git_or_dvc_checked_out_comes_back_with_its_ids_and_its_digest(
    ws: Workspace, task: Model, write: Write, tickets: Tickets, tmp_path: Path, git: Callable[..., str]
) -> None:
    repo = tmp_path / "repo"
    data.import_files(ws, task, Config(), [write("a.jsonl", [chat(i, *pair) for i, pair in enumerate(tickets(60))])])
    version = data.freeze(ws, task, Config())
    versions.checkout(ws, version.id, repo / "frozen")
    git("add", "-A")
    git("commit", "-q", "-m", "d1")
    (repo / "frozen" / "train.jsonl").unlink()
    git("checkout", "-q", "--", ".")
    other = create_workspace(tmp_path / "other")
    done = data.import_files(other, task, Config(), [repo / "frozen" / "train.jsonl", repo / "frozen" / "eval.jsonl"])
    assert (done.added, done.dropped) == (60, {})
    rows = {e.id: (e.fingerprint, e.metadata) for e in versions.read_examples(ws, version)}
    assert {e.id: (e.fingerprint, e.metadata) for e in drafts.load_draft(other, "desk")} == rows
    # DVC keeps a file under the digest of its bytes and links it back: the bytes are all that has to be the same.
    again = repo / "again"
    versions.checkout(ws, version.id, again)
    assert [(again / n).read_bytes() for n in ("train.jsonl", "eval.jsonl")] == [
        (repo / "frozen" / n).read_bytes() for n in ("train.jsonl", "eval.jsonl")
    ]
    assert all(json.loads(line)["id"].startswith("T") for line in (again / "train.jsonl").read_text().splitlines())
