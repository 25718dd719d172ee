#include "drop/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "config/schema.h"
#include "drop/base/error.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Config parse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return parse_config(yaml, "c.yaml", overrides);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UsageError& error) {
    EXPECT_EQ(error.status(), ExitStatus::kUsage);
    return error.what();
  }
  return "no error";
}

std::string yaml_error(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { parse(yaml, overrides); });
}

// a config in which every field differs from its default
Config changed_config() {
  Config c;
  c.name = "other-name_2.x";
  c.task = "hopper";
  c.dataset = "/data/with blank: \"quote\" \\ # and umlaut \xc3\xbc.hdf5";
  c.seed = 7;
  c.seeds = {5, 7, 9007199254740991};
  c.device = Device::kCuda;
  c.precision = Precision::kBf16;
  c.threads = 3;
  c.physics = Physics::kModern;
  c.decomposition = {DecompositionKind::kQuantization, 10, 2, true};
  c.model.embedding = EmbeddingKind::kCvae;
  c.model.embedding_dim = 8;
  c.model.bounded_embedding = false;
  c.model.hidden_width = 64;
  c.model.policy_std = PolicyStd::kLearned;
  c.model.latent_dim = 6;
  c.model.encoder_inputs = {"s"};
  c.model.kl_weight = 0.1;
  c.train.steps = 10'000'000'000;
  c.train.batch_size = 256;
  c.train.learning_rate = 3e-4;
  c.train.discount = 0.1 + 0.2;
  c.train.target_rate = 1e-8;
  c.train.score = false;
  c.train.conservative = false;
  c.train.conservative_threshold = -1.0 / 3.0;
  c.train.multiplier = MultiplierForm::kLog;
  c.train.multiplier_rate = 0;
  c.train.multiplier_initial = 0.25;
  c.train.td_updates_embedding = false;
  c.train.subtasks_per_batch = 1;
  c.train.reward_scale = 123456789.125;
  c.train.reward_shift = -1.0;
  c.train.log_every = 7;
  c.train.engine = StepEngineKind::kGraph;
  c.checkpoint = {0, 1};
  c.search.rules = {InferenceRuleKind::kGradAda, InferenceRuleKind::kBest};
  c.search.ascent_steps = 0;
  c.search.ascent_step_size = std::numeric_limits<double>::min();
  c.search.clip = false;
  c.search.normalise_gradient = true;
  c.search.keep_best_iterate = true;
  c.search.sample = true;
  c.search.starts = StartKind::kData;
  c.search.engine = AscentEngineKind::kAutograd;
  c.eval = {0, 3, {InferenceRuleKind::kGrad}, 11};
  return c;
}

// --- round trips ---

TEST(Config, DefaultsSurviveTheRoundTrip) {
  EXPECT_EQ(parse(to_yaml(Config{})), Config{});
  EXPECT_EQ(parse("{}"), Config{});
}

TEST(Config, EveryFieldSurvivesTheRoundTrip) {
  const Config config = changed_config();
  // the test is blind for a field that still has its default
  for (const Key& key : schema_keys()) {
    EXPECT_NE(key.write(config), key.write(Config{})) << key.path;
  }
  EXPECT_EQ(parse(to_yaml(config)), config);
  EXPECT_EQ(to_yaml(parse(to_yaml(config))), to_yaml(config));
}

TEST(Config, TextThatLooksLikeSomethingElseSurvives) {
  for (const char* text :
       {"null",  "123",  "1e5", "on", "~x", "- a", "[a]", "{a}", "a: b", "'x'",  "",
        " lead", "true", "&a",  "*a", "!x", "%x",  "@x",  "#x",  "a#b",  "a\\nb"}) {
    Config config;
    config.dataset = text;
    EXPECT_EQ(parse(to_yaml(config)).dataset, text);
  }
}

