#include "env/replay_recording.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>

#include "drop/base/error.h"
#include "drop/base/sha256.h"
#include "drop/base/text.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"

namespace drop {

namespace {

// one array: its name in the file and what it must look like
struct Wanted {
  std::string name;
  int64_t rows = 0;
  int64_t width = 1;
};

class Reader {
 public:
  explicit Reader(Recording& recording)
      : recording_(recording), names_(hdf5_array_names(recording.file)) {}

  const std::vector<std::string>& names() const { return names_; }
  bool has(const std::string& name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
  }

  /// An array of finite numbers, kept in the recording.
  RecordedRows read(const Wanted& wanted, const std::string& task) {
    Hdf5Array array = read_hdf5_array(recording_.file, wanted.name);
    const std::vector<int64_t> allowed = {wanted.rows, wanted.width};
    if (array.shape.size() == 1 && wanted.width == 1) array.shape.push_back(1);
    if (array.shape != allowed) {
      throw DataError(in_key(wanted.name) + "has the shape " + text_of(array.shape) + ", task " +
                      task + " asks for " + text_of(allowed) +
                      "; give the --task that the file was recorded with, or mend the array");
    }
    require_finite(wanted.name, array.values, static_cast<size_t>(wanted.width));
    return keep(std::move(array.values), wanted.width, array.type == "float32");
  }

  void require_finite(const std::string& name, std::span<const double> values, size_t width) const {
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isfinite(values[i])) continue;
      throw DataError(in_key(name) + "row " + std::to_string(i / width) + " holds " +
                      shortest(values[i]) + "; allowed are finite numbers; mend the row");
    }
  }

  RecordedRows keep(std::vector<double> values, int64_t width, bool is_float32) {
    recording_.arrays.push_back(std::move(values));
    return {recording_.arrays.back(), static_cast<size_t>(width), is_float32};
  }

  std::span<const uint8_t> keep_flags(std::vector<uint8_t> flags) {
    recording_.flags.push_back(std::move(flags));
    return recording_.flags.back();
  }

  int64_t rows_of(const std::string& name) const {
    const Hdf5Array array = read_hdf5_array(recording_.file, name);
    return array.shape.empty() ? 0 : array.shape[0];
  }

  std::string in_key(const std::string& name) const {
    return recording_.file + ": key '" + name + "' ";
  }

 private:
  static std::string text_of(const std::vector<int64_t>& shape) {
    std::vector<std::string> parts;
    for (const int64_t size : shape) parts.push_back(std::to_string(size));
    return "[" + join(parts) + "]";
  }

  Recording& recording_;
  std::vector<std::string> names_;
};

// ---- rounded states ---------------------------------------------------------------------------

// whatever the array's type is: D4RL's v2 files keep float32 values as float64 (facts, 6.4)
void find_rounded_states(RecordedTask& task, const RecordedRows& qpos, const RecordedRows& qvel) {
  for (const RecordedRows* rows : {&qpos, &qvel}) {
    for (size_t column = 0; column < rows->width; ++column) {
      bool rounded = true;
      for (size_t row = 0; rounded && row < rows->count(); ++row) {
        const double value = rows->row(row)[column];
        rounded = as_float32(value) == value;
      }
      task.rounded.push_back(rounded);
    }
  }
  const auto count = std::count(task.rounded.begin(), task.rounded.end(), true);
  if (count == 0) return;
  task.notes.push_back(std::to_string(count) + " of " + std::to_string(task.rounded.size()) +
                       " columns of infos/qpos, infos/qvel hold float32 values: the states that "
                       "steps start from are rounded, and contacts amplify that");
}

// ---- the task's variables -----------------------------------------------------------------------

int64_t variables_size(const TaskInfo& info) {
  int64_t size = 0;
  for (const TaskVariable& variable : info.variables) size += variable.size;
  return size;
}

// what the first observation of an episode tells; none when it does not
RecordedRows variables_from_observation(Reader& reader, Environment& environment,
                                        const RecordedEpisode& episode) {
  const auto values = environment.task_state_from(episode.qpos.row(0), episode.observations.row(0));
  if (!values || values->empty()) return {};
  return reader.keep(*values, static_cast<int64_t>(values->size()), false);
}

