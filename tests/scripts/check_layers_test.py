"""scripts/check_layers.py on small trees, and on this checkout."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_layers.py"


class CheckLayersTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="drop layers ")
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)
        (self.root / "src").mkdir()

    def write(self, path, *lines):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")

    def check(self, *arguments):
        done = subprocess.run(
            [sys.executable, SCRIPT, "--root", self.root, *arguments],
            capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def assert_passes(self):
        status, output, _ = self.check()
        self.assertEqual(status, 0, output)

    def assert_breaks(self, *expected):
        status, output, _ = self.check()
        self.assertEqual(status, 1, output)
        for text in expected:
            self.assertIn(text, output)

    def test_includes_downwards_and_within_a_folder_pass(self):
        self.write("include/drop/base/error.h", "#pragma once", "#include <string>")
        self.write("include/drop/data/hdf5.h", '#include "drop/base/error.h"')
        self.write("src/data/hdf5_io.h", '#include "drop/data/hdf5.h"')
        self.write("src/data/hdf5.cc", '#include "data/hdf5_io.h"', '#include "hdf5_io.h"',
                   "#include <hdf5.h>", '#include "drop_commit.h"')
        self.write("apps/drop_x.cc", '#include "drop/deploy/rollout.h"', '#include "program.h"')
        self.write("examples/act.cc", '#include "drop/search/rules.h"')
        self.assert_passes()

    def test_an_include_upwards_is_named_with_file_and_line(self):
        self.write("src/base/files.cc", "#include <string>", "", '#include "drop/data/hdf5.h"')
        self.assert_breaks("src/base/files.cc:3:", "data (floor 3) stands above base (floor 1)")

    def test_angle_brackets_and_blanks_do_not_hide_an_include(self):
        self.write("src/nn/net.cc", "  #  include <drop/train/loop.h>")
        self.assert_breaks("src/nn/net.cc:1:")

    def test_private_headers_of_higher_floors_are_found(self):
        self.write("src/log/csv.cc", '#include "env/maze.h"')
        self.assert_breaks("src/log/csv.cc:1:", "env (floor 4) stands above log (floor 2)")

    def test_relative_paths_are_followed(self):
        self.write("src/train/loop.h")
        self.write("src/nn/net.cc", '#include "../train/loop.h"')
        self.assert_breaks("src/nn/net.cc:1:", "train (floor 7) stands above nn (floor 5)")

    def test_folders_of_one_floor_do_not_include_each_other(self):
        for folder, other in (("config", "log"), ("log", "config"), ("env", "kernels"),
                              ("kernels", "env")):
            with self.subTest(folder=folder):
                self.write("src/" + folder + "/a.cc", f'#include "drop/{other}/b.h"')
                self.assert_breaks(f"src/{folder}/a.cc:1:", "is on the same floor as")
                (self.root / "src" / folder / "a.cc").unlink()

    def test_comments_and_strings_are_no_includes(self):
        self.write("src/base/a.cc", '// #include "drop/data/hdf5.h"', "/*",
                   '#include "drop/nn/net.h"', "*/", 'const char* glob = "eval/*.json";',
                   "const char* end = \"*/\";")
        self.assert_passes()

    def test_a_string_that_looks_like_a_comment_hides_nothing(self):
        self.write("src/base/a.cc", 'const char* glob = "eval/*.json";',
                   '#include "drop/data/hdf5.h"', 'const char* end = "*/";')
        self.assert_breaks("src/base/a.cc:2:")

    def test_a_public_header_includes_no_private_one(self):
        self.write("include/drop/data/a.h", '#include "data/hdf5_io.h"')
        self.assert_breaks("include/drop/data/a.h:1:", "private to src/")

    def test_an_example_uses_public_headers_only(self):
        self.write("examples/act.cc", '#include "data/hdf5_io.h"')
        self.assert_breaks("examples/act.cc:1:", "private to src/")

    def test_a_folder_on_no_floor_is_refused(self):
        self.write("src/misc/a.cc")
        self.assert_breaks("src/misc/a.cc:1: folder misc stands on no floor")
        (self.root / "src/misc/a.cc").unlink()
        self.write("src/nn/a.cc", '#include "drop/misc/b.h"')
        self.assert_breaks("src/nn/a.cc:1:", "folder misc stands on no floor")

    def test_a_header_of_all_floors_leans_on_none(self):
        self.write("src/pch.h", "#include <vector>")
        self.assert_passes()
        self.write("src/pch.h", "#include <vector>", '#include "drop/base/error.h"')
        self.assert_breaks("src/pch.h:2:")

    def test_tests_may_include_up_to_their_floor_and_support(self):
        self.write("tests/log/csv_test.cc", '#include "drop/log/metrics.h"',
                   '#include "drop/config/config.h"', '#include "support/paths.h"')
        self.write("tests/apps/all_test.cc", '#include "drop/deploy/rollout.h"')
        self.write("tests/support/toys.h", '#include "drop/train/loop.h"')
        self.assert_passes()
        self.write("tests/log/csv_test.cc", '#include "drop/data/hdf5.h"')
        self.assert_breaks("tests/log/csv_test.cc:1:", "data (floor 3) stands above log (floor 2)")

    def test_a_broken_mirror_is_reported_and_does_not_fail(self):
        self.write("src/data/hdf5.cc")
        self.write("src/data/sampler.cc")
        self.write("tests/data/sampler_test.cc")
        self.write("tests/data/gone_test.cc")
        self.write("apps/drop_eval.cc")
        status, output, _ = self.check()
        self.assertEqual(status, 0, output)
        self.assertIn("note: data/hdf5.cc has no tests/data/hdf5_test.cc", output)
        self.assertIn("note: apps/drop_eval.cc has no tests/apps/drop_eval_test.cc", output)
        self.assertIn("note: tests/data/gone_test.cc mirrors no source", output)
        self.assertNotIn("sampler", output)
        self.assertNotIn("note", self.check("--quiet")[1])

    def test_a_root_that_is_no_checkout_is_wrong_usage(self):
        (self.root / "src").rmdir()
        status, _, errors = self.check()
        self.assertEqual(status, 2)
        self.assertIn("has no folder src", errors)

    def test_this_checkout_keeps_the_floors(self):
        self.root = ROOT
        self.assert_passes()


if __name__ == "__main__":
    unittest.main()
