#include "kernels/cuda_backend.h"

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "drop/base/error.h"
#include "drop/log/logging.h"
#include "kernels/cuda_check.h"
#include "kernels/cuda_device.h"
#include "kernels/make_cuda_backend.h"

namespace drop {

using cuda::Bits;
using cuda::check;
using cuda::Element;
using cuda::Epilogue;
using cuda::Matrix;
using cuda::ProductForm;
using cuda::ProductRequest;
using cuda::Rows;

namespace {

static_assert(static_cast<int>(kBehaviourSlot) == arithmetic::kBehaviour);
static_assert(static_cast<int>(kTdSlot) == arithmetic::kTd);
static_assert(static_cast<int>(kGapSlot) == arithmetic::kGap);
static_assert(static_cast<int>(kMultiplierSlot) == arithmetic::kMultiplier);
static_assert(static_cast<int>(kMeanScoreSlot) == arithmetic::kMeanScore);
static_assert(static_cast<int>(kKlSlot) == arithmetic::kKl);
static_assert(static_cast<int>(kBadStepSlot) == arithmetic::kBadStep);
static_assert(static_cast<int>(kBadBehaviourSlot) == arithmetic::kBadBehaviour);
static_assert(static_cast<int>(kBadTdSlot) == arithmetic::kBadTd);
static_assert(static_cast<int>(kBadGapSlot) == arithmetic::kBadGap);

constexpr int64_t kDepthUnit = 8;    // rows and columns of weights are padded to multiples of this
constexpr int64_t kColumnUnit = 32;  // rows of memory hold multiples of this
constexpr int64_t kBitUnit = 128;    // and rows of bits of this
constexpr int64_t kWordBits = 32;

enum Operation : int64_t { kLinear, kHead, kInputGradient, kHeadGradient, kWeightGradient };

bool is_small(int64_t count) { return count <= cuda::kSmall; }

cuda::ProductType product_type(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return cuda::ProductType::kFp32;
    case Precision::kAuto:
    case Precision::kTf32:
      return cuda::ProductType::kTf32;
    case Precision::kBf16:
      return cuda::ProductType::kBf16;
  }
  return cuda::ProductType::kTf32;
}

template <typename T>
at::Tensor on_device(const std::vector<T>& values, c10::Device device) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  return at::from_blob(const_cast<T*>(values.data()), {bytes}, at::kByte)
      .to(device, at::kByte, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

std::unique_ptr<DenseBackend> make_cuda_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

CudaBackend::CudaBackend(const BackendOptions& options)
    : device_(cuda::require_gpu(options.device)),
      num_seeds_(options.num_seeds),
      seeds_(std::max<int64_t>(1, options.num_seeds)),
      element_(options.precision == Precision::kBf16 ? Element::kBf16 : Element::kFloat),
      library_(product_type(options.precision)) {
  if (options.type != at::kFloat)
    throw UsageError("CUDA backend: found tensors of another type than float; allowed: float");
  bad_gradient_ = at::zeros({seeds_}, at::TensorOptions(device_).dtype(at::kInt));
  side(0);
  bits_are_plain_ = bits_are_plain();
}

CudaBackend::~CudaBackend() {
  // memory and graphs may go only when nothing uses them any more
  cudaDeviceSynchronize();
  for (const Stream& stream : streams_) {
    if (stream.handle != nullptr) cudaStreamDestroy(stream.handle);
    if (stream.event != nullptr) cudaEventDestroy(stream.event);
  }
}

// ---- set-up ------------------------------------------------------------------------------------

Matrix CudaBackend::allocate(at::Tensor& memory, int64_t rows, int64_t columns, Element element) {
  Matrix matrix;
  matrix.element = element;
  matrix.row_stride = round_up(columns, kColumnUnit);
  matrix.seed_stride = round_up(rows, kDepthUnit) * matrix.row_stride;
  memory = at::zeros(
      {seeds_, matrix.seed_stride},
      at::TensorOptions(device_).dtype(element == Element::kFloat ? at::kFloat : at::kBFloat16));
  matrix.data = memory.data_ptr();
  return matrix;
}

MatrixId CudaBackend::add_matrix(int64_t rows, int64_t width, MatrixUse use) {
  StoredMatrix stored;
  stored.width = width;
  stored.whole = allocate(stored.memory, rows, width, element_);
  if (use == MatrixUse::kHidden) {
    stored.bits.row_stride = round_up(width, kBitUnit) / kWordBits;
    stored.bits.seed_stride = round_up(rows, kDepthUnit) * stored.bits.row_stride;
    stored.bits_memory =
        at::zeros({seeds_, stored.bits.seed_stride}, at::TensorOptions(device_).dtype(at::kInt));
    stored.bits.data = static_cast<uint32_t*>(stored.bits_memory.data_ptr());
    stored.bits_valid = true;
  }
  matrices_.push_back(stored);
  return static_cast<MatrixId>(matrices_.size() - 1);
}

WeightId CudaBackend::add_weight(const WeightPart& part) {
  StoredWeight stored;
  stored.part = part;
  stored.straight = allocate(stored.straight_memory, part.out, part.columns, element_);
  if (is_small(part.columns))
    stored.transposed = allocate(stored.transposed_memory, part.columns, part.out, element_);
  weights_.push_back(stored);
  return static_cast<WeightId>(weights_.size() - 1);
}

at::Tensor CudaBackend::plain(at::IntArrayRef shape) const {
  std::vector<int64_t> whole(shape.begin(), shape.end());
  if (num_seeds_ > 0) whole.insert(whole.begin(), num_seeds_);
  return at::zeros(whole, at::TensorOptions(device_).dtype(at::kFloat));
}

at::Tensor CudaBackend::plain_index(at::IntArrayRef shape) const {
  return plain(shape).to(at::kLong);
}

void CudaBackend::bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
                       const at::Tensor& gradients) {
  parameters_ = parameters.detach();
  target_parameters_ = target_parameters.detach();
  gradients_ = gradients;
  // what was chosen before points into other memory
  graphs_.clear();
  plans_.clear();
  biases_.clear();
  make_tables();
}

void CudaBackend::refresh() { pack({}); }

const at::Tensor& CudaBackend::flat(bool target) const {
  return target ? target_parameters_ : parameters_;
}

// what `pack` copies: weights, and biases in the form of the products
void CudaBackend::make_tables() {
  std::vector<cuda::PackedPart> parts;
  for (const StoredWeight& stored : weights_) {
    const WeightPart& part = stored.part;
    const at::Tensor& source = flat(part.target);
    parts.push_back({source.const_data_ptr<float>() + part.offset, seed_stride(source), part.stride,
                     part.out, part.columns, stored.straight, stored.transposed});
  }
  for (const StoredBias& bias : biases_) {
    const at::Tensor& source = flat(bias.target);
    parts.push_back({source.const_data_ptr<float>() + bias.offset,
                     seed_stride(source),
                     bias.size,
                     1,
                     bias.size,
                     bias.values,
                     {}});
  }
  std::vector<cuda::PackedChunk> chunks;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t size = parts[i].rows * parts[i].columns;
    for (int64_t begin = 0; begin < size; begin += cuda::kPackedElements)
      chunks.push_back({static_cast<int32_t>(i), static_cast<int32_t>(begin)});
  }
  parts_ = on_device(parts, device_);
  chunks_ = on_device(chunks, device_);
  num_chunks_ = static_cast<int64_t>(chunks.size());
}

