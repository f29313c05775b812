"""`up` and `serve`: which children each of them wants, and the line that says they are ready."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from tunekeeper.core import errors
from tunekeeper.core.errors import ConfigError, OurFault, TunekeeperError
from tunekeeper.processes import seeded
from tunekeeper.processes.children import QUIET, Plan
from tunekeeper.processes.supervisor import Say, Supervisor
from tunekeeper.processes.warm import Nursery, Spare

if TYPE_CHECKING:
    from tunekeeper.config import ProjectConfig, ServeFile
    from tunekeeper.config.project import LogConfig
    from tunekeeper.config.slots import Entry
    from tunekeeper.gateway.options import Options
    from tunekeeper.workspace import Workspace

OWNER_GONE = 5.0
"""Real seconds without a heartbeat after which the owner of a clock's pace is gone."""
GATEWAY = "tunekeeper.gateway.main"
"""Module of a gateway worker."""
SEED = "tunekeeper.processes.seed"
"""Module of the child that commits what a file says."""
SEED_WORKS_WITH = ("tunekeeper.deployment.slots", "tunekeeper.rollout.moves", "tunekeeper.workspace")
"""What it loads when it works."""
SEED_SECONDS = 120.0
"""Longest that committing may take, another writer's turn included."""
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
    with _gateways() as spares:
        spares.keep(1)  # it imports while we read: nothing is started by it
        from tunekeeper.config import load_project

        return _up(project, load_project(project, flags=flags), say, spares, flags)


def _up(project: Path, config: ProjectConfig, say: Say, spares: Nursery, flags: Mapping[str, Any] | None) -> int:
    from tunekeeper.config import environment
    from tunekeeper.config.watching import project_files
    from tunekeeper.deployment.idle import IdleUnloader
    from tunekeeper.deployment.vllmkeeper import Keeper
    from tunekeeper.gateway.options import options_of
    from tunekeeper.processes.converge import Converge
    from tunekeeper.processes.door import Door
    from tunekeeper.processes.models import Models
    from tunekeeper.workspace import create_workspace

    spares.keep(_early(config.gateway.workers))
    environ = environment(project, os.environ)
    ws = create_workspace(project / ".tunekeeper", project=project)
    supervisor = Supervisor(ws.root, _for_children(environ), say, spares)
    models = Models(ws, supervisor)
    with supervisor.at_work(then=models.stop), Door(supervisor, ws.root, config.gateway.host, config.gateway.port) as door:
        _commit(ws, config)
        key = _static_key(ws, environ)
        options = options_of(config.gateway, require_key=True, static_key=key, seals=seals(config))
        models.begin()
        door.open(options, config.gateway.workers)
        door.wait_obeyed()
        supervisor.ensure(keeper_plan(ws.root, config.log))
        if config.log.sinks:
            supervisor.ensure(follower_plan(ws.root, project, config.log))
        if config.worker.enabled:
            supervisor.ensure(_worker_plan(ws, project, config))
        supervisor.chores += [(0.5, heartbeat(ws.root)), (0.5, models.reconcile), (0.5, Converge(ws.root))]
        supervisor.chores.append((5.0, Keeper(ws, environ)))
        again = partial(_obey_again, project, flags, ws, config, say)
        supervisor.chores.append((0.5, _Watch(project, partial(project_files, project), again, say)))
        if days := idle_days(config):
            supervisor.chores.append((5.0, IdleUnloader(ws, days)))
        door.say_ready(models.loading())
        _notice({name: each.sections["serving"] for name, each in config.models.items()}, environ, say)
        return supervisor.run()


def seals(config: ProjectConfig) -> dict[str, str]:
    """Model → public key that seals what its redaction takes out, for the models that have one. Raises ConfigError for a key that
    is none, before any worker starts with it."""
    from tunekeeper.text.seals import Seal

    asked = {name: each.sections["data"].redact_seal for name, each in config.models.items()}
    keys = {name: key for name, key in asked.items() if key is not None}
    for key in keys.values():
        Seal(key)
    return keys


def idle_days(config: ProjectConfig) -> dict[str, float]:
    """Model → clean days after which its standby is unloaded, for the models that ask for it."""
    asked = {name: each.sections["deployment"].unload_after_days for name, each in config.models.items()}
    return {name: days for name, days in asked.items() if days is not None}


