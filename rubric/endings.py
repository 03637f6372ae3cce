"""What the end of a target's program says: that it is done, that it failed by its own doing, or that somebody else ended it."""

import signal
from collections.abc import Collection

FROM_OUTSIDE = ("killed", "stopped", "cannot_start")
"""Failures that say nothing of the tree that the program ran in, so they are no verdict on it."""
OVER_LIMIT = {signal.SIGXCPU: "used up its processor time", signal.SIGXFSZ: "wrote a larger file than it may"}
"""Signals by which the kernel holds a program to the limits that we set."""
CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGPIPE, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}
"""Signals that a program brings upon itself. All others are sent: by a person, or by a kernel that is out of memory."""
BY_SHELL = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
"""Exit statuses by which a shell, or a box, says that what it ran was killed."""
AS_REPLAY = {
    **dict.fromkeys(("exit_code", "killed", "crashed", "over_limit"), "replay_exit"),
    "no_rows_file": "replay_missing",
    "bad_rows": "replay_garbage",
}
"""What a failure is called when the program was a replay."""


def failure_of(status: int, fine: Collection[int]) -> tuple[str, str] | None:
    """(failure, words) of an exit status as `subprocess` has it, negative for a signal; None when it is one of the `fine` ones."""
    if status in fine:
        return None
    if status in BY_SHELL:
        return "killed", f"ended with exit status {status}: what it ran was killed"
    if status >= 0:
        return "exit_code", f"ended with exit status {status}, not {' or '.join(map(str, sorted(fine)))}"
    if -status not in set(signal.Signals):
        return "killed", f"was killed by signal {-status} (unnamed)"
    sent = signal.Signals(-status)
    if sent in OVER_LIMIT:
        return "over_limit", OVER_LIMIT[sent]
    return "crashed" if sent in CRASHES else "killed", f"was killed by signal {-status} ({sent.name})"
