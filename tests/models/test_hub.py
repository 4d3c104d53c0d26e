"""The hub: its cache, made by hand, without a network, and what a hub that refuses is answered with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.checkpoints import COMMIT, folder_with
from vlm_parity.models.hub import download_snapshot
from vlm_parity.util.errors import UnknownModelError

OTHER = COMMIT[::-1]
PROGRAM = """
import sys
from vlm_parity.models.resolve import resolve_model
from vlm_parity.util.errors import UnknownModelError
try:
    print(resolve_model(sys.argv[1], weights=False).source)
except UnknownModelError as problem:
    sys.exit(str(problem))
"""


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """A cache that holds org/name at one commit, which is what its branch main was when it was fetched."""
    root = tmp_path / "hub" / "models--org--name"
    snapshot = folder_with(root / "snapshots" / COMMIT, model_type="qwen2_vl")
    (snapshot / "model.safetensors").unlink()
    (root / "blobs").mkdir()
    for file in list(snapshot.iterdir()):
        blob = root / "blobs" / file.name.replace(".", "-")
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, snapshot))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def resolved(spec: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Resolves in a process of its own: the hub's library reads its variables when it is imported."""
    pytest.importorskip("huggingface_hub")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, spec],
        env={**kept, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def offline(spec: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return resolved(spec, cache, HF_HUB_OFFLINE="1")


@contextmanager
def serve_hub_error(code: int, error: str) -> Iterator[str]:
    """A hub that answers everything with one error; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Without a network


@pytest.mark.parametrize("spec", ["org/name", "org/name@main", f"org/name@{COMMIT}"])
def test_the_cache_is_enough(spec: str, hub_cache: Path) -> None:
    assert offline(spec, hub_cache).stdout == f"org/name@{COMMIT}\n"


@pytest.mark.parametrize("revision", ["v2", OTHER])
def test_what_the_cache_holds_instead_is_told(revision: str, hub_cache: Path) -> None:
    result = offline(f"org/name@{revision}", hub_cache)
    assert result.returncode == 1
    assert result.stderr.startswith(
        f"org/name@{revision}: no such folder here; HF_HUB_OFFLINE forbids to fetch it, "
        f"and the hub's cache holds not {revision}, but {COMMIT}, main\n"
    )


def test_what_the_cache_does_not_hold_is_told(hub_cache: Path) -> None:
    told = "HF_HUB_OFFLINE forbids to fetch it, and the hub's cache does not hold it\n"
    assert told in offline("org/other", hub_cache).stderr


def test_a_snapshot_that_lacks_a_file_is_told(hub_cache: Path) -> None:
    (hub_cache / "models--org--name" / "snapshots" / COMMIT / "tokenizer.json").unlink()
    told = f"org/name@{COMMIT}: no tokenizer in it, which is needed for the ids: "
    assert offline("org/name", hub_cache).stderr.startswith(told)


def test_a_hub_that_is_not_in_reach(hub_cache: Path) -> None:
    result = resolved("org/other", hub_cache, HF_ENDPOINT="http://127.0.0.1:9")
    told = (
        "org/other: no such folder here; asked the Hugging Face hub, which could not be read, "
        "and the hub's cache does not hold it: check the network, or name a local folder\n"
    )
    assert result.stderr.startswith(told)


# A hub that refuses


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (403, "GatedRepo", "where it is gated: accept its terms on its page, then `hf auth login`"),
        (404, "RevisionNotFound", "which has the model, but no revision 'v2'"),
        (404, "RepoNotFound", "which has no such model, or only for those who are logged in: `hf auth l"),
    ],
)
def test_what_a_hub_refuses_is_told(code: int, error: str, told: str, tmp_path: Path) -> None:
    with serve_hub_error(code, error) as address:
        result = resolved("org/name@v2", tmp_path, HF_ENDPOINT=address)
    assert result.returncode == 1
    assert f"org/name@v2: no such folder here; asked the Hugging Face hub, {told}" in result.stderr


def test_missing_hub_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnknownModelError, match=r"org/name@main: .*pip install huggingface_hub"):
        download_snapshot("org/name", "main", [])
