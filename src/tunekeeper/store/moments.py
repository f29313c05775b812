"""A moment as a person or another program wrote it."""

from __future__ import annotations

import re
from datetime import datetime

_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?[ T]+(.+))?")
"""The day first, as half of Europe writes a date with dots; nobody means the month by it."""


def written_moment(text: str) -> datetime:
    """What a text says: ISO 8601, or `31.01.2026 14:05`. Without a zone where it names none. Raises ValueError."""
    found = _DOTTED.fullmatch(text.strip())
    if found is None:
        return datetime.fromisoformat(text.strip())
    day, month, year, hours = found.groups()
    early = "0" if hours and hours[1:2] == ":" else ""  # 9:30
    return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{early}{hours or '00:00'}")
