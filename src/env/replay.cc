#include "drop/env/replay.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/base/timing.h"
#include "drop/data/hdf5.h"
#include "drop/log/progress.h"
#include "env/replay_recording.h"

namespace drop {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kStepsBetweenReports = 1000;
// of hopper and walker2d; the other robots' velocities are not clipped, and do not meet it exactly
constexpr double kVelocityClip = 10.0;
// in tolerances: the rounding of a start is no excuse for more, and looking for one is slow
constexpr double kMostByRounding = 1e4;

// how far a number, or the worst of a row of numbers, is from the record
struct Difference {
  double raw = 0.0;
  double beyond = 0.0;  // after the record's own rounding
  size_t dimension = 0;
  double found = 0.0;
  double recorded = 0.0;
};

double half_float32_step(double value) {
  const float stored = std::abs(static_cast<float>(value));
  return 0.5 * (static_cast<double>(std::nextafter(stored, HUGE_VALF)) - stored);
}

Difference difference_of(double found, double recorded, bool is_float32) {
  Difference difference{std::abs(found - recorded), 0.0, 0, found, recorded};
  if (std::isnan(difference.raw)) difference.raw = kInfinity;
  difference.beyond = difference.raw;
  if (is_float32) {
    difference.beyond = std::max(0.0, difference.raw - half_float32_step(recorded));
  }
  return difference;
}

double median_of(const std::vector<double>& values) {
  return values.empty() ? 0.0 : median(values);
}

// ---- collecting ---------------------------------------------------------------------------------

// every step's deviation, for medians
struct PassLog {
  std::vector<double> observations, rewards;

  void append(const PassLog& other) {
    observations.insert(observations.end(), other.observations.begin(), other.observations.end());
    rewards.insert(rewards.end(), other.rewards.begin(), other.rewards.end());
  }
  void write_medians(ReplayPass& pass) {
    pass.observations.median = median_of(observations);
    pass.rewards.median = median_of(rewards);
  }
};

void count(Deviations& deviations, std::vector<double>& log, const Difference& difference) {
  ++deviations.steps;
  deviations.largest = std::max(deviations.largest, difference.raw);
  deviations.beyond_rounding = std::max(deviations.beyond_rounding, difference.beyond);
  log.push_back(difference.raw);
}

void merge(Deviations& all, const Deviations& one) {
  all.steps += one.steps;
  all.largest = std::max(all.largest, one.largest);
  all.beyond_rounding = std::max(all.beyond_rounding, one.beyond_rounding);
}

void merge(ReplayPass& all, const ReplayPass& one) {
  const bool is_worse =
      one.worst.step >= 0 &&
      (all.worst.step < 0 || one.observations.beyond_rounding > all.observations.beyond_rounding);
  if (is_worse) all.worst = one.worst;
  merge(all.observations, one.observations);
  merge(all.rewards, one.rewards);
  all.terminals += one.terminals;
  all.wrong_terminals += one.wrong_terminals;
  all.failed_steps += one.failed_steps;
  if (all.error.empty()) all.error = one.error;
}

void merge(ReplayFigures& all, const ReplayFigures& one) {
  all.steps += one.steps;
  merge(all.one_step, one.one_step);
  merge(all.whole, one.whole);
  if (one.judged > all.judged) {
    all.judged = one.judged;
    all.judged_worst = one.judged_worst;
  }
  all.judged_steps += one.judged_steps;
  all.beyond_tolerance += one.beyond_tolerance;
  all.warm_started += one.warm_started;
  all.rounded_starts += one.rounded_starts;
  all.clipped_starts += one.clipped_starts;
  all.start = std::max(all.start, one.start);
  if (one.first_beyond >= 0 && (all.first_beyond < 0 || one.first_beyond < all.first_beyond)) {
    all.first_beyond = one.first_beyond;
  }
  for (size_t i = 0; i < one.within.size(); ++i)
    all.within[i] = std::max(all.within[i], one.within[i]);
  all.passed = all.passed && one.passed;
}

// ---- one episode --------------------------------------------------------------------------------

class EpisodeReplayer {
 public:
  EpisodeReplayer(const ReplayOptions& options, RecordedTask& task, const RecordedEpisode& episode)
      : options_(options),
        task_(task),
        environment_(*task.environment),
        episode_(episode),
        observation_(static_cast<size_t>(environment_.info().state_dim)),
        running_(episode.steps) {
    result_.task = environment_.info().name;
    result_.name = episode.name;
    result_.first_row = episode.first_row;
    result_.figures.steps = static_cast<int64_t>(episode.steps);
  }