void set_variables_from_observations(Reader& reader, RecordedTask& task) {
  const TaskInfo& info = task.environment->info();
  if (info.variables.empty()) return;
  std::vector<std::string> keys;
  for (const TaskVariable& variable : info.variables) keys.push_back(variable.key);
  bool all = true;
  for (RecordedEpisode& episode : task.episodes) {
    episode.variables = variables_from_observation(reader, *task.environment, episode);
    if (!episode.variables.values.empty()) continue;
    all = false;
    episode.terminals = {};  // an invented goal is not reached where the recorded one was
  }
  const std::string source = all ? "taken from each episode's first observation"
                                 : "unknown: the environment's own are used, terminals are not "
                                   "compared, and rewards or observations may differ";
  task.notes.push_back("the file has no array " + join(keys) + "; the task's variables are " +
                       source);
}

// arrays [rows, size] of all variables, side by side; none when one is missing. An array that
// follows a moving thing counts with each trajectory's first row
RecordedRows read_variables(Reader& reader, const TaskInfo& info, int64_t rows,
                            const std::vector<Trajectory>& trajectories) {
  const int64_t width = variables_size(info);
  const auto is_there = [&](const TaskVariable& variable) { return reader.has(variable.key); };
  if (width == 0 || !std::all_of(info.variables.begin(), info.variables.end(), is_there)) return {};
  std::vector<double> values(static_cast<size_t>(rows * width));
  int64_t column = 0;
  for (const TaskVariable& variable : info.variables) {
    const RecordedRows one = reader.read({variable.key, rows, variable.size}, info.name);
    for (const Trajectory& trajectory : trajectories) {
      for (int64_t row = trajectory.begin; row < trajectory.end; ++row) {
        const auto value = one.row(static_cast<size_t>(variable.moves ? trajectory.begin : row));
        std::copy(value.begin(), value.end(), values.begin() + row * width + column);
      }
    }
    column += variable.size;
  }
  return reader.keep(std::move(values), width, false);
}

// ---- Maze2D -------------------------------------------------------------------------------------

// observations, with those that merely repeat the last row's replaced by the row's state
RecordedRows without_repeats(Reader& reader, RecordedTask& task, const RecordedRows& observations,
                             const RecordedRows& qpos, const RecordedRows& qvel,
                             std::vector<bool>& repeats) {
  repeats.assign(observations.count(), false);
  if (task.family != Family::kMaze2d) return observations;
  std::vector<double> values(observations.values.begin(), observations.values.end());
  int64_t count = 0;
  for (size_t row = 1; row < observations.count(); ++row) {
    const auto here = observations.row(row);
    const auto last = observations.row(row - 1);
    const auto position = qpos.row(row);
    if (!std::equal(here.begin(), here.end(), last.begin()) ||
        std::equal(position.begin(), position.end(), qpos.row(row - 1).begin())) {
      continue;
    }
    repeats[row] = true;
    ++count;
    auto out = values.begin() + static_cast<std::ptrdiff_t>(row * observations.width);
    out = std::copy(position.begin(), position.end(), out);
    std::copy(qvel.row(row).begin(), qvel.row(row).end(), out);
  }
  if (count == 0) return observations;
  task.notes.push_back(std::to_string(count) +
                       " rows repeat the observation before them while the state moves on; they "
                       "are compared with infos/qpos, infos/qvel");
  return reader.keep(std::move(values), static_cast<int64_t>(observations.width),
                     observations.is_float32);
}