void CudaBackend::pack(const cuda::StepEnd& end) {
  cuda::pack(static_cast<const cuda::PackedPart*>(parts_.const_data_ptr()),
             static_cast<const cuda::PackedChunk*>(chunks_.const_data_ptr()), num_chunks_, end,
             seeds_, stream());
}

Matrix CudaBackend::bias_copy(bool target, int64_t offset, int64_t size, Element element) {
  for (const StoredBias& bias : biases_) {
    if (bias.target == target && bias.offset == offset && bias.element == element)
      return bias.values;
  }
  if (recording()) throw RunError("CUDA backend: work that has never run cannot be recorded");
  StoredBias bias{target, offset, size, element, {}, {}};
  bias.values = allocate(bias.memory, 1, size, element);
  biases_.push_back(bias);
  // tables may still be in use
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  make_tables();
  refresh();
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  graphs_.clear();  // they hold the old tables
  return bias.values;
}

// whether cuBLASLt's bits lie as our own kernels write them: asked of a product whose signs are
// known
bool CudaBackend::bits_are_plain() {
  constexpr int64_t kRows = 2;
  constexpr int64_t kColumns = kBitUnit;
  at::Tensor x_memory, w_memory, out_memory;
  ProductRequest request;
  request.left = allocate(x_memory, kRows, kDepthUnit, element_);
  request.right = allocate(w_memory, kColumns, kDepthUnit, element_);
  request.result = allocate(out_memory, kRows, kColumns, element_);
  request.rows = kRows;
  request.columns = kColumns;
  request.depth = kDepthUnit;
  request.epilogue = Epilogue::kReluBits;
  const at::Tensor bits =
      at::zeros({kRows, kColumns / kWordBits}, at::TensorOptions(device_).dtype(at::kInt));
  request.bits = {static_cast<uint32_t*>(bits.data_ptr()), 0, kColumns / kWordBits};
  const auto product = cuda::ProductPlan::make(library_, request);
  if (!product) return false;

  // row 0 is above zero where (column * column) % 7 < 3, row 1 where it is not
  x_memory.select(0, 0)
      .view({-1, request.left.row_stride})
      .select(1, 0)
      .narrow(0, 0, 2)
      .copy_(at::arange(1, -2, -2, at::kFloat));
  const auto sign = [](int64_t column) { return column * column % 7 < 3; };
  std::vector<float> column(kColumns);
  for (int64_t c = 0; c < kColumns; ++c) column[static_cast<size_t>(c)] = sign(c) ? 1.0f : -1.0f;
  w_memory.select(0, 0)
      .view({-1, request.right.row_stride})
      .select(1, 0)
      .copy_(at::from_blob(column.data(), {kColumns}, at::kFloat));
  if (!product->run(library_, side(0).workspace.data_ptr(), stream())) return false;
  const at::Tensor found = bits.cpu();
  const auto* words = static_cast<const uint32_t*>(found.const_data_ptr());
  for (int64_t c = 0; c < kColumns; ++c) {
    for (int64_t row = 0; row < kRows; ++row) {
      const uint32_t word = words[row * (kColumns / kWordBits) + c / kWordBits];
      const bool positive = ((word >> (c % kWordBits)) & 1U) != 0;
      if (positive != (sign(c) == (row == 0))) {
        log().debug("cuBLASLt orders the bits of its ReLU in a way of its own");
        return false;
      }
    }
  }
  return true;
}

