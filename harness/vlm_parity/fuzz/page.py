"""The findings of the fuzzer as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping

from vlm_parity.report.html import FUZZ_PAGE
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.page_templates import render_page
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord, merge_fuzz_records
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.schema.verdict import VerdictKind

_ORDER = (
    VerdictKind.HARNESS_ERROR,
    VerdictKind.CRASH,
    VerdictKind.ERROR,
    VerdictKind.INVALID,
    VerdictKind.MISMATCH,
    VerdictKind.KNOWN,
)


def merge_fuzz(run: LoadedRun) -> FuzzRecord:
    """Merge the fuzz records of all shards of a run."""
    return merge_fuzz_records(
        shard.fuzz.model_copy(
            update={"findings": tuple(_name_shard(finding, shard.name) for finding in shard.fuzz.findings)}
        )
        for shard in run.shards
        if shard.fuzz is not None
    )


def _name_shard(finding: FuzzFinding, shard: str) -> FuzzFinding:
    return finding.model_copy(update={"shard": shard})


def write_fuzz_page(run: LoadedRun) -> None:
    """Write the page and ``fuzz.json`` into the run folder, unless no shard has fuzzed."""
    record = merge_fuzz(run)
    problems = [problem for problem in run.problems if FUZZ_FILE in problem]
    if not record.fuzzed and not problems:
        return
    updated = apply_run_verdicts(record, run)
    write_record(run.folder / FUZZ_FILE, updated)
    content = render_page(
        "fuzz.html.j2",
        run=run.folder.name,
        record=updated,
        headline=format_headline(updated),
        findings=sorted(updated.findings, key=_severity),
        pages=_pages(run),
        problems=[
            *problems,
            *(
                f"{each.model} in {each.backend}: {each.incomplete_reason}"
                for each in updated.fuzzed
                if each.incomplete_reason
            ),
        ],
    )
    write_atomically(run.folder / FUZZ_PAGE, content.encode())


def apply_run_verdicts(record: FuzzRecord, run: LoadedRun) -> FuzzRecord:
    """Update the kinds of the findings from the verdicts of the run, which may use other known issues."""
    verdicts = {
        (entry.shard, entry.verdict.model, entry.verdict.backend, entry.verdict.case): entry.verdict
        for entry in run.verdicts
    }
    findings = []
    for each in record.findings:
        verdict = verdicts.get((each.shard, each.model, each.backend, each.case))
        update = {"kind": verdict.kind, "known": verdict.known} if verdict is not None else {}
        findings.append(each.model_copy(update=update))
    return record.model_copy(update={"findings": tuple(findings)})


def format_headline(record: FuzzRecord) -> str:
    """Format the result as a sentence."""
    new = sum(not finding.passes for finding in record.findings)
    known = sum(finding.kind is VerdictKind.KNOWN for finding in record.findings)
    engines = len({(each.model, each.backend) for each in record.fuzzed})
    sentence = f"{new or 'No'} new finding{'' if new == 1 else 's'} in {record.examples:,} examples"
    return f"{sentence} for {engines} models and engines" + (f", {known} known" if known else "")


def _pages(run: LoadedRun) -> Mapping[tuple[str, str, str, str], str]:
    return {
        (entry.shard, entry.verdict.model, entry.verdict.backend, entry.verdict.case): entry.page
        for entry in run.verdicts
    }


def _severity(finding: FuzzFinding) -> tuple[int, str, str, str]:
    place = _ORDER.index(finding.kind) if finding.kind in _ORDER else len(_ORDER)
    return place, finding.failed_property, finding.cause, finding.model