// tries the four conventions on all rows
RewardConvention find_convention(const RecordedTask& task) {
  constexpr double kRelativeRounding = 1e-5;  // of float32 positions and rewards
  // behind a change of target the observation is an old one; a position may lie across an edge
  constexpr double kMostMismatches = 0.05;
  Maze2dTask sparse = maze2d_task(task.environment->info().name);
  sparse.dense = false;
  Maze2dTask dense = sparse;
  dense.dense = true;
  const std::array<RewardConvention, 4> candidates = {
      {{sparse, true, ""}, {sparse, false, ""}, {dense, true, ""}, {dense, false, ""}}};
  std::array<int64_t, 4> mismatches{};
  int64_t rows = 0;
  for (const RecordedEpisode& episode : task.episodes) {
    for (size_t t = 0; t < episode.after.count(); ++t) {
      ++rows;
      const double recorded = episode.rewards.values[t];
      for (size_t i = 0; i < candidates.size(); ++i) {
        const double found = candidates[i].reward_at(
            candidates[i].of_next ? episode.after.row(t) : episode.reward_observations.row(t));
        const double allowed = kRelativeRounding * std::max(std::abs(found), std::abs(recorded));
        mismatches[i] += !(std::abs(found - recorded) <= allowed);
      }
    }
  }

  const auto best = std::min_element(mismatches.begin(), mismatches.end());
  const auto index = static_cast<size_t>(best - mismatches.begin());
  const std::string counts =
      std::to_string(rows - *best) + " of " + std::to_string(rows) + " rows agree";
  if (rows == 0 || static_cast<double>(*best) > kMostMismatches * static_cast<double>(rows)) {
    return {{},
            true,
            "rewards[t] fit neither this nor the next observation, neither sparse nor dense (" +
                counts + " at best); the environment's own are compared"};
  }
  // where both observations fit, the environment's own convention (the first of the two) is taken
  RewardConvention found = candidates[index];
  const bool both = found.of_next && mismatches[index + 1] == *best;
  found.text = std::string("rewards[t] is the ") + (found.maze->dense ? "dense" : "sparse") +
               " reward of " +
               (both            ? "this and of the next observation alike (the rows do not tell)"
                : found.of_next ? "the next observation"
                                : "this observation, observations[t]") +
               ": " + counts;
  return found;
}

// ---- D4RL's layout ------------------------------------------------------------------------------

std::string task_names() { return join(EnvironmentRegistry::instance().names()); }

// the longest task name that a file's name begins with: "hopper_medium_replay_like" -> "hopper"
std::string task_from_file_name(const std::string& file) {
  std::string stem = std::filesystem::path(file).stem().string();
  std::replace(stem.begin(), stem.end(), '_', '-');
  stem += '-';
  std::string best;
  for (const std::string& name : EnvironmentRegistry::instance().names()) {
    if (stem.starts_with(name + "-") && name.size() > best.size()) best = name;
  }
  return best;
}

std::string task_of_file(const ReplayOptions& options, const DatasetSource& source) {
  if (!options.task.empty()) return options.task;
  if (!source.task.empty()) return source.task;
  auto attribute = read_hdf5_text_attribute(source.path, "task");
  if (attribute && EnvironmentRegistry::instance().contains(*attribute))
    return *std::move(attribute);
  std::string named = task_from_file_name(source.path);
  if (!named.empty()) return named;
  throw UsageError(source.path +
                   ": neither its name nor an attribute tells the task; give --task, "
                   "one of " +
                   task_names());
}

void require_dimensions(const Recording& recording, const Environment& environment,
                        const std::string& group, int64_t state_dim, int64_t action_dim) {
  const TaskInfo& info = environment.info();
  if (info.state_dim == state_dim && info.action_dim == action_dim) return;
  throw UsageError(recording.file + ":" + (group.empty() ? "" : " group '" + group + "':") +
                   " observations have " + std::to_string(state_dim) + " columns and actions " +
                   std::to_string(action_dim) + ", task " + info.name + " has " +
                   std::to_string(info.state_dim) + " and " + std::to_string(info.action_dim) +
                   "; give the --task that the file was recorded with");
}

void cut(const ReplayOptions& options, RecordedTask& task) {
  task.recorded = static_cast<int64_t>(task.episodes.size());
  if (options.episodes > 0 && options.episodes < task.recorded) {
    task.episodes.resize(static_cast<size_t>(options.episodes));
  }
}

