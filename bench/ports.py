"""Blocks of free ports that are larger than those of the tests."""

from contextlib import AbstractContextManager

from tests.support.ports import free_ports

# Below the blocks of the tests (tests/support/ports.py), so that the two never meet.
FIRST, LAST, BLOCK = 12_000, 20_000, 80


def free_block() -> AbstractContextManager[list[int]]:
    """BLOCK consecutive free ports, held until the end of the context."""
    return free_ports(FIRST, LAST, BLOCK)
