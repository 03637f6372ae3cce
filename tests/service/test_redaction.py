"""Redaction holds here: no value that the ticket system knows comes through, and what the pipeline is made of does."""

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric import schema
from rubric.schema import Case
from service import redaction
from service.redaction import Masks, comment_key, leaks, mask_document, mask_text, masks_for, pseudonymise, redact, redact_plan, texts


def masked(text: str, **known: Any) -> str:
    return mask_text(text, masks_for(known))


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("José García", "josé garcía / JOSE GARCIA / Jose\u0301 Garci\u0301a / José   García"),
        ("Jose Garcia", "José García, JOSÉ GARCÍA"),
        ("Jürgen Müller", "Juergen Mueller, JURGEN MULLER, jürgen müller"),
        ("Anna Straße", "ANNA STRASSE, anna straße"),
        ("Łukasz Żak", "łukasz żak, ŁUKASZ"),
        ("Dr. Anna-Maria O'Neill", "dr. anna-maria o'neill"),
    ],
)
def test_a_known_name_is_found_in_any_case_with_any_accents(known: str, text: str) -> None:
    left = re.sub(r"<NAME_1[A-Z]?>", "", masked(text, name=known))
    assert not re.search(r"[a-z]", left, re.IGNORECASE), left


def test_the_words_of_a_name_are_found_alone_but_not_inside_other_words() -> None:
    assert masked("Frau Holt, Holthausen, holt!", name="Anna Holt") == "Frau <NAME_1B>, Holthausen, <NAME_1B>!"


def test_the_same_value_has_the_same_placeholder_throughout() -> None:
    document = {
        "ticket": {"messages": [{"role": "customer", "text": "a@b.example"}], "subject": "from A@B.example"},
        "plan": {"reply": "a@b.example, c@d.example"},
    }
    work, masks = redact(document)
    assert (work["ticket"]["messages"][0]["text"], work["ticket"]["subject"], work["plan"]["reply"]) == (
        "<EMAIL_1>", "from <EMAIL_1>", "<EMAIL_1>, <EMAIL_2>",
    )  # fmt: skip
    assert masks.hits == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to anna.holt+x@mail.example please", "write to <EMAIL_1> please"),
        ("größe@müller.example", "<EMAIL_1>"),
        ("DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432", "<IBAN_1> and <IBAN_2>"),
        ("de89370400440532013000", "<IBAN_1>"),
        ("from DE89 3704 0044 0532 0130 00 to GB82 WEST 1234 5698 7654 32 by now", "from <IBAN_1> to <IBAN_2> by now"),
        ("DE89 3704 0044 0532 0130 00 GB82 WEST 1234 5698 7654 32", "<IBAN_1> <IBAN_2>"),
        ("card 4111 1111 1111 1111, or 5500-0000-0000-0004", "card <CARD_1>, or <CARD_2>"),
        ("ring +44 20 7946 0958 or 030 12345678 or (020) 7946 0958", "ring <PHONE_1> or <PHONE_2> or <PHONE_3>"),
        ("0049 30 12345678", "<PHONE_1>"),
    ],
)
def test_what_looks_like_a_person_s_number_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "on 2025-04-14 at 12:50", "14.04.2025", "order 4711, customer NB-204533, RF-2231", "it costs 1,200.50 euros", "2 points for 5",
        "GB82 WEST 1234 5698 7654 33 has a wrong sum", "4111 1111 1111 1112 is no card", "version 1.2.3.4", "@home a@b", "rec_001 cus_019",
    ],
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert masked(text) == text and leaks(text) == []


CASE: dict[str, Any] = {
    "external_id": "t-Holt",
    "revision": 3,
    "ticket": {
        "subject": "Holt: card",
        "messages": [{"role": "customer", "text": "Anna Holt, card NB-204533", "at": "2025-04-14T12:50:00Z"}],
        "attachments": [{"name": "Anna Holt.txt", "content_type": "text/plain", "text": "signed: Anna Holt"}],
        "locale": "en-GB",
        "known_values": {"name": "Anna Holt", "customer_number": "NB-204533"},
    },
    "plan": {
        "intent_path": ["account", "Holt"],
        "extraction": {"people": {"last_name": "Holt"}, "account": {"customer_number": "NB-204533"}},
        "fetch": [{"record_id": "Holt", "score": 6, "matched_fields": ["customer_number"]}],
        "reply": "Dear Anna Holt,",
        "tool_calls": [{"name": "send_Holt", "arguments": {"record_id": "Holt-1", "to": "Anna Holt"}}],
        "trace": {"record": "cus", "why": ["Holt"]},
    },
    "verdict": "rejected",
    "rejection": {"comment": "Frau Holt!", "by": "agent-holt", "at": "2025-04-14T15:46:00Z", "reason": "wrong", "corrected_reply": "Dear Ms Holt"},
    "snapshot": {"records": [{"name": "Anna Holt"}]},
}


