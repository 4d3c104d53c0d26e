"""The report of many verdicts in a browser: size of the index, time to open and to filter.

  python benchmarks/report_page.py reports/latest
  python benchmarks/report_page.py reports/latest --verdicts 20000

Copies the verdicts of a run until there are as many as requested, under names of models, writes the report,
and opens its index from the file system. Needs `pip install -e ".[browser]"` and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright
from target import build_parser, check_target, get_exit_code

from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.run import ModelInfo
from vlm_parity.session.shard_writer import ShardWriter

REPETITIONS = 5
MAX_BYTES, MAX_SECONDS = 1e6, 1.0
FILTER = """() => new Promise((resolve) => {
  const form = document.getElementById("filters");
  const start = performance.now();
  form.elements.kind.value = [...form.elements.kind.options].at(-1).value;
  form.elements.kind.dispatchEvent(new Event("change", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve((performance.now() - start) / 1000)));
})"""
"""Selects the last verdict kind; resolves after the next frame, in seconds."""


def copy_verdicts(run: Path, copied: Path, count: int) -> None:
    """Write a run of one shard with the verdicts of another run, repeated under names of models."""
    verdicts = [entry.verdict for entry in load_run(run).verdicts]
    if not verdicts:
        sys.exit(f"{run}: the run holds no verdict")
    writer = ShardWriter(copied / "shards" / "copies", "report_page", {})
    writer.add_expected(count)
    writer.start({verdict.backend: None for verdict in verdicts})
    for number, verdict in enumerate(islice(cycle(verdicts), count)):
        name = f"{verdict.model}-{number // len(verdicts)}"
        writer.add_model_info(ModelInfo(name=name, family=verdict.model, source="synthetic"))
        names = {"model": name}
        traces = {side: getattr(verdict, side).model_copy(update=names) for side in ("reference", "tested")}
        writer.write_verdict(verdict.model_copy(update=names | traces))
    writer.finish()


def measure_opening(page: Page, index: Path) -> float:
    """Open the index; return the seconds until the filters show the number of rows."""
    start = time.perf_counter()
    page.goto(index.as_uri())
    page.wait_for_function("document.getElementById('filters')?.elements.shown.value")
    return time.perf_counter() - start


@contextmanager
def open_browser() -> Iterator[Page]:
    """Start Chromium for a block; it ends with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def main() -> int:
    """Measure one report and return the exit code."""
    parser = build_parser(str(__doc__))
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder whose verdicts are copied")
    parser.add_argument("--verdicts", type=int, default=6000, metavar="N", help="default: 6000")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="report-page-") as folder:
        copied = Path(folder) / "run"
        copy_verdicts(args.run, copied, args.verdicts)
        records = sum(path.stat().st_size for path in copied.rglob("*") if path.is_file())
        start = time.perf_counter()
        index = write_report(load_run(copied))
        seconds = time.perf_counter() - start
        written = sum(path.stat().st_size for path in copied.rglob("*") if path.is_file()) - records
        with open_browser() as page:
            opening = [measure_opening(page, index) for _ in range(REPETITIONS)]
            filtering = [page.evaluate(FILTER) for _ in range(REPETITIONS)]
        size = index.stat().st_size
    print(f"{args.verdicts:,} verdicts: {written / 1e6:.0f} MB of pages in {seconds:.0f} s")
    print(f"open {median(opening):.2f} s, filter {median(filtering):.3f} s, index {size / 1e6:.2f} MB")
    return get_exit_code([
        check_target("index.html, of 1 MB", [size / MAX_BYTES], 1, "most"),
        check_target("opening, of 1 s", [value / MAX_SECONDS for value in opening], 1, "most"),
        check_target("filtering, of 1 s", [value / MAX_SECONDS for value in filtering], 1, "most"),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
