"""Who trains: our own loop in a child here, TRL's in its place, a provider, or somebody's trainer as a command. One seam, two
verbs.

Whoever it is, a training is a job: what it is asked stands here before anything is begun, what it left is read by `harvest`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.core.registry import Registry
from tunekeeper.training.base import PARTS, read_base
from tunekeeper.training.config import Config
from tunekeeper.training.hosted.job import written
from tunekeeper.training.hosted.provider import Values
from tunekeeper.training.hosted.terms import KNOWN
from tunekeeper.training.orders import base_folder, job_input, order_of, require_extra, rows_file
from tunekeeper.training.recipe import Recipe, idle, resolve, warnings
from tunekeeper.training.rows import learned_places, read_rows, weight_of
from tunekeeper.training.tradeoffs import notes
from tunekeeper.workspace import Workspace

HOSTED, COMMAND, TRL = "train-hosted", "train-command", "train-trl"
HERE = ("local", "trl")
"""Back ends that learn from the base on this machine, and can continue an adapter."""
PLAIN = resolve(Config())


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One training, checked and ready to be begun."""

    kind: str
    """The kind of its job."""
    input: dict[str, Any]
    """What the job is given."""
    recipe: dict[str, Any]
    """The recipe as the run's record has it; with `backend` where it does not run here."""
    base: str
    """Folder of the base, or its name at the provider."""
    digests: Mapping[str, Any]
    """Its `base_digest`, of the weights or, where nobody shows us them, of the name; `tokenizer_digest` and `template_digest`,
    None where they stay elsewhere."""
    warnings: tuple[str, ...]
    """What is unusual or weaker, one sentence each."""
    env: tuple[str, ...] = ()
    """Variables that the child may see."""
    timeout: float | None = None
    """Seconds that it may take."""


class Trainer(Protocol):
    """Learns a dataset."""

    def recorded(self, section: Config, recipe: Recipe) -> dict[str, Any]:
        """The recipe as the run's record has it. Raises ConfigError for a value that this trainer cannot do."""

    def ask(
        self, ws: Workspace, task: Model, section: Config, data: DatasetVersion, parent: Version | None, recipe: Recipe
    ) -> Ask:
        """What a job is asked. Raises ConfigError, ArtifactError, MissingExtra; nothing has been begun."""


def trainer_of(section: Config) -> Trainer:
    """The trainer that a section names."""
    found: Trainer = TRAINERS.load(section.backend)()
    return found


def outline(ws: Workspace, task: Model, section: Config, data: DatasetVersion, changes: dict[str, Any] | None) -> dict[str, Any]:
    """What a training elsewhere would be asked, {backend, rows, bytes, asked, warnings}: checked as the run itself would be, and
    nothing is sent. `bytes` is the size of the provider's files, None for a command. Raises what the run would."""
    ask = trainer_of(section).ask(ws, task, section, data, None, resolve(section, changes))
    shown: dict[str, Any] = {"backend": section.backend, "rows": data.train, "bytes": None}
    if ask.kind == HOSTED:
        with tempfile.TemporaryDirectory(dir=ws.path("work")) as folder:
            files, shown["rows"] = written(ask.input, KNOWN[section.backend].terms, Path(folder))
            shown["bytes"] = sum(file.stat().st_size for file in files.values())
    return {**shown, "asked": ask.recipe["backend"], "warnings": ask.warnings}


class Local:
    """Our own loop, in a child on this machine."""

    def recorded(self, section: Config, recipe: Recipe) -> dict[str, Any]:
        return recipe.as_json()

    def ask(
        self, ws: Workspace, task: Model, section: Config, data: DatasetVersion, parent: Version | None, recipe: Recipe
    ) -> Ask:
        require_extra()
        order = order_of(ws, task, section, data, parent, recipe.as_json())
        return Ask(
            kind="train",
            input=job_input(ws, task, section, data, order),
            recipe=recipe.as_json(),
            base=task.base,
            digests=order.base.digests,
            warnings=(*notes(order.base.folder, recipe), *idle(recipe, held=data.eval > 0)),
        )


