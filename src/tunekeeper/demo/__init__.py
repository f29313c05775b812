"""The demo: the whole loop on real parts, offline, in minutes.

In: examples/support_desk. Out: a project folder with a month of history, demo.json, report.html.
Owns: nothing (its journal and the users' own record lie in the project's data directory).
Never: prints a number that this run did not measure.
"""

from __future__ import annotations

from tunekeeper.demo.run import Played, ask, demo
from tunekeeper.demo.screen import Screen
from tunekeeper.demo.summary import screen as summary

__all__ = ["Played", "Screen", "ask", "demo", "summary"]
