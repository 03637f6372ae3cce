"""The typed change of every recipe: what a hint of that kind must name, as a discriminated union."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from rubric.arguing import argues

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
LeafPath = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){0,3}$")]
Cues = Annotated[dict[Annotated[str, StringConstraints(min_length=2, max_length=80)], int], Field(max_length=20)]


class _Change(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class PromoteOtherIntent(_Change):
    """Give a cluster of tickets in an Other leaf a leaf of its own."""

    recipe: Literal["promote_other_intent"] = "promote_other_intent"
    parent: Slug
    leaf: Slug
    about: Phrase
    cues: Cues
    """words that speak for the new leaf, with their weight"""
    reply: Phrase
    tools: list[Name | dict[Name, Any]] = []
    """names, or entries written as the target writes its tools"""
    cases: list[str] = Field(min_length=3)
    """ids of rejected cases that share the mechanism"""
    look_alikes: list[str] = []
    """ids of cases that must stay in Other"""


class RefineIntentBoundary(_Change):
    """Move the line between two leaves by cues."""

    recipe: Literal["refine_intent_boundary"] = "refine_intent_boundary"
    from_parent: Slug
    from_leaf: Slug
    to_parent: Slug
    to_leaf: Slug
    cues: Cues = {}
    """added to the right leaf"""
    drop: list[Phrase] = []
    """cues taken away from the wrong leaf"""


class AddSecondParent(_Change):
    """Let a leaf be reached from a second parent."""

    recipe: Literal["add_second_parent"] = "add_second_parent"
    leaf: LeafPath
    parent: Slug


class RetireLeaf(_Change):
    """Close a leaf and say where its traffic goes."""

    recipe: Literal["retire_leaf"] = "retire_leaf"
    leaf: LeafPath
    to: LeafPath


class AddExtractionField(_Change):
    """Read a value that tickets state and no field takes."""

    recipe: Literal["add_extraction_field"] = "add_extraction_field"
    group: Slug
    field: Slug
    label: Name
    pattern: Phrase | None = None
    """regular expression of the form, for targets that read by form"""
    settings: dict[Name, Any] = Field(default={}, max_length=5)
    """what else the entry says, written as the target writes it: its type, the forms that it copes with"""
    example: Phrase
    """a span as customers write it"""


class AlterExtractionField(_Change):
    """Teach a field a form, a normaliser or a counter-example."""

    recipe: Literal["alter_extraction_field"] = "alter_extraction_field"
    group: Slug
    field: Slug
    handles: Name | None = None
    """name of a form that the field shall cope with"""
    normaliser: Name | None = None
    counter_example: Phrase | None = None


class AdjustFetchWeight(_Change):
    """Change how much one matching field counts."""

    recipe: Literal["adjust_fetch_weight"] = "adjust_fetch_weight"
    record_type: Slug | None = None
    field: Slug
    from_: int = Field(alias="from", ge=-100, le=1000)
    to: int = Field(ge=-100, le=1000)
    scores: dict[str, tuple[float, float]] = {}
    """record id: score of the candidate before, after; recomputed by lint"""


class AdjustFetchThreshold(_Change):
    """Change the score that a record needs."""

    recipe: Literal["adjust_fetch_threshold"] = "adjust_fetch_threshold"
    record_type: Slug | None = None
    from_: int = Field(alias="from", ge=0, le=1000)
    to: int = Field(ge=0, le=1000)
    flips: list[str] = []
    """ids of accepted cases that would change"""


class AddFetchQuery(_Change):
    """Search the records by one more field."""

    recipe: Literal["add_fetch_query"] = "add_fetch_query"
    record_type: Slug | None = None
    field: Slug
    query: Name
    """the extracted value it searches with, `group.field`"""
    weight: int = Field(ge=1, le=1000)


class AddTieRule(_Change):
    """Say what happens when two records are equally good."""

    recipe: Literal["add_tie_rule"] = "add_tie_rule"
    leaf: LeafPath
    branch: Slug
    rule: Name
    template: Name
    before: Name | None = None


class AddPlanBranch(_Change):
    """Treat a condition on fetched data by a branch of its own."""

    recipe: Literal["add_plan_branch"] = "add_plan_branch"
    leaf: LeafPath
    branch: Slug
    condition: Name
    template: Name
    reply: Phrase | None = None
    """text of the template when it is new"""
    tools: list[Name | dict[Name, Any]] = []
    """names, or entries written as the target writes its tools"""
    before: Name | None = None
    """existing branch that it goes in front of"""
    cells: list[Name] = []
    """cells of the intent × record-state grid that it decides"""


class AlterPlanBranch(_Change):
    """Change condition, tools, template or order of a branch, or take a setting away."""

    recipe: Literal["alter_plan_branch"] = "alter_plan_branch"
    leaf: LeafPath
    branch: Name
    condition: Name | None = None
    template: Name | None = None
    tools: list[Name | dict[Name, Any]] | None = None
    """the whole list, written as the target writes its tools"""
    before: Name | None = None
    drop: list[Name] = Field(default=[], max_length=5)
    """settings of the branch that go away"""


class AddPolicyRule(_Change):
    """Write down a rule that binds several leaves."""

    recipe: Literal["add_policy_rule"] = "add_policy_rule"
    rule: Slug
    scope: list[Name] = Field(min_length=1)
    text: Phrase
    owner: Name
    blocks_sentences: list[Phrase] = []
    blocks_tools: list[Name] = []


class ChangeReplyTemplate(_Change):
    """Replace a phrase in every template that uses it."""

    recipe: Literal["change_reply_template"] = "change_reply_template"
    templates: list[Name] = Field(min_length=1)
    old: Phrase
    new: Annotated[str, StringConstraints(max_length=4000)]
    """empty: the phrase is taken out"""


class RequestEndpoint(_Change):
    """Ask for a read tool that does not exist yet."""

    recipe: Literal["request_endpoint"] = "request_endpoint"
    tool: Slug
    question: Phrase
    """what the pipeline needs to know"""
    openapi: dict[str, Any]


class ChangeFallbackAgent(_Change):
    """Change the prompt of the fallback agent or add a golden row."""

    recipe: Literal["change_fallback_agent"] = "change_fallback_agent"
    instruction: Phrase
    golden_case: str | None = None


class FixEvalData(_Change):
    """Correct an expectation that is wrong."""

    recipe: Literal["fix_eval_data"] = "fix_eval_data"
    suite: Name
    row: Name
    why: Phrase


class ChangeAttachmentPreprocessing(_Change):
    """Keep what reading an attachment loses."""

    recipe: Literal["change_attachment_preprocessing"] = "change_attachment_preprocessing"
    media_type: Name
    lost: Phrase


Change = Annotated[
    PromoteOtherIntent
    | RefineIntentBoundary
    | AddSecondParent
    | RetireLeaf
    | AddExtractionField
    | AlterExtractionField
    | AdjustFetchWeight
    | AdjustFetchThreshold
    | AddFetchQuery
    | AddTieRule
    | AddPlanBranch
    | AlterPlanBranch
    | AddPolicyRule
    | ChangeReplyTemplate
    | RequestEndpoint
    | ChangeFallbackAgent
    | FixEvalData
    | ChangeAttachmentPreprocessing,
    Field(discriminator="recipe"),
]
ChangeOf: TypeAdapter[Change] = TypeAdapter(Change)
"""reads the JSON of any typed change"""


_SETS = frozenset({"templates", "drop", "scope"})
"""lists whose order says nothing"""


_UNSAID: dict[str, dict[str, Any]] = {
    kind.model_fields["recipe"].default: {
        field.alias or name: field.default for name, field in kind.model_fields.items() if name != "recipe" and not field.is_required()
    }
    for kind in get_args(get_args(Change)[0])
}
"""recipe → what is read where a change does not say a field"""


def edit_of(change: Mapping[str, Any]) -> dict[str, Any]:
    """What a change (as JSON) does, without what argues for it: two hints with equal edits ask for the same, whatever cases led to them.

    A field at its default is left out. That is safe, because a change is read with its defaults filled in: said or not, it is the same change,
    before and after a recipe got one more field. Another rule here needs a revision that computes `hints.change_hash` anew.
    """
    unsaid = _UNSAID.get(str(change.get("recipe")), {})
    said = {name: value for name, value in change.items() if not argues(name) and not (name in unsaid and value == unsaid[name])}
    return {name: sorted(value) if name in _SETS and isinstance(value, list) else value for name, value in said.items()}