TEST(Config, YamlExplainsEveryKey) {
  const std::string yaml = to_yaml(Config{});
  for (const Key& key : schema_keys()) {
    const std::string indentation = section_of(key.path).empty() ? "" : "  ";
    EXPECT_THAT(yaml, HasSubstr(indentation + "# " + key.comment + " [" + key.allowed + "]\n" +
                                indentation + leaf_of(key.path) + ": "));
  }
  EXPECT_THAT(yaml, HasSubstr("reward_scale: auto\n"));
  EXPECT_THAT(yaml, HasSubstr("conservative: on\n"));
}

// other programs read config.yaml with readers of YAML 1.1, which know a float by its point
TEST(Config, NumbersAreReadableForOtherReaders) {
  Config config;
  config.train.target_rate = 1e-8;
  config.train.reward_scale = 1e-300;
  EXPECT_THAT(to_yaml(config), HasSubstr("target_rate: 1.0e-08\n"));
  EXPECT_THAT(to_yaml(config), HasSubstr("reward_scale: 1.0e-300\n"));
  EXPECT_EQ(parse(to_yaml(config)), config);
}

// --- values ---

TEST(Config, IntegersMayBeWrittenWithExponents) {
  EXPECT_EQ(parse("train: {steps: 1e6}").train.steps, 1000000);
  EXPECT_EQ(parse("train: {steps: 1.0e6}").train.steps, 1000000);
  EXPECT_EQ(parse("train: {steps: 2.5e3}").train.steps, 2500);
  EXPECT_EQ(parse("train: {steps: 1000000}").train.steps, 1000000);
  EXPECT_EQ(parse("train: {steps: +10}").train.steps, 10);
  EXPECT_EQ(parse("train: {steps: 10000000000}").train.steps, 10000000000);
  EXPECT_EQ(parse("seed: 9007199254740991").seed, 9007199254740991);
}

TEST(Config, TheEndsOfEveryRangeAreWhereTheyShouldBe) {
  const struct {
    const char* key;
    std::vector<const char*> good;
    std::vector<const char*> bad;
  } cases[] = {
      {"seed", {"0", "9007199254740991"}, {"-1", "9007199254740992", "9007199254740993", "1e300"}},
      {"threads", {"0", "4096"}, {"-1", "4097"}},
      {"decomposition.num_subtasks", {"1", "1e7"}, {"0", "10000001"}},
      {"decomposition.trajectories_per_subtask", {"1"}, {"0"}},
      {"model.embedding_dim", {"1", "4096"}, {"0", "4097"}},
      {"model.hidden_width", {"1", "65536"}, {"0", "65537"}},
      {"model.latent_dim", {"0", "4096"}, {"-1", "4097"}},
      {"model.kl_weight", {"0", "1e6"}, {"-0.1", "1.1e6"}},
      {"train.steps", {"0", "1e10"}, {"-1", "10000000001"}},
      {"train.batch_size", {"1", "1e6"}, {"0", "1000001"}},
      {"train.learning_rate", {"1e-9", "1"}, {"0", "-1e-3", "1.001"}},
      {"train.discount", {"0", "0.9999999"}, {"1", "1.5", "-0.1"}},
      {"train.target_rate", {"1e-9", "1"}, {"0", "1.01"}},
      {"train.conservative_threshold", {"-1e300", "0", "1e300"}, {"1e999", "-1e999"}},
      {"train.multiplier_rate", {"0", "1000"}, {"-1", "1000.5"}},
      {"train.multiplier_initial", {"auto", "0", "1e6"}, {"-1", "1.1e6", "Auto", "none"}},
      {"train.subtasks_per_batch", {"0", "1024"}, {"-1", "1025"}},
      {"train.reward_scale", {"auto", "1e-300", "1e9"}, {"0", "-1", "1.1e9"}},
      {"train.reward_shift", {"auto", "-1", "1"}, {"1e10"}},
      {"train.log_every", {"1"}, {"0"}},
      {"checkpoint.every", {"0", "1"}, {"-1"}},
      {"checkpoint.keep", {"1"}, {"0"}},
      {"search.ascent_steps", {"0", "1e6"}, {"-1", "1000001"}},
      {"search.ascent_step_size", {"1e-9"}, {"0", "-1"}},
      {"eval.every", {"0", "1"}, {"-1"}},
      {"eval.episodes", {"1"}, {"0"}},
      {"eval.seed", {"0"}, {"-1"}},
  };
  for (const auto& c : cases) {
    for (const char* value : c.good) {
      EXPECT_NO_THROW(parse("{}", {std::string(c.key) + "=" + value})) << c.key << " " << value;
    }
    for (const char* value : c.bad) {
      EXPECT_THROW(parse("{}", {std::string(c.key) + "=" + value}), UsageError)
          << c.key << " " << value;
    }
  }
}