def _commit(ws: Workspace, config: ProjectConfig) -> None:
    """Commit and publish what the project's files say about who answers, unless the store is known to say it."""
    wish = {name: (each.sections.get("serving"), each.sections.get("rollout")) for name, each in config.models.items()}
    if seeded.holds(ws.root, wish):
        return
    from tunekeeper.processes.seed import commit_project
    from tunekeeper.rollout.moves import publish_newest

    publish_newest(ws)
    if commit_project(ws, config.models):
        seeded.note(ws.root, wish)


def serve(asked: Serving, *, say: Say) -> int:
    """Run the gateway alone until SIGTERM or Ctrl-C; returns the exit code. Raises as `up`."""
    root = (asked.data or asked.file.parent / ".tunekeeper").absolute()
    with Nursery(SEED, *SEED_WORKS_WITH, environ=os.environ, heard=True) as seeding, _gateways() as spares:
        # They import while we read: nothing is started by it. First the one that has the longest way.
        seeding.keep(0 if asked.config and seeded.noted(root) else 1)
        spares.keep(_early(asked.workers))
        return _serve(asked, root, say, seeding, spares)


def _serve(asked: Serving, root: Path, say: Say, seeding: Nursery, spares: Nursery) -> int:
    from tunekeeper.config import environment
    from tunekeeper.config.serving import load_routing_file, load_serve_file
    from tunekeeper.processes.converge import Converge
    from tunekeeper.processes.door import Door
    from tunekeeper.workspace import create_workspace

    file = load_serve_file(asked.file) if asked.config else load_routing_file(asked.file, asked.model or "")
    environ = environment(asked.file.parent, os.environ)
    supervisor = Supervisor(root, _for_children(environ), say, spares)
    with supervisor.at_work(), Door(supervisor, root, asked.host, asked.port) as door:
        ws = create_workspace(root)
        if asked.routing or not seeded.holds(root, file):
            _seed(root, asked, seeding.take())
        seeding.keep(0)
        door.open(_serving_options(file, ws, door.host, environ), asked.workers)
        door.wait_obeyed()
        supervisor.ensure(keeper_plan(root, file.log))
        if file.log.sinks:
            supervisor.ensure(follower_plan(root, asked.file.parent, file.log))
        supervisor.chores += [(0.5, heartbeat(root)), (0.5, Converge(root))]
        if asked.routing:
            supervisor.chores.append(
                (0.25, _Watch(asked.file, lambda: [asked.file], lambda: _seed(root, asked), say, "the routes of before stay"))
            )
        door.say_ready()
        _notice(file.models, environ, say, root)
        return supervisor.run()


def _notice(served: Mapping[str, Entry], environ: Mapping[str, str], say: Say, root: Path | None = None) -> None:
    from tunekeeper.processes.notices import tell

    tell(served, environ, say, root)


def _early(workers: int) -> int:
    """How many gateway workers import beforehand: more than there are processors would only be in one another's way."""
    return min(workers, len(os.sched_getaffinity(0)))


def _gateways() -> Nursery:
    """No spare yet of gateway workers."""
    return Nursery(GATEWAY, "uvloop", environ={**_for_children(os.environ), **QUIET})


def _serving_options(file: ServeFile, ws: Workspace, host: str, environ: Mapping[str, str]) -> Options:
    """What the workers of `serve` obey. Raises ConfigError for an address that others reach while there is no key."""
    from tunekeeper.gateway.options import Options

    key = _static_key(ws, environ)
    reachable = not _is_loopback(host)
    if reachable and key is None and not _has_keys(ws.root):
        fix = f"tunekeeper key create --data {quote(str(ws.root))}, or set {GATEWAY_KEY}, or listen on 127.0.0.1"
        raise ConfigError(f"{host} can be reached from outside and there is no key", fix=fix)
    return Options(
        durability=file.durability,
        limits=file.limits,
        require_key=reachable,
        static_key=key,
        log_bodies=file.log_bodies,
        probe_seconds=file.probe_seconds,
    )


class _Watch:
    """Runs an action when files have changed; what it says when it fails is an event, and what was before stays."""

    def __init__(
        self, name: Path, files: Callable[[], Iterable[Path]], act: Callable[[], None], say: Say, kept: str | None = None
    ) -> None:
        """`name`: of the files together. `kept`: what stays when they cannot be obeyed, for a line on stderr; None: no line."""
        from tunekeeper.config.watching import FileWatch

        self.kept = kept
        self.name = str(name)
        self.files = FileWatch(files)
        self.act = act
        self.say = say

    def __call__(self) -> None:
        if not self.files.changed():
            return
        try:
            self.act()
            self.say({"event": "reloaded", "file": self.name})
        except TunekeeperError as error:
            self.say({"event": "not_reloaded", "file": self.name, "why": str(error)})
            if self.kept is not None:
                print(f"error: {error}; {self.kept}", file=sys.stderr, flush=True)