class Trl:
    """TRL's SFTTrainer, in a child on this machine in the place of our loop."""

    def recorded(self, section: Config, recipe: Recipe) -> dict[str, Any]:
        cannot = {
            "method: full": recipe.method == "full",
            "objective: dpo": recipe.objective == "dpo",
            "packing: true": recipe.packing,
            "dtype: float16": recipe.dtype == "float16",
            f"accumulation: {recipe.accumulation} with batch: {recipe.batch}": recipe.batch % recipe.accumulation > 0,
        }
        for what, asked in cannot.items():
            if asked:
                raise ConfigError(
                    f"recipe: the trl back end does not do `{what}`", fix="leave it out, or train with `backend: local`"
                )
        return recipe.as_json() | {"backend": {"name": "trl"}}

    def ask(
        self, ws: Workspace, task: Model, section: Config, data: DatasetVersion, parent: Version | None, recipe: Recipe
    ) -> Ask:
        recorded = self.recorded(section, recipe)
        require_extra()
        require_extra(("trl", "datasets"), "trl")
        asked = Local().ask(ws, task, section, data, parent, recipe)
        _only_whole_weights(rows_file(ws, data, "train"))
        return replace(asked, kind=TRL, recipe=recorded)


class Hosted:
    """A provider's training, followed by a child that sends the rows and takes home what comes of it."""

    def recorded(self, section: Config, recipe: Recipe) -> dict[str, Any]:
        known, options = KNOWN[section.backend], section.backend_options
        extra = {"learning_rate_multiplier": options.learning_rate_multiplier}
        values = Values(recipe=recipe, plain=PLAIN, terms=known.terms, extra=extra)
        values.check(section.backend)
        told = {"name": section.backend, "model": options.model, "hyperparameters": known.hyperparameters(values)}
        return recipe.as_json() | {"backend": told}

    def ask(
        self, ws: Workspace, task: Model, section: Config, data: DatasetVersion, parent: Version | None, recipe: Recipe
    ) -> Ask:
        terms, options = KNOWN[section.backend].terms, section.backend_options
        _only_fresh(section, parent)
        key_env = options.api_key_env or terms.api_key_env
        _check_options(task, section, key_env)
        recorded = self.recorded(section, recipe)
        base = read_base(base_folder(ws, task)) if terms.comes_home else None
        named = {"provider": section.backend, "model": options.model}
        given = {
            **named,
            "endpoint": options.endpoint or terms.endpoint,
            "serves": None if terms.comes_home else options.serve_endpoint or terms.serves,
            "api_key_env": key_env,
            "account": options.account,
            "objective": recipe.objective,
            "hyperparameters": recorded["backend"]["hyperparameters"],
            "seed": recipe.seed,
            "suffix": _slug(options.suffix or task.name, terms.suffix),
            "train": str(rows_file(ws, data, "train")),
            "eval": str(rows_file(ws, data, "eval")) if data.eval else None,
            "dataset_digest": data.digest,
            "base": str(base.folder) if base else None,
            **(base.digests if base else dict.fromkeys(PARTS)),
            "most_usd": options.most_usd,
            "poll_seconds": options.poll_seconds,
            "give_up_seconds": options.give_up_seconds,
            "most_bytes": options.most_bytes,
        }
        return Ask(
            kind=HOSTED,
            input=given,
            recipe=recorded,
            base=task.base if base else f"{section.backend}:{options.model}",
            digests=base.digests if base else {**dict.fromkeys(PARTS), "base_digest": digest_json(named)},
            warnings=(*warnings(recipe), *terms.warnings),
            env=(key_env, "SSL_CERT_FILE", "SSL_CERT_DIR"),
        )


