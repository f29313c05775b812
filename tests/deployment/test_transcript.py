from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.transcript import read_transcript

LINE: dict[str, Any] = {
    "id": "p0", "messages": [{"role": "user", "content": "hi"}], "rendered": "hi", "prompt_ids": [1, 2], "answer": "yes",
    "answer_ids": [3, 4], "logprobs": [-0.5, -0.1], "finish_reason": "stop", "tools": [{"type": "function"}],
}  # fmt: skip


def test_lines_come_back_in_order_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({**LINE, "id": f"p{i}", "finish_reason": "length"}) for i in range(3)) + "\n\n")

    found = read_transcript(path, 2)

    assert [r.id for r in found] == ["p0", "p1"]
    assert (found[0].answer_ids, found[0].stopped, found[0].tools) == ((3, 4), False, ({"type": "function"},))
    assert len(read_transcript(path)) == 3


@pytest.mark.parametrize(
    "line", ["{", "[]", json.dumps({**LINE, "logprobs": [1.0]}), json.dumps({**LINE, "prompt_ids": ["x"]}), '{"id": 1}']
)
def test_a_broken_line_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + line + "\n")

    with pytest.raises(ArtifactError, match=r"t\.jsonl:2"):
        read_transcript(path)
