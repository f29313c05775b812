"""Alembic's entry to the migrations of the control database."""

from __future__ import annotations

from alembic import context

from tunekeeper.store.migrate import run

run(context)
