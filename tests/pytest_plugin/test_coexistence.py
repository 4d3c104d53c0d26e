"""The plug-in in sessions of other test suites."""

from __future__ import annotations

import pytest

from tests.support.plugin_sessions import PLUGIN

pytest_plugins = ["pytester"]

CONFTEST = """\
import pytest

OPTIONS = ("--device", "--model", "--backend", "--case", "--cases", "--run", "--depth", "--dtype", "--mode",
           "--shard", "--fuzz", "--known-issues", "--engine-arg", "--reproduce-command")

def pytest_addoption(parser):
    for name in OPTIONS:
        parser.addoption(name, default="theirs")
    parser.addini("parity_ini", "theirs")

def pytest_configure(config):
    for name in ("text", "image", "video", "audio", "logits", "tokens", "fuzz", "vllm"):
        config.addinivalue_line("markers", f"{name}: theirs")

@pytest.fixture
def comparison(request):
    return request.config.getoption("--backend")

@pytest.fixture
def fuzz():
    return "theirs"
"""
MODULE = """\
import pytest

@pytest.mark.logits
@pytest.mark.vllm
def test_theirs(comparison, fuzz, request):
    assert (comparison, fuzz) == ("mine", "theirs")
    assert request.config.getoption("--device") == "theirs"

@pytest.mark.parametrize("case", ["one"])
def test_parametrized(case):
    assert case == "one"
"""


def test_options_fixtures_and_markers_of_another_suite_work(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(MODULE)
    plugin = ("-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:cacheprovider", "--strict-markers")
    result = pytester.runpytest_subprocess(*plugin, "--backend", "mine")
    result.assert_outcomes(passed=2)
    assert "vlm-parity" not in [line.strip("= ") for line in result.outlines]
    assert not (pytester.path / "reports").exists()


def test_every_option_has_the_prefix(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "vlm_parity.pytest_plugin.plugin", "--help")
    declared: list[str] = []
    is_ours = False
    for line in result.outlines:
        is_ours = line.startswith("vlm-parity") if line and not line.startswith(" ") else is_ours
        if is_ours and line.startswith("  --"):
            declared.append(line.split()[0].partition("=")[0])
    assert {"--parity-backend", "--parity-fuzz"} <= set(declared)
    assert all(name.startswith("--parity-") for name in declared)


def test_a_session_of_another_suite_loads_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import sys\n"
        "def pytest_sessionfinish(session):\n"
        "    print('loaded:', *sorted({'numpy', 'pydantic', 'yaml', 'rich', 'av'} & set(sys.modules)))\n"
    )
    pytester.makepyfile("def test_theirs(): pass")
    result = pytester.runpytest_subprocess(
        "-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:hypothesispytest", "-s"
    )
    result.assert_outcomes(passed=1)
    assert any(line.endswith("loaded:") for line in result.outlines)


def test_xdist_schedules_another_suite_as_it_always_does(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makeconftest(
        "def pytest_xdist_make_scheduler(config, log):\n"
        "    from xdist.scheduler import LoadScheduling\n"
        "    print('theirs')\n"
        "    return LoadScheduling(config, log)\n"
    )
    pytester.makepyfile("def test_theirs(): pass")
    result = pytester.runpytest_subprocess("-p", "vlm_parity.pytest_plugin.plugin", "-n", "1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*theirs*"])


def test_session_without_fixture_is_unaffected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess(*PLUGIN)
    assert result.ret == pytest.ExitCode.OK
    assert "vlm-parity" not in "".join(result.outlines[4:])  # below the list of plug-ins
    left = {path.name for path in pytester.path.iterdir() if path.suffix != ".py"}
    assert left <= {"__pycache__"}


def test_foreign_run_folder_is_unaffected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    pytester.mkdir("run")
    pytester.path.joinpath("run", "shards").mkdir()
    result = pytester.runpytest_inprocess(*PLUGIN, "--parity-run", "run")
    assert result.ret == pytest.ExitCode.OK
    assert not pytester.path.joinpath("run", "index.html").exists()
