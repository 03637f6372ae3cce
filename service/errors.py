"""What can go wrong on our side, as one family; each error knows its HTTP status and a stable code."""


class TriageError(Exception):
    """Base of all refusals; the message defaults to the class's docstring."""

    status = 500
    code = "internal"

    def __init__(self, message: str | None = None, **details: object):
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.details = details
        """facts a client may want: versions, names, times; never customer text"""


class NotFound(TriageError):
    """There is no such thing."""

    status, code = 404, "not_found"


class IllegalMove(TriageError):
    """This cannot be done in the state the thing is in now."""

    status, code = 409, "illegal_move"


class StaleVersion(TriageError):
    """Somebody changed this after you opened it."""

    status, code = 409, "stale_version"


class GroupChanged(TriageError):
    """A hint of this group is not as you saw it; nothing was decided."""

    status, code = 409, "group_changed"


class CaseConflict(TriageError):
    """This case was received before with other content; send a higher revision to replace it."""

    status, code = 409, "case_conflict"


class Unprocessable(TriageError):
    """The request makes no sense for this thing."""

    status, code = 422, "unprocessable"


class NotConfirmable(TriageError):
    """Open findings stand against confirming this hint."""

    status, code = 422, "not_confirmable"


class Unauthorised(TriageError):
    """Sign in, or send the API token as `Authorization: Bearer …`."""

    status, code = 401, "unauthorised"


class Overloaded(TriageError):
    """The store does not answer; nothing is known to be lost, send it again."""

    status, code = 503, "overloaded"


class Misconfigured(TriageError):
    """The settings do not allow a safe start."""

    status, code = 500, "misconfigured"


class Malformed(TriageError):
    """A field of the request is missing or not of its kind."""

    status, code = 422, "field_invalid"


class Unreached(TriageError):
    """An outside system did not do what was asked."""

    def __init__(self, message: str, *, status: int, code: str):
        super().__init__(message)
        self.status = status
        self.code = code
