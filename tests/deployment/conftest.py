"""Checkpoints made once a session, and a server for a file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deployment.checkpoints import make_all
from tests.once import made_once
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ChatClient, serve_temporarily

EXACT = ("--cache-type", "f32")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with every plan of `checkpoints`, which nobody changes."""
    return made_once(tmp_path_factory, "checkpoints", make_all)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a made folder that may be damaged: `copy("llama/adapter")`."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(made / name, tmp_path / name.replace("/", "-")))

    return copied


@contextlib.contextmanager
def serving(model: Path, lora: Path | None = None, *options: str) -> Iterator[ChatClient]:
    """A client of a llama.cpp server that holds the file for the length of the block."""
    files = {"model": str(model.resolve())} | ({"lora": str(lora.resolve())} if lora else {})
    slot = Slot(id="test", model="m", version="v", engine="llamacpp", files=files, options={"context": 512, "parallel": 1})
    with serve_temporarily(slot, Path("/"), extra=(*EXACT, *options)) as endpoint:
        yield ChatClient(endpoint, "v")
