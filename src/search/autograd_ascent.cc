#include "search/autograd_ascent.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

namespace drop {

namespace {

// rows in flight at once: bounds the memory that activations take
constexpr int64_t kMaxRows = 16384;

}  // namespace

AscentResult AutogradAscent::run(const at::Tensor& states, const at::Tensor& starts,
                                 const AscentOptions& options) {
  const int64_t num_states = starts.size(0);
  const int64_t num_starts = starts.size(1);
  EncodedStates encoded;
  {
    const at::NoGradGuard no_grad;
    encoded = model_.encode(states);
  }
  // pieces of whole states and of starts, so that many starts at one state fit as well
  const int64_t starts_a_piece = std::min(num_starts, kMaxRows);
  const int64_t states_a_piece = std::max<int64_t>(1, kMaxRows / starts_a_piece);
  std::vector<at::Tensor> embeddings;
  std::vector<at::Tensor> scores;
  for (int64_t state = 0; state < num_states; state += states_a_piece) {
    const int64_t count = std::min(states_a_piece, num_states - state);
    const EncodedStates piece = {encoded.policy.narrow(0, state, count),
                                 encoded.score.narrow(0, state, count)};
    std::vector<at::Tensor> piece_embeddings;
    std::vector<at::Tensor> piece_scores;
    for (int64_t start = 0; start < num_starts; start += starts_a_piece) {
      const int64_t width = std::min(starts_a_piece, num_starts - start);
      AscentResult result =
          ascend(piece, starts.narrow(0, state, count).narrow(1, start, width), options);
      piece_embeddings.push_back(result.embeddings);
      piece_scores.push_back(result.scores);
    }
    embeddings.push_back(at::cat(piece_embeddings, 1));
    scores.push_back(at::cat(piece_scores, 1));
  }
  return {at::cat(embeddings, 0), at::cat(scores, 0)};
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