  template <typename Tick>
  EpisodeReplay run(Tick tick) {
    run_whole(tick);
    run_single_steps(tick);
    ReplayFigures& figures = result_.figures;
    whole_log_.write_medians(figures.whole);
    one_step_log_.write_medians(figures.one_step);
    figures.passed = figures.beyond_tolerance == 0 && figures.one_step.wrong_terminals == 0 &&
                     figures.one_step.failed_steps == 0;
    return result_;
  }

  const PassLog& whole_log() const { return whole_log_; }
  const PassLog& one_step_log() const { return one_step_log_; }

 private:
  // what our running simulation makes of a step, if it has stayed with the record
  struct Running {
    double beyond = kInfinity;
    bool terminal_agrees = false;
  };

  // all actions one after the other
  template <typename Tick>
  void run_whole(Tick tick) {
    ReplayFigures& figures = result_.figures;
    ReplayPass& pass = figures.whole;
    try {
      begin_at(0);
      for (size_t t = 0; t < episode_.steps; ++t) {
        tick();
        const bool is_there = is_in_recorded_state(t);
        std::vector<double> before = observation_;
        if (t == 0) {
          const auto first = episode_.reward_observations.row(0);
          before.assign(first.begin(), first.end());
        }
        if (variables_change_at(t)) set_variables(t);
        const StepResult result = environment_.step(episode_.actions.row(t), observation_);
        const bool agrees = count_terminal(pass, t, result.terminated);
        count(pass.rewards, whole_log_.rewards, reward_difference(t, before, result.reward, false));
        if (has_record_after(t)) {
          const Difference difference = compare_after(t);
          record(pass, whole_log_.observations, difference, t);
          for (size_t i = 0; i < figures.within.size(); ++i) {
            if (static_cast<int64_t>(t) >= ReplayFigures::kWithin[i]) continue;
            figures.within[i] = std::max(figures.within[i], difference.raw);
          }
          if (figures.first_beyond < 0 && difference.beyond > options_.tolerance) {
            figures.first_beyond = static_cast<int64_t>(t);
          }
          if (figures.first_beyond < 0 && is_there) running_[t] = {difference.beyond, agrees};
        }
        if (result.terminated || result.truncated) environment_.resume();
      }
    } catch (const RunError& error) {
      ++pass.failed_steps;
      pass.error = error.what();
    }
  }

  // each step from its recorded state
  template <typename Tick>
  void run_single_steps(Tick tick) {
    ReplayFigures& figures = result_.figures;
    ReplayPass& pass = figures.one_step;
    for (size_t t = 0; t < episode_.steps; t += static_cast<size_t>(options_.stride)) {
      tick();
      const bool is_clipped = starts_clipped(t);
      figures.clipped_starts += is_clipped;
      try {
        begin_at(t);
        const auto of_state = worst_of(episode_.observations, t);
        figures.start = std::max(figures.start, of_state.beyond);
        const StepResult result = environment_.step(episode_.actions.row(t), observation_);
        judge(pass, t, result, is_clipped);
      } catch (const RunError& error) {
        if (pass.failed_steps++ == 0)
          pass.error = "step " + std::to_string(t) + ": " + error.what();
      }
    }
  }

  void judge(ReplayPass& pass, size_t t, const StepResult& result, bool is_clipped) {
    ReplayFigures& figures = result_.figures;
    const Running running = running_[t];
    count(pass.rewards, one_step_log_.rewards,
          reward_difference(t, episode_.reward_observations.row(t), result.reward, true));
    if (!count_terminal(pass, t, result.terminated) && (is_clipped || running.terminal_agrees)) {
      --pass.wrong_terminals;
    }
    if (!has_record_after(t)) return;

    Difference difference = compare_after(t);
    // the recorder's own step from a state set afresh knows no excuse
    Difference fresh;
    if (is_fresh(t)) fresh = worst_of(episode_.fresh_observations, fresh_row(t));
    record(pass, one_step_log_.observations, fresh.beyond > difference.beyond ? fresh : difference,
           t);
    if (is_clipped) return;
    ++figures.judged_steps;
    double judged = difference.beyond;
    if (judged > options_.tolerance && judged <= kMostByRounding * options_.tolerance &&
        has_rounded_states()) {
      judged = std::min(judged, beyond_rounded_start(t));
      figures.rounded_starts += judged <= options_.tolerance;
    }
    if (judged > options_.tolerance && running.beyond <= options_.tolerance) {
      judged = running.beyond;
      ++figures.warm_started;
    }
    if (fresh.beyond > judged) {
      judged = fresh.beyond;
      difference = fresh;
    }
    if (judged > figures.judged) {
      figures.judged = judged;
      figures.judged_worst = place_of(difference, t);
    }
    figures.beyond_tolerance += judged > options_.tolerance;
  }

