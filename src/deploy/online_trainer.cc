#include "drop/deploy/online_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/random.h"
#include "drop/base/signals.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/policy.h"
#include "drop/train/trainer.h"
#include "drop/train/training_data.h"
#include "train/eager_step_engine.h"

namespace drop {

namespace {

std::filesystem::path training_half(const std::filesystem::path& checkpoint) {
  return checkpoint.parent_path() / (checkpoint.stem().string() + ".training.safetensors");
}

Batch joined(const Batch& a, const Batch& b) {
  const auto cat = [](const at::Tensor& x, const at::Tensor& y) { return at::cat({x, y}); };
  return {cat(a.states, b.states),
          cat(a.actions, b.actions),
          cat(a.rewards, b.rewards),
          cat(a.next_states, b.next_states),
          cat(a.next_actions, b.next_actions),
          cat(a.terminals, b.terminals),
          cat(a.subtasks, b.subtasks)};
}

// a folder goes on with the settings that it began with
void require_same_settings(const std::filesystem::path& file, const std::filesystem::path& start,
                           const OnlineOptions& options) {
  const nlohmann::ordered_json settings = {
      {"start", start.filename().string()},   {"rule", to_string(options.rule)},
      {"ascent_steps", options.ascent_steps}, {"noise", options.noise},
      {"improvement", options.improvement},   {"seed", options.seed}};
  const std::string text = json_text(settings);
  if (std::filesystem::exists(file) && read_text_file(file) != text) {
    throw UsageError(file.string() +
                     ": online training began with other settings (start, rule, ascent steps, "
                     "noise, improvement or seed); use the same ones, or remove the folder");
  }
  write_file_atomically(file, text);
}

}  // namespace

OnlineTrainer::OnlineTrainer(const std::filesystem::path& start,
                             const std::filesystem::path& folder, const OnlineOptions& options)
    : options_(options) {
  // the run's data, sub-tasks and networks as its training saw them
  TrainedModel trained = load_checkpoint(start, options.device);
  origin_ = trained.origin;
  const Config& config = origin_.config;
  if (config.train.batch_size < 2)
    throw UsageError(start.string() + ": train.batch_size is 1, online training halves it");
  TrainingData data = prepare_training_data(config);
  const Decomposition decomposition = decompose_training_data(config, data, config.seed);
  const ModelShape shape =
      model_shape(config, decomposition, data.dataset.state_dim, data.dataset.action_dim);
  const auto type = at::TensorOptions(options.device).dtype(at::kFloat);
  const RewardTransform rewards{origin_.reward_scale, origin_.reward_shift};
  normaliser_ = data.normaliser;
  selftest_states_ = data.selftest_states;
  state_ = std::make_unique<TrainState>(shape, config.train, origin_.reward_scale,
                                        static_cast<uint64_t>(config.seed), type);
  replay_ =
      std::make_unique<ReplayBuffer>(shape.state_dim, shape.action_dim, decomposition, rewards);

  // where an earlier call left off, or the start
  folder_ = std::make_unique<RunFolder>(folder);
  require_same_settings(folder / "online.json", start, options);
  NamedTensors kept;
  if (resume_newest(*folder_, *state_, config, data.origin.dataset_sha256, &kept)) {
    const auto progress = std::find_if(kept.begin(), kept.end(),
                                       [](const auto& named) { return named.first == "progress"; });
    const std::string source = folder.string();
    if (progress == kept.end() || progress->second.numel() != 2)
      throw DataError(source + ": its checkpoint holds no replay state; remove the folder");
    replay_->restore(kept, source);
    env_steps_ = progress->second[0].item<int64_t>();
    episodes_ = progress->second[1].item<int64_t>();
    keep_newest_buffers();  // a kill may have come between a checkpoint and this
  } else {
    load_training_pair(start, training_half(start), *state_, data.origin.dataset_sha256);
    write_file_atomically(folder_->config(), to_yaml(config));
  }
  sampler_ = std::make_unique<Sampler>(
      std::make_shared<const TransitionTable>(std::move(data.dataset), normaliser_, rewards,
                                              options.device),
      data.trajectories, decomposition,
      SamplerOptions{config.train.batch_size / 2, config.train.subtasks_per_batch,
                     static_cast<uint64_t>(config.seed)});
  acting_ = std::make_unique<TrainedModel>(std::move(trained));
  environment_ =
      EnvironmentRegistry::instance().make(origin_.task, {config.physics, origin_.dataset});
  require_fitting_task(environment_->info(), shape.state_dim, shape.action_dim);
}

OnlineTrainer::~OnlineTrainer() = default;

void OnlineTrainer::run_episode() {
  // the rule searches with the parameters as they are now
  {
    const at::NoGradGuard no_grad;
    acting_->model.parameters().flat().copy_(state_->model.parameters().flat());
    acting_->embeddings =
        deployment_embeddings(state_->model, origin_.config.search.starts, *sampler_);
  }
  SearchConfig search = origin_.config.search;
  search.ascent_steps = options_.ascent_steps;
  Policy policy(*acting_, search, options_.rule, options_.precision);
  policy.begin(1, options_.seed, static_cast<uint64_t>(episodes_));
  RandomStream starts(options_.seed, "env", static_cast<uint64_t>(episodes_));
  RandomStream noise(options_.seed, "exploration", static_cast<uint64_t>(episodes_));

  const TaskInfo& task = environment_->info();
  std::vector<double> state(static_cast<size_t>(task.state_dim));
  environment_->reset(starts, state);
  std::vector<float> states(state.begin(), state.end());
  std::vector<float> actions;
  std::vector<double> rewards;
  StepResult step;
  const std::vector<int64_t> only = {0};
  while (!step.terminated && !step.truncated) {
    std::vector<double> action = policy.act(only, state);
    for (double& value : action)
      value = std::clamp(value + options_.noise * noise.normal(), -1.0, 1.0);
    step = environment_->step(action, state);
    states.insert(states.end(), state.begin(), state.end());
    actions.insert(actions.end(), action.begin(), action.end());
    rewards.push_back(step.reward);
  }
  normaliser_.apply(states);
  replay_->add_trajectory(states, actions, rewards, step.terminated);
  env_steps_ += static_cast<int64_t>(rewards.size());
  ++episodes_;
}

void OnlineTrainer::train(int64_t steps) {
  if (replay_->transitions() == 0) return;
  const TrainConfig& config = origin_.config.train;
  const int64_t online = config.batch_size - sampler_->batch_size();
  EagerStepEngine engine(*state_, nullptr, config);
  engine.improve_policy(options_.improvement);
  for (int64_t i = 0; i < steps; ++i) {
    RandomStream stream(options_.seed, "online", static_cast<uint64_t>(state_->step));
    engine.step(
        joined(sampler_->draw(state_->step), replay_->draw(stream, online, options_.device)),
        draw_noise(state_->seed, state_->step, config.batch_size, state_->model.shape(),
                   state_->model.parameters().flat().options()));
  }
  if (const auto bad = engine.first_bad_step()) {
    throw RunError(folder_->path().string() + ": a loss was not finite at step " +
                   std::to_string(bad->step) +
                   "; the last checkpoint stays; lower --improvement, or train.learning_rate");
  }
}

void OnlineTrainer::save() {
  const int64_t step = state_->step;
  ModelOrigin origin = origin_;
  origin.step = step;
  const std::filesystem::path path = folder_->checkpoint(step);
  const std::vector<std::byte> checkpoint = serialise_checkpoint(
      path, origin, state_->model,
      deployment_embeddings(state_->model, origin.config.search.starts, *sampler_),
      state_->multiplier.value().item<double>(), normaliser_, selftest_states_);
  NamedTensors kept = replay_->tensors();
  kept.emplace_back("progress", at::tensor(std::vector<int64_t>{env_steps_, episodes_}, at::kLong));
  save_training_pair(path, checkpoint, folder_->training_file(step), *state_, kept);
  keep_newest_buffers();
}

void OnlineTrainer::keep_newest_buffers() {
  constexpr int64_t kKept = 2;  // one to go on from should the newest checkpoint be damaged
  std::vector<int64_t> steps = checkpoint_steps(folder_->path());
  const auto newest = std::upper_bound(steps.begin(), steps.end(), state_->step);
  const int64_t oldest = *(newest - std::min<int64_t>(kKept, newest - steps.begin()));
  std::error_code ignored;
  const std::filesystem::path folder = folder_->training_file(state_->step).parent_path();
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    // names are as long as each other; also that of a checkpoint which a kill kept from being
    // written
    const bool is_kept = name >= folder_->training_file(oldest).filename().string() &&
                         name <= folder_->training_file(state_->step).filename().string();
    if (name.ends_with(".training.safetensors") && !is_kept)
      std::filesystem::remove(entry.path(), ignored);
  }
}

void OnlineTrainer::advance(int64_t env_steps) {
  while (env_steps_ < env_steps) {
    const int64_t before = env_steps_;
    run_episode();
    train(env_steps_ - before);
    if (stop_requested() && env_steps_ < env_steps) {
      save();
      throw Interrupted("stopped by a signal after " + std::to_string(env_steps_) +
                        " environment steps; saved, call again to go on");
    }
  }
  save();
}

}  // namespace drop
