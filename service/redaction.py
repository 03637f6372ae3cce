"""Masks what names a customer, the same value with the same placeholder throughout a case. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import phonenumbers
from stdnum import iban, luhn

from rubric.hygiene import clean, clean_document, cut

TEXT_CAP, LABEL_CAP = 64 * 1024, 200
"""longest text and label of a case; a placeholder may be longer than what it stands for"""
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", re.UNICODE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]){11,30}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w-])[0-9](?:[ -]?[0-9]){12,18}(?!\w|-\w)")
_PHONE_LIKE = re.compile(r"(?<!\w)(?<!\d[.,])[+(]?[0-9][0-9 ()/.-]{6,20}[0-9](?!\w|[.,]\d)")
_PLACEHOLDER = re.compile(r"<([A-Z][A-Z_]*)_([0-9]+)([A-Z]?)>")
_REGIONS = ("GB", "DE", "US")
_JOINERS = {0x200C: None, 0x200D: None}
_HIDDEN, _MARKS = "\u200b\u200c\u200d\ufe0e\ufe0f", "\u0300-\u036f"
"""the first stands for all that nobody sees anywhere (`_shown_as_one`), the others are hidden where no script needs them; combining accents"""
_INSIDE, _GAP = f"[{_MARKS}{_HIDDEN}]*", rf"[\s{_HIDDEN}]+"
_NUMBER_GAP = rf"[{_HIDDEN}]*(?:[\s./-][{_HIDDEN}]*)?"


@dataclass
class Masks:
    """The placeholders of one case: value → `<KIND_n>`. Holds personal data; never leaves the vault's side."""

    by_value: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    known: list[tuple[re.Pattern[str], str]] = field(default_factory=list)
    hits: int = 0
    hidden: int = 0
    """characters of the case that nobody could see, and that are gone from its work copy"""

    def placeholder(self, kind: str, value: str) -> str:
        key = _fold(value) if kind in ("NAME", "EMAIL") else re.sub(r"\W", "", value).casefold()
        if key not in self.by_value:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.by_value[key] = f"<{kind}_{self.counts[kind]}>"
        return self.by_value[key]


def masks_for(known_values: dict[str, str | list[str]]) -> Masks:
    """Prepare the masks of a case from what the ticket system knows of the customer.

    Names are masked word by word (`<NAME_1A> <NAME_1B>`), also where a word of three letters or more stands alone, without
    regard to case or accents.
    """
    masks = Masks()
    values = [(key, value) for key, found in known_values.items() for value in (found if isinstance(found, list) else [found])]
    for key, value in sorted(values, key=lambda item: -len(item[1])):
        value = value.strip()
        if len(value) < 2:
            continue
        kind = _kind_of(key)
        placeholder = masks.placeholder(kind, value)
        if kind != "NAME":
            masks.known.append((_pattern(value), placeholder))
            continue
        parts = [f"{placeholder[:-1]}{chr(65 + place)}>" for place in range(min(26, len(value.split())))]
        masks.known.append((_pattern(value), " ".join(parts)))
        for word, part in zip(value.split(), parts, strict=False):
            if len(word.strip(".,")) >= 3:
                masks.known.append((_pattern(word.strip(".,")), part))
    return masks


def _kind_of(key: str) -> str:
    word = key.casefold()
    for kind, hints in (("EMAIL", ("mail",)), ("PHONE", ("phone", "tel", "mobile", "handy")), ("NAME", ("name", "customer", "kunde"))):
        if any(hint in word for hint in hints):
            return kind
    cleaned = re.sub(r"[^A-Z]+", "_", word.upper()).strip("_")
    return cleaned[:20] or "VALUE"


def _pattern(value: str) -> re.Pattern[str]:
    """The value in any case, with any spacing, with or without accents on either side, and whatever is hidden in it or beside it."""
    value = value.translate(_JOINERS)
    if (sum(char.isdigit() for char in value) >= 4 and not any(char.isspace() for char in value.strip())) or value.replace(" ", "").isdigit():
        spelled = _NUMBER_GAP.join(re.escape(char) for char in value if char.isalnum())  # numbers are written with any gaps
        return re.compile(rf"(?<!\w){spelled}(?!\w)", re.IGNORECASE)
    words = [_INSIDE.join(map(_letter, word)) + f"[{_MARKS}]*" for word in unicodedata.normalize("NFC", value).split()]
    return re.compile(rf"(?<!\w){_GAP.join(words)}(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=2048)  # sorting the forms of each letter of each name was half of the work of masking
def _letter(char: str) -> str:
    """One character as people type it: é for e, ae and a for ä."""
    if not char.isalpha():
        return re.escape(char)
    base = _fold(char)
    forms = {char, base, *_ACCENTED.get(base, ()), *({base + "e"} if char in "äöüÄÖÜ" else ())}
    return f"(?:{'|'.join(sorted(map(re.escape, forms), key=lambda form: (-len(form), form)))})"


def _fold(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char)).casefold()


