"""Environment variables: values of their type, and sentences about everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.util.environment_variables import (
    CACHE_LIMIT_VARIABLE,
    CACHE_VARIABLE,
    check_variables,
    read_number,
    read_path,
)
from vlm_parity.util.errors import UsageError


@pytest.mark.parametrize(
    ("value", "number"), [("5", 5), ("0", 0), (" 0.5 ", 0.5), ("1e3", 1000), ("inf", float("inf")), ("", 20)]
)
def test_numbers(value: str, number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, value)
    assert read_number(CACHE_LIMIT_VARIABLE, "gigabytes", 20) == number
    check_variables()


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "-inf", "5 GB", "5,0", "0x10", " "])
def test_a_value_that_is_no_number_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, value)
    with pytest.raises(UsageError) as caught:
        check_variables()
    assert str(caught.value) == f"VLM_PARITY_CACHE_GB={value!r}: must be a number of gigabytes, 0 or more"


def test_a_path_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of")
    for value, path in (("a/b", tmp_path / "a" / "b"), ("~/c", Path("/home/of/c")), ("", None)):
        monkeypatch.setenv(CACHE_VARIABLE, value)
        assert read_path(CACHE_VARIABLE) == path


def test_a_home_folder_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "~no-such-user/cache")
    with pytest.raises(UsageError, match="VLM_PARITY_CACHE='~no-such-user/cache': "):
        check_variables()


@pytest.mark.parametrize(
    ("name", "similar"),
    [("VLM_PARITY_CACHE_GIB", "VLM_PARITY_CACHE_GB"), ("VLM_PARITY_CACH", "VLM_PARITY_CACHE")],
)
def test_a_misspelled_name_is_an_error(name: str, similar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=f"{name}: no such environment variable; {similar} "):
        check_variables()
