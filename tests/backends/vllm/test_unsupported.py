"""vLLM's errors converted to ``UnsupportedError``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

import pytest

from vlm_parity.backends.vllm.unsupported import convert_unsupported_errors
from vlm_parity.util.errors import UnsupportedError


def raise_vllm_error() -> None:
    """Raise the error of vLLM's report on a missing module, which reads metadata that are missing too."""
    try:
        raise ModuleNotFoundError("No module named 'no_such_module'", name="no_such_module")
    except ImportError:
        metadata("no-such-distribution")


def test_an_error_names_a_missing_module() -> None:
    with pytest.raises(UnsupportedError, match="no_such_module"), convert_unsupported_errors():
        raise_vllm_error()


def test_a_missing_distribution_is_not_a_missing_module() -> None:
    with pytest.raises(PackageNotFoundError), convert_unsupported_errors():
        metadata("no-such-distribution")


def test_other_messages_stay_errors() -> None:
    with pytest.raises(ValueError, match="shape"), convert_unsupported_errors():
        raise ValueError("shape")
    with pytest.raises(UnsupportedError, match="At most 0"), convert_unsupported_errors():
        raise ValueError("At most 0 video(s) may be provided in one prompt.")
