"""Leases with epochs: who may act as a controller now, and proof in every write that it still may.

An expiry is real boot time plus the boot's id, never workspace time: a compressed or stepped clock takes no lease away. The
epoch only grows; a write that carries an older one is refused inside its own transaction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tunekeeper.core.errors import LeaseLost
from tunekeeper.store.transactions import Read, Write


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to act under a name for a while."""

    name: str
    """What is controlled, e.g. `worker`."""
    owner: str
    """Who holds it."""
    epoch: int
    """Grows by one with every new holder."""
    seconds: float
    """Real seconds it lasts from each renewal."""
    expires: float
    """Boot seconds (server seconds on PostgreSQL) at which another may take it."""


@cache
def boot_id() -> str:
    """The kernel's name of this boot; a lease of another boot has expired."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def now(tx: Read) -> tuple[str, float]:
    """(boot id, seconds) to judge leases by: of this machine on SQLite, of the server where one database has many machines."""
    if not tx.connection.shared:
        return boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME)
    return "server", float(tx.connection.rows("select extract(epoch from clock_timestamp())")[0][0])


def acquire(tx: Write, name: str, owner: str, seconds: float) -> Lease | None:
    """Take the lease `name`; None while somebody else holds it. Taking it again oneself gives a new epoch as well."""
    boot, at = now(tx)
    row = _found(tx, name)
    if row is not None and row.owner != owner and row.boot == boot and row.expires > at:
        return None
    epoch = 1 if row is None else row.epoch + 1
    tx.connection.change(
        f"insert into {tx.database}_leases (name, owner, epoch, boot, expires) values (:name, :owner, :epoch, :boot, :expires) "
        "on conflict (name) do update set owner = :owner, epoch = :epoch, boot = :boot, expires = :expires",
        name=name,
        owner=owner,
        epoch=epoch,
        boot=boot,
        expires=at + seconds,
    )
    return Lease(name=name, owner=owner, epoch=epoch, seconds=seconds, expires=at + seconds)


def renew(tx: Write, lease: Lease) -> Lease:
    """The same lease with a later expiry. Raises LeaseLost when its epoch is no longer the newest."""
    check(tx, lease)
    boot, at = now(tx)
    later = f"update {tx.database}_leases set boot = :boot, expires = :expires where name = :name"
    tx.connection.change(later, boot=boot, expires=at + lease.seconds, name=lease.name)
    return Lease(name=lease.name, owner=lease.owner, epoch=lease.epoch, seconds=lease.seconds, expires=at + lease.seconds)


def release(tx: Write, lease: Lease) -> None:
    """Let the next one in at once. The row stays, so that epochs never start again; a lease that was lost is left alone."""
    freed = f"update {tx.database}_leases set expires = 0.0 where name = :name and epoch = :epoch and owner = :owner"
    tx.connection.change(freed, name=lease.name, epoch=lease.epoch, owner=lease.owner)


def check(tx: Read, lease: Lease) -> None:
    """Raise LeaseLost unless `lease` is the newest of its name. An expired lease that nobody took is still good."""
    row = _found(tx, lease.name)
    if row is not None and row.epoch == lease.epoch and row.owner == lease.owner:
        return
    taken = "gone" if row is None else f"held by {row.owner} with epoch {row.epoch}"
    raise LeaseLost(f"lease {lease.name!r} of {lease.owner} (epoch {lease.epoch}) is {taken}")


def alive(tx: Read, name: str) -> bool:
    """Whether somebody holds the lease `name` now."""
    boot, at = now(tx)
    row = _found(tx, name)
    return row is not None and row.boot == boot and row.expires > at


class _Row(NamedTuple):
    owner: str
    epoch: int
    boot: str
    expires: float


def _found(tx: Read, name: str) -> _Row | None:
    rows = tx.connection.rows(f"select owner, epoch, boot, expires from {tx.database}_leases where name = :name", name=name)
    return _Row(*rows[0]) if rows else None
