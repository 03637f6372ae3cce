"""A target is read whole here: what its files speak of counts, whether the config has it or not."""

import json
from typing import Any

import pytest

from connectors.ports import PortError
from connectors.scripted import ScriptedHost
from service.targets import SPOKEN_CAP, host_of, look_around
from tests.samples.small import FILES, MANIFEST

EXTRACTION = """  extraction:
    watches: ["config/extraction.json"]
    inventory: {kind: json, path: config/extraction.json, ids: "*.*"}
    suites:
      - {id: extraction-golden, argv: [check, "{in}", "{out}"], results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 9, min_rows: 1}
"""
READS = {
    **FILES,
    "triage.yaml": MANIFEST.replace("  fetch:\n", EXTRACTION + "  fetch:\n", 1).encode(),
    "config/extraction.json": b'{"account": {"number": {}}, "person": {"email": {}}}',
}


def spoken_of(**files: Any) -> frozenset[str]:
    given = {name: content if isinstance(content, bytes) else json.dumps(content).encode() for name, content in files.items()}
    host = ScriptedHost("bank", {**READS, **given})
    return look_around(host, host.head()).inventory.spoken_of


def test_names_in_data_files_count_whose_group_the_config_has() -> None:
    found = spoken_of(
        **{
            "evals/answers.jsonl": {"account.branch": 1, "note": "account.loose and 'person.nick_name'", "nobody.home": 2},
            "config/more.yml": b"- 'account.number'\n- \"person.age\"\n- account.unquoted\n",
            "README.md": b'"account.document"',
            "code.py": b'"account.code"',
        }
    )
    assert found == {"account.branch", "person.nick_name", "account.number", "person.age"}


@pytest.mark.parametrize("name", ["Account.x", "account.X", "account.1x", "account", "account.a.b", "account." + "x" * 61, "account.a-b"])
def test_what_is_no_name_of_a_field_does_not_count(name: str) -> None:
    assert spoken_of(**{"evals/a.json": [name]}) == frozenset()


def test_files_in_other_alphabets_and_broken_ones_are_read_as_far_as_they_go() -> None:
    assert spoken_of(**{"evals/a.json": b'\xff\xfe {"account.first": '}) == {"account.first"}


def test_only_so_many_bytes_are_searched() -> None:
    late = {"a.json": b" " * SPOKEN_CAP, "b.json": b'"account.late"'}
    assert spoken_of(**late) == frozenset() and spoken_of(**{"a.json": b" ", "b.json": late["b.json"]}) == {"account.late"}


def test_a_target_that_is_not_configured_is_named() -> None:
    with pytest.raises(PortError) as failed:
        host_of({}, "bank")
    assert failed.value.code == "target_unknown"


def test_a_commit_is_read_once() -> None:
    host = ScriptedHost("bank", READS)
    first = look_around(host, host.head())
    assert look_around(host, host.head()) is first
    host.pushes({"evals/b.json": b'"account.new"'})
    assert look_around(host, host.head()).inventory.spoken_of == {"account.new"} != first.inventory.spoken_of


def test_rows_that_changes_are_judged_by_are_not_looked_into() -> None:
    """A suite's own rows file, and one that is protected and that recipes may add rows to; recorded answers are no exam."""
    seen = b'{"account.seen": 1}'
    assert spoken_of(**{"evals/intent/cases.jsonl": seen, "evals/fetch/cases.jsonl": seen}) == frozenset()
    assert spoken_of(**{"records/answers.jsonl": seen}) == {"account.seen"}
    more = READS["triage.yaml"].replace(b"allow: {", b'allow: {add_extraction_field: ["evals/fields/cases.jsonl"], ')
    assert spoken_of(**{"triage.yaml": more, "evals/fields/cases.jsonl": seen}) == frozenset()