  bool has_rounded_states() const {
    return std::any_of(task_.rounded.begin(), task_.rounded.end(), [](bool is) { return is; });
  }

  // the same when the rounding of the recorded start, too, is taken off
  double beyond_rounded_start(size_t t) {
    const std::vector<double> found = observation_;
    std::vector<double> allowed(found.size(), 0.0);
    try {
      add_changes_within_rounding(t, found, allowed);
    } catch (const RunError&) {
      return kInfinity;  // a state beside this one is none
    }
    double beyond = 0.0;
    for (const RecordedRows* rows : {&episode_.after, &episode_.next_observations}) {
      if (t >= rows->count()) continue;
      for (size_t d = 0; d < found.size(); ++d) {
        const Difference one = difference_of(found[d], rows->row(t)[d], rows->is_float32);
        beyond = std::max(beyond, one.beyond - allowed[d]);
      }
    }
    return beyond;
  }

  // moves each rounded coordinate to either end of its interval and adds up what that changes
  void add_changes_within_rounding(size_t t, std::span<const double> found,
                                   std::span<double> allowed) {
    const auto qpos = episode_.qpos.row(t);
    const auto qvel = episode_.qvel.row(t);
    std::vector<double> state(qpos.begin(), qpos.end());
    state.insert(state.end(), qvel.begin(), qvel.end());
    const std::span<const double> moved(state);
    for (size_t i = 0; i < task_.rounded.size(); ++i) {
      const double value = state[i];
      if (!task_.rounded[i] || value == 0.0) continue;
      std::vector<double> change(found.size(), 0.0);
      for (const double side : {-1.0, 1.0}) {
        state[i] = value + side * half_float32_step(value);
        environment_.set_state(moved.first(qpos.size()), moved.subspan(qpos.size()), observation_);
        environment_.step(episode_.actions.row(t), observation_);
        for (size_t d = 0; d < change.size(); ++d) {
          change[d] = std::max(change[d], std::abs(observation_[d] - found[d]));
        }
      }
      state[i] = value;
      for (size_t d = 0; d < change.size(); ++d) allowed[d] += change[d];
    }
  }

  void set_variables(size_t t) {
    const RecordedRows& variables = episode_.variables;
    if (variables.count() == 0) return;
    environment_.set_task_state(variables.row(variables.count() == 1 ? 0 : t));
  }

  // moving ones do not change here: each row has those of the episode's first
  bool variables_change_at(size_t t) const {
    const RecordedRows& variables = episode_.variables;
    return t > 0 && variables.count() > 1 &&
           !std::ranges::equal(variables.row(t), variables.row(t - 1));
  }

  void begin_at(size_t t) {
    set_variables(t);
    environment_.set_state(episode_.qpos.row(t), episode_.qvel.row(t), observation_);
  }

  bool is_in_recorded_state(size_t t) const {
    const auto agree = [&](std::span<const double> found, std::span<const double> recorded) {
      return std::equal(found.begin(), found.end(), recorded.begin(),
                        [&](double a, double b) { return std::abs(a - b) <= options_.tolerance; });
    };
    return agree(environment_.qpos(), episode_.qpos.row(t)) &&
           agree(environment_.qvel(), episode_.qvel.row(t));
  }

  bool starts_clipped(size_t t) const {
    if (task_.family != Family::kLocomotion) return false;
    const auto velocities = episode_.qvel.row(t);
    return std::any_of(velocities.begin(), velocities.end(),
                       [](double v) { return std::abs(v) == kVelocityClip; });
  }

  // ---- comparing ----

  bool has_record_after(size_t t) const {
    return t < episode_.after.count() || t < episode_.next_observations.count();
  }

