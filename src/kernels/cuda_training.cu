#include <cmath>

#include "kernels/cuda_device_code.h"

namespace drop::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kLossThreads = 1024;  // one block for each seed

__global__ void gather_kernel(Rows<float> out, Rows<const float> table, const int64_t* index,
                              int64_t index_seed_stride, int64_t rows, int64_t columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t seed = blockIdx.y;
  const int64_t row = i / columns;
  const int64_t column = i % columns;
  const int64_t n = index[seed * index_seed_stride + row];
  row_of(out, seed, row)[column] = row_of(table, seed, n)[column];
}

// one block for one row of the table; each thread sums every 256th row in turn, a few columns at a
// time, then the threads' sums are added
constexpr int kScatterColumns = 8;
__global__ void scatter_kernel(Rows<float> out, Rows<const float> values, const int64_t* index,
                               int64_t index_seed_stride, int64_t rows, int64_t columns) {
  const int64_t seed = blockIdx.y;
  const int64_t n = blockIdx.x;
  const int64_t* subtasks = index + seed * index_seed_stride;
  for (int64_t first = 0; first < columns; first += kScatterColumns) {
    float sums[kScatterColumns] = {};
    for (int64_t row = threadIdx.x; row < rows; row += blockDim.x) {
      if (subtasks[row] != n) continue;
      const float* from = row_of(values, seed, row) + first;
#pragma unroll
      for (int c = 0; c < kScatterColumns; ++c) {
        if (first + c < columns) sums[c] += from[c];
      }
    }
#pragma unroll
    for (int c = 0; c < kScatterColumns; ++c) {
      if (first + c >= columns) break;  // the same for all threads
      const float total = block_sum(sums[c]);
      if (threadIdx.x == 0) row_of(out, seed, n)[first + c] = total;
    }
  }
}

__global__ void __launch_bounds__(kLossThreads) behaviour_loss_kernel(BehaviourLossArguments loss) {
  const int64_t seed = blockIdx.x;
  const float* log_std =
      loss.log_std != nullptr ? loss.log_std + seed * loss.log_std_seed_stride : nullptr;
  const float each = 1.0f / static_cast<float>(loss.batch_size);

  // standardised errors
  double squares = 0.0;
  for (int64_t i = threadIdx.x; i < loss.batch_size * loss.action_dim; i += blockDim.x) {
    const int64_t row = i / loss.action_dim;
    const int64_t column = i % loss.action_dim;
    const float mean = row_of(loss.mean, seed, row)[column];
    const float action = row_of(loss.actions, seed, row)[column];
    const float inverse =
        log_std != nullptr ? expf(-arithmetic::clamped_log_std(log_std[column])) : 1.0f;
    const float error = (mean - action) * inverse;
    squares += static_cast<double>(error) * error;
    row_of(loss.mean_gradient, seed, row)[column] =
        arithmetic::behaviour_gradient(mean, action, each * inverse * inverse);
  }
  double total = 0.5 * block_sum(squares) / static_cast<double>(loss.batch_size);

  // the learned standard deviation: the clamp lets no gradient through outside its limits
  if (log_std != nullptr) {
    for (int64_t column = 0; column < loss.action_dim; ++column) {
      const float clamped = arithmetic::clamped_log_std(log_std[column]);
      const float inverse = expf(-clamped);
      double own = 0.0;
      for (int64_t row = threadIdx.x; row < loss.batch_size; row += blockDim.x) {
        const float error =
            (row_of(loss.mean, seed, row)[column] - row_of(loss.actions, seed, row)[column]) *
            inverse;
        own += static_cast<double>(error) * error;
      }
      own = block_sum(own);
      total += clamped;
      if (threadIdx.x != 0) continue;
      const bool moves = clamped == log_std[column];
      loss.log_std_gradient[seed * loss.log_std_gradient_seed_stride + column] =
          moves ? static_cast<float>(1.0 - own / static_cast<double>(loss.batch_size)) : 0.0f;
    }
  }
  if (threadIdx.x == 0) loss.metric[seed * loss.metrics_seed_stride] = static_cast<float>(total);
}

