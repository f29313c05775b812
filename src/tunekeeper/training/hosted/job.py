"""What runs in the child of a hosted training: send the rows, begin the job, follow it, take home what it made.

`remote.json` in the work folder says what is there already. It is written before anything is waited for, and whatever died before
it could be written is found at the provider by the name we gave it: nothing is sent or begun twice. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ConfigError, DataError, TunekeeperError, UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.jobs.folder import read_json, write_json
from tunekeeper.training.base import read_base
from tunekeeper.training.hosted.archive import unpack
from tunekeeper.training.hosted.provider import ENDED, Home, Order, Provider, Remote, Terms
from tunekeeper.training.hosted.terms import KNOWN, line
from tunekeeper.training.hosted.wire import Gone, Wire
from tunekeeper.training.outside import admit
from tunekeeper.training.rows import Row, read_rows

ADAPTER = "adapter"
REMOTE = "remote.json"
SHORTEST = 1.0
MISSES = 5
"""Looks at a job that a provider may answer with `not found`: not each of its machines knows at once what another one began."""


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def work(self) -> Path:
        """Scratch folder, the same in every attempt."""

    @property
    def attempt(self) -> int:
        """Which start of this job this is."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """What is known to be at the provider."""

    round: int = 0
    """How often this work was begun anew after its job failed there."""
    files: Mapping[str, str] | None = None
    """Side → id of its uploaded rows."""
    job: str | None = None
    """Id of the job."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Train at a provider. Killed and started again it goes on with the same upload and the same job.

    `input`: provider, endpoint, api_key_env, account, model, objective, hyperparameters, seed, suffix, train and eval (JSONL),
    base (folder, where the adapter comes home), base_digest, most_usd, poll_seconds, give_up_seconds, most_bytes. Returns rows,
    loss, eval_loss, seconds, tokens, cost_usd, whereabouts; leaves `adapter/` where it comes home.
    Raises UserErrors and UpstreamUnavailable.
    """
    began = time.monotonic()
    known = KNOWN[input["provider"]]
    wire = _wire(input, told=lambda why: context.progress(None, note=why))
    provider = known.make(wire, input["account"], input["most_usd"])
    try:
        files, rows = written(input, known.terms, context.work)
        noted = _resumed(provider, input, context)
        key = key_of(input, noted.round)
        noted = _sent(provider, noted, files, key, context)
    finally:
        _forget(context.work)
    noted = _begun(provider, noted, input, key, context)
    remote = _followed(provider, noted.job or "", input, wire, context)
    if remote.state != "done":
        raise UserError(f"{input['provider']} {noted.job}: {remote.said}: {remote.why or 'no reason given'}")
    if not known.terms.comes_home and not remote.model:
        why = f"{input['provider']} {noted.job}: {remote.said}, and no model is named"
        raise UserError(why, fix="repeat the command: it is looked at again")
    if known.terms.comes_home:
        _fetched(provider, noted.job or "", input, context)
    told = {key: value for key, value in asdict(remote).items() if key in ("tokens", "cost_usd")}
    return {
        **told,
        "adapter": ADAPTER if known.terms.comes_home else None,
        "loss": list(remote.loss),
        "eval_loss": list(remote.held),
        "rows": rows,
        "seconds": time.monotonic() - began,
        "final_loss": remote.loss[-1] if remote.loss else None,
        "cpu_seconds": time.process_time(),
        "tokens_per_second": None,
        "machine": {"provider": input["provider"], "job": noted.job},
        "whereabouts": _whereabouts(input, noted.job or "", remote),
    }


def _whereabouts(input: dict[str, Any], job: str, remote: Remote) -> dict[str, Any]:
    """Where the version came from; of a model that stays at the provider also where it answers, and under which name."""
    trained = {"trained_by": input["provider"], "job": job}
    if input["serves"] is None:
        return trained
    return trained | {"hosted": remote.model, "endpoint": input["serves"], "api_key_env": input["api_key_env"]}


def end(input: dict[str, Any], work: Path) -> str:
    """Cancel at the provider what a job that was ended here had begun there; what came of it, in one sentence."""
    _forget(work)
    noted = _read(work)
    if noted is None:
        return "nothing had been sent"
    name = input["provider"]
    if noted.job is None and noted.files is None:
        return f"nothing had been begun at {name}"
    try:
        wire = replace(_wire(input), patience=10.0, timeout=10.0)
        provider = KNOWN[name].make(wire, input["account"], None)
        job = noted.job or provider.find(key_of(input, noted.round))
        if job is None:
            return f"nothing had been begun at {name}"
        provider.cancel(job)
        return f"{name} was told to cancel {job}, which is {provider.look(job).said}"
    except TunekeeperError as error:
        return f"{name} could not be told to cancel {noted.job or 'its job'}, which may go on and cost: {error.message}"


def key_of(input: dict[str, Any], round: int) -> str:
    """Our name of the work at the provider: the same in every attempt, another once a failed job is begun anew."""
    what = {name: value for name, value in input.items() if not name.endswith(("_seconds", "_bytes", "_usd"))}
    return digest_json({"work": what, "round": round}).removeprefix("sha256:")[:16]


def written(input: dict[str, Any], terms: Terms, work: Path) -> tuple[dict[str, Path], int]:
    """The provider's files and the rows to learn. Raises DataError for what its limits would refuse, before anything is sent."""
    rows = _of_objective(read_rows(Path(input["train"])), input["objective"])
    if not terms.least_rows <= len(rows) <= (terms.most_rows or len(rows)):
        least, most = terms.least_rows, terms.most_rows
        raise DataError(
            f"{input['provider']} takes {least} rows or more{f', at most {most:,}' if most else ''}; there are {len(rows)}"
        )
    sides = {"train": rows}
    held = _of_objective(read_rows(Path(input["eval"])), input["objective"], needed=False) if input["eval"] else []
    if len(held) >= terms.least_held:
        sides["eval"] = held
    return {side: _file(work / f"{side}.jsonl", found, input, terms) for side, found in sides.items()}, len(rows)


