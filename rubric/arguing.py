"""Which fields of a change argue for it and edit nothing."""

ARGUMENTS = frozenset({"cases", "look_alikes", "scores", "flips", "example", "cells"})


def argues(field: str) -> bool:
    """Whether a field of a change argues for it. Such a field names cases and edits nothing: changes that differ in it are the same."""
    return field in ARGUMENTS
