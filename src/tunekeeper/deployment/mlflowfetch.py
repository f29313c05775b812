"""An adapter out of an MLflow registry: the files of a registered version, whole and bounded, in a folder of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tunekeeper.core.errors import ArtifactError, ConfigError, NotFound, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment.mlflowpush import FILES
from tunekeeper.deployment.mlflowserver import MlflowServer, Refused
from tunekeeper.deployment.mlflowstore import Store, folders_with, store_of
from tunekeeper.deployment.publish import scratch_folder

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SMALL = 4 << 20
"""Bytes of the longest text file of an adapter."""
MOST = 16 << 30
"""Bytes of the largest adapter."""
WANTED = {SETTINGS: SMALL, WEIGHTS: MOST, "tunekeeper.json": SMALL, "README.md": SMALL, "LICENSE": SMALL}
_NAME = re.compile(r"models:/+(?P<name>[^/:@]+)(?:/(?P<number>\d+|latest)|@(?P<alias>[\w-]+))")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A registered version by its number or alias."""

    name: str
    """The registered model."""
    number: str | None = None
    """Its number, or `latest`."""
    alias: str | None = None
    """Its alias."""

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """An adapter that came home."""

    folder: Path
    """Where it lies, as long as the block lasts."""
    uri: str
    """`models:/NAME/NUMBER`, whatever it was called."""
    files: dict[str, str]
    """Name → digest of what came."""


def is_reference(text: str) -> bool:
    """Whether `text` means a registered version and no folder."""
    return text.startswith("models:/")


def read_reference(text: str) -> Reference:
    """`models:/NAME/3`, `models:/NAME/latest` or `models:/NAME@alias`. Raises UserError."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} names no registered version", fix="write models:/NAME/3 or models:/NAME@champion")
    return Reference(name=unquote(match["name"]), number=match["number"], alias=match["alias"])


@contextmanager
def fetched(server: MlflowServer, reference: Reference, work: Path) -> Iterator[Fetched]:
    """The adapter of a registered version in a scratch folder below `work`, which is gone at the end.

    Only the files of an adapter are taken, each within its bound. Raises as `MlflowServer.ask`; ArtifactError for a version
    without an adapter, with several, or whose files came in part or are not the ones that were exported.
    """
    found = _resolve(server, reference)
    uri = f"models:/{found['name']}/{found['version']}"
    told = server.ask("GET", "model-versions/get-download-uri", query={"name": found["name"], "version": str(found["version"])})
    store = store_of(server, str(told.get("artifact_uri") or ""))
    with scratch_folder(work / "mlflow-adapter") as folder:
        yield Fetched(folder=folder, uri=uri, files=_take(store, folder, uri, _digests(found)))


def _resolve(server: MlflowServer, reference: Reference) -> dict[str, Any]:
    """The registered version as the server tells it. Raises NotFound; UserError for one that is not ready."""
    if reference.alias is not None:
        found = _alias(server, reference)
    elif reference.number == "latest":
        asked = {"filter": f"name='{reference.name}'", "max_results": "1000"}
        rows = list(server.pages("GET", "model-versions/search", "model_versions", asked))
        if not rows:
            raise NotFound(f"{server.url}: no version of {reference.name} is registered")
        found = max(rows, key=lambda row: int(row["version"]))
    else:
        query = {"name": reference.name, "version": str(reference.number)}
        found = server.ask("GET", "model-versions/get", query=query).get("model_version")
    if not isinstance(found, dict) or not found.get("version") or not found.get("name"):
        raise ConfigError(f"{server.url} does not say what {reference} is", fix="check MLFLOW_TRACKING_URI")
    if found.get("status", "READY") != "READY":
        raise UserError(f"{server.url}: {reference} is not ready: {server.shown(str(found.get('status')))}")
    return found


def _alias(server: MlflowServer, reference: Reference) -> Any:
    query = {"name": reference.name, "alias": str(reference.alias)}
    try:
        return server.ask("GET", "registered-models/alias", query=query).get("model_version")
    except Refused as error:
        raise NotFound(error.message) from None  # MLflow calls an alias that it does not have an invalid value


def _take(store: Store, folder: Path, uri: str, digests: dict[str, str]) -> dict[str, str]:
    places = list(folders_with(store, SETTINGS))
    if len(places) != 1:
        what = "no adapter" if not places else f"{len(places)} adapters, and which one is meant is not known"
        raise ArtifactError(f"{uri}: holds {what} ({SETTINGS})", fix="register the PEFT folder itself")
    sizes = {entry.name: entry.bytes for entry in store.ls(places[0]) if not entry.folder}
    if WEIGHTS not in sizes:
        pickled = next((name for name in sorted(sizes) if name.startswith("adapter_model.")), None)
        why = f"only {pickled}, a format that may run code" if pickled else f"no {WEIGHTS}"
        raise ArtifactError(f"{uri}: holds {why}", fix="save the adapter as safetensors")
    return {name: _one(store, places[0], name, folder / name, sizes[name], digests, uri) for name in WANTED if name in sizes}


def _one(store: Store, place: str, name: str, target: Path, size: int | None, digests: dict[str, str], uri: str) -> str:
    """Copy one file and return its digest, held to the size that was told and the digest that was exported."""
    came = store.get(f"{place}/{name}" if place else name, target, WANTED[name])
    if size is not None and came != size:
        raise ArtifactError(f"{uri}: {name} has {size} bytes there and {came} came", fix="repeat the command")
    digest = digest_file(target)
    if digests.get(name, digest) != digest:
        raise ArtifactError(f"{uri}: {name} is not what was exported: {digest}, was {digests[name]}", fix="export it again")
    return digest


def _digests(found: dict[str, Any]) -> dict[str, str]:
    """What our own export said of its files; nothing for a version that others registered."""
    tags = found.get("tags") or ()
    text = next((tag.get("value") for tag in tags if isinstance(tag, dict) and tag.get("key") == FILES), None)
    try:
        told = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(digest) for name, digest in told.items()} if isinstance(told, dict) else {}
