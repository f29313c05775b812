"""Public checks of the seams: what every engine, scorer, notifier and finder of names must keep, ours and those from elsewhere.

Each check takes an implementation with the little that it needs to be tried, returns None when the contract is kept, and raises
AssertionError with one sentence that names the broken promise. No test framework is needed.
"""

from __future__ import annotations

from tunekeeper.testing.contracts.engines import check_engine
from tunekeeper.testing.contracts.names import check_name_finder
from tunekeeper.testing.contracts.notifiers import check_notifier
from tunekeeper.testing.contracts.scorers import check_scorer

__all__ = ["check_engine", "check_name_finder", "check_notifier", "check_scorer"]
