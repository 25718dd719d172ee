#pragma once

#include "drop/env/environment.h"

namespace drop {

// one function for each source file of tasks, all called in registry.cc
void register_hopper(EnvironmentRegistry& registry);
void register_maze2d(EnvironmentRegistry& registry);

}  // namespace drop
