"""Any coding agent that is a command lives here: words from the configuration, run in a box, judged by the exit status and by nothing it says.

Words and values of the environment may hold `{job}` (a file with the job as JSON), `{tree}` (the folder to work in), and with a gateway `{url}`
and `{key}` of the model. The exit status says how it ended: 0 done, 10 gave up, 20 refused; any other is a crash.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from connectors.agent_box import URL, AgentBox, Left, Program, Seen
from connectors.ports import PortError, TreeJob, TreeRun
from rubric.gating import escaped
from rubric.secrets import secrets_in

SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth|cookie|session|dsn|database", re.IGNORECASE)
"""names of variables that hold secrets as a rule"""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
"""a word as `env` takes it, which puts a variable into the environment as well"""
OURS = frozenset({"HOME", "TMPDIR", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"})
"""set by the box"""


class CommandAgent:
    """`TreeAgent` by a program of others."""

    name = "command"
    by_model = True

    def __init__(self, runner: AgentBox, argv: Sequence[str], environment: Mapping[str, str] | None = None):
        """Raises `PortError` for words or an environment that can be seen to be wrong, or that would bring a secret into the box."""
        self._runner, self._argv, self._environment = runner, tuple(argv), dict(environment or {})
        if not self._argv or not self._argv[0] or any("\0" in word for word in (*self._argv, *self._environment.values())):
            raise PortError("bad_command", "the command of the agent has to be a list of words, the program first")
        if any(secrets_in("\n".join(self._argv))):
            raise PortError("bad_command", "a word of the agent's command looks like a secret; a box gets none, write {key} for the key of the model")
        assigned = [word.partition("=")[::2] for word in self._argv[1:] if ASSIGNMENT.match(word)]
        for name, value in [*self._environment.items(), *assigned]:
            _check(name, value)

    def trouble(self) -> str | None:
        return self._runner.trouble(self._argv[0])

    def run(self, job: TreeJob, tree: Path) -> TreeRun:
        """One attempt. What it leaves in the tree stays as it is, whatever the outcome; then nothing of it runs any more."""
        return self._runner.attempt(job, tree, self._compose, _judge)

    def _compose(self, seen: Seen) -> Program:
        words = {"{job}": str(seen.job), "{tree}": str(seen.tree), **({"{url}": URL, "{key}": seen.key} if seen.key else {})}
        pattern = re.compile("|".join(map(re.escape, words)))

        def filled(word: str) -> str:
            return pattern.sub(lambda found: words[found.group()], word)

        return Program([filled(word) for word in self._argv], {name: filled(value) for name, value in self._environment.items()})


def _check(name: str, value: str) -> None:
    shown = escaped(name)[:100]
    if not NAME.fullmatch(name) or name in OURS:
        raise PortError("bad_environment", f"the agent's environment cannot set {shown}: it is no name of a variable, or set by the box")
    ours = name.upper().startswith("TRIAGE")
    if ours or any(secrets_in(value)) or (SECRET_NAME.search(name) and value != "{key}"):
        raise PortError(
            "bad_environment", f"{shown} in the agent's environment looks like a secret; a box gets none, write {{key}} for the key of the model"
        )


def _judge(left: Left) -> TreeRun:
    match left.ended.status:
        case 0:
            return left.told("done", "the command ended with status 0")
        case 10:
            return left.told("gave_up", "gave_up: the command ended with status 10, which says that the job does not fit")
        case 20:
            return left.told("refused", "refusal: the command ended with status 20, which says that its model refused the job")
        case _:
            return left.crashed()
