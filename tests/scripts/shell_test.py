"""The shell scripts, with stand-ins for the programs they call: what they decide, not what these do."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# a Python environment as far as setup.sh looks at it; pip writes its arguments into calls.txt
PYTHON = """#!/usr/bin/env bash
case "$*" in
  *"-m pip install"*)
    echo "pip ${*#*install }" >>"$CALLS"
    site="$(dirname "$0")/../site"
    mkdir -p "$site/torch/include/ATen" "$site/torch/lib" "$site/mujoco/include/mujoco"
    touch "$site/torch/include/ATen/ATen.h" "$site/torch/lib/libtorch_cpu.so" \\
      "$site/mujoco/include/mujoco/mujoco.h" "$site/mujoco/libmujoco.so.3.0.0"
    ;;
  *"-m venv"*)
    echo "venv" >>"$CALLS"
    mkdir -p "${!#}/bin" "${!#}/site/pip"
    touch "${!#}/pyvenv.cfg"
    cp "$0" "${!#}/bin/python3"
    ;;
  *sys.version_info*) exit "${TOO_OLD:-0}" ;;
  *sysconfig*) echo "$(dirname "$0")/../site" ;;
  --version) echo "Python 3.x" ;;
esac
"""

VERSIONS = "\n".join(f"{name}_VERSION=3.0.0" for name in (
    "TORCH", "NVIDIA_CUDA_RUNTIME", "NVIDIA_CUDA_CUPTI", "MUJOCO", "NUMPY", "H5PY", "MATPLOTLIB",
    "SAFETENSORS", "TENSORBOARD", "PYYAML")) + "\nPYTHON_CONSTRAINTS=pillow==3.0.0,cycler==3.0.0\n"


class ShellTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop shell ")
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name) / "a tree"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        (self.root / "third_party").mkdir()
        (self.root / "third_party" / "versions.env").write_text(VERSIONS)
        self.bin = Path(temporary.name) / "bin"
        self.bin.mkdir()
        self.calls_file = Path(temporary.name) / "calls.txt"
        for tool in ("bash", "env", "dirname", "basename", "cat", "cut", "sha256sum", "grep", "awk",
                     "mkdir", "touch", "cp", "rm", "mv", "ls", "nproc", "tail"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.tool("python3", PYTHON)
        self.tool("dpkg-query", '#!/usr/bin/env bash\nprintf "${ABSENT+not-}installed"\n')
        self.tool("id", '#!/usr/bin/env bash\necho "${USER_ID:-0}"\n')
        self.tool("apt-get", '#!/usr/bin/env bash\necho "apt-get $*" >>"$CALLS"\n')

    def tool(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def call(self, script, *arguments, **environment):
        done = subprocess.run(
            [self.root / "scripts" / script, *arguments], capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
            env={"PATH": str(self.bin), "CALLS": str(self.calls_file), **environment})
        return done.returncode, done.stdout, done.stderr

    def calls(self):
        """What the stand-ins were called with since the last look."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return lines

    # ---- setup.sh ----

    def test_set_up_installs_once(self):
        status, _, errors = self.call("setup.sh", "--cpu")
        self.assertEqual(status, 0, errors)
        calls = self.calls()
        self.assertEqual(calls[0], "venv")
        self.assertTrue(any("--no-deps torch==3.0.0 mujoco==3.0.0" in line for line in calls))
        self.assertTrue(any("numpy==3.0.0 h5py==3.0.0" in line for line in calls))
        constraints = self.root / ".venv" / "drop-constraints.txt"
        self.assertEqual(constraints.read_text(), "pillow==3.0.0\ncycler==3.0.0\n")
        self.assertTrue(any(f"--constraint {constraints} numpy" in line for line in calls))
        self.assertFalse(any("apt-get" in line for line in calls))
        self.assertEqual(self.call("setup.sh", "--cpu")[0], 0)
        self.assertEqual(self.calls(), [])

    def test_another_version_is_installed_into_the_same_environment(self):
        self.call("setup.sh", "--cpu")
        self.calls()
        versions = self.root / "third_party" / "versions.env"
        versions.write_text(VERSIONS.replace("NUMPY_VERSION=3.0.0", "NUMPY_VERSION=3.0.1"))
        self.assertEqual(self.call("setup.sh", "--cpu")[0], 0)
        calls = self.calls()
        self.assertTrue(any("numpy==3.0.1" in line for line in calls))
        self.assertNotIn("venv", calls)

    def test_the_cuda_form_brings_all_of_torch_and_serves_the_cpu_form(self):
        self.call("setup.sh", "--cpu")
        self.calls()
        self.assertEqual(self.call("setup.sh", "--cuda")[0], 0)
        self.assertTrue(any(line.endswith("--quiet torch==3.0.0") for line in self.calls()))
        self.assertEqual(self.call("setup.sh", "--cpu")[0], 0)
        self.assertEqual(self.calls(), [])

    def test_an_installation_that_leaves_holes_gets_no_stamp(self):
        self.tool("python3", PYTHON.replace("libmujoco.so.3.0.0", "libmujoco.so.2"))
        status, _, errors = self.call("setup.sh", "--cpu")
        self.assertEqual(status, 1)
        self.assertIn("libmujoco.so.3.0.0 after the installation", errors)
        self.assertFalse((self.root / ".venv" / "drop-setup-stamp").exists())

    def test_missing_packages_are_installed_by_root(self):
        status, _, errors = self.call("setup.sh", "--cpu", ABSENT="1")
        self.assertEqual(status, 0, errors)
        calls = self.calls()
        self.assertEqual(calls[0], "apt-get update -q")
        self.assertRegex(calls[1], r"^apt-get install .*build-essential cmake .* libgmock-dev valgrind$")

    def test_without_root_and_sudo_the_packages_are_named(self):
        status, _, errors = self.call("setup.sh", "--cpu", ABSENT="1", USER_ID="1000")
        self.assertEqual(status, 1)
        self.assertIn("Ask for: apt-get install build-essential cmake", errors)
        self.assertEqual(self.calls(), [])
        # nothing is missing: no need for root
        self.assertEqual(self.call("setup.sh", "--cpu", USER_ID="1000")[0], 0)

    def test_sudo_is_used_where_it_is(self):
        self.tool("sudo", '#!/usr/bin/env bash\necho "sudo $*" >>"$CALLS"\n')
        self.assertEqual(self.call("setup.sh", "--cpu", ABSENT="1", USER_ID="1000")[0], 0)
        self.assertEqual(self.calls()[0], "sudo -n apt-get update -q")

    def test_no_apt_names_packages_and_goes_on(self):
        status, _, errors = self.call("setup.sh", "--cpu", "--no-apt", ABSENT="1", USER_ID="1000")
        self.assertEqual(status, 0, errors)
        self.assertIn("left alone because of --no-apt: build-essential", errors)
        self.assertFalse(any("apt-get" in line for line in self.calls()))

    def test_an_old_python_is_refused_by_name(self):
        status, _, errors = self.call("setup.sh", "--cpu", TOO_OLD="1")
        self.assertEqual(status, 1)
        self.assertIn("python3 is Python 3.x, but Python 3.11 or newer is needed", errors)
        self.assertFalse((self.root / ".venv").exists())

    def test_a_folder_that_is_no_environment_is_left_alone(self):
        (self.root / ".venv").mkdir()
        (self.root / ".venv" / "diary").write_text("mine")
        status, _, errors = self.call("setup.sh", "--cpu")
        self.assertEqual(status, 1)
        self.assertIn("is no Python environment; move it away", errors)
        self.assertEqual((self.root / ".venv" / "diary").read_text(), "mine")

    # ---- test.sh ----

    def with_build_tools(self):
        self.call("setup.sh", "--cpu")
        self.calls()
        self.tool("cmake", '#!/usr/bin/env bash\necho "cmake $*" >>"$CALLS"\n[ "$*" != "$BROKEN" ]\n')
        self.tool("ctest", '#!/usr/bin/env bash\necho "ctest $2 ${ASAN_OPTIONS:-plain}" >>"$CALLS"\n'
                           'echo "100% tests passed"\n[ "$2" != "${FAILING:-}" ]\n')
        return {"CMAKE_BUILD_PARALLEL_LEVEL": "3", "BROKEN": ""}

    def test_tests_run_in_release_and_under_the_sanitizers(self):
        environment = self.with_build_tools()
        status, output, errors = self.call("test.sh", **environment)
        self.assertEqual(status, 0, errors)
        calls = [line for line in self.calls() if not line.startswith("pip")]
        self.assertEqual(calls[:5], [
            "cmake --preset release", "cmake --build --preset release -j 3", "ctest release plain",
            "cmake --preset asan-ubsan", "cmake --build --preset asan-ubsan -j 3"])
        self.assertRegex(calls[5], "^ctest asan-ubsan detect_leaks=1")
        self.assertTrue(output.endswith("100% tests passed\n"))

    def test_release_only_leaves_the_sanitizers_out(self):
        environment = self.with_build_tools()
        self.assertEqual(self.call("test.sh", "--release-only", **environment)[0], 0)
        self.assertFalse(any("asan" in line for line in self.calls()))

    def test_a_failing_pass_fails_the_script(self):
        environment = self.with_build_tools()
        self.assertNotEqual(self.call("test.sh", FAILING="release", **environment)[0], 0)
        self.assertFalse(any("asan" in line for line in self.calls()))
        self.assertNotEqual(self.call("test.sh", FAILING="asan-ubsan", **environment)[0], 0)
        self.calls()
        environment["BROKEN"] = "--preset release"
        self.assertNotEqual(self.call("test.sh", **environment)[0], 0)
        self.assertEqual([line for line in self.calls() if not line.startswith("pip")],
                         ["cmake --preset release"])

    def test_full_adds_the_other_tools(self):
        environment = self.with_build_tools()
        status, _, errors = self.call("test.sh", "--full", **environment)
        self.assertEqual(status, 0, errors)
        calls = self.calls()
        self.assertEqual([line.split()[1] for line in calls if line.startswith("ctest")],
                         ["release", "asan-ubsan", "tsan"])
        # what is not installed is skipped, and said to be
        for tool in ("valgrind", "clang-tidy"):
            self.assertIn(f"no {tool} here, nothing checked", errors)
        self.assertEqual(self.call("test.sh", "--full", "--release-only", **environment)[0], 2)

    # ---- quickstart.sh ----

    def with_programs(self):
        environment = self.with_build_tools()
        programs = self.root / "build" / "release" / "bin"
        programs.mkdir(parents=True)
        say = '#!/usr/bin/env bash\necho "${0##*/} $*" >>"$CALLS"\n'
        for name, body in (
                ("drop_data", 'echo data >"${!#}"\n'),
                ("drop_train", 'mkdir -p runs/quickstart/checkpoints\n'
                               'checkpoint=runs/quickstart/checkpoints/step_000006000.safetensors\n'
                               '[ -f "$checkpoint" ] || touch "$checkpoint"\n'),
                ("drop_eval", 'echo "rule  mean"\nwhile [ $# -gt 0 ]; do\ncase "$1" in '
                              '--json | --trace | --video) echo "{}" >"$2" ;; esac\nshift\ndone\n')):
            (programs / name).write_text(say + body)
            (programs / name).chmod(0o755)
        # the plot's stand-in
        python = PYTHON.replace(
            "case", 'case "$1 $2" in\n'
                    '*"plot.py --trace") echo trace >>"$CALLS"; echo picture >"${3%.h5}.png" ;;\n'
                    '*plot.py*) echo plot >>"$CALLS"; echo picture >"$2/plot.png" ;;\nesac\ncase', 1)
        self.tool("python3", python)
        shutil.copy(self.bin / "python3", self.root / ".venv" / "bin" / "python3")
        return environment

    def quickstart_calls(self):
        return [line.split()[0] for line in self.calls() if not line.startswith(("pip", "cmake"))]

    def test_quickstart_does_each_thing_once(self):
        environment = self.with_programs()
        status, output, errors = self.call("quickstart.sh", **environment)
        self.assertEqual(status, 0, errors)
        self.assertEqual(self.quickstart_calls(), ["drop_data", "drop_train", "drop_eval", "plot",
                                                   "trace", "drop_eval"])
        self.assertIn("rule  mean", output)
        for name in ("plot.png", "trace.png", "episode.mp4"):
            self.assertIn(str(self.root / "runs/quickstart" / name), output)
        # again: only the trainer is asked, and it answers that the run is finished
        status, output, errors = self.call("quickstart.sh", **environment)
        self.assertEqual(status, 0, errors)
        self.assertEqual(self.quickstart_calls(), ["drop_train"])
        self.assertIn("rule  mean", output)

    def test_quickstart_evaluates_again_after_more_training(self):
        environment = self.with_programs()
        self.call("quickstart.sh", **environment)
        self.calls()
        newer = self.root / "runs/quickstart/checkpoints/step_000008000.safetensors"
        newer.touch()
        later = newer.stat().st_mtime + 2
        os.utime(newer, (later, later))
        self.call("quickstart.sh", **environment)
        self.assertIn("drop_eval", self.quickstart_calls())

    def test_quickstart_stops_where_something_fails(self):
        environment = self.with_programs()
        (self.root / "build/release/bin/drop_train").write_text("#!/usr/bin/env bash\nexit 130\n")
        self.assertEqual(self.call("quickstart.sh", **environment)[0], 130)
        self.assertNotIn("drop_eval", self.quickstart_calls())
        environment["BROKEN"] = "--preset release"
        status, _, errors = self.call("quickstart.sh", **environment)
        self.assertEqual(status, 1)
        self.assertIn("the build failed; its whole output: build/quickstart-build.log", errors)

    # ---- all ----

    def test_help_and_unknown_options(self):
        for script in ("setup.sh", "test.sh", "quickstart.sh", "fetch_adroit.sh", "analyse.sh", "fuzz.sh"):
            with self.subTest(script):
                status, output, _ = self.call(script, "--help")
                self.assertEqual(status, 0)
                self.assertIn(f"./scripts/{script}", output)
                status, _, errors = self.call(script, "--nonsense")
                self.assertEqual(status, 2)
                self.assertIn("unknown option '--nonsense'; known: ", errors)


if __name__ == "__main__":
    unittest.main()