void read_d4rl(const ReplayOptions& options, DatasetSource source, Reader& reader,
               Recording& recording) {
  // which task; the family decides how the file is split
  if (!options.dataset_id.empty()) {
    source.id = options.dataset_id;
    source.task = task_of_dataset_id(options.dataset_id);
  }
  source.task = task_of_file(options, source);
  source.family = family_of(source.task);
  RecordedTask task;
  // not the name of a file that is none of D4RL's
  if (!task_of_dataset_id(source.id).empty()) task.dataset_id = source.id;
  task.family = source.family;
  task.environment =
      EnvironmentRegistry::instance().make(source.task, {options.physics, source.id});
  TrajectoryDataset dataset = read_d4rl_file(source);
  recording.sha256 = dataset.sha256;
  const TaskInfo& info = task.environment->info();
  require_dimensions(recording, *task.environment, "", dataset.state_dim, dataset.action_dim);
  for (const char* key : {"infos/qpos", "infos/qvel"}) {
    if (reader.has(key)) continue;
    throw DataError(recording.file + ": key '" + key +
                    "' is missing; a replay starts from the simulator's states; take a version of "
                    "the file that has infos/qpos and infos/qvel");
  }

  // arrays of the whole file, in double
  const int64_t rows = dataset.rows;
  const auto read = [&](const std::string& name, size_t width) {
    return reader.read({name, rows, static_cast<int64_t>(width)}, info.name);
  };
  const RecordedRows qpos = read("infos/qpos", task.environment->qpos().size());
  const RecordedRows qvel = read("infos/qvel", task.environment->qvel().size());
  const RecordedRows actions = read("actions", static_cast<size_t>(info.action_dim));
  const RecordedRows as_stored = read("observations", static_cast<size_t>(info.state_dim));
  const RecordedRows rewards = read("rewards", 1);
  const RecordedRows next = reader.has("next_observations")
                                ? read("next_observations", static_cast<size_t>(info.state_dim))
                                : RecordedRows{};
  const RecordedRows variables = read_variables(reader, info, rows, dataset.trajectories);
  const std::span<const uint8_t> terminals = reader.keep_flags(std::move(dataset.terminals));
  const std::span<const uint8_t> timeouts = reader.keep_flags(std::move(dataset.timeouts));
  std::vector<bool> repeats;
  const RecordedRows observations = without_repeats(reader, task, as_stored, qpos, qvel, repeats);
  find_rounded_states(task, qpos, qvel);

  for (const Trajectory& trajectory : dataset.trajectories) {
    const auto first = static_cast<size_t>(trajectory.begin);
    const auto steps = static_cast<size_t>(trajectory.length());
    RecordedEpisode episode;
    episode.name = "trajectory " + std::to_string(task.episodes.size());
    episode.first_row = trajectory.begin;
    episode.steps = steps;
    episode.qpos = qpos.part(first, steps);
    episode.qvel = qvel.part(first, steps);
    episode.actions = actions.part(first, steps);
    episode.observations = observations.part(first, steps);
    episode.reward_observations = as_stored.part(first, steps);
    // behind a trajectory lies another one, unless its first row is a repeat: then the physics
    // went on
    const bool goes_on = first + steps < repeats.size() && repeats[first + steps];
    episode.after = observations.part(first + 1, goes_on ? steps : steps - 1);
    if (next.count() > 0) episode.next_observations = next.part(first, steps);
    episode.rewards = rewards.part(first, steps);
    episode.terminals = terminals.subspan(first, steps);
    episode.timeouts = timeouts.subspan(first, steps);
    if (variables.count() > 0) episode.variables = variables.part(first, steps);
    task.episodes.push_back(std::move(episode));
  }
  cut(options, task);
  if (variables.count() == 0) set_variables_from_observations(reader, task);
  recording.tasks.push_back(std::move(task));
}

// ---- the fidelity layout ------------------------------------------------------------------------

