"""`tunekeeper export vllm`: a version, or an adapter folder, into a running vLLM, beside what it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.versions import version_of
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.core.nouns.training import Version
    from tunekeeper.deployment.config import Config
    from tunekeeper.deployment.transcript import Reference
    from tunekeeper.deployment.vllmadapter import Wanted
    from tunekeeper.deployment.vllmload import Served
    from tunekeeper.workspace import Workspace

app = frame.group("Load versions into vLLM.")


@app.command("vllm")
def vllm(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Version name or id, or the beginning of it (v1.0).")
    ] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="PEFT adapter folder, without a project.")] = None,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="Base that the adapter was trained on.")] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="The server; default: the model file's, http://127.0.0.1:8000.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name there, with --adapter; its digest is added.")] = None,
    there: Annotated[str | None, typer.Option("--there", help="The --adapter folder as the server names it.")] = None,
    transcript: Annotated[
        Path | None, typer.Option("--transcript", help="Reference transcript to compare answers with, with --adapter.")
    ] = None,
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", help="Environment variable with the server's key.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="As a whole model, also where vLLM could put the adapter on.")] = False,
    arm: Annotated[bool, typer.Option("--arm", help="Put the verified version into the model's standby slot.")] = False,
    unload: Annotated[bool, typer.Option("--unload", help="Take it away again when it is verified.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Name of the model, where versions share a name.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Load a version's adapter under a name of its own and compare it with training at the endpoint. Exit 1: it differs and was
    unloaded again.

    Example: tunekeeper export vllm v1.0 --endpoint http://127.0.0.1:8000 --arm
    """
    if (version is None) == (adapter is None):
        raise UserError("export vllm needs a VERSION of the project or --adapter FOLDER, not both", fix="tunekeeper model ls")
    if arm and (adapter is not None or unload or dry_run):
        raise UserError("--arm goes with a VERSION that stays loaded", fix="leave out --adapter, --unload and --dry-run")
    if adapter is not None:
        if merged:
            raise UserError(
                "a folder is merged by `export merge`", fix="tunekeeper export merge --checkpoint BASE --adapter FOLDER"
            )
        wanted, references = _folder(adapter, checkpoint, name, there, transcript)
        served = _load(wanted, references, endpoint, api_key_env, unload=unload, dry_run=dry_run)
        return _emit(served, None, json, unload=unload, dry_run=dry_run)
    if any(each is not None for each in (checkpoint, name, there, transcript)):
        raise UserError(
            "a version has its own base, name and transcript", fix="leave out --checkpoint, --name, --there, --transcript"
        )
    ws, found, section = _version(dir, model, version)
    served = _load_version(ws, found, section, endpoint, api_key_env, merged=merged, unload=unload, dry_run=dry_run)
    slot = _arm(ws, found, section, api_key_env, served) if arm else None
    return _emit(served, slot, json, unload=unload, dry_run=dry_run)


def _folder(
    adapter: Path, checkpoint: Path | None, name: str | None, there: str | None, transcript: Path | None
) -> tuple[Wanted, list[Reference]]:
    from tunekeeper.deployment.adapter import folder_digest
    from tunekeeper.deployment.transcript import read_transcript
    from tunekeeper.deployment.vllmadapter import Wanted, adapter_name, read_base

    if checkpoint is None:
        raise UserError("an adapter needs the base that it was trained on", fix="add --checkpoint FOLDER")
    if name is None:
        raise UserError("an adapter folder has no name of its own", fix="add --name support-desk:v1.0")
    base, folder = read_base(checkpoint), adapter.resolve()
    called = adapter_name(name, folder_digest(folder))
    references = read_transcript(transcript) if transcript else []
    return Wanted(base=base, name=called, folder=folder, there=there or str(folder)), references


def _version(dir: Path | None, model: str | None, name: str | None) -> tuple[Workspace, Version, Config]:
    ws, found = version_of(dir, model, name)
    return ws, found, frame.project(dir)[1].model(found.model).sections["deployment"]


