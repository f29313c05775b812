"""Dataset versions under a real DVC: it sees a change where our difference does, and what it gives back is the version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, versions
from tunekeeper.data.config import Config
from tunekeeper.data.exports import export
from tunekeeper.workspace import Workspace, create_workspace

Tickets = Callable[..., list[tuple[str, str]]]
Write = Callable[[str, Any], Path]
DVC = REPOSITORY / "benchmarks" / ".peers" / "dvc" / "bin" / "dvc"
"""Of the benchmark's peers, in an environment of its own."""

pytestmark = pytest.mark.skipif(not DVC.exists(), reason="no DVC here (make bench-peers ARGS=dvc)")


class Repository:
    """A Git repository with DVC in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        apart = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(folder.parent)}
        apart |= {f"GIT_{who}_{what}": "ana@desk" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        # DVC's index of what it looked at lies outside the repository unless it is told where.
        self.environ = apart | {"PATH": os.environ["PATH"], "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
        self.git("init", "-q")
        self.dvc("init", "-q")

    def git(self, *words: str) -> str:
        return self._run("git", *words)

    def dvc(self, *words: str) -> str:
        return self._run(str(DVC), *words)

    def commit(self, version: str) -> None:
        """What lies there, under DVC and tagged."""
        self.dvc("add", "-q", "frozen", "rows.jsonl")
        self.git("add", "frozen.dvc", "rows.jsonl.dvc", ".gitignore")
        self.git("commit", "-q", "-m", version)
        self.git("tag", version)

    def changed(self, *revisions: str) -> list[str]:
        """The files that DVC calls modified since a revision, or between two; nothing may be new, gone or renamed."""
        found = json.loads(self.dvc("diff", "--json", *revisions))
        assert [found.get(kind) or [] for kind in ("added", "deleted", "renamed")] == [[], [], []]
        return sorted(each["path"] for each in found.get("modified", ()))

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def chat(i: int, text: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
        "metadata": {"id": f"T{i}"},
    }


def test_dvc_sees_a_change_where_our_difference_does_and_gives_every_version_back(
    ws: Workspace, task: Model, write: Write, tickets: Tickets, tmp_path: Path
) -> None:
    repo = Repository(tmp_path / "repo")
    rows = [chat(i, *pair) for i, pair in enumerate(tickets(60))]

    def put(version: str) -> None:
        shutil.rmtree(repo.folder / "frozen", ignore_errors=True)
        versions.checkout(ws, version, repo.folder / "frozen", model="desk")
        export(ws, version, "openai", "all", repo.folder / "rows.jsonl", model="desk")

    def freeze() -> None:
        data.import_files(ws, task, Config(), [write("rows.jsonl", rows)])
        data.freeze(ws, task, Config())

    freeze()
    put("d1")
    repo.commit("d1")
    put("d1")
    assert json.loads(repo.dvc("status", "--json")) == {}, "the same version gives the same bytes"

    at = next(i for i, each in enumerate(drafts.load_draft(ws, "desk")) if each.split == "train")
    rows[at] = chat(at, tickets(60)[at][0], '{"category": "corrected"}')
    freeze()
    put("d2")
    assert set(json.loads(repo.dvc("status", "--json"))) == {"frozen.dvc", "rows.jsonl.dvc"}
    edited = ["frozen/", "frozen/train.jsonl", "rows.jsonl"]
    assert repo.changed() == edited, "the side that nobody edited is the same file"
    repo.commit("d2")
    assert repo.changed("d1", "d2") == edited
    ours = data.diff(ws, "desk/d1", "desk/d2")
    assert ([each.id for each in ours.edited], ours.counts["added"], ours.counts["removed"]) == ([f"T{at}"], 0, 0)

    repo.git("checkout", "-q", "d1")
    repo.dvc("checkout", "-q")
    other = create_workspace(tmp_path / "other")
    frozen = repo.folder / "frozen"
    done = data.import_files(other, task, Config(), [frozen / "train.jsonl", frozen / "eval.jsonl"])
    assert (done.added, done.dropped) == (60, {})
    first = {e.id: e.fingerprint for e in versions.read_examples(ws, versions.resolve(ws, "d1", "desk"))}
    assert {e.id: e.fingerprint for e in drafts.load_draft(other, "desk")} == first
    assert json.loads(repo.dvc("status", "--json")) == {}
