// A chain with a known answer: states 0 ... 9 on a line, the action moves by -1 or +1, reward 1 at
// the right end. Sub-task 0 always goes right, sub-task 1 always left, sub-task 2 dithers. The
// score of each sub-task is known in closed form, and the best embedding is sub-task 0's.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "drop/data/sampler.h"
#include "drop/search/embedding_search.h"
#include "train/eager_step_engine.h"

namespace drop {
namespace {

constexpr int64_t kCells = 10;
constexpr double kDiscount = 0.9;

// a trajectory that starts in the middle and goes one way; a terminal at either end
void append_trajectory(TrajectoryDataset& data, int direction, bool dither) {
  int64_t cell = kCells / 2;
  const int64_t begin = data.rows;
  double sum = 0.0;
  for (int t = 0; t < 12; ++t) {
    const int move = dither ? (t % 2 == 0 ? 1 : -1) : direction;
    data.observations.push_back(static_cast<float>(cell));
    data.actions.push_back(static_cast<float>(move));
    cell += move;
    const bool end = cell == kCells - 1 || cell == 0;
    const double reward = cell == kCells - 1 ? 1.0 : 0.0;
    data.rewards.push_back(reward);
    data.terminals.push_back(end ? 1 : 0);
    data.timeouts.push_back(!end && t == 11 ? 1 : 0);
    sum += reward;
    ++data.rows;
    if (end) break;
  }
  data.trajectories.push_back({begin, data.rows, sum, data.terminals.back() == 1, true});
}

TEST(ToyChain, ScoresAreTheDiscountedReturnsAndTheBestEmbeddingGoesRight) {
  TrajectoryDataset data;
  data.state_dim = 1;
  data.action_dim = 1;
  append_trajectory(data, +1, false);
  append_trajectory(data, -1, false);
  append_trajectory(data, 0, true);
  const std::vector<Trajectory> trajectories = data.trajectories;
  Decomposition decomposition;
  for (int64_t n = 0; n < 3; ++n) {
    const Trajectory& t = trajectories[static_cast<size_t>(n)];
    decomposition.subtasks.push_back(
        {{n}, t.return_sum, t.return_sum, t.return_sum, t.transitions()});
  }
  const Normaliser normaliser = fit_normaliser(data.observations, 1);

  TrainConfig config;
  config.discount = kDiscount;
  config.target_rate = 0.05;
  config.batch_size = 64;
  ModelShape shape;
  shape.state_dim = 1;
  shape.action_dim = 1;
  shape.num_subtasks = 3;
  shape.embedding_dim = 2;
  shape.hidden_width = 32;
  TrainState state(shape, config, 1.0, 3, at::TensorOptions(at::kFloat));
  const Sampler sampler(std::move(data), trajectories, decomposition, normaliser, {}, {64, 0, 3},
                        at::kCPU);
  EagerStepEngine engine(state, &sampler, config);
  engine.advance(2500);

  // closed form at the middle cell: right reaches the goal with its 4th step, left and dithering
  // never
  const at::NoGradGuard no_grad;
  TrainedModel trained{
      {}, std::move(state.model), at::tensor(normaliser.mean), at::tensor(normaliser.std), {}};
  trained.embeddings = trained.model.task_embedding().embeddings();
  const at::Tensor middle =
      trained.standardise(at::full({1, 1}, static_cast<double>(kCells / 2), at::kFloat));
  const at::Tensor scores = trained.model.score_embeddings(trained.model.encode(middle),
                                                           trained.embeddings.unsqueeze(0))[0];
  EXPECT_NEAR(scores[0].item<double>(), std::pow(kDiscount, 3), 0.08);
  EXPECT_NEAR(scores[1].item<double>(), 0.0, 0.08);
  EXPECT_NEAR(scores[2].item<double>(), 0.0, 0.08);

  // every rule picks an embedding that goes right, and ascent never ends below its start
  SearchConfig search_config;
  search_config.ascent_steps = 20;
  const EmbeddingSearch search(trained, search_config);
  const double best = search.best(middle).scores.item<double>();
  for (const InferenceRuleKind kind : {InferenceRuleKind::kBest, InferenceRuleKind::kGrad,
                                       InferenceRuleKind::kBestAda, InferenceRuleKind::kGradAda}) {
    const Inference inference = make_inference_rule(kind, search)->infer(middle);
    EXPECT_EQ(inference.subtasks.item<int64_t>(), 0) << to_string(kind);
    EXPECT_GT(trained.model.act(trained.model.encode(middle), inference.embeddings).item<double>(),
              0.8)
        << to_string(kind);
    EXPECT_GE(inference.scores.item<double>(), best - 1e-4) << to_string(kind);
  }
}

}  // namespace
}  // namespace drop
