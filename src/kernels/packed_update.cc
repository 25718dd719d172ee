#include "kernels/packed_update.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/avx512_adam.h"

namespace drop {

PackedUpdate::PackedUpdate(const std::vector<WeightPart>& parts, int64_t rows,
                           const ParameterUpdate& update) {
  std::vector<Chunk> groups;
  for (size_t w = 0; w < parts.size(); ++w) {
    const WeightPart& p = parts[w];
    const int64_t offset = p.offset + (p.target ? update.target_source : 0);
    for (int64_t group = 0; group * rows < p.out; ++group) {
      const int64_t last_row = std::min((group + 1) * rows, p.out) - 1;
      groups.push_back({offset + group * rows * p.stride,
                        offset + last_row * p.stride + p.columns,
                        {{w, group}}});
    }
  }
  std::sort(groups.begin(), groups.end(),
            [](const Chunk& a, const Chunk& b) { return a.begin < b.begin; });
  // merge what overlaps, close the gaps
  chunks_.push_back({0, 0, {}});
  for (const Chunk& group : groups) {
    Chunk& last = chunks_.back();
    if (group.begin >= last.end) {
      last.end = group.begin;
      chunks_.push_back(group);
    } else {
      last.end = std::max(last.end, group.end);
      last.packs.push_back(group.packs.front());
    }
  }
  chunks_.back().end = update.parameters.numel();
}

bool PackedUpdate::run(const ParameterUpdate& u,
                       const std::function<void(size_t, int64_t)>& pack) const {
  float& count = *u.step_count.data_ptr<float>();
  count += 1.0f;
  const double root_correction = 1.0 / std::sqrt(1.0 - std::pow(arithmetic::kBeta2, count));
  const avx512::AdamRates rates{
      static_cast<float>(u.learning_rate / (1.0 - std::pow(arithmetic::kBeta1, count))),
      static_cast<float>(root_correction)};
  auto* parameters = u.parameters.data_ptr<float>();
  const auto* gradients = u.gradients.const_data_ptr<float>();
  auto* exp_avg = u.exp_avg.data_ptr<float>();
  auto* exp_avg_sq = u.exp_avg_sq.data_ptr<float>();
  auto* target = u.target.data_ptr<float>();
  const int64_t target_end = u.target_source + u.target.numel();
  constexpr int64_t kChunksWorthAThread = 8;
  std::atomic<bool> finite = true;
  at::parallel_for(0, static_cast<int64_t>(chunks_.size()), kChunksWorthAThread,
                   [&](int64_t first, int64_t last) {
                     for (int64_t i = first; i < last; ++i) {
                       const Chunk& chunk = chunks_[static_cast<size_t>(i)];
                       const int64_t begin = chunk.begin;
                       if (!avx512::adam(parameters + begin, gradients + begin, exp_avg + begin,
                                         exp_avg_sq + begin, chunk.end - begin, rates))
                         finite = false;
                       const int64_t from = std::max(begin, u.target_source);
                       const int64_t to = std::min(chunk.end, target_end);
                       if (from < to) {
                         avx512::soft_update(target + from - u.target_source, parameters + from,
                                             to - from, static_cast<float>(u.target_rate));
                       }
                       for (const Chunk::Pack& rows : chunk.packs) pack(rows.weight, rows.group);
                     }
                   });
  return finite;
}

}  // namespace drop
