"""Reply, and what no codemod does: endpoints, the fallback agent, attachments."""

from collections.abc import Callable
from typing import Any

from rubric.choosing.kinds import SLUG, Fields, Kind, Place, listed, own_plan, text
from rubric.drafting import Brief
from rubric.inventory import template
from rubric.proposals.plan import branches_of
from rubric.proposals.reply import holding
from rubric.reading import template_of
from rubric.schema import Step


def _templates(brief: Brief) -> list[Place]:
    made = template_of(brief.case.plan.reply, brief.inventory)
    first = [one for one in brief.inventory.of(Step.reply) if made and ".".join(one.parts) == made[0]]
    own = [found for one in branches_of(brief, brief.case.plan.leaf) if (found := template(brief.inventory, str(one.view.get("template", ""))))]
    return listed(list({one.id: one for one in [*first, *own]}.values()))


def _phrase(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    own = brief.inventory.entries[place]
    names = [".".join(one.parts) for one in holding(brief, fields["old"])] or [".".join(own.parts)]
    return place, {"templates": names, "old": fields["old"], "new": fields["new"]}


def _endpoint(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    what = {"summary": fields["question"][:200], "responses": {"200": {"description": fields["answer"]}}}
    paths = {f"/{fields['tool']}/{{id}}": {"get": what}}
    openapi = {"openapi": "3.1.0", "info": {"title": fields["tool"].replace("_", " "), "version": "1"}, "paths": paths}
    return place, {"tool": fields["tool"], "question": fields["question"], "openapi": openapi}


def _of_step(step: Step) -> Callable[[Brief], list[Place]]:
    return lambda brief: listed(brief.inventory.of(step))


KINDS: dict[str, Kind] = {
    "change_reply_template": Kind(
        "Which template holds the phrase?", _templates,
        lambda brief, place: {
            "old": text("the phrase, exactly as the template has it", 1000), "new": text("what it says instead; empty to take it out", 1000),
        }, _phrase,
    ),
    "request_endpoint": Kind(
        "Whose plan has to know it?", own_plan,
        lambda brief, place: {
            "tool": text(f"name of the read tool: {SLUG}", 60), "question": text("what the pipeline needs to know"),
            "answer": text("what comes back"),
        }, _endpoint,
    ),
    "change_fallback_agent": Kind(
        "Which agent?", _of_step(Step.fallback), lambda brief, place: {"instruction": text("what it shall do or leave, one sentence")},
        lambda brief, place, fields: (place, {"instruction": fields["instruction"]}),
    ),
    "change_attachment_preprocessing": Kind(
        "Which kind of attachment?", _of_step(Step.preprocess),
        lambda brief, place: {"media_type": text("its media type", 120), "lost": text("what reading it loses")},
        lambda brief, place, fields: (place, {"media_type": fields["media_type"], "lost": fields["lost"]}),
    ),
}  # fmt: skip
"""recipe → how a model is led through it"""
