#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "drop/base/files.h"
#include "drop/base/sha256.h"
#include "support/paths.h"
#include "support/process.h"

/// What the tests of the programs share: a small data set, a small config, and ways to look at a
/// run's folder that share no code with the programs.
namespace drop::testing {

using Json = nlohmann::ordered_json;

/// Words of a command line; + puts two lists together.
struct Arguments : std::vector<std::string> {
  using std::vector<std::string>::vector;
  friend Arguments operator+(Arguments left, const Arguments& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
  }
};

/// Arguments of a program of this build, ready to run.
inline Arguments program(const std::string& name, const Arguments& arguments = {}) {
  return Arguments{std::string(DROP_BIN_DIR) + "/" + name} + arguments;
}

inline ProcessResult run_program(const std::string& name, const Arguments& arguments,
                                 ProcessOptions options = {}) {
  return run_process(program(name, arguments), std::move(options));
}

/// The optional Python with the project's packages; false when it is not installed.
inline bool has_python() {
  return std::filesystem::exists(DROP_PYTHON) &&
         run_process({DROP_PYTHON, "-c", "import h5py, numpy, safetensors, yaml"}).status == 0;
}

// ---- what a program said ------------------------------------------------------------------------

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// A refusal: this exit status, nothing on standard output, one line on standard error that begins
/// with "PROGRAM: error: " and holds all of `parts`.
inline void expect_refusal(const ProcessResult& result, const std::string& program, int status,
                           const Arguments& parts = {}) {
  EXPECT_EQ(result.status, status);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_THAT(result.err, ::testing::StartsWith(program + ": error: "));
  for (const std::string& part : parts) EXPECT_THAT(result.err, ::testing::HasSubstr(part));
}

inline void expect_done(const ProcessResult& result) {
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.signal, 0) << result.err;
  EXPECT_FALSE(result.timed_out);
}

// ---- data and config ----------------------------------------------------------------------------

/// 3000 rows of Maze2D with dense rewards, made once for each test process.
inline std::string maze_data() {
  static const TemporaryFolder folder;
  static const std::string path = [] {
    const std::string file = folder.file("maze.hdf5");
    expect_done(run_program("drop_data", {"generate", "--task", "maze2d-umaze-dense", "--steps",
                                          "3000", "--out", file, "--quiet"}));
    return file;
  }();
  return path;
}

/// Small enough for hundreds of steps a second; the constraint is active and its multiplier moves.
inline std::string small_config(const std::string& dataset) {
  return R"(name: apps
task: maze2d-umaze-dense
dataset: ")" +
         dataset + R"("
device: cpu
threads: 1
decomposition: {num_subtasks: 4, trajectories_per_subtask: 3}
model: {hidden_width: 16}
train:
  steps: 60
  batch_size: 16
  conservative_threshold: -5
  multiplier_rate: 0.1
  log_every: 10
checkpoint: {every: 20, keep: 3}
search: {ascent_steps: 20}
eval: {every: 0, episodes: 2}
)";
}

// ---- a run's folder -----------------------------------------------------------------------------

inline std::string step_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%09lld", static_cast<long long>(step));
  return name;
}
inline std::string checkpoint_of(const std::string& run, int64_t step) {
  return run + "/checkpoints/" + step_name(step) + ".safetensors";
}
inline std::string training_file_of(const std::string& run, int64_t step) {
  return run + "/checkpoints/" + step_name(step) + ".training.safetensors";
}

inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The step of the newest complete checkpoint pair, or -1.
inline int64_t newest_step(const std::string& run) {
  int64_t newest = -1;
  // the training half is written first
  for (const std::string& name : names_in(run + "/checkpoints")) {
    if (name.ends_with(".safetensors") && !name.ends_with(".training.safetensors"))
      newest = std::stoll(name.substr(5, 9));
  }
  return newest;
}

inline Json json_of(const std::string& file) {
  const Json json = Json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(json.is_discarded()) << file;
  return json;
}

/// A safetensors file in its parts; `write` makes both hashes right again after a change.
struct TensorFile {
  Json header;
  std::string payload;

  static TensorFile read(const std::string& file) {
    const std::string bytes = read_text_file(file);
    uint64_t length = 0;
    for (size_t i = 0; i < 8; ++i) {
      length |= uint64_t{static_cast<unsigned char>(bytes.at(i))} << (8 * i);
    }
    return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }

  void write(const std::string& file) {
    const auto hash = [](const std::string& text) {
      return sha256_hex(std::as_bytes(std::span(text)));
    };
    Json& metadata = header["__metadata__"];
    metadata["payload_sha256"] = hash(payload);
    metadata["header_sha256"] = std::string(64, '0');
    std::string head = head_text();
    metadata["header_sha256"] = hash(head);
    write_file_atomically(file, head_text() + payload);
  }