// ---- where things lie --------------------------------------------------------------------------

const CudaBackend::StoredMatrix& CudaBackend::matrix(MatrixId id) const {
  return matrices_[static_cast<size_t>(id)];
}

const CudaBackend::StoredWeight& CudaBackend::weight(WeightId id) const {
  return weights_[static_cast<size_t>(id)];
}

Matrix CudaBackend::rows_of(MatrixId id, int64_t row) const {
  Matrix result = matrix(id).whole;
  const int64_t offset = row * result.row_stride * (result.element == Element::kFloat ? 4 : 2);
  result.data = static_cast<char*>(result.data) + offset;
  return result;
}

Bits CudaBackend::bits_of(MatrixId id, int64_t row) const {
  Bits result = matrix(id).bits;
  if (result.data != nullptr) result.data += row * result.row_stride;
  return result;
}

int64_t CudaBackend::seed_stride(const at::Tensor& tensor) const {
  return num_seeds_ > 0 ? tensor.stride(0) : 0;
}

template <typename T>
Rows<T> CudaBackend::plain_rows(const at::Tensor& tensor) const {
  using Value = std::remove_const_t<T>;
  const bool has_columns = tensor.dim() - (num_seeds_ > 0 ? 1 : 0) >= 2;
  return {tensor.data_ptr<Value>(), seed_stride(tensor), has_columns ? tensor.stride(-2) : 1};
}

// ---- streams -----------------------------------------------------------------------------------

CudaBackend::Stream& CudaBackend::side(int branch) {
  while (streams_.size() <= static_cast<size_t>(branch)) {
    Stream stream;
    stream.workspace = at::empty({static_cast<int64_t>(cuda::kWorkspaceBytes)},
                                 at::TensorOptions(device_).dtype(at::kByte));
    check(cudaEventCreateWithFlags(&stream.event, cudaEventDisableTiming), "cudaEventCreate");
    if (!streams_.empty())
      check(cudaStreamCreateWithFlags(&stream.handle, cudaStreamNonBlocking), "cudaStreamCreate");
    streams_.push_back(stream);
  }
  return streams_[static_cast<size_t>(branch)];
}

