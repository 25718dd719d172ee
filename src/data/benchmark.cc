#include "drop/data/benchmark.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>
#include <utility>

#include "data/stored_array.h"
#include "drop/base/error.h"
#include "drop/base/random.h"
#include "drop/base/sha256.h"
#include "drop/base/system_report.h"
#include "drop/base/timing.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/sampler.h"

namespace drop {

namespace {

constexpr int64_t kSubtasks = 100;  // Table 9's N of many data sets
constexpr int64_t kDraws = 100;     // in one timing: a single batch is too short for the clock

// a folder of this run, gone with it
class ScratchFolder {
 public:
  ScratchFolder() {
    std::error_code error;
    std::string name = (std::filesystem::temp_directory_path(error) / "drop_bench_XXXXXX").string();
    if (error || ::mkdtemp(name.data()) == nullptr) {
      throw RunError(name + ": no folder can be made there; set TMPDIR to one with room");
    }
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// smooth states with noise, noisy actions: about as hard to pack as D4RL's Hopper
void write_data(const std::string& path, int64_t rows) {
  constexpr int64_t kStateDim = 11, kActionDim = 3, kEpisode = 1000;
  D4rlWriter writer(path, kStateDim, kActionDim);
  RandomStream stream(1, "generate");
  std::vector<double> state(kStateDim), action(kActionDim);
  for (int64_t row = 0; row < rows; ++row) {
    const auto t = 0.05 * static_cast<double>(row % kEpisode);
    for (size_t i = 0; i < state.size(); ++i) {
      state[i] = std::sin(t * static_cast<double>(i + 1)) + stream.uniform(-0.1, 0.1);
    }
    for (double& value : action) value = stream.uniform(-1.0, 1.0);
    const bool end = row % kEpisode == kEpisode - 1;
    writer.append(state, action, 2.0 + state[0], end && row / kEpisode % 2 == 0, end);
  }
  writer.close();
}

// reads, unpacks and hashes what read_d4rl_file needs, and keeps nothing; returns the bytes
// unpacked
int64_t load_bare(const std::string& path, int64_t threads) {
  std::future<std::string> sha256 =
      std::async(threads > 1 ? std::launch::async : std::launch::deferred,
                 [&] { return sha256_of_file(path); });
  const Hdf5Handle file = open_hdf5_file(path);
  std::vector<Hdf5ArrayReader> arrays;
  for (const char* name : {"observations", "actions", "rewards", "terminals", "timeouts"}) {
    if (has_hdf5_link(file, name)) arrays.push_back(open_hdf5_array(file, path, name));
  }
  std::vector<ArrayTarget> targets;
  int64_t bytes = 0;
  for (const Hdf5ArrayReader& array : arrays) {
    targets.push_back({&array, find_stored_array(file, array), {}});
    bytes += array.rows() * array.row_size() * array.element_bytes;
  }
  read_hdf5_arrays(path, targets, threads);
  sha256.get();
  return bytes;
}

// the best trajectories first, as rule `rank` does, in sub-tasks of one size
Sampler make_sampler(TrajectoryDataset dataset, int64_t batch_size) {
  const std::vector<Trajectory> trajectories = dataset.usable_trajectories(true);
  std::vector<double> returns;
  std::vector<int64_t> transitions;
  for (const Trajectory& trajectory : trajectories) {
    returns.push_back(trajectory.return_sum);
    transitions.push_back(trajectory.transitions());
  }
  DecompositionConfig config;
  config.num_subtasks = kSubtasks;
  config.trajectories_per_subtask = static_cast<int64_t>(trajectories.size()) / kSubtasks + 1;
  const Decomposition decomposition = decompose(config, returns, transitions, 0);
  const Normaliser normaliser = fit_normaliser(dataset.observations, dataset.state_dim);
  return {std::move(dataset), trajectories, decomposition, normaliser, {},
          {batch_size, 0, 0}, at::kCPU};
}

}  // namespace

DataBenchmark benchmark_data(const DataBenchmarkOptions& options) {
  DataBenchmark result;
  result.path = options.path;
  std::optional<ScratchFolder> folder;
  std::string path = options.path;
  if (path.empty()) {
    folder.emplace();
    path = folder->file("hopper-made.hdf5");
    write_data(path, options.rows);
  }
  const DatasetSource source = find_dataset(path);
  result.threads = options.threads > 0 ? options.threads : available_cores();
  result.batch_size = options.batch_size;
  const ReadOptions reading = {.threads = result.threads};

  // warm up: the file into the page cache
  TrajectoryDataset dataset = read_d4rl_file(source, reading);
  result.file_bytes = static_cast<int64_t>(std::filesystem::file_size(source.path));
  result.rows = dataset.rows;
  result.state_dim = dataset.state_dim;
  result.action_dim = dataset.action_dim;

  // in turns, so that a busy machine slows both
  for (int64_t repetition = 0; repetition < options.repetitions; ++repetition) {
    dataset = {};
    result.load_s.push_back(seconds_of([&] { dataset = read_d4rl_file(source, reading); }));
    result.load_bare_s.push_back(
        seconds_of([&] { result.inflated_bytes = load_bare(source.path, result.threads); }));
  }

  // batches, and as many bytes copied in one piece
  const auto rows = static_cast<size_t>(options.batch_size);
  const auto state_dim = static_cast<size_t>(dataset.state_dim);
  const auto action_dim = static_cast<size_t>(dataset.action_dim);
  const size_t floats = rows * (2 * state_dim + 2 * action_dim + 2);
  result.batch_bytes = static_cast<int64_t>(floats * sizeof(float) + rows * sizeof(int64_t));
  const Sampler sampler = make_sampler(std::move(dataset), options.batch_size);
  std::vector<float> memory(floats);
  std::vector<int64_t> subtasks(rows);
  RawBatch batch;
  batch.states = memory.data();
  batch.next_states = batch.states + rows * state_dim;
  batch.actions = batch.next_states + rows * state_dim;
  batch.next_actions = batch.actions + rows * action_dim;
  batch.rewards = batch.next_actions + rows * action_dim;
  batch.terminals = batch.rewards + rows;
  batch.subtasks = subtasks.data();
  std::vector<std::byte> from(static_cast<size_t>(result.batch_bytes)), to(from.size());
  int64_t step = 0;
  const auto draw = [&] {
    for (int64_t i = 0; i < kDraws; ++i) sampler.draw_into(step++, batch);
  };
  draw();
  for (int64_t repetition = 0; repetition < options.repetitions; ++repetition) {
    result.draw_s.push_back(seconds_of(draw) / static_cast<double>(kDraws));
    result.copy_s.push_back(seconds_of([&] {
                              for (int64_t i = 0; i < kDraws; ++i) {
                                std::memcpy(to.data(), from.data(), to.size());
                                asm volatile("" : : "r"(to.data()) : "memory");  // keep every copy
                              }
                            }) /
                            static_cast<double>(kDraws));
  }
  return result;
}

}  // namespace drop
