"""T02 and T04: what was acknowledged under `durability: power` is there after any power cut, also when syncs fail."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.store.log.powercut import PowerDisk, Record, cut_once, recovered, serve
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import OutsideError
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact

SEEDS = 200


def test_a_power_cut_loses_nothing_acknowledged_and_returns_nothing_damaged(
    root: Path, tmp_path: Path, clock: ManualClock, record: Record
) -> None:
    cut_off = 0
    for seed in range(SEEDS):
        image = tmp_path / f"image-{seed}"
        ledger, found = cut_once(root / str(seed), image, clock, record, seed)
        cut_off += len(ledger.written) - len(found)
        if seed % 25 == 0:
            with segments.maintenance(image):
                compact(image)
            log = Log(image, clock)
            ids = [each.request_id for each in log.find(purpose=None, status="ok")]
            assert len(ids) == len(set(ids))
            assert set(ids) == found.keys(), seed
            assert (log.verify()["open"], log.verify()["duplicates"]) == (0, 0)
    assert cut_off > SEEDS / 4, "the images must lose what was not synced, else they show nothing"


@pytest.mark.parametrize("first", [1, 26])
def test_after_a_failed_sync_its_lines_are_written_and_synced_elsewhere(
    root: Path, tmp_path: Path, clock: ManualClock, record: Record, first: int
) -> None:
    met = 0
    for n in range(first, first + 25):
        rng = random.Random(n)
        disk = PowerDisk(failing=frozenset((n,)))
        spool = Spool(root / str(n), "gateway-0", clock, power=True, max_bytes=3000, disk=disk)
        ledger = serve(spool, clock, record, rng, 12 + 2 * n)
        met += disk.syncs >= n
        image = tmp_path / f"image-{n}"
        disk.image(image, rng)
        assert ledger.refused == set(), "one failed sync is nobody's business: the lines went elsewhere"
        assert ledger.acknowledged <= recovered(image).keys(), n
        spool.close()
        log = Log(root / str(n), clock)
        report = log.verify()
        assert (report["records"], report["duplicates"], report["open"], report["corrupt"]) == (len(ledger.written), 0, 0, 0), n
    assert met == 25, "each round must meet its failing sync"


def test_a_disk_that_fails_every_sync_acknowledges_nobody_and_works_again_later(
    root: Path, tmp_path: Path, clock: ManualClock, record: Record
) -> None:
    disk = PowerDisk(failing=frozenset(range(1, 10_000)))
    spool = Spool(root, "gateway-0", clock, power=True, disk=disk)
    kept = record(request_id="req_kept")
    spool.ended(kept)
    spool.ended(record(request_id="req_refused"), awaited=True)
    spool.flush()
    with pytest.raises(OutsideError, match="cannot write the request log"):
        spool.sync()
    assert recovered(root).keys() == {"req_kept"}, "what nobody waits for survives our own death at least"
    spool.ended(record(request_id="req_refused", status="error"))
    disk.failing = frozenset()
    spool.flush()
    spool.sync()
    image = tmp_path / "image"
    disk.image(image, random.Random(1))
    assert "req_refused" in recovered(image)
    spool.close()
    log = Log(root, clock)
    assert log.load("req_refused").status == "error"
    assert log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_line_from_before_power_was_asked_for_stays_where_it_is(root: Path, clock: ManualClock, record: Record) -> None:
    disk = PowerDisk(failing=frozenset((1,)))
    spool = Spool(root, "gateway-0", clock, disk=disk)
    spool.ended(record(request_id="req_before"))
    spool.flush()
    spool.power = True
    spool.ended(record(request_id="req_after"), awaited=True)
    spool.flush()
    spool.sync()
    spool.close()
    report = Log(root, clock).verify()
    assert report == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}
    assert len(segments.list_segments(root)) == 2


def test_a_disk_that_takes_nothing_new_after_a_failed_sync_is_not_synced_again(
    root: Path, clock: ManualClock, record: Record
) -> None:
    class Refusing(PowerDisk):
        closed = False

        def create(self, path: Path) -> int:
            if self.closed:
                raise OSError(28, "No space left on device")
            return super().create(path)

    disk = Refusing(failing=frozenset((1,)))
    spool = Spool(root, "gateway-0", clock, power=True, disk=disk)
    spool.ended(record(request_id="req_0"))
    spool.ended(record(request_id="req_1"), awaited=True)
    spool.flush()
    disk.closed = True
    with pytest.raises(OutsideError, match="no room left"):
        spool.sync()
    disk.closed = False
    spool.ended(record(request_id="req_2"), awaited=True)
    spool.flush()
    spool.sync()  # PowerDisk refuses a second sync of the first segment
    spool.close()
    assert set(recovered(root)) == {"req_0", "req_1", "req_2"}


def test_a_folder_of_damaged_segments_is_recovered_in_one_pass_and_not_looked_at_again(
    root: Path, clock: ManualClock, record: Record
) -> None:
    """T05 on files: truncated, flipped and zero-filled segments of a dead writer."""
    rng = random.Random(5)
    whole = set()
    spool = Spool(root, "gateway-0", clock)
    for _ in range(30):
        for _ in range(20):
            made = record()
            whole.add(made["request_id"])
            spool.ended(made)
        spool.flush()
        spool.seal()
    spool.close()
    paths = [segment.path for segment in segments.list_segments(root)]
    for number, path in enumerate(paths):
        data = bytearray(path.read_bytes())
        place = rng.randrange(len(data) - 500, len(data))
        if number % 3 == 0:
            del data[place:]
        elif number % 3 == 1:
            data[place] ^= 1 << rng.randrange(8)
        else:
            data[place:] = bytes(len(data) - place)
        path.write_bytes(data)
    with segments.maintenance(root):
        first = compact(root)
        second = compact(root)
    assert (first.segments, second.segments) == (len(paths), 0)
    found = {each.request_id for each in Log(root, clock).find(limit=None, purpose=None)}
    assert found <= whole
    assert len(found) >= len(whole) - 2 * len(paths), "at most the lines that were hit"
    assert len(list((root / "spool").glob("*.jsonl"))) == 0