def test_ids_and_what_the_pipeline_is_made_of_stay_and_the_rest_is_masked() -> None:
    work, _ = redact(CASE)
    assert Case.model_validate(work)
    assert work["external_id"] == "t-Holt" and work["revision"] == 3 and work["rejection"]["by"] == "agent-holt"
    assert work["ticket"]["messages"][0] == {
        "role": "customer",
        "text": "<NAME_1A> <NAME_1B>, card <CUSTOMER_NUMBER_1>",
        "at": "2025-04-14T12:50:00Z",
    } or ("Anna" not in work["ticket"]["messages"][0]["text"])
    assert work["plan"]["intent_path"] == ["account", "Holt"] and work["plan"]["fetch"] == CASE["plan"]["fetch"]
    assert work["plan"]["tool_calls"][0]["name"] == "send_Holt"
    for place in (
        work["ticket"],
        work["rejection"]["comment"],
        work["rejection"]["corrected_reply"],
        work["plan"]["reply"],
        work["plan"]["extraction"],
    ):
        assert "Holt" not in json.dumps(place)
    assert "Anna" not in json.dumps(work["plan"]["tool_calls"][0]["arguments"]) and "snapshot" not in work
    assert "known_values" not in json.dumps(work)


def test_a_plan_made_later_is_masked_with_the_same_placeholders() -> None:
    work, masks = redact(CASE)
    assert redact_plan(CASE["plan"], masks)["reply"] == work["plan"]["reply"]


def test_made_up_names_read_as_a_ticket_and_are_the_same_each_time() -> None:
    work, _ = redact(CASE)
    once, again = pseudonymise(work["ticket"]), pseudonymise(work["ticket"])
    assert once == again and "<" not in once["messages"][0]["text"] and "Holt" not in json.dumps(once)
    assert once["subject"].split(":")[0] in once["messages"][0]["text"]


def test_equal_words_make_equal_comment_keys() -> None:
    assert comment_key("Falsche  Person!") == comment_key("falsche person") != comment_key("falsche Personen")
    assert comment_key("Größe") == comment_key("grosse") or comment_key("Größe") == comment_key("GRÖSSE")


# ---- the canary: whatever the ticket system knows, wherever it stands

NAMES = st.sampled_from(["Zebedäus", "Quirina", "Xaver", "Wójcik", "Ömer", "Yvaine", "Thorvald", "Żaneta"])
VALUES = st.one_of(
    st.tuples(NAMES, NAMES).map(lambda pair: ("name", " ".join(pair))),
    st.integers(10**9, 10**10 - 1).map(lambda number: ("account_number", str(number))),
    st.from_regex(r"[A-Z]{2}-[0-9]{6}", fullmatch=True).map(lambda value: ("customer_number", value)),
    NAMES.map(lambda name: ("email", f"{name.lower()}@mail.example")),
)
AROUND = st.sampled_from([" ", ", ", "\n", "(", '"', ": ", " - ", "/"])


def _dressed(value: str, how: int) -> str:
    return [value, value.upper(), value.lower(), unicodedata.normalize("NFD", value), value.replace(" ", "  ")][how]


@given(known=st.lists(VALUES, min_size=1, max_size=6), how=st.lists(st.integers(0, 4), min_size=8, max_size=8), gap=AROUND)
def test_no_known_value_survives_anywhere_in_the_work_copy(known: list[tuple[str, str]], how: list[int], gap: str) -> None:
    by_key: dict[str, list[str]] = {}
    for key, value in known:
        by_key.setdefault(key, []).append(value)

    def said(place: int) -> str:
        return "so" + gap + gap.join(_dressed(value, how[place]) for _, value in known) + gap + "then"

    document = {
        "external_id": "t-1",
        "ticket": {
            "subject": said(0), "messages": [{"role": "customer", "text": said(1)}, {"role": "agent", "text": said(2)}],
            "attachments": [{"name": "a.txt", "content_type": "text/plain", "text": said(3)}], "known_values": by_key,
        },
        "plan": {
            "intent_path": ["a", "b"], "extraction": {"g": {"f": said(4), "many": [said(4)]}}, "reply": said(5),
            "tool_calls": [{"name": "send", "arguments": {"deep": {"er": [said(6)]}}}], "trace": {"steps": [said(6)]},
        },
        "verdict": "rejected",
        "rejection": {"comment": said(7), "by": "staff-1", "at": "2025-04-14T15:46:00Z", "corrected_reply": said(7)},
        "snapshot": {"records": [{"all": said(0)}]},
    }  # fmt: skip
    work, _ = redact(document)
    Case.model_validate(work)
    whole = _plain(" ".join(texts(work)))
    for _, value in known:
        for word in [value, *(value.split() if " " in value else [])]:
            assert not re.search(rf"(?<!\w){re.escape(_plain(word))}(?!\w)", whole), (word, whole)


