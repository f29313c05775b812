"""Scoring has no section of its own: a suite file says how its cases are scored, `models/<name>.yaml` what a format is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Limits of scoring."""

    max_suite_mb: int = 64
    """Largest suite or case file that is read, mebibytes."""
