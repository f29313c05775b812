"""What a machine says of its memory under /proc, and what a container's control groups leave of it."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.core.machine import memory


def _machine(tmp_path: Path, cgroup: str = "", mount: str = "") -> Path:
    """A /proc of 100 MiB, 50 of them free, whose process is in the groups of `cgroup`, mounted at `tmp_path/groups`."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {100 << 10} kB\nMemFree: 3 kB\nMemAvailable:   {50 << 10} kB\n")
    proc = tmp_path / "self"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text("22 1 0:5 / /proc rw - proc proc rw\n" + mount.format(at=tmp_path / "groups"))
    return tmp_path


def _group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / f"memory.{name}").write_text(f"{value}\n")


def test_the_system_is_asked_where_it_can_say(tmp_path: Path) -> None:
    assert memory(_machine(tmp_path)) == (100 << 20, 50 << 20)
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\n")
    assert memory(tmp_path) is None
    assert memory(tmp_path / "missing") is None


def test_the_limit_of_a_container_is_what_there_is_and_its_file_cache_is_free(tmp_path: Path) -> None:
    proc = _machine(tmp_path, "0::/\n", "30 22 0:26 / {at} ro - cgroup2 cgroup rw\n")
    _group(tmp_path / "groups", max=3 << 20, current=2 << 20, stat=f"anon 5\ninactive_file {1 << 20}")
    assert memory(proc) == (3 << 20, 2 << 20)


def test_a_group_above_may_limit_what_its_own_does_not(tmp_path: Path) -> None:
    proc = _machine(tmp_path, "0::/job/step\n", "30 22 0:26 / {at} rw - cgroup2 cgroup rw\n")
    _group(tmp_path / "groups" / "job" / "step", max="max", current=1)
    _group(tmp_path / "groups" / "job", max=5 << 20, current=4096)
    assert memory(proc) == (5 << 20, (5 << 20) - 4096)


def test_control_groups_of_the_first_version_are_obeyed_as_well(tmp_path: Path) -> None:
    proc = _machine(
        tmp_path,
        "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
        "31 22 0:30 /docker/abc {at} rw - cgroup cgroup rw,memory\n32 22 0:31 /docker/abc /elsewhere rw - cgroup cgroup rw,cpu\n",
    )
    _group(tmp_path / "groups", limit_in_bytes=7 << 20, usage_in_bytes=3 << 20, stat=f"total_inactive_file {1 << 20}")
    assert memory(proc) == (7 << 20, 5 << 20)
    _group(tmp_path / "groups", limit_in_bytes=9223372036854771712)
    assert memory(proc) == (100 << 20, 50 << 20), "what nothing limits says so with a number"
