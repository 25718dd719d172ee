#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

#include "drop/config/config.h"

namespace drop {

/// A wide matrix [rows, width] that a DenseBackend keeps in its own form and precision (packed
/// tiles, bfloat16, device memory): a number valid for that backend.
enum class MatrixId : int32_t {};

/// A weight of a linear layer, or the part of one that belongs to some of its inputs: a number
/// valid for that backend.
enum class WeightId : int32_t {};

/// What a matrix is made for; a backend keeps only the forms that its uses need.
enum class MatrixUse {
  kInput,     ///< filled by `load`; read by `linear` and `weight_gradient`
  kHidden,    ///< relu output of `linear`; read by `linear`, `weight_gradient`, and as a mask
  kGradient,  ///< a loss's gradient at a layer's output, filled by `load` or `input_gradient`;
              ///< read by `input_gradient` and `weight_gradient`
};

/// The part [out, columns] of a weight [out, stride] inside a flat parameter buffer.
struct WeightPart {
  int64_t offset = 0;  ///< of its first element in the flat buffer
  int64_t out = 0;
  int64_t columns = 0;
  int64_t stride = 0;          ///< of the whole weight: its number of inputs
  bool target = false;         ///< lies in the target parameters: forward only
  bool input_gradient = true;  ///< `input_gradient` will be asked through it
};

/// One addend of a linear layer: x W^T.
struct Product {
  MatrixId x;
  WeightId weight;
};

/// Rows [begin, begin + count) of a matrix; `begin` is a multiple of `row_alignment()`. A backend
/// may compute more rows behind the last, up to the next such multiple (padding).
struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
};

/// What stands behind a layer whose output leaves as a plain tensor.
enum class HeadForm { kLinear, kTanh };

/// A sum before its ReLU that several evaluations share: row r adds row r / group of `values`.
struct SharedSum {
  at::Tensor values;  ///< plain, long enough for the padding too, [.., out]; undefined = none
  int64_t group = 1;
};

/// Inputs and results of `behaviour_loss`: L_bc and its gradients (docs/algorithm.md, step 2).
struct BehaviourLoss {
  at::Tensor mean;              ///< tanh-bounded mean actions [rows, action_dim]
  at::Tensor actions;           ///< [rows, action_dim]
  at::Tensor log_std;           ///< [action_dim] or undefined (unit variance)
  int64_t batch_size = 0;       ///< rows that count; the rest is padding
  at::Tensor mean_gradient;     ///< out: dL/d(before tanh) [rows, action_dim], 0 in the padding
  at::Tensor log_std_gradient;  ///< out [action_dim] or undefined
};

/// Inputs and results of `posterior_gradient`: back through z = mean + exp(log_std) * noise of a
/// CVAE's encoder, with its KL term (docs/algorithm.md, "DROP+CVAE").
struct PosteriorLoss {
  at::Tensor posterior;   ///< the encoder's output, [mean, log_std] before its clamp [rows, 2 d]
  at::Tensor noise;       ///< [rows, d]
  at::Tensor z_gradient;  ///< dL/dz of all other losses [rows, d]
  double kl_weight = 0.0;
  int64_t batch_size = 0;  ///< rows that count; the rest is padding
  at::Tensor gradient;     ///< out: dL/d(posterior) [rows, 2 d], the padding as it was
};

/// Inputs and results of `score_losses`: L_td, the conservative gap C, their gradients, and the
/// multiplier's own step (docs/algorithm.md, steps 3 to 5). Three blocks of `block` rows each: data
/// actions, uniform z, data z.
struct ScoreLosses {
  at::Tensor scores;       ///< [3 * block]
  at::Tensor next_scores;  ///< f_bar(s', a', z) [block]
  at::Tensor rewards;      ///< [block]
  at::Tensor terminals;    ///< [block]
  int64_t batch_size = 0;  ///< rows of a block that count
  int64_t block = 0;
  double discount = 0.0;
  /// false: blocks 1 and 2 hold nothing, C stays as it was (needs !conservative)
  bool measure_gap = true;
  bool conservative = true;
  MultiplierForm form = MultiplierForm::kHinge;
  double multiplier_rate = 0.0;
  double threshold = 0.0;                      ///< eta_c in scaled units
  at::Tensor multiplier;                       ///< in/out: lambda, or its logarithm (`log`)
  at::Tensor exp_avg, exp_avg_sq, step_count;  ///< in/out: Adam's state (`log` only)
  at::Tensor score_gradient;                   ///< out: [3 * block], 0 in the padding
};

