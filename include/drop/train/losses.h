#pragma once

#include <ATen/core/Tensor.h>

#include "drop/data/sampler.h"
#include "drop/nn/drop_model.h"

namespace drop {

/// What of the config the losses depend on.
struct LossSettings {
  bool score = true;  ///< false: behaviour alone, all other terms are 0
  double discount = 0.99;
  bool conservative = true;          ///< false: the gap is measured, but sends no gradient
  bool td_updates_embedding = true;  ///< L_td sends gradients into phi as well
  double improvement = 0.0;          ///< online fine-tuning: weight of the policy improvement
};

/// The terms of one step (docs/algorithm.md, steps 2 to 4), scalars in scaled reward units,
/// differentiable.
struct LossTerms {
  at::Tensor behaviour;         ///< L_bc = -mean log beta(a|s,z), constant dropped (Equation 6)
  at::Tensor kl;                ///< cvae: mean KL(q(z|s,a) || N(0, I)), unweighted; else 0
  at::Tensor td;                ///< L_td = mean (f(s,a,z) - y)^2 (Equation 8)
  at::Tensor conservative_gap;  ///< C = mean f(s,beta(s,z_u),z_u) - mean f(s,beta(s,z),z)
  at::Tensor improvement;       ///< -weight * mean f(s,beta(s,z),z) / mean |f|; gradient into beta
  at::Tensor mean_score;        ///< mean f(s,a,z), detached: what the model predicts
};

/// The random numbers of one step.
struct StepNoise {
  at::Tensor uniform_z;  ///< z_u ~ mu(z), uniform over the box Z: [B, d]
  at::Tensor posterior;  ///< cvae: standard normal [B, d]; else undefined
};

/// Gradients reach exactly what the algorithm updates: L_bc beta and phi, L_td f and (if asked)
/// phi, C f alone (actions and embeddings detached). y = r + gamma (1 - terminal) f_bar(s',a',z).
/// With a CVAE (Equations 10 and 11) z ~ q(z|s,a) takes the place of phi(n); f's losses send it
/// nothing.
LossTerms drop_losses(const DropModel& model, const Batch& batch, const StepNoise& noise,
                      const LossSettings& settings);

}  // namespace drop
