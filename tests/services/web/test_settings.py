from pathlib import Path

import pytest

from services.common.settings import SettingsError, WebSettings, session_key


def test_an_empty_environment_gives_the_defaults() -> None:
    assert WebSettings.from_environment({}) == WebSettings()


def test_a_variable_that_is_empty_has_its_default() -> None:
    assert (
        WebSettings.from_environment({"BULKHEAD_WORKERS": "", "BULKHEAD_ROWS": ""}) == WebSettings()
    )


def test_every_variable_is_read() -> None:
    assert WebSettings.from_environment(
        {
            "BULKHEAD_ADDRESS": "127.0.0.1:9000",
            "BULKHEAD_PROXY_URL": "http://127.0.0.1:9001/",
            "BULKHEAD_ROWS": "rows",
            "BULKHEAD_SECRET_FILE": "secret",
            "BULKHEAD_WORKERS": "3",
            "BULKHEAD_GRACE_S": "2.5",
            "BULKHEAD_MAX_BODY_KB": "16",
            "BULKHEAD_API_TIMEOUT_S": "7",
        }
    ) == WebSettings(
        address="127.0.0.1:9000",
        proxy_url="http://127.0.0.1:9001",
        rows="rows",
        secret_file="secret",
        workers=3,
        grace_s=2.5,
        max_body_kb=16,
        api_timeout_s=7.0,
    )


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        WebSettings.from_environment(
            {
                "BULKHEAD_WORKERS": "two",
                "BULKHEAD_GRACE_S": "nan",
                "BULKHEAD_MAX_BODY_KB": "0",
                "BULKHEAD_PROXY_URL": "localhost:8080",
            }
        )
    assert str(caught.value).splitlines() == [
        "BULKHEAD_WORKERS = 'two': must be an integer from 1 to 64",
        "BULKHEAD_GRACE_S = 'nan': must be a number from 0.1 to 3600.0",
        "BULKHEAD_MAX_BODY_KB = '0': must be an integer from 1 to 1048576",
        "BULKHEAD_PROXY_URL = 'localhost:8080': must begin with http://",
    ]


def test_the_session_key_is_the_content_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 32 + "\n")
    assert session_key(str(path)) == b"k" * 32


def test_a_short_session_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("short")
    with pytest.raises(SettingsError, match="holds 5 bytes, needs 32 or more"):
        session_key(str(path))


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent': No such file or directory"):
        session_key(str(tmp_path / "absent"))
