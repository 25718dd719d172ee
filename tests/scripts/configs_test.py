"""The shipped configs: the paper's numbers, a comment for each key, the documented order."""

import re
import unittest
from pathlib import Path

import yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# paper, Table 9, row by row: (N, M) of "*-v0" (Maze2D: v1, footnote 8), then of "*-v2"
TABLE_9 = {
    "maze2d/maze2d-umaze": [(500, 5)],
    "maze2d/maze2d-medium": [(150, 50)],
    "maze2d/maze2d-large": [(100, 15)],
    "antmaze/antmaze-umaze": [(500, 50), (150, 50)],
    "antmaze/antmaze-umaze-diverse": [(500, 50), (150, 50)],
    "antmaze/antmaze-medium-play": [(500, 50), (150, 50)],
    "antmaze/antmaze-medium-diverse": [(500, 50), (150, 50)],
    "antmaze/antmaze-large-play": [(500, 50), (150, 50)],
    "antmaze/antmaze-large-diverse": [(500, 50), (150, 50)],
    "gym/halfcheetah-random": [(1000, 1), (1000, 1)],
    "gym/halfcheetah-medium": [(100, 2), (100, 2)],
    "gym/halfcheetah-medium-expert": [(1000, 1), (1000, 1)],
    "gym/halfcheetah-medium-replay": [(50, 10), (50, 10)],
    "gym/hopper-random": [(100, 2), (100, 2)],
    "gym/hopper-medium": [(100, 5), (100, 5)],
    "gym/hopper-medium-expert": [(100, 2), (100, 2)],
    "gym/hopper-medium-replay": [(50, 5), (10, 30)],
    "gym/walker2d-random": [(500, 2), (500, 2)],
    "gym/walker2d-medium": [(50, 5), (50, 5)],
    "gym/walker2d-medium-expert": [(50, 5), (50, 5)],
    "gym/walker2d-medium-replay": [(1000, 5), (10, 50)],
    "adroit/door-cloned": [(1000, 2)],
    "adroit/door-expert": [(500, 5)],
    "adroit/door-human": [(50, 3)],
    "adroit/hammer-cloned": [(1000, 1)],
    "adroit/hammer-expert": [(500, 5)],
    "adroit/hammer-human": [(20, 3)],
    "adroit/pen-cloned": [(500, 5)],
    "adroit/pen-expert": [(500, 5)],
    "adroit/pen-human": [(50, 5)],
    "adroit/relocate-cloned": [(500, 5)],
    "adroit/relocate-expert": [(500, 5)],
    "adroit/relocate-human": [(50, 4)],
}
# the same by file: name -> (N, M)
PAPER = {name + version: sizes
         for name, columns in TABLE_9.items()
         for version, sizes in zip(["-v1"] if name.startswith("maze2d") else ["-v0", "-v2"], columns)}
SMALL = {"quickstart", "gym/hopper-small"}

# every key, in the order that all configs keep
KEYS = {
    "": "name task dataset seed seeds device precision threads physics decomposition model train "
        "checkpoint search eval",
    "decomposition": "rule num_subtasks trajectories_per_subtask keep_unfinished",
    "model": "embedding embedding_dim hidden_width policy_std latent_dim encoder_inputs kl_weight",
    "train": "steps batch_size learning_rate discount target_rate conservative "
             "conservative_threshold multiplier multiplier_rate multiplier_initial "
             "td_updates_embedding subtasks_per_batch reward_scale reward_shift log_every engine",
    "checkpoint": "every keep",
    "search": "rules ascent_steps ascent_step_size clip normalise_gradient keep_best_iterate "
              "sample starts engine",
    "eval": "every episodes rules seed",
}


def all_configs():
    return sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "sweeps")


def load(path):
    return yaml.safe_load(path.read_text())


class ConfigsTest(unittest.TestCase):
    def test_every_row_of_table_9_has_its_file_and_no_other_is_there(self):
        self.assertEqual(sum(name.endswith("-v2") for name in PAPER), 18)
        self.assertEqual(len(PAPER), 33 + 18)
        names = {str(path.relative_to(CONFIGS).with_suffix("")) for path in all_configs()}
        self.assertEqual(names, set(PAPER) | SMALL)

    def test_decompositions_are_those_of_table_9(self):
        for name, (subtasks, trajectories) in PAPER.items():
            with self.subTest(name):
                config = load(CONFIGS / f"{name}.yaml")
                self.assertEqual(config["decomposition"], {
                    "rule": "rank", "num_subtasks": subtasks,
                    "trajectories_per_subtask": trajectories})

    def test_everything_else_is_the_same_for_all(self):
        train = {"steps": 200000, "batch_size": 1024, "learning_rate": 0.001, "target_rate": 0.005,
                 "conservative_threshold": 2.0}
        for name in PAPER:
            with self.subTest(name):
                config = load(CONFIGS / f"{name}.yaml")
                self.assertEqual(config["seed"], 0)
                self.assertEqual(config["model"], {"embedding_dim": 5, "hidden_width": 512})
                shift = {"reward_shift": -1} if name.startswith("antmaze/") else {}
                self.assertEqual(config["train"], train | shift)
                self.assertEqual(config["checkpoint"], {"every": 10000, "keep": 6})
                self.assertEqual(config["search"], {"ascent_steps": 100, "ascent_step_size": 0.01})
                self.assertEqual(config["eval"],
                                 {"every": 50000, "episodes": 10, "rules": ["best", "best-ada"]})

    def test_data_set_and_task_follow_from_the_file_s_name(self):
        for name in PAPER:
            with self.subTest(name):
                config = load(CONFIGS / f"{name}.yaml")
                suite, dataset = name.split("/")
                self.assertEqual(config["dataset"], dataset)
                # D4RL's task is the id without version, and without data kind where that is no goal
                task = dataset.rsplit("-", 1)[0]
                if suite in ("gym", "adroit"):
                    task = task.split("-", 1)[0]
                self.assertEqual(config["task"], task)

    def test_heads_say_where_the_numbers_come_from(self):
        for name in PAPER:
            lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
            with self.subTest(name):
                self.assertEqual(lines[0], f"# DROP on {Path(name).name}.")
                column = "*-v2" if name.endswith("-v2") else "*-v0"
                self.assertIn(f'Table 9 (columns "{column}")', lines[1])
                self.assertEqual("footnote 8" in lines[3], name.startswith("maze2d/"))

    def test_keys_are_known_and_in_order(self):
        for path in all_configs():
            config = load(path)
            sections = {"": config, **{k: v for k, v in config.items() if isinstance(v, dict)}}
            for section, values in sections.items():
                with self.subTest(path.name, section=section):
                    known = KEYS[section].split()
                    self.assertEqual(list(values), [key for key in known if key in values])

    def test_runs_look_far_enough_ahead(self):
        # steps * target_rate is the look-ahead in environment steps; 1 / (1 - discount) = 100
        for path in all_configs():
            with self.subTest(path.name):
                train = load(path)["train"]
                self.assertGreaterEqual(train["steps"] * train["target_rate"], 100)

    def test_every_key_has_a_comment_and_every_file_a_head(self):
        for path in all_configs():
            lines = path.read_text().splitlines()
            self.assertTrue(lines[0].startswith("# ") and lines[1].startswith("# "), path.name)
            for number, line in enumerate(lines, 1):
                if re.match(r" *\w+: *[^ #]", line):
                    with self.subTest(f"{path.name}:{number}"):
                        self.assertRegex(line, r"  # \S")


if __name__ == "__main__":
    unittest.main()
