"""What gateway workers obey: the published route table, the proof that they do, and the wait for that proof.

`routes/<n>` is an immutable, checksummed, synced file; `routes/generation` a mapped page whose number says which one counts.
A worker looks at the number before every choice, so no request that starts after a publish is routed by an older table.
Loads no database library: a gateway worker imports this.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import xxhash

from tunekeeper.core.errors import Busy, OurFault
from tunekeeper.core.nouns.serving import RouteTable

KEEP = 3
PAGE = 4096
_AGAIN = "start `tunekeeper up`, which publishes again"
_MAGIC = b"tunekeeper routes 1 "


class RouteUnavailable(OurFault):
    """The published route table cannot be read: requests are refused until it can, never routed by an older one."""


class Cells:
    """A mapped 4 kB page of 8-byte numbers that processes read and write in place; created as zeros."""

    def __init__(self, path: Path) -> None:
        """Opens or makes `path`. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if os.fstat(self.fd).st_size < PAGE:
            os.ftruncate(self.fd, PAGE)
        self._map = mmap.mmap(self.fd, PAGE)
        # A view of native 8-byte numbers moves all eight bytes at once: a reader never sees half of a number.
        self.view = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Unmap and close; locks held through `fd` go."""
        self.view.release()
        self._map.close()
        os.close(self.fd)


@contextmanager
def _cells(path: Path) -> Iterator[Cells]:
    cells = Cells(path)
    try:
        yield cells
    finally:
        cells.close()


def publish(root: Path, table: RouteTable) -> None:
    """Make `table` what every worker obeys from now on: write and sync `routes/<generation>`, then change the mapped number,
    wake the workers, and drop all but the last three files. Publishing the same table again changes nothing. Raises OSError.
    The caller holds the control lock, so publishers never overtake one another."""
    folder = root / "routes"
    folder.mkdir(parents=True, exist_ok=True)
    payload = msgspec.json.encode(table)
    data = _MAGIC + xxhash.xxh3_64_hexdigest(payload).encode() + b"\n" + payload
    path = folder / str(table.generation)
    if not path.exists() or path.read_bytes() != data:
        _write_synced(folder, path, data)
    with _cells(folder / "generation") as cells:
        cells.view[0] = table.generation
        os.fdatasync(cells.fd)
    numbers = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    kept = [n for n in numbers if n <= table.generation][-KEEP:]
    for number in numbers:
        if number not in kept:
            (folder / str(number)).unlink(missing_ok=True)
    wake(root)


def published_generation(root: Path) -> int | None:
    """The number that workers obey now, as long as its file is there; None when nothing whole is published."""
    folder = root / "routes"
    if not (folder / "generation").exists():
        return None
    with _cells(folder / "generation") as cells:
        number = cells.view[0]
    return number if (folder / str(number)).exists() else None


def _write_synced(folder: Path, path: Path, data: bytes) -> None:
    hidden = folder / f".{path.name}.new"
    fd = os.open(hidden, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(hidden, path)
    folder_fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


class PublishedReader:
    """A worker's view of the published route table."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "routes"
        self._cells = Cells(self.folder / "generation")
        self.number = self._cells.view
        self._table = RouteTable(generation=0)

    def generation(self) -> int:
        """The number of the table that counts now; 0 while nothing was ever published. Reads memory: no system call."""
        return self.number[0]

    def current(self) -> RouteTable:
        """The table that counts now, loaded again only when its number changed; an empty one of generation 0 while nothing
        was published. Raises RouteUnavailable when its file is missing, torn or damaged; the next call tries again."""
        if self.number[0] == self._table.generation:
            return self._table
        for _ in range(5):
            number = self.number[0]
            try:
                self._table = load(self.folder / str(number), number) if number else RouteTable(generation=0)
                return self._table
            except FileNotFoundError:
                continue  # three more were published between the look at the number and the open
        raise RouteUnavailable(f"{self.folder / str(self.number[0])} is missing", fix=_AGAIN)

    def close(self) -> None:
        """Unmap the number."""
        self._cells.close()


