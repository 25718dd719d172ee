#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "drop/config/config.h"
#include "drop/data/decomposition.h"
#include "drop/data/normaliser.h"
#include "drop/data/trajectory_dataset.h"
#include "drop/nn/checkpoint.h"

namespace drop {

/// A data set as training needs it, before a seed is chosen.
struct TrainingData {
  TrajectoryDataset dataset;
  std::vector<Trajectory> trajectories;  ///< those that may be decomposed
  Normaliser normaliser;
  at::Tensor selftest_states;    ///< four raw states spread over the file [4, state_dim]
  ModelOrigin origin;            ///< all but config and step
  double largest_score = 0.0;    ///< scaled; no discounted return of such rewards can exceed it
  nlohmann::ordered_json facts;  ///< for provenance.json
};

/// Finds and reads the config's data set, fits the normaliser and the score scale; warns of data
/// that teach nothing (docs/algorithm.md, "Odd data"). Throws DataError when it has no usable
/// trajectory or values that float32 training cannot carry, or says by its attribute `task` that it
/// is of another body or place than the config's task; UsageError for such a train.reward_scale.
TrainingData prepare_training_data(const Config& config);

/// The sub-tasks of one seed's run. A CVAE learns from all transitions alike: one sub-task.
Decomposition decompose_training_data(const Config& config, const TrainingData& data, int64_t seed);

/// Sizes of the networks of a run; with a CVAE N counts the starting points of the search.
ModelShape model_shape(const Config& config, const Decomposition& decomposition, int64_t state_dim,
                       int64_t action_dim);

}  // namespace drop