def _plain(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))


def test_placeholders_that_are_longer_than_what_they_stand_for_still_make_a_case() -> None:
    long = {**CASE, "ticket": {**CASE["ticket"], "known_values": {"account_number": "ab"}}}
    long["ticket"] = {**long["ticket"], "subject": "ab " * 20_000, "attachments": [{"name": "ab " * 66, "content_type": "ab " * 66, "text": "ab"}]}
    assert Case.model_validate(redact(long)[0])


@pytest.mark.parametrize("value", ["+49 30 901820", "0171 1234567", "(030) 90182012", "+493090182012", "anna@mail.example", "4111 1111 1111 1111"])
@pytest.mark.parametrize("after", ["", ".", ",", ")", "!", " today", ". Then"])
def test_what_follows_a_number_does_not_hide_it(value: str, after: str) -> None:
    assert value not in mask_text(f"Reach me at {value}{after}", Masks())


def test_a_known_number_is_masked_however_it_is_written() -> None:
    masks = masks_for({"account": "9021-0777"})
    for written in ("90210777", "9021 0777", "9021-0777"):
        assert mask_text(f"account {written}, please", masks) == "account <ACCOUNT_1>, please"
    assert mask_document({"g": {"account": 90210777, "other": 5}}, masks) == {"g": {"account": "<ACCOUNT_1>", "other": 5}}


# ---- hidden characters

SPLIT = "\u200b\u200d\u2060\ufeff\u00ad\u202e\u2066\u200f\U000e0041\ue000\ufe0f\u3164\x01"


def case_that_says(text: str, **known: Any) -> dict[str, Any]:
    return {
        "ticket": {"subject": text, "messages": [{"role": "customer", "text": text}], "known_values": known},
        "plan": {"intent_path": ["a", "b"], "extraction": {"g": {"f": text}}, "reply": text, "tool_calls": [{"name": "send", "arguments": {"to": [text]}}]},
        "verdict": "rejected",
        "rejection": {"comment": text, "by": "staff-1", "at": "2025-04-14T15:46:00Z", "corrected_reply": text},
    }  # fmt: skip


@pytest.mark.parametrize("hidden", SPLIT)
def test_a_hidden_character_hides_no_name_wherever_it_stands(hidden: str) -> None:
    text = f"Frau{hidden}Holt, An{hidden}na Ho{hidden}lt, Anna{hidden}Holt, someone{hidden}@mail.example, NB-20{hidden}4533, Holt{hidden}"
    for known in ({"name": "Anna Holt", "account": "NB-204533"}, {"name": f"Anna{hidden} Ho{hidden}lt", "account": f"NB-{hidden}204533"}):
        work, masks = redact(case_that_says(text, **known))
        for found in texts(work):
            assert not re.search("Holt|Anna|mail.example|204533", found), ascii(found)
            assert hidden not in found
        own = sum(value.count(hidden) for value in known.values())
        assert masks.hidden == 7 * 7 + own
        assert Case.model_validate(work)


def test_a_name_is_found_with_or_without_the_joiners_of_its_script() -> None:
    for known in ("علی‌رضا", "علیرضا"):
        assert "رضا" not in masked("آقای علی‌رضا و علیرضا", name=known)


def test_what_is_not_masked_is_clean_all_the_same() -> None:
    dirty = json.loads(
        json.dumps(CASE).replace("wrong", "wr\u200bong").replace("agent-holt", "agent\u202e-holt").replace("send_Holt", "send\u2060_Holt")
    )
    dirty["plan"]["intent_path"] = ["acc\u200bount", "Holt"]
    dirty["plan"]["fetch"][0]["record_id"] = "Ho\u00adlt"
    dirty["ticket"]["attachments"][0]["name"] = "Anna\u202e Holt.txt"
    work, masks = redact(dirty)
    assert work == redact(CASE)[0] and masks.hidden == 6
    assert work["external_id"] == "t-Holt"


