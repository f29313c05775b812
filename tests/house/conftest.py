from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.source import Source, sources


@pytest.fixture(scope="session")
def ours(repository: Path) -> list[Source]:
    """Every file of the product."""
    found = sources(repository / "src")
    assert len(found) > 100, "the guards looked at too little"
    return found
