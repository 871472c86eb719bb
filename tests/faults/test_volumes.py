"""Small volumes under a home: mounted as asked, and gone afterwards whoever had put them there."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.faults import disk
from tests.support.small_volumes import mount_or_skip


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a home"  # with a space: /proc/self/mounts writes it as \040
    folder.mkdir()
    yield folder
    disk.unmount(folder)


@pytest.fixture
def mounted(home: Path) -> Path:
    mount_or_skip(home, {"log": 4, "data": 8})
    return home


def test_each_folder_is_a_volume_of_its_size(mounted: Path) -> None:
    assert disk.mounted(mounted) == [mounted / "log", mounted / "data"]
    room = os.statvfs(mounted / "log")
    assert room.f_blocks * room.f_frsize == 4 << 20
    with pytest.raises(OSError) as caught:
        (mounted / "log" / "large").write_bytes(bytes(5 << 20))
    assert caught.value.errno == errno.ENOSPC
    (mounted / "data" / "large").write_bytes(bytes(5 << 20))


def test_all_are_gone_at_the_end_also_while_a_file_is_open(mounted: Path) -> None:
    with (mounted / "log" / "file").open("w"):
        disk.unmount(mounted)
        assert disk.mounted(mounted) == []
    assert not (mounted / "log").is_mount()
    assert list((mounted / "log").iterdir()) == []


def test_a_home_without_volumes_is_left_alone(home: Path) -> None:
    disk.mount(home, {})
    assert disk.mounted(home) == []
    disk.unmount(home)
