#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drop/env/environment.h"

namespace drop {

/// Many environments of one task, stepped together by a pool of threads. Each has a state of its
/// own; the compiled model is shared, but for Adroit's, whose resets change it. What comes out does
/// not depend on the number of threads. Resets are explicit: an episode that has ended must be left
/// out of `which` until it is reset.
class VectorEnvironment {
 public:
  /// @param threads  at most; 0 = all cores. Never more than environments
  VectorEnvironment(const std::string& task, const EnvironmentOptions& options, int64_t count,
                    int64_t threads);
  ~VectorEnvironment();
  VectorEnvironment(const VectorEnvironment&) = delete;
  VectorEnvironment& operator=(const VectorEnvironment&) = delete;

  const TaskInfo& info() const;
  int64_t size() const;
  int64_t threads() const;
  Environment& operator[](int64_t index);
  const Environment& operator[](int64_t index) const;

  /// Starts an episode in every environment, number i from the stream (seed, "env", i), and writes
  /// all observations [size, state_dim].
  void reset(uint64_t seed, std::span<double> observations);

  /// One step of some environments. An error of one of them (the first in `which`) is thrown after
  /// all have made their step.
  /// @param which         [n] indices, each at most once
  /// @param actions       [n, action_dim]
  /// @param observations  [n, state_dim], written
  /// @param results       [n], written
  void step(std::span<const int64_t> which, std::span<const double> actions,
            std::span<double> observations, std::span<StepResult> results);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drop
