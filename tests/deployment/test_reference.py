from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.deployment import reference


def test_a_base_that_would_not_fit_beside_what_serves_users_is_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    for free, fits in ((None, True), (100_000, True), (2_100, False)):
        monkeypatch.setattr(reference, "available", lambda free=free: free)
        assert (reference.too_large(tmp_path) == "") is fits


def test_the_general_prompts_are_chat_rows_whose_last_answer_is_to_be_given() -> None:
    rows = [json.loads(line)["messages"] for line in reference.probes().decode().splitlines()]
    assert len(rows) == len(reference.PROBES)
    assert all((row[-2]["role"], row[-1]["role"]) == ("user", "assistant") for row in rows)