  // the present observation against a recorded one
  Difference worst_of(const RecordedRows& rows, size_t index) const {
    Difference worst;
    const auto recorded = rows.row(index);
    for (size_t i = 0; i < observation_.size(); ++i) {
      Difference one = difference_of(observation_[i], recorded[i], rows.is_float32);
      one.dimension = i;
      const double raw = std::max(worst.raw, one.raw);
      if (i == 0 || one.beyond > worst.beyond) worst = one;
      worst.raw = raw;
    }
    return worst;
  }

  // the present observation against what the record has after step t
  Difference compare_after(size_t t) const {
    Difference worst;
    for (const RecordedRows* rows : {&episode_.after, &episode_.next_observations}) {
      if (t >= rows->count()) continue;
      const Difference one = worst_of(*rows, t);
      const double raw = std::max(worst.raw, one.raw);
      if (one.beyond >= worst.beyond) worst = one;
      worst.raw = raw;
    }
    return worst;
  }

  void record(ReplayPass& pass, std::vector<double>& log, const Difference& difference, size_t t) {
    const double before = pass.observations.beyond_rounding;
    count(pass.observations, log, difference);
    const bool is_first = pass.worst.step < 0 && difference.raw > 0.0;
    if (is_first || difference.beyond > before) pass.worst = place_of(difference, t);
  }

  ReplayPlace place_of(const Difference& difference, size_t t) const {
    return {result_.task,
            episode_.name,
            static_cast<int64_t>(t),
            episode_.first_row + static_cast<int64_t>(t),
            static_cast<int64_t>(difference.dimension),
            difference.found,
            difference.recorded};
  }

  // did the recorder, too, make this step from a state set afresh?
  bool is_fresh(size_t t) const {
    return !episode_.fresh_index.empty() && episode_.fresh_index[t] >= 0;
  }
  size_t fresh_row(size_t t) const { return static_cast<size_t>(episode_.fresh_index[t]); }

  Difference reward_difference(size_t t, std::span<const double> before, double found,
                               bool from_fresh_state) const {
    const RewardConvention& convention = task_.rewards;
    if (convention.maze) found = convention.reward_at(convention.of_next ? observation_ : before);
    const double recorded = from_fresh_state && is_fresh(t)
                                ? episode_.fresh_rewards.values[fresh_row(t)]
                                : episode_.rewards.values[t];
    return difference_of(found, recorded, episode_.rewards.is_float32);
  }

  // true when the flags agree, or there is none
  bool count_terminal(ReplayPass& pass, size_t t, bool terminated) const {
    if (episode_.terminals.empty()) return true;
    ++pass.terminals;
    const bool recorded = episode_.terminals[t] != 0;
    const bool timeout = !episode_.timeouts.empty() && episode_.timeouts[t] != 0;
    const bool ends_demonstration =
        task_.family == Family::kAdroit && recorded && !timeout && t + 1 == episode_.steps;
    const bool falls_at_limit = task_.family == Family::kLocomotion && terminated && timeout;
    const bool agrees = recorded == terminated || ends_demonstration || falls_at_limit;
    pass.wrong_terminals += !agrees;
    return agrees;
  }

