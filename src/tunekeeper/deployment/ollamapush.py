"""A version into an Ollama server: sent once, never over another, compared with training before anything may point at it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from tunekeeper.core.errors import GateFailed, TunekeeperError, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.deployment import Parity, ParityCheck
from tunekeeper.deployment import memory, ollamatemplate
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.ollamapackage import Package
from tunekeeper.deployment.ollamashown import differences
from tunekeeper.deployment.transcript import Reference
from tunekeeper.engines import ChatClient
from tunekeeper.engines.ollama import FOREVER, OllamaServer

PROMPTS = 8
"""Prompts of the reference transcript that are asked."""
AGREEMENT = 0.7
"""Smallest mean share of the beginnings of a quantized file's answers that equals training's."""
EXACT = 0.95
"""The same of a file that is not quantized."""
START = 48
"""Characters of an answer that are compared: one token that quantization turned changes all that follow it."""
CONTEXT = 4096
"""Tokens for which Ollama reserves memory when nothing else is said."""
_THOUGHT = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was seen of a pushed version."""

    template: str
    """How its template was proven: `rendered` (the server's own prompts are training's), `answers` (its answers equal those to
    training's prompts), or `unproven`."""
    prompts: int
    """Prompts of the reference transcript that were asked."""
    equal: int
    """Answers that are training's whole."""
    agreement: float | None
    """Mean share of the answers' first 48 characters that equals training's, 0 to 1; None without a transcript."""
    loaded: bool
    """Whether it is in memory now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A version in an Ollama server, as `export ollama` prints it."""

    name: str
    """What to ask for there."""
    endpoint: str
    """Address of its OpenAI routes."""
    digest: str
    """Digest of the model's file."""
    release: str | None
    """The server's release; None when it does not say."""
    created: bool
    """Whether it was made now; False when it was there already, the same."""
    sent: tuple[str, ...]
    """Digests of the files that were sent now."""
    template: str
    """Go template."""
    parameters: dict[str, Any]
    """Parameters."""
    system: str | None
    """System prompt."""
    verified: Verified | None
    """What was seen of it; None in a dry run."""
    notes: tuple[str, ...]
    """What Ollama does differently, and advice."""


def plan(server: OllamaServer, package: Package) -> Pushed:
    """What `push` would do; asks the server, changes nothing. Raises as `push`, before its first change."""
    release = server.check()
    there = _existing(server, package)
    missing = () if there else tuple(digest for _, digest in package.files if not server.has_blob(digest))
    return _pushed(server, package, release, created=not there, sent=missing, advice=() if there else _advice(server, package))


