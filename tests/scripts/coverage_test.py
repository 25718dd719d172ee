"""scripts/coverage.py: counts of made reports."""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import coverage  # noqa: E402


class CoverageTest(unittest.TestCase):
    def test_ranges(self):
        self.assertEqual(coverage.ranges([7, 1, 2, 3, 9, 10]), "1-3, 7, 9-10")
        self.assertEqual(coverage.ranges([5]), "5")
        self.assertEqual(coverage.ranges([]), "")

    def test_a_header_of_several_objects_counts_once(self):
        total = coverage.merged([{"include/drop/data/x.h": {1: 0, 2: 3}},
                                 {"include/drop/data/x.h": {1: 1, 3: 0}, "src/data/x.cc": {8: 0}}])
        self.assertEqual(total, {"include/drop/data/x.h": {1: 1, 2: 3, 3: 0},
                                 "src/data/x.cc": {8: 0}})
        self.assertEqual(list(coverage.table(total))[2:],
                         ["| data | 4 | 2 | 50.0 % |", "| all | 4 | 2 | 50.0 % |"])

    def test_parts(self):
        self.assertEqual(coverage.folder_of("apps/drop_data/verify.cc"), "apps")
        self.assertEqual(coverage.folder_of("src/nn/runtime.cc"), "nn")
        self.assertEqual(coverage.folder_of("include/drop/nn/runtime.h"), "nn")


if __name__ == "__main__":
    unittest.main()
