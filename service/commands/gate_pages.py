"""What `triage gate` prints: the report of a run, and the table of rows that vary by themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from rubric.gating import escaped
from rubric.noise import FIRST, ONE_IN, capped, noisy
from rubric.stats import wilson
from rubric.verdicts import NAMED, SuiteVerdict
from service.gating import GateReport, SuiteFacts

SAYS = {"outside": "", "self": "  self-graded"}


def gate_page(report: GateReport, found: Mapping[str, Any]) -> list[str]:
    affected = " ".join(step.value for step in report.affected) or "none"
    lines = [
        f"gate            {found['base'][:10]} (base) -> {found['head'][:10]} (head)",
        f"changed         {_some(report.changed)}",
        f"affected steps  {affected}",
    ]
    if report.from_base:
        lines.append(f"from base       {_some(report.from_base)}  (head's own version was not used)")
    if not found["base_is_ancestor"]:
        lines.append("note            base is not an ancestor of head: what base gained since they parted counts as removed by head")
    lines += ["", f"{'suite':<24} {'verdict':<13} {'base':>6} {'head':>6} {'kept':>6} {'gained':>6} {'lost':>6} {'seconds':>8}"]
    for suite in report.suites:
        lines += _suite_lines(suite, report.facts[suite.suite])
    return [*lines, "", f"verdict: {report.state} in {report.seconds:.2f} s", *(f"  {escaped(reason)}" for reason in report.verdict.reasons)]


def _suite_lines(row: SuiteVerdict, facts: SuiteFacts) -> list[str]:
    figures = " ".join(f"{number:>6}" for number in (row.rows_base, row.rows_head, row.kept, len(row.gained), len(row.lost)))
    lines = [f"{row.suite:<24} {row.state:<13} {figures} {max(facts.seconds_base, facts.seconds_head):>8.2f}{SAYS[row.graded]}"]
    named = {
        "lost": row.lost,
        "missing": row.missing,
        "new, failing": row.new_failing,
        "may be lost, a person has to look": row.undecided,
        "in quarantine, not judged": row.quarantined,
        "failing on both": row.failing,
    }
    lines += [f"    {what}: {_some(rows)}" for what, rows in named.items() if rows]
    lines += [f"    waived: {escaped(name)} ({escaped(reason)})" for name, reason in row.waived.items()]
    lines += _varying(row)
    if row.state == "pass" and row.reason:
        lines.append(f"    note: {escaped(row.reason)}")
    for side, cached in (("base", facts.cached_base), ("head", facts.cached_head)):
        if cached:
            lines.append(f"    from cache on {side}: {cached} run{'s' if cached != 1 else ''}")
    for side, detail in (("base", facts.detail_base), ("head", facts.detail_head)):
        if detail:
            lines.append(f"    on {side}: " + detail.replace("\\n", "\n      | "))
    return lines


def _varying(row: SuiteVerdict) -> list[str]:
    """How often a suite was run, and the rows whose runs differ, those that fell farthest first."""
    if row.runs == (1, 1):
        return []
    lines = [f"    runs: {row.runs[0]} on base, {row.runs[1]} on head; {len(row.suspects)} under suspicion after the first {FIRST}"]
    fallen = sorted(row.counts.items(), key=lambda one: (one[1][2] / one[1][3] - one[1][0] / one[1][1], one[0]))
    lines += [f"      {f'{base}/{of_base} -> {head}/{of_head}':<14} {escaped(name)}" for name, (base, of_base, head, of_head) in fallen[:NAMED]]
    return [*lines, f"      and {len(fallen) - NAMED} more rows that vary"] if len(fallen) > NAMED else lines


def _some(names: Sequence[str]) -> str:
    shown = " ".join(escaped(name) for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def noise_of(suite: str, counts: Mapping[str, tuple[int, int]], why: str | None) -> dict[str, Any]:
    """The noisy rows of one suite as JSON values, the noisiest first. `why`: what kept it from being measured."""
    rows = noisy(counts)
    taken, _ = capped(rows, counts)
    noise = [{"row": row, "passes": counts[row][0], "runs": counts[row][1], "quarantined": row in taken} for row in rows]
    return {"suite": suite, "rows": len(counts), "noisy": noise, "failure": why}


def noise_page(found: Mapping[str, Any]) -> list[str]:
    """The table of what `noise_of` found, with the 95 % interval of each pass rate: few runs know little."""
    lines = [f"noise           {found['base'][:10]} (base), {found['runs']} runs of each sampled suite"]
    if not found["suites"]:
        return [*lines, "", "no suite of triage.yaml is of kind sampled; there is nothing to measure"]
    for suite in found["suites"]:
        noise = suite["noisy"]
        taken = sum(row["quarantined"] for row in noise)
        said = "not measured" if suite["failure"] else f"{suite['rows']} rows, {len(noise)} noisy, {taken} for quarantine (at most one in {ONE_IN})"
        lines += ["", f"{suite['suite']:<24} {said}"]
        if suite["failure"]:
            lines.append("    " + escaped(suite["failure"]).replace("\\n", "\n      | "))
        for row in noise:
            low, high = wilson(row["passes"], row["runs"])
            share = f"{row['passes']}/{row['runs']}"
            lines.append(f"    {share:>9}  {low:4.0%} to {high:4.0%}  {'quarantine' if row['quarantined'] else 'judged':<10}  {escaped(row['row'])}")
    return lines
