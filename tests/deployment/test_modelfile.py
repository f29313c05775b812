from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.modelfile import Modelfile, read, write

TEMPLATE = '{{ range .Messages }}"{{ .Role }}"\n  {{ .Content }}<|end|>\n{{ end }}'


def test_every_command_is_written_and_read_back(tmp_path: Path) -> None:
    stops = ["<|im_end|>", "\n\n", ' "quoted"', '"', "# no comment", "User:"]
    made = Modelfile(
        model="./v1.0.gguf",
        adapter="./v1.0-adapter.gguf",
        template=TEMPLATE,
        parameters={"stop": stops, "temperature": 0.0, "num_ctx": 512},
        system='Answer with "JSON".\n\n  Größe """ inside a line \n',
        messages=({"role": "user", "content": "Hi\nthere"}, {"role": "assistant", "content": "Hello"}),
    )
    path = write(tmp_path / "Modelfile", made)
    text = path.read_text("utf-8")
    assert read(text) == made.commands()
    assert text.startswith('FROM ./v1.0.gguf\nADAPTER ./v1.0-adapter.gguf\nTEMPLATE """{{ range')
    assert "PARAMETER stop <|im_end|>\nPARAMETER stop " in text
    assert "PARAMETER num_ctx 512\n" in text
    assert text.endswith('MESSAGE user """Hi\nthere"""\nMESSAGE assistant Hello\n')


@pytest.mark.parametrize(
    "more", [{"system": 'a """\nb'}, {"template": 'x"""\n{{ .System }}'}, {"parameters": {"stop": ['"""\nx']}}]
)
def test_what_a_modelfile_cannot_hold_is_refused_and_not_written(tmp_path: Path, more: dict[str, Any]) -> None:
    made = Modelfile(**{"model": "./m.gguf", "template": TEMPLATE, **more})
    with pytest.raises(ArtifactError, match="cannot hold"):
        write(tmp_path / "Modelfile", made)
    assert list(tmp_path.iterdir()) == []


def test_a_hand_written_file_is_read_as_ollama_reads_it() -> None:
    text = '# a comment\nfrom ./m.gguf\n\nPARAMETER stop "a b"\nSYSTEM """\nlong\n"""\nmessage user hi # there\n'
    wanted = [("from", "./m.gguf"), ("stop", "a b"), ("system", "\nlong\n"), ("message user", "hi # there")]
    assert read(text) == wanted
    with pytest.raises(ArtifactError, match="not closed"):
        read('SYSTEM """open')


def test_a_command_that_breaks_off_is_refused() -> None:
    for text in ("FROM a\nPARAMETER", "FROM a\nMESSAGE \n "):
        with pytest.raises(ArtifactError, match="without its name"):
            read(text)
