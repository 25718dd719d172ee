#include "search/fused_ascent.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "drop/nn/runtime.h"
#include "search/ascent_pieces.h"

namespace drop {

// a backend with the model's weights, and everything that an ascent of so many rows needs
struct FusedAscent::Workspace {
  Workspace(const DropModel& model, Precision precision, int64_t states, int64_t rows);

  int64_t max_states;
  int64_t max_rows;
  std::unique_ptr<DenseBackend> backend;
  DenseLayer beta[6], f[6];  // f[0] split at the action, f[2] and beta[2] at z

  at::Tensor raw_states;                // [states, state_dim]
  at::Tensor policy_sum, score_sum;     // what depends on the state alone [.., width]
  at::Tensor z, z_gradient, best_z;     // [rows, d]
  at::Tensor actions, action_gradient;  // [rows, action_dim]
  at::Tensor scores, best_scores;       // [rows, 1]
  MatrixId states_, e0, h;              // Enc_1
  MatrixId z_in, action_in;             // inputs
  MatrixId x2{}, x3{}, x4{};            // beta behind h
  MatrixId y[5] = {};                   // f
  MatrixId ones, f_gradient[5] = {}, beta_gradient[4] = {};
};

FusedAscent::Workspace::Workspace(const DropModel& model, Precision precision, int64_t states,
                                  int64_t rows) {
  const at::Tensor& flat = model.parameters().flat();
  backend = make_dense_backend(
      {flat.device(), flat.scalar_type(), precision, /*num_seeds=*/0, /*training=*/false});
  max_states = round_up(states, backend->row_alignment());
  max_rows = round_up(rows, backend->row_alignment());

  // weights; no gradient goes into the state
  const ModelShape& shape = model.shape();
  const int64_t width = shape.hidden_width;
  DenseLayers layers(*backend, model.parameters());
  for (int i = 0; i < 2; ++i) {
    beta[i] = layers.layer("policy.state_encoder", i, 0, /*input_gradient=*/false);
    f[i] = layers.layer("score.state_action_encoder", i, i == 0 ? shape.state_dim : 0, i > 0);
  }
  for (int i = 0; i < 4; ++i) {
    beta[2 + i] = layers.layer("policy.action_encoder", i, i == 0 ? width : 0, i > 0);
    f[2 + i] = layers.layer("score.score_encoder", i, i == 0 ? width : 0);
  }

  // plain tensors; shared sums are read for padding rows too
  raw_states = backend->plain({max_states, shape.state_dim});
  policy_sum = backend->plain({std::max(max_states, max_rows), width});
  score_sum = backend->plain({std::max(max_states, max_rows), width});
  for (at::Tensor* tensor : {&z, &z_gradient, &best_z})
    *tensor = backend->plain({max_rows, shape.embedding_dim});
  for (at::Tensor* tensor : {&actions, &action_gradient})
    *tensor = backend->plain({max_rows, shape.action_dim});
  for (at::Tensor* tensor : {&scores, &best_scores}) *tensor = backend->plain({max_rows, 1});

  // matrices
  states_ = backend->add_matrix(max_states, shape.state_dim, MatrixUse::kInput);
  e0 = backend->add_matrix(max_states, width, MatrixUse::kHidden);
  h = backend->add_matrix(max_states, width, MatrixUse::kHidden);
  z_in = backend->add_matrix(max_rows, shape.embedding_dim, MatrixUse::kInput);
  action_in = backend->add_matrix(max_rows, shape.action_dim, MatrixUse::kInput);
  for (MatrixId* matrix : {&x2, &x3, &x4, &y[0], &y[1], &y[2], &y[3], &y[4]})
    *matrix = backend->add_matrix(max_rows, width, MatrixUse::kHidden);
  ones = backend->add_matrix(max_rows, 1, MatrixUse::kGradient);
  for (MatrixId& matrix : f_gradient)
    matrix = backend->add_matrix(max_rows, width, MatrixUse::kGradient);
  for (int i = 0; i < 4; ++i) {
    beta_gradient[i] =
        backend->add_matrix(max_rows, i < 3 ? width : shape.action_dim, MatrixUse::kGradient);
  }

  backend->bind(flat, model.target_parameters().flat(), {});
  backend->refresh();
  // every start's own score counts once
  backend->load(ones, at::ones_like(scores), 0, {0, max_rows});
}

FusedAscent::FusedAscent(std::string name, const DropModel& model, Precision precision)
    : name_(std::move(name)), model_(model), precision_(precision) {
  const at::NoGradGuard no_grad;
  space_ = std::make_unique<Workspace>(model_, precision_, 1, 1);
}

FusedAscent::~FusedAscent() = default;

AscentResult FusedAscent::run(const at::Tensor& states, const at::Tensor& starts,
                              const AscentOptions& options) {
  const at::NoGradGuard no_grad;
  // on a CPU rows go through all steps together whose activations and weights fit the caches
  constexpr int64_t kRowsAThread = 256;
  const int64_t max_rows = space_->backend->preferred_rows() == 0
                               ? kMaxAscentRows
                               : kRowsAThread * at::get_num_threads();
  return run_in_pieces(states, starts, max_rows,
                       [&](const at::Tensor& some, const at::Tensor& from) {
                         const at::Tensor z = ascend(some, from, options);
                         const FullPrecision full;
                         return AscentResult{z, model_.score_embeddings(model_.encode(some), z)};
                       });
}

at::Tensor FusedAscent::ascend(const at::Tensor& states, const at::Tensor& starts,
                               const AscentOptions& options) {
  const int64_t num_states = starts.size(0);
  const int64_t num_starts = starts.size(1);
  const int64_t rows = num_states * num_starts;
  if (num_states > space_->max_states || rows > space_->max_rows) {
    space_ =
        std::make_unique<Workspace>(model_, precision_, std::max(num_states, space_->max_states),
                                    std::max(rows, space_->max_rows));
  }
  Workspace& w = *space_;
  w.raw_states.narrow(0, 0, num_states).copy_(states);
  w.z.narrow(0, 0, rows).copy_(starts.reshape({rows, starts.size(2)}));
  if (options.keep_best_iterate) {
    w.best_z.copy_(w.z);  // what is left where no score is a number
    w.best_scores.fill_(-std::numeric_limits<double>::infinity());
  }
  // all that the calls depend on
  const std::vector<int64_t> key{num_states,
                                 num_starts,
                                 options.steps,
                                 std::bit_cast<int64_t>(options.step_size),
                                 std::bit_cast<int64_t>(options.bound),
                                 options.clip,
                                 options.normalise_gradient,
                                 options.keep_best_iterate};
  w.backend->repeat(key, [&] {
    encode(num_states);
    for (int64_t step = 0; step < options.steps; ++step) iterate(rows, num_starts, options);
    if (!options.keep_best_iterate) return;
    // the end point is an iterate too
    forward(rows, num_starts, /*score=*/true);
    w.backend->keep_best(w.best_z, w.best_scores, w.z, w.scores, rows);
  });
  const at::Tensor& end = options.keep_best_iterate ? w.best_z : w.z;
  return end.narrow(0, 0, rows).reshape(starts.sizes()).clone();
}

// the sums that all starts of a state share
void FusedAscent::encode(int64_t num_states) {
  Workspace& w = *space_;
  const RowRange rows{0, num_states};
  w.backend->load(w.states_, w.raw_states, 0, rows);
  w.backend->linear(w.e0, {{w.states_, w.beta[0].weight}}, w.beta[0].bias, {}, rows);
  w.backend->linear(w.h, {{w.e0, w.beta[1].weight}}, w.beta[1].bias, {}, rows);
  w.backend->head(w.policy_sum, {{w.h, w.beta[2].weight}}, w.beta[2].bias, HeadForm::kLinear, rows);
  w.backend->head(w.score_sum, {{w.states_, w.f[0].weight}}, w.f[0].bias, HeadForm::kLinear, rows);
}

// f(s, beta(s, z), z) up to f's last hidden layer, and the score itself if asked for
void FusedAscent::forward(int64_t count, int64_t num_starts, bool score) {
  Workspace& w = *space_;
  DenseBackend& b = *w.backend;
  const RowRange rows{0, count};
  const DenseLayer* beta = w.beta;
  const DenseLayer* f = w.f;
  b.load(w.z_in, w.z, 0, rows);
  b.linear(w.x2, {{w.z_in, beta[2].joined}}, std::nullopt, {w.policy_sum, num_starts}, rows);
  b.linear(w.x3, {{w.x2, beta[3].weight}}, beta[3].bias, {}, rows);
  b.linear(w.x4, {{w.x3, beta[4].weight}}, beta[4].bias, {}, rows);
  b.head(w.actions, {{w.x4, beta[5].weight}}, beta[5].bias, HeadForm::kTanh, rows);
  b.load(w.action_in, w.actions, 0, rows);
  b.linear(w.y[0], {{w.action_in, f[0].joined}}, std::nullopt, {w.score_sum, num_starts}, rows);
  b.linear(w.y[1], {{w.y[0], f[1].weight}}, f[1].bias, {}, rows);
  b.linear(w.y[2], {{w.y[1], f[2].weight}, {w.z_in, f[2].joined}}, f[2].bias, {}, rows);
  b.linear(w.y[3], {{w.y[2], f[3].weight}}, f[3].bias, {}, rows);
  b.linear(w.y[4], {{w.y[3], f[4].weight}}, f[4].bias, {}, rows);
  if (score) b.head(w.scores, {{w.y[4], f[5].weight}}, f[5].bias, HeadForm::kLinear, rows);
}

void FusedAscent::iterate(int64_t count, int64_t num_starts, const AscentOptions& options) {
  Workspace& w = *space_;
  DenseBackend& b = *w.backend;
  const RowRange rows{0, count};
  const DenseLayer* beta = w.beta;
  const DenseLayer* f = w.f;
  forward(count, num_starts, options.keep_best_iterate);
  if (options.keep_best_iterate) b.keep_best(w.best_z, w.best_scores, w.z, w.scores, count);

  // back through f to z and to the action
  const MatrixId* g = w.f_gradient;
  b.input_gradient(g[4], w.ones, f[5].weight, w.y[4], rows);
  b.input_gradient(g[3], g[4], f[4].weight, w.y[3], rows);
  b.input_gradient(g[2], g[3], f[3].weight, w.y[2], rows);
  b.head_gradient(w.z_gradient, g[2], f[2].joined, /*accumulate=*/false, rows);
  b.input_gradient(g[1], g[2], f[2].weight, w.y[1], rows);
  b.input_gradient(g[0], g[1], f[1].weight, w.y[0], rows);
  b.head_gradient(w.action_gradient, g[0], f[0].joined, /*accumulate=*/false, rows);

  // back through the policy's mean to z
  const MatrixId* p = w.beta_gradient;
  b.through_tanh(w.action_gradient, w.actions, count);
  b.load(p[3], w.action_gradient, 0, rows);
  b.input_gradient(p[2], p[3], beta[5].weight, w.x4, rows);
  b.input_gradient(p[1], p[2], beta[4].weight, w.x3, rows);
  b.input_gradient(p[0], p[1], beta[3].weight, w.x2, rows);
  b.head_gradient(w.z_gradient, p[0], beta[2].joined, /*accumulate=*/true, rows);
  b.ascend(w.z, w.z_gradient, options.step_size, options.normalise_gradient,
           options.clip ? std::optional(options.bound) : std::nullopt, count);
}

}  // namespace drop
