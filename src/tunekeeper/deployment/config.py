"""The deployment section of models/<name>.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunekeeper.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a version is made servable, and what must hold before it may take traffic."""

    engine: Literal["llamacpp", "ollama", "vllm", "fake"] = "llamacpp"
    """Model server that loads the artifact. `ollama`: one that runs already, to which versions are pushed; parity and exams run
    the same file in llama.cpp. `vllm`: one that runs already with this base and takes adapters at run time; exams run an
    unquantized file in llama.cpp, and parity is measured at the endpoint as well."""
    endpoint: str | None = None
    """Address of that server, `http://HOST:11434`; null: what OLLAMA_HOST names, else this machine (Ollama's port 11434, vLLM's
    8000)."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key of a vLLM server (its --api-key); null: it takes none."""
    adapters: str | None = None
    """Folder that is shared with a vLLM server, in which adapters are put for it; null: models/adapters of the data directory."""
    adapters_there: str | None = None
    """The same folder as the vLLM server names it; null: by the same name."""
    standby_endpoint: str | None = None
    """Address of a second vLLM, for versions that are whole models: the one that answers users holds no other; null: none."""
    merged: bool = False
    """Whether a vLLM is given whole models even where it could put the adapter on."""
    merged_dtype: Literal["f32", "f16", "bf16"] | None = None
    """Type of such a model's weights; null: the base's own."""
    quantization: Literal["f32", "f16", "bf16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"] = "Q4_K_M"
    """Type of the served file: Q4_K_M for speed, Q5_K_M for quality. vLLM serves the base as it is: there a Q type means f16."""
    apart: bool = False
    """Whether llama.cpp loads a version's adapter beside the base, from models/<task>/adapters and models/<task>/base of the data
    directory, in place of a merged file for each version. Not for what only merging can express (DoRA)."""
    parallel: int = 4
    """Requests one server answers at once."""
    context: int = 512
    """Tokens one request may use, prompt and answer together."""
    threads: int = 1
    """Threads of one server; as many as there are cores is slower on a busy machine."""
    unload_after_days: float | None = None
    """Days without rollback, incident or alert after which the standby's server is ended, its file kept; 7 is usual. Going back
    must load it first then, so that null, the default, never does."""
    smoke_prompts: int = 12
    """Prompts sent to a loaded slot before it may take traffic (10 to 20)."""
    smoke_max_tokens: int = 64
    """Tokens a smoke answer may have."""
    parity_prompts: int = 16
    """Most prompts of the reference transcript that are compared."""
    merge_gap: float = 0.1
    """Largest gap of a token's log-probability between training and the unquantized file (0.01 for f32), in nats."""
    quantized_gap: float = 0.5
    """Largest mean gap of a token's log-probability between training and the quantized file, in nats."""
    quantized_agreement: float = 0.7
    """Smallest share of greedy answers of the quantized file that equal the training-time ones, 0 to 1."""
    price_in: float | None = None
    """USD per million prompt tokens; None counts no cost."""
    price_out: float | None = None
    """USD per million completion tokens; None counts no cost."""
    price_hour: float | None = None
    """USD an hour of the machine that serves, in place of the prices of tokens: a request costs its seconds, shared among the
    `parallel` answers at once; None counts no cost."""

    def __post_init__(self) -> None:
        """Raises ConfigError where both kinds of price are given, or `apart` for a server that is given no files."""
        if self.apart and self.engine not in ("llamacpp", "fake"):
            raise ConfigError(
                f"deployment.apart: {self.engine} is handed versions in its own way",
                fix="leave it out, or write engine: llamacpp",
            )
        if self.price_hour is not None and (self.price_in is not None or self.price_out is not None):
            raise ConfigError("deployment.price_hour: a version is paid by the hour or by tokens, not by both", fix="keep one")