def load(path: Path, generation: int) -> RouteTable:
    """Read one published file. Raises FileNotFoundError, and RouteUnavailable when it is not whole or of another generation."""
    data = path.read_bytes()
    head, _, payload = data.partition(b"\n")
    if head != _MAGIC + xxhash.xxh3_64_hexdigest(payload).encode():
        raise RouteUnavailable(f"{path} is damaged: its checksum does not hold", fix=_AGAIN)
    try:
        table = msgspec.json.decode(payload, type=RouteTable)
    except msgspec.DecodeError as error:
        raise RouteUnavailable(f"{path} is not a route table: {error}", fix="run the version that wrote it") from error
    if table.generation != generation:
        raise RouteUnavailable(f"{path} holds generation {table.generation}", fix=_AGAIN)
    return table


class WorkerSlot:
    """A gateway worker's own lock, held for life, with the generation it obeys and a socket that wakes it. A worker takes its
    slot before its first read of the table."""

    def __init__(self, root: Path, name: str) -> None:
        """Takes `root`/run/gateway-<name>.lock. Raises Busy when a living worker of that name holds it."""
        self.path = root / "run" / f"gateway-{name}.lock"
        self._cells = Cells(self.path)
        if not _lock(self._cells.fd):
            self._cells.close()
            raise Busy(f"a gateway worker called {name!r} is running", fix="stop it, or take another name")
        self._cells.view[0] = 0
        self._cells.view[1] = os.getpid()
        self.socket_path = self.path.with_suffix(".sock")
        self.socket = _bind(self.socket_path)

    def acknowledge(self, generation: int) -> None:
        """Say that every request from now on is routed by the table of `generation`."""
        self._cells.view[0] = generation

    def drain(self) -> int:
        """Read away the wake-ups that arrived; returns how many."""
        count = 0
        with suppress(BlockingIOError):
            while count < 1000:
                self.socket.recv(16)
                count += 1
        return count

    def close(self) -> None:
        """Give the slot back."""
        self.socket.close()
        self.socket_path.unlink(missing_ok=True)
        self._cells.close()


def _lock(fd: int, tries: int = 200) -> bool:
    # A barrier that looks whether the lock is held takes it for some microseconds: that is no reason to give up.
    for _ in range(tries):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.001)
    return False


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    bound.setblocking(False)
    with short_address(path) as address:
        bound.bind(address)
    return bound


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address for a unix socket at `path` that fits the kernel's 108 bytes however deep the folder lies."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def wake(root: Path, *, but: str | None = None) -> list[str]:
    """Send every worker `but` one a datagram, so that an idle one looks at the generation at once; returns who was reached."""
    reached: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        for path in sorted((root / "run").glob("gateway-*.sock")):
            name = path.name.removeprefix("gateway-").removesuffix(".sock")
            if name == but:
                continue
            # Nobody listens, or has more wake-ups than it can hold: either way there is nothing to add.
            with suppress(OSError), short_address(path) as address:
                sender.sendto(b"1", address)
                reached.append(name)
    return reached


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    name: str
    pid: int
    generation: int


def barrier(
    root: Path,
    generation: int,
    timeout: float = 0.25,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[str], list[tuple[int, str]]]:
    """Wait until every living worker obeys `generation` or a later one, `timeout` real seconds at most. Returns
    `(acknowledged_by, pending)`: worker names, and process id with the reason for each that did not answer in time. A pending
    worker cannot serve an older route either: it reads the number before each choice. Workers that die meanwhile drop out."""
    end = now() + timeout
    while True:
        seen = [worker for path in sorted((root / "run").glob("gateway-*.lock")) if (worker := _look(path)) is not None]
        late = [worker for worker in seen if worker.generation < generation]
        if not late or now() >= end:
            done = [worker.name for worker in seen if worker.generation >= generation]
            return done, [(worker.pid, _why(worker, timeout)) for worker in late]
        sleep(0.001)


def _look(path: Path) -> _Seen | None:
    """What the worker that holds `path` obeys; None when nobody holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        # pread and the mapping share the kernel's page: aligned numbers are seen whole.
        cells = memoryview(os.pread(fd, 16, 0).ljust(16, b"\0")).cast("Q")
        return _Seen(name=path.name.removeprefix("gateway-").removesuffix(".lock"), generation=cells[0], pid=cells[1])
    finally:
        os.close(fd)


def _why(worker: _Seen, timeout: float) -> str:
    try:
        state = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "ended while it was waited for"
    if state in "Tt":
        return "stopped"
    return f"obeys generation {worker.generation}, no answer in {timeout * 1000:.0f} ms"