// "GROUP/episode_K" -> K, or -1
int64_t episode_number(const std::string& group) {
  const std::string_view prefix = "/episode_";
  const size_t place = group.rfind(prefix);
  if (place == std::string::npos) return -1;
  int64_t number = -1;
  const char* end = group.data() + group.size();
  const auto parsed = std::from_chars(group.data() + place + prefix.size(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end ? number : -1;
}

// groups that hold episodes -> the numbers of these
std::map<std::string, std::vector<int64_t>> episode_groups(const Reader& reader) {
  std::map<std::string, std::vector<int64_t>> groups;
  for (const std::string& name : reader.names()) {
    if (!name.ends_with("/actions")) continue;
    const std::string episode = name.substr(0, name.rfind('/'));
    const int64_t number = episode_number(episode);
    if (number >= 0) groups[episode.substr(0, episode.rfind('/'))].push_back(number);
  }
  for (auto& [group, numbers] : groups) std::sort(numbers.begin(), numbers.end());
  return groups;
}

// tasks that a group serves: "hopper" its own, "umaze" maze2d-umaze and maze2d-umaze-dense
std::vector<std::string> tasks_of_group(const std::string& group) {
  std::vector<std::string> tasks;
  for (const std::string& name :
       {group, group + "-dense", "maze2d-" + group, "maze2d-" + group + "-dense"}) {
    if (EnvironmentRegistry::instance().contains(name)) tasks.push_back(name);
  }
  return tasks;
}

RecordedEpisode read_episode(Reader& reader, const Recording& recording, RecordedTask& task,
                             const std::string& path) {
  const TaskInfo& info = task.environment->info();
  const std::string prefix = path + "/";
  const auto read = [&](const std::string& name, size_t rows, size_t width) {
    return reader.read({prefix + name, static_cast<int64_t>(rows), static_cast<int64_t>(width)},
                       info.name);
  };

  // sizes first: the task must fit
  const auto width_of = [&](const std::string& name) {
    const Hdf5Array array = read_hdf5_array(recording.file, prefix + name);
    return array.shape.size() == 2 ? array.shape[1] : 0;
  };
  require_dimensions(recording, *task.environment, path, width_of("observations"),
                     width_of("actions"));
  RecordedEpisode episode;
  episode.name = path;
  const int64_t rows = reader.rows_of(prefix + "actions");
  if (rows < 1) throw DataError(reader.in_key(prefix + "actions") + "is empty; drop the episode");
  const auto steps = static_cast<size_t>(rows);
  episode.steps = steps;
  episode.actions = read("actions", steps, static_cast<size_t>(info.action_dim));
  const RecordedRows observations =
      read("observations", steps + 1, static_cast<size_t>(info.state_dim));
  episode.observations = observations.part(0, steps);
  episode.reward_observations = episode.observations;
  episode.after = observations.part(1, steps);

  // states: arrays of their own or, in Maze2D, the observations
  const size_t nq = task.environment->qpos().size();
  const size_t nv = task.environment->qvel().size();
  std::vector<double> qpos, qvel;
  if (reader.has(prefix + "qpos") && reader.has(prefix + "qvel")) {
    const RecordedRows positions = read("qpos", steps + 1, nq);
    const RecordedRows velocities = read("qvel", steps + 1, nv);
    qpos.assign(positions.values.begin(), positions.values.end());
    qvel.assign(velocities.values.begin(), velocities.values.end());
  } else if (task.family == Family::kMaze2d) {
    for (size_t t = 0; t < steps; ++t) {
      const auto row = observations.row(t);
      qpos.insert(qpos.end(), row.begin(), row.begin() + static_cast<std::ptrdiff_t>(nq));
      qvel.insert(qvel.end(), row.begin() + static_cast<std::ptrdiff_t>(nq), row.end());
    }
  } else {
    throw DataError(recording.file + ": group '" + path +
                    "' has no qpos and qvel; a replay starts from the simulator's states; add "
                    "them");
  }
  const auto begin = [&](const std::string& name, size_t width, std::vector<double>& states) {
    if (!reader.has(prefix + name)) return;
    Hdf5Array start = read_hdf5_array(recording.file, prefix + name);
    if (start.values.size() != width) {
      throw DataError(reader.in_key(prefix + name) + "has " + std::to_string(start.values.size()) +
                      " numbers; allowed are " + std::to_string(width) + "; mend the array");
    }
    reader.require_finite(prefix + name, start.values, width);
    std::copy(start.values.begin(), start.values.end(), states.begin());
  };
  begin("init_qpos", nq, qpos);
  begin("init_qvel", nv, qvel);
  episode.qpos = reader.keep(std::move(qpos), static_cast<int64_t>(nq), false).part(0, steps);
  episode.qvel = reader.keep(std::move(qvel), static_cast<int64_t>(nv), false).part(0, steps);

  // rewards, ends, and steps from states set afresh
  const std::string kind =
      task.family == Family::kMaze2d ? (info.name.ends_with("-dense") ? "_dense" : "_sparse") : "";
  episode.rewards = read(reader.has(prefix + "rewards") ? "rewards" : "rewards" + kind, steps, 1);
  if (reader.has(prefix + "terminated")) {
    const RecordedRows terminated = read("terminated", steps, 1);
    episode.terminals = reader.keep_flags({terminated.values.begin(), terminated.values.end()});
  }
  if (reader.has(prefix + "one_step_index")) {
    const auto count = static_cast<size_t>(reader.rows_of(prefix + "one_step_index"));
    const RecordedRows index = read("one_step_index", count, 1);
    episode.fresh_observations =
        read("one_step_observations", count, static_cast<size_t>(info.state_dim));
    episode.fresh_rewards = read("one_step_rewards", count, 1);
    episode.fresh_index.assign(steps, -1);
    for (size_t i = 0; i < count; ++i) {
      const double step = index.values[i];
      if (step < 0.0 || step >= static_cast<double>(steps)) {
        throw DataError(reader.in_key(prefix + "one_step_index") + "row " + std::to_string(i) +
                        " is " + shortest(step) + "; allowed are steps from 0 to " +
                        std::to_string(steps - 1) + "; mend the row");
      }
      episode.fresh_index[static_cast<size_t>(step)] = static_cast<int64_t>(i);
    }
  }
  return episode;
}

void read_fidelity(const ReplayOptions& options, Reader& reader, Recording& recording) {
  const auto groups = episode_groups(reader);
  if (groups.empty()) {
    throw DataError(recording.file +
                    ": holds neither D4RL's arrays (observations, actions, ...) nor groups "
                    "TASK/episode_K; the arrays found are " +
                    (reader.names().empty() ? "none" : reader.names().front() + ", ...") +
                    "; give a file of one of these layouts");
  }
  recording.sha256 = sha256_of_file(recording.file);
  std::vector<std::string> served;
  std::vector<std::string> skipped;
  for (const auto& [group, numbers] : groups) {
    const std::vector<std::string> tasks = tasks_of_group(group);
    if (tasks.empty()) skipped.push_back(group);
    for (const std::string& name : tasks) {
      served.push_back(name);
      if (!options.task.empty() && options.task != name) continue;
      RecordedTask task;
      task.dataset_id = options.dataset_id;
      task.family = family_of(name);
      task.environment =
          EnvironmentRegistry::instance().make(name, {options.physics, options.dataset_id});
      for (const int64_t number : numbers) {
        task.episodes.push_back(
            read_episode(reader, recording, task, group + "/episode_" + std::to_string(number)));
      }
      cut(options, task);
      if (task.episodes.front().terminals.empty()) {
        task.notes.push_back("the file has no flags of ends: terminals are not compared");
      }
      set_variables_from_observations(reader, task);
      recording.tasks.push_back(std::move(task));
    }
  }
  if (recording.tasks.empty()) {
    throw UsageError(recording.file + ": " +
                     (options.task.empty()
                          ? "none of its groups is named like a task"
                          : "no group holds episodes of task \"" + options.task + "\"") +
                     "; the tasks found are " + (served.empty() ? "none" : join(served)) +
                     (skipped.empty() ? "" : ", groups of other names " + join(skipped)) +
                     "; give another --task or file");
  }
  for (const std::string& group : skipped) {
    if (!options.task.empty()) break;
    recording.tasks.front().notes.push_back("group " + group +
                                            " is skipped: there is no task of this name");
  }
}

}  // namespace

Recording read_recording(const ReplayOptions& options) {
  const std::string task_of_id = task_of_dataset_id(options.dataset_id);
  if (!options.dataset_id.empty() && task_of_id.empty()) {
    throw UsageError("--dataset-id " + options.dataset_id +
                     " is no D4RL id; allowed are ids such as hopper-medium-v2");
  }
  if (!options.task.empty() && !task_of_id.empty() && options.task != task_of_id) {
    throw UsageError("--task " + options.task + " and --dataset-id " + options.dataset_id +
                     " found, an id of task " + task_of_id +
                     "; allowed are a task and an id of it; drop one of them");
  }
  const DatasetSource source = find_dataset(options.file, options.task);
  Recording recording;
  recording.file = source.path;
  Reader reader(recording);
  if (reader.has("observations") || reader.has("actions")) {
    recording.layout = "d4rl";
    read_d4rl(options, source, reader, recording);
  } else {
    recording.layout = "fidelity";
    read_fidelity(options, reader, recording);
  }
  for (RecordedTask& task : recording.tasks) {
    if (task.family == Family::kMaze2d) {
      task.rewards = find_convention(task);
    } else {
      task.rewards.text = "rewards[t] is compared with the environment's reward of step t";
    }
  }
  return recording;
}

}  // namespace drop
