"""T37: an artifact is whole and hashed or absent: its publisher killed at every system call, the file damaged, the disk full."""

from __future__ import annotations

import hashlib
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, WHOLE, figure, say
from tests.journeys.stepped import killed_at
from tests.journeys.weapons import gguf, tensor
from tunekeeper.core.errors import ArtifactError, DiskFull
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.inspect import verify
from tunekeeper.engines.llamacpp_server import main as serve
from tunekeeper.store.blobs import Blobs

SEED = 37
pytestmark = pytest.mark.timeout(SECONDS)


def model(path: Path, rng: random.Random, numbers: int = 4096) -> bytes:
    """A small model file of random numbers; its bytes."""
    data = gguf(table=tensor(numbers), data=b"".join(b"%c%c\x00\x3f" % tuple(rng.randbytes(2)) for _ in range(numbers)))
    path.write_bytes(data)
    return data


def steps_of(function: Callable[[], object], rng: random.Random) -> list[int]:
    """Which stops to kill at: every one in the long lane, forty drawn ones in the fast one."""
    function()
    stops = range(1, killed_at(function, None) + 1)
    return list(stops) if WHOLE else sorted(rng.sample(stops, min(40, len(stops))))


def test_a_publisher_killed_at_any_system_call_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    whole = model(tmp_path / "made.gguf", rng)
    older = model(tmp_path / "older.gguf", rng)
    out, blobs, places = tmp_path / "out" / "v1.0.gguf", Blobs(tmp_path / "blobs"), []
    digest = f"sha256:{hashlib.sha256(whole).hexdigest()}"

    def published() -> None:
        export_folder(tmp_path / "made.gguf", None, "f32", out)

    def stored() -> None:
        blobs.path(digest).unlink(missing_ok=True)
        blobs.put_file(tmp_path / "made.gguf")

    seen = {"absent": 0, "older": 0, "whole": 0, "stored": 0, "not stored": 0}
    for step in steps_of(published, rng):
        export_folder(tmp_path / "older.gguf", None, "f32", out)
        if step % 2:
            out.unlink()
            out.with_name("v1.0.gguf.sha256").unlink()
        killed_at(published, step)
        found = out.read_bytes() if out.exists() else None
        assert found in (None, older, whole), f"half a file after {step}"
        seen["absent" if found is None else "older" if found == older else "whole"] += 1
        published()
        assert verify(out)["files"] == {str(out): digest}, "the next try makes it good"
        places.append(len(list(out.parent.iterdir())))
    for step in steps_of(stored, rng):
        killed_at(stored, step)
        there = blobs.has(digest)
        assert not there or blobs.path(digest).read_bytes() == whole
        seen["stored" if there else "not stored"] += 1
        stored()
        assert blobs.verify(digest)
    say("T37", SEED, **{key.replace(" ", "_"): count for key, count in seen.items()}, most_files=max(places))
    assert all(seen.values()), "deaths before, in between and after"
    assert max(places) == 2, "what a killed one left is cleared away by the next"


def test_every_flip_and_every_cut_is_caught_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(SEED)
    whole = model(tmp_path / "made.gguf", rng)
    out, blobs = tmp_path / "v1.0.gguf", Blobs(tmp_path / "blobs")
    export_folder(tmp_path / "made.gguf", None, "f32", out)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(whole)
    held, files, copy = blobs.put_file(out), blobs.put_folder(folder), tmp_path / "copy"
    caught, tried = 0, figure(200, 20_000)
    monkeypatch.setattr("sys.argv", ["serve", "--model", str(out), "--digest", held, "--alias", "v1.0"])
    for number in range(tried):
        data = bytearray(whole)
        if number % 4 == 3:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        for path in (out, blobs.path(held)):
            path.chmod(0o644)
            path.write_bytes(data)
        refusals = (
            lambda: verify(out),
            lambda: blobs.read(held),
            lambda: blobs.checkout_folder(files, copy),
            serve,
        )
        caught += all(refused(each) for each in refusals) and not blobs.verify(held)
        assert not copy.exists()
    say("T37", SEED, damaged=tried, caught=caught)
    assert caught == tried


def refused(load: Callable[[], object]) -> bool:
    """Whether damage is said, in our own words."""
    try:
        load()
    except ArtifactError:
        return True
    return False


def test_a_full_disk_leaves_no_half_of_an_artifact(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    whole = model(tmp_path / "made.gguf", rng, 1 << 16)
    out, told = tmp_path / "out" / "v1.0.gguf", tmp_path / "told"
    for _ in range(figure(8, 200)):
        room = rng.randrange(len(whole))
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            try:
                export_folder(tmp_path / "made.gguf", None, "f32", out)
            except DiskFull as error:
                os.write(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND), f"{error}\n".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert not out.parent.exists() or list(out.parent.iterdir()) == []
    lines = told.read_text().splitlines()
    say("T37", SEED, full=len(lines))
    assert len(lines) == figure(8, 200)
    assert all("no room left" in line for line in lines)
