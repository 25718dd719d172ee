// Loads a checkpoint and acts for one episode: act CHECKPOINT.safetensors

#include <cstdio>
#include <exception>
#include <vector>

#include "drop/deploy/policy.h"
#include "drop/env/environment.h"
#include "drop/nn/checkpoint.h"

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  // networks, normaliser and embeddings, verified before anything is used
  const drop::TrainedModel trained = drop::load_checkpoint(argv[1], at::kCPU);
  drop::Policy policy(trained, trained.origin.config.search, drop::InferenceRuleKind::kBestAda);

  const auto environment = drop::EnvironmentRegistry::instance().make(
      trained.origin.task, {trained.origin.config.physics, trained.origin.dataset});
  std::vector<double> state(static_cast<size_t>(environment->info().state_dim));
  drop::RandomStream starts(/*seed=*/0, "env");
  environment->reset(starts, state);
  policy.begin(/*episodes=*/1, /*seed=*/0);

  const std::vector<int64_t> episode = {0};
  double episode_return = 0.0;
  for (drop::StepResult step; !step.terminated && !step.truncated;) {
    step = environment->step(policy.act(episode, state), state);
    episode_return += step.reward;
  }
  std::printf("return %.1f\n", episode_return);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "act: %s\n", error.what());
  return 1;
}
