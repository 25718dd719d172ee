"""scripts/count_instructions.py on made-up profiles; the counting itself is a test of its own."""

import importlib.util
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "count_instructions.py"
specification = importlib.util.spec_from_file_location("count_instructions", SCRIPT)
count_instructions = importlib.util.module_from_spec(specification)
specification.loader.exec_module(count_instructions)

# callgrind's format: a name comes with its number once; behind calls= stands the inclusive cost
PROFILE = """version: 1
events: Ir

fl=(1) engine.cc
fn=(1) drop::FastStepEngine::advance(long)
16 100
+2 20
cfi=(2) inner.cc
cfn=(2) inner(int)
calls=3 7
* 3000
-1 1

fn=(2)
7 2000
cfn=(3) deepest
calls=1 9
7 1000

fn=(3)
9 1000

totals: 3121
"""


class Counting(unittest.TestCase):
    def test_costs_include_what_is_called(self):
        costs = count_instructions.function_costs(PROFILE)
        self.assertEqual(costs["drop::FastStepEngine::advance(long)"], 3121)
        self.assertEqual(costs["inner(int)"], 3000)
        self.assertEqual(costs["deepest"], 1000)


class Judging(unittest.TestCase):
    BASELINE = {"tolerance": 0.1, "instructions": {"step": {"Fast": 1000, "Slow": 5000}}}

    def judge(self, found):
        lines = list(count_instructions.judge({"step": found}, self.BASELINE))
        return "\n".join(text for text, _ in lines), lines[-1][1]

    def test_within_the_tolerance_or_lighter(self):
        text, good = self.judge({"Fast": 1099, "Slow": 2000})
        self.assertTrue(good)
        self.assertIn("+9.9%", text)
        self.assertIn("-60.0%", text)

    def test_heavier(self):
        text, good = self.judge({"Fast": 1101, "Slow": 5000})
        self.assertFalse(good)
        self.assertIn("heavier", text)

    def test_an_engine_that_is_new_or_gone(self):
        for found, word in [({"Fast": 1000, "Slow": 5000, "New": 1}, "not known yet"),
                            ({"Fast": 1000}, "not counted")]:
            text, good = self.judge(found)
            self.assertFalse(good)
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main()