cudaStream_t CudaBackend::stream_of(int branch) {
  return branch == 0 ? cuda::current_stream(device_) : side(branch).handle;
}

cudaStream_t CudaBackend::stream() { return stream_of(branch_); }

bool CudaBackend::recording() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream_of(0), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

void CudaBackend::repeat(const std::vector<int64_t>& key, const std::function<void()>& work) {
  constexpr size_t kMostGraphs = 16;
  const auto found = graphs_.find(key);
  if (found == graphs_.end()) {
    // everything is chosen, allocated and loaded now
    work();
    if (graphs_.size() == kMostGraphs) {
      check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // one may still run
      graphs_.clear();
    }
    graphs_.emplace(key, cuda::Graph());
    return;
  }
  if (found->second.empty()) found->second = cuda::Graph(device_, work);
  found->second.replay();
}

void CudaBackend::branch(int index) { branch_ = index; }

void CudaBackend::wait(int later, int earlier) {
  const cudaEvent_t event = side(earlier).event;
  check(cudaEventRecord(event, stream_of(earlier)), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_of(later), event, 0), "cudaStreamWaitEvent");
}

// ---- products ----------------------------------------------------------------------------------

bool CudaBackend::multiply(const PlanKey& key, const ProductRequest& request) {
  auto found = plans_.find(key);
  const bool first = found == plans_.end();
  if (first) found = plans_.emplace(key, cuda::ProductPlan::make(library_, request)).first;
  std::optional<cuda::ProductPlan>& plan = found->second;
  if (plan && !plan->run(library_, side(branch_).workspace.data_ptr(), stream())) plan.reset();
  if (first && !plan) {
    log().debug("cuBLASLt has no product [{}, {}] over {} with epilogue {}", request.rows,
                request.columns, request.depth, static_cast<int>(request.epilogue));
  }
  return plan.has_value();
}

void CudaBackend::must_multiply(const PlanKey& key, const ProductRequest& request) {
  if (multiply(key, request)) return;
  throw RunError("cuBLASLt: has no product of " + std::to_string(request.rows) + " x " +
                 std::to_string(request.columns) + " over " + std::to_string(request.depth) +
                 " on this GPU; choose another precision or train.engine: eager");
}

// ---- layers ------------------------------------------------------------------------------------

void CudaBackend::linear(MatrixId out, std::initializer_list<Product> products,
                         std::optional<int64_t> bias, const SharedSum& shared, RowRange rows) {
  StoredMatrix& stored = matrices_[static_cast<size_t>(out)];
  const bool target = weight(products.begin()->weight).part.target;

  // few inputs: our own kernel, together with all that is added
  cuda::SmallLinear sums;
  sums.out = rows_of(out, rows.begin);
  sums.rows = rows.count;
  sums.width = stored.width;
  sums.first_row = rows.begin;
  if (shared.values.defined()) {
    sums.shared = plain_rows<const float>(shared.values);
    sums.group = shared.group;
  }
  std::vector<Product> wide;
  for (const Product& product : products) {
    const StoredWeight& w = weight(product.weight);
    if (!is_small(w.part.columns)) {
      wide.push_back(product);
    } else if (sums.count < cuda::kMostProducts) {
      sums.products[sums.count++] = {rows_of(product.x, rows.begin), w.transposed, w.part.columns};
    } else {
      throw std::invalid_argument("CudaBackend::linear: too many products");
    }
  }
  const auto finish = [&](cuda::SmallLinear& layer) {
    if (bias) {
      const at::Tensor& source = flat(target);
      layer.bias = source.const_data_ptr<float>() + *bias;
      layer.bias_seed_stride = seed_stride(source);
    }
    if (bits_are_plain_)
      layer.bits = bits_of(out, rows.begin);
    else
      stored.bits_valid = false;
    cuda::small_linear(layer, seeds_, stream());
  };
  if (wide.empty()) {
    finish(sums);
    return;
  }

  // the products add to that; the last of them brings bias and ReLU
  bool accumulate = sums.count > 0 || shared.values.defined();
  if (accumulate) {
    sums.relu = false;
    cuda::small_linear(sums, seeds_, stream());
  }
  for (size_t i = 0; i < wide.size(); ++i) {
    const StoredWeight& w = weight(wide[i].weight);
    ProductRequest request;
    request.left = rows_of(wide[i].x, rows.begin);
    request.right = w.straight;
    request.result = rows_of(out, rows.begin);
    request.rows = rows.count;
    request.columns = round_up(w.part.out, kDepthUnit);
    request.depth = round_up(w.part.columns, kDepthUnit);
    request.seeds = seeds_;
    request.accumulate = accumulate;
    PlanKey key{kLinear,
                static_cast<int64_t>(out),
                static_cast<int64_t>(wide[i].x),
                static_cast<int64_t>(wide[i].weight),
                rows.begin,
                rows.count,
                accumulate ? 1 : 0,
                -1};
    const ProductRequest bare = request;
    const PlanKey bare_key = key;
    accumulate = true;
    if (i + 1 < wide.size()) {
      must_multiply(bare_key, bare);
      continue;
    }
    request.epilogue = bias ? Epilogue::kReluBitsBias : Epilogue::kReluBits;
    request.bits = bits_of(out, rows.begin);
    if (bias) request.bias = bias_copy(target, *bias, w.part.out, element_);
    key[6] += 2;
    key[7] = bias.value_or(-1);
    if (multiply(key, request)) continue;
    must_multiply(bare_key, bare);
    cuda::SmallLinear rest;
    rest.out = sums.out;
    rest.rows = rows.count;
    rest.width = stored.width;
    rest.add_to_out = true;
    finish(rest);
  }
}

