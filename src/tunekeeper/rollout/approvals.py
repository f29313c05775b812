"""A named person's consent to one move, bound to what was judged."""

from __future__ import annotations

from datetime import datetime, timedelta

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.rollout import Approval
from tunekeeper.store.ledgers.approvals import find_approvals, save_approval
from tunekeeper.text.redaction import said
from tunekeeper.workspace import Workspace


def approve(
    ws: Workspace,
    *,
    model: str,
    version: str,
    artifact_digest: str,
    suite_digest: str,
    by: str,
    reason: str = "",
    hours: float = 24.0,
) -> Approval:
    """Record consent. Raises UserError without a name. The same consent given twice is one row."""
    if not by.strip():
        raise UserError("an approval needs the name of the person who gives it", fix="add --by NAME")
    found = current(ws, model=model, version=version, artifact_digest=artifact_digest, suite_digest=suite_digest)
    if found is not None and found.by == by:
        return found
    now = ws.clock.utc()
    approval = Approval(
        id=ws.new_id("apr"),
        model=model,
        version=version,
        artifact_digest=artifact_digest,
        suite_digest=suite_digest,
        by=by,
        reason=said(reason),
        expires=now + timedelta(hours=hours),
    )
    with ws.control.write(by=by) as tx:
        return save_approval(tx, approval)


def current(ws: Workspace, *, model: str, version: str, artifact_digest: str, suite_digest: str) -> Approval | None:
    """The newest consent that still counts: same hashes, not expired."""
    with ws.control.read() as tx:
        found = find_approvals(tx, model=model, newest_first=True)
    for approval in found:
        if valid(approval, version, artifact_digest, suite_digest, ws.clock.utc()):
            return approval
    return None


def valid(approval: Approval, version: str, artifact_digest: str, suite_digest: str, now: datetime) -> bool:
    """Whether `approval` covers exactly this move at `now`: any change of the artifact or the gate set voids it."""
    same = approval.version == version and approval.artifact_digest == artifact_digest and approval.suite_digest == suite_digest
    return same and (approval.expires is None or now < approval.expires)
