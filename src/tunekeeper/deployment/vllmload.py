"""A version into a running vLLM: refused beforehand where it can be, loaded beside what is there, compared with training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunekeeper.core.errors import ArtifactError, GateFailed, TunekeeperError
from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.source import open_source
from tunekeeper.deployment.transcript import Reference
from tunekeeper.deployment.vllmadapter import Wanted, check_adapter, check_served
from tunekeeper.deployment.vllmparity import compare_live
from tunekeeper.engines.vllm import Holding, VllmServer
from tunekeeper.text.tokenizers import read_tokenizer

GREETING = ({"role": "user", "content": "Hello"},)
MENDS = {
    "template": "start the server without --chat-template, so that it takes the base's own",
    "sampling": "start the server with --generation-config vllm",
}
"""Layer → what mends it where that is not the base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A version in a vLLM server, as `export vllm` prints it."""

    name: str
    """What to ask for there."""
    endpoint: str
    """Address of its OpenAI routes."""
    base: str
    """Name of the base that it is put on."""
    root: str
    """Where the server has that base from."""
    path: str | None
    """The adapter's folder as the server names it; None for the base itself."""
    loaded: bool
    """Whether it was loaded now; False when it was there already, or is the base itself."""
    proof: str
    """How the base was seen to be the right one: `digest` (its files), `answers` (how likely it holds training's answers)."""
    parity: Parity | None
    """The comparison with training at the endpoint; None without a reference transcript, and in a dry run."""
    notes: tuple[str, ...] = ()
    """What was not compared."""


def plan(server: VllmServer, wanted: Wanted, references: Sequence[Reference], *, answers: bool = True) -> Served:
    """What `load` would do; asks the server, changes nothing. Raises as `load`, before its first change."""
    holding = server.holding()
    if wanted.folder is not None:
        check_adapter(wanted.folder, wanted.base)
    references, notes = _fitting(references, holding)
    proven = _proven(server, wanted, holding, compared=bool(references) and answers)
    there = wanted.name is None or _held(server, wanted, holding)
    return _served(server, wanted, holding, loaded=not there, proven=proven, parity=None, notes=notes)


def load(
    server: VllmServer,
    wanted: Wanted,
    references: Sequence[Reference],
    limits: Limits,
    *,
    answers: bool = True,
    guarded: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> Served:
    """Have a server hold `wanted`, see that it lists it on the right base, and compare it with training at the endpoint.

    Repeating it is safe at every moment. A version that is not what was trained is unloaded again, unless it is `guarded`
    (something points at it). `references`, `answers`: the reference transcript, and whether its answers are this version's own.
    Raises ArtifactError for an adapter of another base or of a kind that the server does not take, GateFailed when it answers
    other than in training, UpstreamUnavailable when the server is away or takes no adapters.
    """
    holding = server.holding()
    if wanted.folder is not None:
        told("checking the adapter")
        check_adapter(wanted.folder, wanted.base)
    references, notes = _fitting(references, holding)
    proven = _proven(server, wanted, holding, compared=bool(references) and answers)
    fresh = False
    try:
        if wanted.name is not None:
            told(f"loading {wanted.name}")
            fresh = hold(server, wanted, holding)
        told("comparing with training")
        found = _verified(server, wanted, holding, references, limits, answers=answers, proven=proven)
    except TunekeeperError:
        if fresh and not guarded and wanted.name is not None:
            with contextlib.suppress(TunekeeperError):
                server.unload(wanted.name)
        raise
    return _served(server, wanted, holding, loaded=fresh, proven=proven, parity=found, notes=notes)


def _fitting(references: Sequence[Reference], holding: Holding) -> tuple[list[Reference], tuple[str, ...]]:
    """The references that the server has room for, and a word about the others."""
    room = holding.length
    fit = [r for r in references if room is None or len(r.prompt_ids) + len(r.answer_ids) < room]
    left = len(references) - len(fit)
    return fit, (f"{left} of {len(references)} reference prompts are longer than --max-model-len {room}",) if left else ()


def hold(server: VllmServer, wanted: Wanted, holding: Holding) -> bool:
    """Load the adapter unless the server holds it, and see it listed on the server's base; whether it was loaded now.

    Raises ArtifactError when its name stands for another folder there, and as `VllmServer.load`.
    """
    assert wanted.name is not None
    assert wanted.there is not None
    if _held(server, wanted, holding):
        return False
    fresh = server.load(wanted.name, wanted.there)
    after = server.holding()
    if not _held(server, wanted, after):
        raise ArtifactError(f"vLLM at {server.base} said that it loaded {wanted.name}, and does not list it")
    return fresh


def _held(server: VllmServer, wanted: Wanted, holding: Holding) -> bool:
    """Whether the server lists the adapter: by this name, from this folder, on its base."""
    found = holding.adapters.get(wanted.name or "")
    if found is None:
        return False
    if (found.path, found.parent) != (wanted.there, holding.base):
        raise ArtifactError(
            f"vLLM at {server.base} has {wanted.name} from {found.path} on {found.parent}, not from {wanted.there}",
            fix=f"unload it there (POST /v1/unload_lora_adapter with lora_name {wanted.name})",
        )
    return True


def _proven(server: VllmServer, wanted: Wanted, holding: Holding, *, compared: bool) -> bool:
    """Whether the server's base was seen by its files; where it was not, training's answers must be there to tell."""
    seen = check_served(server.base, holding, wanted.base, wanted.root)
    if not seen and not compared:
        raise ArtifactError(
            f"nothing proves that vLLM at {server.base} serves the base of {wanted.name or 'this version'}: "
            f"{holding.root} cannot be read here, and there are no training-time answers to compare",
            fix="make the base's folder readable here by the same path",
        )
    return seen


def _verified(
    server: VllmServer,
    wanted: Wanted,
    holding: Holding,
    references: Sequence[Reference],
    limits: Limits,
    *,
    answers: bool,
    proven: bool,
) -> Parity | None:
    """The comparison at the endpoint, or one warm-up answer where there is nothing to compare. Raises GateFailed."""
    model = wanted.name or holding.base
    if not references:
        server.chat(model, GREETING, 8)
        return None
    eos = open_source(wanted.base.folder).eos
    found = compare_live(server, model, read_tokenizer(wanted.base.folder), eos, references, limits, answers=answers)
    # Without answers of its own the merge layer has no evidence; then the base's digest stands for it.
    if found.verdict == "block" or (found.verdict == "inconclusive" and not proven):
        why = next((check.detail for check in found.checks if check.layer == found.layer), "nothing to compare")
        raise GateFailed(
            f"{model} at {server.base} does not answer as it was trained: {found.layer}: {why}"
            + ("" if proven else f"; the server's base {holding.root} may be another one"),
            fix=MENDS.get(found.layer or "", f"start the server with {wanted.base.folder}"),
        )
    return found


def _served(
    server: VllmServer,
    wanted: Wanted,
    holding: Holding,
    *,
    loaded: bool,
    proven: bool,
    parity: Parity | None,
    notes: tuple[str, ...],
) -> Served:
    return Served(
        name=wanted.name or holding.base,
        endpoint=f"{server.base}/v1",
        base=holding.base,
        root=holding.root,
        path=wanted.there,
        loaded=loaded,
        proof="digest" if proven else "answers",
        parity=parity,
        notes=notes,
    )
