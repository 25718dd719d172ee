#include <cublasLt.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "cuda_emulation.h"

// cuBLASLt's products in plain loops, columns first as there

namespace {

struct Attributes {
  std::map<int, std::vector<char>> values;

  void set(int key, const void* value, size_t bytes) {
    const auto* begin = static_cast<const char*>(value);
    values[key].assign(begin, begin + bytes);
  }
  template <typename T>
  T get(int key, T otherwise) const {
    const auto found = values.find(key);
    if (found == values.end()) return otherwise;
    if (found->second.size() != sizeof(T))
      throw std::logic_error("emulation: an attribute of another size");
    T value;
    std::memcpy(&value, found->second.data(), sizeof(T));
    return value;
  }
};

struct Layout : Attributes {
  cudaDataType type;
  int64_t rows, columns, ld;
  int32_t batch() const { return get<int32_t>(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1); }
  int64_t stride() const { return get<int64_t>(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 0); }
  size_t bytes() const { return type == CUDA_R_32F ? 4 : 2; }
};

struct Operation : Attributes {
  cublasComputeType_t compute;
};

const Layout& layout(cublasLtMatrixLayout_t handle) {
  return *reinterpret_cast<const Layout*>(handle);
}
const Operation& operation(cublasLtMatmulDesc_t handle) {
  return *reinterpret_cast<const Operation*>(handle);
}

double read(const void* data, cudaDataType type, int64_t at) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[at];
  return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[at]);
}
void write(void* data, cudaDataType type, int64_t at, double value) {
  if (type == CUDA_R_32F)
    static_cast<float*>(data)[at] = static_cast<float>(value);
  else
    static_cast<__nv_bfloat16*>(data)[at] = __float2bfloat16(static_cast<float>(value));
}

bool aligned(const void* data, int64_t bytes, int64_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(alignment) == 0 &&
         bytes % alignment == 0;
}

struct Product {
  const Operation& op;
  const Layout &a, &b, &d;
  bool transpose_a, transpose_b;
  cublasLtEpilogue_t epilogue;
  int64_t m, n, k;
  const void* bias;
  int64_t bias_stride;
  uint32_t* bits;
  int64_t bits_ld, bits_stride;