TEST(Config, NoNumberIsTakenFromWhatIsNone) {
  for (const char* text : {"1_000", "0x10", "010", "0o7",   "1:30",  "1,5", "1.5.2",    "1e",
                           "e5",    "+",    "-",   "--1",   "++1",   "+-1", ".",        "1 2",
                           ".nan",  ".NaN", "nan", ".inf",  "-.inf", "inf", "Infinity", "1e999",
                           "true",  "auto", "one", "\"1\"", "'1'",   "1f",  "1#c"}) {
    EXPECT_THAT(yaml_error(std::string("train: {batch_size: ") + text + "}"),
                HasSubstr("c.yaml:1: "))
        << text;
    EXPECT_NE(yaml_error(std::string("train: {conservative_threshold: ") + text + "}"), "no error")
        << text;
  }
  EXPECT_EQ(parse("train: {conservative_threshold: -.5}").train.conservative_threshold, -0.5);
  EXPECT_EQ(parse("train: {conservative_threshold: 5.}").train.conservative_threshold, 5.0);
}

TEST(Config, SwitchesAreOnOffTrueFalseOnly) {
  EXPECT_TRUE(parse("train: {conservative: on}").train.conservative);
  EXPECT_TRUE(parse("train: {conservative: true}").train.conservative);
  EXPECT_FALSE(parse("train: {conservative: off}").train.conservative);
  EXPECT_FALSE(parse("train: {conservative: false}").train.conservative);
  for (const char* text : {"yes", "no", "y", "On", "TRUE", "1", "0", "\"on\"", "~"}) {
    EXPECT_THAT(yaml_error(std::string("train: {conservative: ") + text + "}"),
                HasSubstr("train.conservative: found "))
        << text;
  }
}

TEST(Config, NamesOfFoldersStayFolders) {
  for (const char* name : {"a", "drop-2.0_x", "7"})
    EXPECT_EQ(parse("{}", {std::string("name=") + name}).name, name);
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a b", "\"\"", "a\\b", "\xc3\xbc"}) {
    EXPECT_THROW(parse("{}", {std::string("name=") + name}), UsageError) << name;
  }
  EXPECT_THROW(parse("name: " + std::string(101, 'a')), UsageError);
  EXPECT_THROW(parse("dataset: \"a\\nb\""), UsageError);
  EXPECT_THROW(parse("dataset: " + std::string(5000, 'a')), UsageError);
  // what no file of ours could hold: half a character, as a path in Latin-1 has it
  EXPECT_THROW(parse("{}", {"dataset=/data/\xfc.hdf5"}), UsageError);
  for (const char* broken :
       {"\xc3", "\xed\xa0\x80", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80"}) {
    EXPECT_THROW(parse("{}", {std::string("dataset=/data/") + broken}), UsageError) << broken;
    EXPECT_THROW(parse(std::string("dataset: \"") + broken + "\""), UsageError) << broken;
  }
  EXPECT_EQ(parse("{}", {"dataset=/\xf0\x9f\x98\x80"}).dataset, "/\xf0\x9f\x98\x80");
}

// --- messages: file, line, key, found, allowed, cure ---

