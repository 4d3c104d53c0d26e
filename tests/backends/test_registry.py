"""The registry finds backends of other distributions on the path as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.distributions import write_backend_distribution
from vlm_parity.backends.registry import BUILT_IN, list_backend_targets, load_backend_class
from vlm_parity.util.errors import UnknownBackendError


def test_a_distribution_is_found_while_it_is_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "module.py"
    module.write_text("class Other: ...\n")
    site = tmp_path / "site"
    site.mkdir()
    write_backend_distribution(site, "other", module, "other_engine:Other")
    before = list_backend_targets()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        assert list_backend_targets() == {"other": "other_engine:Other", **before}
    assert list_backend_targets() == before


def test_a_built_in_name_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module.py"
    module.write_text("class Other: ...\n")
    write_backend_distribution(tmp_path, "vllm", module, "other_engine:Other")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list_backend_targets()["vllm"] == BUILT_IN["vllm"]


def test_an_unknown_name_lists_the_backends() -> None:
    with pytest.raises(UnknownBackendError, match=r"'vlm'; there are: .*lmdeploy, transformers, vllm"):
        load_backend_class("vlm")
