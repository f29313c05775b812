"""Prompts of a person leave the reference transcript; its name and the others stay."""

from __future__ import annotations

import json
from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.training.erase import erase_transcripts
from tunekeeper.workspace import create_workspace


def test_prompts_of_erased_rows_leave_the_blob_and_the_jobs_folder(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "ws", clock=ManualClock())
    data = b"".join(json.dumps({"id": name, "answer": f"said to {name}"}).encode() + b"\n" for name in ("r1", "req_a", "r2"))
    left = ws.path("work", "job_1", "files", "transcript.jsonl")
    left.parent.mkdir(parents=True)
    left.write_bytes(data)
    digest = ws.blobs.put_bytes(data)
    version = Version(
        id="desk@v1", model="desk", name="v1", major=1, minor=0, base="", base_digest="", dataset="desk/d1", transcript=digest
    )
    with ws.state.write(by="test") as tx:
        save_version(tx, version)
    assert erase_transcripts(ws, {"req_a"}, {"desk/d1": {"r2"}, "desk/d2": {"r9"}}, dry_run=True) == 2
    assert (ws.blobs.read(digest), left.read_bytes()) == (data, data)
    assert erase_transcripts(ws, {"req_a"}, {"desk/d1": {"r2"}, "desk/d2": {"r9"}}) == 2
    assert ws.blobs.read(digest) == left.read_bytes() == b'{"id": "r1", "answer": "said to r1"}\n'
    assert ws.blobs.verify(digest)
