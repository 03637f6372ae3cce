"""`triage critic`: looks at the critic from outside. Each command has a file of its own."""

import typer

from service.commands.critic_backfill import backfill_command
from service.commands.critic_draft import draft_command
from service.commands.critic_score import score_command

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def critic_command() -> None:
    """Look at the critic from outside."""


app.command("score")(score_command)
app.command("draft")(draft_command)
app.command("backfill")(backfill_command)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 some cases got no further, 64 inputs that do not fit, 75 not finished: start it again, 78 cannot start."""
    return int(app(argv, standalone_mode=False, prog_name="triage critic") or 0)
