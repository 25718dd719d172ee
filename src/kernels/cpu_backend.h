#pragma once

#include <vector>

#include "kernels/dense_backend.h"

namespace drop {

/// The plain CPU backend: products by LibTorch's BLAS, everything else in loops, one seed. `Real`
/// is float, or double for tests against the eager reference.
template <typename Real>
class CpuBackend : public DenseBackend {
 public:
  int64_t row_alignment() const override { return 1; }
  int64_t preferred_rows() const override { return 256; }  // a layer's rows stay in the L2 cache
  MatrixId add_matrix(int64_t rows, int64_t width, MatrixUse use) override;
  WeightId add_weight(const WeightPart& part) override;
  at::Tensor plain(at::IntArrayRef shape) const override;
  at::Tensor plain_index(at::IntArrayRef shape) const override;
  void bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
            const at::Tensor& gradients) override;
  void refresh() override {}

  void linear(MatrixId out, std::initializer_list<Product> products, std::optional<int64_t> bias,
              const SharedSum& shared, RowRange rows) override;
  void head(const at::Tensor& out, std::initializer_list<Product> products,
            std::optional<int64_t> bias, HeadForm form, RowRange rows) override;
  void one_hot_linear(MatrixId out, WeightId weight, int64_t bias) override;
  void load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) override;

  void input_gradient(MatrixId out, MatrixId gradient, WeightId weight, MatrixId mask,
                      RowRange rows) override;
  void head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight, bool accumulate,
                     RowRange rows) override;
  void weight_gradient(WeightId weight, MatrixId x, MatrixId gradient, std::optional<int64_t> bias,
                       RowRange rows) override;
  void one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) override;

  void gather(const at::Tensor& out, const at::Tensor& table, const at::Tensor& index,
              int64_t rows) override;
  void scatter(const at::Tensor& out, const at::Tensor& values, const at::Tensor& index,
               int64_t rows) override;
  void behaviour_loss(const BehaviourLoss& loss, const at::Tensor& metrics) override;
  void sample_posterior(const at::Tensor& z, const at::Tensor& posterior, const at::Tensor& noise,
                        int64_t rows) override;
  void posterior_gradient(const PosteriorLoss& loss, const at::Tensor& metrics) override;
  bool score_losses(const ScoreLosses& losses, const at::Tensor& metrics) override;
  void update(const ParameterUpdate& update, const at::Tensor& metrics,
              const at::Tensor& step) override;
  void ascend(const at::Tensor& z, const at::Tensor& gradient, double step_size, bool normalise,
              std::optional<double> bound, int64_t rows) override;
  void through_tanh(const at::Tensor& gradient, const at::Tensor& values, int64_t rows) override;
  void keep_best(const at::Tensor& best_z, const at::Tensor& best_scores, const at::Tensor& z,
                 const at::Tensor& scores, int64_t rows) override;

 protected:
  const WeightPart& part(WeightId weight) const;
  const Real* bias_values(WeightId weight, int64_t offset) const;
  /// Remembers this step when its losses or `gradient_sum` are not finite; counts `step` up.
  static void finish_step(double gradient_sum, const at::Tensor& metrics, const at::Tensor& step);

  std::vector<WeightPart> parts_;
  at::Tensor parameters_, target_parameters_, gradients_;

 private:
  // rows of a matrix, as a view
  at::Tensor rows_of(MatrixId matrix, RowRange rows) const;
  at::Tensor weight_view(const at::Tensor& flat, WeightId weight) const;
  void multiply(const at::Tensor& out, std::initializer_list<Product> products,
                RowRange rows) const;

  std::vector<at::Tensor> matrices_;
  std::vector<at::Tensor> weights_;           // views of the parameters
  std::vector<at::Tensor> weight_gradients_;  // views of the gradients; undefined for the target
};

extern template class CpuBackend<float>;
extern template class CpuBackend<double>;

}  // namespace drop
