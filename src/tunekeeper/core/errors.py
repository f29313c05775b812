"""Every error Tunekeeper raises on purpose, as a tree.

    TunekeeperError
    ├── UserError                exit 2   what the user gave is wrong; the message names it and the way out
    │   ├── ConfigError                   a key, value or line of tunekeeper.yaml or models/*.yaml
    │   ├── DataError                     a row, column or file of data
    │   ├── ArtifactError                 a model file: truncated, foreign, of another base, not allowed
    │   └── NotFound                      a name or id that no ledger knows
    ├── GateFailed               exit 1   a gate judged and said no
    ├── Inconclusive             exit 3   not enough evidence to judge
    ├── OutsideError             exit 4   something outside is missing or busy
    │   ├── PortInUse
    │   ├── DiskFull
    │   ├── MissingExtra
    │   ├── UpstreamUnavailable
    │   └── Busy
    └── OurFault                 exit 70  a promise of our own is broken
        ├── Conflict                      the row changed since it was read (rev)
        └── LeaseLost                     another controller took over (epoch)

A message is one line: what is wrong, where (file, line or field), and the command that mends it. Faces print it as it is.
"""

from __future__ import annotations

OK = 0
INTERRUPTED = 130


class TunekeeperError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command line returns."""

    exit_code = 70

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        """`message`: one line that names the thing. `fix`: the command or edit that mends it, without a full stop."""
        self.message = message
        self.fix = fix
        super().__init__(message if fix is None else f"{message} (fix: {fix})")


class UserError(TunekeeperError):
    """What the user gave is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """A key, value or line of the configuration is wrong."""


class DataError(UserError):
    """A row, column or file of data is wrong."""


class ArtifactError(UserError):
    """A model file is truncated, foreign, of another base, or of a kind that is not allowed."""


class NotFound(UserError):
    """A name or id that no ledger knows."""


class GateFailed(TunekeeperError):
    """A gate judged and said no."""

    exit_code = 1


class Inconclusive(TunekeeperError):
    """There is not enough evidence to judge."""

    exit_code = 3


class OutsideError(TunekeeperError):
    """Something outside Tunekeeper is missing or busy."""

    exit_code = 4


class PortInUse(OutsideError):
    """Another process listens on the port."""


class DiskFull(OutsideError):
    """The disk has no room left."""


class MissingExtra(OutsideError):
    """An optional package is not installed."""


class UpstreamUnavailable(OutsideError):
    """A model server, hosted endpoint or receiver does not answer."""


class Busy(OutsideError):
    """Another process holds what this one needs."""


class OurFault(TunekeeperError):
    """A promise of our own is broken."""

    exit_code = 70


class Conflict(OurFault):
    """The row changed since it was read."""


class LeaseLost(OurFault):
    """Another controller took the lease over; its epoch is newer than ours."""
