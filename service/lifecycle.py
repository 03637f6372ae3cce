"""The small state machines, one per thing, and the only list of legal moves."""

from enum import StrEnum


class DraftState(StrEnum):
    """The draft of hints for one case revision; kept on the case row."""

    control = "control"  # accepted case: no draft is due
    queued = "queued"  # set by intake; the sweep enqueues it
    drafted = "drafted"  # the critic left at least one hint
    abstained = "abstained"  # the critic answered without a fix, with its reason
    failed = "failed"  # the critic could not answer; the class says why; may be queued again
    stale = "stale"  # a higher revision of the case came in


class ReviewState(StrEnum):
    """The human decision on one hint."""

    awaiting = "awaiting"  # drafted, nobody has decided
    confirmed = "confirmed"  # a person said yes to exactly this text; a handoff exists
    dismissed = "dismissed"  # a person said no, with a reason
    duplicate = "duplicate"  # a person named the hint that says the same
    snoozed = "snoozed"  # put off until a time
    asked = "asked"  # a question went back to support staff
    stale = "stale"  # the case was revised before anyone decided


class HandoffState(StrEnum):
    """An approved hint on its way to a pull."""

    waiting = "waiting"  # the undo window runs
    working = "working"  # an agent has it
    built = "built"  # a branch and a draft pull exist
    gave_up = "gave_up"  # the agent found no way to express the change; the reason says why
    refused = "refused"  # the resulting tree broke the policy
    blocked = "blocked"  # waits for an endpoint, a sandbox or a budget
    failed = "failed"  # three attempts ended in an error
    withdrawn = "withdrawn"  # the decision was undone


class GateState(StrEnum):
    """One run of the step evals on one head commit."""

    running = "running"  # suites are at work
    passed = "pass"  # every row kept, the cure case cured, no control changed
    failed = "fail"  # something got worse or nothing got better
    inconclusive = "inconclusive"  # a person has to look
    error = "error"  # a suite could not be run


class PullState(StrEnum):
    """A pull request."""

    draft = "draft"  # published, the gate has not passed
    ready = "ready"  # the gate passed on this head
    landing = "landing"  # a person asked to merge; it lands if the gate passes on the newest base
    merged = "merged"  # on the base branch
    closed = "closed"  # a person said no
    frozen = "frozen"  # a human commit is on the branch; we keep off
    reverted = "reverted"  # merged once, taken back since


class OutcomeState(StrEnum):
    """What became of the rejection after its pull was merged."""

    watching = "watching"  # merged; the ticket has not been tried again
    cured = "cured"  # the mended pipeline gives the plan the hint asked for
    recurred = "recurred"  # the same complaint came back, or the plan is still wrong
    inconclusive = "inconclusive"  # could not be replayed


State = DraftState | ReviewState | HandoffState | GateState | PullState | OutcomeState

MOVES: dict[type[State], dict[State, frozenset[State]]] = {
    DraftState: {
        DraftState.control: frozenset({DraftState.stale}),
        DraftState.queued: frozenset({DraftState.drafted, DraftState.abstained, DraftState.failed, DraftState.stale}),
        DraftState.drafted: frozenset({DraftState.stale}),
        DraftState.abstained: frozenset({DraftState.queued, DraftState.stale}),
        DraftState.failed: frozenset({DraftState.queued, DraftState.stale}),
        DraftState.stale: frozenset(),
    },
    ReviewState: {
        ReviewState.awaiting: frozenset(
            {ReviewState.confirmed, ReviewState.dismissed, ReviewState.duplicate, ReviewState.snoozed, ReviewState.asked, ReviewState.stale}
        ),
        ReviewState.confirmed: frozenset({ReviewState.awaiting}),
        ReviewState.dismissed: frozenset({ReviewState.awaiting}),
        ReviewState.duplicate: frozenset({ReviewState.awaiting}),
        ReviewState.snoozed: frozenset(
            {ReviewState.awaiting, ReviewState.confirmed, ReviewState.dismissed, ReviewState.duplicate, ReviewState.stale}
        ),
        ReviewState.asked: frozenset({ReviewState.awaiting, ReviewState.dismissed, ReviewState.stale}),
        ReviewState.stale: frozenset(),
    },
    HandoffState: {
        HandoffState.waiting: frozenset({HandoffState.working, HandoffState.withdrawn, HandoffState.blocked}),
        HandoffState.working: frozenset({HandoffState.built, HandoffState.gave_up, HandoffState.refused, HandoffState.blocked, HandoffState.failed}),
        HandoffState.built: frozenset({HandoffState.working, HandoffState.withdrawn}),
        HandoffState.gave_up: frozenset({HandoffState.working}),
        HandoffState.refused: frozenset({HandoffState.working}),
        HandoffState.blocked: frozenset({HandoffState.working, HandoffState.withdrawn}),
        HandoffState.failed: frozenset({HandoffState.working}),
        HandoffState.withdrawn: frozenset(),
    },
    GateState: {
        GateState.running: frozenset({GateState.passed, GateState.failed, GateState.inconclusive, GateState.error}),
        GateState.passed: frozenset(),
        GateState.failed: frozenset({GateState.running}),  # a person waived a row; the exam is held again with it
        GateState.inconclusive: frozenset({GateState.running}),
        GateState.error: frozenset({GateState.running}),
    },
    PullState: {
        PullState.draft: frozenset({PullState.ready, PullState.closed, PullState.frozen}),
        PullState.ready: frozenset({PullState.draft, PullState.landing, PullState.merged, PullState.closed, PullState.frozen}),
        PullState.landing: frozenset({PullState.draft, PullState.ready, PullState.merged, PullState.closed}),
        PullState.merged: frozenset({PullState.reverted}),
        PullState.closed: frozenset(),
        PullState.frozen: frozenset({PullState.merged, PullState.closed, PullState.draft}),
        PullState.reverted: frozenset(),
    },
    OutcomeState: {
        OutcomeState.watching: frozenset({OutcomeState.cured, OutcomeState.recurred, OutcomeState.inconclusive}),
        OutcomeState.cured: frozenset({OutcomeState.recurred}),
        OutcomeState.recurred: frozenset({OutcomeState.cured}),
        OutcomeState.inconclusive: frozenset({OutcomeState.cured, OutcomeState.recurred}),
    },
}
"""machine → state → states that may follow; everything else is an illegal move. Per machine, because two enums may share a word."""


def may_move(start: State, to: State) -> bool:
    """Whether a thing may go from one state to another. Staying is always allowed."""
    if type(start) is not type(to):
        return False
    return start is to or to in MOVES[type(start)][start]


FOLLOWS: dict[tuple[str, State], str] = {
    ("handoffs", HandoffState.waiting): "handoff",
    ("pulls", PullState.draft): "gate",
    ("pulls", PullState.landing): "land",
    ("pulls", PullState.merged): "learn",
    ("pulls", PullState.closed): "learn",
}
"""(table, state entered) → the flow that is due then. Drafting is enqueued by the sweep instead, in batches."""
