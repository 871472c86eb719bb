"""Mounting small volumes, where this user and this system may."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bulkhead.errors import StateError
from bulkhead.faults.disk import Volume, mount


def mount_or_skip(home: Path, sizes_mb: Mapping[Volume, int]) -> None:
    """Mount them in a home; skips the test, with the reason, where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    try:
        mount(home, sizes_mb)
    except StateError as refused:
        pytest.skip(f"this system lets nobody mount: {refused}")