void CudaBackend::head(const at::Tensor& out, std::initializer_list<Product> products,
                       std::optional<int64_t> bias, HeadForm form, RowRange rows) {
  const WeightPart& part = weight(products.begin()->weight).part;
  Rows<float> result = plain_rows<float>(out);
  result.data += rows.begin * result.row_stride;
  const at::Tensor& parameters = flat(part.target);
  const float* bias_values = bias ? parameters.const_data_ptr<float>() + *bias : nullptr;

  // few outputs: one kernel of our own
  if (is_small(part.out)) {
    cuda::SmallHead head;
    head.out = result;
    head.rows = rows.count;
    head.outputs = part.out;
    for (const Product& product : products) {
      if (head.count == cuda::kMostProducts)
        throw std::invalid_argument("CudaBackend::head: too many products");
      const StoredWeight& w = weight(product.weight);
      head.products[head.count++] = {rows_of(product.x, rows.begin), w.straight,
                                     round_up(w.part.columns, kDepthUnit)};
    }
    head.bias = bias_values;
    head.bias_seed_stride = seed_stride(parameters);
    head.tanh = form == HeadForm::kTanh;
    cuda::small_head(head, seeds_, stream());
    return;
  }

  // products add up; the last brings the bias
  Matrix plain_result{result.data, result.seed_stride, result.row_stride, Element::kFloat};
  size_t left = products.size();
  bool accumulate = false;
  for (const Product& product : products) {
    const StoredWeight& w = weight(product.weight);
    ProductRequest request;
    request.left = rows_of(product.x, rows.begin);
    request.right = w.straight;
    request.result = plain_result;
    request.rows = rows.count;
    request.columns = part.out;
    request.depth = round_up(w.part.columns, kDepthUnit);
    request.seeds = seeds_;
    request.accumulate = accumulate;
    PlanKey key{kHead,
                reinterpret_cast<int64_t>(result.data),
                static_cast<int64_t>(product.x),
                static_cast<int64_t>(product.weight),
                result.seed_stride,
                rows.count,
                accumulate ? 1 : 0,
                -1};
    const ProductRequest bare = request;
    const PlanKey bare_key = key;
    accumulate = true;
    if (--left > 0 || !bias) {
      must_multiply(bare_key, bare);
      continue;
    }
    request.epilogue = Epilogue::kBias;
    request.bias = bias_copy(part.target, *bias, part.out, Element::kFloat);
    key[7] = *bias;
    if (multiply(key, request)) continue;
    must_multiply(bare_key, bare);
    cuda::SmallLinear rest;
    rest.out = plain_result;
    rest.rows = rows.count;
    rest.width = part.out;
    rest.bias = bias_values;
    rest.bias_seed_stride = seed_stride(parameters);
    rest.add_to_out = true;
    rest.relu = false;
    cuda::small_linear(rest, seeds_, stream());
  }
  if (form == HeadForm::kTanh) cuda::apply_tanh(result, rows.count, part.out, seeds_, stream());
}

