#pragma once

#include "drop/search/ascent_engine.h"

namespace drop {

/// The reference: autograd from the score back to z, in the model's own type. Other engines are
/// held against it.
class AutogradAscent : public AscentEngine {
 public:
  explicit AutogradAscent(const DropModel& model) : model_(model) {}
  std::string_view name() const override { return "autograd"; }
  AscentResult run(const at::Tensor& states, const at::Tensor& starts,
                   const AscentOptions& options) override;

 private:
  AscentResult ascend(const EncodedStates& states, const at::Tensor& starts,
                      const AscentOptions& options) const;

  const DropModel& model_;
};

}  // namespace drop
