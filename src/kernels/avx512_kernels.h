#pragma once

#include <cstdint>

/// Float32 products on AVX-512 with everything around them fused.
///
/// Matrices lie in strips of 8 rows, a strip as groups of 16 columns, each [8][16]: the rows as a
/// left operand, and columns as either operand of gradient^T x, are contiguous runs of cache lines.
/// Weights lie in panels of 32 columns, each [depth][32]; an odd last group is a panel
/// [depth][16]. Every element of a result is one sum in one order, however the work is split
/// between threads.
namespace drop::avx512 {

inline constexpr int64_t kGroup = 16;  ///< columns of a group
inline constexpr int64_t kStrip = 8;   ///< rows of a strip

inline constexpr int64_t groups_for(int64_t columns) { return (columns + kGroup - 1) / kGroup; }

/// True when this CPU and its operating system offer AVX-512 (F, BW, DQ, VL).
bool supported();

struct Range {
  int64_t begin;
  int64_t end;
};

struct Matrix {
  float* values = nullptr;  ///< at a cache line
  int64_t groups = 0;  ///< of columns; best an odd number, which spreads the strips over the cache

  float* group(int64_t strip, int64_t index) const {
    return values + (strip * groups + index) * (kStrip * kGroup);
  }
  float& at(int64_t row, int64_t column) const {
    return group(row / kStrip, column / kGroup)[row % kStrip * kGroup + column % kGroup];
  }
};

/// A weight as a right operand [depth, columns], padded with zeros to whole groups.
struct Panels {
  float* values = nullptr;
  int64_t depth = 0;
  int64_t columns = 0;

  int64_t size() const { return groups_for(columns) * kGroup * depth; }
};

/// x W over up to two addends.
struct Addend {
  Matrix x;
  Panels weight;
};
struct Sum {
  Addend addends[2];
  int count = 0;
  int64_t columns() const { return addends[0].weight.columns; }
};

/// What is added to a sum before its non-linearity.
struct Offsets {
  const float* bias = nullptr;    ///< [columns] or null
  const float* shared = nullptr;  ///< row r adds row r / group of [., columns], or null
  int64_t group = 1;
};

// `rows` begins at a multiple of 8; matrices have room for whole strips, and their rows behind the
// last may be computed too. `groups` of the result's columns begins at an even number and ends at
// one, or at the last.

/// out = relu(sum + offsets).
void relu_product(const Sum& sum, const Offsets& offsets, const Matrix& out, Range rows,
                  Range groups);
/// out = sum where mask > 0, else 0.
void masked_product(const Sum& sum, const Matrix& mask, const Matrix& out, Range rows,
                    Range groups);
/// Plain [., columns] out (+)= sum + bias; no row outside `rows` is touched.
void plain_product(const Sum& sum, const float* bias, bool accumulate, float* out, Range rows,
                   Range groups);

/// gradient^T x as left^T right over `rows` [., left_columns][., right_columns]: the part of the
/// result with these groups of columns of the operands.
struct WeightGradient {
  Matrix left, right;
  int64_t left_columns, right_columns;
  Range rows;
  Range left_groups, right_groups;  ///< the right ones as above
  float* out;                       ///< element [i, j] at out[i * stride + j]
  int64_t stride;
  bool transposed;  ///< the left operand is x: element [i, j] at out[j * stride + i] instead
  float* sums;      ///< of the columns of the other one, the gradient; or null
};
void weight_gradient(const WeightGradient& product);
/// out[c] = sum of the first rows of column c.
void sum_columns(const Matrix& matrix, int64_t rows, int64_t columns, float* out);

/// out[n] = relu(row n of a weight's panels + bias), for rows below `rows`.
void one_hot_layer(const Panels& weight, const float* bias, int64_t rows, const Matrix& out);

/// A weight [out, columns] of a float32 master with the given stride.
struct Weight {
  Panels forward;   ///< [columns, out]
  Panels backward;  ///< [out, columns]; no values = not wanted
  int64_t stride = 0;
};
/// Packs rows [16 * group, 16 * group + 16) of the master at `values`.
void pack_weight(const float* values, int64_t group, const Weight& weight);

}  // namespace drop::avx512
