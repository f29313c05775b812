"""What Ollama is given for one version: files, Go template, stop and sampling parameters, system prompt, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment import ollamatemplate
from tunekeeper.deployment.compare import plain_kind
from tunekeeper.deployment.header import GgufHeader, open_model, read_gguf
from tunekeeper.deployment.ollamatemplate import Dialect
from tunekeeper.deployment.transcript import Reference
from tunekeeper.deployment.weights import Served
from tunekeeper.engines.ollama import check_name

PARAMETERS = (
    "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "num_predict",
    "num_ctx",
)  # fmt: skip
"""Settings that Ollama keeps with a model."""
WITHOUT = {"dry_multiplier": 0, "mirostat": 0, "xtc_probability": 0, "dynatemp_range": 0}
"""Settings it does not have, with the value that changes nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One version, ready to be pushed or written as a Modelfile."""

    name: str
    """`model:tag`, one per version."""
    model: Path
    """GGUF file of the model, bare of adapters that it does not hold itself."""
    digest: str
    """Its digest."""
    bytes: int
    """Its size."""
    quantized: bool
    """Whether its weights are quantized: then answers may differ a little."""
    lora: Path | None
    """GGUF file of the adapter, where that is apart."""
    lora_digest: str | None
    """Its digest."""
    template: str
    """Go template."""
    parameters: dict[str, Any]
    """Parameter → value; `stop` is a list of texts."""
    system: str | None
    """System prompt of requests that bring none."""
    messages: tuple[dict[str, Any], ...]
    """Few-shot turns before every conversation."""
    dialect: Dialect | None
    """The training template; None when the file holds none."""
    references: tuple[Reference, ...]
    """Training-time prompts and answers to compare with."""
    notes: tuple[str, ...]
    """What Ollama does differently, a sentence each."""

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """Files to send, with their digests."""
        apart = ((self.lora, self.lora_digest),) if self.lora and self.lora_digest else ()
        return ((self.model, self.digest), *apart)

    def body(self) -> dict[str, Any]:
        """What POST /api/create is given: always from the bare file, so that no inherited adapter is added up."""
        said: dict[str, Any] = {"model": self.name, "files": {"model.gguf": self.digest}}
        if self.lora_digest:
            said["adapters"] = {"adapter.gguf": self.lora_digest}
        said |= {"template": self.template, "parameters": self.parameters}
        said |= {"system": self.system} if self.system else {}
        return said | ({"messages": list(self.messages)} if self.messages else {})


def make_package(
    name: str,
    served: Served,
    *,
    stop: Sequence[str] | None = None,
    sampling: Mapping[str, Any] | None = None,
    template: str | None = None,
    system: str | None = None,
    messages: Sequence[dict[str, Any]] = (),
    references: Sequence[Reference] = (),
) -> Package:
    """Everything Ollama needs, from the files' own headers. `template`: a Go template to take in place of the converted one; it
    is held to the training template all the same. `stop`: None takes the tokens that end an answer.

    Raises ArtifactError when the template, a sampling setting or the adapter cannot be served there as it was trained.
    """
    header = read_gguf(served.model)
    if header.adapter:
        raise ArtifactError(f"{served.model}: an adapter, not a model", fix="give the model's file as gguf, the adapter as lora")
    if served.lora is not None:
        check_adapter(header, served)
    dialect, ends = read_dialect(served.model)
    plain = [reference for reference in references if not reference.tools]
    samples = [(list(reference.messages), reference.rendered) for reference in plain]
    if dialect is None and template is None:
        raise ArtifactError(
            f"{served.model}: it holds no chat template", fix="export it from its checkpoint, or add --template FILE"
        )
    if dialect is None or template is not None:
        assert template is not None
        notes = ollamatemplate.check(dialect, template, samples) if dialect else ("nothing says that the template is right",)
        converted = ollamatemplate.Converted(template=template, notes=notes)
    else:
        converted = ollamatemplate.convert(dialect, samples)
    system = system or common_system(plain)
    return Package(
        name=check_name(name),
        model=served.model,
        digest=digest_file(served.model),
        bytes=served.model.stat().st_size,
        quantized=plain_kind(served.model) is None,
        lora=served.lora,
        lora_digest=digest_file(served.lora) if served.lora else None,
        template=converted.template,
        parameters={"stop": list(ends if stop is None else stop), **settings(sampling or {})},
        system=system,
        messages=tuple(messages),
        dialect=dialect,
        references=tuple(plain),
        notes=converted.notes,
    )


def settings(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling as Ollama's parameters. It punishes repetition unless told otherwise, which changes even greedy answers.

    Raises ArtifactError for a setting that it does not have.
    """
    found: dict[str, Any] = {"repeat_penalty": 1.0}
    for name, value in sampling.items():
        name = "num_predict" if name == "max_tokens" else name
        if name in WITHOUT and value == WITHOUT[name]:
            continue
        if name not in PARAMETERS or isinstance(value, bool) or not isinstance(value, int | float):
            raise ArtifactError(
                f"sampling {name}={value!r} has no place in Ollama; it knows {', '.join(PARAMETERS)}",
                fix="take it out of the artifact's sampling, or serve it with llama.cpp",
            )
        found[name] = value
    return found


