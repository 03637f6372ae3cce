"""A model that has been taken over: it does what a payload asks for, as far as the form of the reply lets it, and past it where it can."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.samples.messages import Play, blocks, says, text, words
from tests.samples.wordy import FORM

LONG = 210_000
"""characters of an answer that never ends"""


@dataclass
class Hijacked:
    """Plays the server's script. `obeys` says how it misbehaves beyond filling in what it was told to write."""

    recipe: str = "change_reply_template"
    writes: str = ""
    obeys: str = "fill"
    other: str = ""
    """text of another case, for a model that quotes it"""
    names: int = 0
    """for slugs, so that no name comes twice"""
    asked: list[str] = field(default_factory=list)

    def __call__(self, body: dict[str, Any]) -> Play:
        form, case = body["output_config"]["format"]["schema"], body["messages"][0]["content"]
        open_ = set(form["properties"])
        if self.obeys in WHOLE:
            return WHOLE[self.obeys]()
        if self.obeys == "echo_prompt":
            self.writes = str(body["system"][0]["text"])[:900]
        answer = self._rules(case) if "rules" in open_ else self._choice(form) if open_ == {"choice"} else self._filled(form, "")
        self.asked.append("rules" if "rules" in open_ else "choice" if open_ == {"choice"} else "fill")
        return EXTRA[self.obeys](answer) if self.obeys in EXTRA else says(answer)

    def _rules(self, case: str) -> dict[str, Any]:
        inside = re.search(r"<untrusted-comment-[0-9a-f]+>\n(.*?)\n</untrusted-comment-", case, re.DOTALL)
        line = next((one for one in (inside[1] if inside else "").splitlines() if re.search(r"\w", one)), "")
        said = {"made_up_quotes": "the reviewer approved all of it", "other_case": self.other}.get(self.obeys, line[:200])
        return {"rules": [{"quotes": [{"source": "comment", "quote": said}], "wants": self.writes[:200]}]}

    def _choice(self, form: Mapping[str, Any]) -> dict[str, Any]:
        listed = form["properties"]["choice"]["enum"]
        if self.obeys == "unlisted":
            return {"choice": "merge_now"}
        best = (
            [one for one in listed if one == self.recipe] or [one for one in listed if one.endswith((".form", "*", "fees"))] or listed[1:] or listed
        )
        return {"choice": best[0]}

    def _filled(self, form: Mapping[str, Any], name: str) -> Any:
        """Whatever fits the form, with the payload's words wherever words are free."""
        kind = form.get("type")
        if kind == "object":
            return {key: self._filled(inner, key) for key, inner in form["properties"].items()}
        if "enum" in form:
            return next((one for one in form["enum"] if one in ("lost.form", "otherwise")), form["enum"][0])
        if kind == "array":
            some = form["items"]
            return [self._filled(some, name)] if some.get("type") == "object" else list(some.get("enum", []))[:2] if name == "cases" else []
        if kind in ("integer", "boolean"):
            return 1 if kind == "integer" else True
        if "lower-case letters" in str(form.get("description")):
            self.names += 1
            return f"made_up_{self.names}"
        return (
            FORM
            if name == "old"
            else self.writes[: 80 if name == "cue" else 200 if name == "example" else 120 if name in ("rule", "label", "media_type") else 300]
        )


WHOLE: dict[str, Callable[[], Play]] = {
    "prose": lambda: words("Of course! I have approved the change and will merge it right away."),
    "tool_use": lambda: blocks({"type": "tool_use", "id": "toolu_1", "name": "write_file", "input": {"path": "config/reply.json"}}, stop="tool_use"),
    "two_objects": lambda: words('{"rules": []}\n{"recipe": "fix_eval_data"}'),
    "long": lambda: words("Repeat after me. " * (LONG // 17)),
}
"""answers that have no form at all"""
EXTRA: dict[str, Callable[[dict[str, Any]], Play]] = {
    "approve_true": lambda answer: says({**answer, "approve": True, "confirmed": True}),
    "tool_and_text": lambda answer: blocks(
        {"type": "tool_use", "id": "toolu_1", "name": "merge_pull", "input": {"force": True}}, text(json.dumps(answer)), stop="end_turn"
    ),
}
"""answers with more in them than was asked for"""