  const ReplayOptions& options_;
  const RecordedTask& task_;
  Environment& environment_;
  const RecordedEpisode& episode_;
  std::vector<double> observation_;
  std::vector<Running> running_;
  PassLog whole_log_, one_step_log_;
  EpisodeReplay result_;
};

// ---- notes --------------------------------------------------------------------------------------

std::string plural(int64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

void add_notes(const ReplayFigures& figures, TaskReplay& task) {
  if (figures.warm_started > 0) {
    task.notes.push_back(
        "beyond the tolerance when started afresh, reproduced by the running "
        "simulation: " +
        plural(figures.warm_started, "step") +
        "; what differs is the solver's warm start, which no file holds");
  }
  if (figures.rounded_starts > 0) {
    task.notes.push_back(
        "beyond the tolerance, but no more than the rounding of the recorded start "
        "explains: " +
        plural(figures.rounded_starts, "step"));
  }
  if (figures.clipped_starts > 0) {
    task.notes.push_back(
        "not judged, as a velocity of the recorded start is exactly +-10, D4RL's "
        "clip, and the true one unknown: " +
        plural(figures.clipped_starts, "step"));
  }
}

}  // namespace

std::string ReplayReport::failure() const {
  if (passed) return "";
  ReplayFigures all;
  for (const TaskReplay& task : tasks) merge(all, task.figures);
  const ReplayPlace& worst = all.judged_worst;
  std::string text = file + ": the physics do not reproduce this file: ";
  if (all.beyond_tolerance > 0) {
    text += std::to_string(all.beyond_tolerance) + " of " + plural(all.judged_steps, "step") +
            " deviate by more than the tolerance " + shortest(tolerance) +
            " (worst: " + worst.task + ", " + worst.episode + ", step " +
            std::to_string(worst.step) + ", dimension " + std::to_string(worst.dimension) +
            ": found " + shortest(worst.found) + ", recorded " + shortest(worst.recorded) + "); ";
  }
  for (const TaskReplay& task : tasks) {
    if (task.figures.judged_steps > 0 || task.figures.clipped_starts == 0) continue;
    text += task.task + ": no step could be judged (all start from clipped velocities); ";
  }
  if (all.one_step.wrong_terminals > 0) {
    text += "terminals differ in " + plural(all.one_step.wrong_terminals, "step") + "; ";
  }
  if (all.one_step.failed_steps > 0) {
    text += "the physics failed in " + plural(all.one_step.failed_steps, "step") + " (" +
            all.one_step.error + "); ";
  }
  return text + "check --task, --dataset-id and --physics, or allow more with --tolerance";
}

ReplayReport replay(const ReplayOptions& options) {
  if (!(options.tolerance >= 0.0) || options.episodes < 0 || options.stride < 1) {
    throw UsageError("tolerance " + shortest(options.tolerance) + ", episodes " +
                     std::to_string(options.episodes) + ", stride " +
                     std::to_string(options.stride) +
                     " found; allowed are a tolerance and episodes from 0 and a stride from 1");
  }
  Recording recording = read_recording(options);
  ReplayReport report;
  report.file = recording.file;
  report.sha256 = recording.sha256;
  report.layout = recording.layout;
  report.physics = to_string(options.physics);
  report.mujoco_version = mj_versionString();
  report.file_mujoco_version =
      read_hdf5_text_attribute(recording.file, "mujoco_version").value_or("");
  report.tolerance = options.tolerance;
  report.stride = options.stride;

  int64_t total = 0;
  for (const RecordedTask& task : recording.tasks) {
    for (const RecordedEpisode& episode : task.episodes) {
      total += static_cast<int64_t>(episode.steps) * (options.stride + 1) / options.stride;
    }
  }
  int64_t done = 0;
  Progress progress("replay", total, options.quiet);
  const auto tick = [&] {
    if (stop_requested()) {
      throw Interrupted("stopped by a signal; " + recording.file +
                        " was not judged, run the command again");
    }
    if (++done % kStepsBetweenReports == 0) progress.update(std::min(done, total));
  };

  for (RecordedTask& recorded : recording.tasks) {
    TaskReplay task;
    task.task = recorded.environment->info().name;
    task.dataset_id = recorded.dataset_id;
    task.episodes = static_cast<int64_t>(recorded.episodes.size());
    task.recorded = recorded.recorded;
    task.rewards = recorded.rewards.text;
    task.notes = recorded.notes;
    PassLog whole, one_step;
    std::array<std::vector<double>, 3> within;
    for (const RecordedEpisode& episode : recorded.episodes) {
      EpisodeReplayer replayer(options, recorded, episode);
      report.episodes.push_back(replayer.run(tick));
      const ReplayFigures& figures = report.episodes.back().figures;
      merge(task.figures, figures);
      whole.append(replayer.whole_log());
      one_step.append(replayer.one_step_log());
      for (size_t i = 0; i < within.size(); ++i) within[i].push_back(figures.within[i]);
    }
    whole.write_medians(task.figures.whole);
    one_step.write_medians(task.figures.one_step);
    for (size_t i = 0; i < within.size(); ++i) task.within_median[i] = median_of(within[i]);
    const ReplayPass& steps = task.figures.one_step;
    if (steps.observations.steps == 0 && steps.failed_steps == 0) {
      throw DataError(recording.file + ": task " + task.task +
                      " has no two states in a row; allowed are episodes of at least two rows");
    }
    task.figures.passed = task.figures.passed && task.figures.judged_steps > 0;
    add_notes(task.figures, task);
    report.passed = report.passed && task.figures.passed;
    report.tasks.push_back(std::move(task));
  }
  progress.finish();
  return report;
}

}  // namespace drop
