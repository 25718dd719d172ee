#include "drop/search/embedding_search.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

#include "drop/nn/runtime.h"

namespace drop {

namespace {

// rows in flight at once when all sub-tasks are scored
constexpr int64_t kMaxRows = 32768;

// the first index of each row's largest value: [E, N] -> [E]
at::Tensor first_argmax(const at::Tensor& scores) {
  const at::Tensor is_largest = scores == scores.amax(1, /*keepdim=*/true);
  const at::Tensor position = at::arange(scores.size(1), scores.options().dtype(at::kLong));
  return position.where(is_largest, at::scalar_tensor(scores.size(1) - 1, position.options()))
      .amin(1);
}

// values [E, N, d] at one index [E] a row -> [E, d]
at::Tensor pick(const at::Tensor& values, const at::Tensor& index) {
  return values.gather(1, index.view({-1, 1, 1}).expand({-1, 1, values.size(2)})).squeeze(1);
}

class SearchRule : public InferenceRule {
 public:
  SearchRule(InferenceRuleKind kind, const EmbeddingSearch& search)
      : kind_(kind), search_(search) {}
  InferenceRuleKind kind() const override { return kind_; }

 protected:
  const EmbeddingSearch& search() const { return search_; }

 private:
  InferenceRuleKind kind_;
  const EmbeddingSearch& search_;
};

class BestRule : public SearchRule {
 public:
  using SearchRule::SearchRule;
  bool adapts() const override { return kind() == InferenceRuleKind::kBestAda; }
  Inference infer(const at::Tensor& states) override { return search().best(states); }
};

class GradRule : public SearchRule {
 public:
  using SearchRule::SearchRule;
  bool adapts() const override { return false; }
  Inference infer(const at::Tensor& states) override {
    return search().ascend_from(states, search().best(states));
  }
};

class GradAdaRule : public SearchRule {
 public:
  using SearchRule::SearchRule;
  bool adapts() const override { return true; }
  Inference infer(const at::Tensor& states) override { return search().ascend_from_all(states); }
};

}  // namespace

EmbeddingSearch::EmbeddingSearch(const TrainedModel& trained, const SearchConfig& config,
                                 Precision precision)
    : trained_(trained),
      options_(AscentOptions::from(config, trained.model.shape().embedding_bound())),
      engine_(make_ascent_engine(config.engine, precision, trained.model)) {}

Inference EmbeddingSearch::best(const at::Tensor& states) const {
  const at::NoGradGuard no_grad;
  const FullPrecision full;
  const EncodedStates encoded = trained_.model.encode(states);
  const at::Tensor& z = trained_.embeddings;
  const int64_t piece = std::max<int64_t>(1, kMaxRows / std::max<int64_t>(1, states.size(0)));
  std::vector<at::Tensor> pieces;
  for (int64_t begin = 0; begin < z.size(0); begin += piece) {
    const at::Tensor part = z.narrow(0, begin, std::min(piece, z.size(0) - begin));
    pieces.push_back(trained_.model.score_embeddings(encoded, part.unsqueeze(0)));
  }
  const at::Tensor scores = at::cat(pieces, 1);
  const at::Tensor index = first_argmax(scores);
  return {z.index_select(0, index), index, scores.gather(1, index.unsqueeze(1)).squeeze(1)};
}

Inference EmbeddingSearch::ascend_from(const at::Tensor& states, const Inference& start) const {
  const AscentResult end = engine_->run(states, start.embeddings.unsqueeze(1), options_);
  return {end.embeddings.squeeze(1), start.subtasks, end.scores.squeeze(1)};
}

Inference EmbeddingSearch::ascend_from_all(const at::Tensor& states) const {
  const at::Tensor& z = trained_.embeddings;
  const AscentResult end =
      engine_->run(states, z.unsqueeze(0).expand({states.size(0), z.size(0), z.size(1)}), options_);
  const at::Tensor index = first_argmax(end.scores);
  return {pick(end.embeddings, index), index, end.scores.gather(1, index.unsqueeze(1)).squeeze(1)};
}

std::unique_ptr<InferenceRule> make_inference_rule(InferenceRuleKind kind,
                                                   const EmbeddingSearch& search) {
  switch (kind) {
    case InferenceRuleKind::kBest:
    case InferenceRuleKind::kBestAda:
      return std::make_unique<BestRule>(kind, search);
    case InferenceRuleKind::kGrad:
      return std::make_unique<GradRule>(kind, search);
    case InferenceRuleKind::kGradAda:
      break;
  }
  return std::make_unique<GradAdaRule>(kind, search);
}

}  // namespace drop