  /// Floats of one tensor.
  std::vector<float> values(const std::string& name) const {
    const auto [begin, end] = header.at(name).at("data_offsets").get<std::pair<size_t, size_t>>();
    std::vector<float> result((end - begin) / sizeof(float));
    std::copy_n(payload.data() + begin, end - begin, reinterpret_cast<char*>(result.data()));
    return result;
  }
  void set_value(const std::string& name, size_t index, float value) {
    const size_t begin = header.at(name).at("data_offsets").at(0);
    const auto* bytes = reinterpret_cast<const char*>(&value);
    std::copy_n(bytes, sizeof value, payload.data() + begin + index * sizeof value);
  }
  std::string metadata(const std::string& key) const {
    return header.at("__metadata__").at(key).get<std::string>();
  }

 private:
  std::string head_text() const {
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    std::string length;
    for (size_t i = 0; i < 8; ++i) length += static_cast<char>((text.size() >> (8 * i)) & 0xff);
    return length + text;
  }
};

/// Hash of the data part of a checkpoint or training file: all weights, moments and counters.
inline std::string data_hash(const std::string& file) {
  if (!std::filesystem::exists(file)) return file + " is missing";
  const std::string payload = TensorFile::read(file).payload;
  return sha256_hex(std::as_bytes(std::span(payload)));
}

/// Two runs hold the same state at a step, bit for bit.
inline void expect_same_state(const std::string& run, const std::string& other, int64_t step) {
  EXPECT_EQ(data_hash(checkpoint_of(run, step)), data_hash(checkpoint_of(other, step)));
  EXPECT_EQ(data_hash(training_file_of(run, step)), data_hash(training_file_of(other, step)));
}

struct MetricRow {
  int64_t step = 0;
  double wall_time_s = 0.0;
  std::string name;
  std::string value;

  /// Wall time and speed differ between runs that are the same.
  std::string repeatable() const {
    return name.starts_with("speed/") ? "" : std::to_string(step) + " " + name + " " + value;
  }
};

inline std::vector<MetricRow> metrics_of(const std::string& run) {
  std::vector<MetricRow> rows;
  const std::vector<std::string> lines = lines_of(read_text_file(run + "/metrics.csv"));
  EXPECT_FALSE(lines.empty());
  if (lines.empty()) return rows;
  EXPECT_EQ(lines.front(), "step,wall_time_s,name,value");
  for (size_t i = 1; i < lines.size(); ++i) {
    std::istringstream fields(lines[i]);
    std::string step, wall, name, value, more;
    std::getline(fields, step, ',');
    std::getline(fields, wall, ',');
    std::getline(fields, name, ',');
    std::getline(fields, value, ',');
    EXPECT_FALSE(std::getline(fields, more, ',')) << lines[i];
    rows.push_back({std::stoll(step), std::stod(wall), name, value});
  }
  return rows;
}

inline std::vector<std::string> repeatable_metrics_of(const std::string& run) {
  std::vector<std::string> rows;
  for (const MetricRow& row : metrics_of(run)) {
    if (!row.repeatable().empty()) rows.push_back(row.repeatable());
  }
  return rows;
}

/// A folder with a small config, and drop_train on it.
class Workbench : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.file(name); }

  /// Writes a text file and returns its path.
  std::string write(const std::string& name, const std::string& text) const {
    write_file_atomically(file(name), text);
    return file(name);
  }

  const std::string& config() {
    if (config_.empty()) config_ = write("small config.yaml", small_config(maze_data()));
    return config_;
  }

  Arguments train_command(const std::string& out, const Arguments& more = {}) {
    return program("drop_train", Arguments{"--config", config(), "--out", out} + more);
  }
  ProcessResult train(const std::string& out, const Arguments& more = {}) {
    return run_process(train_command(out, more));
  }

 private:
  TemporaryFolder folder_;
  std::string config_;
};

/// "--set" for each of some overrides.
inline Arguments set(const Arguments& overrides) {
  Arguments arguments;
  for (const std::string& text : overrides) {
    arguments.push_back("--set");
    arguments.push_back(text);
  }
  return arguments;
}

/// A finished run of the small config, made once for each test process; only read from it.
inline std::string finished_run() {
  static const TemporaryFolder folder;
  static const std::string path = [] {
    const std::string run = folder.file("finished run");
    write_file_atomically(folder.file("config.yaml"), small_config(maze_data()));
    expect_done(run_program("drop_train",
                            {"--config", folder.file("config.yaml"), "--out", run, "--quiet"}));
    return run;
  }();
  return path;
}

}  // namespace drop::testing
