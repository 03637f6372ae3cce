"""Edits of JSON and YAML texts by splicing at located places: every other byte stays. Pure; used by the codemod."""
