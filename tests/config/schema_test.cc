#include "config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace drop {
namespace {

// written down by hand from the design, so that no key can vanish unseen
const std::vector<std::string> kDocumentedKeys = {"name",
                                                  "task",
                                                  "dataset",
                                                  "seed",
                                                  "seeds",
                                                  "device",
                                                  "precision",
                                                  "threads",
                                                  "physics",
                                                  "decomposition.rule",
                                                  "decomposition.num_subtasks",
                                                  "decomposition.trajectories_per_subtask",
                                                  "decomposition.keep_unfinished",
                                                  "model.embedding",
                                                  "model.embedding_dim",
                                                  "model.bounded_embedding",
                                                  "model.hidden_width",
                                                  "model.policy_std",
                                                  "model.latent_dim",
                                                  "model.encoder_inputs",
                                                  "model.kl_weight",
                                                  "train.steps",
                                                  "train.batch_size",
                                                  "train.learning_rate",
                                                  "train.discount",
                                                  "train.target_rate",
                                                  "train.score",
                                                  "train.conservative",
                                                  "train.conservative_threshold",
                                                  "train.multiplier",
                                                  "train.multiplier_rate",
                                                  "train.multiplier_initial",
                                                  "train.td_updates_embedding",
                                                  "train.subtasks_per_batch",
                                                  "train.reward_scale",
                                                  "train.reward_shift",
                                                  "train.log_every",
                                                  "train.engine",
                                                  "checkpoint.every",
                                                  "checkpoint.keep",
                                                  "search.rules",
                                                  "search.ascent_steps",
                                                  "search.ascent_step_size",
                                                  "search.clip",
                                                  "search.normalise_gradient",
                                                  "search.keep_best_iterate",
                                                  "search.sample",
                                                  "search.starts",
                                                  "search.engine",
                                                  "eval.every",
                                                  "eval.episodes",
                                                  "eval.rules",
                                                  "eval.seed"};

TEST(Schema, HoldsExactlyTheDocumentedKeys) {
  std::vector<std::string> paths;
  for (const Key& key : schema_keys()) paths.push_back(key.path);
  EXPECT_THAT(paths, ::testing::UnorderedElementsAreArray(kDocumentedKeys));
}

TEST(Schema, EveryKeyExplainsItselfOnOneLine) {
  for (const Key& key : schema_keys()) {
    EXPECT_GE(key.comment.size(), 15u) << key.path;
    EXPECT_FALSE(key.allowed.empty()) << key.path;
    for (const std::string& text : {key.comment, key.allowed, key.write(Config{})}) {
      EXPECT_EQ(text.find('\n'), std::string::npos) << key.path;
    }
  }
}

TEST(Schema, EveryKeyLiesInAKnownSection) {
  for (const Key& key : schema_keys()) {
    bool known = false;
    for (const Section& section : schema_sections()) {
      known = known || section.name == section_of(key.path);
    }
    EXPECT_TRUE(known) << key.path;
    EXPECT_EQ(find_key(key.path), &key);
  }
  EXPECT_EQ(find_key("train.step"), nullptr);
  EXPECT_EQ(find_key("train"), nullptr);
  EXPECT_EQ(find_key(""), nullptr);
}

TEST(Schema, EveryKeyRefusesAListOfListsASectionAndNothing) {
  YamlNode nothing;
  YamlNode section;
  section.kind = YamlNode::Kind::kMap;
  YamlNode lists;
  lists.kind = YamlNode::Kind::kList;
  lists.children.push_back(lists);
  for (const Key& key : schema_keys()) {
    for (const YamlNode& node : {nothing, section, lists}) {
      Config config;
      const std::optional<Refusal> refusal = key.read(node, config);
      ASSERT_TRUE(refusal.has_value()) << key.path;
      EXPECT_FALSE(refusal->found.empty()) << key.path;
      EXPECT_EQ(config, Config{}) << key.path << ": a refused value changes nothing";
    }
  }
}

}  // namespace
}  // namespace drop
