#include "drop/env/environment.h"

#include "drop/base/error.h"

namespace drop {

void Environment::resume() {
  std::vector<double> observation(static_cast<size_t>(info().state_dim));
  set_state(qpos(), qvel(), observation);
}

void Environment::set_task_state(std::span<const double> values) {
  if (values.empty()) return;
  throw RunError(info().name + ": this task has no variables beside qpos and qvel, found " +
                 std::to_string(values.size()) + "; pass none");
}

std::optional<std::vector<double>> Environment::task_state_from(
    std::span<const double> /*qpos*/, std::span<const double> /*observation*/) {
  if (info().variables.empty()) return std::vector<double>{};
  return std::nullopt;
}

}  // namespace drop