def _accented() -> dict[str, list[str]]:
    """letter without accents → its accented forms, of the Latin blocks"""
    found: dict[str, list[str]] = {}
    for char in map(chr, [*range(0xC0, 0x250), *range(0x1E00, 0x1F00)]):
        if char.isalpha() and _fold(char) != char:
            found.setdefault(_fold(char), []).append(char)
    return found


_ACCENTED = _accented()


def mask_text(text: str, masks: Masks) -> str:
    """Replace known values first, then what looks like an e-mail, IBAN, card or phone number. The text comes back clean (`rubric.hygiene`)."""
    plain, removed = clean(text)
    if removed:  # what nobody sees stands between two words as well as inside one: known values are looked for either way
        plain, _ = clean(_mask_known(_shown_as_one(text), masks))
    text = _mask_known(plain, masks)
    text = _replace(text, _EMAIL, lambda value: masks.placeholder("EMAIL", value), masks)
    text = _mask_ibans(text, masks)
    text = _replace(text, _CARD, lambda value: masks.placeholder("CARD", value) if luhn.is_valid(re.sub(r"\D", "", value)) else None, masks)
    return _replace(text, _PHONE_LIKE, lambda value: masks.placeholder("PHONE", value) if _is_phone(value) else None, masks)


def _shown_as_one(text: str) -> str:
    """The text with one sign for all that nobody sees wherever it stands: some of it counts as letters, and would hide where a word ends."""
    return text.translate({ord(char): _HIDDEN[0] for char in set(text) if char not in _HIDDEN and not clean(char)[0]})


def _mask_known(text: str, masks: Masks) -> str:
    for pattern, placeholder in masks.known:
        text = _replace(text, pattern, lambda _value, placeholder=placeholder: placeholder, masks)  # type: ignore[misc]
    return text


def _mask_ibans(text: str, masks: Masks) -> str:
    """An IBAN ends where its sum is right: what follows it may look like more of it."""
    kept, at = [], 0
    while match := _IBAN.search(text, at):
        value = match.group()
        start = match.start()
        ends = (end for end in range(len(value), 14, -1) if value[end - 1] != " " and not text[start + end : start + end + 1].isalnum())
        end = next((end for end in ends if iban.is_valid(value[:end])), 0)
        kept += [text[at : match.start()], masks.placeholder("IBAN", value[:end]) if end else value[:4]]
        masks.hits += bool(end)
        at = match.start() + (end or 4)
    return "".join(kept) + text[at:]


def _replace(text: str, pattern: re.Pattern[str], mask: Callable[[str], str | None], masks: Masks) -> str:
    def one(match: re.Match[str]) -> str:
        found = mask(match.group())
        masks.hits += found is not None
        return match.group() if found is None else found

    return pattern.sub(one, text)


