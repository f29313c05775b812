"""Whether the served answers are the training-time answers: measurements in, verdict with the layer to blame out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunekeeper.core.nouns.deployment import Parity, ParityCheck

GREEDY = {"temperature": 0.0}
_NEUTRAL = {
    "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "dry_multiplier": 0.0, "mirostat": 0,
    "xtc_probability": 0.0, "dynatemp_range": 0.0, "logit_bias": [], "ignore_eos": False, "grammar": "", "json_schema": {},
}  # fmt: skip
"""Settings that change even a greedy answer, with the value that leaves it alone."""
_OTHER_NAMES = {
    "repetition_penalty": "repeat_penalty", "n_predict": "max_tokens", "num_predict": "max_tokens",
    "max_new_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
}  # fmt: skip
"""Names of settings in other servers → llama.cpp's."""
SURE = 4.0
"""Standard errors that a tensor's share of the adapter must be off beyond the limit."""
_RANDOM = ("temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far served may be from trained."""

    merge_gap: float = 0.1
    """Largest gap of one token's log-probability in an f16 file, in nats; in a bf16 file the largest mean gap."""
    coarser: float = 8.0
    """How many times that one token of a bf16 file may be off: llama.cpp computes it in 8 bits of a number, f16 in 11."""
    exact_gap: float = 0.01
    """The same in an f32 file, in nats."""
    adapter_share: float = 0.1
    """How far the adapter's share in the weights may be from 1."""
    quantized_gap: float = 0.5
    """Largest mean gap of a token's log-probability in a quantized file, in nats."""
    quantized_agreement: float = 0.7
    """Smallest share of tokens on which the quantized file's greedy choice is the training-time one."""
    error_ratio: float = 1.5
    """Largest ratio of the weights' error to that of quantizing them correctly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Things that are equal or not."""

    n: int
    """How many were compared."""
    differ: int = 0
    """How many differ."""
    first: str = ""
    """The first difference in one line."""
    missing: str = ""
    """What could not be compared, for want of what the server does not say, in one line: without it nothing passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaps:
    """Log-probabilities of the training-time answers' tokens, in training and as served."""

    n: int
    """Tokens compared."""
    worst: float
    """Largest absolute gap, in nats."""
    mean: float
    """Mean absolute gap, in nats."""
    agree: int
    """Tokens on which the served greedy choice is the training-time one."""
    answers: int = 0
    """Answers compared."""
    equal: int = 0
    """Answers that are equal from first to last token."""
    first: str = ""
    """First differing token in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """One tensor of the served file beside the right one, as sums of products over the values that were compared: d is served
    minus right, a the adapter's part of right, r right itself."""

    name: str
    """Its name in the file."""
    quantized: bool
    """Whether it is stored in a quantized type."""
    values: int
    """Values compared."""
    dd: float
    """Sum of d squared."""
    da: float = 0.0
    """Sum of d times a."""
    dr: float = 0.0
    """Sum of d times r."""
    aa: float = 0.0
    """Sum of a squared; 0 where the adapter changes nothing."""
    ar: float = 0.0
    """Sum of a times r."""
    rr: float
    """Sum of r squared."""
    cost: float
    """Sum of d squared that storing the right values in this type leaves."""
    like_an_adapter: bool = False
    """Whether what is left is what another adapter, or the right one merged otherwise, leaves."""

    @property
    def along(self) -> float:
        """How much of the adapter is too much (1: twice) or missing (-1: none), by least squares."""
        return self.da / self.aa if self.aa > 0 else 0.0

    @property
    def left(self) -> float:
        """Sum of d squared when the adapter's share is set aside."""
        return max(0.0, self.dd - self.along * self.da)

    @property
    def unsure(self) -> float:
        """Standard error of `along`: what is left hits the adapter's direction by chance."""
        return float((self.left / self.values / self.aa) ** 0.5) if self.aa > 0 and self.values else 0.0

    @property
    def louder(self) -> float:
        """How much larger (0.05: by a twentieth) the served values are than the right ones, the adapter's share set aside."""
        return (self.dr - self.along * self.ar) / self.rr if self.rr > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """The weights of the served file beside those that checkpoint and adapter give."""

    tensors: tuple[Weight, ...] = ()
    """Every tensor that was compared."""

    @property
    def n(self) -> int:
        """Tensors compared."""
        return len(self.tensors)

    @property
    def share(self) -> float | None:
        """How much of the adapter is in the file: 1 is right, 0 none, 2 twice; None without an adapter."""
        whole = sum(t.aa for t in self.tensors)
        return 1 + sum(t.da for t in self.tensors) / whole if whole > 0 else None

    @property
    def error(self) -> float:
        """Relative error that is left when the adapter's share is set aside."""
        return float((sum(t.left for t in self.tensors) / (sum(t.rr for t in self.tensors) or 1.0)) ** 0.5)

    @property
    def expected(self) -> float:
        """Relative error of storing the right weights in the same types."""
        return float((sum(t.cost for t in self.tensors) / (sum(t.rr for t in self.tensors) or 1.0)) ** 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Everything that was measured of one artifact."""

    template: Compared
    """Rendered text, per prompt."""
    stop: Compared
    """End tokens and stop texts."""
    tokenizer: Compared
    """Token ids, per text."""
    plain: str | None
    """Type of the unquantized file that was run (f32, f16, bf16); None when there was none."""
    merged: Gaps | None = None
    """Gaps of the unquantized file."""
    quantized: Gaps | None = None
    """Gaps of the quantized file; None when the artifact is not quantized, or nothing was known of the answers."""
    weighed: Weighed | None = None
    """The weights; None when they were not compared."""
    is_quantized: bool = True
    """Whether the artifact is quantized."""
    sampling: Compared = Compared(n=0)
    """Answers under the artifact's own sampling settings."""
    computes: str = ""
    """A field of the file by which the server computes otherwise than training did; empty without one."""
    coarser: str = ""
    """A tensor that is stored in fewer bits than the file says; empty without one."""
    sampling_conflict: str = ""
    """A declared setting that differs from the training-time one; empty when none does."""


def decide(measured: Measured, limits: Limits) -> Parity:
    """pass when every layer agrees, block naming the first that does not, inconclusive when a layer has no evidence."""
    checks = (
        _equal("template", measured.template),
        _equal("stop", measured.stop),
        _equal("tokenizer", measured.tokenizer),
        _merge(measured, limits),
        _quantization(measured, limits),
        _sampling(measured),
    )
    return _verdict(checks)


def decide_live(measured: Measured, limits: Limits, *, file: ParityCheck | None = None) -> Parity:
    """As `decide`, of a loaded server, where merging and quantization cannot be told apart: the one that applies is judged.

    `file`: what was seen of the very file that is loaded, where no answers are known to compare.
    """
    weights = file or (_quantization(measured, limits) if measured.is_quantized else _merge(measured, limits))
    return _verdict(
        (
            _equal("template", measured.template),
            _equal("stop", measured.stop),
            _equal("tokenizer", measured.tokenizer),
            weights,
            _sampling(measured),
        )
    )


def _verdict(checks: tuple[ParityCheck, ...]) -> Parity:
    wrong = next((check for check in checks if not check.ok), None)
    if wrong is None:
        return Parity(verdict="pass", checks=checks)
    # A difference that was seen counts for more than evidence that is missing.
    seen = next((check for check in checks if not check.ok and check.n > 0), None)
    if seen is None:
        return Parity(verdict="inconclusive", layer=wrong.layer, checks=checks)
    ends = next(check for check in checks if check.layer == "stop")
    if seen.layer == "template" and not ends.ok and ends.n > 0:
        seen = ends  # many templates write the end token: where that is another, so are their texts
    return Parity(verdict="block", layer=seen.layer, checks=checks)


def _equal(layer: Any, compared: Compared) -> ParityCheck:
    if compared.n == 0 or (compared.missing and not compared.differ):
        return ParityCheck(layer=layer, ok=False, detail=compared.missing or "nothing to compare")
    detail = compared.first if compared.differ else f"{compared.n} of {compared.n} equal"
    return ParityCheck(layer=layer, ok=compared.differ == 0, detail=detail, value=float(compared.differ), limit=0.0, n=compared.n)


def _merge(measured: Measured, limits: Limits) -> ParityCheck:
    gaps, weighed = measured.merged, measured.weighed
    if measured.computes:
        return ParityCheck(layer="merge", ok=False, detail=measured.computes, n=1)
    wrong = _merged_wrong(weighed, limits) if weighed else None
    if wrong is not None:
        return wrong
    if gaps is not None and gaps.n:
        return _plain_gaps(gaps, measured.plain, limits)
    if weighed is None or weighed.n == 0:
        told = gaps.first if gaps is not None else ""
        return ParityCheck(layer="merge", ok=False, detail=told or "neither answers nor weights to compare")
    share = "no adapter" if weighed.share is None else f"{weighed.share:.3f} times the adapter"
    return ParityCheck(
        layer="merge", ok=True, detail=f"{share} in {weighed.n} tensors", value=weighed.share, limit=1.0, n=weighed.n
    )


def _plain_gaps(gaps: Gaps, kind: str | None, limits: Limits) -> ParityCheck:
    which, value = "largest", gaps.worst
    limit = limits.exact_gap if kind == "f32" else limits.merge_gap * (limits.coarser if kind == "bf16" else 1)
    if kind == "bf16" and value <= limit and gaps.mean > limits.merge_gap:
        which, value, limit = "mean", gaps.mean, limits.merge_gap
    detail = f"{which} gap {value:.4f} nats over {gaps.n} tokens in {kind}"
    detail = detail if value <= limit or not gaps.first else f"{detail}; {gaps.first}"
    return ParityCheck(layer="merge", ok=value <= limit, detail=detail, value=value, limit=limit, n=gaps.n)


def _merged_wrong(weighed: Weighed, limits: Limits) -> ParityCheck | None:
    """The merging fault that the weights show, None without one."""
    sound = Weighed(tensors=tuple(t for t in weighed.tensors if not _damaged(t, limits)))
    if sound.share is not None and abs(sound.share - 1) > limits.adapter_share:
        detail = f"the file holds {sound.share:.2f} times the adapter"
        return ParityCheck(layer="merge", ok=False, detail=detail, value=sound.share, limit=1.0, n=weighed.n)
    shares = [t for t in sound.tensors if abs(t.along) > limits.adapter_share + SURE * t.unsure]
    if shares:
        worst = max(shares, key=lambda t: abs(t.along))
        detail = f"{worst.name} holds {1 + worst.along:.2f} times its part of the adapter, and {len(shares) - 1} more are off"
        return ParityCheck(layer="merge", ok=False, detail=detail, value=1 + worst.along, limit=1.0, n=weighed.n)
    other = [t for t in weighed.tensors if _damaged(t, limits) and (t.like_an_adapter or not t.quantized)]
    return _off("merge", other, weighed, limits) if other else None


def _quantization(measured: Measured, limits: Limits) -> ParityCheck:
    gaps, weighed = measured.quantized, measured.weighed
    if measured.coarser:
        return ParityCheck(layer="quantization", ok=False, detail=measured.coarser, n=1)
    if not measured.is_quantized:
        return ParityCheck(layer="quantization", ok=True, detail="not quantized", n=1)
    if weighed is not None and weighed.n:
        damaged = [t for t in weighed.tensors if _damaged(t, limits) and t.quantized and not t.like_an_adapter]
        if damaged or gaps is None or not gaps.n:
            return _off("quantization", damaged, weighed, limits)
    if gaps is None or gaps.n == 0:
        told = gaps.first if gaps is not None else ""
        return ParityCheck(layer="quantization", ok=False, detail=told or "neither answers nor weights to compare")
    agreement = gaps.agree / gaps.n
    detail = f"mean gap {gaps.mean:.3f} nats, {gaps.agree} of {gaps.n} tokens and {gaps.equal} of {gaps.answers} answers equal"
    if agreement < limits.quantized_agreement:
        where = f"{detail}; {gaps.first}"
        return ParityCheck(
            layer="quantization", ok=False, detail=where, value=agreement, limit=limits.quantized_agreement, n=gaps.n
        )
    ok = gaps.mean <= limits.quantized_gap
    return ParityCheck(layer="quantization", ok=ok, detail=detail, value=gaps.mean, limit=limits.quantized_gap, n=gaps.n)


def _damaged(weight: Weight, limits: Limits) -> bool:
    """Whether a tensor is further from right than storing it in its type explains, the adapter's share set aside."""
    return _error(weight.left, weight) > _limit(weight, limits) or abs(weight.louder) > _limit_of_louder(weight)


def _error(squares: float, weight: Weight) -> float:
    return float((squares / (weight.rr or 1.0)) ** 0.5)


def _limit(weight: Weight, limits: Limits) -> float:
    # A thousandth of room: rounding to f16 twice is no error of anybody's.
    return limits.error_ratio * _error(weight.cost, weight) + 1e-3


def _limit_of_louder(weight: Weight) -> float:
    # Rounding makes values a little smaller on average, by about the square of its error.
    return 0.01 + 2 * _error(weight.cost, weight) ** 2


def _off(layer: Any, off: list[Weight], weighed: Weighed, limits: Limits) -> ParityCheck:
    """What the tensors that are `off` say; without any, that the weights are right."""
    if not off:
        detail = f"weights off by {weighed.error:.2%}, {weighed.expected:.2%} is what their types cost"
        return ParityCheck(
            layer=layer, ok=True, detail=detail, value=weighed.error, limit=limits.error_ratio * weighed.expected, n=weighed.n
        )
    worst = max(off, key=lambda t: _error(t.left, t) / _limit(t, limits))
    error, limit = _error(worst.left, worst), _limit(worst, limits)
    detail = f"{worst.name} is off by {error:.2%}, {_error(worst.cost, worst):.2%} is what its type costs"
    detail += f", and its values are {1 + worst.louder:.3f} times the right ones" if error <= limit else ""
    detail += f"; {len(off)} of {weighed.n} tensors are off" if len(off) > 1 else ""
    return ParityCheck(layer=layer, ok=False, detail=detail, value=error, limit=limit, n=weighed.n)


def _sampling(measured: Measured) -> ParityCheck:
    if measured.sampling_conflict:
        return ParityCheck(layer="sampling", ok=False, detail=measured.sampling_conflict, n=max(1, measured.sampling.n))
    return _equal("sampling", measured.sampling)


def sampling_conflict(declared: dict[str, Any], trained: dict[str, Any]) -> str:
    """Which declared setting makes served answers differ from training-time ones, in one line; empty when none does.

    `declared`: what the artifact's server uses; nothing declared means that requests decide. `trained`: `{"temperature": 0}`
    for greedy answers, else the checkpoint's own generation settings.
    """
    if not declared:
        return ""
    declared = named(declared)
    for key, neutral in _NEUTRAL.items():
        wanted = trained.get(key, trained.get("repetition_penalty", neutral) if key == "repeat_penalty" else neutral)
        if declared.get(key, wanted) != wanted:
            return f"{key} is {declared[key]}, training used {wanted}"
    temperature = float(declared.get("temperature", 0.8))
    if temperature == 0:
        return ""  # training's own answers, which everything is compared with, are greedy
    if temperature != float(trained.get("temperature", 0.0)):
        told = declared.get("temperature", "not set (a server's own is 0.8)")
        return f"temperature is {told}, training used {trained.get('temperature', 0.0)}"
    odd = next((k for k in _RANDOM if k in trained and k in declared and declared[k] != trained[k]), None)
    return f"{odd} is {declared[odd]}, training used {trained[odd]}" if odd else ""


def named(settings: dict[str, Any]) -> dict[str, Any]:
    """Sampling settings under llama.cpp's names."""
    return {_OTHER_NAMES.get(key, key): value for key, value in settings.items()}


def stop_conflict(
    declared: tuple[str, ...] | None, ends: tuple[str, ...], answers: tuple[str, ...], special: tuple[str, ...] = ()
) -> str:
    """What is wrong with an artifact's stop texts, in one line; empty when nothing is.

    `declared`: None when the artifact says nothing. `ends`: texts of the tokens that end a training-time answer; one of them
    must stand among the declared. `answers`: training-time answers, which no stop text may cut short. `special`: texts of
    tokens that are no text; any other may be in an answer that nobody has asked for yet.
    """
    if declared is None:
        return ""
    if ends and not set(ends) & set(declared):
        return f"stop texts {list(declared)} lack {ends[0]!r}, which ended answers in training"
    for text in declared:
        cut = next((answer for answer in answers if text and text in answer), None)
        if cut is not None:
            return f"stop text {text!r} cuts the answer {cut[:60]!r} short"
    other = next((text for text in declared if text not in (*ends, *special)), None)
    return "" if other is None else f"stop text {other!r} ended nothing in training, where answers may hold it"
