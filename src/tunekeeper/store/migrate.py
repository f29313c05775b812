"""Migrations: two numbered histories, each with its own version table, each run in one transaction.

Only `Database.upgrade` comes here, so that nothing else pays for Alembic. A process that is killed between two statements
leaves the exact old schema; a second starter waits at the lock and finds the work done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from tunekeeper.core.errors import UserError
from tunekeeper.store import schema, sqlite

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext

_HOME = Path(__file__).parent / "migrations"


def heads(database: str) -> list[str]:
    """The newest migrations of one history: one number, unless two were written side by side."""
    return list(ScriptDirectory.from_config(_config(database)).get_heads())


def upgrade(engine: sa.Engine, database: str, path: Path | None) -> Path | None:
    """Bring a database to the newest schema, under the lock of its file. Returns the copy made before, None for a new one."""
    config = _config(database)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.connect() as connection:
        before = _version(connection, database)
    if before == schema.HEAD[database]:
        return None
    if before is not None and before not in known:
        raise UserError(
            f"the {database} database has schema {before}, which this release does not know", fix="install the newer release"
        )
    copy = _copy(path, before) if path is not None and before is not None else None
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return copy


def run(context: EnvironmentContext | Any) -> None:
    """What both `env.py` files do: migrate over the connection that `upgrade` opened, inside its transaction."""
    database = str(context.config.get_main_option("database"))
    context.configure(
        connection=context.config.attributes["connection"],
        version_table=schema.version_table(database),
        render_as_batch=True,
    )
    context.run_migrations()


def _config(database: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HOME / database).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("database", database)
    return config


def _version(connection: sa.Connection, database: str) -> str | None:
    table = schema.version_table(database)
    if not sa.inspect(connection).has_table(table):
        return None
    found = connection.execute(sa.text(f"select version_num from {table}")).scalar_one_or_none()
    return None if found is None else str(found)


def _copy(path: Path, before: str) -> Path:
    number = 1
    while (target := path.with_name(f"{path.name}.before-{before}-{number}")).exists():
        number += 1
    sqlite.backup(path, target)
    return target
