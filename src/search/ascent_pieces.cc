#include "search/ascent_pieces.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace drop {

AscentResult run_in_pieces(
    const at::Tensor& states, const at::Tensor& starts, int64_t max_rows,
    const std::function<AscentResult(const at::Tensor&, const at::Tensor&)>& ascend) {
  const int64_t num_states = starts.size(0);
  const int64_t num_starts = starts.size(1);
  const int64_t starts_a_piece = std::min(num_starts, max_rows);
  const int64_t states_a_piece = std::max<int64_t>(1, max_rows / starts_a_piece);
  std::vector<at::Tensor> embeddings;
  std::vector<at::Tensor> scores;
  for (int64_t state = 0; state < num_states; state += states_a_piece) {
    const int64_t count = std::min(states_a_piece, num_states - state);
    std::vector<at::Tensor> piece_embeddings;
    std::vector<at::Tensor> piece_scores;
    for (int64_t start = 0; start < num_starts; start += starts_a_piece) {
      const int64_t width = std::min(starts_a_piece, num_starts - start);
      const AscentResult result = ascend(states.narrow(0, state, count),
                                         starts.narrow(0, state, count).narrow(1, start, width));
      piece_embeddings.push_back(result.embeddings);
      piece_scores.push_back(result.scores);
    }
    embeddings.push_back(at::cat(piece_embeddings, 1));
    scores.push_back(at::cat(piece_scores, 1));
  }
  return {at::cat(embeddings, 0), at::cat(scores, 0)};
}

}  // namespace drop
