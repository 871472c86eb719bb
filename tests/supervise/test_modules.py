"""Where nginx's Lua module is, and what is said when it is nowhere."""

from pathlib import Path

import pytest

from bulkhead.errors import MissingError
from bulkhead.supervise.nginx import find_modules, find_nginx


def program(folder: Path, built_with: str) -> Path:
    """An nginx that only says how it was built."""
    path = folder / "nginx"
    path.write_text(f"#!/bin/sh\necho 'configure arguments: {built_with}' >&2\n")
    path.chmod(0o755)
    return path


def test_the_installed_nginx_has_it() -> None:
    folder = find_modules(find_nginx("nginx", ""))
    assert folder
    assert (folder / "ngx_http_lua_module.so").exists()


def test_it_is_looked_for_where_this_nginx_looks(tmp_path: Path) -> None:
    for name in ("ndk_http_module.so", "ngx_http_lua_module.so"):
        (tmp_path / name).touch()
    assert find_modules(program(tmp_path, f"--with-compat --modules-path={tmp_path}")) == tmp_path


def test_what_is_compiled_in_is_not_loaded(tmp_path: Path) -> None:
    assert find_modules(program(tmp_path, "--add-module=../ngx_lua-0.10.25")) is None


def test_without_it_one_line_says_what_to_do(tmp_path: Path) -> None:
    nginx = program(tmp_path, f"--modules-path={tmp_path}/none")
    with pytest.raises(MissingError) as caught:
        find_modules(nginx)
    (line,) = caught.value.lines
    assert line.startswith(f"{nginx} has no Lua module ({tmp_path}/none/ndk_http_module.so is not")
    assert "libnginx-mod-http-lua" in line
    assert 'proxy.balancer = "nginx"' in line
