#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/arithmetic.h"

/// Our own CUDA kernels, by raw pointers and strides: all that is not a matrix product. Each
/// function puts one kernel on a stream and returns; none waits, allocates or reads results, so
/// that all may be recorded into a graph. Sums are taken in a fixed order.
namespace drop::cuda {

/// Type of matrices and weight copies.
enum class Element { kFloat, kBf16 };

/// Rows for each seed: element (s, r, c) is data[s * seed_stride + r * row_stride + c].
template <typename T>
struct Rows {
  T* data = nullptr;
  int64_t seed_stride = 0;
  int64_t row_stride = 0;
};

/// The same of either element type; strides count elements.
struct Matrix {
  void* data = nullptr;
  int64_t seed_stride = 0;
  int64_t row_stride = 0;
  Element element = Element::kFloat;
};

/// Which activations are above zero: bit c % 32 of word c / 32 of a row. Absent where null.
struct Bits {
  uint32_t* data = nullptr;
  int64_t seed_stride = 0;  ///< words
  int64_t row_stride = 0;   ///< words
};

constexpr int64_t kSmall = 32;    ///< inputs or outputs that our own kernels take as few
constexpr int kMostProducts = 3;  ///< addends of one layer

/// x W^T with few inputs (`small_linear`: weight transposed, [inputs, out]) or few outputs
/// (`small_head`: weight [out, inputs], both padded with zeros to multiples of 8).
struct SmallProduct {
  Matrix x;
  Matrix weight;
  int64_t inputs = 0;
};

/// out = relu(products + shared sum + bias [+ out]), or without the ReLU.
struct SmallLinear {
  Matrix out;  ///< [rows, width], its columns up to the next multiple of 32 exist
  Bits bits;
  int64_t rows = 0;
  int64_t width = 0;
  int count = 0;
  SmallProduct products[kMostProducts];
  Rows<const float> shared;  ///< row (first_row + r) / group is added to row r
  int64_t group = 1;
  int64_t first_row = 0;
  const float* bias = nullptr;
  int64_t bias_seed_stride = 0;
  bool add_to_out = false;
  bool relu = true;
};
void small_linear(const SmallLinear& layer, int64_t seeds, cudaStream_t stream);

/// Plain out (+)= products + bias, with or without tanh; few outputs.
struct SmallHead {
  Rows<float> out;
  int64_t rows = 0;
  int64_t outputs = 0;
  int count = 0;
  SmallProduct products[kMostProducts];  ///< `inputs` a multiple of 8
  const float* bias = nullptr;
  int64_t bias_seed_stride = 0;
  bool tanh = false;
  bool accumulate = false;
};
void small_head(const SmallHead& head, int64_t seeds, cudaStream_t stream);

/// values = tanh(values)
void apply_tanh(Rows<float> values, int64_t rows, int64_t columns, int64_t seeds,
                cudaStream_t stream);

/// Plain values into a matrix that begins at the wanted row and column.
void load(const Matrix& to, Rows<const float> values, int64_t rows, int64_t columns, int64_t seeds,
          cudaStream_t stream);

/// gradient = activation > 0 ? gradient : 0
void mask_gradient(const Matrix& gradient, const Matrix& activation, int64_t rows, int64_t width,
                   int64_t seeds, cudaStream_t stream);

/// sums[c] = sum of the gradient's column c
void column_sums(float* sums, int64_t sums_seed_stride, const Matrix& gradient, int64_t rows,
                 int64_t columns, int64_t seeds, cudaStream_t stream);

/// out[n, c] = relu(weight[c, n] + bias[c]); weight, bias and their gradients lie in flat buffers
/// with one seed stride.
struct OneHot {
  int64_t inputs = 0;
  int64_t width = 0;
  int64_t stride = 0;  ///< of a row of the weight
  int64_t seed_stride = 0;
};
void one_hot_linear(const Matrix& out, const Bits& bits, const float* weight, const float* bias,
                    const OneHot& shape, int64_t seeds, cudaStream_t stream);
/// weight_gradient = gradient^T
void one_hot_gradient(float* weight_gradient, const Matrix& gradient, const OneHot& shape,
                      int64_t seeds, cudaStream_t stream);

// ---- copies of weights in the form that products read

/// A weight or bias [rows, columns] in a flat buffer, and its copies; absent ones are null.
struct PackedPart {
  const float* source = nullptr;  ///< of seed 0
  int64_t source_seed_stride = 0;
  int64_t source_row_stride = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  Matrix straight;    ///< [rows, columns]
  Matrix transposed;  ///< [columns, rows]
};

/// The elements begin ... begin + kPackedElements - 1 of a part, row by row.
struct PackedChunk {
  int32_t part;
  int32_t begin;
};
constexpr int32_t kPackedElements = 2048;

/// What ends a training step: see DenseBackend::update. `metrics` null = nothing to end.
struct StepEnd {
  double* metrics = nullptr;
  int64_t metrics_seed_stride = 0;
  int64_t* step = nullptr;
  int64_t num_steps = 0;  ///< step counters: 1 or one for each seed
  float* adam_step = nullptr;
  int64_t num_adam_steps = 0;
  int32_t* bad_gradient = nullptr;  ///< [seeds], raised by `adam`, put down here
};

/// Takes over all weights; part and chunk tables lie in device memory.
void pack(const PackedPart* parts, const PackedChunk* chunks, int64_t num_chunks,
          const StepEnd& end, int64_t seeds, cudaStream_t stream);

// ---- between the layers

void gather(Rows<float> out, Rows<const float> table, const int64_t* index,
            int64_t index_seed_stride, int64_t rows, int64_t columns, int64_t seeds,
            cudaStream_t stream);

/// out[n] = sum of values[r] with index[r] = n, for n < outputs
void scatter(Rows<float> out, Rows<const float> values, const int64_t* index,
             int64_t index_seed_stride, int64_t rows, int64_t outputs, int64_t columns,
             int64_t seeds, cudaStream_t stream);

struct BehaviourLossArguments {
  Rows<const float> mean, actions;
  Rows<float> mean_gradient;
  const float* log_std = nullptr;  ///< null = unit variance
  int64_t log_std_seed_stride = 0;
  float* log_std_gradient = nullptr;
  int64_t log_std_gradient_seed_stride = 0;
  int64_t batch_size = 0;
  int64_t action_dim = 0;
  double* metric = nullptr;  ///< of seed 0
  int64_t metrics_seed_stride = 0;
};
void behaviour_loss(const BehaviourLossArguments& loss, int64_t seeds, cudaStream_t stream);

/// See DenseBackend::sample_posterior; `dim` = d.
void sample_posterior(Rows<float> z, Rows<const float> posterior, Rows<const float> noise,
                      int64_t rows, int64_t dim, int64_t seeds, cudaStream_t stream);

struct PosteriorArguments {
  Rows<const float> posterior, noise, z_gradient;
  Rows<float> gradient;
  float kl_weight = 0.0f;  ///< of one row
  int64_t batch_size = 0;
  int64_t dim = 0;
  double* metric = nullptr;  ///< of seed 0
  int64_t metrics_seed_stride = 0;
};
void posterior_gradient(const PosteriorArguments& loss, int64_t seeds, cudaStream_t stream);

struct ScoreLossesArguments {
  const float* scores;
  const float* next_scores;
  const float* rewards;
  const float* terminals;
  float* score_gradient;
  int64_t scores_seed_stride;  ///< of `scores` and `score_gradient`
  int64_t block_seed_stride;   ///< of `next_scores`, `rewards`, `terminals`
  int64_t batch_size;
  int64_t block;
  double discount;
  bool measure_gap;
  bool conservative;
  arithmetic::MultiplierRule rule;
  float* multiplier;
  float* exp_avg;  ///< null unless the rule is logarithmic, as the next two
  float* exp_avg_sq;
  float* step_count;
  int64_t multiplier_seed_stride;
  double* metrics;
  int64_t metrics_seed_stride;
};
void score_losses(const ScoreLossesArguments& losses, int64_t seeds, cudaStream_t stream);

struct AdamArguments {
  float* parameters;
  const float* gradients;
  float* exp_avg;
  float* exp_avg_sq;
  int64_t size;  ///< parameters of one seed; the four buffers are contiguous
  const float* step_count;
  int64_t step_count_seed_stride;
  double learning_rate;
  float* target;  ///< contiguous
  int64_t target_size;
  int64_t target_source;
  float target_rate;
  int32_t* bad_gradient;
};
void adam(const AdamArguments& arguments, int64_t seeds, cudaStream_t stream);

// ---- ascent

void ascend(Rows<float> z, Rows<const float> gradient, int64_t rows, int64_t columns,
            float step_size, bool normalise, float bound, int64_t seeds, cudaStream_t stream);
void through_tanh(Rows<float> gradient, Rows<const float> values, int64_t rows, int64_t columns,
                  int64_t seeds, cudaStream_t stream);
void keep_best(Rows<float> best_z, Rows<float> best_scores, Rows<const float> z,
               Rows<const float> scores, int64_t rows, int64_t columns, int64_t seeds,
               cudaStream_t stream);

// ---- sampling

/// One seed's data in device memory, and the keys of its streams.
struct SamplingSource {
  arithmetic::SamplingTable table;
  uint64_t sampling_key;
  uint64_t z_key;
  uint64_t posterior_key;  ///< of the stream "posterior"
  const float* states;
  const float* actions;
  const float* rewards;
  const float* terminals;
  int64_t last_row;
};

struct SampledBatch {
  Rows<float> states, actions, next_states, next_actions, uniform_z;
  Rows<float> posterior_noise;  ///< of a CVAE, else without data
  Rows<float> rewards, terminals;
  Rows<int64_t> subtasks;
  int64_t batch_size = 0;
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  int64_t embedding_dim = 0;
  float bound = 1.0f;  ///< of the box that uniform_z fills
};
/// @param sources  [seeds] in device memory
/// @param step  steps done so far: one number, or one for each seed (`step_seed_stride` 1)
void sample(const SampledBatch& batch, const SamplingSource* sources, const int64_t* step,
            int64_t step_seed_stride, int64_t seeds, cudaStream_t stream);

}  // namespace drop::cuda
