#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "drop/nn/checkpoint.h"
#include "drop/train/train_state.h"

namespace drop {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Writes a checkpoint and its training half (`step_*.training.safetensors`): Adam's moments by
/// parameter name (`adam.exp_avg.NAME`, `adam.exp_avg_sq.NAME`), `adam.step`, the multiplier's own
/// state, and the position of every random stream (`rng.seed`, `rng.step`: streams are pure
/// functions of both). `__metadata__` names the step and the checkpoint's payload hash it belongs
/// to. The training half comes first: where there is a checkpoint, there is all that resuming
/// needs, whenever the process was killed. Throws RunError, and writes nothing, for moments that
/// are not finite.
/// @param checkpoint_bytes  from `serialise_checkpoint`
/// @param replay  tensors to be kept besides: the replay buffer of online fine-tuning
void save_training_pair(const std::filesystem::path& checkpoint,
                        std::span<const std::byte> checkpoint_bytes,
                        const std::filesystem::path& training, const TrainState& state,
                        const NamedTensors& replay = {});

/// What a checkpoint pair tells besides the state.
struct LoadedPair {
  ModelOrigin origin;
  NamedTensors replay;  ///< what was kept besides
};

/// Restores a state from a checkpoint pair; the model must have the checkpoint's shape. Verifies
/// both files and that they belong together. Throws DataError, and changes nothing then.
LoadedPair load_training_pair(const std::filesystem::path& checkpoint,
                              const std::filesystem::path& training, TrainState& state,
                              const std::string& dataset_sha256);

}  // namespace drop
