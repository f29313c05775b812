from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_name_with_line_breaks_cannot_pass_for_another_line_of_the_chain(tell: Any, tmp_path: Path) -> None:
    file, data = tmp_path / "old.jsonl", str(tmp_path / "data")
    record = {"request_id": "r1", "timestamp": "2026-01-05T09:00:00Z", "model_id": "desk", "version": "v1\nreviewers  all\x1b[2J"}
    file.write_text(json.dumps(record) + "\n")
    assert tell("log", "import", str(file), "--data", data).code == 0
    shown = tell("show", "r1", "--data", data)
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert "v1‹LF›reviewers  all‹ESC›[2J" in shown.out
    assert "reviewers  all\n" not in shown.out
