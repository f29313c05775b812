"""The `training` section of models/<name>.yaml: the defaults of every recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOptions:
    """Where a training runs that does not run here, and under which name."""

    model: str = ""
    """The base's name at the provider, e.g. gpt-4o-mini-2024-07-18 or Qwen/Qwen2.5-1.5B-Instruct."""
    endpoint: str | None = None
    """Address of the provider's API; None: its own."""
    api_key_env: str | None = None
    """Environment variable that holds the key; None: the provider's usual one, e.g. OPENAI_API_KEY."""
    account: str = ""
    """Fireworks: the account that datasets, jobs and models belong to."""
    suffix: str = ""
    """Put into the name of the tuned model, where the provider lets us; empty: the model's own name."""
    serve_endpoint: str | None = None
    """Where the tuned model answers, up to and with /v1; None: the provider's own."""
    learning_rate_multiplier: float | None = None
    """OpenAI, which has a rate of its own for each model: what it is multiplied by, above 0; None: chosen by OpenAI."""
    most_usd: float | None = None
    """Together and Mistral, which estimate a run before it begins: the most that it may cost; None: no limit."""
    poll_seconds: float = 30.0
    """Seconds between two looks at the provider's job, above 0."""
    give_up_seconds: float = 3600.0
    """Seconds without an answer of the provider after which the run fails; begun again it goes on where it was."""
    most_bytes: int = 8_000_000_000
    """Largest adapter that is taken home, packed and unpacked."""
    command: tuple[str, ...] = ()
    """`command`: the trainer's words, run without a shell; {data}, {eval}, {out}, {base} and {recipe} become paths."""
    timeout_seconds: float = 86_400.0
    """`command`: seconds after which it is ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a model is trained. A run freezes these, with the run's own changes, into its recipe."""

    method: Literal["lora", "full"] = "lora"
    """What is learned: a low-rank adapter beside the frozen base (`lora`), or every number of the base (`full`), which takes many
    times the memory and leaves a whole model for each version. Its rate, left at our default, becomes 2e-5."""
    rank: int = 16
    """Rank of the low-rank matrices; 16 to 64 is usual."""
    alpha: int = 32
    """LoRA alpha; the update is scaled by alpha / rank. Usually twice the rank."""
    dropout: float = 0.0
    """Probability of dropping an input of the adapter while training, 0 to 1."""
    targets: tuple[str, ...] = ("all-linear",)
    """Layers that get an adapter: `all-linear`, or ends of module names such as `q_proj`."""
    epochs: int = 3
    """Passes over the training rows; 3 to 5 is usual, more overfits."""
    learning_rate: float = 2e-4
    """Peak of the cosine schedule."""
    warmup_steps: int = 10
    """Steps in which the rate climbs to its peak."""
    batch: int = 16
    """Conversations a step."""
    max_tokens: int = 2048
    """Longest conversation in tokens; longer ones are left out and counted."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    weight_decay: float = 0.0
    """AdamW's decay, a fraction of the weight per unit of learning rate."""
    seed: int = 0
    """Seed of everything random: start weights, order, dropout."""
    threads: int = 1
    """CPU threads of the training child; more than one spins on a busy machine."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the base while training; auto: bfloat16 on a GPU or a CPU made for it, else float32."""
    accumulation: int = 1
    """Parts that a step's batch is worked off in, one after the other; more parts need less memory for the same step."""
    checkpointing: bool = False
    """Whether activations are worked out again on the way back instead of kept: about a third more time, far less memory."""
    packing: bool = False
    """Whether rows are laid end to end into sequences of up to `max_tokens`, each seeing only itself: no padding. It pays on a
    GPU; on a CPU sorting by length pays more."""
    dora: bool = False
    """Weight-decomposed adapters: a magnitude beside the low-rank direction; slower, exported merged."""
    rslora: bool = False
    """Rank-stabilised scale: alpha / sqrt(rank) in place of alpha / rank, for high ranks."""
    objective: Literal["sft", "dpo"] = "sft"
    """What is learned: the answers (`sft`), or to prefer the chosen answer over `metadata.rejected` (`dpo`)."""
    beta: float = 0.1
    """DPO only: how strongly the model is held to where it began, above 0; smaller moves further."""
    patience: int | None = None
    """Epochs without a lower held-out loss after which training stops early; None: every epoch is run."""
    keep: Literal["task", "loss", "last"] = "task"
    """Which epoch's adapter becomes the version: the one that answers the sample best, the lowest held-out loss, or the last."""
    qlora: bool = False
    """Whether the base is held in 4 bits (NF4, double quantization); needs bitsandbytes."""
    start: Literal["champion", "base"] = "champion"
    """What a cycle continues from: the live version's adapter where it has one, or always the bare base."""
    update: dict[str, float] = field(default_factory=dict)
    """Recipe values that differ when a run continues from an adapter, e.g. `{epochs: 3, learning_rate: 0.001}`."""
    replay: float | None = None
    """When continuing: rows of the parent's dataset per new row, e.g. 1.0; None trains on every row."""
    suite: str | None = None
    """Suite whose cases are answered after each epoch, to keep the best one by its own scorers; None: held-out rows, where an
    answer counts by its JSON fields, else as a whole."""
    sample: int = 48
    """Most cases that are answered after each epoch; 0: none, and the lowest held-out loss decides."""
    transcript: int = 40
    """Held-out prompts whose answers the child records for parity."""
    answer_tokens: int = 64
    """Longest recorded answer, in tokens."""
    rate_usd_per_hour: float | None = None
    """What an hour of the training machine costs; None: cost is not recorded."""
    people_usd_per_hour: float | None = None
    """What an hour of the people who review answers costs, for the plan's cost drivers; None: not counted in money."""
    backend: Literal["local", "trl", "openai", "together", "fireworks", "mistral", "command"] = "local"
    """Who trains: this machine's own loop, TRL's SFTTrainer in its place, a provider, or a trainer of yours started as a
    command."""
    backend_options: BackendOptions = BackendOptions()
    """What that one needs to know. A batch or a learning rate left at our default becomes the provider's own."""
    few_shot: tuple[dict[str, str], ...] = ()
    """Messages (`role`, `content`) put after the system prompt of the untrained base, the baseline to beat."""
    base_system: str | None = None
    """System prompt of the untrained base; None takes the model's `system`."""
