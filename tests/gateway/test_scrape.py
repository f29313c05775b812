"""A scrape is always answered."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_fault_of_ours_while_scraping_is_told_and_the_next_scrape_works(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bench.gateway.metrics, "text", lambda table: 1 // 0)
        response = bench.get("/metrics")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert bench.get("/metrics").status_code == 200
