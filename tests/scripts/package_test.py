"""The installed package: cmake --install, find_package(drop CONFIG) in another project, act in an episode.

DROP_BUILD_DIR names the build; without it (or without its programs) the test is skipped.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("DROP_BUILD_DIR", "")
CONFIG = """
task: maze2d-umaze
dataset: {folder}/umaze.hdf5
decomposition: {{num_subtasks: 4, trajectories_per_subtask: 3}}
model: {{hidden_width: 16}}
train: {{steps: 20, batch_size: 16, target_rate: 0.5, discount: 0.8, log_every: 10}}
checkpoint: {{every: 20}}
eval: {{every: 0}}
"""


@unittest.skipUnless(BUILD and os.path.exists(f"{BUILD}/bin/drop_train"), "DROP_BUILD_DIR names no build")
class Package(unittest.TestCase):
    def test_another_project_finds_it_and_acts(self):
        with tempfile.TemporaryDirectory(prefix="drop package ") as name:  # with a blank in its path
            folder = pathlib.Path(name)

            def run(*command):
                done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
                return done.stdout

            run("cmake", "--install", BUILD, "--prefix", folder / "installed")
            run("cmake", "-S", ROOT / "examples", "-B", folder / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={folder}/installed")
            run("cmake", "--build", folder / "build")

            programs = folder / "installed" / "bin"
            run(programs / "drop_data", "generate", "--task", "maze2d-umaze", "--steps", "2000", "--out", folder / "umaze.hdf5")
            (folder / "tiny.yaml").write_text(CONFIG.format(folder=folder))
            run(programs / "drop_train", "--config", folder / "tiny.yaml", "--out", folder / "run", "--quiet")
            said = run(folder / "build" / "act", folder / "run" / "checkpoints" / "step_000000020.safetensors")
            self.assertRegex(said, r"^return \d+\.\d\n$")


if __name__ == "__main__":
    unittest.main()
