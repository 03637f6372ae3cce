"""What the end of a program says holds here."""

import signal

import pytest

from rubric.endings import AS_REPLAY, failure_of


@pytest.mark.parametrize(
    ("status", "failure", "word"),
    [
        (3, "exit_code", "not 0 or 1"),
        (-signal.SIGKILL, "killed", "SIGKILL"),
        (-signal.SIGTERM, "killed", "SIGTERM"),
        (-signal.SIGHUP, "killed", "SIGHUP"),
        (137, "killed", "137"),
        (143, "killed", "143"),
        (-signal.SIGXCPU, "over_limit", "processor time"),
        (-signal.SIGXFSZ, "over_limit", "larger file"),
        (-signal.SIGSEGV, "crashed", "SIGSEGV"),
        (-signal.SIGABRT, "crashed", "SIGABRT"),
        (-99, "killed", "unnamed"),
    ],
)
def test_an_end_has_a_code_and_words(status, failure, word):
    found = failure_of(status, (1, 0))
    assert found and found[0] == failure and word in found[1]
    assert AS_REPLAY[failure] == "replay_exit"


@pytest.mark.parametrize("status", [0, 1])
def test_a_fine_end_has_none(status):
    assert failure_of(status, (0, 1)) is None