def test_plans_that_differ_by_hidden_characters_alone_are_equal_and_masked_as_the_case_was() -> None:
    work, masks = redact(CASE)
    plan = {
        **CASE["plan"],
        "reply": "Dear An\u200bna\u00ad Holt,",
        "extraction": {"people\u200b": {"last\u2060_name": "Ho\u200dlt"}, **CASE["plan"]["extraction"]},
    }
    del plan["extraction"]["people"]
    plan["extraction"] = {"people\u200b": plan["extraction"].pop("people\u200b"), **plan["extraction"]}
    assert redact_plan(plan, masks) == work["plan"] == redact_plan(CASE["plan"], masks)
    assert redact_plan(redact_plan(plan, masks), masks) == work["plan"]


def test_a_text_that_masking_makes_too_long_says_that_it_was_cut() -> None:
    document = case_that_says("ab " * 21_000, account_number="ab")
    document["ticket"]["attachments"] = [{"name": "ab " * 66, "content_type": "text/plain", "text": "x"}]
    work, _ = redact(document)
    assert (
        len(work["plan"]["reply"]) == 64 * 1024 and work["plan"]["reply"].endswith(" characters]") and "cut after 65536 of" in work["plan"]["reply"]
    )
    assert Case.model_validate(work)


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("Marlene", "Absender:\u200bMar\u00adlene\u200bwohnt hier", "Absender:<NAME_1A>wohnt hier"),
        ("Marlene", "von\u3164M\u3164a\u200d\u00adr\u2060lene\ufe0f\x01wohnt", "von<NAME_1A>wohnt"),
        ("Li Wu", "an\u00adLi\u200bWu\u00adgesandt, L\u00adi \u200b W\u00adu\u200bda", "an<NAME_1A> <NAME_1B>gesandt, <NAME_1A> <NAME_1B>da"),
        ("René", "f\u00adür\u200bRe\u00adne\u0301\u200bda", "für<NAME_1A>da"),
    ],
)
def test_a_name_is_seen_with_hidden_characters_in_it_and_beside_it(known: str, text: str, expected: str) -> None:
    assert masked(text, name=known) == expected


def test_a_number_is_seen_with_hidden_characters_in_it_and_beside_it() -> None:
    assert masked("Konto\u200b90\u00ad21\u200b-\u200b07\u00ad77\u3164ist", account="9021-0777") == "Konto<ACCOUNT_1>ist"


HIDDEN = st.text(SPLIT, min_size=1, max_size=3)


@given(value=VALUES, hidden=st.lists(st.just("") | HIDDEN, min_size=40, max_size=40), before=HIDDEN | AROUND, after=HIDDEN | AROUND)
def test_no_known_value_survives_however_it_is_taken_apart(value: tuple[str, str], hidden: list[str], before: str, after: str) -> None:
    spelled = "".join(char + gap for char, gap in zip(value[1][:-1], hidden, strict=False)) + value[1][-1]
    found = re.sub(r"<[A-Z_]+_1[A-Z]?>", "*", masked(f"Absender{before}{spelled}{after}wohnt", **{value[0]: value[1]}))
    assert not any(word in found for word in value[1].split()), ascii(found)


def test_a_long_run_of_hidden_characters_is_looked_through() -> None:
    """A pattern that tries every way to share them out takes minutes."""
    masks = masks_for({"name": "Li Wu", "account": "9021-0777"})
    for run in ("\u200b", "\u200d", "\u0301", " \u200b"):
        for start in ("Li", "L", "9021", "Li W", "90"):
            mask_text(start + run * 32_000 + ".", masks)
    assert masks.hits == 0


def test_the_caps_are_those_of_a_case() -> None:
    """Redaction may import no more of ours than hygiene, so it says them once more."""
    assert (redaction.TEXT_CAP, redaction.LABEL_CAP) == (schema.TEXT_CAP, schema.LABEL_CAP)


def test_letters_that_nfc_spells_longer_still_make_a_case() -> None:
    long = case_that_says("\u0958" * 64 * 1024)
    long["rejection"] |= {"by": "\u0958" * 200, "reason": "\U0001d160" * 200}
    long["plan"] |= {"intent_path": ["\u0958" * 200], "fetch": [{"record_id": "\u0958" * 200, "score": 1, "matched_fields": ["\u0958" * 200]}]}
    long["ticket"] |= {
        "locale": "\u0958" * 200,
        "attachments": [{"name": "\u0958" * 200, "content_type": "\u0958" * 200, "text": "\u0958" * 64 * 1024}],
    }
    assert Case.model_validate(redact(long)[0])


def test_what_is_public_already_is_no_leak() -> None:
    said = "Call +44 1632 960001 or write to ada@mail.example."
    assert leaks(said) == ["EMAIL", "PHONE"]
    assert leaks(said, "Call +44 1632 960001.") == ["EMAIL"] and leaks(said, "+441632960001 ADA@mail.example") == []
    assert leaks(said, "Call +44 1632 960002 or write to bob@mail.example.") == ["EMAIL", "PHONE"]
