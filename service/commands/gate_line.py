"""The command line of `triage gate`, and what its help says."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from rubric.gating import escaped
from rubric.noise import FULL
from rubric.plans import Step

MOST_RUNS = 1000
USAGE = 64
"""As sysexits.h has it; argparse's own 2 means `inconclusive or error` here."""
HELP = """\
Runs the step evals of a repository on two commits and compares them row by row: a row that passed on BASE and does
not pass on HEAD is lost, and one lost row fails the gate. Which suites run follows from the changed paths and from
triage.yaml. That file, the eval rows and all other protected files are taken from BASE for both sides, so HEAD
cannot change its own exam.

A suite of kind `sampled` is run three times on each side, and eight times where rows come under suspicion.

The suites run as plain processes of yours. Do not use this on code that you would not run yourself.
"""
EXAMPLE = """\
example:
  triage gate run --repo ../support-drafts --base main --head lower-email-weight
  triage gate run --base origin/main --head HEAD --json > gate.json     # in CI, inside the repository

exit status:
  0   pass: all rows kept, no row missing, no new row failing
  1   fail: HEAD loses rows, or its suites cannot run
  2   inconclusive or error: nothing was judged; the last line says why
  64  the command line is wrong
"""
NOISE_HELP = """\
Runs the sampled suites of a repository several times on BASE alone and shows the rows that pass now and then: noise,
whatever a change does. It also shows which of them a gate would put in quarantine, the noisiest first, as long as they
are no more than a fifth of their suite.

The suites run as plain processes of yours. Do not use this on code that you would not run yourself.
"""
NOISE_EXAMPLE = """\
example:
  triage gate noise --repo ../support-drafts --base main --runs 20

exit status:
  0   all sampled suites were measured, or there are none
  2   a suite could not be run; the line below its name says why
  64  the command line is wrong
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        sys.stderr.write(f"{self.prog}: {escaped(message)}\n")
        raise SystemExit(USAGE)


def command_line() -> argparse.ArgumentParser:
    """What may be asked; `command` is `run` or `noise`."""
    parser = _Parser(prog="triage gate", description="The eval gate.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    plain = argparse.RawDescriptionHelpFormatter
    run = commands.add_parser("run", help="judge HEAD against BASE", description=HELP, epilog=EXAMPLE, formatter_class=plain)
    run.add_argument("--head", required=True, metavar="REF", help="commit, branch or tag with the change")
    steps = [step.value for step in Step]
    run.add_argument("--step", action="append", choices=steps, metavar="S", help=f"run only this step's suites; may be repeated: {' '.join(steps)}")
    run.add_argument("--cache", type=Path, metavar="FOLDER", help="keep results there by their content, and do not run again what is known")
    noise = commands.add_parser(
        "noise", help="show the rows that vary on BASE alone", description=NOISE_HELP, epilog=NOISE_EXAMPLE, formatter_class=plain
    )
    noise.add_argument("--runs", type=_runs, default=FULL, metavar="K", help=f"runs of each suite, 2 to {MOST_RUNS} (default: {FULL})")
    for command in (run, noise):
        command.add_argument("--repo", type=Path, default=Path(), metavar="PATH", help="the repository (default: the current folder)")
        command.add_argument("--base", required=True, metavar="REF", help="commit, branch or tag that is good today")
        command.add_argument("--json", action="store_true", help="print the whole report as JSON")
        command.add_argument("--python", default=sys.executable, metavar="PATH", help="what `python` in triage.yaml means (default: this one)")
    return parser


def _runs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 2 <= int(text[:9]) <= MOST_RUNS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 2 to {MOST_RUNS}")
    return int(text)
