"""llama.cpp's own converter: `python convert.py SOURCE PRE OPTIONS…`, where SOURCE is its folder and OPTIONS are the converter's.

It knows tokenizers by the hash of what they make of a text, and refuses those that it has not met. The tokenizer of a made-up
checkpoint splits as PRE says, so that it is told that name. And it looks for SentencePiece's file with a package that nothing
else needs: it is told that there is no such file. Nothing else is changed.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

source, pre = Path(sys.argv[1]), sys.argv[2]
script = source / "convert_hf_to_gguf.py"
sys.argv = [str(script), *sys.argv[3:]]
sys.path[:1] = [str(source), str(source / "gguf-py")]

from conversion import base  # type: ignore[import-not-found]  # noqa: E402


def no_sentencepiece(self: object) -> None:
    """What the converter finds in a folder without tokenizer.model."""
    raise FileNotFoundError


base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
base.TextModel._set_vocab_sentencepiece = no_sentencepiece
runpy.run_path(str(script), run_name="__main__")
