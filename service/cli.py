"""The `triage` command: a table of commands, each loaded only when it is asked for, so that `triage gate` starts in a blink."""

import gc
import importlib
import os
import sys

COMMANDS = {
    "serve": ("service.commands.serve", "start the server: webhooks in, pages, workers and clock in one process"),
    "demo": ("service.commands.demo", "run the whole loop on the example target, with a stand-in gatekeeper"),
    "import": ("service.commands.importing", "take cases in from a JSONL file, with a progress bar"),
    "critic": ("service.commands.critic", "look at the critic, or let it draft old rejections at half price"),
    "gate": ("service.commands.gate", "run a target's step evals, base against head, without a server"),
    "doctor": ("service.commands.doctor", "look whether all that the settings ask for can be had here: database, targets, sandbox, agent"),
    "migrate": ("service.commands.migrating", "bring the database to the tables of this version"),
}
"""name → (module with `main(argv) -> exit status`, what it does)"""


def usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: triage COMMAND [OPTIONS]",
            "",
            "Turns the rejections that support staff write about an LLM support pipeline into reviewed fix-hints,",
            "and approved hints into small gated pull requests.",
            "",
            *lines,
            "",
            "`triage COMMAND --help` says more. Settings are environment variables; see .env.example.",
            "New here? `triage demo` needs no key, no GitHub and no network.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit status (64: a wrong command line, 78: settings, folders or a database that do not allow it)."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def run(words: list[str]) -> int:
    """Load and run one command. The one place where refusals become a line and an exit status."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())  # noqa: T201
        return 0
    if words[0] not in COMMANDS:
        print(f"triage: there is no command {words[0][:40]!r}; it is one of {', '.join(COMMANDS)}", file=sys.stderr)  # noqa: T201
        return 64
    gc.disable()  # what is loaded now stays: looking through it again and again takes a tenth of the start of a short command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # nobody else's code gets to see our values, and none is searched for
    try:
        command = importlib.import_module(COMMANDS[words[0]][0]).main
        gc.enable()
        status: int = command(words[1:])
    except Exception as error:
        found = _refusal(error)
        if found is None:  # a bug of ours: its traceback is what helps
            raise
        status, line = found
        print(f"triage {words[0]}: {line}", file=sys.stderr)  # noqa: T201
    return status


def _refusal(error: Exception) -> tuple[int, str] | None:
    """(exit status, what to say) of an error that a user can mend. Known by what it carries: importing its class would load half the service."""
    status = getattr(error, "exit_status", None)  # service.settings.Refused
    if isinstance(status, int):
        return status, str(error)
    if hasattr(error, "format_message"):  # what the command line parser raises
        context = getattr(error, "ctx", None)
        return 64, error.format_message() + (f"\n{context.get_usage()}" if context else "")
    return None


if __name__ == "__main__":
    sys.exit(main())