/// One Adam step over flat parameters, and the soft update of the target network
/// (docs/algorithm.md, step 6).
struct ParameterUpdate {
  at::Tensor parameters, gradients, exp_avg, exp_avg_sq;  ///< flat [P]
  at::Tensor step_count;                                  ///< float32 scalar, before this step
  double learning_rate = 0.0;
  at::Tensor target;          ///< flat [Q]
  int64_t target_source = 0;  ///< offset in `parameters` of what `target` follows
  double target_rate = 0.0;
};

/// Slots of the metrics tensor (float64, on the backend's device).
enum MetricSlot : int {
  kBehaviourSlot,
  kTdSlot,
  kGapSlot,
  kMultiplierSlot,  ///< lambda after the step
  kMeanScoreSlot,
  kKlSlot,
  kBadStepSlot,  ///< first step whose losses or gradients were not finite; -1 = none
  kBadBehaviourSlot,
  kBadTdSlot,
  kBadGapSlot,
  kMetricSlots,
};

/// Linear layers forward and backward by hand, on static shapes, everything allocated beforehand:
/// the arithmetic that the fused step engine and the ascent engines are written in, once for all
/// devices and precisions. Four implementations: plain CPU (float or double), packed AVX-512
/// float32, packed bfloat16 on CPUs that have it, CUDA.
///
/// "Plain" tensors are row-major in the accumulation type (float; double in tests) on the
/// backend's device. A backend that trains S seeds at once puts an axis of S in front of every
/// plain tensor, flat buffer and metrics row, and S behind nothing else: the callers do not see
/// it. Rows between a block's size and its aligned size are padding: finite, and without
/// influence as long as the gradients given for them are 0.
///
/// Calls are carried out in order as far as results depend on each other; nothing waits for the
/// device but where said so.
class DenseBackend {
 public:
  virtual ~DenseBackend() = default;