def _forget(work: Path) -> None:
    """Leave no rows behind: the dataset has them, and there a person can be erased."""
    for side in ("train", "eval"):
        (work / f"{side}.jsonl").unlink(missing_ok=True)


def _file(path: Path, rows: list[Row], input: dict[str, Any], terms: Terms) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(line(row, input["objective"], terms), ensure_ascii=False) + "\n")
    size = path.stat().st_size
    if size > terms.most_bytes:
        raise DataError(f"{input['provider']} takes files of at most {terms.most_bytes:,} bytes; these rows are {size:,}")
    return path


def _of_objective(rows: list[Row], objective: str, *, needed: bool = True) -> list[Row]:
    """The rows that say something to the objective; rows of weight 0 are drawn nowhere."""
    found = [each for row in rows if row.weight > 0 for each in ([row] if objective == "sft" else row.compared)]
    if not found and needed:
        what = "has a rejected answer to learn a preference from" if objective == "dpo" else "has a weight above 0"
        raise DataError(f"none of {len(rows)} rows {what}")
    return found


def _wire(input: dict[str, Any], **how: Any) -> Wire:
    name = input["api_key_env"]
    api_key = os.environ.get(name, "").strip()
    if not api_key:
        raise ConfigError(f"{input['provider']} needs a key and {name} is not set", fix=f"export {name}=…")
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:  # a header's own error would tell the key
        raise ConfigError(f"{name} holds what no key has: a space, a line's end or a letter beyond ASCII", fix=f"export {name}=…")
    return Wire(
        name=input["provider"],
        endpoint=input["endpoint"],
        api_key=api_key,
        key_env=name,
        patience=input["give_up_seconds"],
        shortest=min(SHORTEST, input["poll_seconds"]),
        **how,
    )


