"""Artifacts of the fake engine: a rule file in place of weights, compared with the answers that a fake trainer left."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.engines.fake_server import answer_for, load_rule
from tunekeeper.store.ledgers.artifacts import find_artifacts, save_artifact
from tunekeeper.workspace import Workspace

FILE = "answers.json"


def export(ws: Workspace, version: Version, base: Path) -> Artifact:
    """The rule file of a version (in its adapter folder, or beside its base) as an artifact. Raises ArtifactError without one."""
    digest = ws.blobs.files(version.adapter).get(FILE) if version.adapter else None
    if digest is None:
        if version.adapter is not None or not (base / FILE).is_file():
            raise ArtifactError(
                f"version {version.name} has no {FILE} for the fake engine", fix="set deployment.engine to llamacpp"
            )
        digest = ws.blobs.put_file(base / FILE)
    references = read_transcript(ws.blobs.path(version.transcript)) if version.transcript else []
    path = ws.blobs.path(digest)
    parity = compare(path, references) if version.adapter else None
    with ws.state.write(by="deployment") as tx:
        for known in find_artifacts(tx, model=version.model, newest_first=True):
            if (known.version, known.engine) == (version.id, "fake"):
                return known
        artifact = Artifact(
            id=ws.new_id("art"),
            model=version.model,
            version=version.id,
            engine="fake",
            digest=digest,
            bytes=path.stat().st_size,
            parity=parity,
        )
        return save_artifact(tx, artifact)


def compare(path: Path, references: list[Reference]) -> Parity:
    """Whether the rule gives the training-time answers; inconclusive without any."""
    rule = load_rule(path)
    wrong = [r for r in references if answer_for(rule, list(r.messages)) != r.answer]
    detail = f"answer {wrong[0].id} differs" if wrong else f"{len(references)} answers equal"
    check = ParityCheck(
        layer="merge", ok=bool(references) and not wrong, detail=detail, value=float(len(wrong)), limit=0.0, n=len(references)
    )
    if not references:
        return Parity(verdict="inconclusive", layer="merge", checks=(check,))
    return Parity(verdict="block" if wrong else "pass", layer="merge" if wrong else None, checks=(check,))
