"""The shipped configs: the paper's numbers, a comment for each key, the documented order."""

import re
import unittest
from pathlib import Path

import yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# paper, Table 9: N, M
TABLE_9 = {
    "maze2d/maze2d-umaze-v1": (500, 5),
    "maze2d/maze2d-medium-v1": (150, 50),
    "maze2d/maze2d-large-v1": (100, 15),
    "gym/hopper-random-v0": (100, 2),
    "gym/hopper-random-v2": (100, 2),
    "gym/hopper-medium-v0": (100, 5),
    "gym/hopper-medium-v2": (100, 5),
    "gym/hopper-medium-expert-v0": (100, 2),
    "gym/hopper-medium-expert-v2": (100, 2),
    "gym/hopper-medium-replay-v0": (50, 5),
    "gym/hopper-medium-replay-v2": (10, 30),
    "adroit/door-human": (50, 3),
}

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
    return sorted(CONFIGS.rglob("*.yaml"))


def load(path):
    return yaml.safe_load(path.read_text())


class ConfigsTest(unittest.TestCase):
    def test_decompositions_are_those_of_table_9(self):
        for name, (subtasks, trajectories) in TABLE_9.items():
            with self.subTest(name):
                config = load(CONFIGS / f"{name}.yaml")
                self.assertEqual(config["decomposition"], {
                    "rule": "rank", "num_subtasks": subtasks,
                    "trajectories_per_subtask": trajectories})

    def test_networks_and_search_are_those_of_the_paper(self):
        for name in TABLE_9:
            with self.subTest(name):
                config = load(CONFIGS / f"{name}.yaml")
                self.assertEqual(config["model"], {"embedding_dim": 5, "hidden_width": 512})
                self.assertEqual(config["train"]["batch_size"], 1024)
                self.assertEqual(config["train"]["learning_rate"], 0.001)
                self.assertEqual(config["train"]["conservative_threshold"], 2.0)
                self.assertEqual(config["search"]["ascent_steps"], 100)
                self.assertEqual(config["checkpoint"]["keep"], 6)

    def test_a_file_is_called_after_its_data_set(self):
        for name in TABLE_9:
            with self.subTest(name):
                dataset = load(CONFIGS / f"{name}.yaml")["dataset"]
                self.assertIn(dataset, (Path(name).name, Path(name).name + "-v0"))

    def test_every_config_but_the_two_small_ones_is_in_the_table(self):
        names = {str(path.relative_to(CONFIGS).with_suffix("")) for path in all_configs()}
        self.assertEqual(names, set(TABLE_9) | {"quickstart", "gym/hopper-small"})

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
