"""Redaction as a model's file asks for it, and of records that come in by another door than the gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.config import Config
from tunekeeper.text.names import detector
from tunekeeper.text.redaction import NAME, Redactor
from tunekeeper.text.seals import Seal, is_box, opened
from tunekeeper.workspace import Workspace

_PLACEHOLDER = re.compile(r'(?P<open>(?:\\*")?)(?P<name>\[[A-Z]{2,8}:\d{1,9}\])(?P<close>(?:\\*")?)')


def redactor_of(section: Config, ws: Workspace | None = None) -> Redactor:
    """What the `data` section of a model asks for. `ws`: whose secret tells two redacted users apart.

    Raises ConfigError for a kind, a detector or an option that is none.
    """
    names = detector(section.names, Path()) if NAME in section.redact else None
    seal = None if section.redact_seal is None else Seal(section.redact_seal)
    return Redactor(section.redact, names=names, pepper=b"" if ws is None else ws.pepper(), seal=seal)


def revealed_inference(inference: Inference, secret: str) -> Inference:
    """A request of the log and its answer as they were before redaction. `secret`: the secret key in base64.

    Raises NotFound when nothing of them was sealed or their text is no longer kept, DataError when the key is another one.
    """
    box = inference.request.get("sealed") if isinstance(inference.request, Mapping) else None
    if not isinstance(box, str) or not is_box(box):
        fix = "seal what is redacted: redact_seal in the data section of its model"
        raise NotFound(f"request {inference.request_id} holds nothing sealed", fix=fix)
    values = opened(box, secret)
    request = {key: value for key, value in inference.request.items() if key != "sealed"}
    parts = [request, inference.response, inference.segments, inference.metadata]
    request, response, segments, metadata = _put_back(parts, values)
    return replace(inference, request=request, response=response, segments=segments, metadata=metadata)


def revealed_feedback(feedback: Feedback, secret: str) -> Feedback:
    """A statement as it was before redaction; as it is where nothing of it was sealed. Raises as `revealed_inference`."""
    box = feedback.metadata.get("sealed")
    if not isinstance(box, str) or not is_box(box):
        return feedback
    metadata = {key: value for key, value in feedback.metadata.items() if key != "sealed"}
    value, by, metadata = _put_back([feedback.value, feedback.by, metadata], opened(box, secret))
    return replace(feedback, value=value, by=by, metadata=metadata)


def revealed(example: Example, secret: str) -> Example:
    """An example as it was before redaction, but for the names that stand behind a `~`. `secret`: the secret key in base64.

    Raises NotFound when nothing of it was sealed, DataError when the key is another one.
    """
    box = example.metadata.get("sealed")
    if not isinstance(box, str):
        raise NotFound(f"row {example.id} holds nothing sealed", fix="seal what is redacted: redact_seal in the data section")
    values = opened(box, secret)
    metadata = {key: value for key, value in example.metadata.items() if key != "sealed"}
    messages, tools, metadata = _put_back([list(example.messages), list(example.tools), metadata], values)
    return replace(example, messages=tuple(messages), tools=tuple(tools), metadata=metadata)


def _put_back(value: Any, values: Mapping[str, str | float]) -> Any:
    if isinstance(value, str):
        whole = values.get(value)
        return _PLACEHOLDER.sub(lambda found: _as_it_was(found, values), value) if not isinstance(whole, int | float) else whole
    if isinstance(value, Mapping):
        return {_put_back(key, values): _put_back(each, values) for key, each in value.items()}
    return [_put_back(each, values) for each in value] if isinstance(value, list | tuple) else value


def _as_it_was(found: re.Match[str], values: Mapping[str, str | float]) -> str:
    """What a placeholder inside a text stands for; a number of JSON lost no quotes and gained some."""
    value = values.get(found["name"], found["name"])
    return f"{found['open']}{value}{found['close']}" if isinstance(value, str) else str(value)


def alias_of(ws: Workspace, user: str) -> str:
    """What stands in stored rows for a user whose name is personal data itself."""
    return Redactor(pepper=ws.pepper()).alias(user)[0]


@lru_cache(maxsize=1)
def _all() -> Redactor:
    return Redactor()


def clean_inference(inference: Inference) -> Inference:
    """A record of the log without personal data in whatever a client or a model wrote; ids, names and times stay."""
    parts = [inference.request, inference.response, inference.metadata, inference.segments, inference.client_request_id]
    (request, response, metadata, segments, client_id), counts = _all().redact_json(parts)
    if not counts:
        return inference
    return replace(
        inference, request=request, response=response, metadata=metadata, segments=segments, client_request_id=client_id
    )