void CudaBackend::one_hot_linear(MatrixId out, WeightId id, int64_t bias) {
  const WeightPart& part = weight(id).part;
  const at::Tensor& source = flat(part.target);
  const float* values = source.const_data_ptr<float>();
  if (!bits_are_plain_) matrices_[static_cast<size_t>(out)].bits_valid = false;
  cuda::one_hot_linear(
      rows_of(out, 0), bits_are_plain_ ? bits_of(out, 0) : Bits{}, values + part.offset,
      values + bias, {part.columns, part.out, part.stride, seed_stride(source)}, seeds_, stream());
}

void CudaBackend::load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) {
  Matrix to = rows_of(out, rows.begin);
  to.data = static_cast<char*>(to.data) + column * (to.element == Element::kFloat ? 4 : 2);
  matrices_[static_cast<size_t>(out)].bits_valid = false;
  cuda::load(to, plain_rows<const float>(values), rows.count, values.size(-1), seeds_, stream());
}

// ---- gradients ---------------------------------------------------------------------------------

void CudaBackend::input_gradient(MatrixId out, MatrixId gradient, WeightId id, MatrixId mask,
                                 RowRange rows) {
  const StoredWeight& w = weight(id);
  ProductRequest request;
  request.form = ProductForm::kBackward;
  request.left = rows_of(gradient, rows.begin);
  request.right = w.straight;
  request.result = rows_of(out, rows.begin);
  request.rows = rows.count;
  request.columns = round_up(w.part.columns, kDepthUnit);
  request.depth = round_up(w.part.out, kDepthUnit);
  request.seeds = seeds_;
  PlanKey key{kInputGradient,
              static_cast<int64_t>(out),
              static_cast<int64_t>(gradient),
              static_cast<int64_t>(id),
              rows.begin,
              rows.count,
              0,
              -1};
  if (matrix(mask).bits_valid) {
    ProductRequest fused = request;
    fused.epilogue = Epilogue::kMask;
    fused.bits = bits_of(mask, rows.begin);
    PlanKey fused_key = key;
    fused_key[7] = static_cast<int64_t>(mask);
    if (multiply(fused_key, fused)) return;
  }
  must_multiply(key, request);
  cuda::mask_gradient(request.result, rows_of(mask, rows.begin), rows.count, w.part.columns, seeds_,
                      stream());
}

void CudaBackend::head_gradient(const at::Tensor& out, MatrixId gradient, WeightId id,
                                bool accumulate, RowRange rows) {
  const StoredWeight& w = weight(id);
  Rows<float> result = plain_rows<float>(out);
  result.data += rows.begin * result.row_stride;
  if (is_small(w.part.columns)) {
    cuda::SmallHead head;
    head.out = result;
    head.rows = rows.count;
    head.outputs = w.part.columns;
    head.count = 1;
    head.products[0] = {rows_of(gradient, rows.begin), w.transposed,
                        round_up(w.part.out, kDepthUnit)};
    head.accumulate = accumulate;
    cuda::small_head(head, seeds_, stream());
    return;
  }
  ProductRequest request;
  request.form = ProductForm::kBackward;
  request.left = rows_of(gradient, rows.begin);
  request.right = w.straight;
  request.result = {result.data, result.seed_stride, result.row_stride, Element::kFloat};
  request.rows = rows.count;
  request.columns = w.part.columns;
  request.depth = round_up(w.part.out, kDepthUnit);
  request.seeds = seeds_;
  request.accumulate = accumulate;
  must_multiply(
      {kHeadGradient, reinterpret_cast<int64_t>(result.data), static_cast<int64_t>(gradient),
       static_cast<int64_t>(id), result.seed_stride, rows.count, accumulate ? 1 : 0, -1},
      request);
}

