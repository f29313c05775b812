"""`up` and `serve`: which children each of them wants, and the line that says they are ready."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.config import ProjectConfig, ServeFile, environment, load_project
from tunekeeper.config.project import LogConfig
from tunekeeper.core import errors
from tunekeeper.core.errors import ConfigError, OurFault, TunekeeperError
from tunekeeper.gateway.options import Options, options_of
from tunekeeper.processes.children import Plan
from tunekeeper.processes.door import Door
from tunekeeper.processes.supervisor import Say, Supervisor
from tunekeeper.store import published

if TYPE_CHECKING:
    from tunekeeper.workspace import Workspace

OWNER_GONE = 5.0
"""Real seconds without a heartbeat after which the owner of a clock's pace is gone."""
GATEWAY_KEY = "TUNEKEEPER_GATEWAY_KEY"
"""Variable with a key that the gateway takes besides those of the workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What `serve` was asked for."""

    config: Path | None = None
    """FILE of `--config`."""
    routing: Path | None = None
    """FILE of `--routing`."""
    model: str | None = None
    """MODEL of `--as`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port; 0 takes a free one."""
    workers: int = 1
    """Gateway processes."""
    data: Path | None = None
    """Data directory; None: `.tunekeeper/` beside FILE."""

    @property
    def file(self) -> Path:
        """The file that was named."""
        found = self.config or self.routing
        if found is None:
            raise errors.UserError("serve needs a file", fix="tunekeeper serve --config FILE")
        return found.absolute()


def up(project: Path, *, say: Say, flags: Mapping[str, Any] | None = None) -> int:
    """Run everything of a project until SIGTERM or Ctrl-C; returns the exit code.

    Raises ConfigError, PortInUse, Busy before anything is started. `flags` as of `load_project`.
    """
    config = load_project(project, flags=flags)
    from tunekeeper.processes.engines import Engines
    from tunekeeper.rollout.moves import publish_newest
    from tunekeeper.workspace import create_workspace

    environ = environment(project, os.environ)
    ws = create_workspace(project / ".tunekeeper", project=project)
    supervisor = Supervisor(ws.root, _for_children(environ), say)
    models = Engines(ws, supervisor)
    with supervisor.at_work(then=models.stop), Door(supervisor, ws.root, config.gateway.host, config.gateway.port) as door:
        publish_newest(ws)
        door.open(options_of(config.gateway, require_key=True, static_key=_static_key(ws, environ)), config.gateway.workers)
        supervisor.ensure(keeper_plan(ws.root, config.log))
        if config.worker.enabled:
            supervisor.ensure(_worker_plan(ws, project, config))
        supervisor.chores += [(0.5, heartbeat(ws.root)), (0.5, models.reconcile)]
        door.wait_ready()
        return supervisor.run()


def serve(asked: Serving, *, say: Say) -> int:
    """Run the gateway alone until SIGTERM or Ctrl-C; returns the exit code. Raises as `up`."""
    from tunekeeper.config.serving import load_routing_file, load_serve_file

    file = load_serve_file(asked.file) if asked.config else load_routing_file(asked.file, asked.model or "")
    root = (asked.data or asked.file.parent / ".tunekeeper").absolute()
    environ = environment(asked.file.parent, os.environ)
    supervisor = Supervisor(root, _for_children(environ), say)
    with supervisor.at_work(), Door(supervisor, root, asked.host, asked.port) as door:
        _seed(root, asked)
        door.open(_serving_options(file, root, asked.host, environ), asked.workers)
        supervisor.ensure(keeper_plan(root, file.log))
        supervisor.chores.append((0.5, heartbeat(root)))
        if asked.routing:
            supervisor.chores.append((0.25, _Watch(asked.file, lambda: _seed(root, asked), say)))
        door.wait_ready()
        return supervisor.run()


