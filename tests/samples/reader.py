"""A model that reads the small world's comments right, as a script of the Messages server."""

from typing import Any

from tests.samples.messages import Said

RULES = {"rules": [{"quotes": [{"source": "comment", "quote": "wrong person"}], "wants": "the other record"}]}
WHOLE = 8
"""asks of one draft: rules, three times where, three times which, and what"""


def which(body: dict[str, Any]) -> str:
    """The ask that a request is, by its form."""
    fields = body["output_config"]["format"]["schema"]["properties"]
    if "choice" in fields:
        return "locate" if "adjust_fetch_weight" in fields["choice"]["enum"] else "target"
    return "rules" if "rules" in fields else "fill"


def tells(body: dict[str, Any]) -> Said:
    given: dict[str, Said] = {
        "rules": RULES, "locate": {"choice": "adjust_fetch_weight"}, "target": {"choice": "fetch:postcode"}, "fill": {"to": 1},
    }  # fmt: skip
    return given[which(body)]