__global__ void sample_posterior_kernel(Rows<float> z, Rows<const float> posterior,
                                        Rows<const float> noise, int64_t rows, int64_t dim) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * dim) return;
  const int64_t seed = blockIdx.y;
  const float* mean = row_of(posterior, seed, i / dim) + i % dim;
  row_of(z, seed, i / dim)[i % dim] =
      arithmetic::posterior_sample(mean[0], mean[dim], row_of(noise, seed, i / dim)[i % dim]);
}

__global__ void __launch_bounds__(kLossThreads) posterior_gradient_kernel(PosteriorArguments loss) {
  const int64_t seed = blockIdx.x;
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < loss.batch_size * loss.dim; i += blockDim.x) {
    const int64_t row = i / loss.dim;
    const int64_t column = i % loss.dim;
    const float* mean = row_of(loss.posterior, seed, row) + column;
    total += static_cast<double>(arithmetic::posterior_kl(mean[0], mean[loss.dim]));
    const auto gradient = arithmetic::posterior_gradient(
        mean[0], mean[loss.dim], row_of(loss.noise, seed, row)[column],
        row_of(loss.z_gradient, seed, row)[column], loss.kl_weight);
    float* out = row_of(loss.gradient, seed, row) + column;
    out[0] = gradient.mean;
    out[loss.dim] = gradient.log_std;
  }
  total = block_sum(total) / static_cast<double>(loss.batch_size);
  if (threadIdx.x == 0) loss.metric[seed * loss.metrics_seed_stride] = static_cast<float>(total);
}

__global__ void __launch_bounds__(kLossThreads) score_losses_kernel(ScoreLossesArguments l) {
  __shared__ float gap_gradient;
  const int64_t seed = blockIdx.x;
  const float* scores = l.scores + seed * l.scores_seed_stride;
  const float* next_scores = l.next_scores + seed * l.block_seed_stride;
  const float* rewards = l.rewards + seed * l.block_seed_stride;
  const float* terminals = l.terminals + seed * l.block_seed_stride;
  float* gradient = l.score_gradient + seed * l.scores_seed_stride;
  double* slots = l.metrics + seed * l.metrics_seed_stride;
  const auto batch = static_cast<double>(l.batch_size);

  // temporal difference, and the gap
  double td = 0.0;
  double mean = 0.0;
  double gap = 0.0;
  for (int64_t row = threadIdx.x; row < l.batch_size; row += blockDim.x) {
    const float target = arithmetic::td_target(rewards[row], terminals[row], next_scores[row],
                                               static_cast<float>(l.discount));
    const float error = scores[row] - target;
    td += static_cast<double>(error) * error;
    mean += scores[row];
    if (l.measure_gap)
      gap += static_cast<double>(scores[l.block + row]) - scores[2 * l.block + row];
    gradient[row] = static_cast<float>(2.0 * error / batch);
  }
  td = block_sum(td) / batch;
  mean = block_sum(mean) / batch;
  gap = block_sum(gap) / batch;

  // the multiplier: its weight in f's loss from before its own step
  if (threadIdx.x == 0) {
    if (!l.measure_gap) gap = slots[arithmetic::kGap];
    float* parameter = l.multiplier + seed * l.multiplier_seed_stride;
    arithmetic::MultiplierState state{*parameter, 0.0f, 0.0f, 0.0f};
    double weight = 0.0;
    if (l.conservative) {
      weight = arithmetic::gap_weight(l.rule, state.parameter, gap);
      const int64_t own = seed * l.multiplier_seed_stride;
      if (l.rule.logarithmic) {
        state.exp_avg = l.exp_avg[own];
        state.exp_avg_sq = l.exp_avg_sq[own];
        state.step_count = l.step_count[own];
      }
      arithmetic::step_multiplier(l.rule, gap, state);
      *parameter = state.parameter;
      if (l.rule.logarithmic) {
        l.exp_avg[own] = state.exp_avg;
        l.exp_avg_sq[own] = state.exp_avg_sq;
        l.step_count[own] = state.step_count;
      }
    }
    slots[arithmetic::kTd] = static_cast<float>(td);  // overflows as the weights would
    slots[arithmetic::kGap] = gap;
    slots[arithmetic::kMultiplier] = arithmetic::multiplier_value(l.rule, state.parameter);
    slots[arithmetic::kMeanScore] = mean;
    gap_gradient = static_cast<float>(weight / batch);
  }
  __syncthreads();
  for (int64_t row = threadIdx.x; row < l.batch_size; row += blockDim.x) {
    gradient[l.block + row] = gap_gradient;
    gradient[2 * l.block + row] = -gap_gradient;
  }
}

