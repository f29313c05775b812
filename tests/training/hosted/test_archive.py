"""Archives from outside: what is taken out of them, and what they cannot do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from tests.training.hosted.conftest import adapter_files, packed
from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.hosted.archive import unpack

FILES = adapter_files()
MOST = 10_000_000


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "adapter.archive"
    path.write_bytes(content)
    return path


def tarred(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as tar:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def plain(mode: str = "w", prefix: str = "") -> bytes:
    return tarred(*((tarfile.TarInfo(prefix + name), content) for name, content in FILES.items()), mode=mode)


def zipped() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as packed_:
        for name, content in FILES.items():
            packed_.writestr(f"model/{name}", content)
    return raw.getvalue()


# Named, as an archive that is made now holds the time: processes that collect tests apart would see others.
@pytest.mark.parametrize(
    "content",
    [plain(), plain("w:gz"), plain("w:xz", "./deep/er/"), packed(FILES), zipped()],
    ids=["tar", "gz", "xz in folders", "zst", "zip"],
)
def test_every_usual_packing_is_opened(tmp_path: Path, content: bytes) -> None:
    opened = unpack(written(tmp_path, content), tmp_path / "out", MOST)
    assert {path.name: path.read_bytes() for path in opened.iterdir()} == FILES


def test_links_devices_and_paths_outside_are_left_where_they_are(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    link, hard, device = tarfile.TarInfo("README.md"), tarfile.TarInfo("LICENSE"), tarfile.TarInfo("LICENSE")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    hard.type, hard.linkname = tarfile.LNKTYPE, str(secret)
    device.type = tarfile.CHRTYPE
    outside = tarfile.TarInfo("../../README.md"), b"flat"
    whole = [(tarfile.TarInfo(name), content) for name, content in FILES.items()]
    archive = written(tmp_path, tarred((link, b""), (hard, b""), (device, b""), outside, *whole))
    opened = unpack(archive, tmp_path / "out", MOST)
    assert (opened / "README.md").read_text() == "flat"
    assert not (opened / "README.md").is_symlink()
    assert not (opened / "LICENSE").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "adapter.archive", "out"}
    assert secret.read_text() == "mine"


def test_a_small_archive_that_unpacks_to_a_large_one_is_stopped(tmp_path: Path) -> None:
    bomb = tarred((tarfile.TarInfo("adapter_model.safetensors"), bytes(5_000_000)))
    archive = written(tmp_path, zstandard.compress(bomb))
    assert archive.stat().st_size < 10_000
    with pytest.raises(ArtifactError, match="unpacks to more than 1,000,000 bytes"):
        unpack(archive, tmp_path / "out", 1_000_000)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 1_000_000


def test_what_is_said_twice_or_not_at_all_is_refused(tmp_path: Path) -> None:
    twice = tarred(*((tarfile.TarInfo(f"{n}/adapter_config.json"), b"{}") for n in "ab"))
    with pytest.raises(ArtifactError, match=r"holds adapter_config\.json twice"):
        unpack(written(tmp_path, twice), tmp_path / "out", MOST)
    with pytest.raises(ArtifactError, match=r"holds no adapter_config\.json"):
        unpack(written(tmp_path, tarred((tarfile.TarInfo("model.bin"), b"x"))), tmp_path / "out", MOST)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", packed(FILES)[:-50], zipped()[:60], plain("w:gz")[:200], b"\x28\xb5\x2f\xfdrubbish"],
    ids=["nothing", "a page", "half a tar", "half a zip", "half a gz", "no zst"],
)
def test_what_is_broken_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"not an archive that can be read|holds no"):
        unpack(written(tmp_path, content), tmp_path / "out", MOST)
