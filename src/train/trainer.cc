#include "drop/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "drop/base/error.h"
#include "drop/base/json.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/log/logging.h"
#include "drop/log/progress.h"

namespace drop {

namespace {

constexpr double kCollapseDistance = 1e-3;
// nats; a posterior this near to the prior says nothing of the state
constexpr double kCollapsedDivergence = 1e-3;
constexpr double kBurstSeconds = 0.25;  // how long a signal may have to wait
constexpr double kPlainProgressSeconds = 30.0;
constexpr double kStatusSeconds = 5.0;  // how often status.json is renewed

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// wall time that earlier sessions of the run had used when they reached `step`
double earlier_wall_time(const std::filesystem::path& metrics, int64_t step) {
  if (step == 0 || !std::filesystem::exists(metrics)) return 0.0;
  double wall = 0.0;
  std::istringstream lines(read_text_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    long long row_step = 0;
    double row_wall = 0.0;
    if (std::sscanf(line.c_str(), "%lld,%lf,", &row_step, &row_wall) == 2 && row_step <= step)
      wall = std::max(wall, row_wall);
  }
  return wall;
}

// is something due that happens every so many steps (0 = never)?
bool is_due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

// the next step at which it is due, or `never`
int64_t next_due(int64_t step, int64_t every, int64_t never) {
  return every > 0 ? (step / every + 1) * every : never;
}

// the first setting in which two configs differ
struct Difference {
  ConfigSetting before, now;
};

std::optional<Difference> first_difference(const Config& before, const Config& now) {
  const std::vector<ConfigSetting> then = settings_of(before);
  const std::vector<ConfigSetting> today = settings_of(now);
  for (size_t i = 0; i < then.size(); ++i) {
    if (then[i] != today[i]) return Difference{then[i], today[i]};
  }
  return std::nullopt;
}

// the first setting in which two configs would learn differently
std::optional<Difference> learning_difference(const Config& before, const Config& now) {
  // settings that do not change what is learned take the new values on both sides
  Config same = before;
  same.dataset = now.dataset;  // the data's hash decides
  same.seeds = now.seeds;
  same.seed = now.seed;  // the checkpoint's seed decides
  same.device = now.device;
  same.precision = now.precision;
  same.threads = now.threads;
  same.train.steps = now.train.steps;
  same.train.log_every = now.train.log_every;
  same.train.engine = now.train.engine;
  same.checkpoint = now.checkpoint;
  same.search = now.search;
  same.eval = now.eval;
  return first_difference(same, now);
}

// the first search setting that another run would have
std::optional<Difference> search_difference(const Config& before, const Config& now) {
  Config same = now;
  same.search = before.search;
  same.search.engine = now.search.engine;
  return first_difference(same, now);
}

std::string text_of(const ConfigSetting& setting) { return setting.key + ": " + setting.value; }

// a pair that is good in itself may have been copied from another run, or bear another's name
void require_own_pair(const std::filesystem::path& checkpoint, int64_t step,
                      const ModelOrigin& origin, const Config& config) {
  if (origin.step != step) {
    throw DataError(checkpoint.string() + ": is of step " + std::to_string(origin.step) +
                    ", its name says " + std::to_string(step) + "; give it its own name");
  }
  if (const auto difference = learning_difference(origin.config, config)) {
    throw DataError(checkpoint.string() + ": was trained with `" + text_of(difference->before) +
                    "`, this run with `" + text_of(difference->now) +
                    "`; it belongs to another run");
  }
}

// a run without checkpoints starts over, which writes over what its files tell of an earlier one
void require_nothing_done(const RunFolder& folder) {
  constexpr int64_t kAnyStep = std::numeric_limits<int64_t>::max();
  const std::optional<RunStatus> status = folder.read_status();
  if (!(status && status->step > 0) && earlier_wall_time(folder.metrics(), kAnyStep) <= 0.0) return;
  throw DataError(
      folder.path().string() +
      ": this run has made steps, but its checkpoints (checkpoints/step_*.safetensors) "
      "are gone; put them back, or start over in a new --out (a run of drop_coms, which has "
      "none, is for drop_coms to go on with)");
}

}  // namespace

struct Trainer::Clock {
  SteadyClock::time_point start = SteadyClock::now();
  double earlier_s = 0.0;  // of the sessions before this one
  double paused_s = 0.0;   // spent on evaluation and checkpoints, not counted as training speed
  int64_t first_step = 0;  // of this session
  SteadyClock::time_point last_status{};