constexpr int kAdamElements = 4;  // of a thread
__global__ void adam_kernel(AdamArguments a) {
  __shared__ arithmetic::AdamFactors factors;
  const int64_t seed = blockIdx.y;
  if (threadIdx.x == 0) {
    const float count = a.step_count[seed * a.step_count_seed_stride];
    factors = arithmetic::adam_factors(a.learning_rate, static_cast<double>(count) + 1.0);
  }
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kAdamElements) + threadIdx.x;
  bool bad = false;
  for (int e = 0; e < kAdamElements; ++e) {
    const int64_t i = first + e * kThreads;
    if (i >= a.size) break;
    const int64_t at = seed * a.size + i;
    const float gradient = a.gradients[at];
    bad = bad || !std::isfinite(gradient);
    const float moved =
        arithmetic::adam(a.parameters[at], gradient, a.exp_avg[at], a.exp_avg_sq[at], factors);
    a.parameters[at] = moved;
    const int64_t follower = i - a.target_source;
    if (follower >= 0 && follower < a.target_size) {
      float& target = a.target[seed * a.target_size + follower];
      target += a.target_rate * (moved - target);
    }
  }
  if (bad) a.bad_gradient[seed] = 1;  // whoever writes, writes the same
}

__global__ void ascend_kernel(Rows<float> z, Rows<const float> gradient, int64_t rows,
                              int64_t columns, float step_size, bool normalise, float bound) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  arithmetic::ascend(row_of(z, blockIdx.y, row), row_of(gradient, blockIdx.y, row), columns,
                     step_size, normalise, bound);
}

__global__ void through_tanh_kernel(Rows<float> gradient, Rows<const float> values, int64_t rows,
                                    int64_t columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  const float value = row_of(values, blockIdx.y, i / columns)[i % columns];
  row_of(gradient, blockIdx.y, i / columns)[i % columns] *= 1.0f - value * value;
}

__global__ void keep_best_kernel(Rows<float> best_z, Rows<float> best_scores, Rows<const float> z,
                                 Rows<const float> scores, int64_t rows, int64_t columns) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const float score = *row_of(scores, blockIdx.y, row);
  float* best = row_of(best_scores, blockIdx.y, row);
  if (!(score > *best)) return;
  *best = score;
  for (int64_t c = 0; c < columns; ++c)
    row_of(best_z, blockIdx.y, row)[c] = row_of(z, blockIdx.y, row)[c];
}

// a few rows for a block, 16 threads for each of them
constexpr int kSampledRows = 8;
constexpr int kRowThreads = 16;
__global__ void sample_kernel(SampledBatch batch, const SamplingSource* sources,
                              const int64_t* steps, int64_t step_seed_stride) {
  __shared__ int64_t drawn[kSampledRows];
  const int64_t seed = blockIdx.y;
  const SamplingSource& source = sources[seed];
  const auto step = static_cast<uint64_t>(steps[seed * step_seed_stride]);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSampledRows;

  // draw
  if (threadIdx.x < kSampledRows && first + threadIdx.x < batch.batch_size) {
    const int64_t row = first + threadIdx.x;
    const arithmetic::DrawnRow one =
        arithmetic::draw_row(source.table, source.sampling_key, step, row);
    drawn[threadIdx.x] = one.row;
    *row_of(batch.subtasks, seed, row) = one.subtask;
    *row_of(batch.rewards, seed, row) = source.rewards[one.row];
    *row_of(batch.terminals, seed, row) = source.terminals[one.row];
  }
  __syncthreads();

  // copy; the successor is the next row of the same trajectory, masked after a terminal row
  const int64_t row = first + threadIdx.x / kRowThreads;
  if (row >= batch.batch_size) return;
  const int64_t from = drawn[threadIdx.x / kRowThreads];
  const int64_t next = from < source.last_row ? from + 1 : source.last_row;
  const int lane = static_cast<int>(threadIdx.x % kRowThreads);
  for (int64_t c = lane; c < batch.state_dim; c += kRowThreads) {
    row_of(batch.states, seed, row)[c] = source.states[from * batch.state_dim + c];
    row_of(batch.next_states, seed, row)[c] = source.states[next * batch.state_dim + c];
  }
  for (int64_t c = lane; c < batch.action_dim; c += kRowThreads) {
    row_of(batch.actions, seed, row)[c] = source.actions[from * batch.action_dim + c];
    row_of(batch.next_actions, seed, row)[c] = source.actions[next * batch.action_dim + c];
  }
  for (int64_t c = lane; c < batch.embedding_dim; c += kRowThreads) {
    const int64_t position = row * batch.embedding_dim + c;
    row_of(batch.uniform_z, seed, row)[c] =
        batch.bound * arithmetic::uniform_z(source.z_key, step, position);
    if (batch.posterior_noise.data != nullptr) {
      row_of(batch.posterior_noise, seed, row)[c] =
          arithmetic::posterior_noise(source.posterior_key, step, position);
    }
  }
}

}  // namespace

