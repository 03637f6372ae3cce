"""The split lives here: which side of the data a case is on, fixed by a keyed hash before anybody has read it."""

import hashlib
import hmac
from enum import StrEnum

SCRATCH_PERCENT = 20
DEV_PERCENT = 60
"""The rest, 20 of 100, is held out."""


class Side(StrEnum):
    """What a case may be used for."""

    scratch = "scratch"  # 20 %: looked at freely, never scored
    dev = "dev"  # 60 %: scored as often as wanted while a rubric is being tuned
    held_out = "held_out"  # 20 %: scored once per champion, never read


def side(case_key: str, secret: bytes) -> Side:
    """The side of a case: HMAC-SHA256 of its key, so that only the holder of the secret can foresee or steer it.

    Raises `ValueError` for an empty secret, because then anybody could compute the side of a case they write.
    """
    if not secret:
        raise ValueError("the split needs a secret; an empty one would let senders choose their side")
    # the word in front keeps these digests apart from any other use of the same secret
    digest = hmac.new(secret, b"side\x00" + case_key.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    place = int.from_bytes(digest[:8], "big") * 100 >> 64
    if place < SCRATCH_PERCENT:
        return Side.scratch
    return Side.dev if place < SCRATCH_PERCENT + DEV_PERCENT else Side.held_out