TEST(Config, ErrorsNameEverythingOnOneLine) {
  const struct {
    const char* yaml;
    std::vector<const char*> parts;
  } cases[] = {
      {"train:\n  discount: 1.5\n",
       {"c.yaml:2: train.discount: found 1.5; allowed: a number in [0, 1); the default is 0.99"}},
      {"train:\n  discout: 0.9\n",
       {"c.yaml:2: train.discout: found an unknown key", "did you mean train.discount?"}},
      {"trian:\n  discount: 0.9\n",
       {"c.yaml:1: trian: found an unknown key", "did you mean train?"}},
      {"steps: 5\n", {"c.yaml:1: steps: ", "did you mean train.steps or seeds?"}},
      {"train:\n  num_subtasks: 5\n", {"did you mean decomposition.num_subtasks?"}},
      {"search:\n  rule: best\n", {"search.rules?"}},
      {"train.steps: 5\n", {"write steps below the section 'train:'"}},
      {"zzzzzzzzzz: 5\n",
       {"c.yaml:1: zzzzzzzzzz: found an unknown key; allowed: name, task", "remove it"}},
      {"train:\n  steps: 5\n  steps: 6\n",
       {"c.yaml:3: found the key 'steps' again (first on line 2)"}},
      {"train:\n  steps: 5\ntrain:\n  discount: 0.5\n", {"c.yaml:3: found the key 'train' again"}},
      {"train: 5\n",
       {"c.yaml:1: train: found 5; allowed: a section with the keys steps, batch_size"}},
      {"train: [1]\n", {"c.yaml:1: train: found a list"}},
      {"train:\n  steps: 1.5\n",
       {"c.yaml:2: train.steps: found 1.5; allowed: an integer from 0 to 10000000000"}},
      {"train:\n  steps: [5]\n", {"train.steps: found a list"}},
      {"train:\n  steps: {a: 5}\n", {"train.steps: found a section"}},
      {"train:\n  steps:\n", {"train.steps: found nothing"}},
      {"train:\n  steps: \"5\"\n", {"train.steps: found the text \"5\""}},
      {"train:\n  target_rate: .nan\n", {"train.target_rate: found .nan"}},
      {"train:\n  conservative_threshold: .inf\n", {"found .inf; allowed: a finite number"}},
      {"train:\n  conservative: yes\n",
       {"found yes; allowed: on, off, true, false; the default is on"}},
      {"decomposition:\n  rule: rnak\n",
       {"found rnak; allowed: rank, quantization, random, trajectory; did you mean rank?"}},
      {"device: gpu\n", {"found gpu; allowed: auto, cpu, cuda; did you mean cpu?"}},
      {"search:\n  rules: best\n", {"search.rules: found best; allowed: a list", "write [best]"}},
      {"search:\n  rules: []\n", {"search.rules: found an empty list"}},
      {"search:\n  rules: [best, best]\n", {"found best twice in the list"}},
      {"search:\n  rules: [best, grda]\n", {"found grda in the list", "did you mean grad?"}},
      {"search:\n  rules: [[best]]\n", {"found a list in the list"}},
      {"seeds: [1, 2, -3]\n", {"seeds: found -3 in the list"}},
      {"seeds: [1, 1.0]\n", {"seeds: found 1.0 twice in the list"}},
      {"seeds: 3\n", {"seeds: found 3; allowed: a list", "write [3]"}},
      {"model:\n  encoder_inputs: [a]\n", {"found [a]; allowed: [s, a] or [s]"}},
      {"model:\n  encoder_inputs: [a, s]\n", {"found [a, s]; allowed: [s, a] or [s]"}},
      {"seed: 3\nseeds: [1, 2]\n",
       {"c.yaml:1: seed: found 3 beside seeds [1, 2]", "remove seed or seeds"}},
      {"train: {subtasks_per_batch: 65, batch_size: 64}\n",
       {"c.yaml:1: train.subtasks_per_batch: found 65; allowed: at most train.batch_size (64)"}},
      {"train: {multiplier: log, multiplier_initial: 0}\n",
       {"c.yaml:1: train.multiplier_initial: found 0", "write auto"}},
      {"task: ~\n", {"task: found nothing"}},
      {"# nothing\n", {"c.yaml: found an empty file"}},
      {"---\n", {"c.yaml: found no keys"}},
      {"- a\n", {"c.yaml:1: found a list; allowed: keys and values"}},
      {"just text\n", {"c.yaml:1: found just text; allowed: keys and values"}},
  };
  for (const auto& c : cases) {
    const std::string message = yaml_error(c.yaml);
    for (const char* part : c.parts) EXPECT_THAT(message, HasSubstr(part)) << c.yaml;
    EXPECT_THAT(message, HasSubstr("; allowed: ")) << c.yaml;
    EXPECT_THAT(message, Not(HasSubstr("\n"))) << c.yaml;
  }
}

