#pragma once

#include <ATen/core/Tensor.h>

#include "drop/data/sampler.h"
#include "drop/nn/drop_model.h"

namespace drop {

/// What of the config the losses depend on.
struct LossSettings {
  double discount = 0.99;
  bool conservative = true;          ///< false: the gap is measured, but sends no gradient
  bool td_updates_embedding = true;  ///< L_td sends gradients into phi as well
};

/// The terms of one step (spec 3, steps 2 to 4), scalars in scaled reward units, differentiable.
struct LossTerms {
  at::Tensor behaviour;         ///< L_bc = -mean log beta(a|s,z), constant dropped (Equation 6)
  at::Tensor td;                ///< L_td = mean (f(s,a,z) - y)^2 (Equation 8)
  at::Tensor conservative_gap;  ///< C = mean f(s,beta(s,z_u),z_u) - mean f(s,beta(s,z),z)
  at::Tensor mean_score;        ///< mean f(s,a,z), detached: what the model predicts
};

/// Gradients reach exactly what the algorithm updates: L_bc beta and phi, L_td f and (if asked)
/// phi, C f alone (actions and embeddings detached). y = r + gamma (1 - terminal) f_bar(s',a',z).
/// @param uniform_z  z_u ~ mu(z), [B, d]
LossTerms drop_losses(const DropModel& model, const Batch& batch, const at::Tensor& uniform_z,
                      const LossSettings& settings);

}  // namespace drop
