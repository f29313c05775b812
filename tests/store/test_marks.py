from __future__ import annotations

import subprocess
import sys

import blake3

from tunekeeper.store.marks import DIGEST, digest_of, digests_of


def test_the_digest_of_a_row_is_the_first_half_of_its_blake3() -> None:
    assert digest_of(b"{}\n") == blake3.blake3(b"{}\n").digest()[:DIGEST]
    assert digests_of([b"{}\n", b"a\n"]) == [digest_of(b"{}\n"), digest_of(b"a\n")]


def test_whoever_looks_at_rows_does_not_wait_for_what_compresses_them() -> None:
    heavy = "{'numpy', 'zstandard', 'sqlalchemy'}"
    code = f"import sys; from tunekeeper.data import looking, walk; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"