def _serving_options(file: ServeFile, root: Path, host: str, environ: Mapping[str, str]) -> Options:
    """What the workers of `serve` obey. Raises ConfigError for an address that others reach while there is no key."""
    from tunekeeper.workspace import open_workspace

    key = _static_key(open_workspace(root), environ)
    reachable = not _is_loopback(host)
    if reachable and key is None and not _has_keys(root):
        fix = f"tunekeeper key create --data {root}, or set {GATEWAY_KEY}, or listen on 127.0.0.1"
        raise ConfigError(f"{host} can be reached from outside and there is no key", fix=fix)
    return Options(
        durability=file.durability, limits=file.limits, require_key=reachable, static_key=key, log_bodies=file.log_bodies
    )


class _Watch:
    """Runs an action when a file has changed; what it says when it fails is an event, and what was before stays."""

    def __init__(self, path: Path, act: Callable[[], None], say: Say) -> None:
        self.path = path
        self.act = act
        self.say = say
        self.seen = self._stamp()

    def __call__(self) -> None:
        stamp = self._stamp()
        if stamp == self.seen or stamp is None:
            return
        self.seen = stamp
        try:
            self.act()
            self.say({"event": "reloaded", "file": str(self.path)})
        except TunekeeperError as error:
            self.say({"event": "not_reloaded", "file": str(self.path), "why": str(error)})

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def keeper_plan(root: Path, log: LogConfig) -> Plan:
    """The child that compacts the log, drops what is past its keeping and answers look-ups of body ids."""
    keeping = (("--days", log.days), ("--body-days", log.body_days))
    options = [word for option, days in keeping if days is not None for word in (option, f"{days:g}")]
    command = (sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(root), *options)
    return Plan(name="keeper", command=command, lock=root / "run" / "child-keeper.lock", grace=10.0)


def _worker_plan(ws: Workspace, project: Path, config: ProjectConfig) -> Plan:
    command = (
        *(sys.executable, "-m", "tunekeeper.retraining.worker", "--project", str(project)),
        *("--root", str(ws.root), "--interval", str(config.worker.tick_seconds)),
    )
    return Plan(name="worker", command=command, lock=ws.root / "run" / "child-worker.lock", grace=10.0)


def _seed(root: Path, asked: Serving) -> None:
    """Commit what the file says, in a child. Raises what it raised."""
    source = ("--config", str(asked.file)) if asked.config else ("--routing", str(asked.file), "--as", asked.model or "")
    command = [sys.executable, "-m", "tunekeeper.processes.seed", "--root", str(root), *source]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode == 0:
        return
    last = ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else ""
    try:
        said = json.loads(last)
        raise getattr(errors, said["kind"], OurFault)(said["message"], fix=said["fix"])
    except (ValueError, KeyError):
        raise OurFault(f"the routes could not be set: {last or f'exit {ended.returncode}'}") from None


def heartbeat(root: Path) -> Callable[[], None]:
    """A chore that keeps a workspace's own clock running at the pace of the world, where it has one by then.

    A hurried or frozen clock belongs to whoever set its pace and keeps its heart beating (the demo); once that one is gone, time
    goes on at the pace of the world.
    """
    from tunekeeper.store.clockfile import CompressedClock

    found: list[CompressedClock] = []

    def beat() -> None:
        if not found and (root / "clock").exists():
            found.append(CompressedClock(root))
        if not found:
            return
        clock = found[0]
        if clock.factor() != 1.0:
            if clock.unattended() < OWNER_GONE:
                return
            clock.set_factor(1.0)
        clock.heartbeat()

    return beat


def _static_key(ws: Workspace, environ: Mapping[str, str]) -> str | None:
    from tunekeeper.gateway.auth import hash_key

    key = environ.get(GATEWAY_KEY)
    return hash_key(key, ws.pepper()) if key else None


def _for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the gateway's own key: workers hold its hash."""
    return {name: value for name, value in environ.items() if name != GATEWAY_KEY}


def _has_keys(root: Path) -> bool:
    return bool(published.PublishedReader(root).current().keys)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
