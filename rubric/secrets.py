"""What a secret looks like lives here: tokens, keys and passwords that no change brings into a repository and no text of ours repeats."""

import re
from collections.abc import Iterator

_SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,64}"),
    "an API key": re.compile(r"\b(?:sk|rk|pk)[-_](?:ant-|live[-_]|test[-_]|proj-|or-)?(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,200}"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,200}"),
    "a webhook secret": re.compile(r"\bwhsec_[A-Za-z0-9+/=]{20,200}"),
    "a signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{5,2000}"),
    "a password in an address": re.compile(r"://[^\s/:@\"']{1,100}:[^\s/@\"']{3,200}@"),
    "an assigned secret": re.compile(
        r"(?:passw(?:or)?d|secret|token|api[_-]?key|credential)[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?=[A-Za-z+/_-]{0,200}[0-9])[A-Za-z0-9+/_=-]{20,200}",
        re.IGNORECASE,
    ),
}


def secrets_in(text: str, known: str = "") -> Iterator[str]:
    """Kinds of what looks like a secret in a text; what stands in `known` already, letter by letter, is none."""
    for kind, shape in _SHAPES.items():
        if any(found.group() not in known for found in shape.finditer(text)):
            yield kind
