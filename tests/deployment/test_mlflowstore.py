from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError, NotFound, UserError
from tunekeeper.deployment.mlflowserver import MlflowServer
from tunekeeper.deployment.mlflowstore import PROXY, Entry, Folder, folders_with, store_of
from tunekeeper.testing.mlflow import Fault, serving

FAR = MlflowServer(url="https://mlflow.example.org")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "file"
    found.write_bytes(b"hello")
    return found


def test_files_go_through_the_server_and_into_a_folder_of_this_machine_alike(tmp_path: Path, file: Path) -> None:
    with serving() as double:
        server = MlflowServer(url=double.url)
        places = ("mlflow-artifacts:/1/r", f"mlflow-artifacts://127.0.0.1:{double.server_port}/1/s", f"{double.url}{PROXY}/1/t")
        for uri in (*places, str(tmp_path / "here"), (tmp_path / "there").as_uri()):
            store = store_of(server, uri)
            assert store.ls() == store.ls("a") == []
            store.put("a/b c.json", file)
            assert store.ls() == [Entry(name="a", folder=True)]
            assert store.ls("a") == [Entry(name="b c.json", folder=False, bytes=5)]
            assert store.get("a/b c.json", tmp_path / "back", 5) == 5
            assert (tmp_path / "back").read_bytes() == b"hello"
            with pytest.raises(NotFound):
                store.get("a/none", tmp_path / "back", 5)
            with pytest.raises(ArtifactError, match="more than 4 bytes"):
                store.get("a/b c.json", tmp_path / "back", 4)
        assert sorted(double.files) == ["1/r/a/b c.json", "1/s/a/b c.json", "1/t/a/b c.json"]


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("s3://bucket/1", "keeps its files at s3: and does not pass them on"),
        ("mlflow-artifacts://elsewhere:5000/1", "keeps its files at mlflow-artifacts:"),
        ("https://elsewhere/api/2.0/mlflow-artifacts/artifacts/1", "does not pass them on"),
        ("/mlruns/1", "a folder of its own machine"),
        ("file:///mlruns/1", "--serve-artifacts"),
        ("mlflow-artifacts:/1/../../etc", "climbs out"),
        ("", "does not pass them on"),
    ],
)
def test_what_only_mlflow_itself_reaches_is_refused_in_one_line(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as found:
        store_of(FAR, uri)
    assert "\n" not in str(found.value)


def test_names_that_climb_and_links_are_not_followed(tmp_path: Path) -> None:
    with serving() as double:
        rows = '{"files": [{"path": "../x"}, {"path": "a/b"}, {"path": ".."}, {"path": "ok", "file_size": "7"}, 3, {}]}'
        double.faults.append(Fault(part=f"GET {PROXY}", status=200, body=rows))
        assert store_of(MlflowServer(url=double.url), "mlflow-artifacts:/1").ls() == [Entry(name="ok", folder=False, bytes=7)]
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert Folder(root=tmp_path).ls() == []
    with pytest.raises(NotFound):
        Folder(root=tmp_path).get("link", tmp_path / "back", 5)


def test_a_file_is_looked_for_in_folders_but_not_in_all_of_the_world(tmp_path: Path) -> None:
    for place in ("a", "b/c", "b/d/e/f/g"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x").touch()
    assert list(folders_with(Folder(root=tmp_path), "x")) == ["a", "b/c"]
