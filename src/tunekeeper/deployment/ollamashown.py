"""What an Ollama server shows of a name, compared with what was sent.

Since 0.30 a server checks a file that it is given with llama.cpp's quantizer and keeps the copy that this writes: all fields and
tensors in another order, so that its digest is another. It also takes the file's own chat template in place of the Go template
where that one offers more (tools, thoughts), and shows it then.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.ollamapackage import Package
from tunekeeper.engines.ollama import Shown

UNSHOWN = ("general.name", "tokenizer.chat_template")
"""Fields of a file that the server does not show."""
OURS, ARRAYS = "tunekeeper.", "tokenizer."
"""How fields begin that tell a file of ours from another (base, adapter, version), and those among which are long arrays."""


def differences(shown: Shown, package: Package, *, made: bool = False) -> list[str]:
    """What a server's model has other than the package, a sentence each. `made`: whether it was created now, of these files."""
    wrong = []
    adapters = (package.lora_digest,) if package.lora_digest else ()
    if shown.model is not None and not _same_file(shown, package, made=made):
        wrong.append(f"its weights are {shown.model[:19]}…, not {package.digest[:19]}…")
    if shown.model is not None and shown.adapters != adapters:
        wrong.append(f"it has {len(shown.adapters)} adapters of other content than the {len(adapters)} sent")
    if shown.template != package.template and (package.dialect is None or shown.template != package.dialect.template):
        wrong.append(f"its template is {shown.template[:40]!r}…, not {package.template[:40]!r}…")
    if (shown.system or None) != package.system:
        wrong.append(f"its system prompt is {shown.system[:40]!r}, not {(package.system or '')[:40]!r}")
    for name in dict.fromkeys((*package.parameters, *shown.parameters)):
        value = package.parameters.get(name)
        wanted = tuple(value) if isinstance(value, list) else () if value is None else (value,)
        if not _same_values(shown.parameters.get(name, ()), wanted):
            wrong.append(f"its parameter {name} is {', '.join(shown.parameters.get(name, ())) or 'missing'}, not {value}")
    return wrong


def _same_file(shown: Shown, package: Package, *, made: bool) -> bool:
    """Whether the server's file is the package's: by its digest, or, of a copy that it wrote anew, by the fields that it shows.

    Fields of a file from elsewhere do not tell it from another of the same base: then only `made` can.
    """
    if shown.model in (package.digest, _unpadded(package)):
        return True
    told = {key: value for key, value in read_gguf(package.model).pairs.items() if key not in UNSHOWN}
    if not made and not any(key.startswith(OURS) for key in told):
        return False
    return all(_same_field(shown.info.get(key), told.get(key), key) for key in {*told, *shown.info} if _tells(key, told))


def _tells(key: str, told: dict[str, Any]) -> bool:
    return key in told or key.startswith(OURS)


def _same_field(shown: Any, sent: Any, key: str) -> bool:
    """Long arrays are not shown; here they are their length."""
    if isinstance(sent, list) or (key.startswith(ARRAYS) and (shown is None or isinstance(shown, list))):
        return True
    if isinstance(sent, float):
        return isinstance(shown, int | float) and _same_value(str(shown), sent)
    return bool(shown == sent)


def _same_values(shown: tuple[str, ...], sent: tuple[Any, ...]) -> bool:
    return len(shown) == len(sent) and all(_same_value(a, b) for a, b in zip(shown, sent, strict=True))


def _same_value(shown: str, sent: Any) -> bool:
    if isinstance(sent, str):
        return shown == sent
    try:
        return abs(float(shown) - float(sent)) <= 1e-6 * max(1.0, abs(float(sent)))
    except ValueError:
        return False


def _unpadded(package: Package) -> str | None:
    """The digest without the padding after the last tensor, which Ollama before 0.30 leaves out of the file that it keeps."""
    header = read_gguf(package.model)
    end = header.data + max((tensor.start + tensor.bytes for tensor in header.tensors), default=0)
    if end >= package.bytes:
        return None
    with package.model.open("rb") as file:
        found = hashlib.sha256()
        for at in range(0, end, 1 << 20):
            found.update(file.read(min(1 << 20, end - at)))
    return "sha256:" + found.hexdigest()
