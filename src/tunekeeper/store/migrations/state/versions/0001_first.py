"""The first tables of the state database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
DATABASE = "state"
LEDGERS = (
    *("datasets", "reviews", "runs", "versions", "artifacts", "exams", "scores", "suite_locks"),
    *("signals", "baselines", "alerts", "triggers", "cycles", "jobs"),
)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _ledger(name: str) -> None:
    op.create_table(
        name,
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=True),
        sa.Column("due", sa.Float(53), nullable=True),
        sa.Column("key", sa.Text, nullable=True),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("rev", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_model", name, ["model", "seq"])
    op.create_index(f"ix_{name}_state", name, ["state", "due"])
    op.create_index(f"ix_{name}_key", name, ["key"])


def _leases() -> None:
    op.create_table(
        f"{DATABASE}_leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )


def _audit() -> None:
    name = f"{DATABASE}_audit"
    op.create_table(
        name,
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        *(sa.Column(text, sa.Text, nullable=False) for text in ("by", "ledger", "id")),
        sa.Column("rev", sa.Integer, nullable=False),
        *(sa.Column(text, sa.Text, nullable=False) for text in ("at", "detail")),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_row", name, ["ledger", "id"])


def _outbox() -> None:
    name = f"{DATABASE}_outbox"
    op.create_table(
        name,
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due", sa.Float(53), nullable=True),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_state", name, ["state", "seq"])


def upgrade() -> None:
    """Every table, empty."""
    for name in LEDGERS:
        _ledger(name)
    _leases()
    _audit()
    _outbox()
