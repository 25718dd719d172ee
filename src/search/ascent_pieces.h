#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "drop/search/ascent_engine.h"

namespace drop {

/// Bounds the memory that activations take.
inline constexpr int64_t kMaxAscentRows = 16384;

/// Runs an ascent piece by piece: whole states, or some starts of one state, so that no more than
/// `max_rows` rows are in flight at once.
/// @param states  [E, state_dim]; starts [E, N, d]
/// @param ascend  the ascent of one piece
AscentResult run_in_pieces(
    const at::Tensor& states, const at::Tensor& starts, int64_t max_rows,
    const std::function<AscentResult(const at::Tensor& states, const at::Tensor& starts)>& ascend);

}  // namespace drop