def _read(work: Path) -> Noted | None:
    value = read_json(work / REMOTE)
    return None if value is None else Noted(**value)


def _note(work: Path, noted: Noted) -> Noted:
    write_json(work / REMOTE, asdict(noted))
    return noted


def _resumed(provider: Provider, input: dict[str, Any], context: Context) -> Noted:
    """What an earlier attempt left. Asked for anew after its job had ended badly, the work is begun in another round."""
    noted = _read(context.work) or Noted()
    while context.attempt == 1:
        key = key_of(input, noted.round)
        job = noted.job or provider.find(key)
        if job is None or not _ended_badly(provider, job, key):
            break
        noted = Noted(round=noted.round + 1)
    return _note(context.work, noted)


def _ended_badly(provider: Provider, job: str, key: str) -> bool:
    """Whether a job failed, was cancelled, or is neither to be looked at nor listed any more."""
    try:
        return provider.look(job).state in ("failed", "cancelled")
    except Gone:
        return provider.find(key) is None


def _sent(provider: Provider, noted: Noted, files: Mapping[str, Path], key: str, context: Context) -> Noted:
    if noted.job is not None:
        return noted
    ids: dict[str, str] = {}
    for side, file in files.items():  # what was sent is found there again, unless it was deleted meanwhile
        context.progress(0.0, note=f"sending the {side} rows")
        ids[side] = provider.upload(file, f"tunekeeper-{key}-{side}.jsonl")
        noted = _note(context.work, replace(noted, files=dict(ids)))
    return noted


def _begun(provider: Provider, noted: Noted, input: dict[str, Any], key: str, context: Context) -> Noted:
    if noted.job is not None:
        return noted
    assert noted.files is not None
    order = Order(
        model=input["model"],
        objective=input["objective"],
        hyperparameters=input["hyperparameters"],
        train=noted.files["train"],
        held=noted.files.get("eval"),
        seed=input["seed"],
        key=key,
        suffix=input["suffix"],
    )
    return _note(context.work, replace(noted, job=provider.begin(order)))


def _followed(provider: Provider, id: str, input: dict[str, Any], wire: Wire, context: Context) -> Remote:
    """The job once it has ended."""
    missed = 0
    while True:
        try:
            remote, missed = provider.look(id), 0
        except Gone as error:
            missed += 1
            if missed > MISSES:
                raise UserError(error.message, fix="repeat the command: work that is there no more is begun anew") from error
            context.progress(None, note=f"{error.message}; looked for again in {input['poll_seconds']:.0f} s")
            wire.rest(input["poll_seconds"])
            continue
        note = f"{input['provider']} {id}: {remote.said}" + (f", {remote.event}" if remote.event else "")
        more = {"loss": remote.loss[-1]} if remote.loss else {}
        left = {} if remote.eta_seconds is None else {"eta_seconds": remote.eta_seconds}
        context.progress(0.95 * remote.fraction if remote.fraction else None, note=note, remote=remote.said, **more, **left)
        if remote.state in ENDED:
            return remote
        wire.rest(input["poll_seconds"])


def _fetched(provider: Provider, id: str, input: dict[str, Any], context: Context) -> None:
    """The adapter in `adapter/`, unpacked and compared with our base."""
    home: Home = provider  # type: ignore[assignment]
    base = read_base(Path(input["base"]))
    base.refuse_changed(input, "the run")
    archive, opened = context.work / "adapter.archive", context.work / "unpacked"
    if not archive.exists():
        context.progress(0.95, note="taking the adapter home")
        home.fetch(id, archive, input["most_bytes"])
    try:
        admit(unpack(archive, opened, input["most_bytes"]), context.work / ADAPTER, base)
    finally:
        # A broken archive is fetched again the next time.
        archive.unlink(missing_ok=True)
        shutil.rmtree(opened, ignore_errors=True)
