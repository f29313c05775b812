"""Versions that a vLLM serves as a whole model: what full training made, and adapters that it cannot put on, merged.

A vLLM holds one such model, so that each of them needs a server of its own, which a person or their scheduler starts with the
model's folder. This file makes the folder and finds the server; what is served there is then compared as an adapter would be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, OutsideError, UpstreamUnavailable
from tunekeeper.deployment.job import Context
from tunekeeper.deployment.merging import Merged, merge_folder, read_merged
from tunekeeper.deployment.vllmadapter import Wanted, read_base
from tunekeeper.deployment.vllmkeeper import ASKING_SECONDS
from tunekeeper.engines.vllm import VllmServer

LARGEST_RANK = 512
"""Of any adapter that a vLLM can be started for."""
_EMBEDDINGS = {"embed_tokens", "lm_head"}


def why_merged(config: Mapping[str, Any]) -> str | None:
    """What of an adapter_config.json a vLLM cannot put on as training did; None when it can. Pure."""
    if config.get("use_dora"):
        return "DoRA"
    if config.get("modules_to_save"):
        return "modules_to_save"
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return "a rank or alpha pattern"
    if config.get("bias", "none") != "none":
        return "trained biases"
    targets = config.get("target_modules")
    if isinstance(targets, list) and _EMBEDDINGS.intersection(map(str, targets)):
        return "a part on the embeddings"
    rank = config.get("r")
    return f"rank {rank}" if isinstance(rank, int) and rank > LARGEST_RANK else None


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Merge one version. `input`: what `vllmjob.described` says of it. Returns the fields of `Merged`. Raises as `make`."""
    return dataclasses.asdict(make(input, lambda done: context.progress(done, note="merging")))


def make(asked: Mapping[str, Any], told: Callable[[float], None] = lambda done: None) -> Merged:
    """The merged folder of a description, written unless it is there and whole already.

    Raises ArtifactError when base or adapter changed since training, or what lies there is damaged, and DiskFull.
    """
    merge, adapter = asked["merge"], Path(asked["folder"])
    out = Path(merge["folder"])
    base = read_base(Path(asked["base"]), weights=asked["weights"], tokenizer=asked["tokenizer"], template=asked["template"])
    if not out.exists():
        return merge_folder(base.folder, adapter, merge["dtype"], out, told=told)
    made = read_merged(out)
    if (made.base_digest, made.adapter_digest) != (base.weights, asked["digest"]):
        raise ArtifactError(f"{out}: merged from another base or adapter", fix=f"rm -r {out}, then run it again")
    return made


def wanted_of(asked: Mapping[str, Any]) -> Wanted:
    """What a server must hold: the whole model. Raises ArtifactError when its files are not as they were made."""
    folder = Path(asked["whole"])
    made = read_merged(folder).digest if asked["merge"] else None
    base = read_base(folder, weights=made, tokenizer=asked["tokenizer"], template=asked["template"])
    return Wanted(base=base, name=None, root=asked["there"])


def server_of(endpoints: Sequence[str], asked: Mapping[str, Any], api_key: str | None) -> str | None:
    """The endpoint whose server was started with the model's folder; None when none was. Servers that are away do not count."""
    roots = (asked["whole"], asked["there"])
    for endpoint in endpoints:
        try:
            if VllmServer(endpoint, api_key).holding(total=ASKING_SECONDS).root in roots:
                return endpoint
        except OutsideError:
            continue
    return None


def must_be_started(asked: Mapping[str, Any], endpoints: Sequence[str]) -> UpstreamUnavailable:
    """What to say while no server holds the model."""
    why = asked["merge"]["why"] if asked["merge"] else "every number was tuned"
    return UpstreamUnavailable(
        f"no vLLM at {' or '.join(endpoints)} serves {asked['there']} ({why}: a whole model needs a server of its own)",
        fix=f"vllm serve {asked['there']} --generation-config vllm; its address: --endpoint, or deployment.standby_endpoint",
    )