void CudaBackend::weight_gradient(WeightId id, MatrixId x, MatrixId gradient,
                                  std::optional<int64_t> bias, RowRange rows) {
  const WeightPart& part = weight(id).part;
  float* gradients = gradients_.data_ptr<float>();
  const int64_t stride = seed_stride(gradients_);
  ProductRequest request;
  request.form = ProductForm::kWeights;
  request.left = rows_of(gradient, rows.begin);
  request.right = rows_of(x, rows.begin);
  request.result = {gradients + part.offset, stride, part.stride, Element::kFloat};
  request.rows = part.out;
  request.columns = part.columns;
  request.depth = rows.count;
  request.seeds = seeds_;
  PlanKey key{kWeightGradient,
              static_cast<int64_t>(id),
              static_cast<int64_t>(x),
              static_cast<int64_t>(gradient),
              rows.begin,
              rows.count,
              0,
              -1};
  // cuBLASLt judges the alignment of the sums by the first seed's
  constexpr int64_t kVector = 4;  // floats
  if (bias && (seeds_ == 1 || stride % kVector == 0)) {
    ProductRequest fused = request;
    fused.epilogue = Epilogue::kColumnSums;
    fused.bias = {gradients + *bias, stride, 1, Element::kFloat};
    PlanKey fused_key = key;
    fused_key[7] = *bias;
    if (multiply(fused_key, fused)) return;
  }
  must_multiply(key, request);
  if (bias)
    cuda::column_sums(gradients + *bias, stride, request.left, rows.count, part.out, seeds_,
                      stream());
}

void CudaBackend::one_hot_gradient(WeightId id, MatrixId gradient, int64_t bias) {
  const WeightPart& part = weight(id).part;
  float* gradients = gradients_.data_ptr<float>();
  const int64_t stride = seed_stride(gradients_);
  const Matrix rows = rows_of(gradient, 0);
  cuda::one_hot_gradient(gradients + part.offset, rows,
                         {part.columns, part.out, part.stride, stride}, seeds_, stream());
  cuda::column_sums(gradients + bias, stride, rows, part.columns, part.out, seeds_, stream());
}

// ---- what stands between the layers ------------------------------------------------------------

void CudaBackend::gather(const at::Tensor& out, const at::Tensor& table, const at::Tensor& index,
                         int64_t rows) {
  cuda::gather(plain_rows<float>(out), plain_rows<const float>(table),
               index.const_data_ptr<int64_t>(), seed_stride(index), rows, table.size(-1), seeds_,
               stream());
}

void CudaBackend::scatter(const at::Tensor& out, const at::Tensor& values, const at::Tensor& index,
                          int64_t rows) {
  cuda::scatter(plain_rows<float>(out), plain_rows<const float>(values),
                index.const_data_ptr<int64_t>(), seed_stride(index), rows, out.size(-2),
                out.size(-1), seeds_, stream());
}

void CudaBackend::behaviour_loss(const BehaviourLoss& loss, const at::Tensor& metrics) {
  cuda::BehaviourLossArguments arguments;
  arguments.mean = plain_rows<const float>(loss.mean);
  arguments.actions = plain_rows<const float>(loss.actions);
  arguments.mean_gradient = plain_rows<float>(loss.mean_gradient);
  if (loss.log_std.defined()) {
    arguments.log_std = loss.log_std.const_data_ptr<float>();
    arguments.log_std_seed_stride = seed_stride(loss.log_std);
    arguments.log_std_gradient = loss.log_std_gradient.data_ptr<float>();
    arguments.log_std_gradient_seed_stride = seed_stride(loss.log_std_gradient);
  }
  arguments.batch_size = loss.batch_size;
  arguments.action_dim = loss.mean.size(-1);
  arguments.metric = metrics.data_ptr<double>() + kBehaviourSlot;
  arguments.metrics_seed_stride = seed_stride(metrics);
  cuda::behaviour_loss(arguments, seeds_, stream());
}

void CudaBackend::sample_posterior(const at::Tensor& z, const at::Tensor& posterior,
                                   const at::Tensor& noise, int64_t rows) {
  cuda::sample_posterior(plain_rows<float>(z), plain_rows<const float>(posterior),
                         plain_rows<const float>(noise), rows, z.size(-1), seeds_, stream());
}

void CudaBackend::posterior_gradient(const PosteriorLoss& loss, const at::Tensor& metrics) {
  cuda::PosteriorArguments arguments;
  arguments.posterior = plain_rows<const float>(loss.posterior);
  arguments.noise = plain_rows<const float>(loss.noise);
  arguments.z_gradient = plain_rows<const float>(loss.z_gradient);
  arguments.gradient = plain_rows<float>(loss.gradient);
  arguments.kl_weight = static_cast<float>(loss.kl_weight / static_cast<double>(loss.batch_size));
  arguments.batch_size = loss.batch_size;
  arguments.dim = loss.noise.size(-1);
  arguments.metric = metrics.data_ptr<double>() + kKlSlot;
  arguments.metrics_seed_stride = seed_stride(metrics);
  cuda::posterior_gradient(arguments, seeds_, stream());
}

