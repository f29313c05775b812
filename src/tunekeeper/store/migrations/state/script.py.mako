"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """What changes, without a way back: the copy made before is the way back."""
    ${upgrades if upgrades else "pass"}
