"""scripts/cost_model.py on made speeds: the work is counted from the configs, the hours follow by hand."""

import contextlib
import importlib.util
import io
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "cost_model.py"
specification = importlib.util.spec_from_file_location("cost_model", SCRIPT)
cost_model = importlib.util.module_from_spec(specification)
specification.loader.exec_module(cost_model)


def rows(step_s=0.036, ascent_s=0.0, env_rate=1e12):
    """Ascents that cost `ascent_s` for each start and step, at all ten states together."""
    made = [{"benchmark": "step", "precision": "fp32", "hidden_width": 512, "constraint": "active", "median_s": step_s, "flops": 1e9}]
    for steps in (100, 1):
        for starts in cost_model.STARTS:
            made.append({"benchmark": "ascent", "precision": "fp32", "hidden_width": 512, "ascent_steps": steps, "num_starts": starts,
                         "median_s": ascent_s * steps * starts, "flops": 1e6 * steps * starts})
    tasks = ("hopper", "halfcheetah", "walker2d", "ant", "maze2d-large", "antmaze-medium-play")
    return made + [{"benchmark": "env", "precision": "fp64", "engine": "drop", "task": task, "steps_per_s": env_rate} for task in tasks]


class CostModel(unittest.TestCase):
    def test_counts_the_papers_data_sets(self):
        found = list(cost_model.datasets())
        self.assertEqual(len(found), 51)
        self.assertEqual(sum(name.endswith("-v2") for name, *_ in found), 18)
        self.assertIn(("hopper-medium-v2", 100, 200000, 1000, "hopper"), found)
        self.assertIn(("maze2d-medium-v1", 150, 200000, 600, "maze2d-large"), found)

    def test_training_hours(self):
        part = cost_model.parts(cost_model.Speeds(rows(), "fp32"))["DROP, training"]
        # 51 data sets, 5 seeds, 200,000 steps of 0.036 s: 2 hours each
        self.assertAlmostEqual(part.seconds / 3600, 51 * 5 * 2.0, places=6)
        self.assertAlmostEqual(part.flops, 51 * 5 * 2e5 * 1e9)

    def test_grad_ada_follows_the_number_of_sub_tasks(self):
        part = cost_model.parts(cost_model.Speeds(rows(step_s=0.0, ascent_s=1e-6), "fp32"))["DROP, grad-ada"]
        states = 5 * 6 * 10
        expected = sum(states * length * starts * 100 * 1e-6 / 10 for _, starts, _, length, _ in cost_model.datasets())
        self.assertAlmostEqual(part.seconds, expected, delta=1e-3 * expected)

    def test_prints_measured_and_predicted_machines(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            cost_model.tables(rows())
        self.assertIn("| **all** |", out.getvalue())
        self.assertIn("| 64 cores, fp32 |", out.getvalue())
        self.assertIn("**predicted**", out.getvalue())


if __name__ == "__main__":
    unittest.main()
