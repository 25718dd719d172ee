#include <algorithm>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "env/tasks.h"

namespace drop {

const EnvironmentRegistry& EnvironmentRegistry::instance() {
  static const EnvironmentRegistry registry = [] {
    EnvironmentRegistry all;
    register_hopper(all);
    register_halfcheetah(all);
    register_walker2d(all);
    register_maze2d(all);
    register_ant(all);
    register_antmaze(all);
    register_adroit(all);
    return all;
  }();
  return registry;
}

void EnvironmentRegistry::add(const std::string& task, EnvironmentFactory factory) {
  if (contains(task)) {
    throw UsageError("environment \"" + task + "\" is registered twice; give one another name");
  }
  factories_.emplace_back(task, std::move(factory));
}

bool EnvironmentRegistry::contains(const std::string& task) const {
  return std::any_of(factories_.begin(), factories_.end(),
                     [&](const auto& entry) { return entry.first == task; });
}

std::vector<std::string> EnvironmentRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

std::unique_ptr<Environment> EnvironmentRegistry::make(const std::string& task,
                                                       const EnvironmentOptions& options) const {
  for (const auto& [name, factory] : factories_) {
    if (name == task) return factory(options);
  }
  const std::vector<std::string> known = names();
  const std::string nearest = nearest_name(task, known);
  throw UsageError("task \"" + task + "\" has no environment in this build" +
                   (nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?") +
                   "; allowed: " + join(known));
}

}  // namespace drop
