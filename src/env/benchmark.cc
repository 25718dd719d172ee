#include "drop/env/benchmark.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/timing.h"
#include "drop/env/vector_environment.h"
#include "env/mujoco_environment.h"

namespace drop {

namespace {

// where an episode of one environment began
struct Start {
  int64_t step = 0;
  std::vector<double> qpos;
  std::vector<double> qvel;
  std::vector<double> task_state;
};

const mjModel& model_of(const VectorEnvironment& environments, int64_t index) {
  const auto* environment = dynamic_cast<const MujocoEnvironment*>(&environments[index]);
  if (environment == nullptr) {
    throw RunError(environments.info().name +
                   ": not a MuJoCo task, so there is no bare mj_step to compare with");
  }
  return environment->model();
}

// all environments, `steps` times; actions [steps, size, action_dim]. Calls on_start(i, step) at
// each episode's start
void run_drop(VectorEnvironment& environments, int64_t steps, std::span<const double> actions,
              const auto& on_start) {
  const auto count = static_cast<size_t>(environments.size());
  const auto state_dim = static_cast<size_t>(environments.info().state_dim);
  const size_t row = count * static_cast<size_t>(environments.info().action_dim);
  std::vector<double> observations(count * state_dim);
  std::vector<StepResult> results(count);
  std::vector<int64_t> all(count);
  std::iota(all.begin(), all.end(), int64_t{0});
  std::vector<RandomStream> streams;
  for (size_t i = 0; i < count; ++i) streams.emplace_back(uint64_t{0}, "env", i);
  const auto start_episode = [&](size_t i, int64_t step) {
    environments[static_cast<int64_t>(i)].reset(
        streams[i], std::span(observations).subspan(i * state_dim, state_dim));
    on_start(static_cast<int64_t>(i), step);
  };

  for (size_t i = 0; i < count; ++i) start_episode(i, 0);
  for (int64_t step = 0; step < steps; ++step) {
    environments.step(all, actions.subspan(static_cast<size_t>(step) * row, row), observations,
                      results);
    for (size_t i = 0; i < count; ++i) {
      if (results[i].terminated || results[i].truncated) start_episode(i, step + 1);
    }
  }
}

// one environment's trajectories in bare calls
void run_bare(Environment& environment, const mjModel& model, mjData& data, int64_t physics_steps,
              int64_t steps, const std::vector<Start>& starts, std::span<const double> controls,
              size_t row) {
  size_t next = 0;
  for (int64_t step = 0; step < steps; ++step) {
    if (next < starts.size() && starts[next].step == step) {
      environment.set_task_state(starts[next].task_state);  // Adroit's are part of the model
      mj_resetData(&model, &data);
      std::copy(starts[next].qpos.begin(), starts[next].qpos.end(), data.qpos);
      std::copy(starts[next].qvel.begin(), starts[next].qvel.end(), data.qvel);
      mj_forward(&model, &data);
      ++next;
    }
    const auto control =
        controls.subspan(static_cast<size_t>(step) * row, static_cast<size_t>(model.nu));
    std::copy(control.begin(), control.end(), data.ctrl);
    for (int64_t i = 0; i < physics_steps; ++i) mj_step(&model, &data);
  }
}

}  // namespace

EnvBenchmark benchmark_environment(const EnvBenchmarkOptions& options) {
  VectorEnvironment environments(options.task, options.environment, options.num_envs,
                                 options.threads);
  const TaskInfo& info = environments.info();
  const int64_t count = environments.size();
  EnvBenchmark result;
  result.threads = environments.threads();
  result.physics_steps = std::lround(info.dt / model_of(environments, 0).opt.timestep);

  // how many steps fill a repetition
  const size_t row = static_cast<size_t>(count * info.action_dim);
  const auto random_actions = [&](int64_t steps) {
    RandomStream stream(1, "env");
    std::vector<double> actions(static_cast<size_t>(steps) * row);
    for (double& action : actions) action = stream.uniform(-1.0, 1.0);
    return actions;
  };
  constexpr int64_t kProbe = 30;
  const std::vector<double> probe = random_actions(kProbe);
  const auto ignore = [](int64_t, int64_t) {};
  const double probe_s = seconds_of([&] { run_drop(environments, kProbe, probe, ignore); });
  const auto steps = std::max<int64_t>(
      kProbe, std::lround(static_cast<double>(kProbe) * options.repetition_s / probe_s));
  result.steps = steps * count;

  // warm up, and record where episodes begin; MuJoCo's controls of the same actions
  const std::vector<double> actions = random_actions(steps);
  std::vector<std::vector<Start>> starts(static_cast<size_t>(count));
  run_drop(environments, steps, actions, [&](int64_t i, int64_t step) {
    starts[static_cast<size_t>(i)].push_back(
        {step, environments[i].qpos(), environments[i].qvel(), environments[i].task_state()});
  });
  const mjModel& first = model_of(environments, 0);
  std::vector<double> controls = actions;
  for (size_t k = 0; k < controls.size(); ++k) {
    const mjtNum* range = first.actuator_ctrlrange + 2 * (k % static_cast<size_t>(first.nu));
    controls[k] = (range[0] + range[1]) / 2 + controls[k] * (range[1] - range[0]) / 2;
  }
  std::vector<std::unique_ptr<mjData, MujocoDeleter>> data;
  for (int64_t i = 0; i < count; ++i) {
    data.emplace_back(mj_makeData(&model_of(environments, i)));
    if (!data.back()) throw RunError(info.name + ": no memory for the bare simulations");
  }
  const auto run_share = [&](int64_t thread) {
    for (int64_t i = thread * count / result.threads; i < (thread + 1) * count / result.threads;
         ++i) {
      run_bare(environments[i], model_of(environments, i), *data[static_cast<size_t>(i)],
               result.physics_steps, steps, starts[static_cast<size_t>(i)],
               std::span(controls).subspan(static_cast<size_t>(i * info.action_dim)), row);
    }
  };

  // in turns, so that a busy machine slows both
  for (int64_t repetition = 0; repetition < options.repetitions; ++repetition) {
    result.drop_s.push_back(seconds_of([&] { run_drop(environments, steps, actions, ignore); }));
    result.mj_step_s.push_back(seconds_of([&] {
      std::vector<std::jthread> threads;
      for (int64_t thread = 1; thread < result.threads; ++thread)
        threads.emplace_back(run_share, thread);
      run_share(0);
    }));
  }
  return result;
}

}  // namespace drop
