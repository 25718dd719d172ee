#pragma once

#include <filesystem>

#include "drop/train/step_engine.h"

namespace drop {

/// The training half of a checkpoint (`step_*.training.safetensors`): Adam's moments by parameter
/// name (`adam.exp_avg.NAME`, `adam.exp_avg_sq.NAME`), `adam.step`, the multiplier's own state, and
/// the position of every random stream (`rng.seed`, `rng.step`: streams are pure functions of
/// both). `__metadata__` names the step and the checkpoint's payload hash it belongs to.
void save_training_file(const std::filesystem::path& path, const TrainState& state,
                        const std::filesystem::path& checkpoint);

/// Restores a state from a checkpoint pair; the model must have the checkpoint's shape. Verifies
/// both files and that they belong together. Throws DataError.
void load_training_pair(const std::filesystem::path& checkpoint,
                        const std::filesystem::path& training, TrainState& state,
                        const std::string& dataset_sha256);

}  // namespace drop