  // ---- set-up
  /// Rows of blocks are multiples of this.
  virtual int64_t row_alignment() const = 0;
  /// Rows that are best carried through a whole network before the next ones start (caches); 0 =
  /// all at once.
  virtual int64_t preferred_rows() const = 0;
  virtual MatrixId add_matrix(int64_t rows, int64_t width, MatrixUse use) = 0;
  virtual WeightId add_weight(const WeightPart& part) = 0;
  /// Zero-filled plain tensor (behind the seed axis, where there is one).
  virtual at::Tensor plain(at::IntArrayRef shape) const = 0;
  /// The same of int64.
  virtual at::Tensor plain_index(at::IntArrayRef shape) const = 0;
  /// Where the weights are read from. Call after the last `add_weight`, and `refresh` whenever
  /// others have changed the parameters.
  virtual void bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
                    const at::Tensor& gradients) = 0;
  /// Takes the weights over once more from the bound parameters.
  virtual void refresh() = 0;

  // ---- layers. `bias` is an offset into the flat parameters of the weights' own buffer
  /// out = relu(sum of x W^T + bias + shared sum), in the given rows.
  virtual void linear(MatrixId out, std::initializer_list<Product> products,
                      std::optional<int64_t> bias, const SharedSum& shared, RowRange rows) = 0;
  /// The same without ReLU, into the same rows of a plain tensor [.., out]: a layer's output that
  /// leaves the network, or a SharedSum.
  virtual void head(const at::Tensor& out, std::initializer_list<Product> products,
                    std::optional<int64_t> bias, HeadForm form, RowRange rows) = 0;
  /// out[n] = relu(column n of the weight + bias): the layer's value for each one-hot input.
  virtual void one_hot_linear(MatrixId out, WeightId weight, int64_t bias) = 0;
  /// The first rows.count rows of plain values [.., columns] into a matrix: into its columns from
  /// `column` on, in the given rows.
  virtual void load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) = 0;

  // ---- gradients
  /// out = (gradient W) where mask > 0, else 0: through a layer and the ReLU before it.
  virtual void input_gradient(MatrixId out, MatrixId gradient, WeightId weight, MatrixId mask,
                              RowRange rows) = 0;
  /// The same rows of a plain out (+)= gradient W.
  virtual void head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight,
                             bool accumulate, RowRange rows) = 0;
  /// In the flat gradients: the weight's part = gradient^T x, and at `bias` (if given) the
  /// gradient's column sums, over the given rows.
  virtual void weight_gradient(WeightId weight, MatrixId x, MatrixId gradient,
                               std::optional<int64_t> bias, RowRange rows) = 0;
  /// The same for `one_hot_linear`: the weight's gradient is the transposed `gradient`.
  virtual void one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) = 0;

  // ---- what stands between the layers
  /// out[r] = table[index[r]] for the first `rows` rows of out.
  virtual void gather(const at::Tensor& out, const at::Tensor& table, const at::Tensor& index,
                      int64_t rows) = 0;
  /// out[n] = sum of values[r] over the first `rows` rows r with index n: back through `gather`. A
  /// fixed order of summation.
  virtual void scatter(const at::Tensor& out, const at::Tensor& values, const at::Tensor& index,
                       int64_t rows) = 0;
  virtual void behaviour_loss(const BehaviourLoss& loss, const at::Tensor& metrics) = 0;
  /// z = mean + exp(log_std) * noise in the first `rows` rows; shapes as in PosteriorLoss.
  virtual void sample_posterior(const at::Tensor& z, const at::Tensor& posterior,
                                const at::Tensor& noise, int64_t rows) = 0;
  virtual void posterior_gradient(const PosteriorLoss& loss, const at::Tensor& metrics) = 0;
  /// Returns false when the gap surely sends no gradient (the host knows that the constraint is
  /// satisfied): blocks 1 and 2 then need no backward pass. A backend that cannot know without
  /// waiting returns true.
  virtual bool score_losses(const ScoreLosses& losses, const at::Tensor& metrics) = 0;
  /// Adam, soft target update, `refresh` of the changed weights; remembers the first step whose
  /// losses or gradients were not finite (`step` [1] int64 names it) and counts `step` up.
  virtual void update(const ParameterUpdate& update, const at::Tensor& metrics,
                      const at::Tensor& step) = 0;
  /// z <- clip(z + step_size * g), g = gradient or its unit-norm form, in the first `rows` rows of
  /// z [.., d]. A zero gradient leaves z where it is.
  virtual void ascend(const at::Tensor& z, const at::Tensor& gradient, double step_size,
                      bool normalise, std::optional<double> bound, int64_t rows) = 0;

  /// gradient *= 1 - values^2: back through a tanh head, in the first `rows` rows.
  virtual void through_tanh(const at::Tensor& gradient, const at::Tensor& values, int64_t rows) = 0;
  /// Where scores[r] > best_scores[r], in the first `rows` rows: takes over z[r] and scores[r].
  virtual void keep_best(const at::Tensor& best_z, const at::Tensor& best_scores,
                         const at::Tensor& z, const at::Tensor& scores, int64_t rows) = 0;

  /// Calls `work`, which for one key makes the same calls with the same arguments every time. A
  /// device's backend records them at the second time and from then on replays the record.
  virtual void repeat(const std::vector<int64_t>& /*key*/, const std::function<void()>& work) {
    work();
  }

  // ---- order on devices that can do several things at once; nothing elsewhere
  /// What follows may run beside what other branches do; branch 0 is the main one.
  virtual void branch(int /*index*/) {}
  /// Branch `later` goes on only after what branch `earlier` has been given so far.
  virtual void wait(int /*later*/, int /*earlier*/) {}
};

/// What a backend is asked for.
struct BackendOptions {
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;        ///< of plain tensors; kDouble on the CPU in fp32 only
  Precision precision = Precision::kFp32;  ///< of the products: fp32, tf32 (CUDA), bf16
  int64_t num_seeds = 0;                   ///< CUDA: seeds trained at once; 0 = no seed axis
  bool training = true;                    ///< false: `weight_gradient` is never asked for
};

/// The next multiple of a unit: rows or columns with their padding.
constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// True when this CPU has instructions for bfloat16 products (AMX, or AVX512-BF16).
bool cpu_has_bf16();

/// Throws UsageError for what this build or machine lacks.
std::unique_ptr<DenseBackend> make_dense_backend(const BackendOptions& options);

}  // namespace drop
