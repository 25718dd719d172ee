#include <cmath>

#include "kernels/cuda_device_code.h"

namespace drop::cuda {

namespace {

constexpr int kLinearRows = 8;      // rows that one thread of small_linear computes
constexpr int kLinearColumns = 64;  // columns of a block: whole warps, for the bits
constexpr int kHeadOutputs = 4;     // outputs that one warp of small_head computes at once

// values of one column, as bits of 32 neighbouring columns; called by whole warps
__device__ void store_bits(const Bits& bits, int64_t seed, int64_t row, int column, bool positive) {
  const unsigned word = __ballot_sync(0xffffffffU, positive);
  if (column % kWarp == 0)
    bits.data[seed * bits.seed_stride + row * bits.row_stride + column / kWarp] = word;
}

// one thread for one column and a few rows
template <typename T>
__global__ void small_linear_kernel(SmallLinear layer) {
  const int64_t seed = blockIdx.z;
  const int column = static_cast<int>(blockIdx.x * kLinearColumns + threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kLinearRows;
  const bool inside = column < layer.width;

  // rows behind the last are the last once more: computed, but not stored
  float sums[kLinearRows] = {};
  const auto row_at = [&](int r) { return first + r < layer.rows ? first + r : layer.rows - 1; };
  if (inside) {
    const float bias =
        layer.bias != nullptr ? layer.bias[seed * layer.bias_seed_stride + column] : 0.0f;
#pragma unroll
    for (int r = 0; r < kLinearRows; ++r) {
      sums[r] = bias;
      if (layer.add_to_out) sums[r] += to_float(row_of<T>(layer.out, seed, row_at(r))[column]);
      if (layer.shared.data != nullptr) {
        const int64_t row = (layer.first_row + row_at(r)) / layer.group;
        sums[r] += row_of(layer.shared, seed, row)[column];
      }
    }
    for (int p = 0; p < layer.count; ++p) {
      const SmallProduct& product = layer.products[p];
      for (int k = 0; k < product.inputs; ++k) {
        const float weight = to_float(row_of<T>(product.weight, seed, k)[column]);
#pragma unroll
        for (int r = 0; r < kLinearRows; ++r)
          sums[r] += to_float(row_of<T>(product.x, seed, row_at(r))[k]) * weight;
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kLinearRows; ++r) {
    if (first + r >= layer.rows) break;  // the same for all threads of a block
    float value = sums[r];
    if (layer.relu && value < 0.0f) value = 0.0f;  // NaN stays
    if (inside) row_of<T>(layer.out, seed, first + r)[column] = from_float<T>(value);
    if (layer.bits.data != nullptr)
      store_bits(layer.bits, seed, first + r, column, inside && value > 0.0f);
  }
}

// one warp for one row
template <typename T>
__global__ void small_head_kernel(SmallHead head) {
  const int64_t seed = blockIdx.y;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (row >= head.rows) return;
  constexpr int kCount = Vector<T>::kCount;
  float* out = row_of(head.out, seed, row);
  for (int64_t first = 0; first < head.outputs; first += kHeadOutputs) {
    float sums[kHeadOutputs] = {};
    for (int p = 0; p < head.count; ++p) {
      const SmallProduct& product = head.products[p];
      const T* x = row_of<T>(product.x, seed, row);
      for (int64_t k = lane * kCount; k < product.inputs; k += kWarp * kCount) {
        const Vector<T> some = *reinterpret_cast<const Vector<T>*>(x + k);
        for (int o = 0; o < kHeadOutputs; ++o) {
          const T* w = row_of<T>(product.weight, seed, first + o);
          const Vector<T> weights = *reinterpret_cast<const Vector<T>*>(w + k);
          for (int i = 0; i < kCount; ++i)
            sums[o] += to_float(some.values[i]) * to_float(weights.values[i]);
        }
      }
    }
    for (int o = 0; o < kHeadOutputs; ++o) {
      float sum = sums[o];
      for (int offset = kWarp / 2; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xffffffffU, sum, offset);
      if (lane != 0 || first + o >= head.outputs) continue;
      if (head.bias != nullptr) sum += head.bias[seed * head.bias_seed_stride + first + o];
      if (head.accumulate) sum += out[first + o];
      out[first + o] = head.tanh ? tanhf(sum) : sum;
    }
  }
}

__global__ void tanh_kernel(Rows<float> values, int64_t rows, int64_t columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  float& value = row_of(values, blockIdx.y, i / columns)[i % columns];
  value = tanhf(value);
}

template <typename T>
__global__ void load_kernel(Matrix to, Rows<const float> values, int64_t rows, int64_t columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t row = i / columns;
  const int64_t column = i % columns;
  row_of<T>(to, blockIdx.y, row)[column] = from_float<T>(row_of(values, blockIdx.y, row)[column]);
}

template <typename T>
__global__ void mask_kernel(Matrix gradient, Matrix activation, int64_t rows, int64_t width) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * width) return;
  const int64_t row = i / width;
  const int64_t column = i % width;
  const bool open = to_float(row_of<T>(activation, blockIdx.y, row)[column]) > 0.0f;
  if (!open) row_of<T>(gradient, blockIdx.y, row)[column] = from_float<T>(0.0f);
}

// 32 columns for a block; each of its warps sums every 8th row, then the warps' sums are added
constexpr int kSumWarps = 8;
template <typename T>
__global__ void column_sums_kernel(float* sums, int64_t sums_seed_stride, Matrix gradient,
                                   int64_t rows, int64_t columns) {
  __shared__ float partial[kSumWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  float sum = 0.0f;
  if (column < columns) {
    for (int64_t row = warp; row < rows; row += kSumWarps)
      sum += to_float(row_of<T>(gradient, blockIdx.y, row)[column]);
  }
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  float total = 0.0f;
  for (int w = 0; w < kSumWarps; ++w) total += partial[w][lane];
  sums[blockIdx.y * sums_seed_stride + column] = total;
}

// tiles of 32 x 32 through shared memory: both sides are read and written row by row
constexpr int kTileRows = 8;  // thread rows of a block
template <typename T>
__global__ void one_hot_linear_kernel(Matrix out, Bits bits, const float* weight, const float* bias,
                                      OneHot shape) {
  __shared__ float tile[kWarp][kWarp + 1];
  const int64_t seed = blockIdx.z;
  const int x = static_cast<int>(threadIdx.x);
  const int64_t first_input = static_cast<int64_t>(blockIdx.x) * kWarp;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kWarp;
  for (int y = static_cast<int>(threadIdx.y); y < kWarp; y += kTileRows) {
    const int64_t c = first_column + y;
    const int64_t n = first_input + x;
    const bool inside = c < shape.width && n < shape.inputs;
    tile[y][x] = inside ? weight[seed * shape.seed_stride + c * shape.stride + n] +
                              bias[seed * shape.seed_stride + c]
                        : 0.0f;
  }
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < kWarp; y += kTileRows) {
    const int64_t n = first_input + y;
    const int64_t c = first_column + x;
    if (n >= shape.inputs) continue;  // the same for all threads of a warp
    const float sum = tile[x][y];
    const float value = sum < 0.0f ? 0.0f : sum;  // NaN stays
    if (c < shape.width) row_of<T>(out, seed, n)[c] = from_float<T>(value);
    if (bits.data != nullptr) store_bits(bits, seed, n, static_cast<int>(c), value > 0.0f);
  }
}

template <typename T>
__global__ void one_hot_gradient_kernel(float* weight_gradient, Matrix gradient, OneHot shape) {
  __shared__ float tile[kWarp][kWarp + 1];
  const int64_t seed = blockIdx.z;
  const int x = static_cast<int>(threadIdx.x);
  const int64_t first_input = static_cast<int64_t>(blockIdx.x) * kWarp;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kWarp;
  for (int y = static_cast<int>(threadIdx.y); y < kWarp; y += kTileRows) {
    const int64_t n = first_input + y;
    const int64_t c = first_column + x;
    const bool inside = c < shape.width && n < shape.inputs;
    tile[y][x] = inside ? to_float(row_of<T>(gradient, seed, n)[c]) : 0.0f;
  }
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < kWarp; y += kTileRows) {
    const int64_t c = first_column + y;
    const int64_t n = first_input + x;
    if (c < shape.width && n < shape.inputs)
      weight_gradient[seed * shape.seed_stride + c * shape.stride + n] = tile[x][y];
  }
}

// one thread for each element of a chunk; the first one of all ends the step
__global__ void pack_kernel(const PackedPart* parts, const PackedChunk* chunks, StepEnd end,
                            int64_t seeds) {
  const int64_t seed = blockIdx.y;
  const PackedChunk chunk = chunks[blockIdx.x];
  const PackedPart part = parts[chunk.part];
  const int64_t size = part.rows * part.columns;
  for (int offset = static_cast<int>(threadIdx.x); offset < kPackedElements;
       offset += static_cast<int>(blockDim.x)) {
    const int64_t i = chunk.begin + offset;
    if (i >= size) break;
    const int64_t row = i / part.columns;
    const int64_t column = i % part.columns;
    const float value =
        part.source[seed * part.source_seed_stride + row * part.source_row_stride + column];
    const auto store = [&](const Matrix& to, int64_t r, int64_t c) {
      if (to.data == nullptr) return;
      if (to.element == Element::kFloat)
        row_of<float>(to, seed, r)[c] = value;
      else
        row_of<__nv_bfloat16>(to, seed, r)[c] = from_float<__nv_bfloat16>(value);
    };
    store(part.straight, row, column);
    store(part.transposed, column, row);
  }

  if (end.metrics == nullptr || blockIdx.x != 0 || blockIdx.y != 0 || threadIdx.x != 0) return;
  for (int64_t s = 0; s < seeds; ++s) {
    double* slots = end.metrics + s * end.metrics_seed_stride;
    const double losses =
        slots[arithmetic::kBehaviour] + slots[arithmetic::kTd] + slots[arithmetic::kGap];
    const bool bad = end.bad_gradient[s] != 0 || !std::isfinite(losses);
    if (bad && slots[arithmetic::kBadStep] < 0.0) {
      slots[arithmetic::kBadStep] = static_cast<double>(end.step[end.num_steps > 1 ? s : 0]);
      slots[arithmetic::kBadBehaviour] = slots[arithmetic::kBehaviour];
      slots[arithmetic::kBadTd] = slots[arithmetic::kTd];
      slots[arithmetic::kBadGap] = slots[arithmetic::kGap];
    }
    end.bad_gradient[s] = 0;
  }
  for (int64_t i = 0; i < end.num_steps; ++i) ++end.step[i];
  for (int64_t i = 0; i < end.num_adam_steps; ++i) end.adam_step[i] += 1.0f;
}

constexpr int kThreads = 256;

}  // namespace

void small_linear(const SmallLinear& layer, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(layer.width, kLinearColumns), blocks_for(layer.rows, kLinearRows),
                  static_cast<unsigned>(seeds));
  with_element(layer.out.element, [&](auto type) {
    launch(small_linear_kernel<decltype(type)>, grid, dim3(kLinearColumns), stream, layer);
  });
}

