"""`tunekeeper data seal-key` and `reveal`: what redaction took out of a row, for the holder of the secret key alone."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from tunekeeper.cli import frame

app = frame.group("Sealed personal data.")


@app.command("seal-key")
def seal_key(
    out: Annotated[Path, typer.Option("--out", help="File for the secret key; it must not be there yet.")],
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Make a pair of keys: the secret one goes to a file that only you can read, the public one into `data.redact_seal`. A file
    in the data directory of the project is refused: backups hold what lies there.

    Example: tunekeeper data seal-key --out ~/tunekeeper.seal
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.text.seals import make_keys

    if (kept := _data_directory(dir)) is not None and out.resolve().is_relative_to(kept):
        raise UserError(f"{out} lies beside the rows that it opens", fix="keep the secret key outside of the data directory")
    secret, public = make_keys()
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}", fix="name a new file") from None
    with open(handle, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    lines = [
        f"secret key: {out}; keep it away from this machine",
        "in models/<name>.yaml:",
        "data:",
        f'  redact_seal: "{public}"',
    ]
    return frame.emit({"secret": str(out), "public": public}, json, lines)


def _data_directory(dir: Path | None) -> Path | None:
    """The data directory of the project; None where no project was named and none is here. Raises ConfigError."""
    from tunekeeper.core.errors import UserError

    try:
        return (frame.find_project(dir) / frame.DATA_FOLDER).resolve()
    except UserError:
        if dir is not None:
            raise
        return None


@app.command("reveal")
def reveal(
    row: Annotated[str, typer.Argument(help="Id of a row of the draft or of the newest version.")],
    model: frame.Model,
    key: Annotated[Path, typer.Option("--key", help="File with the secret key.")],
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Show a row as it was before redaction; nothing of it is written.

    Example: tunekeeper data reveal T-1042 --model support-desk --key ~/tunekeeper.seal
    """
    from tunekeeper.core.errors import NotFound
    from tunekeeper.data import versions
    from tunekeeper.data.examples import read_file
    from tunekeeper.data.redacting import revealed

    ws, secret = frame.workspace(dir), secret_in(key)
    newest = versions.latest(ws, model)
    frozen = iter(()) if newest is None else versions.read_examples(ws, newest)
    found = next((each for each in chain(read_file(versions.draft_path(ws, model)), frozen) if each.id == row), None)
    if found is None:
        raise NotFound(f"no row of {model} is called {row!r}", fix=f"tunekeeper data ls --model {model}")
    clear = revealed(found, secret)
    answer = {"id": clear.id, "messages": clear.messages, "tools": clear.tools, "metadata": clear.metadata}
    return frame.emit(answer, json, [f"{message.get('role')}: {message.get('content')}" for message in clear.messages])


def secret_in(file: Path) -> str:
    """The secret key in a file. Raises UserError when it cannot be read."""
    from tunekeeper.core.errors import UserError

    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is none"
        raise UserError(f"cannot read the key in {file}: {why}", fix="tunekeeper data seal-key --out FILE makes one") from None
