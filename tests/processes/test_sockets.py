from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError, PortInUse
from tunekeeper.processes import sockets
from tunekeeper.processes.children import Child, Plan


def test_a_port_in_use_is_one_line_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use") as caught:
            sockets.bind("127.0.0.1", port)
    assert caught.value.exit_code == 4
    assert "--port" in str(caught.value)


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 0), ("127.0.0.1", 70_000), ("", 0)])
def test_an_address_that_is_not_ours_is_refused(host, port):
    with pytest.raises(ConfigError):
        sockets.bind(host, port)


def test_an_ipv6_address_may_have_the_brackets_that_it_has_in_a_url():
    assert [sockets.bare(host) for host in ("[::1]", "::1", "127.0.0.1", "[x]")] == ["::1", "::1", "127.0.0.1", "[x]"]


def test_the_holder_hands_the_socket_to_the_next_supervisor_and_clients_wait_meanwhile(tmp_path: Path):
    run = tmp_path / ("deep" * 20) / ("deeper" * 10) / "run"  # longer than the 108 bytes of a unix address
    run.mkdir(parents=True)
    first = sockets.bind("127.0.0.1", 0)
    address = first.getsockname()
    plan = Plan(name="socket", command=sockets.holder_command(run, first), lock=run / "child-socket.lock", fds=(first.fileno(),))
    child = Child(plan=plan)
    child.start(dict(os.environ))
    try:
        first.close()  # as when the supervisor is killed
        client = socket.create_connection(address, timeout=60)  # nobody accepts, and nobody refuses
        end = time.monotonic() + 60
        while (again := sockets.recover(run)) is None and time.monotonic() < end:
            time.sleep(0.02)
        assert again is not None
        assert again.getsockname() == address
        again.settimeout(60)
        accepted, _ = again.accept()
        for each in (client, accepted, again):
            each.close()
    finally:
        child.stop()
    assert sockets.recover(run) is None
