"""fetch_adroit.sh with a stand-in for pip: only the wheel that is known is used, and nothing of it leaves its folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASSETS = "gymnasium_robotics/envs/assets/"
HAND = ASSETS + "adroit_hand/"

# pip "downloads" $WHEEL; everything else is done by the real interpreter
PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m pip" ]; then
  while [ "$1" != --dest ]; do shift; done
  mkdir -p "$2" && cp "$WHEEL" "$2/"
else
  exec "$REAL_PYTHON" "$@"
fi
"""


class FetchAdroitTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop 'adroit\" ")
        self.addCleanup(temporary.cleanup)
        self.top = Path(temporary.name)
        self.root = self.top / "a tree"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        (self.root / "third_party").mkdir()
        python = self.root / ".venv/bin/python3"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        self.wheel = self.top / "gymnasium_robotics-1.0-py3-none-any.whl"

    def make_wheel(self, named="hand.stl"):
        """A wheel whose models name one mesh."""
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            for part in ("pen", "hammer", "door", "relocate", "model", "assets"):
                wheel.writestr(f"{HAND}adroit_{part}.xml", f'<mujoco><mesh file="{named}"/></mujoco>')
            wheel.writestr(f"{HAND}resources/meshes/{named}", "a mesh")
            wheel.writestr(f"{ASSETS}LICENSE.md", "a licence")
            wheel.writestr("gymnasium_robotics-1.0.dist-info/licenses/LICENSE", "a licence")

    def fetch(self, sha256=None):
        sha256 = sha256 or hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        (self.root / "third_party/versions.env").write_text(
            f"GYMNASIUM_ROBOTICS_VERSION=1.0\nGYMNASIUM_ROBOTICS_SHA256={sha256}\n")
        return subprocess.run(
            [self.root / "scripts/fetch_adroit.sh"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env=os.environ | {"WHEEL": str(self.wheel), "REAL_PYTHON": sys.executable})

    def left(self):
        return sorted(str(path.relative_to(self.root)) for path in (self.root / "third_party").rglob("*") if path.is_file())

    def test_keeps_the_models_and_what_they_name(self):
        self.make_wheel()
        done = self.fetch()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("third_party/adroit/resources/meshes/hand.stl", self.left())
        self.assertIn("third_party/adroit/adroit_pen.xml", self.left())

    def test_another_wheel_is_not_used(self):
        self.make_wheel()
        done = self.fetch(sha256="0" * 64)
        self.assertEqual(done.returncode, 1)
        self.assertIn("expected is " + "0" * 64, done.stderr)
        self.assertEqual(self.left(), ["third_party/versions.env"])

    def test_names_that_lead_elsewhere_are_refused(self):
        for name in ("../../../../evil.stl", "/tmp/evil.stl", "a/../../evil.stl", "..", "a b.stl", "a//b.stl"):
            with self.subTest(name):
                self.make_wheel(name)
                done = self.fetch()
                self.assertEqual(done.returncode, 1)
                self.assertIn("which is no file of its folder", done.stderr)
                self.assertEqual(self.left(), ["third_party/versions.env"])
                self.assertEqual([path for path in self.top.rglob("evil*")], [])


if __name__ == "__main__":
    unittest.main()
