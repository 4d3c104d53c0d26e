"""The hub: a cache without a network, and hubs that refuse."""

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

from tests.support.checkpoints import COMMIT, write_checkpoint
from vlm_parity.models.hub import download_snapshot
from vlm_parity.util.errors import UnknownModelError

OTHER = COMMIT[::-1]
PROGRAM = """
import sys
from vlm_parity.models.resolve import resolve_model
from vlm_parity.util.errors import UnknownModelError
try:
    print(resolve_model(sys.argv[1], weights=False).source)
except UnknownModelError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """Create a cache with org/name at one commit, that of its branch main."""
    root = tmp_path / "hub" / "models--org--name"
    snapshot = write_checkpoint(root / "snapshots" / COMMIT, model_type="qwen2_vl")
    (snapshot / "model.safetensors").unlink()
    (root / "blobs").mkdir()
    for file in list(snapshot.iterdir()):
        blob = root / "blobs" / file.name.replace(".", "-")
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, snapshot))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def resolve(spec: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Resolve in a child process: huggingface_hub reads its environment variables on import."""
    pytest.importorskip("huggingface_hub")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, spec],
        env={**environ, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def resolve_offline(spec: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return resolve(spec, cache, HF_HUB_OFFLINE="1")


@contextmanager
def serve_hub_error(code: int, error: str) -> Iterator[str]:
    """Serve a hub that responds to everything with one error; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

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
def test_cached_revision_is_used_offline(spec: str, hub_cache: Path) -> None:
    assert resolve_offline(spec, hub_cache).stdout == f"org/name@{COMMIT}\n"


@pytest.mark.parametrize("revision", ["v2", OTHER])
def test_error_lists_the_cached_revisions(revision: str, hub_cache: Path) -> None:
    result = resolve_offline(f"org/name@{revision}", hub_cache)
    assert result.returncode == 1
    assert result.stderr.startswith(
        f"org/name@{revision}: no such folder here; HF_HUB_OFFLINE forbids downloads, "
        f"and the hub's cache contains not {revision}, but {COMMIT}, main\n"
    )


def test_error_reports_an_uncached_model(hub_cache: Path) -> None:
    message = "HF_HUB_OFFLINE forbids downloads, and the hub's cache does not contain it\n"
    assert message in resolve_offline("org/other", hub_cache).stderr


def test_error_reports_a_file_missing_in_a_snapshot(hub_cache: Path) -> None:
    (hub_cache / "models--org--name" / "snapshots" / COMMIT / "tokenizer.json").unlink()
    message = f"org/name@{COMMIT}: no tokenizer in it, which is needed for the ids: "
    assert resolve_offline("org/name", hub_cache).stderr.startswith(message)


def test_error_reports_a_link_to_a_missing_blob(hub_cache: Path) -> None:
    repository = hub_cache / "models--org--name"
    template = repository / "snapshots" / COMMIT / "chat_template.jinja"
    template.symlink_to("../../blobs/gone")
    message = f"org/name@{COMMIT}: chat_template.jinja is a link to a file that is gone: "
    assert resolve_offline("org/name", hub_cache).stderr.startswith(message)


def test_error_reports_an_unreachable_hub(hub_cache: Path) -> None:
    result = resolve("org/other", hub_cache, HF_ENDPOINT="http://127.0.0.1:9")
    message = (
        "org/other: no such folder here; the Hugging Face hub could not be reached, "
        "and the hub's cache does not contain it: check the network, or name a local folder\n"
    )
    assert result.stderr.startswith(message)


# Hubs that refuse


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            403,
            "GatedRepo",
            "it is gated on the Hugging Face hub: accept its terms on its page, then `hf auth login`",
        ),
        (404, "RevisionNotFound", "the Hugging Face hub has the model, but no revision 'v2'"),
        (404, "RepoNotFound", "the Hugging Face hub has no such model, or requires a login: `hf auth login`"),
    ],
)
def test_error_reports_the_refusal_of_a_hub(code: int, error: str, message: str, tmp_path: Path) -> None:
    with serve_hub_error(code, error) as address:
        result = resolve("org/name@v2", tmp_path, HF_ENDPOINT=address)
    assert result.returncode == 1
    assert f"org/name@v2: no such folder here; {message}" in result.stderr


def test_error_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnknownModelError, match=r"org/name@main: .*pip install huggingface_hub"):
        download_snapshot("org/name", "main", [])
