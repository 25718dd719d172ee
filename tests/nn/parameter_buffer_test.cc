#include "drop/nn/parameter_buffer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace drop {
namespace {

ParameterBuffer make() {
  return ParameterBuffer({{"a.weight", {2, 3}, 3}, {"a.bias", {2}, 3}, {"b.weight", {1, 2}, 2}},
                         at::TensorOptions(at::kFloat));
}

TEST(ParameterBuffer, ViewsShareTheFlatMemoryInOrder) {
  const ParameterBuffer buffer = make();
  ASSERT_EQ(buffer.flat().sizes(), at::IntArrayRef({10}));
  buffer.flat().copy_(at::arange(10));
  EXPECT_TRUE(buffer.view("a.weight").equal(at::arange(6).view({2, 3}).to(at::kFloat)));
  EXPECT_TRUE(buffer.view("b.weight").equal(at::tensor({8.0f, 9.0f}).view({1, 2})));
  buffer.view("a.bias").fill_(-1);
  EXPECT_EQ(buffer.flat()[7].item<float>(), -1.0f);
  EXPECT_THROW(buffer.view("c"), std::out_of_range);
}

TEST(ParameterBuffer, SegmentsAreContiguousPartsByPrefix) {
  const ParameterBuffer buffer = make();
  buffer.flat().copy_(at::arange(10));
  EXPECT_TRUE(buffer.segment("a.").equal(at::arange(8).to(at::kFloat)));
  EXPECT_EQ(buffer.segment("b.").numel(), 2);
  EXPECT_THROW(buffer.segment("x."), std::out_of_range);
}

TEST(ParameterBuffer, GradientsArriveInTheOtherBuffer) {
  ParameterBuffer buffer = make();
  const ParameterBuffer gradients = buffer.like();
  buffer.flat().fill_(2.0);
  buffer.collect_gradients_in(gradients);
  (buffer.view("a.weight").pow(2).sum() + buffer.view("b.weight").sum()).backward();
  EXPECT_TRUE(gradients.flat().equal(
      at::tensor({4.0f, 4.0f, 4.0f, 4.0f, 4.0f, 4.0f, 0.0f, 0.0f, 1.0f, 1.0f})));
}

}  // namespace
}  // namespace drop
