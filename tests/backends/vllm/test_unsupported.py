from importlib.metadata import PackageNotFoundError, metadata

import pytest

from vlm_parity.backends.vllm.unsupported import raising_unsupported
from vlm_parity.util.errors import UnsupportedError


def raise_vllm_error() -> None:
    """It looks for how to tell of a missing module in the metadata of a distribution that is missing."""
    try:
        raise ModuleNotFoundError("No module named 'no_such_module'", name="no_such_module")
    except ImportError:
        metadata("no-such-distribution")


def test_a_module_that_is_not_there_is_told_of() -> None:
    with pytest.raises(UnsupportedError, match="no_such_module"), raising_unsupported():
        raise_vllm_error()


def test_a_distribution_that_is_not_there_is_none() -> None:
    with pytest.raises(PackageNotFoundError), raising_unsupported():
        metadata("no-such-distribution")


def test_other_words_stay_an_error() -> None:
    with pytest.raises(ValueError, match="shape"), raising_unsupported():
        raise ValueError("shape")
    with pytest.raises(UnsupportedError, match="At most 0"), raising_unsupported():
        raise ValueError("At most 0 video(s) may be provided in one prompt.")
