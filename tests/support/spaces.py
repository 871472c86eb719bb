"""Whether this machine lets us make network namespaces; a test that needs them is skipped else."""

import os
import secrets
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.hosts.netns import ip


def require_namespaces() -> None:
    """Skip the test, and say why, where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    name = f"bhtest{secrets.token_hex(3)}"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
        ip("link", "add", name, "type", "bridge")
        ip("link", "delete", name)
    except BulkheadError as error:
        pytest.skip(f"no network namespaces on this machine: {error}")
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
