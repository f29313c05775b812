"""A function in a child process that is killed at its n-th system call: before it, or right after it was done."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

_TRACE_ME, _SET_OPTIONS, _GO_TO_CALL, _EXIT_KILL, _MARK_CALLS = 0, 0x4200, 24, 1 << 20, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _ptrace(request: int, pid: int, data: int = 0) -> int:
    return int(_LIBC.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(data)))


def killed_at(function: Callable[[], object], step: int | None) -> int:
    """Run `function` in a fork and kill it at the `step`-th stop; how many stops it made (two a system call: before, after).

    None lets it end by itself. Skips the test where processes may not be traced.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if _ptrace(_TRACE_ME, 0) != 0:
                os._exit(77)
            os.kill(os.getpid(), signal.SIGSTOP)
            function()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        pytest.skip("processes may not be traced here")
    _ptrace(_SET_OPTIONS, pid, _EXIT_KILL | _MARK_CALLS)
    stops = 0
    while True:
        _ptrace(_GO_TO_CALL, pid)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert step is not None or os.WEXITSTATUS(status) == 0
            return stops
        stops += 1
        if stops == step:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return stops
