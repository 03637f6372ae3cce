import unittest

from evals.run import HERE, STEPS, answer, check
from pipeline import conditions, replay
from pipeline.settings import PipelineError, Settings, read_lines


def case(text):
    return {"ticket": {"messages": [{"role": "customer", "text": text}]}}


class Pipeline(unittest.TestCase):
    def setUp(self):
        self.settings = Settings.load()

    def test_a_plan_has_all_parts(self):
        plan = replay.plan(self.settings, case("I lost my card.\nRegards, Anna Holt"))
        self.assertEqual(plan["intent_path"], ["cards", "lost"])
        self.assertEqual(plan["fetch"], [{"record_id": "cus_001", "score": 7, "matched_fields": ["first_name", "last_name"]}])
        self.assertTrue(plan["reply"].startswith("Dear Anna Holt,\n\nyour card is stopped"))
        self.assertEqual([call["name"] for call in plan["tool_calls"]], ["stop_card", "order_card"])

    def test_equal_best_scores_are_a_tie(self):
        plan = replay.plan(self.settings, case("I lost my card.\nRegards, Paul Richter"))
        self.assertIn("several customers", plan["reply"])
        self.assertEqual(plan["tool_calls"], [])

    def test_conditions(self):
        record = {"flags": ["joint"]}
        read = {"payment": {"amount": "1.250,50"}}
        for text, truth in [
            ("flag joint", True),
            ("not flag joint", False),
            ("amount over 1249", True),
            ("amount over 1250", False),
            ("has payment.amount and not tie", True),
            ("missing payment.amount", False),
            ("no record", False),
        ]:
            self.assertEqual(conditions.holds(text, read, record, False), truth, text)
        with self.assertRaises(ValueError):
            conditions.parse("flag joint or tie")

    def test_a_config_that_does_not_fit_is_named(self):
        self.settings.plans["cards/lost"]["default"]["template"] = "lost.nothing"
        with self.assertRaisesRegex(PipelineError, "no-template: plans.json: cards/lost.default"):
            self.settings.check()

    def test_golden_rows(self):
        for step in STEPS:
            results = check(self.settings, step, read_lines(HERE / step / "cases.jsonl"))
            self.assertGreaterEqual(len(results), 12)
            self.assertEqual([result["row"] for result in results if not result["pass"]], [])

    def test_answers_need_no_rows_that_say_what_is_expected(self):
        for step in STEPS:
            rows = read_lines(HERE / step / "cases.jsonl")
            bare = [{key: value for key, value in row.items() if key != "expected"} for row in rows]
            expected = [{"row": row["id"], "output": row["expected"]} for row in rows]
            self.assertEqual(answer(self.settings, step, bare), expected)
        self.assertEqual(answer(self.settings, "intent", [{"id": "a"}]), [{"row": "a", "output": None, "error": "no 'messages'"}])


if __name__ == "__main__":
    unittest.main()