def _is_phone(text: str) -> bool:
    digits = sum(char.isdigit() for char in text)
    if not 8 <= digits <= 15 or re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{2,4}.*", text):
        return False
    regions: tuple[str | None, ...] = (None,) if text.startswith(("+", "00")) else _REGIONS if text.lstrip("(").startswith("0") else ()
    for region in regions:
        try:
            number = phonenumbers.parse("+" + text[2:] if text.startswith("00") else text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(number):
            return True
    return False


def mask_document(document: Any, masks: Masks, *, keep: frozenset[str] = frozenset({"known_values"})) -> Any:
    """Mask every text of a JSON document, keys excepted. Members named in `keep` are dropped."""
    if isinstance(document, str):
        return cut(mask_text(document, masks), TEXT_CAP)
    if isinstance(document, (int, float)) and not isinstance(document, bool):
        shown = mask_text(str(document), masks)
        return document if shown == str(document) else shown  # a known number is no less known for being a number
    if isinstance(document, list):
        return [mask_document(item, masks, keep=keep) for item in document]
    if isinstance(document, dict):
        return {key: mask_document(value, masks, keep=keep) for key, value in document.items() if key not in keep}
    return document


_NEVER_MASKED = ("external_id", "revision", "occurred_at", "source", "verdict")


def redact(document: dict[str, Any]) -> tuple[dict[str, Any], Masks]:
    """The work copy of a received case (JSON of `rubric.schema.Case`) and the masks that made it: without hidden characters, then masked."""
    # a snapshot holds whole records; only replay has a use for it
    document = {key: value for key, value in document.items() if key != "snapshot"}
    plain, hidden = clean_document(document)
    masks = masks_for(plain.get("ticket", {}).get("known_values") or {})
    masks.hidden = hidden
    return clean_document(_masked_case(document, masks))[0], masks


def _masked_case(document: dict[str, Any], masks: Masks) -> dict[str, Any]:
    kept = {key: document[key] for key in _NEVER_MASKED if key in document}
    rest = {key: value for key, value in document.items() if key not in _NEVER_MASKED}
    masked = {key: redact_plan(value, masks) if key == "plan" else mask_document(value, masks) for key, value in rest.items()}
    if isinstance(document.get("rejection"), dict):
        masked["rejection"].update({key: document["rejection"][key] for key in ("at", "by", "reason") if key in document["rejection"]})
    for attachment in masked["ticket"].get("attachments") or []:
        attachment.update({key: cut(attachment[key], LABEL_CAP) for key in ("name", "content_type") if isinstance(attachment.get(key), str)})
    if isinstance(masked["ticket"].get("locale"), str):
        masked["ticket"]["locale"] = cut(masked["ticket"]["locale"], LABEL_CAP)
    for place, message in enumerate(document["ticket"]["messages"]):
        masked["ticket"]["messages"][place].update({key: message[key] for key in ("at", "role") if key in message})
    return {**kept, **masked}


def redact_plan(plan: dict[str, Any], masks: Masks) -> dict[str, Any]:
    """A plan without personal data. What names parts of the pipeline (leaf, record ids, fields, tools) is not masked.

    Plans that differ by hidden characters alone come out equal: nobody could see the difference, so nobody can judge it.
    """
    masked: dict[str, Any] = mask_document(plan, masks)
    masked.update({key: plan[key] for key in ("intent_path", "fetch") if key in plan})
    for place, call in enumerate(plan.get("tool_calls", [])):
        masked["tool_calls"][place]["name"] = call["name"]
    return clean_document(masked)[0]


_FIRST, _LAST = ("Robin", "Kim", "Alex", "Sam"), ("Example", "Sample", "Muster", "Specimen")


def _pseudonym(found: re.Match[str]) -> str:
    kind, number, part = found[1], int(found[2][:6]), found[3]
    if kind == "NAME":
        return (_FIRST if part in ("", "A") else _LAST)[(number - 1) % 4]
    made = _PSEUDONYMS.get(kind)
    return made(number) if made else f"{kind.lower()} {number}"


_PSEUDONYMS: dict[str, Callable[[int], str]] = {
    "EMAIL": lambda n: f"person{n}@example.org",
    "PHONE": lambda n: f"+44 1632 960{n:03d}",
    "IBAN": lambda n: f"XX00 TEST 0000 {n:04d}",
    "CARD": lambda n: f"0000 0000 0000 {n:04d}",
}


def pseudonymise(document: Any) -> Any:
    """Replace placeholders by made-up values, the same placeholder by the same value, so that a text reads as a ticket again."""
    if isinstance(document, str):
        return _PLACEHOLDER.sub(_pseudonym, document)
    if isinstance(document, list):
        return [pseudonymise(item) for item in document]
    if isinstance(document, dict):
        return {key: pseudonymise(value) for key, value in document.items()}
    return document


def texts(document: Any) -> Iterator[str]:
    """Every text of a JSON document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from texts(value)
    elif isinstance(document, list):
        for item in document:
            yield from texts(item)


def comment_key(comment: str) -> str:
    """Hash of a comment without case, accents, spacing and punctuation; equal keys mean equal words."""
    words = re.sub(r"\W+", " ", _fold(comment)).strip()
    return hashlib.sha256(words.encode()).hexdigest()[:24]


def leaks(text: str, known: str = "") -> list[str]:
    """Kinds of personal data that a text of ours still holds; anything found stops a publication. What `known`, which is public, holds is none."""
    masks, public = Masks(), Masks()
    mask_text(text, masks)
    if masks.by_value:
        mask_text(known, public)
    new = [placeholder for value, placeholder in masks.by_value.items() if value not in public.by_value]
    return sorted({placeholder[1:].rpartition("_")[0] for placeholder in new})
