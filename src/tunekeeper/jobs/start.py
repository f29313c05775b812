"""Starting an attempt: the folder, the environment, the wrapper."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import tunekeeper
from tunekeeper.jobs import folder as folders
from tunekeeper.jobs.config import Config
from tunekeeper.store.ledgers.jobs import JobRow

_PASSED = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    *("HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def start(root: Path, folder: Path, row: JobRow, config: Config, lock: int) -> None:
    """Start the wrapper of one attempt. `lock`: the folder's lock, which the wrapper inherits already held; the caller closes
    its own copy. Between two attempts nothing of the old one is left running."""
    folders.end_group(folder)
    for stale in ("exit.json", "answer.json", "child.json", "wrapper.json", "started"):
        (folder / stale).unlink(missing_ok=True)
    (folder / "files").mkdir(exist_ok=True)
    task = {"id": row.id, "kind": row.kind, "input": row.input, "root": str(root), "attempt": row.attempt, "timeout": row.timeout}
    folders.write_json(folder / "task.json", {**task, "output_bytes": config.output_bytes, "grace": config.grace})
    with (folder / "wrapper.log").open("ab") as log:
        # Through a shell that ends at once: the wrapper belongs to init, so it outlives us and leaves no zombie behind.
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-P", "-m", "tunekeeper.jobs.wrapper", str(folder)],
            cwd=folder,
            env=environment(row, config, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
            check=True,
        )
    (folder / "started").touch()


def environment(row: JobRow, config: Config, ours: Mapping[str, str]) -> dict[str, str]:
    """The child's variables: an allow-list, those the job was given by name, and one way of using threads.

    OpenMP threads that spin make training twenty times slower on a busy machine, so they always sleep.
    """
    passed = {name: ours[name] for name in (*_PASSED, *row.env) if name in ours}
    source = str(Path(tunekeeper.__file__).parent.parent)
    paths = [source, *(part for part in passed.get("PYTHONPATH", "").split(os.pathsep) if part and part != source)]
    threads = row.input.get("threads")
    count = str(threads if isinstance(threads, int) and threads > 0 else config.threads)
    fixed = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    return {**passed, "PYTHONPATH": os.pathsep.join(paths), **dict.fromkeys(_THREADS, count), **fixed, folders.MARK: row.id}
