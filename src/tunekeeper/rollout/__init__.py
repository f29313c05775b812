"""Stage 4b: traffic moves, and comes back.

In: a version and its verdicts. Out: a route the gateway obeys, a closed rollout.
Owns: rollouts, routes, approvals, incidents, promotions.
Never: measures quality itself, or waits in place.
"""

from __future__ import annotations

from tunekeeper.rollout.moves import rollback

__all__ = ["approvals", "canary", "drill", "incidents", "moves", "rollback", "stage"]
