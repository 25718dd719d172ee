#pragma once

#include <cstdint>

#include "drop/nn/drop_model.h"

namespace drop {

/// Floating-point operations (a multiplication and an addition count as two) of the matrix products
/// that one training step cannot do without (docs/algorithm.md): 29.3e9 at the paper's size.
///
/// Everything that can be shared is: phi runs on its N rows only and its first layer is a row
/// look-up; Enc_1(s), its product with Enc_2, and what of Enc_3's first layer depends on s serve
/// all evaluations at the same states; beta(s,z) serves the behaviour loss and C; evaluations at
/// the same z share its product. f's three evaluations and f_bar's are needed whole from there on.
/// Gradients exist where something learns from them: none to states and actions, none of C to
/// actions and embeddings, none through f_bar or beta(s,z_u).
/// @param constraint_active  false: the constraint C <= eta_c sends no gradient (satisfied, form
///                           `hinge`), and two of f's evaluations have no backward pass
double step_flops(const ModelShape& shape, int64_t batch_size, bool constraint_active = true);

}  // namespace drop
