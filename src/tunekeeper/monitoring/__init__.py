"""Stage 5: watches what is served, and says so when it gets worse.

In: inferences, feedback, reviews. Out: signals, baselines, alerts, triggers.
Owns: signals, baselines, alerts, triggers.
Never: changes a route, opens a cycle, or calls silence healthy.
"""

from __future__ import annotations

from tunekeeper.monitoring.watch import watch

__all__ = ["baseline", "measure", "rules", "watch", "watchdog"]
