"""What a job can do: kind → function `run(input, context) -> output`, imported in the child only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.registry import Registry
from tunekeeper.jobs.context import JobContext

Run = Callable[[dict[str, Any], JobContext], dict[str, Any]]
KINDS = Registry(
    "jobs",
    {
        "train": "tunekeeper.training.job:run",
        "train-hosted": "tunekeeper.training.hosted.job:run",
        "train-trl": "tunekeeper.training.trl:run",
        "train-command": "tunekeeper.training.command:run",
        "reference-transcript": "tunekeeper.training.job:transcript",
        "export": "tunekeeper.deployment.job:run",
        "merge": "tunekeeper.deployment.vllmwhole:run",
        "ollama-push": "tunekeeper.deployment.ollamajob:run",
        "live-parity": "tunekeeper.deployment.liveparity:run",
        "vllm-load": "tunekeeper.deployment.vllmjob:run",
        "exam": "tunekeeper.evaluation.job:run",
        "collect": "tunekeeper.data.weekly:run",
    },
)
LIMITS = {"train-command": "training.backend_options.timeout_seconds"}
"""Kind → the setting that its time-out comes from."""
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def function_of(kind: str) -> Run:
    """The function of a kind: a name of the table, of an entry point, or `module:function` itself. Raises ConfigError."""
    if not _FUNCTION.fullmatch(kind):
        found: Run = KINDS.load(kind)
        return found
    try:
        named: Run = Registry("jobs", {kind: kind}).load(kind)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"job kind {kind!r} cannot be imported: {error}") from None
    return named
