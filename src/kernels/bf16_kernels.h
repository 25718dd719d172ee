#pragma once

#include <cstdint>

/// Products in bfloat16 with everything around them fused: AMX tiles, or AVX512-BF16 vectors.
///
/// All bfloat16 storage is made of zero-padded blocks of 32 x 32 values (2 KB), whose order makes
/// every operand of a product one contiguous run:
///
/// - left form: what stands left in a product: block (strip, depth) of 32 rows x 32 inner values,
///   row-major, the blocks of a strip one behind the other along the inner dimension;
/// - right form: what stands right: block (panel, depth) of 32 inner values x 32 columns, as two
///   halves of 16 columns, each [16 pairs of inner values][16 columns][2], the blocks of a panel
///   one behind the other along the inner dimension.
///
/// Values are rounded to nearest even, sums are float. The products take denormals as zero.
namespace drop::bf16 {

using Bf16 = uint16_t;

inline constexpr int64_t kBlock = 32;        ///< rows and columns of a block
inline constexpr int64_t kBlockSize = 1024;  ///< values in a block
inline constexpr int64_t kRowsAtOnce = 512;  ///< rows whose operands stay in the L2 cache

inline constexpr int64_t blocks_for(int64_t values) { return (values + kBlock - 1) / kBlock; }

/// How products are computed.
enum class Isa { kNone, kAvx512, kAmx };

/// The best that this CPU and its operating system offer; asks for the right to use AMX.
Isa best_isa();

/// A wide matrix.
struct Matrix {
  Bf16* values = nullptr;        ///< left form: [strips][blocks] blocks
  float* column_sums = nullptr;  ///< gradients: sums of each strip [strips][32 * blocks], or null
  int64_t blocks = 0;            ///< across

  Bf16* block(int64_t strip, int64_t index) const {
    return values + (strip * blocks + index) * kBlockSize;
  }
};

/// One addend of a product.
struct Addend {
  const Bf16* left = nullptr;   ///< left form, strip 0
  const Bf16* right = nullptr;  ///< right form, panel 0
  int64_t depth = 0;            ///< blocks along the inner dimension, of both
};

/// Sum of up to two addends, over rows [begin, end); begin is a multiple of 32.
struct Sum {
  Isa isa = Isa::kNone;
  Addend addends[2] = {};
  int count = 0;
  int64_t columns = 0;  ///< of the result
  int64_t begin = 0;
  int64_t end = 0;
  /// Else null: the first kFewRows rows at most of one addend whose `right` is the right form of
  /// the transposed operand, by AMX; room for few_rows_scratch(depth) values at a cache line.
  Bf16* few_rows_scratch = nullptr;
};
/// For so few rows reading the weights is what costs: one copy of them serves products in both
/// directions, so that less of them has to come from beyond the L2 cache.
inline constexpr int64_t kFewRows = 8;
int64_t few_rows_scratch(int64_t depth);

/// What is added to a sum before its non-linearity.
struct Offsets {
  const float* bias = nullptr;    ///< [columns] or null
  const float* shared = nullptr;  ///< row r adds row r / group of [., columns], or null
  int64_t group = 1;
};

/// Plain row-major values as a result.
struct Plain {
  float* values = nullptr;  ///< row 0 of the matrix's rows
  int64_t stride = 0;       ///< between rows
  bool tanh = false;
  bool accumulate = false;
};

/// out = relu(sum + offsets).
void relu_product(const Sum& sum, const Offsets& offsets, const Matrix& out);
/// out (+)= sum + offsets, or its tanh.
void plain_product(const Sum& sum, const Offsets& offsets, const Plain& out);
/// out = sum where mask > 0, else 0, with the column sums of each strip.
void masked_product(const Sum& sum, const Matrix& mask, const Matrix& out);

/// The product alone, its result thrown away: for benchmarks.
void bare_product(const Sum& sum);

/// gradient^T x over rows [begin, end), multiples of 32: the part of the result [rows, columns]
/// with rows from strips [first_strip, last_strip) and columns from panels
/// [first_panel, last_panel). Both operands are rearranged in `scratch`, a group of rows at a time,
/// beside the product of what is there already.
struct WeightGradient {
  Isa isa = Isa::kNone;
  Matrix gradient;
  Matrix x;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t rows = 0;  ///< of the result: width of `gradient`
  int64_t columns = 0;
  int64_t first_strip = 0, last_strip = 0;
  int64_t first_panel = 0, last_panel = 0;
  Bf16* scratch = nullptr;  ///< scratch_size(last_strip - first_strip) values at a cache line
};
int64_t scratch_size(int64_t strips);
void weight_gradient(const WeightGradient& product, float* out, int64_t stride);
/// out[c] = sum of column c of a gradient over rows [begin, end), multiples of 32.
void sum_columns(const Matrix& gradient, int64_t begin, int64_t end, int64_t columns, float* out);

/// Rows [begin, end) of plain values [., columns] into a matrix, at its column `column`; row
/// `begin` of the matrix is row 0 of `values`. The column sums are taken when `out` has them.
void load(const float* values, int64_t columns, int64_t column, int64_t begin, int64_t end,
          const Matrix& out);

/// out[n] = relu(column n of weight [out_features, stride] + bias), for n in [begin, end).
void one_hot_layer(const float* weight, const float* bias, int64_t out_features, int64_t stride,
                   int64_t begin, int64_t end, const Matrix& out);
/// weight [out_features, stride]: column n = row n of the gradient, for n in [0, rows).
void one_hot_gradient(const Matrix& gradient, int64_t rows, int64_t out_features, int64_t stride,
                      float* weight);

/// Forms of a weight [out, columns] whose float32 master has the given stride.
struct Weight {
  Bf16* forward = nullptr;   ///< right form of the transposed weight
  Bf16* backward = nullptr;  ///< right form of the weight, or null
  int64_t out = 0;
  int64_t columns = 0;
  int64_t stride = 0;
};
/// Packs rows [32 * strip, 32 * strip + 32) of the master at `values`.
void pack_weight(const float* values, int64_t strip, const Weight& weight);

}  // namespace drop::bf16