  double wall_s() const { return earlier_s + seconds_since(start); }
  double training_s() const { return std::max(1e-9, seconds_since(start) - paused_s); }
};

Trainer::Trainer(TrainerInputs inputs, const RunFolder& folder, const TrainState& state,
                 const Sampler& sampler, StepEngine& engine, size_t seed_index)
    : inputs_(std::move(inputs)),
      folder_(folder),
      state_(state),
      sampler_(sampler),
      engine_(engine),
      seed_index_(seed_index),
      clock_(std::make_unique<Clock>()) {
  clock_->earlier_s = earlier_wall_time(folder_.metrics(), state_.step);
  clock_->first_step = state_.step;
  if (const std::optional<RunStatus> before = folder_.read_status(); before)
    interim_steps_ = before->interim_steps;
  // checkpoint.every, eval.every and train.steps may be others than when the signal came
  std::erase_if(interim_steps_, [&](int64_t step) { return is_saved_regularly(step); });
  remove_old_checkpoints();  // a kill may have come between a checkpoint and this
  sinks_.push_back(make_csv_sink(folder_.metrics(), state_.step));
  sinks_.push_back(make_tensorboard_sink(folder_.path(), state_.step));
}

Trainer::~Trainer() = default;

void Trainer::write_status(const std::string& state) {
  const double rate = static_cast<double>(state_.step - clock_->first_step) / clock_->training_s();
  const auto left = static_cast<double>(inputs_.config.train.steps - state_.step);
  folder_.write_status({state, state_.step, rate, rate > 0 ? left / rate : 0.0, interim_steps_});
  clock_->last_status = SteadyClock::now();
}

void Trainer::log_and_save_if_due() {
  const Config& config = inputs_.config;
  const bool last = state_.step == config.train.steps;
  if (is_due(state_.step, config.train.log_every) || last) log_metrics();
  if (is_saved_regularly(state_.step)) save();
}

bool Trainer::is_saved_regularly(int64_t step) const {
  const Config& config = inputs_.config;
  return is_due(step, config.checkpoint.every) || is_evaluated(step) || step == config.train.steps;
}

void Trainer::run_together(const std::vector<Trainer*>& trainers) {
  const Trainer& first = *trainers.at(0);
  const int64_t steps = first.inputs_.config.train.steps;
  const int64_t& step = first.state_.step;
  Progress progress("train", steps, first.inputs_.quiet, kPlainProgressSeconds, step);
  // what happens between bursts does not count as training speed
  const auto between_bursts = [&](const auto& work) {
    const auto start = SteadyClock::now();
    for (Trainer* trainer : trainers) work(*trainer);
    for (Trainer* trainer : trainers) trainer->clock_->paused_s += seconds_since(start);
  };
  const auto leave = [&](const std::string& state) {
    progress.finish();
    std::exception_ptr problem;
    for (Trainer* trainer : trainers) {
      try {
        for (const auto& sink : trainer->sinks_) sink->flush();
        trainer->write_status(state);
      } catch (const Error&) {
        if (!problem) problem = std::current_exception();
      }
    }
    if (problem) std::rethrow_exception(problem);
  };
  // what ended the run is told, not that it could not be noted down (a full disk)
  const auto leave_early = [&](const std::string& state) {
    try {
      leave(state);
    } catch (const Error& error) {
      log().warn("{}", error.what());
    }
  };
  for (Trainer* trainer : trainers) trainer->write_status("running");
  try {
    between_bursts([](Trainer& trainer) {
      const bool fresh = !std::filesystem::exists(trainer.folder_.checkpoint(0));
      if (trainer.state_.step == 0 && fresh) trainer.save();
    });
    // one that a signal cut short, or of a run of no steps
    between_bursts([](Trainer& trainer) { trainer.evaluate_if_due(); });

    int64_t burst = 1;
    while (step < steps) {
      // a burst that ends at the next thing to do, or soon enough for a signal
      const auto burst_start = SteadyClock::now();
      const int64_t count = std::min(burst, first.next_stop() - step);
      first.engine_.advance(count);
      for (Trainer* trainer : trainers) trainer->check_finite();
      const double elapsed = std::max(1e-6, seconds_since(burst_start));
      burst = std::max<int64_t>(
          1, static_cast<int64_t>(static_cast<double>(count) * kBurstSeconds / elapsed));

      // all seeds are saved before the first is evaluated, which a signal may cut short
      between_bursts([](Trainer& trainer) { trainer.log_and_save_if_due(); });
      between_bursts([](Trainer& trainer) { trainer.evaluate_if_due(); });
      if (stop_requested()) {
        for (Trainer* trainer : trainers) {
          if (!std::filesystem::exists(trainer->folder_.checkpoint(step)))
            trainer->save(/*interim=*/true);
        }
        throw Interrupted("stopped by a signal at step " + std::to_string(step) +
                          "; saved, continue with --resume");
      }
      if (seconds_since(first.clock_->last_status) > kStatusSeconds) {
        for (Trainer* trainer : trainers) trainer->write_status("running");
      }
      const StepMetrics now = first.engine_.metrics(first.seed_index_);
      progress.update(step, "behaviour " + shortest(std::round(now.behaviour * 1e3) / 1e3) +
                                "  td " + shortest(std::round(now.td * 1e6) / 1e6));
    }
    leave("finished");
  } catch (const Interrupted&) {
    leave_early("interrupted");
    throw;
  } catch (...) {
    leave_early("failed");
    throw;
  }
}

int64_t Trainer::next_stop() const {
  const Config& config = inputs_.config;
  int64_t stop = config.train.steps;
  for (const int64_t every : {config.train.log_every, config.checkpoint.every, config.eval.every}) {
    stop = std::min(stop, next_due(state_.step, every, stop));
  }
  return stop;
}

bool Trainer::is_evaluated(int64_t step) const {
  const int64_t every = inputs_.config.eval.every;
  return inputs_.evaluator != nullptr && every > 0 &&
         ((step > 0 && is_due(step, every)) || step == inputs_.config.train.steps);
}

void Trainer::save(bool interim) {
  const int64_t step = state_.step;
  std::erase(interim_steps_, step);
  if (interim) {
    interim_steps_.push_back(step);
    write_status("running");
  }
  inputs_.origin.step = step;
  // metrics first: once a checkpoint stands, a resumed run does not measure its steps again
  for (const auto& sink : sinks_) sink->flush();
  const std::filesystem::path path = folder_.checkpoint(step);
  const std::vector<std::byte> checkpoint = serialise_checkpoint(
      path, inputs_.origin, state_.model,
      deployment_embeddings(state_.model, inputs_.config.search.starts, sampler_),
      state_.multiplier.value().item<double>(), inputs_.normaliser, inputs_.selftest_states);
  save_training_pair(path, checkpoint, folder_.training_file(step), state_);
  remove_old_checkpoints();
}

void Trainer::remove_old_checkpoints() {
  // which ones are kept does not depend on who interrupted the run, and when
  const auto is_old = [&](int64_t step) { return step < state_.step; };
  for (const int64_t step : interim_steps_) {
    if (is_old(step)) folder_.remove_checkpoint(step);
  }
  std::erase_if(interim_steps_, is_old);
  folder_.rotate_checkpoints(inputs_.config.checkpoint.keep);
}

void Trainer::log_metrics() {
  const double scale = inputs_.origin.reward_scale;
  const StepMetrics metrics = engine_.metrics(seed_index_);
  // scores and what is measured on them leave in raw reward units
  MetricValues values = {{"loss/behaviour", metrics.behaviour}};
  const bool cvae = state_.model.shape().embedding == EmbeddingKind::kCvae;
  if (cvae) values.emplace_back("loss/kl", metrics.kl);
  if (inputs_.config.train.score) {
    values.emplace_back("loss/td", metrics.td / (scale * scale));
    values.emplace_back("conservative/gap", metrics.conservative_gap / scale);
    values.emplace_back("conservative/multiplier", metrics.multiplier);
    values.emplace_back("score/mean", metrics.mean_score / scale);
    warn_of_explosion(metrics);
  }
  if (cvae) {
    warn_of_silent_encoder(metrics.kl);
  } else {
    const at::NoGradGuard no_grad;
    const EmbeddingHealth health = embedding_health(state_.model.task_embedding().embeddings());
    values.emplace_back("embedding/nearest_distance", health.nearest_distance);
    values.emplace_back("embedding/saturated_share", health.saturated_share);
    warn_of_collapse(health);
  }
  values.emplace_back("speed/steps_per_second",
                      static_cast<double>(state_.step - clock_->first_step) / clock_->training_s());
  for (const auto& sink : sinks_) sink->write(state_.step, clock_->wall_s(), values);
}

void Trainer::warn_of_collapse(const EmbeddingHealth& health) {
  if (warned_collapse_ || state_.model.shape().num_subtasks == 1 ||
      !(health.nearest_distance < kCollapseDistance)) {
    return;
  }
  warned_collapse_ = true;
  log().warn(
      "seed {}, step {}: the embeddings have collapsed (mean distance to the nearest other one "
      "{:.2g}, {:.0f} % of their coordinates saturated): sub-tasks can no longer be told apart. "
      "Cure: train.reward_scale: auto, train.multiplier: hinge, or a lower train.learning_rate",
      inputs_.config.seed, state_.step, health.nearest_distance, 100.0 * health.saturated_share);
}

void Trainer::warn_of_silent_encoder(double divergence) {
  // an encoder starts near its prior: half of the training is its time to leave it
  if (warned_collapse_ || 2 * state_.step < inputs_.config.train.steps ||
      !(divergence < kCollapsedDivergence)) {
    return;
  }
  warned_collapse_ = true;
  log().warn(
      "seed {}, step {}: the encoder's posterior has collapsed into its prior (loss/kl {:.2g}): "
      "embeddings say nothing of the state. Cure: a smaller model.kl_weight (it is {:.4g})",
      inputs_.config.seed, state_.step, divergence, inputs_.config.model.kl_weight);
}

void Trainer::warn_of_explosion(const StepMetrics& metrics) {
  // an untrained or slightly overestimating model is no explosion
  const double limit = 10.0 * std::max(1.0, inputs_.largest_score);
  const double largest = std::max(std::abs(metrics.mean_score), std::abs(metrics.conservative_gap));
  if (warned_explosion_ || !(largest > limit)) return;
  warned_explosion_ = true;
  log().warn(
      "seed {}, step {}: the scores explode (mean {:.3g}, conservative gap {:.3g} in scaled units; "
      "the data's returns stay within {:.3g}): rules that follow them are blind. Cure: "
      "train.multiplier: hinge and train.reward_scale: auto where they are not set, else a lower "
      "train.learning_rate",
      inputs_.config.seed, state_.step, metrics.mean_score, metrics.conservative_gap,
      inputs_.largest_score);
}

void Trainer::check_finite() {
  const std::optional<BadStep> bad = engine_.first_bad_step(seed_index_);
  if (!bad) return;
  // the batch of that step, drawn again: a pure function of seed and step
  const DrawnRows drawn = sampler_.draw_rows(bad->step);
  const nlohmann::ordered_json report = {
      {"step", bad->step},
      {"loss_behaviour", std::to_string(bad->behaviour)},
      {"loss_td_scaled", std::to_string(bad->td)},
      {"conservative_gap_scaled", std::to_string(bad->conservative_gap)},
      {"rows", drawn.rows},
      {"subtasks", drawn.subtasks}};
  char name[48];
  std::snprintf(name, sizeof name, "failure_step_%09lld.json", static_cast<long long>(bad->step));
  write_file_atomically(folder_.path() / name, json_text(report));
  const std::vector<int64_t> steps = checkpoint_steps(folder_.path());
  throw RunError((folder_.path() / name).string() + ": a loss was not finite at step " +
                 std::to_string(bad->step) + " (behaviour " + std::to_string(bad->behaviour) +
                 ", td " + std::to_string(bad->td) +
                 "); the batch's rows are in that file, the last good checkpoint is step " +
                 (steps.empty() ? "none" : std::to_string(steps.back())) +
                 "; lower train.learning_rate or train.reward_scale, or look at those rows");
}

void Trainer::evaluate_if_due() {
  if (!is_evaluated(state_.step)) return;
  const MetricValues values =
      inputs_.evaluator->evaluate(folder_.checkpoint(state_.step), state_.step);
  for (const auto& sink : sinks_) {
    sink->write(state_.step, clock_->wall_s(), values);
    sink->flush();
  }
}

bool resume_newest(const RunFolder& folder, TrainState& state, const Config& config,
                   const std::string& dataset_sha256, NamedTensors* replay) {
  std::vector<int64_t> steps = checkpoint_steps(folder.path());
  std::vector<std::string> problems;  // newest first
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      // what the state takes from a pair that is refused below, the next one overwrites
      LoadedPair pair = load_training_pair(folder.checkpoint(*step), folder.training_file(*step),
                                           state, dataset_sha256);
      require_own_pair(folder.checkpoint(*step), *step, pair.origin, config);
      if (replay != nullptr) *replay = std::move(pair.replay);
      // what could not be used must not pass for the newest again; --quiet must not hide it
      for (size_t bad = 0; bad < problems.size(); ++bad) {
        const int64_t bad_step = *(steps.rbegin() + static_cast<std::ptrdiff_t>(bad));
        folder.set_aside(bad_step);
        log().error(
            "the checkpoint of step {} cannot be used and is set aside as *.bad; step {} "
            "takes its place. {}",
            bad_step, *step, problems[bad]);
      }
      return true;
    } catch (const DataError& error) {
      problems.emplace_back(error.what());
    }
  }
  if (steps.empty()) {
    require_nothing_done(folder);
    return false;
  }
  throw DataError(folder.path().string() + ": no checkpoint can be resumed from; " +
                  problems.front());
}

void require_resumable(const std::filesystem::path& stored_config, const Config& config,
                       const std::string& cure) {
  const Config stored = load_config(stored_config.string());
  // the search too: its checkpoints hold it, and act by it
  auto difference = learning_difference(stored, config);
  if (!difference) difference = search_difference(stored, config);
  if (!difference) return;
  throw UsageError(stored_config.string() + ": this run was started with `" +
                   text_of(difference->before) + "` and cannot go on with `" +
                   text_of(difference->now) + "`; " + cure);
}

void require_no_evaluation_left(const std::filesystem::path& stored_config, const Config& config) {
  Config same = config;
  same.eval = load_config(stored_config.string()).eval;
  const auto difference = first_difference(same, config);
  if (!difference) return;
  throw UsageError(stored_config.string() + ": this run has finished with `" +
                   text_of(difference->before) + "`, and nothing would be evaluated with `" +
                   text_of(difference->now) +
                   "`; use the same setting, train on (train.steps), or evaluate with drop_eval");
}

}  // namespace drop
