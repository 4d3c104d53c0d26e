"""Builds: once per recipe and versions, complete or absent, with an error for every failure."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from vlm_parity.models import build
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.synthetic import weights
from vlm_parity.util.errors import CheckpointBuildError


class Builder:
    """A stand-in for the child process, whose packages appear to be installed."""

    def __init__(self) -> None:
        self.version = "1"
        self.built: list[Path] = []

    def run(self, name: str, folder: Path) -> None:
        (folder / "config.json").write_text(name)
        self.built.append(folder)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    fake = Builder()
    monkeypatch.setenv("VLM_PARITY_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "_get_version", lambda _: fake.version)
    monkeypatch.setattr(build, "_run_child", fake.run)
    return fake


def test_checkpoint_is_built_once(builder: Builder, tmp_path: Path) -> None:
    first, second = build_checkpoint("qwen2_vl"), build_checkpoint("qwen2_vl")
    assert first == second
    assert len(builder.built) == 1
    assert first.path.is_relative_to(tmp_path / "models")
    assert (first.path / "config.json").read_text() == "qwen2_vl"


def test_other_versions_cause_a_new_build(builder: Builder) -> None:
    before = build_checkpoint("qwen2_vl")
    builder.version = "2"
    after = build_checkpoint("qwen2_vl")
    assert before.digest != after.digest
    assert before.path != after.path


def test_families_do_not_share_a_folder(builder: Builder) -> None:
    assert build_checkpoint("qwen2_vl").path != build_checkpoint("qwen3_vl").path
    assert len(builder.built) == 2


def test_digest_is_that_of_the_contents(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe need not give the same bytes; a reference belongs to bytes."""
    before = build_checkpoint("qwen2_vl")
    rmtree(before.path)
    same = build_checkpoint("qwen2_vl")
    rmtree(before.path)
    monkeypatch.setattr(build, "_run_child", lambda _, folder: (folder / "config.json").write_text("other"))
    other = build_checkpoint("qwen2_vl")
    assert before.path == same.path == other.path
    assert before.digest == same.digest != other.digest
    assert len(builder.built) == 2


def test_half_deleted_checkpoint_is_named_and_built_again(builder: Builder) -> None:
    lines: list[str] = []
    before = build_checkpoint("qwen2_vl", lines.append)
    (before.path / "config.json").unlink()
    assert build_checkpoint("qwen2_vl", lines.append) == before
    assert (before.path / "config.json").read_text() == "qwen2_vl"
    assert len(builder.built) == 2
    assert lines == [
        "[qwen2_vl] damaged, so it is thrown away and built again: "
        f"{before.path / 'config.json'}: missing, although manifest.json lists it"
    ]


def test_damage_is_reported_to_the_standard_error_without_a_reporter(
    builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    (build_checkpoint("qwen2_vl").path / "config.json").write_text("")
    build_checkpoint("qwen2_vl")
    assert len(builder.built) == 2
    assert "config.json: changed since it was written\n" in capsys.readouterr().err


def test_failed_child_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(CheckpointBuildError, match=r"(?s)exit status 1.*no family 'nonsense'"):
        build._run_child("nonsense", tmp_path)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(CheckpointBuildError, match="needs numpy, which is not installed"):
        build_checkpoint("qwen2_vl")


def test_unknown_family_is_an_error() -> None:
    with pytest.raises(KeyError):
        build_checkpoint("nonsense")


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16"])
def test_weights_are_exact_in_every_dtype(dtype: object) -> None:
    numbers = weights.draw_initial_values("layer.weight", (200, 100))
    assert 0 < np.abs(numbers[numbers != 0]).min() < 0.001
    if dtype == "bfloat16":
        assert not (numbers.view(np.uint32) & 0xFFFF).any()
    else:
        np.testing.assert_array_equal(numbers.astype(np.float16).astype(np.float32), numbers)


def test_weights_depend_only_on_their_names() -> None:
    first = weights.draw_initial_values("a.weight", (4, 4))
    weights.draw_initial_values("b.weight", (4, 4))
    np.testing.assert_array_equal(weights.draw_initial_values("a.weight", (4, 4)), first)
    assert (weights.draw_initial_values("b.weight", (4, 4)) != first).any()


@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("a.weight", (400, 25), 0, 1 / 5),
        ("conv.weight", (50, 4, 5, 5), 0, 1 / 10),
        ("a.bias", (10000,), 0, 0.05),
        ("norm.weight", (10000,), 1, 0.1),
    ],
)
def test_weights_have_the_stated_mean_and_deviation(
    name: str, shape: tuple[int, ...], mean: float, std: float
) -> None:
    numbers = weights.draw_initial_values(name, shape)
    assert numbers.mean() == pytest.approx(mean, abs=std / 20)
    assert numbers.std() == pytest.approx(std, rel=0.03)
