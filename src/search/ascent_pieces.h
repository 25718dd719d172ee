#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "drop/search/ascent_engine.h"

namespace drop {

/// Runs an ascent piece by piece: whole states, or some starts of one state, so that no more than
/// 16,384 rows are in flight at once, which bounds the memory that activations take.
/// @param states  [E, state_dim]; starts [E, N, d]
/// @param ascend  the ascent of one piece
AscentResult run_in_pieces(
    const at::Tensor& states, const at::Tensor& starts,
    const std::function<AscentResult(const at::Tensor& states, const at::Tensor& starts)>& ascend);

}  // namespace drop