TEST(Config, AnEmptySectionKeepsItsDefaults) {
  EXPECT_EQ(parse("train:\n  # steps: 5\nseed: 0\n"), Config{});
}

// --- overrides ---

TEST(Config, OverridesBeatTheFileAndLaterOnesEarlierOnes) {
  const Config config = parse("train:\n  steps: 5\n  discount: 0.5\n",
                              {"train.steps=6", " train.steps = 7 ", "model.embedding_dim=3"});
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.train.discount, 0.5);
  EXPECT_EQ(config.model.embedding_dim, 3);
}

TEST(Config, OverridesTakeListsTextAndAuto) {
  using Rules = std::vector<InferenceRuleKind>;
  const Rules expected = {InferenceRuleKind::kBest, InferenceRuleKind::kGrad};
  EXPECT_EQ(parse("{}", {"search.rules=[best,grad]"}).search.rules, expected);
  EXPECT_EQ(parse("{}", {"search.rules=[ best, grad ]"}).search.rules, expected);
  EXPECT_EQ(parse("{}", {"search.rules=best,grad"}).search.rules, expected);
  EXPECT_EQ(parse("{}", {"eval.rules=grad"}).eval.rules, Rules{InferenceRuleKind::kGrad});
  EXPECT_EQ(parse("{}", {"model.encoder_inputs=s"}).model.encoder_inputs,
            std::vector<std::string>{"s"});
  EXPECT_EQ(parse("{}", {"dataset=/a=b: c#d [x] {y}"}).dataset, "/a=b: c#d [x] {y}");
  EXPECT_EQ(parse("{}", {"dataset=[odd].hdf5"}).dataset, "[odd].hdf5");
  EXPECT_EQ(parse("{}", {"dataset=\"in quotes\""}).dataset, "in quotes");
  EXPECT_EQ(parse("task: hopper", {"task="}).task, "");
  EXPECT_EQ(parse("train: {reward_scale: 2}", {"train.reward_scale=auto"}).train.reward_scale,
            std::nullopt);
}

TEST(Config, OverridesAreCheckedLikeTheFile) {
  const struct {
    const char* text;
    std::vector<const char*> parts;
  } cases[] = {
      {"train.discount=1.5",
       {"--set train.discount=1.5: train.discount: found 1.5; allowed: a number in [0, 1)"}},
      {"train.discout=0.5", {"found an unknown key", "did you mean train.discount?"}},
      {"trian.discount=0.5", {"found an unknown key", "did you mean train.discount?"}},
      {"discount=0.5", {"did you mean train.discount"}},
      {"a.b.c=1", {"a.b.c: found an unknown key"}},
      {"train=1", {"train: found a section", "write train.KEY=value"}},
      {"train.steps", {"--set train.steps: found no '='", "train.steps=1000"}},
      {"", {"found no '='"}},
      {"=5", {"found an unknown key"}},
      {".=5", {"found an unknown key"}},
      {".steps=5", {"found an unknown key", "train.steps"}},
      {"train.steps=", {"found the text \"\""}},
      {"train.steps=[5]", {"found a list"}},
      {"train.steps={a: 5}", {"found {a: 5}"}},
      {"train.steps=\"5\"", {"found the text \"5\""}},
      {"search.rules=", {"found an empty list"}},
      {"search.rules=best,best", {"found best twice"}},
      {"search.rules=[best",
       {"--set search.rules=[best: search.rules: found a list without its end"}},
      {"search.rules=[best]]", {"found what is no YAML"}},
      {"dataset=\"open", {"found what is no YAML"}},
      {"search.rules=[best]\n---\n[grad]", {"found a second document"}},
      {"seeds=[1,2,1]", {"found 1 twice"}},
      {"train.batch_size=nan", {"found nan"}},
  };
  for (const auto& c : cases) {
    const std::string message = yaml_error("{}", {c.text});
    EXPECT_THAT(message, StartsWith("--set "));
    for (const char* part : c.parts) EXPECT_THAT(message, HasSubstr(part)) << c.text;
    EXPECT_THAT(message, Not(HasSubstr("\n"))) << c.text;
  }
}