def _load_version(
    ws: Workspace,
    version: Version,
    section: Config,
    endpoint: str | None,
    api_key_env: str | None,
    *,
    merged: bool,
    unload: bool,
    dry_run: bool,
) -> Served:
    from tunekeeper.deployment.vllmjob import described, wanted_of
    from tunekeeper.deployment.vllmslots import pointed_at

    asked = described(ws, section, version, endpoint=endpoint, merged=merged)
    if asked["whole"]:
        asked |= {"endpoint": _whole(asked, section, endpoint, api_key_env or section.api_key_env, dry_run=dry_run)}
    wanted, references = wanted_of(asked)
    return _load(
        wanted, references, asked["endpoint"], api_key_env or section.api_key_env, limits=asked["limits"], answers=asked["own"],
        guarded=pointed_at(ws, asked["name"]), unload=unload, dry_run=dry_run,
    )  # fmt: skip


def _whole(asked: dict[str, Any], section: Config, endpoint: str | None, api_key_env: str | None, *, dry_run: bool) -> str:
    """The endpoint that serves the version's whole model, which is made first. Raises UpstreamUnavailable when none does."""
    from tunekeeper.deployment.vllmjob import endpoints_of
    from tunekeeper.deployment.vllmwhole import make, must_be_started, server_of
    from tunekeeper.engines.engine import key_of

    if asked["merge"] and not dry_run:
        frame.say(f"merging into {asked['whole']} ({asked['merge']['why']})")
        make(asked)
    endpoints = endpoints_of(section, endpoint)
    found = server_of(endpoints, asked, key_of(api_key_env))
    if found is None:
        raise must_be_started(asked, endpoints)
    return found


def _load(
    wanted: Wanted,
    references: list[Reference],
    endpoint: str | None,
    api_key_env: str | None,
    *,
    limits: dict[str, Any] | None = None,
    answers: bool = True,
    guarded: bool = False,
    unload: bool,
    dry_run: bool,
) -> Served:
    from tunekeeper.deployment.parity import Limits
    from tunekeeper.deployment.vllmload import load, plan
    from tunekeeper.engines.engine import key_of
    from tunekeeper.engines.vllm import DEFAULT_ENDPOINT, VllmServer

    server = VllmServer(endpoint or DEFAULT_ENDPOINT, key_of(api_key_env))
    if dry_run:
        return plan(server, wanted, references, answers=answers)
    if unload and guarded:
        raise UserError(f"{wanted.name} is what a route points at", fix="leave out --unload")
    served = load(server, wanted, references, Limits(**(limits or {})), answers=answers, guarded=guarded, told=frame.say)
    if unload and wanted.name is not None:
        server.unload(wanted.name)
    return served


def _arm(ws: Workspace, version: Version, section: Config, api_key_env: str | None, served: Served) -> str:
    """The slot that a verified version waits in, and the file of llama.cpp that its exams ran, where there is one."""
    import dataclasses

    from tunekeeper.deployment import vllmslots
    from tunekeeper.deployment.verbs import file_engine, file_kind, find_artifact

    artifact = find_artifact(ws, version, file_engine(section), file_kind(section))
    if api_key_env is not None:
        section = dataclasses.replace(section, api_key_env=api_key_env)
    return vllmslots.arm(ws, section, version, artifact, served).id


def _emit(served: Served, slot: str | None, json: bool, *, unload: bool, dry_run: bool) -> int:
    fields = {name: getattr(served, name) for name in served.__dataclass_fields__}
    lines = _said(served, unload=unload, dry_run=dry_run)
    return frame.emit({**fields, "slot": slot, "dry_run": dry_run}, json, [*lines, *([f"  in slot {slot}"] if slot else [])])


def _said(served: Served, *, unload: bool, dry_run: bool) -> list[str]:
    base = f"  base: {served.base} from {served.root}, " + (
        "the one it was trained on by its digest" if served.proof == "digest" else "which cannot be read here"
    )
    if dry_run:
        return [f"would load {served.name} from {served.path}" if served.loaded else f"{served.name} is there", base]
    done = "loaded" if served.loaded else "was there already"
    lines = [f"{served.name} {done}, verified: ask {served.endpoint} for it", base]
    if served.parity is None:
        lines.append("  answers were not compared: there is no reference transcript")
    else:
        lines += [f"  {'ok  ' if check.ok else 'DIFF'} {check.layer}: {check.detail}" for check in served.parity.checks]
    return [*lines, *(f"  note: {note}" for note in served.notes), *(["  unloaded again"] if unload else [])]
