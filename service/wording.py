"""Every text we put on a branch, commit or pull, made of ids, slugs and numbers only."""

import re

from rubric.schema import Hint
from rubric.secrets import secrets_in

_SLUG = re.compile(r"[^a-z0-9]+")


def slug(text: str, cap: int = 40) -> str:
    """Lower case ASCII with single dashes."""
    return _SLUG.sub("-", text.lower()).strip("-")[:cap].strip("-") or "x"


def branch(hint_id: str, recipe: str, turn: int) -> str:
    """The one branch of a hint; `turn` counts approvals and rebuilds, so that a branch is never moved."""
    name = f"triage/{slug(hint_id)}-{slug(recipe, 30)}"
    return name if turn <= 1 else f"{name}-{turn}"


def title(hint_id: str, hint: Hint) -> str:
    """Conventional-commit form, step as scope, hint id last."""
    return f"fix({hint.step}): {hint.recipe.replace('_', ' ')} at {_name(hint.target)} [{hint_id}]"


def commit_message(hint_id: str, hint: Hint, *, confirmed_by: str, rubric_version: str, row_note: str) -> str:
    return "\n".join(
        [
            title(hint_id, hint),
            "",
            f"Recipe: {hint.recipe}",
            f"Target: {_name(hint.target)}",
            f"Eval row: {row_note}",
            "",
            f"Hint-Id: {hint_id}",
            f"Confirmed-By: {slug(confirmed_by)}",
            f"Rubric-Version: {rubric_version}",
        ]
    )


def body(hint_id: str, hint: Hint, *, confirmed_by: str, rubric_version: str, critic: str, cures: int, row_note: str) -> str:
    """What a reviewer reads: the change, its proof, its risk. No ticket, no comment, no names of customers."""
    group = "1 rejection" if cures == 1 else f"{cures} rejections"
    return "\n".join(
        [
            f"Recipe `{hint.recipe}` at `{_name(hint.target)}` (step `{hint.step}`).",
            "",
            f"- cures {group}; the case itself stays in the service, see hint `{hint_id}`",
            f"- eval row: {row_note}",
            f"- risk: {hint.risk}",
            f"- confirmed by `{slug(confirmed_by)}`; drafted by `{slug(critic)}`, rubric `{rubric_version}`",
            "- to take it back: revert the one commit of this branch",
        ]
    )


def _name(target: str) -> str:
    """An inventory id, cut to the characters that cannot start anything on a code host; no address, and nothing that looks like a secret."""
    if any(secrets_in(target)):
        return "a-name-that-looks-like-a-secret"
    return re.sub(r"//+", "/", re.sub(r"[^A-Za-z0-9_.:/-]+", "-", target))[:120]
