// A checkpoint and its training half, damaged in every way that a disk, a copy or a mix-up can:
// always refused with a DataError (exit status 3) of one line that names the file, never taken and
// never another error; and the run goes on from the pair before. Both hashes guard all bytes of
// these files, so there is no damage that may pass. The parser is called on bytes in memory, which
// is what makes this many cases possible; damage that only the next layers can know (another
// version, other data, another seed, the two halves swapped) goes through files.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/random.h"
#include "drop/log/logging.h"
#include "drop/nn/checkpoint.h"
#include "drop/nn/safetensors.h"
#include "drop/train/run_folder.h"
#include "drop/train/trainer.h"
#include "drop/train/training_file.h"
#include "support/models.h"
#include "support/paths.h"
#include "support/safetensors_repair.h"
#include "train/made_data.h"

namespace drop {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int64_t kOlder = 10;
constexpr int64_t kNewer = 20;
constexpr uint64_t kSeed = 5;
constexpr size_t kBlock = 512;
constexpr int kRandomFlips = 1000;
const std::string kDataHash(64, 'b');
const std::string kOtherHash(64, 'c');

// without what makes the atomic writer safe, and slow
void put(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

// empty when `read` refuses as it must; else what it did instead
template <class Read>
std::string fault_of(const std::string& file, const Read& read) {
  try {
    read();
  } catch (const DataError& error) {
    const std::string message = error.what();
    if (message.find(file) == std::string::npos) return "the file is not named: " + message;
    if (message.find('\n') != std::string::npos) return "several lines: " + message;
    return "";
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
  return "accepted";
}

class Corruption : public ::testing::Test {
 protected:
  Corruption() : run_(folder_.path() / "run") {
    configure_logging("error", /*quiet=*/true);
    origin_.config.model.hidden_width = testing::made_shape().hidden_width;
    origin_.config.model.embedding_dim = testing::made_shape().embedding_dim;
    origin_.dataset_sha256 = kDataHash;
    save(kOlder, kSeed);
    save(kNewer, kSeed);
    checkpoint_ = read_file(run_.checkpoint(kNewer));
    training_ = read_file(run_.training_file(kNewer));
  }

  TrainState fresh(uint64_t seed = kSeed) const {
    return TrainState(testing::made_shape(), train_, 0.1, seed, at::TensorOptions(at::kFloat));
  }

  // a pair whose parameters tell its step
  void save(int64_t step, uint64_t seed) {
    TrainState state = fresh(seed);
    state.step = step;
    state.model.parameters().flat().add_(1e-3 * static_cast<double>(step));
    origin_.step = step;
    const std::vector<std::byte> bytes = serialise_checkpoint(
        run_.checkpoint(step), origin_, state.model, state.model.task_embedding().embeddings(), 0.5,
        {{0.0f, 0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f, 1.0f}},
        testing::uniform({4, 4}, 1).to(at::kFloat));
    save_training_pair(run_.checkpoint(step), bytes, run_.training_file(step), state);
  }

  // the newest pair, as it was written
  void restore() const {
    for (const std::filesystem::path& file : {run_.checkpoint(kNewer), run_.training_file(kNewer)})
      std::filesystem::remove(file.string() + ".bad");
    put(run_.checkpoint(kNewer), checkpoint_);
    put(run_.training_file(kNewer), training_);
  }

  // changes a file behind its hashes, which are right afterwards
  static void rewrite(const std::filesystem::path& path,
                      const std::function<void(SafetensorsFile&)>& change) {
    SafetensorsFile file = parse_safetensors(read_file(path), path.string());
    change(file);
    put(path, serialise_safetensors(file));
  }

  testing::TemporaryFolder folder_;
  RunFolder run_;
  TrainConfig train_;
  ModelOrigin origin_;
  Bytes checkpoint_, training_;
};

// every case of damage to one file in memory; returns how many there were
int64_t try_all_damage(const std::string& name, Bytes bytes) {
  int64_t cases = 0;
  int64_t wrong = 0;
  const auto expect_refused = [&](std::span<const std::byte> damaged, const auto& describe) {
    const std::string fault = fault_of(name, [&] { parse_safetensors(damaged, name); });
    ++cases;
    // the first few tell enough
    if (!fault.empty() && ++wrong <= 5)
      ADD_FAILURE() << name << ", " << describe() << ": " << fault;
  };
  const auto flip = [&](size_t place, int bit) {
    const auto mask = static_cast<std::byte>(1 << bit);
    bytes[place] ^= mask;
    expect_refused(bytes, [&] {
      return "byte " + std::to_string(place) + " bit " + std::to_string(bit) + " flipped";
    });
    bytes[place] ^= mask;
  };
  const auto cut = [&](size_t size) {
    expect_refused(std::span(bytes).first(size),
                   [&] { return "cut to " + std::to_string(size) + " bytes"; });
  };

  // intact it is taken: what follows is refused for its damage
  const SafetensorsFile intact = parse_safetensors(bytes, name);
  const size_t header = 8 + testing::header_length(bytes);
  for (size_t place = 0; place < header; ++place) {
    for (int bit = 0; bit < 8; ++bit) flip(place, bit);
  }
  RandomStream stream(1, "test");
  for (int i = 0; i < kRandomFlips; ++i) {
    const size_t place = header + stream.below(bytes.size() - header);
    flip(place, static_cast<int>(stream.below(8)));
  }

  // cut at every block, beginning with the empty file, and where header and tensors end
  std::set<size_t> sizes;
  for (size_t size = 0; size < bytes.size(); size += kBlock) sizes.insert(size);
  size_t end = header;
  sizes.insert(end);
  for (const auto& [tensor_name, tensor] : intact.tensors) {
    end += tensor.nbytes();
    if (end < bytes.size()) sizes.insert(end);
  }
  for (const size_t size : sizes) cut(size);

  // longer than it was
  bytes.push_back(std::byte{0});
  expect_refused(bytes, [] { return std::string("a byte too many"); });
  EXPECT_EQ(wrong, 0);
  return cases;
}

TEST_F(Corruption, NoDamageOfTheBytesPasses) {
  const int64_t of_checkpoint = try_all_damage("step.safetensors", checkpoint_);
  const int64_t of_training = try_all_damage("step.training.safetensors", training_);
  RecordProperty("checkpoint_cases", static_cast<int>(of_checkpoint));
  RecordProperty("training_half_cases", static_cast<int>(of_training));
  EXPECT_GT(of_checkpoint + of_training, 20000);
}

TEST_F(Corruption, TheRunGoesOnFromThePairBefore) {
  using File = std::filesystem::path;
  const File newest = run_.checkpoint(kNewer);
  const File half = run_.training_file(kNewer);
  std::vector<std::pair<std::string, std::function<void()>>> cases;
  RandomStream stream(2, "test");
  for (const auto& [file, bytes] : {std::pair<File, const Bytes*>{newest, &checkpoint_},
                                    std::pair<File, const Bytes*>{half, &training_}}) {
    const std::string name = file.filename().string();
    const auto damage = [&cases, path = file](const std::string& what, const Bytes& content) {
      cases.emplace_back(what, [path, content] { put(path, content); });
    };
    // flips in the length word, the header and the data
    const size_t header = 8 + testing::header_length(*bytes);
    for (int i = 0; i < 30; ++i) {
      const size_t place = i < 8    ? static_cast<size_t>(i)
                           : i < 20 ? stream.below(header)
                                    : header + stream.below(bytes->size() - header);
      Bytes flipped = *bytes;
      flipped[place] ^= static_cast<std::byte>(1 << stream.below(8));
      damage(name + ": byte " + std::to_string(place), flipped);
    }
    for (size_t size = 0; size < bytes->size(); size += 8 * kBlock) {
      damage(name + ": cut to " + std::to_string(size),
             Bytes(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(size)));
    }
    // whole and well hashed, but not what belongs here
    const auto change = [&cases, path = file](const std::string& what,
                                              const std::function<void(SafetensorsFile&)>& edit) {
      cases.emplace_back(what, [path, edit] { rewrite(path, edit); });
    };
    change(name + ": a newer version",
           [](SafetensorsFile& f) { f.metadata["format_version"] = "2"; });
    change(name + ": no version", [](SafetensorsFile& f) { f.metadata.erase("format_version"); });
    change(name + ": a tensor left out", [](SafetensorsFile& f) { f.tensors.pop_back(); });
    cases.emplace_back(name + ": missing", [path = file] { std::filesystem::remove(path); });
  }
  cases.emplace_back("a half of another checkpoint", [&] {
    rewrite(half, [](SafetensorsFile& f) { f.metadata["checkpoint_payload_sha256"] = kOtherHash; });
  });
  cases.emplace_back("the halves swapped", [&] {
    put(newest, training_);
    put(half, checkpoint_);
  });
  cases.emplace_back("a pair of another seed", [&] { save(kNewer, kSeed + 1); });
  cases.emplace_back("a pair of other data", [&] {
    origin_.dataset_sha256 = kOtherHash;
    save(kNewer, kSeed);
    origin_.dataset_sha256 = kDataHash;
  });
  cases.emplace_back("a pair of an earlier step", [&] {
    for (const auto& [from, to] : {std::pair(run_.checkpoint(kOlder), newest),
                                   std::pair(run_.training_file(kOlder), half)}) {
      put(to, read_file(from));
      if (to == newest) rewrite(to, [](SafetensorsFile& f) { f.metadata["step"] = "20"; });
    }
  });
  cases.emplace_back("networks of other sizes", [&] {
    rewrite(newest, [](SafetensorsFile& f) {
      f.metadata["config"] = "model: {hidden_width: 32, embedding_dim: 2}\n";
    });
  });

  TrainState older = fresh();
  load_training_pair(run_.checkpoint(kOlder), run_.training_file(kOlder), older, kDataHash);
  for (const auto& [what, damage] : cases) {
    SCOPED_TRACE(what);
    restore();
    damage();
    // refused by itself, and nothing is changed by that
    TrainState state = fresh();
    const at::Tensor before = state.model.parameters().flat().clone();
    EXPECT_EQ(
        fault_of("step_000000020", [&] { load_training_pair(newest, half, state, kDataHash); }),
        "");
    EXPECT_TRUE(state.model.parameters().flat().equal(before));
    EXPECT_EQ(state.step, 0);
    // the run goes on from the pair before, and this one is set aside
    ASSERT_TRUE(resume_newest(run_, state, origin_.config, kDataHash));
    EXPECT_EQ(state.step, kOlder);
    EXPECT_TRUE(state.model.parameters().flat().equal(older.model.parameters().flat()));
    EXPECT_EQ(checkpoint_steps(run_.path()), std::vector<int64_t>{kOlder});
  }
  restore();
  TrainState state = fresh();
  ASSERT_TRUE(resume_newest(run_, state, origin_.config, kDataHash));
  EXPECT_EQ(state.step, kNewer);
  RecordProperty("resume_cases", static_cast<int>(cases.size()));
  EXPECT_GT(cases.size(), 60u);
}

// good in itself, and still not the run's own
TEST_F(Corruption, APairUnderAnothersNameOrOfAnotherRunIsSetAside) {
  const auto expect_older = [&](const char* told) {
    TrainState state = fresh();
    ASSERT_TRUE(resume_newest(run_, state, origin_.config, kDataHash));
    EXPECT_EQ(state.step, kOlder);
    EXPECT_EQ(checkpoint_steps(run_.path()), std::vector<int64_t>{kOlder}) << told;
    restore();
  };
  // the older pair in the newer one's place
  put(run_.checkpoint(kNewer), read_file(run_.checkpoint(kOlder)));
  put(run_.training_file(kNewer), read_file(run_.training_file(kOlder)));
  expect_older("an older pair");
  // pairs exchanged: both are wrong, and none is left to go on from
  const Bytes older = read_file(run_.checkpoint(kOlder));
  const Bytes older_half = read_file(run_.training_file(kOlder));
  put(run_.checkpoint(kNewer), older);
  put(run_.training_file(kNewer), older_half);
  put(run_.checkpoint(kOlder), checkpoint_);
  put(run_.training_file(kOlder), training_);
  TrainState state = fresh();
  EXPECT_EQ(
      fault_of("step_000000020", [&] { resume_newest(run_, state, origin_.config, kDataHash); }),
      "");
  put(run_.checkpoint(kOlder), older);
  put(run_.training_file(kOlder), older_half);
  restore();
  // same data, seed and sizes; another task, another loss
  for (const bool other_task : {true, false}) {
    const Config own = origin_.config;
    if (other_task)
      origin_.config.task = "hopper";
    else
      origin_.config.train.conservative = !own.train.conservative;
    save(kNewer, kSeed);
    origin_.config = own;
    expect_older(other_task ? "another task" : "another loss");
  }
  // what may change in a run may differ in its checkpoints
  origin_.config.train.steps += 1;
  origin_.config.device = Device::kCpu;
  TrainState again = fresh();
  ASSERT_TRUE(resume_newest(run_, again, origin_.config, kDataHash));
  EXPECT_EQ(again.step, kNewer);
}

}  // namespace
}  // namespace drop