def common_system(references: Sequence[Reference]) -> str | None:
    """The system prompt that every training-time prompt began with; None when they differ or have none. Pure."""
    firsts = {
        str(r.messages[0].get("content")) if r.messages and r.messages[0].get("role") == "system" else "" for r in references
    }
    return firsts.pop() or None if len(firsts) == 1 else None


def read_dialect(path: Path) -> tuple[Dialect | None, tuple[str, ...]]:
    """The training template in a GGUF file (None without one), and the texts of the tokens that end an answer."""
    fields = open_model(path).fields
    texts = fields.get("tokenizer.ggml.tokens")

    def told(key: str) -> Any:
        found = fields.get(f"tokenizer.{key}")
        return None if found is None else found.contents()

    def token(name: str) -> str | None:
        number = told(f"ggml.{name}_token_id")
        if texts is None or not isinstance(number, int) or not 0 <= number < len(texts.data):
            return None
        return str(texts.contents(number))

    ends = tuple(dict.fromkeys(text for name in ("eos", "eot", "eom") if (text := token(name))))
    template = told("chat_template")
    if not isinstance(template, str) or not template:
        return None, ends
    pairs = (
        (f"{name}_token", token(long)) for name, long in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    )
    adds = told("ggml.add_bos_token")
    if adds is None:  # llama.cpp's own rule for files that do not say
        adds = told("ggml.model") == "llama" or told("ggml.pre") in ("llama-bpe", "llama3", "llama-v3", "tekken")
    special = {name: text for name, text in pairs if text is not None}
    return Dialect(template=template, special=special, adds_bos=bool(adds)), ends


def check_adapter(model: GgufHeader, served: Served) -> None:
    """Refuse an adapter that was not made for this model, by digest where both say it, by names and dimensions always."""
    assert served.lora is not None
    adapter = read_gguf(served.lora)
    if not adapter.adapter:
        raise ArtifactError(f"{served.lora}: a model, not an adapter", fix="leave lora out of serve.json")
    if served.lora_scale != 1.0:
        raise ArtifactError(
            f"{served.lora}: Ollama applies an adapter at scale 1, this one is meant at {served.lora_scale:g}",
            fix="merge it: tunekeeper export gguf --checkpoint BASE --adapter FOLDER",
        )
    told = [header.pairs.get("tunekeeper.base_digest") for header in (model, adapter)]
    if all(told) and told[0] != told[1]:
        raise ArtifactError(f"{served.lora}: made for base {str(told[1])[:19]}…, {served.model} is of base {str(told[0])[:19]}…")
    if adapter.architecture != model.architecture:
        raise ArtifactError(f"{served.lora}: an adapter for {adapter.architecture}, {served.model} is {model.architecture}")
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    for tensor in adapter.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        wanted = shapes.get(name)
        fits = wanted is not None and len(wanted) == 2 == len(tensor.shape)
        if not fits or (tensor.shape[1] != wanted[1] if side == "a" else tensor.shape[0] != wanted[0]):  # type: ignore[index]
            raise ArtifactError(
                f"{served.lora}: tensor {tensor.name} {tensor.shape} does not fit {served.model}, where it is {wanted}"
            )
