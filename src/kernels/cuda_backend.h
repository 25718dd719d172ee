#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "kernels/cuda_graph.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_matmul.h"
#include "kernels/dense_backend.h"

namespace drop {

/// The backend for NVIDIA GPUs: products by cuBLASLt with bias, ReLU, masks and bias gradients in
/// their epilogues, strided over the seed axis; everything else in kernels of our own.
///
/// Matrices lie in the products' element type (float, or bfloat16) with rows padded to whole lines;
/// the padding holds zeros. Weights are copied into the same form by the kernel that ends a step;
/// the masters stay float. A layer's bits (which of its values are above zero) lie beside it.
///
/// The first time a call is made, what it needs is chosen and allocated; every later call with the
/// same arguments only puts work on streams, so that `repeat` may record it into a graph. Branch 0
/// is LibTorch's current stream, the others are streams of the backend.
class CudaBackend : public DenseBackend {
 public:
  /// Throws UsageError where there is no GPU, or for a precision that it lacks.
  explicit CudaBackend(const BackendOptions& options);
  ~CudaBackend() override;

  int64_t row_alignment() const override { return 8; }
  int64_t preferred_rows() const override { return 0; }
  MatrixId add_matrix(int64_t rows, int64_t width, MatrixUse use) override;
  WeightId add_weight(const WeightPart& part) override;
  at::Tensor plain(at::IntArrayRef shape) const override;
  at::Tensor plain_index(at::IntArrayRef shape) const override;
  void bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
            const at::Tensor& gradients) override;
  void refresh() override;

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

  void repeat(const std::vector<int64_t>& key, const std::function<void()>& work) override;
  void branch(int index) override;
  void wait(int later, int earlier) override;

 private:
  struct StoredMatrix {
    at::Tensor memory, bits_memory;
    cuda::Matrix whole;
    cuda::Bits bits;
    int64_t width = 0;
    bool bits_valid = false;  // whether whoever wrote it last wrote the bits as well
  };
  struct StoredWeight {
    WeightPart part;
    at::Tensor straight_memory, transposed_memory;
    cuda::Matrix straight;    // [out, columns], padded with zeros to multiples of 8
    cuda::Matrix transposed;  // [columns, out] likewise; only where `columns` are few
  };
  // a bias as products' epilogues take it
  struct StoredBias {
    bool target;
    int64_t offset;
    int64_t size;
    cuda::Element element;
    at::Tensor memory;
    cuda::Matrix values;
  };
  struct Stream {
    cudaStream_t handle = nullptr;  // of branches other than the main one
    cudaEvent_t event = nullptr;
    at::Tensor workspace;
  };
  // what tells one product of the program from all others
  using PlanKey = std::array<int64_t, 8>;

  // where things lie
  const StoredMatrix& matrix(MatrixId id) const;
  const StoredWeight& weight(WeightId id) const;
  cuda::Matrix rows_of(MatrixId id, int64_t row) const;
  cuda::Bits bits_of(MatrixId id, int64_t row) const;
  template <typename T>
  cuda::Rows<T> plain_rows(const at::Tensor& tensor) const;
  int64_t seed_stride(const at::Tensor& tensor) const;
  const at::Tensor& flat(bool target) const;
  cuda::Matrix allocate(at::Tensor& memory, int64_t rows, int64_t columns, cuda::Element element);
  cuda::Matrix bias_copy(bool target, int64_t offset, int64_t size, cuda::Element element);

  // copies of the weights
  void make_tables();
  void pack(const cuda::StepEnd& end);

  // products
  /// False when cuBLASLt has no such product.
  bool multiply(const PlanKey& key, const cuda::ProductRequest& request);
  void must_multiply(const PlanKey& key, const cuda::ProductRequest& request);
  bool bits_are_plain();

  // streams
  cudaStream_t stream();
  cudaStream_t stream_of(int branch);
  Stream& side(int branch);
  bool recording();

  c10::Device device_;
  int64_t num_seeds_;  // 0 = no seed axis
  int64_t seeds_;      // at least 1
  cuda::Element element_;
  cuda::ProductLibrary library_;
  std::vector<StoredMatrix> matrices_;
  std::vector<StoredWeight> weights_;
  std::vector<StoredBias> biases_;
  at::Tensor parameters_, target_parameters_, gradients_;
  at::Tensor parts_, chunks_;  // tables of PackedPart and PackedChunk
  int64_t num_chunks_ = 0;
  at::Tensor bad_gradient_;
  std::map<PlanKey, std::optional<cuda::ProductPlan>> plans_;
  std::map<std::vector<int64_t>, cuda::Graph> graphs_;  // empty ones have run once
  std::vector<Stream> streams_;
  int branch_ = 0;
  bool bits_are_plain_ = false;
};

}  // namespace drop
