"""Sessions of loads: a stand-in for a Python that has an engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vlm_parity.cluster.load_session import LoadCommand, LoadResult, run_load
from vlm_parity.cluster.shard_archive import unpack_shard
from vlm_parity.util.errors import ClusterError


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return a program that writes its arguments into a shard, and runs the code in a variable."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, sys\n"
        "run = sys.argv[sys.argv.index('--run') + 1]\n"
        "shard = pathlib.Path(run, 'shards', 'a'); shard.mkdir(parents=True)\n"
        "(shard / 'shard.json').write_text(' '.join(sys.argv[1:]).replace(run, 'RUN'))\n"
        "(shard / 'folder').write_text(f'{os.getcwd()} {os.environ[\"NUMBER\"]}')\n"
        "print('begin'); print('a' * 9999, file=sys.stderr); os.write(1, b'\\xff end\\n')\n"
        "sys.stdout.flush(); exec(os.environ.get('END', ''))\n"
    )
    path.chmod(0o755)
    return path


def make_command(python: Path, **variables: str) -> LoadCommand:
    return LoadCommand(
        "a", ("cases", "--shard", "a"), ("-x",), str(python.parent), str(python), {"NUMBER": "7"} | variables
    )


def test_a_session_runs_and_its_shard_is_returned(python: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = run_load(make_command(python), lines.append)
    assert result.exit_code == 0
    assert result.failure == ""
    assert lines == result.output.decode().splitlines()
    assert sorted(map(len, lines)) == [5, 5, 2000]
    assert "\ufffd end" in lines
    (tmp_path / "got").mkdir()
    assert unpack_shard(result.archive, tmp_path / "got")
    assert (tmp_path / "got" / "shard.json").read_text() == (
        "-m vlm_parity run cases --shard a --run RUN -- -p no:terminal -p no:cacheprovider -x"
    )
    assert (tmp_path / "got" / "folder").read_text() == f"{tmp_path} 7"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("sys.exit(1)", ""),
        ("sys.exit(3)", "its session ended with exit code 3: \ufffd end"),
        ("os.kill(os.getpid(), 11)", "its session ended with SIGSEGV: \ufffd end"),
    ],
)
def test_ends_of_a_session(end: str, reason: str, python: Path) -> None:
    assert run_load(make_command(python, END=end), lambda _: None).failure == reason


def test_an_interrupt_ends_the_session_and_leaves_nothing(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    ends = "import time, signal; os.kill(int(os.environ['TASK']), signal.SIGINT); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run_load(make_command(python, END=ends, TASK=str(os.getpid())), lambda _: None)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("missing", ["folder", "python"])
def test_a_node_without_a_path_is_named(missing: str, python: Path) -> None:
    command = make_command(python)
    wrong = {"folder": "/nope", "python": "/nope"}[missing]
    command = LoadCommand(**{**vars(command), missing: wrong})
    with pytest.raises(ClusterError, match="/nope; every node needs it at the same path"):
        run_load(command, lambda _: None)


def test_a_signal_without_a_name() -> None:
    assert LoadResult(-64, b"", b"", 0).failure.startswith("its session ended with")