def _obey_again(project: Path, flags: Mapping[str, Any] | None, ws: Workspace, begun: ProjectConfig, say: Say) -> None:
    """What the project's files say now about who answers is committed; the worker reads the rest itself. What only a start
    obeys is said. Raises ConfigError, and what committing raises."""
    from tunekeeper.config import load_project

    now = load_project(project, flags=flags)
    _commit(ws, now)
    parts: dict[str, Callable[[ProjectConfig], object]]
    parts = {"gateway": lambda c: c.gateway, "log": lambda c: c.log, "worker": lambda c: c.worker}
    parts |= {"data.redact_seal": seals, "deployment.unload_after_days": idle_days}
    if differs := [name for name, part in parts.items() if part(now) != part(begun)]:
        say({"event": "restart_needed", "what": ", ".join(differs)})


def keeper_plan(root: Path, log: LogConfig) -> Plan:
    """The child that compacts the log, drops what is past its keeping and answers look-ups of body ids."""
    keeping = (("--days", log.days), ("--body-days", log.body_days), ("--max-gb", log.max_gb))
    options = [word for option, bound in keeping if bound is not None for word in (option, f"{bound:g}")]
    command = (sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(root), *options)
    return Plan(name="keeper", command=command, lock=root / "run" / "child-keeper.lock", grace=10.0)


def follower_plan(root: Path, base: Path, log: LogConfig) -> Plan:
    """The child that pushes finished inferences to the sinks of the `log:` section of a file in `base`."""
    sinks = json.dumps([dataclasses.asdict(each) for each in log.sinks])
    where = ("--root", str(root), "--base", str(base))
    command = (sys.executable, "-m", "tunekeeper.notify.follower", *where, "--sinks", sinks)
    speaks = any(each.kind == "stdout" for each in log.sinks)
    return Plan(name="follower", command=command, lock=root / "run" / "child-follower.lock", grace=10.0, stdout=speaks)


def _worker_plan(ws: Workspace, project: Path, config: ProjectConfig) -> Plan:
    command = (
        *(sys.executable, "-m", "tunekeeper.retraining.worker", "--project", str(project)),
        *("--root", str(ws.root), "--interval", str(config.worker.tick_seconds)),
    )
    return Plan(name="worker", command=command, lock=ws.root / "run" / "child-worker.lock", grace=10.0)


def _seed(root: Path, asked: Serving, spare: Spare | None = None) -> None:
    """Commit what the file says, in a child: `spare`, or a new one. Raises what it raised."""
    source = ("--config", str(asked.file)) if asked.config else ("--routing", str(asked.file), "--as", asked.model or "")
    code, said = _ended(spare, ("--root", str(root), *source))
    if code == 0:
        return
    last = said.strip().splitlines()[-1] if said.strip() else ""
    try:
        said = json.loads(last)
        raise getattr(errors, said["kind"], OurFault)(said["message"], fix=said["fix"])
    except (ValueError, KeyError):
        raise OurFault(f"the routes could not be set: {last or f'exit {code}'}") from None


def _ended(spare: Spare | None, words: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and stderr of the seeding child."""
    process = None
    if spare is not None:
        with contextlib.suppress(OSError):
            process = spare.become(words, os.environ, {})
    if process is None:
        nothing, command = subprocess.DEVNULL, (sys.executable, "-m", SEED, *words)
        process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE)
    with process:
        try:
            _, said = process.communicate(timeout=SEED_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise OurFault(f"the routes could not be set within {SEED_SECONDS:.0f} s", fix="tunekeeper down") from None
    return process.returncode, said.decode(errors="replace")


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

    key = environ.get(GATEWAY_KEY, "").strip()  # secrets come out of files, and end as lines do
    return hash_key(key, ws.pepper()) if key else None


def _for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the gateway's own key: workers hold its hash."""
    return {name: value for name, value in environ.items() if name != GATEWAY_KEY}


def _has_keys(root: Path) -> bool:
    from tunekeeper.store import published

    return bool(published.PublishedReader(root).current().keys)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