void gather(Rows<float> out, Rows<const float> table, const int64_t* index,
            int64_t index_seed_stride, int64_t rows, int64_t columns, int64_t seeds,
            cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * columns, kThreads), static_cast<unsigned>(seeds));
  launch(gather_kernel, grid, dim3(kThreads), stream, out, table, index, index_seed_stride, rows,
         columns);
}

void scatter(Rows<float> out, Rows<const float> values, const int64_t* index,
             int64_t index_seed_stride, int64_t rows, int64_t outputs, int64_t columns,
             int64_t seeds, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(outputs), static_cast<unsigned>(seeds));
  launch(scatter_kernel, grid, dim3(kThreads), stream, out, values, index, index_seed_stride, rows,
         columns);
}

void behaviour_loss(const BehaviourLossArguments& loss, int64_t seeds, cudaStream_t stream) {
  launch(behaviour_loss_kernel, dim3(static_cast<unsigned>(seeds)), dim3(kLossThreads), stream,
         loss);
}

void sample_posterior(Rows<float> z, Rows<const float> posterior, Rows<const float> noise,
                      int64_t rows, int64_t dim, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * dim, kThreads), static_cast<unsigned>(seeds));
  launch(sample_posterior_kernel, grid, dim3(kThreads), stream, z, posterior, noise, rows, dim);
}

void posterior_gradient(const PosteriorArguments& loss, int64_t seeds, cudaStream_t stream) {
  launch(posterior_gradient_kernel, dim3(static_cast<unsigned>(seeds)), dim3(kLossThreads), stream,
         loss);
}

void score_losses(const ScoreLossesArguments& losses, int64_t seeds, cudaStream_t stream) {
  launch(score_losses_kernel, dim3(static_cast<unsigned>(seeds)), dim3(kLossThreads), stream,
         losses);
}

void adam(const AdamArguments& arguments, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(arguments.size, kThreads * kAdamElements),
                  static_cast<unsigned>(seeds));
  launch(adam_kernel, grid, dim3(kThreads), stream, arguments);
}

void ascend(Rows<float> z, Rows<const float> gradient, int64_t rows, int64_t columns,
            float step_size, bool normalise, float bound, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(rows, kThreads), static_cast<unsigned>(seeds));
  launch(ascend_kernel, grid, dim3(kThreads), stream, z, gradient, rows, columns, step_size,
         normalise, bound);
}

void through_tanh(Rows<float> gradient, Rows<const float> values, int64_t rows, int64_t columns,
                  int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(rows * columns, kThreads), static_cast<unsigned>(seeds));
  launch(through_tanh_kernel, grid, dim3(kThreads), stream, gradient, values, rows, columns);
}

void keep_best(Rows<float> best_z, Rows<float> best_scores, Rows<const float> z,
               Rows<const float> scores, int64_t rows, int64_t columns, int64_t seeds,
               cudaStream_t stream) {
  const dim3 grid(blocks_for(rows, kThreads), static_cast<unsigned>(seeds));
  launch(keep_best_kernel, grid, dim3(kThreads), stream, best_z, best_scores, z, scores, rows,
         columns);
}

void sample(const SampledBatch& batch, const SamplingSource* sources, const int64_t* step,
            int64_t step_seed_stride, int64_t seeds, cudaStream_t stream) {
  const dim3 grid(blocks_for(batch.batch_size, kSampledRows), static_cast<unsigned>(seeds));
  launch(sample_kernel, grid, dim3(kSampledRows * kRowThreads), stream, batch, sources, step,
         step_seed_stride);
}

}  // namespace drop::cuda