TEST(Config, SeedAndSeedsSayWhichRunsThereAre) {
  using Seeds = std::vector<int64_t>;
  // seeds alone: the first of them is the seed
  EXPECT_EQ(parse("seeds: [4, 5]").seed, 4);
  // the later override decides
  EXPECT_EQ(parse("seeds: [4, 5]", {"seed=3"}).seeds, Seeds{});
  EXPECT_EQ(parse("seeds: [4, 5]", {"seed=3"}).seed, 3);
  EXPECT_EQ(parse("seed: 3", {"seeds=[4,5]"}).seeds, (Seeds{4, 5}));
  EXPECT_EQ(parse("seed: 3", {"seeds=[4,5]"}).seed, 4);
  EXPECT_EQ(parse("seed: 3", {"seeds=4,5", "seed=6"}).seeds, Seeds{});
  EXPECT_EQ(parse("seed: 3", {"seed=6", "seeds=4,5"}).seed, 4);
  EXPECT_EQ(parse("seeds: [4, 5]", {"seeds="}).seeds, Seeds{});
  // a resolved config holds both, and they agree
  EXPECT_EQ(parse("seed: 5\nseeds: [4, 5]").seed, 5);
  EXPECT_EQ(parse("seed: 5\nseeds: []").seed, 5);
  // a contradiction in the file is cured by an override
  EXPECT_THROW(parse("seed: 3\nseeds: [4, 5]"), UsageError);
  EXPECT_EQ(parse("seed: 3\nseeds: [4, 5]", {"seed=9"}).seed, 9);
}

// --- files ---

TEST(Config, LoadsAFile) {
  testing::TemporaryFolder folder;
  std::ofstream(folder.file("a.yaml")) << "train:\n  steps: 12\n";
  EXPECT_EQ(load_config(folder.file("a.yaml")).train.steps, 12);
  EXPECT_EQ(load_config(folder.file("a.yaml"), {"train.steps=13"}).train.steps, 13);
}

TEST(Config, UnusableFilesAreWrongUsage) {
  testing::TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { load_config(folder.file("missing.yaml")); }),
              HasSubstr("missing.yaml: found no such file"));
  EXPECT_THAT(error_of([&] { load_config(folder.path().string()); }),
              HasSubstr("found no regular file"));
  EXPECT_THAT(error_of([&] { load_config(""); }), HasSubstr("found no such file"));
  std::ofstream(folder.file("empty.yaml"));
  EXPECT_THAT(error_of([&] { load_config(folder.file("empty.yaml")); }),
              HasSubstr("empty.yaml: found an empty file"));
  // one byte beyond the limit
  std::ofstream(folder.file("big.yaml")) << "{} #" << std::string(1024 * 1024 - 3, 'x');
  EXPECT_THAT(error_of([&] { load_config(folder.file("big.yaml")); }),
              HasSubstr("allowed: a config of at most 1.0 MiB"));
  std::ofstream(folder.file("fits.yaml")) << "{} #" << std::string(1024 * 1024 - 4, 'x');
  EXPECT_EQ(load_config(folder.file("fits.yaml")), Config{});
}

