#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace drop {

/// Standardises states: (s - mean) / std, in float32. `std` is the divisor: the population standard
/// deviation over all rows of the file, computed in float64, plus 1e-3.
struct Normaliser {
  std::vector<float> mean;  ///< [state_dim]
  std::vector<float> std;   ///< [state_dim]

  /// Standardises rows in place; `states` is row-major [rows, state_dim].
  void apply(std::span<float> states) const;
};

/// What is added to each standard deviation: the divisor of a dimension that never changes.
inline constexpr double kStdOffset = 1e-3;

/// Throws DataError for a dimension whose spread float32 cannot hold.
/// @param observations  row-major [rows, state_dim], rows >= 1
Normaliser fit_normaliser(std::span<const float> observations, int64_t state_dim);

}  // namespace drop