def push(
    server: OllamaServer,
    package: Package,
    *,
    guarded: bool = False,
    unload: bool = False,
    told: Callable[[str], None] = lambda line: None,
    patience: float = 60.0,
    pause: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Send what is missing, create the name, load it, and compare it with what was sent and with training.

    Repeating it is safe at every moment. A version that fails is deleted again, unless it is `guarded` (something points at it).
    `unload`: give its memory back at the end. `patience`: seconds to go on asking a server that is busy (503).
    Raises UserError when the name holds something else, GateFailed when the version is not what was trained, ArtifactError,
    DiskFull and UpstreamUnavailable as the server says.
    """
    release = server.check()
    there, sent = _existing(server, package), []
    advice = () if there else _advice(server, package)
    if not there:
        for path, digest in package.files:
            told(f"sending {path.name}")
            if server.send_blob(path, digest):
                sent.append(digest)
    try:
        if not there:
            server.create(package.body(), told)
        told("verifying")
        found = verify(server, package, made=not there, unload=unload, patience=patience, pause=pause)
    except TunekeeperError as error:
        _take_back(server, package, error, guarded=guarded, made=not there)
        raise
    return _pushed(server, package, release, created=not there, sent=tuple(sent), verified=found, advice=advice)


def verify(
    server: OllamaServer,
    package: Package,
    *,
    made: bool,
    unload: bool,
    patience: float = 60.0,
    pause: Callable[[float], None] = time.sleep,
) -> Verified:
    """Compare what the server has with what was sent and with training. `made`: whether it was created now, of these very files.

    Raises GateFailed naming the first difference.
    """
    shown = server.show(package.name)
    wrong = ["it is not there"] if shown is None else differences(shown, package, made=made)
    if wrong:
        raise GateFailed(f"{package.name} at {server.base} is not what was sent: {wrong[0]}")
    asked = _Patient(patience, pause)
    asked(lambda: server.load(package.name, FOREVER))
    loaded = any(_same_name(name, package.name) for name in server.loaded())
    if not loaded:
        raise GateFailed(f"{package.name} at {server.base} was loaded and is not in memory", fix="see the log of that server")
    given, wanted = server.context(package.name), int(package.parameters.get("num_ctx", 0))
    if given is not None and given < wanted:
        raise GateFailed(
            f"{package.name} at {server.base} was loaded with a context of {given} tokens, {wanted} were asked for",
            fix="give that server more memory, or set a shorter deployment.context",
        )
    proof = _prove_template(server, package, asked)
    answers = [(each, _answer(server, package, each, asked)) for each in package.references[:PROMPTS]]
    shares = [agreeing(said[:START], _said(each, said)[:START]) for each, said in answers]
    _judge(server, package, answers, shares, asked)
    if unload:
        server.unload(package.name)
    return Verified(
        template=proof,
        prompts=len(answers),
        equal=sum(said == _said(each, said) for each, said in answers),
        agreement=round(sum(shares) / len(shares), 4) if shares else None,
        loaded=not unload,
    )


def live_parity(verified: Verified, quantized: bool) -> Parity:
    """What verifying a push says of each layer that can be seen at an Ollama; inconclusive where nothing was to compare.

    Its prompts and answers are seen, and that it shows the stop texts and settings that were sent; token ids are not.
    """
    n, share = verified.prompts, verified.agreement or 0.0
    limit = AGREEMENT if quantized else EXACT
    weights: Literal["quantization", "merge"] = "quantization" if quantized else "merge"
    alike = f"answers begin {share:.0%} as training's, {verified.equal} of {n} are equal"
    checks = (
        ParityCheck(layer="template", ok=verified.template != "unproven", detail=f"proven by {verified.template}", n=n),
        ParityCheck(layer="stop", ok=True, detail="shows the stop texts that were sent", n=1),
        ParityCheck(layer=weights, ok=bool(n) and share >= limit, detail=alike, value=share, limit=limit, n=n),
        ParityCheck(layer="sampling", ok=True, detail="shows the settings that were sent", n=1),
    )
    wrong = next((check for check in checks if not check.ok), None)
    if wrong is None:
        return Parity(verdict="pass", checks=checks)
    return Parity(verdict="block" if n and share < limit else "inconclusive", layer=wrong.layer, checks=checks)


def agreeing(said: str, trained: str) -> float:
    """The share of two answers that is equal from the beginning, 0 to 1; 1 is wholly equal. Pure."""
    if said == trained:
        return 1.0
    same = next((i for i, (a, b) in enumerate(zip(said, trained, strict=False)) if a != b), min(len(said), len(trained)))
    return same / max(len(said), len(trained))


class _Patient:
    """Asks again while the server says that it is busy, for so long in all."""

    def __init__(self, seconds: float, pause: Callable[[float], None]) -> None:
        self.left, self.pause = seconds, pause

    def __call__(self, ask: Callable[[], T]) -> T:
        wait = 0.25
        while True:
            try:
                return ask()
            except UpstreamUnavailable as error:
                if self.left <= 0 or not ("is busy" in error.message or "status 503" in error.message):
                    raise
            self.pause(wait)
            self.left -= wait
            wait = min(wait * 2, 4.0)


def _existing(server: OllamaServer, package: Package) -> bool:
    """Whether the name is there with this content. Raises UserError when it holds another."""
    shown = server.show(package.name)
    if shown is None:
        return False
    wrong = differences(shown, package)
    if wrong:
        raise UserError(
            f"{package.name} is taken at {server.base}: {wrong[0]}; a version's name is never given to other content",
            fix="choose another with --name, or remove it there: ollama rm " + package.name,
        )
    return True


def _prove_template(server: OllamaServer, package: Package, asked: _Patient) -> str:
    prompts = [(list(r.messages), r.rendered) for r in package.references[:PROMPTS]]
    if not prompts and package.dialect is not None:
        prompts = [([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Größe? {{ x }}"}], "")]
        prompts = prompts if "system" in package.template else [(prompts[0][0][1:], "")]
    for messages, rendered in prompts:
        if package.messages:
            return "unproven"  # it puts turns of its own before every conversation
        text = asked(lambda messages=messages: server.rendered(package.name, messages))  # type: ignore[misc]
        if text is None:
            return "answers" if package.references else "unproven"
        wanted = _wanted(package, messages, rendered)
        if text != wanted:
            raise GateFailed(
                f"{package.name} at {server.base}: template: it makes the prompt {text[:80]!r}, training {wanted[:80]!r}"
            )
    return "rendered" if prompts else "unproven"


def _wanted(package: Package, messages: list[dict[str, Any]], rendered: str) -> str:
    if package.dialect is None:
        return rendered
    if package.system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": package.system}, *messages]
    return ollamatemplate.expected(package.dialect, messages)


def _answer(server: OllamaServer, package: Package, reference: Reference, asked: _Patient) -> str:
    client = ChatClient(server.base, package.name, server.api_key, total=600.0)
    messages, length = list(reference.messages), _length(reference)
    return asked(lambda: client.chat(messages, max_tokens=length, top_p=1.0, seed=0)).text


def _said(reference: Reference, said: str) -> str:
    """What training answered, as the server gives it: thoughts are taken out where the template has a place for them."""
    return reference.answer if "<think>" in said else _THOUGHT.sub("", reference.answer, count=1)


def _length(reference: Reference) -> int:
    return len(reference.answer_ids) + (8 if reference.stopped else 0)


def _judge(
    server: OllamaServer, package: Package, answers: list[tuple[Reference, str]], shares: list[float], asked: _Patient
) -> None:
    """Refuse answers that are not training's, and say whether the template or the weights are to blame."""
    if not shares or sum(shares) / len(shares) >= (AGREEMENT if package.quantized else EXACT):
        return
    reference, said = min(zip(answers, shares, strict=True), key=lambda pair: pair[1])[0]
    prompt = reference.rendered
    if package.dialect is not None:
        prompt = ollamatemplate.expected(package.dialect, reference.messages)
    raw = asked(lambda: server.complete(package.name, prompt, _length(reference)))
    layer = "template" if agreeing(raw, reference.answer) > agreeing(said, reference.answer) else "weights"
    share = sum(shares) / len(shares)
    raise GateFailed(
        f"{package.name} at {server.base}: {layer}: only {share:.0%} of its answers is what training answered; "
        f"prompt {reference.id}: {said[:60]!r}, trained {reference.answer[:60]!r}"
    )


def _take_back(server: OllamaServer, package: Package, error: TunekeeperError, *, guarded: bool, made: bool) -> None:
    """Delete a version that failed; what was there before only when it was found wrong."""
    if guarded:
        error.message += "; it is left there because a slot in use names it"
    elif made or isinstance(error, GateFailed):
        with contextlib.suppress(TunekeeperError):
            server.unload(package.name)  # a name that is gone would stay in memory for ever
        try:
            error.message += "; it was deleted again" if server.delete(package.name) else ""
        except TunekeeperError as also:
            error.message += f"; it could not be deleted ({also.message})"
    error.args = (error.message if error.fix is None else f"{error.message} (fix: {error.fix})",)


def _pushed(
    server: OllamaServer,
    package: Package,
    release: str | None,
    *,
    created: bool,
    sent: tuple[str, ...],
    verified: Verified | None = None,
    advice: tuple[str, ...] = (),
) -> Pushed:
    return Pushed(
        name=package.name,
        endpoint=server.base + "/v1",
        digest=package.digest,
        release=release,
        created=created,
        sent=sent,
        template=package.template,
        parameters=package.parameters,
        system=package.system,
        verified=verified,
        notes=package.notes + advice,
    )


def _advice(server: OllamaServer, package: Package) -> tuple[str, ...]:
    """Whether it fits into the memory that is left before it is loaded, where the server shares ours."""
    if urlsplit(server.base).hostname not in ("127.0.0.1", "localhost", "::1"):
        return ()
    tokens = int(package.parameters.get("num_ctx", CONTEXT))
    found = memory.warning(memory.need(read_gguf(package.model), package.bytes, tokens), memory.available())
    return (found,) if found else ()


def _same_name(one: str, other: str) -> bool:
    return one.lower().removeprefix("library/") == other.lower()
