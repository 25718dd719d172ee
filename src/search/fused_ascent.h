#pragma once

#include <memory>
#include <string>

#include "drop/search/ascent_engine.h"
#include "kernels/dense_backend.h"
#include "nn/dense_layers.h"

namespace drop {

/// Gradient ascent with a hand-written input gradient over a DenseBackend. What depends on the
/// state alone (Enc_1(s), its product with Enc_2, the state's part of Enc_3) is computed once; the
/// backward pass stops at z. End points are scored once more in the model's own precision.
class FusedAscent : public AscentEngine {
 public:
  /// @param model  must outlive the engine; its parameters are taken over now, and again by a
  ///               call larger than all before
  FusedAscent(std::string name, const DropModel& model, Precision precision);
  ~FusedAscent() override;

  std::string_view name() const override { return name_; }
  AscentResult run(const at::Tensor& states, const at::Tensor& starts,
                   const AscentOptions& options) override;

 private:
  struct Workspace;

  // end points [E, N, d] of one piece
  at::Tensor ascend(const at::Tensor& states, const at::Tensor& starts,
                    const AscentOptions& options);
  void encode(int64_t num_states);
  void forward(int64_t count, int64_t num_starts, bool score);
  void iterate(int64_t count, int64_t num_starts, const AscentOptions& options);

  std::string name_;
  const DropModel& model_;
  Precision precision_;
  std::unique_ptr<Workspace> space_;
};

}  // namespace drop
