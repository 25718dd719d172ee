#include "search/autograd_ascent.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "search/ascent_pieces.h"

namespace drop {

AscentResult AutogradAscent::run(const at::Tensor& states, const at::Tensor& starts,
                                 const AscentOptions& options) {
  return run_in_pieces(states, starts, kMaxAscentRows,
                       [&](const at::Tensor& some, const at::Tensor& from) {
                         EncodedStates encoded;
                         {
                           const at::NoGradGuard no_grad;
                           encoded = model_.encode(some);
                         }
                         return ascend(encoded, from, options);
                       });
}

AscentResult AutogradAscent::ascend(const EncodedStates& states, const at::Tensor& starts,
                                    const AscentOptions& options) const {
  at::Tensor z = starts.detach().clone();
  AscentResult best;  // of all iterates so far, if asked for
  const auto remember = [&](const at::Tensor& scores) {
    if (!best.scores.defined()) {
      best = {z.detach().clone(), scores.detach()};
      return;
    }
    const at::Tensor better = scores.detach() > best.scores;
    best.embeddings = at::where(better.unsqueeze(-1), z.detach(), best.embeddings);
    best.scores = at::where(better, scores.detach(), best.scores);
  };

  for (int64_t step = 0; step < options.steps; ++step) {
    // gradient of each start's own score: the sum separates
    at::Tensor gradient;
    {
      const at::AutoGradMode with_gradient(true);
      z.set_requires_grad(true);
      const at::Tensor scores = model_.score_embeddings(states, z);
      gradient = torch::autograd::grad({scores.sum()}, {z})[0];
      if (options.keep_best_iterate) remember(scores);
    }
    const at::NoGradGuard no_grad;
    if (options.normalise_gradient) {
      const at::Tensor norm = gradient.norm(2, {-1}, /*keepdim=*/true);
      gradient = at::where(norm > 0, gradient / norm, at::zeros_like(gradient));
    }
    z = z.detach() + gradient * options.step_size;
    if (options.clip) z.clamp_(-options.bound, options.bound);
  }

  const at::NoGradGuard no_grad;
  const at::Tensor scores = model_.score_embeddings(states, z.detach());
  if (!options.keep_best_iterate) return {z.detach(), scores};
  remember(scores);
  return best;
}

}  // namespace drop
