// The fast ascent engines against the autograd reference.

#include "search/fused_ascent.h"

#include <gtest/gtest.h>

#include "drop/base/error.h"
#include "search/autograd_ascent.h"
#include "support/golden.h"
#include "support/models.h"

namespace drop {
namespace {

using testing::deviation;
using testing::small_model;
using testing::uniform;

constexpr double kDoubleTolerance = 1e-12;

AscentOptions long_ascent() {
  AscentOptions options;
  options.steps = 30;
  options.step_size = 0.3;
  return options;
}

TEST(FusedAscent, AgreesWithAutogradForEveryOption) {
  const DropModel model = small_model();
  AutogradAscent reference(model);
  FusedAscent engine("cpu", model, Precision::kFp32);
  EXPECT_EQ(engine.name(), "cpu");
  for (int variant = 0; variant < 8; ++variant) {
    AscentOptions options = long_ascent();
    options.clip = (variant & 1) != 0;
    options.normalise_gradient = (variant & 2) != 0;
    options.keep_best_iterate = (variant & 4) != 0;
    const at::Tensor states = uniform({3, 3}, 1);
    const at::Tensor starts = uniform({3, 5, 2}, 2);
    const AscentResult expected = reference.run(states, starts, options);
    const AscentResult found = engine.run(states, starts, options);
    EXPECT_LT(deviation(found.embeddings, expected.embeddings), kDoubleTolerance) << variant;
    EXPECT_LT(deviation(found.scores, expected.scores), kDoubleTolerance) << variant;
    EXPECT_GT(deviation(found.embeddings, starts), 0.01) << variant;  // something has moved
  }
}

// the work space grows with the largest call and serves smaller ones
TEST(FusedAscent, CallsOfAnySizeFollowEachOther) {
  const DropModel model = small_model();
  AutogradAscent reference(model);
  FusedAscent engine("cpu", model, Precision::kFp32);
  for (const auto& [states, starts] :
       {std::pair<int64_t, int64_t>{1, 1}, {4, 7}, {1, 3}, {9, 1}, {2, 40}, {1, 1}}) {
    const at::Tensor s = uniform({states, 3}, 10 + static_cast<uint64_t>(states));
    const at::Tensor z = uniform({states, starts, 2}, 20 + static_cast<uint64_t>(starts));
    const AscentResult expected = reference.run(s, z, long_ascent());
    const AscentResult found = engine.run(s, z, long_ascent());
    EXPECT_LT(deviation(found.embeddings, expected.embeddings), kDoubleTolerance);
    EXPECT_LT(deviation(found.scores, expected.scores), kDoubleTolerance);
  }
}

TEST(FusedAscent, TakesStartsThatAreAnExpandedView) {
  const DropModel model = small_model();
  const at::Tensor starts = uniform({4, 2}, 3);
  const at::Tensor states = uniform({3, 3}, 4);
  const at::Tensor expanded = starts.unsqueeze(0).expand({3, 4, 2});
  AutogradAscent reference(model);
  FusedAscent engine("cpu", model, Precision::kFp32);
  EXPECT_LT(deviation(engine.run(states, expanded, long_ascent()).embeddings,
                      reference.run(states, expanded, long_ascent()).embeddings),
            kDoubleTolerance);
  EXPECT_TRUE(starts.equal(uniform({4, 2}, 3)));  // the caller's own are left alone
}

TEST(FusedAscent, ManyStartsAreCutIntoPieces) {
  const DropModel model = small_model();
  AscentOptions options;
  options.steps = 2;
  const at::Tensor states = uniform({1, 3}, 5);
  const at::Tensor starts = uniform({1, 16385, 2}, 6);
  AutogradAscent reference(model);
  FusedAscent engine("cpu", model, Precision::kFp32);
  EXPECT_LT(deviation(engine.run(states, starts, options).embeddings,
                      reference.run(states, starts, options).embeddings),
            kDoubleTolerance);
}

TEST(AscentEngine, RefusesWhatIsNotThere) {
  const DropModel model = small_model(at::kFloat);
  EXPECT_EQ(make_ascent_engine(AscentEngineKind::kAuto, Precision::kFp32, model)->name(), "cpu");
  EXPECT_THROW(make_ascent_engine(AscentEngineKind::kCuda, Precision::kFp32, model), UsageError);
  EXPECT_THROW(make_ascent_engine(AscentEngineKind::kAutograd, Precision::kBf16, model),
               UsageError);
}

}  // namespace
}  // namespace drop