class Command:
    """A trainer of somebody else's on this machine, such as Unsloth or Axolotl, started as a command."""

    def recorded(self, section: Config, recipe: Recipe) -> dict[str, Any]:
        return recipe.as_json() | {"backend": {"name": "command", "command": list(section.backend_options.command)}}

    def ask(
        self, ws: Workspace, task: Model, section: Config, data: DatasetVersion, parent: Version | None, recipe: Recipe
    ) -> Ask:
        _only_fresh(section, parent)
        if recipe.method == "full":
            raise ConfigError("recipe: of a command an adapter is taken over, and method: full has none", fix="leave out method")
        words = section.backend_options.command
        if not any("{out}" in word for word in words) or not any("{data}" in word for word in words):
            raise ConfigError(
                f"models/{task.name}.yaml: training.backend_options.command must name {{data}} and {{out}}",
                fix="write command: [python, train.py, --data, '{data}', --out, '{out}', --base, '{base}', --recipe, '{recipe}']",
            )
        base = read_base(base_folder(ws, task))
        _only_whole_answers(rows_file(ws, data, "train"), "command")
        return Ask(
            kind=COMMAND,
            input={
                "command": list(words),
                "base": str(base.folder),
                **base.digests,
                "train": str(rows_file(ws, data, "train")),
                "eval": str(rows_file(ws, data, "eval")) if data.eval else None,
                "dataset_digest": data.digest,
                "recipe": recipe.as_json(),
                "threads": recipe.threads,
            },
            recipe=self.recorded(section, recipe),
            base=task.base,
            digests=base.digests,
            warnings=(*warnings(recipe), "the command is given the recipe; whether it keeps to it is not known"),
            timeout=section.backend_options.timeout_seconds,
        )


TRAINERS = Registry(
    "trainer",
    {
        "local": f"{__name__}:Local",
        "trl": f"{__name__}:Trl",
        **dict.fromkeys(KNOWN, f"{__name__}:Hosted"),
        "command": f"{__name__}:Command",
    },
)


def _only_whole_weights(rows: Path) -> None:
    """Refuse rows that are to be learned in some epochs only: TRL learns each row once an epoch."""
    for row in read_rows(rows):
        if 0 < row.weight < 1:
            raise ConfigError(
                f"row {row.id} has weight {row.weight:g}, and the trl back end learns a row in every epoch or never",
                fix="give every row weight 0 or 1, or train with `backend: local`",
            )
    _only_whole_answers(rows, "trl")


def _only_whole_answers(rows: Path, backend: str) -> None:
    """Refuse answers that count by a part: such a trainer learns an answer or leaves it."""
    for row in read_rows(rows):
        for place in learned_places(row):
            weight = weight_of(row.messages[place])
            if weight < 1:
                raise ConfigError(
                    f"row {row.id}: message {place + 1} has weight {weight:g}, and the {backend} back end learns it or not",
                    fix="give every message weight 0 or 1, or train with `backend: local`",
                )


def _only_fresh(section: Config, parent: Version | None) -> None:
    if parent is not None:
        raise ConfigError(
            f"{section.backend} cannot continue the adapter of {parent.name}",
            fix="leave out --from, or train with `backend: local`",
        )


def _check_options(task: Model, section: Config, key_env: str) -> None:
    where, options = f"models/{task.name}.yaml: training.backend_options", section.backend_options
    if not options.model:
        raise ConfigError(f"{where}.model is empty: {section.backend} has bases of its own", fix="write its name of the base")
    if section.backend == "fireworks" and not options.account:
        raise ConfigError(f"{where}.account is empty: Fireworks keeps everything under an account", fix="write its id")
    if options.poll_seconds <= 0 or options.give_up_seconds <= 0 or options.most_bytes <= 0:
        raise ConfigError(f"{where}: poll_seconds, give_up_seconds and most_bytes must be above 0")
    if options.most_usd is not None and not KNOWN[section.backend].terms.tells_price:
        raise ConfigError(
            f"{where}.most_usd: {section.backend} says what a run costs only once it has begun, so nothing holds it to a limit",
            fix=f"leave out most_usd, and set a limit in your account at {section.backend}",
        )
    if options.learning_rate_multiplier is not None and options.learning_rate_multiplier <= 0:
        raise ConfigError(f"{where}.learning_rate_multiplier must be above 0, not {options.learning_rate_multiplier}")
    if not os.environ.get(key_env):
        raise ConfigError(f"{section.backend} needs a key and {key_env} is not set", fix=f"export {key_env}=…")


def _slug(text: str, most: int) -> str:
    """Lower-case letters, digits and hyphens, as every provider takes them; room is left for our own name of the work."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: max(1, most - 17)].strip("-") or "model"
