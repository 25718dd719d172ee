#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "drop/config/config.h"
#include "drop/data/normaliser.h"
#include "drop/nn/drop_model.h"
#include "drop/nn/safetensors.h"

namespace drop {

/// Where a model comes from: travels in every checkpoint's metadata.
struct ModelOrigin {
  Config config;               ///< resolved
  std::string task;            ///< environment's name, may be empty
  std::string dataset;         ///< D4RL id or file stem
  std::string dataset_sha256;  ///< of the data file
  int64_t step = 0;
  double reward_scale = 1.0;
  double reward_shift = 0.0;
  /// Of the data's trajectories, for reports only; not a number where unknown.
  double data_return_mean = kUnknown;  ///< raw: "the behaviour's return"
  double data_return_max = kUnknown;
  double data_length_mean = kUnknown;  ///< rows of a trajectory, on average

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// A model ready to act: networks, normaliser, embeddings, origin.
struct TrainedModel {
  ModelOrigin origin;
  DropModel model;
  at::Tensor state_mean;  ///< [state_dim]
  at::Tensor state_std;   ///< [state_dim], the divisor
  at::Tensor embeddings;  ///< z_0 ... z_{N-1}: [N, d]

  /// (s - mean) / std
  at::Tensor standardise(const at::Tensor& raw_states) const;
};

/// Version of the checkpoint's layout that this program writes.
inline constexpr int kCheckpointFormatVersion = 1;

/// Throws DataError for a file whose metadata name another version, or none.
void require_format_version(const SafetensorsFile& file, const std::string& source);

/// The bytes of a checkpoint: parameters, multiplier, normaliser, embeddings and a
/// self-test vector: four raw states with the actions and scores of rule `best`.
/// Refuses (RunError) parameters that are not finite.
/// @param path             where it will lie, for that error's message
/// @param embeddings       z_0 ... z_{N-1}, where deployment starts from [N, d]
/// @param selftest_states  [4, state_dim], raw
/// @param multiplier       lambda itself
std::vector<std::byte> serialise_checkpoint(const std::filesystem::path& path,
                                            const ModelOrigin& origin, const DropModel& model,
                                            const at::Tensor& embeddings, double multiplier,
                                            const Normaliser& normaliser,
                                            const at::Tensor& selftest_states);

/// Writes such a checkpoint atomically.
void save_checkpoint(const std::filesystem::path& path, const ModelOrigin& origin,
                     const DropModel& model, const at::Tensor& embeddings, double multiplier,
                     const Normaliser& normaliser, const at::Tensor& selftest_states);

/// Reads a checkpoint and verifies size, header, both hashes, names, shapes, finiteness and the
/// self-test before anything is used. Throws DataError.
TrainedModel load_checkpoint(const std::filesystem::path& path, at::Device device);

}  // namespace drop