bool CudaBackend::score_losses(const ScoreLosses& l, const at::Tensor& metrics) {
  cuda::ScoreLossesArguments arguments{};
  arguments.scores = l.scores.const_data_ptr<float>();
  arguments.next_scores = l.next_scores.const_data_ptr<float>();
  arguments.rewards = l.rewards.const_data_ptr<float>();
  arguments.terminals = l.terminals.const_data_ptr<float>();
  arguments.score_gradient = l.score_gradient.data_ptr<float>();
  arguments.scores_seed_stride = seed_stride(l.scores);
  arguments.block_seed_stride = seed_stride(l.rewards);
  arguments.batch_size = l.batch_size;
  arguments.block = l.block;
  arguments.discount = l.discount;
  arguments.measure_gap = l.measure_gap;
  arguments.conservative = l.conservative;
  arguments.rule = {l.form == MultiplierForm::kHinge, l.form == MultiplierForm::kLog,
                    l.multiplier_rate, l.threshold};
  arguments.multiplier = l.multiplier.data_ptr<float>();
  if (arguments.rule.logarithmic) {
    arguments.exp_avg = l.exp_avg.data_ptr<float>();
    arguments.exp_avg_sq = l.exp_avg_sq.data_ptr<float>();
    arguments.step_count = l.step_count.data_ptr<float>();
  }
  arguments.multiplier_seed_stride = num_seeds_ > 0 ? 1 : 0;
  arguments.metrics = metrics.data_ptr<double>();
  arguments.metrics_seed_stride = seed_stride(metrics);
  cuda::score_losses(arguments, seeds_, stream());
  return l.conservative;  // whether it is satisfied is known to the device alone
}

void CudaBackend::update(const ParameterUpdate& u, const at::Tensor& metrics,
                         const at::Tensor& step) {
  cuda::AdamArguments arguments{};
  arguments.parameters = u.parameters.data_ptr<float>();
  arguments.gradients = u.gradients.const_data_ptr<float>();
  arguments.exp_avg = u.exp_avg.data_ptr<float>();
  arguments.exp_avg_sq = u.exp_avg_sq.data_ptr<float>();
  arguments.size = u.parameters.size(-1);
  arguments.step_count = u.step_count.const_data_ptr<float>();
  arguments.step_count_seed_stride = u.step_count.numel() > 1 ? 1 : 0;
  arguments.learning_rate = u.learning_rate;
  arguments.target = u.target.data_ptr<float>();
  arguments.target_size = u.target.size(-1);
  arguments.target_source = u.target_source;
  arguments.target_rate = static_cast<float>(u.target_rate);
  arguments.bad_gradient = bad_gradient_.data_ptr<int32_t>();
  cuda::adam(arguments, seeds_, stream());

  cuda::StepEnd end;
  end.metrics = metrics.data_ptr<double>();
  end.metrics_seed_stride = seed_stride(metrics);
  end.step = step.data_ptr<int64_t>();
  end.num_steps = step.numel();
  end.adam_step = u.step_count.data_ptr<float>();
  end.num_adam_steps = u.step_count.numel();
  end.bad_gradient = bad_gradient_.data_ptr<int32_t>();
  pack(end);
}

// ---- ascent ------------------------------------------------------------------------------------

void CudaBackend::ascend(const at::Tensor& z, const at::Tensor& gradient, double step_size,
                         bool normalise, std::optional<double> bound, int64_t rows) {
  cuda::ascend(plain_rows<float>(z), plain_rows<const float>(gradient), rows, z.size(-1),
               static_cast<float>(step_size), normalise, static_cast<float>(bound.value_or(-1.0)),
               seeds_, stream());
}

void CudaBackend::through_tanh(const at::Tensor& gradient, const at::Tensor& values, int64_t rows) {
  cuda::through_tanh(plain_rows<float>(gradient), plain_rows<const float>(values), rows,
                     gradient.size(-1), seeds_, stream());
}

void CudaBackend::keep_best(const at::Tensor& best_z, const at::Tensor& best_scores,
                            const at::Tensor& z, const at::Tensor& scores, int64_t rows) {
  cuda::keep_best(plain_rows<float>(best_z), plain_rows<float>(best_scores),
                  plain_rows<const float>(z), plain_rows<const float>(scores), rows, z.size(-1),
                  seeds_, stream());
}

}  // namespace drop
