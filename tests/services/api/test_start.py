"""Starting: settings are checked as a whole, and each failure to start is one clear line."""

import socket
import sqlite3
from pathlib import Path

import pytest

from services.api.ledger.sqlite import SQLITE_SCHEMA
from services.common.settings import ApiSettings, SettingsError
from tests.services.api.processes import Api, Fleet

LEDGERS = (
    "sqlite:///PATH, postgresql://USER@HOST:PORT/NAME or mariadb://USER@HOST:PORT/NAME, the "
    "password in a file that BULKHEAD_LEDGER_PASSWORD_FILE names"
)


def failure(api: Api) -> tuple[int, str]:
    code = api.wait()
    return code, api.log.read_text()


def test_defaults_work_by_hand() -> None:
    assert ApiSettings.from_environment({}) == ApiSettings(
        instance="local-1",
        service="api",
        address="127.0.0.1:8101",
        proxy_url="http://127.0.0.1:8080",
        rows="",
        grace_s=10.0,
        max_body_bytes=1024 * 1024,
        ledger_url="sqlite:///var/data/ledger.sqlite3",
        ledger_password="",
        admin_dir="",
        work_ms=60_000,
        work_cpu_ms=10_000,
    )


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        ApiSettings.from_environment(
            {
                "BULKHEAD_INSTANCE": "api\n1",
                "BULKHEAD_SERVICE": "",
                "BULKHEAD_ADDRESS": "127.0.0.1",
                "BULKHEAD_PROXY_URL": "127.0.0.1:8080",
                "BULKHEAD_GRACE_S": "-1",
                "BULKHEAD_MAX_BODY_KB": "1.5",
                "BULKHEAD_LEDGER_URL": "mongodb:///x",
                "BULKHEAD_LEDGER_PASSWORD_FILE": "/nowhere",
            }
        )
    assert str(caught.value).splitlines() == [
        "BULKHEAD_INSTANCE = 'api\\n1': must be 1 to 64 of A-Z a-z 0-9 . _ -",
        "BULKHEAD_SERVICE = '': must be 1 to 64 of A-Z a-z 0-9 . _ -",
        "BULKHEAD_ADDRESS = '127.0.0.1': must be HOST:PORT with a port from 1 to 65535,"
        " such as 127.0.0.1:8101",
        "BULKHEAD_PROXY_URL = '127.0.0.1:8080': must be http://HOST:PORT without a path,"
        " such as http://127.0.0.1:8080",
        "BULKHEAD_GRACE_S = '-1': must be seconds from 0 to 3600, such as 10",
        "BULKHEAD_MAX_BODY_KB = '1.5': must be whole kilobytes from 1 to 1048576",
        f"BULKHEAD_LEDGER_URL = 'mongodb:///x': must be {LEDGERS}",
        "BULKHEAD_LEDGER_PASSWORD_FILE = '/nowhere': must be the path of a file that can be read",
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ADDRESS", ["h:0", "h:65536", "h:", ":80", "a b:80", "h:8x", "::1:80"]),
        ("PROXY_URL", ["", "http://", "http://h/path", "ftp://h", "http://u@h", "http://h?x"]),
        ("GRACE_S", ["", "nan", "inf", "3601", "ten", " 1", "1_0"]),
        ("MAX_BODY_KB", ["", "0", "-1", "1048577", "1e3", " 1", "1_0"]),
        ("LEDGER_URL", ["", "sqlite", "sqlite://", "sqlite:///", "/a/path", "SQLITE:///a"]),
        ("LEDGER_URL", ["mariadb://h/n", "mysql://u@h/n", "postgresql://u@h", "postgresql://u@h/"]),
    ],
)
def test_nonsense_is_refused(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(SettingsError, match=f"BULKHEAD_{name}"):
            ApiSettings.from_environment({f"BULKHEAD_{name}": value})


def test_a_password_in_the_environment_is_refused_and_not_shown() -> None:
    for url in (
        "postgresql://u:secret@h/n",
        "mariadb://u:secret/too@h:3306/n",
        "mariadb://u:secret@too@h:3306/n",
        "postgresql://u@h/n?password=secret",
    ):
        with pytest.raises(SettingsError) as caught:
            ApiSettings.from_environment({"BULKHEAD_LEDGER_URL": url})
        assert "secret" not in str(caught.value)
        assert "://***@h" in str(caught.value)


def test_addresses_of_all_kinds() -> None:
    for text, host, port in (
        ("[::1]:80", "::1", 80),
        ("localhost:8101", "localhost", 8101),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
    ):
        settings = ApiSettings.from_environment({"BULKHEAD_ADDRESS": text})
        assert (settings.host_and_port, settings.address) == ((host, port), text)


@pytest.mark.live
def test_an_unknown_ledger_is_one_line_and_exit_2(fleet: Fleet) -> None:
    api = fleet.launch(ledger_url="mongodb://localhost/ledger")
    assert failure(api) == (
        2,
        f"services.api: BULKHEAD_LEDGER_URL = 'mongodb://localhost/ledger': must be {LEDGERS}\n",
    )


@pytest.mark.live
def test_a_taken_address_is_one_line_and_exit_1(fleet: Fleet) -> None:
    first = fleet.start()
    second = fleet.launch(first.port)
    assert failure(second) == (
        1,
        f"services.api: cannot listen on 127.0.0.1:{first.port}: Address already in use\n",
    )
    assert first.get("/healthz").status == 200


@pytest.mark.live
def test_an_address_of_another_machine_is_one_line_and_exit_1(fleet: Fleet) -> None:
    code, log = failure(fleet.launch(address="192.0.2.1:20000"))
    assert (code, log.count("\n")) == (1, 1)
    assert "cannot listen on 192.0.2.1:20000" in log


@pytest.mark.live
def test_a_ledger_that_cannot_be_opened_is_one_line_and_exit_1(
    fleet: Fleet, tmp_path: Path
) -> None:
    tmp_path.joinpath("text").write_text("not a database, whatever its name says\n" * 100)
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    for name, reason in (
        ("text", "file is not a database"),
        ("text/below", "File exists"),
        ("newer", "its schema is version 7, not 2"),
    ):
        code, log = failure(fleet.launch(ledger_url=f"sqlite:///{tmp_path / name}"))
        assert (code, log.count("\n")) == (1, 1), log
        assert f"cannot open the ledger {tmp_path / name}: " in log
        assert reason in log


@pytest.mark.live
def test_a_ledger_of_the_version_before_is_brought_up_to_date(fleet: Fleet, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "older") as database:
        for statement in SQLITE_SCHEMA.replace(",\n    amount BIGINT\n)", "\n)").split(";"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
    database.close()
    instance = fleet.start(ledger_url=f"sqlite:///{tmp_path / 'older'}")
    assert instance.add(amount=7).status == 201
    with sqlite3.connect(tmp_path / "older") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        assert database.execute("SELECT version, amount FROM effects").fetchall() == [(1, 7)]
    database.close()


@pytest.mark.live
def test_a_row_file_that_cannot_be_opened_is_one_line_and_exit_1(fleet: Fleet) -> None:
    code, log = failure(fleet.launch(rows="/nowhere/rows"))
    assert code == 1
    assert log == (
        "services.api: cannot open the row file /nowhere/rows: No such file or directory\n"
    )


@pytest.mark.live
def test_an_instance_starts_while_another_process_holds_the_write_lock(fleet: Fleet) -> None:
    first = fleet.start()
    location = first.add().headers["Location"]
    with fleet.locked():
        assert fleet.start().get(location).status == 200


@pytest.mark.live
def test_the_folder_of_the_ledger_is_made(fleet: Fleet, tmp_path: Path) -> None:
    api = fleet.start(ledger_url=f"sqlite:///{tmp_path}/new/folder/ledger")
    assert api.add().status == 201
    assert (tmp_path / "new/folder/ledger").exists()


@pytest.mark.live
def test_a_port_that_was_just_left_can_be_taken_again(fleet: Fleet) -> None:
    """Its connections are still in TIME_WAIT; a restarted instance must not wait for them."""
    first = fleet.start()
    with socket.create_connection(("127.0.0.1", first.port)) as stream:
        stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        stream.recv(1000)
    first.kill()
    second = fleet.start(first.port)
    assert second.get("/healthz").status == 200
