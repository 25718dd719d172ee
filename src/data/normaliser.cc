#include "drop/data/normaliser.h"

#include <cmath>
#include <limits>
#include <string>

#include "drop/base/error.h"

namespace drop {

namespace {

void check_rows(size_t values, size_t state_dim) {
  if (state_dim == 0 || values % state_dim != 0) {
    throw RunError("states cannot be standardised: " + std::to_string(values) +
                   " numbers are no whole rows of " + std::to_string(state_dim));
  }
}

}  // namespace

void Normaliser::apply(std::span<float> states) const {
  check_rows(states.size(), mean.size());
  const size_t width = mean.size();
  for (size_t row = 0; row < states.size(); row += width) {
    for (size_t column = 0; column < width; ++column) {
      states[row + column] = (states[row + column] - mean[column]) / std[column];
    }
  }
}

Normaliser fit_normaliser(std::span<const float> observations, int64_t state_dim) {
  const auto width = static_cast<size_t>(state_dim > 0 ? state_dim : 0);
  check_rows(observations.size(), width);
  const size_t rows = observations.size() / width;
  if (rows == 0) throw DataError("states cannot be standardised: the data set has no rows");

  // two passes in float64: the mean, then the squared distances from it
  std::vector<double> mean(width, 0.0), square(width, 0.0);
  for (size_t row = 0; row < observations.size(); row += width) {
    for (size_t column = 0; column < width; ++column) mean[column] += observations[row + column];
  }
  for (double& value : mean) value /= static_cast<double>(rows);
  for (size_t row = 0; row < observations.size(); row += width) {
    for (size_t column = 0; column < width; ++column) {
      const double distance = observations[row + column] - mean[column];
      square[column] += distance * distance;
    }
  }

  Normaliser normaliser;
  for (size_t column = 0; column < width; ++column) {
    // no row is further from the mean than this
    if (std::sqrt(square[column]) > std::numeric_limits<float>::max()) {
      throw DataError("states cannot be standardised: key 'observations' column " +
                      std::to_string(column) +
                      " spreads over more than float32 holds; allowed are values up to about "
                      "1e30; rescale or drop the column");
    }
    normaliser.mean.push_back(static_cast<float>(mean[column]));
    normaliser.std.push_back(
        static_cast<float>(std::sqrt(square[column] / static_cast<double>(rows)) + kStdOffset));
  }
  return normaliser;
}

}  // namespace drop
