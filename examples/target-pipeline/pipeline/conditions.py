"""The words a plan branch may use after `when`. Nothing else is understood.

    otherwise                   always
    no record                   the search found nobody
    tie                         the search found several people with the same best score
    flag NAME                   the record carries this flag
    has GROUP.FIELD             the message holds this field
    missing GROUP.FIELD         it does not
    amount over NUMBER          payment.amount is above the number of euros

`not` in front turns one of them round; ` and ` joins several.
"""

import re

FORMS = (
    ("otherwise", re.compile(r"otherwise")),
    ("no record", re.compile(r"no record")),
    ("tie", re.compile(r"tie")),
    ("flag", re.compile(r"flag (\w+)")),
    ("has", re.compile(r"has (\w+\.\w+)")),
    ("missing", re.compile(r"missing (\w+\.\w+)")),
    ("amount over", re.compile(r"amount over (\d+)")),
)


def parse(text):
    """[(wanted, kind, argument)], all of which have to hold"""
    parts = []
    for part in text.split(" and "):
        wanted = not part.startswith("not ")
        part = part.removeprefix("not ")
        for kind, form in FORMS:
            match = form.fullmatch(part)
            if match:
                parts.append((wanted, kind, match[1] if form.groups else None))
                break
        else:
            raise ValueError(f"not understood: {part!r}")
    return parts


def holds(text, extraction, record, tie):
    return all(truth(kind, argument, extraction, record, tie) == wanted for wanted, kind, argument in parse(text))


def truth(kind, argument, extraction, record, tie):
    if kind == "otherwise":
        return True
    if kind == "no record":
        return record is None and not tie
    if kind == "tie":
        return tie
    if kind == "flag":
        return record is not None and argument in record["flags"]
    if kind == "amount over":
        return euros(extraction.get("payment", {}).get("amount", "0")) > int(argument)
    group, name = argument.split(".")
    return (name in extraction.get(group, {})) == (kind == "has")


def euros(written):
    """1,250.00 and 1.250,00 and 1250 are the same sum; cents are dropped"""
    return int(re.sub(r"\D", "", re.sub(r"[.,]\d\d$", "", written)) or 0)
