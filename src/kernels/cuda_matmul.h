#pragma once

#include <cublasLt.h>

#include <memory>
#include <optional>

#include "kernels/cuda_kernels.h"

namespace drop::cuda {

/// Throws RunError that names what failed and the library's own words for it.
void check(cublasStatus_t status, const char* what);

/// Arithmetic of the products.
enum class ProductType { kFp32, kTf32, kBf16 };

/// What cuBLASLt does with a product while it is still in registers.
enum class Epilogue {
  kNone,
  kBias,          ///< + bias[c]
  kReluBits,      ///< relu, and which values are above zero
  kReluBitsBias,  ///< the same with a bias
  kMask,          ///< 0 where the bits say so
  kColumnSums,    ///< bias[c] = sum of column c of the left operand
};

/// One product of row-major matrices, the same for each seed.
///
/// cuBLASLt counts columns first. A row-major matrix [r, c] with row stride s is, read that way,
/// the transposed matrix [c, r] with leading dimension s. So instead of D = L R it is asked for D^T
/// = R^T L^T, which as bytes is the same: its "A" is our right operand, its "B" our left one, its m
/// our columns of D, its n our rows of D.
///
///   kForward   D[rows, out]     = X[rows, in] W[out, in]^T    A = W transposed, B = X
///   kBackward  D[rows, in]      = G[rows, out] W[out, in]     A = W,            B = G
///   kWeights   D[out, in]       = G[rows, out]^T X[rows, in]  A = X,            B = G transposed
enum class ProductForm { kForward, kBackward, kWeights };

struct ProductRequest {
  ProductForm form = ProductForm::kForward;
  Matrix left;   ///< X or G
  Matrix right;  ///< W or X
  Matrix result;
  int64_t rows = 0;     ///< of the result
  int64_t columns = 0;  ///< of the result
  int64_t depth = 0;    ///< length of the sums
  int64_t seeds = 1;
  bool accumulate = false;  ///< add to what the result holds
  Epilogue epilogue = Epilogue::kNone;
  Matrix bias;  ///< kBias: of the result's type; kColumnSums: float
  Bits bits;
};

/// cuBLASLt's handle, and how products are computed.
class ProductLibrary {
 public:
  explicit ProductLibrary(ProductType type);
  ~ProductLibrary();
  ProductLibrary(const ProductLibrary&) = delete;
  ProductLibrary& operator=(const ProductLibrary&) = delete;

  cublasLtHandle_t handle() const { return handle_; }
  ProductType type() const { return type_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
  ProductType type_;
};

/// Bytes that each stream's products may use beside their operands.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

/// A product with everything chosen: run as often as you like, also while a graph is recorded.
class ProductPlan {
 public:
  /// Empty when cuBLASLt offers nothing for this request (an epilogue, say, that it lacks for this
  /// shape).
  static std::optional<ProductPlan> make(const ProductLibrary& library,
                                         const ProductRequest& request);

  /// False when cuBLASLt offered it, but will not do it after all; nothing is enqueued then.
  /// @param workspace  kWorkspaceBytes in device memory that no other stream uses meanwhile
  bool run(const ProductLibrary& library, void* workspace, cudaStream_t stream) const;

 private:
  struct Descriptors;
  ProductPlan() = default;

  std::shared_ptr<const Descriptors> descriptors_;
};

}  // namespace drop::cuda