// whatever is done to a config, reading it gives a config or a UsageError on one line
TEST(Config, DamagedTextIsRefusedOrRead) {
  const std::string original = to_yaml(changed_config());
  const std::string alphabet = "\n\t :-[]{},#&*!|>'\"%@`?=0a.\\\x80\xff\x01~<";
  std::mt19937 random(20240229);
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string text = original;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int change = 0; change < changes && !text.empty(); ++change) {
      const size_t position = random() % text.size();
      const char character = alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0:
          text[position] = character;
          break;
        case 1:
          text.insert(position, 1, character);
          break;
        case 2:
          text.erase(position, 1 + random() % 20);
          break;
        default:
          text.resize(position);
      }
    }
    try {
      const Config config = parse(text);
      EXPECT_EQ(parse(to_yaml(config)), config) << text;
    } catch (const UsageError& error) {
      ++refused;
      EXPECT_THAT(error.what(), Not(HasSubstr("\n"))) << text;
    }
  }
  EXPECT_GT(refused, 150);
  EXPECT_LT(refused, 1495);
}

// --- names ---

TEST(Names, AreThoseOfTheConfig) {
  EXPECT_EQ(to_string(InferenceRuleKind::kBestAda), "best-ada");
  EXPECT_EQ(to_string(DecompositionKind::kTrajectory), "trajectory");
  EXPECT_EQ(to_string(MultiplierForm::kProjected), "projected");
  EXPECT_EQ(to_string(Device::kCuda), "cuda");
  EXPECT_EQ(to_string(Precision::kTf32), "tf32");
  EXPECT_EQ(to_string(Physics::kD4rl), "d4rl");
  EXPECT_EQ(to_string(StepEngineKind::kFused), "fused");
  EXPECT_EQ(to_string(AscentEngineKind::kAutograd), "autograd");
  for (const char* name : {"best", "grad", "best-ada", "grad-ada"}) {
    EXPECT_EQ(to_string(inference_rule_from(name)), name);
  }
  for (const char* name : {"auto", "cpu", "cuda"}) EXPECT_EQ(to_string(device_from(name)), name);
  for (const char* name : {"d4rl", "modern"}) EXPECT_EQ(to_string(physics_from(name)), name);
  for (const char* name : {"rank", "quantization", "random", "trajectory"}) {
    EXPECT_EQ(to_string(decomposition_from(name)), name);
  }
}

TEST(Names, UnknownOnesAreWrongUsage) {
  EXPECT_THAT(error_of([] { inference_rule_from("best_ada"); }),
              HasSubstr("found 'best_ada'; allowed: best, grad, best-ada, grad-ada; did you mean "
                        "best-ada?"));
  EXPECT_THAT(error_of([] { device_from("gpu"); }), HasSubstr("allowed: auto, cpu, cuda"));
  EXPECT_THAT(error_of([] { physics_from(""); }), HasSubstr("allowed: d4rl, modern"));
  EXPECT_THAT(error_of([] { decomposition_from("Rank"); }), HasSubstr("did you mean rank?"));
}

TEST(Names, RuleListsAreCommaSeparated) {
  using Rules = std::vector<InferenceRuleKind>;
  EXPECT_EQ(inference_rules_from("best"), Rules{InferenceRuleKind::kBest});
  EXPECT_EQ(inference_rules_from("grad-ada, best"),
            (Rules{InferenceRuleKind::kGradAda, InferenceRuleKind::kBest}));
  EXPECT_THAT(error_of([] { inference_rules_from("best,best"); }), HasSubstr("'best' twice"));
  EXPECT_THAT(error_of([] { inference_rules_from(""); }), HasSubstr("an empty list"));
  EXPECT_THAT(error_of([] { inference_rules_from(" , "); }), HasSubstr("an empty list"));
  EXPECT_THAT(error_of([] { inference_rules_from("best,bets"); }), HasSubstr("found 'bets'"));
}

}  // namespace
}  // namespace drop
