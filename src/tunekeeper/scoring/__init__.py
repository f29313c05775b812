"""Suites and scorers: what is asked, and one answer with its case turned into a score with its reason.

In: suite files, an answer and its case. Out: `Suite`, (value 0..1 or None, reason). Owns: no ledger. Never: asks a model, keeps
a result, decides whether a version may ship.
"""

from __future__ import annotations

from tunekeeper.scoring.formats import check
from tunekeeper.scoring.scorers import SCORERS, Scorer, judged, scorer
from tunekeeper.scoring.suites import load_suite

__all__ = ["SCORERS", "Scorer", "check", "judged", "load_suite", "scorer"]