  Product(const Operation& o, const Layout& a_layout, const Layout& b_layout,
          const Layout& d_layout)
      : op(o), a(a_layout), b(b_layout), d(d_layout) {
    transpose_a = op.get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N) == CUBLAS_OP_T;
    transpose_b = op.get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N) == CUBLAS_OP_T;
    epilogue = static_cast<cublasLtEpilogue_t>(
        op.get<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT));
    m = d.rows;
    n = d.columns;
    k = transpose_a ? a.rows : a.columns;
    bias = op.get<const void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, nullptr);
    bias_stride = op.get<int64_t>(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, 0);
    bits = op.get<uint32_t*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, nullptr);
    bits_ld = op.get<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 0);
    bits_stride = op.get<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, 0);
  }

  bool uses_bits() const { return (epilogue & 128) != 0; }
  bool adds_bias() const { return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0; }
  bool sums_columns() const { return epilogue == CUBLASLT_EPILOGUE_BGRADB; }

  void require_valid() const {
    const bool fits =
        (transpose_a ? a.columns : a.rows) == m && (transpose_b ? b.rows : b.columns) == n &&
        (transpose_b ? b.columns : b.rows) == k && a.ld >= a.rows && b.ld >= b.rows &&
        d.ld >= d.rows && a.batch() == d.batch() && b.batch() == d.batch() && a.type == b.type;
    const bool bits_fit = !uses_bits() || (bits != nullptr && bits_ld % 128 == 0 && bits_ld >= m &&
                                           bits_stride % 128 == 0 && aligned(bits, 0, 16));
    const bool bias_fits = !(adds_bias() || sums_columns()) || bias != nullptr;
    if (!fits || !bits_fit || !bias_fits)
      throw std::logic_error("emulation: a product that does not fit together");
  }

  // where the bit of an element lies
  std::pair<uint32_t*, unsigned> bit(int32_t batch, int64_t row, int64_t column) const {
    const int64_t at = batch * bits_stride + column * bits_ld + row;
    const auto inside = static_cast<unsigned>(at % 32);
    return {bits + at / 32, drop::emulation::settings().reverse_bits ? 31 - inside : inside};
  }

  // one operand of a batch as [count, k], whatever its form
  std::vector<double> unpacked(const void* data, const Layout& from, int32_t batch, bool k_first,
                               int64_t count) const {
    std::vector<double> values;
    values.reserve(static_cast<size_t>(count * k));
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t l = 0; l < k; ++l) {
        const int64_t at = k_first ? i * from.ld + l : l * from.ld + i;
        values.push_back(read(data, from.type, batch * from.stride() + at));
      }
    }
    return values;
  }

  void run(const void* a_data, const void* b_data, double beta, void* d_data) const {
    for (int32_t s = 0; s < d.batch(); ++s) {
      const std::vector<double> left = unpacked(a_data, a, s, transpose_a, m);
      const std::vector<double> right = unpacked(b_data, b, s, !transpose_b, n);
      for (int64_t j = 0; j < n; ++j) {
        const double* own = right.data() + j * k;
        for (int64_t i = 0; i < m; ++i) {
          double sum = std::inner_product(own, own + k, left.data() + i * k, 0.0);
          const int64_t at = s * d.stride() + j * d.ld + i;
          if (beta != 0.0) sum += beta * read(d_data, d.type, at);
          if (adds_bias()) sum += read(bias, d.type, s * bias_stride + i);
          if (epilogue == CUBLASLT_EPILOGUE_DRELU) {
            const auto [word, shift] = bit(s, i, j);
            if (((*word >> shift) & 1U) == 0) sum = 0.0;
          } else if (uses_bits()) {
            const auto [word, shift] = bit(s, i, j);
            *word = (*word & ~(1U << shift)) | (sum > 0.0 ? 1U << shift : 0U);
            sum = std::max(sum, 0.0);
          }
          write(d_data, d.type, at, sum);
        }
        if (!sums_columns()) continue;
        const double sum = std::accumulate(own, own + k, 0.0);
        write(const_cast<void*>(bias), d.type, s * bias_stride + j, sum);
      }
    }
  }
};

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "emulated"; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
  auto* created = new Layout;
  created->type = type;
  created->rows = static_cast<int64_t>(rows);
  created->columns = static_cast<int64_t>(columns);
  created->ld = ld;
  *handle = reinterpret_cast<cublasLtMatrixLayout_t>(created);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  delete reinterpret_cast<Layout*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t key,
                                                const void* value, size_t bytes) {
  reinterpret_cast<Layout*>(handle)->set(key, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t) {
  auto* created = new Operation;
  created->compute = compute;
  *handle = reinterpret_cast<cublasLtMatmulDesc_t>(created);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  delete reinterpret_cast<Operation*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t key, const void* value,
                                              size_t bytes) {
  reinterpret_cast<Operation*>(handle)->set(key, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
  *handle = reinterpret_cast<cublasLtMatmulPreference_t>(new Attributes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  delete reinterpret_cast<Attributes*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t key,
                                                    const void* value, size_t bytes) {
  reinterpret_cast<Attributes*>(handle)->set(key, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t op,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* count) {
  const Product product(operation(op), layout(a), layout(b), layout(d));
  product.require_valid();
  *count = 0;
  if (drop::emulation::settings().refused.count(product.epilogue) > 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  // the algorithm remembers what alignment was promised
  const auto& wanted = *reinterpret_cast<const Attributes*>(preference);
  std::memset(&results[0], 0, sizeof(results[0]));
  results[0].algo.data[0] = wanted.get<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 256);
  results[0].algo.data[1] = wanted.get<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 256);
  results[0].algo.data[2] = wanted.get<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 256);
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t op, const void* alpha,
                              const void* a_data, cublasLtMatrixLayout_t a, const void* b_data,
                              cublasLtMatrixLayout_t b, const void* beta, const void* c_data,
                              cublasLtMatrixLayout_t, void* d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  const Product product(operation(op), layout(a), layout(b), layout(d));
  product.require_valid();
  const auto strides_fit = [](const Layout& one, const void* data, uint64_t alignment) {
    return aligned(data, one.stride() * static_cast<int64_t>(one.bytes()),
                   static_cast<int64_t>(alignment));
  };
  if (!strides_fit(product.a, a_data, algorithm->data[0]) ||
      !strides_fit(product.b, b_data, algorithm->data[1]) ||
      !strides_fit(product.d, d_data, algorithm->data[2]) || c_data != d_data ||
      workspace == nullptr || workspace_bytes == 0 || *static_cast<const float*>(alpha) != 1.0f) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (drop::emulation::settings().refused_late.count(product.epilogue) > 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const double scale = *static_cast<const float*>(beta);
  drop::emulation::enqueue(stream, [=] {
    drop::emulation::count_product();
    product.run(a_data, b_data, scale, d_data);
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