void small_head(const SmallHead& head, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(head.rows, kThreads / kWarp), static_cast<unsigned>(seeds));
  with_element(head.products[0].x.element, [&](auto type) {
    launch(small_head_kernel<decltype(type)>, grid, dim3(kThreads), stream, head);
  });
}

void apply_tanh(Rows<float> values, int64_t rows, int64_t columns, int64_t seeds,
                cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * columns, kThreads), static_cast<unsigned>(seeds));
  launch(tanh_kernel, grid, dim3(kThreads), stream, values, rows, columns);
}

void load(const Matrix& to, Rows<const float> values, int64_t rows, int64_t columns, int64_t seeds,
          cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * columns, kThreads), static_cast<unsigned>(seeds));
  with_element(to.element, [&](auto type) {
    launch(load_kernel<decltype(type)>, grid, dim3(kThreads), stream, to, values, rows, columns);
  });
}

void mask_gradient(const Matrix& gradient, const Matrix& activation, int64_t rows, int64_t width,
                   int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * width, kThreads), static_cast<unsigned>(seeds));
  with_element(gradient.element, [&](auto type) {
    launch(mask_kernel<decltype(type)>, grid, dim3(kThreads), stream, gradient, activation, rows,
           width);
  });
}

void column_sums(float* sums, int64_t sums_seed_stride, const Matrix& gradient, int64_t rows,
                 int64_t columns, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(columns, kWarp), static_cast<unsigned>(seeds));
  with_element(gradient.element, [&](auto type) {
    launch(column_sums_kernel<decltype(type)>, grid, dim3(kSumWarps * kWarp), stream, sums,
           sums_seed_stride, gradient, rows, columns);
  });
}

void one_hot_linear(const Matrix& out, const Bits& bits, const float* weight, const float* bias,
                    const OneHot& shape, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(shape.inputs, kWarp), blocks_for(shape.width, kWarp),
                  static_cast<unsigned>(seeds));
  with_element(out.element, [&](auto type) {
    launch(one_hot_linear_kernel<decltype(type)>, grid, dim3(kWarp, kTileRows), stream, out, bits,
           weight, bias, shape);
  });
}

void one_hot_gradient(float* weight_gradient, const Matrix& gradient, const OneHot& shape,
                      int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(shape.inputs, kWarp), blocks_for(shape.width, kWarp),
                  static_cast<unsigned>(seeds));
  with_element(gradient.element, [&](auto type) {
    launch(one_hot_gradient_kernel<decltype(type)>, grid, dim3(kWarp, kTileRows), stream,
           weight_gradient, gradient, shape);
  });
}

void pack(const PackedPart* parts, const PackedChunk* chunks, int64_t num_chunks,
          const StepEnd& end, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(num_chunks), static_cast<unsigned>(seeds));
  launch(pack_kernel, grid, dim3(kThreads), stream, parts, chunks, end, seeds);
}

}  // namespace drop::cuda
