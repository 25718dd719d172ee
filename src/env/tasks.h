#pragma once

#include "drop/env/environment.h"

namespace drop {

// one function for each source file of tasks, all called in registry.cc
void register_hopper(EnvironmentRegistry& registry);
void register_halfcheetah(EnvironmentRegistry& registry);
void register_walker2d(EnvironmentRegistry& registry);
void register_ant(EnvironmentRegistry& registry);
void register_maze2d(EnvironmentRegistry& registry);
void register_antmaze(EnvironmentRegistry& registry);
void register_adroit(EnvironmentRegistry& registry);

}  // namespace drop
