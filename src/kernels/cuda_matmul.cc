#include "kernels/cuda_matmul.h"

#include <algorithm>
#include <string>

#include "drop/base/error.h"

namespace drop::cuda {

namespace {

constexpr uint32_t kBestAlignment = 256;

int64_t bytes_of(Element element) { return element == Element::kFloat ? 4 : 2; }
cudaDataType_t data_type(Element element) {
  return element == Element::kFloat ? CUDA_R_32F : CUDA_R_16BF;
}

// largest power of two that divides the address of every seed's first element
uint32_t alignment_of(const Matrix& matrix) {
  const auto address = reinterpret_cast<uintptr_t>(matrix.data);
  const auto stride = static_cast<uintptr_t>(matrix.seed_stride * bytes_of(matrix.element));
  uint32_t alignment = kBestAlignment;
  while ((address | stride) % alignment != 0) alignment /= 2;
  return alignment;
}

cublasLtEpilogue_t cublas_epilogue(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::kReluBits:
      return CUBLASLT_EPILOGUE_RELU_AUX;
    case Epilogue::kReluBitsBias:
      return CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
    case Epilogue::kMask:
      return CUBLASLT_EPILOGUE_DRELU;
    case Epilogue::kColumnSums:
      return CUBLASLT_EPILOGUE_BGRADB;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

struct Layout {
  cublasLtMatrixLayout_t handle = nullptr;

  // [height, width] with columns first
  Layout(const Matrix& matrix, int64_t height, int64_t width, int64_t seeds) {
    check(cublasLtMatrixLayoutCreate(&handle, data_type(matrix.element),
                                     static_cast<uint64_t>(height), static_cast<uint64_t>(width),
                                     matrix.row_stride),
          "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<int32_t>(seeds);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, matrix.seed_stride);
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(handle); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;

  template <typename T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    check(cublasLtMatrixLayoutSetAttribute(handle, attribute, &value, sizeof(value)),
          "cublasLtMatrixLayoutSetAttribute");
  }
};

struct Operation {
  cublasLtMatmulDesc_t handle = nullptr;

  explicit Operation(cublasComputeType_t compute) {
    check(cublasLtMatmulDescCreate(&handle, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
  }
  ~Operation() { cublasLtMatmulDescDestroy(handle); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(handle, attribute, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute");
  }
};

struct Preference {
  cublasLtMatmulPreference_t handle = nullptr;

  Preference() { check(cublasLtMatmulPreferenceCreate(&handle), "cublasLtMatmulPreferenceCreate"); }
  ~Preference() { cublasLtMatmulPreferenceDestroy(handle); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    check(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  }
};

// the request is understood, but not offered; a failure of the device itself shows at the next call
bool is_refusal(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE ||
         status == CUBLAS_STATUS_ARCH_MISMATCH || status == CUBLAS_STATUS_INTERNAL_ERROR ||
         status == CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasComputeType_t compute_type(ProductType type) {
  return type == ProductType::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

// cuBLASLt's A: our right operand
Layout layout_a(const ProductRequest& r) {
  return r.form == ProductForm::kForward ? Layout(r.right, r.depth, r.columns, r.seeds)
                                         : Layout(r.right, r.columns, r.depth, r.seeds);
}

// cuBLASLt's B: our left operand
Layout layout_b(const ProductRequest& r) {
  return r.form == ProductForm::kWeights ? Layout(r.left, r.rows, r.depth, r.seeds)
                                         : Layout(r.left, r.depth, r.rows, r.seeds);
}

}  // namespace

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw RunError(std::string(what) + ": " + cublasLtGetStatusString(status));
}

ProductLibrary::ProductLibrary(ProductType type) : type_(type) {
  // the library comes with LibTorch, the headers with the compiler
  const size_t major = cublasLtGetVersion() / 10000;
  if (major != CUBLAS_VER_MAJOR) {
    throw UsageError("cuBLASLt: found version " + std::to_string(major) + ", built for version " +
                     std::to_string(CUBLAS_VER_MAJOR) +
                     "; build with the CUDA toolkit of LibTorch's version");
  }
  check(cublasLtCreate(&handle_), "cublasLtCreate");
}

ProductLibrary::~ProductLibrary() { cublasLtDestroy(handle_); }

struct ProductPlan::Descriptors {
  explicit Descriptors(const ProductRequest& request, ProductType type)
      : operation(compute_type(type)),
        a(layout_a(request)),
        b(layout_b(request)),
        d(request.result, request.columns, request.rows, request.seeds),
        request(request) {}

  Operation operation;
  Layout a, b, d;
  ProductRequest request;
  cublasLtMatmulAlgo_t algorithm{};
};

std::optional<ProductPlan> ProductPlan::make(const ProductLibrary& library,
                                             const ProductRequest& request) {
  // with one seed nothing is known of a second one's alignment
  ProductRequest r = request;
  if (r.seeds == 1) {
    for (Matrix* matrix : {&r.left, &r.right, &r.result, &r.bias}) matrix->seed_stride = 0;
    r.bits.seed_stride = 0;
  }
  const auto plan = std::make_shared<Descriptors>(r, library.type());
  Operation& operation = plan->operation;
  operation.set(CUBLASLT_MATMUL_DESC_TRANSA,
                r.form == ProductForm::kForward ? CUBLAS_OP_T : CUBLAS_OP_N);
  operation.set(CUBLASLT_MATMUL_DESC_TRANSB,
                r.form == ProductForm::kWeights ? CUBLAS_OP_T : CUBLAS_OP_N);

  // epilogue; strides of bits count bits
  operation.set(CUBLASLT_MATMUL_DESC_EPILOGUE, cublas_epilogue(r.epilogue));
  if (r.bias.data != nullptr) {
    operation.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, r.bias.data);
    operation.set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, r.bias.seed_stride);
  }
  if (r.bits.data != nullptr) {
    constexpr int64_t kWordBits = 32;
    operation.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, r.bits.data);
    operation.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, r.bits.row_stride * kWordBits);
    operation.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, r.bits.seed_stride * kWordBits);
  }

  // the algorithm that cuBLASLt expects to be the fastest
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(r.right));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(r.left));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(r.result));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(r.result));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      library.handle(), operation.handle, plan->a.handle, plan->b.handle, plan->d.handle,
      plan->d.handle, preference.handle, 1, &found, &count);
  if (is_refusal(status) ||
      (status == CUBLAS_STATUS_SUCCESS && (count == 0 || found.state != CUBLAS_STATUS_SUCCESS))) {
    return std::nullopt;
  }
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  plan->algorithm = found.algo;
  ProductPlan result;
  result.descriptors_ = plan;
  return result;
}

bool ProductPlan::run(const ProductLibrary& library, void* workspace, cudaStream_t stream) const {
  const Descriptors& plan = *descriptors_;
  const ProductRequest& r = plan.request;
  const float alpha = 1.0f;
  const float beta = r.accumulate ? 1.0f : 0.0f;
  const cublasStatus_t status =
      cublasLtMatmul(library.handle(), plan.operation.handle, &alpha, r.right.data, plan.a.handle,
                     r.left.data, plan.b.handle, &beta, r.result.data, plan.d.handle, r.result.data,
                     plan.d.handle, &plan.algorithm, workspace, kWorkspaceBytes, stream);
  if (is_refusal(status)) return false;
  check(status, "cublasLtMatmul");
  return true;
}

}  // namespace drop::cuda
