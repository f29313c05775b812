"""llama.cpp's server of the `xllamacpp` wheel as a process of its own.

`python -m tunekeeper.engines.llamacpp_server --model M.gguf [--lora A.gguf] [--port 0]` prints one line
`{"listening": "http://127.0.0.1:PORT", "load_s": …, "pid": …}` when it answers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, UpstreamUnavailable
from tunekeeper.core.ids import digest_file
from tunekeeper.engines import child
from tunekeeper.engines.client import call
from tunekeeper.engines.engine import key_of


def options() -> argparse.ArgumentParser:
    """The child's own options."""
    parser = child.arguments("serve one GGUF file with llama.cpp")
    parser.add_argument("--model", required=True)
    parser.add_argument("--lora", action="append", default=[], help="adapter GGUF to preload, index 0, 1, …")
    parser.add_argument(
        "--lora-digest", action="append", default=[], help="sha256:… of each of them, in their order; as --digest"
    )
    parser.add_argument("--lora-scale", type=float, default=1.0, help="scale of the preloaded adapters")
    parser.add_argument("--lora-off", action="store_true", help="preload without applying; requests choose")
    parser.add_argument("--mapped", action="store_true", help="weights as they lie in the file, which servers of one file share")
    parser.add_argument("--parallel", type=int, default=4, help="requests answered at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens in all, divided among the parallel requests")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache-type", choices=("f16", "f32"), default="f16", help="type of cached keys and values")
    parser.add_argument("--digest", help="sha256:… that the model file must have; checked before it is loaded")
    parser.add_argument("--verbosity", type=int, default=1)
    return parser


def parameters(given: argparse.Namespace, port: int) -> Any:
    """llama.cpp's parameters. Raises ConfigError when the key's variable is empty."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.hostnames = [given.host]
    params.port = port
    params.n_parallel = given.parallel
    params.n_ctx = given.context
    params.fit_params = False  # the context must be what was asked for, whatever memory is free
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{given.cache_type.upper()}")
    if given.cache_type == "f32":  # flash attention rounds to f16 on its way
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.no_extra_bufts = given.mapped  # else llama.cpp rearranges some types for its kernels, in memory of its own
    params.n_threads_http = max(4, given.parallel * 2)
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.use_jinja = True
    params.ui = False
    params.offline = True
    # llama.cpp takes a prompt from this cache whatever adapter it was computed with: where requests may choose, there is none.
    params.cache_ram_mib = 0 if given.lora else 64
    params.check_tensors = True
    params.model_alias = {given.alias}
    params.verbosity = given.verbosity
    params.cors_origins = "http://127.0.0.1:1"  # no web page may read answers
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(path, 0.0 if given.lora_off else given.lora_scale) for path in given.lora
    ]
    params.lora_init_without_apply = given.lora_off
    if key := key_of(given.api_key_env or None):
        params.api_keys = [key]
    return params


def main() -> None:
    """Load, report, serve until told to end."""
    given = options().parse_args()
    handle = child.hold_lock(given.lock)
    for name, digest in ((given.model, given.digest), *zip(given.lora, given.lora_digest, strict=False)):
        _check_digest(Path(name), digest)
    began = time.monotonic()
    import xllamacpp

    params = parameters(given, child.free_port(given.host, given.port, given.other_port))
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"{given.model}: llama.cpp cannot load it ({error})", fix=f"tunekeeper export inspect {given.model}"
        ) from error
    child.report(handle, listening=server.listening_address, load_s=round(time.monotonic() - began, 3))
    child.stay(handle, lambda: _answers(server.listening_address))


def _check_digest(path: Path, wanted: str | None) -> None:
    if wanted is None:
        return
    found = digest_file(path)
    if found != wanted:
        raise ArtifactError(f"{path}: its digest is {found}, recorded is {wanted}: changed or damaged", fix="export it again")


def _answers(address: str) -> bool:
    try:
        # A busy server may be slow to say so; only silence counts as gone.
        status, _ = call("GET", address + "/health", connect=5.0, total=10.0)
    except UpstreamUnavailable:
        return False
    return status == 200


if __name__ == "__main__":
    child.run(main)
