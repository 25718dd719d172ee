#include "kernels/avx512_kernels.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

// false alarms of GCC 12 inside its own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace drop::avx512 {

bool supported() {
  // the system must save the vector registers of a thread (bits 1, 2 and 5 to 7)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0 || (c & bit_FMA) == 0)
    return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0xE6U) != 0xE6U) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const unsigned wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL | bit_AVX2;
  return (b & wanted) == wanted;
}

}  // namespace drop::avx512

// all that follows is compiled for these instructions and runs only where `supported` said so; it
// uses no templates of the standard library, whose instances the linker might share with others
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,avx512f,avx512dq,avx512bw,avx512vl")

namespace drop::avx512 {

namespace {

constexpr int64_t kQuad = 4;                 // rows of a strip that a product takes together
constexpr int64_t kPanel = 2 * kGroup;       // columns of a panel
constexpr int64_t kBlock = kStrip * kGroup;  // values of a group in a strip
constexpr int64_t kDepthAtOnce = 128;        // rows of a panel that stay in the L1 cache
constexpr int64_t kQuadsAtOnce = 66;         // of rows that stay in the L2 cache
constexpr int64_t kRowsAtOnce = 192;         // rows of x whose panel stays in the L1 cache
constexpr int64_t kGroupsAtOnce = 16;        // of the gradient's columns
constexpr int kLines = 2;                    // of the next weights, fetched at a time
constexpr int64_t kTileValues = 3 * kQuad * kPanel;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// the first n of 16 lanes
inline __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? __mmask16{0xFFFF} : n <= 0 ? __mmask16{0} : __mmask16((1U << n) - 1);
}

// how many of the remaining quads come next: threes, and no single one behind them
inline int next_quads(int64_t remaining) {
  return remaining == 4 ? 2 : static_cast<int>(smaller(remaining, 3));
}

inline void fetch_near(const float* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T0);
}
inline void fetch(const float* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
}

// where rows or columns [4 * quad, 4 * quad + 4) begin
inline const float* quad_rows(const Matrix& m, int64_t quad) {
  return m.group(quad / 2, 0) + quad % 2 * (kQuad * kGroup);
}
inline const float* quad_columns(const Matrix& m, int64_t strip, int64_t quad) {
  return m.group(strip, quad / 4) + quad % 4 * kQuad;
}

// acc[4 Q][N] += one step: Q quads of left values, 4 of them `stride` apart, times N vectors
template <int Q, int N>
[[gnu::always_inline]] inline void step(__m512 (&acc)[4 * Q][N], const float* const (&left)[Q],
                                        int64_t stride, const __m512 (&right)[N]) {
#pragma GCC unroll 3
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const __m512 value = _mm512_set1_ps(left[q][r * stride]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n)
        acc[4 * q + r][n] = _mm512_fmadd_ps(value, right[n], acc[4 * q + r][n]);
    }
  }
}

template <int Q, int N>
[[gnu::always_inline]] inline void clear(__m512 (&acc)[4 * Q][N]) {
#pragma GCC unroll 12
  for (int r = 0; r < 4 * Q; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) acc[r][n] = _mm512_setzero_ps();
  }
}

// tile [4 Q][32] = or += acc
template <int Q, int N>
[[gnu::always_inline]] inline void put(const __m512 (&acc)[4 * Q][N], bool first, float* tile) {
#pragma GCC unroll 12
  for (int r = 0; r < 4 * Q; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      float* to = tile + r * kPanel + n * kGroup;
      _mm512_store_ps(to, first ? acc[r][n] : _mm512_add_ps(acc[r][n], _mm512_load_ps(to)));
    }
  }
}

// tile = or += rows of x from `quad` on times the panel, over the inner values [begin, end);
// fetcher(i) is called now and then, for memory that will be wanted later
template <int Q, int N, typename Fetcher>
void row_tile(const Addend& addend, Range inner, int64_t quad, int64_t group, bool first,
              float* tile, const Fetcher& fetcher) {
  __m512 acc[4 * Q][N];
  clear<Q, N>(acc);
  const float* left[Q];
#pragma GCC unroll 3
  for (int q = 0; q < Q; ++q)
    left[q] = quad_rows(addend.x, quad + q) + inner.begin / kGroup * kBlock;
  const float* right =
      addend.weight.values + group * kGroup * addend.weight.depth + inner.begin * N * kGroup;
  int calls = 0;
  for (int64_t begin = inner.begin; begin < inner.end; begin += kGroup) {
    fetcher(calls++);
    const float* at[Q];
#pragma GCC unroll 3
    for (int q = 0; q < Q; ++q) at[q] = left[q];
    const int64_t count = smaller(kGroup, inner.end - begin);
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; ++k) {
      __m512 vectors[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) vectors[n] = _mm512_load_ps(right + n * kGroup);
      step<Q, N>(acc, at, kGroup, vectors);
      right += N * kGroup;
#pragma GCC unroll 3
      for (int q = 0; q < Q; ++q) ++at[q];
    }
#pragma GCC unroll 3
    for (int q = 0; q < Q; ++q) left[q] += kBlock;
  }
  put<Q, N>(acc, first, tile);
}

template <typename Fetcher>
void row_tile(int quads, int64_t groups, const Addend& addend, Range inner, int64_t quad,
              int64_t group, bool first, float* tile, const Fetcher& fetcher) {
  if (groups == 2) {
    if (quads == 3) return row_tile<3, 2>(addend, inner, quad, group, first, tile, fetcher);
    if (quads == 2) return row_tile<2, 2>(addend, inner, quad, group, first, tile, fetcher);
    return row_tile<1, 2>(addend, inner, quad, group, first, tile, fetcher);
  }
  if (quads == 3) return row_tile<3, 1>(addend, inner, quad, group, first, tile, fetcher);
  if (quads == 2) return row_tile<2, 1>(addend, inner, quad, group, first, tile, fetcher);
  return row_tile<1, 1>(addend, inner, quad, group, first, tile, fetcher);
}

// ---- what becomes of a finished row of a tile: `row` gets its sums in 16 columns of a group,
// `fetch_row` is told of it in advance

struct ReluEnd {
  const Offsets& offsets;
  const Matrix& out;
  int64_t columns;
  int64_t end;

  void fetch_row(int64_t r, int64_t group) const { fetch_near(&out.at(r, group * kGroup)); }
  void row(int64_t r, int64_t group, __m512 sum) const {
    const int64_t column = group * kGroup;
    const __mmask16 lanes = first_lanes(columns - column);
    if (offsets.bias != nullptr)
      sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, offsets.bias + column));
    if (offsets.shared != nullptr) {
      const int64_t last = smaller(r, end - 1);
      const int64_t shared_row = offsets.group == 1 ? last : last / offsets.group;
      sum = _mm512_add_ps(
          sum, _mm512_maskz_loadu_ps(lanes, offsets.shared + shared_row * columns + column));
    }
    // not a number stays not a number: the second operand is what comes back then
    _mm512_store_ps(&out.at(r, column), _mm512_max_ps(_mm512_setzero_ps(), sum));
  }
};

struct MaskEnd {
  const Matrix& mask;
  const Matrix& out;

  void fetch_row(int64_t r, int64_t group) const {
    fetch_near(&out.at(r, group * kGroup));
    fetch_near(&mask.at(r, group * kGroup));
  }
  void row(int64_t r, int64_t group, __m512 sum) const {
    const __m512 hidden = _mm512_load_ps(&mask.at(r, group * kGroup));
    const __mmask16 on = _mm512_cmp_ps_mask(hidden, _mm512_setzero_ps(), _CMP_GT_OQ);
    _mm512_store_ps(&out.at(r, group * kGroup), _mm512_maskz_mov_ps(on, sum));
  }
};

struct PlainEnd {
  const float* bias;
  bool accumulate;
  float* out;
  int64_t columns;
  int64_t end;

  void fetch_row(int64_t r, int64_t group) const { fetch_near(out + r * columns + group * kGroup); }
  void row(int64_t r, int64_t group, __m512 sum) const {
    if (r >= end) return;
    const int64_t column = group * kGroup;
    const __mmask16 lanes = first_lanes(columns - column);
    float* to = out + r * columns + column;
    if (bias != nullptr) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, bias + column));
    if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, to));
    _mm512_mask_storeu_ps(to, lanes, sum);
  }
};

template <typename End>
void product(const Sum& sum, Range rows, Range groups, const End& end) {
  alignas(64) float tiles[kQuadsAtOnce * kQuad * kPanel];  // of one panel
  const int64_t last = (rows.end + kQuad - 1) / kQuad;
  for (int64_t begin = rows.begin / kQuad; begin < last; begin += kQuadsAtOnce) {
    const int64_t stop = smaller(last, begin + kQuadsAtOnce);
    for (int64_t group = groups.begin; group < groups.end; group += 2) {
      const int64_t count = smaller(2, groups.end - group);
      for (int addend = 0; addend < sum.count; ++addend) {
        const Addend& a = sum.addends[addend];
        const int64_t depth = a.weight.depth;
        for (int64_t k = 0; k < depth; k += kDepthAtOnce) {
          const Range inner{k, smaller(depth, k + kDepthAtOnce)};
          const bool first_part = addend == 0 && k == 0;
          const bool last_part = addend + 1 == sum.count && inner.end == depth;
          // the part of the weight that comes next
          const float* next = a.weight.values + group * kGroup * depth + inner.end * count * kGroup;
          const int64_t next_lines = (inner.end - k) * count;
          const float* next_end = next + next_lines * kGroup;
          // as many lines at a time as fetch all of it by then
          const int64_t calls = (stop - begin + 2) / 3 * groups_for(inner.end - k);
          const int64_t lines = (next_lines + calls - 1) / calls;
          for (int64_t quad = begin; quad < stop;) {
            const int quads = next_quads(stop - quad);
            float* tile = tiles + (quad - begin) * kQuad * kPanel;
            row_tile(quads, count, a, inner, quad, group, first_part, tile, [&](int i) {
              // the result's own lines: from afar while the first parts run, near for the last
              if (!last_part) {
                const int64_t row = quad * kQuad + k / kDepthAtOnce * kQuad + i / 2;
                if (row < (quad + quads) * kQuad && i % 2 < count)
                  end.fetch_row(row, group + i % 2);
              } else if (i < 2 * quads) {
                for (int r = 0; r < 2; ++r) {
                  for (int64_t n = 0; n < count; ++n)
                    end.fetch_row(quad * kQuad + 2 * i + r, group + n);
                }
              }
              for (int64_t line = 0; line < lines && next < next_end; ++line, next += kGroup)
                fetch(next);
            });
            if (last_part) {
              for (int64_t r = 0; r < quads * kQuad; ++r) {
                for (int64_t n = 0; n < count; ++n) {
                  end.row(quad * kQuad + r, group + n,
                          _mm512_load_ps(tile + r * kPanel + n * kGroup));
                }
              }
            }
            quad += quads;
          }
        }
      }
    }
  }
}

// fetches the given groups of rows [begin, end) of a matrix, some lines at a time
class RowFetcher {
 public:
  RowFetcher(const Matrix& matrix, Range rows, Range groups)
      : matrix_(matrix),
        groups_(groups),
        strip_(rows.begin / kStrip),
        last_((rows.end + kStrip - 1) / kStrip) {
    start_strip();
  }
  void fetch_lines(int count) {
    for (; count > 0 && strip_ < last_; --count) {
      fetch(line_);
      line_ += kGroup;
      if (line_ < stop_) continue;
      ++strip_;
      start_strip();
    }
  }
  bool done() const { return strip_ >= last_; }

 private:
  void start_strip() {
    line_ = matrix_.group(strip_, groups_.begin);
    stop_ = matrix_.group(strip_, groups_.end);
  }

  const Matrix& matrix_;
  Range groups_;
  int64_t strip_, last_;
  const float* line_;
  const float* stop_;
};

// tile = columns from `quad` on of the left matrix, transposed, times the right one's groups
// fetcher() is called for every strip of rows
template <int Q, int N, typename Fetcher>
void column_tile(const WeightGradient& p, Range rows, int64_t quad, int64_t group, float* tile,
                 const Fetcher& fetcher) {
  __m512 acc[4 * Q][N];
  clear<Q, N>(acc);
  const float* left[Q];
  const int64_t strip = rows.begin / kStrip;
#pragma GCC unroll 3
  for (int q = 0; q < Q; ++q) left[q] = quad_columns(p.left, strip, quad + q);
  const float* right = p.right.group(strip, group);
  const int64_t left_stride = p.left.groups * kBlock;
  const int64_t right_stride = p.right.groups * kBlock;
  const auto strip_of = [&](int64_t count) __attribute__((always_inline)) {
    const float* at[Q];
#pragma GCC unroll 3
    for (int q = 0; q < Q; ++q) at[q] = left[q];
    const float* from = right;
#pragma GCC unroll 8
    for (int64_t k = 0; k < count; ++k) {
      __m512 vectors[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) vectors[n] = _mm512_load_ps(from + n * kBlock);
      step<Q, N>(acc, at, 1, vectors);
      from += kGroup;
#pragma GCC unroll 3
      for (int q = 0; q < Q; ++q) at[q] += kGroup;
    }
#pragma GCC unroll 3
    for (int q = 0; q < Q; ++q) left[q] += left_stride;
    right += right_stride;
  };
  int64_t remaining = rows.end - rows.begin;
  for (; remaining >= kStrip; remaining -= kStrip) {
    fetcher();
    strip_of(kStrip);
  }
  if (remaining > 0) strip_of(remaining);
  put<Q, N>(acc, true, tile);
}

template <typename Fetcher>
void column_tile(int quads, int64_t groups, const WeightGradient& p, Range rows, int64_t quad,
                 int64_t group, float* tile, const Fetcher& fetcher) {
  if (groups == 2) {
    if (quads == 3) return column_tile<3, 2>(p, rows, quad, group, tile, fetcher);
    if (quads == 2) return column_tile<2, 2>(p, rows, quad, group, tile, fetcher);
    return column_tile<1, 2>(p, rows, quad, group, tile, fetcher);
  }
  if (quads == 3) return column_tile<3, 1>(p, rows, quad, group, tile, fetcher);
  if (quads == 2) return column_tile<2, 1>(p, rows, quad, group, tile, fetcher);
  return column_tile<1, 1>(p, rows, quad, group, tile, fetcher);
}

// [16][16], transposed
inline void transpose(__m512* m) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    m[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    m[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
    m[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    m[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  // m[4 q + j]: rows 4 q ... 4 q + 3 of columns j, 4 + j, 8 + j, 12 + j
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(m[j], m[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(m[j], m[4 + j], 0xDD);
    const __m512 c = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0xDD);
    t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_f32x4(a, c, 0xDD);
    t[4 + j] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(b, d, 0xDD);
  }
  for (int i = 0; i < 16; ++i) m[i] = t[i];
}

// where group `group` of row `row` of a right operand lies
inline float* panel_row(const Panels& panels, int64_t row, int64_t group) {
  const int64_t panel = group / 2;
  const bool single = group % 2 == 0 && group + 1 == groups_for(panels.columns);
  return panels.values + panel * kPanel * panels.depth + row * (single ? kGroup : kPanel) +
         group % 2 * kGroup;
}

// out[c] = or += sum of column c
void add_columns(const Matrix& matrix, Range rows, Range groups, int64_t columns, bool first,
                 float* out) {
  for (int64_t group = groups.begin; group < groups.end; ++group) {
    __m512 sums[kStrip];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    int64_t row = rows.begin;
    for (; row + kStrip <= rows.end; row += kStrip) {
      const float* values = matrix.group(row / kStrip, group);
#pragma GCC unroll 8
      for (int r = 0; r < kStrip; ++r)
        sums[r] = _mm512_add_ps(sums[r], _mm512_load_ps(values + r * kGroup));
    }
    for (int r = 0; row < rows.end; ++row, ++r)
      sums[r] = _mm512_add_ps(sums[r], _mm512_load_ps(&matrix.at(row, group * kGroup)));
    for (int half = kStrip / 2; half > 0; half /= 2) {
      for (int r = 0; r < half; ++r) sums[r] = _mm512_add_ps(sums[r], sums[r + half]);
    }
    const __mmask16 lanes = first_lanes(columns - group * kGroup);
    float* to = out + group * kGroup;
    if (!first) sums[0] = _mm512_add_ps(sums[0], _mm512_maskz_loadu_ps(lanes, to));
    _mm512_mask_storeu_ps(to, lanes, sums[0]);
  }
}

void gradient_part(const WeightGradient& p) {
  alignas(64) float tile[kTileValues];
  const int64_t last_quad = smaller(p.left_groups.end * kGroup, p.left_columns + kQuad - 1) / kQuad;
  for (int64_t begin = p.rows.begin; begin < p.rows.end; begin += kRowsAtOnce) {
    const Range rows{begin, smaller(p.rows.end, begin + kRowsAtOnce)};
    const bool first = begin == p.rows.begin;
    const Range ahead{rows.end, smaller(p.rows.end, rows.end + kRowsAtOnce)};
    RowFetcher next_left(p.left, ahead, p.left_groups);
    RowFetcher next_right(p.right, ahead, p.right_groups);
    if (p.sums != nullptr && p.transposed)
      add_columns(p.right, rows, p.right_groups, p.right_columns, first, p.sums);
    else if (p.sums != nullptr)
      add_columns(p.left, rows, p.left_groups, p.left_columns, first, p.sums);
    for (int64_t group = p.right_groups.begin; group < p.right_groups.end; group += 2) {
      const int64_t count = smaller(2, p.right_groups.end - group);
      const int64_t column = group * kGroup;
      const __mmask16 lanes[2] = {first_lanes(p.right_columns - column),
                                  first_lanes(p.right_columns - column - kGroup)};
      for (int64_t quad = p.left_groups.begin * kGroup / kQuad; quad < last_quad;) {
        const int quads = next_quads(last_quad - quad);
        const int64_t count_rows = smaller(quads * kQuad, p.left_columns - quad * kQuad);
        if (!p.transposed) {
          for (int64_t r = 0; r < count_rows; ++r) {
            const float* line = p.out + (quad * kQuad + r) * p.stride + column;
            fetch_near(line);
            fetch_near(line + kGroup);
          }
        }
        column_tile(quads, count, p, rows, quad, group, tile, [&] {
          next_left.fetch_lines(kLines);
          if (next_left.done()) next_right.fetch_lines(kLines);
        });
        for (int64_t r = 0; r < count_rows; ++r) {
          const int64_t i = quad * kQuad + r;
          if (p.transposed) {
            const int64_t columns = smaller(count * kGroup, p.right_columns - column);
            for (int64_t c = 0; c < columns; ++c) {
              float& to = p.out[(column + c) * p.stride + i];
              to = first ? tile[r * kPanel + c] : to + tile[r * kPanel + c];
            }
            continue;
          }
          for (int64_t n = 0; n < count; ++n) {
            float* to = p.out + i * p.stride + column + n * kGroup;
            __m512 sum = _mm512_load_ps(tile + r * kPanel + n * kGroup);
            if (!first) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes[n], to));
            _mm512_mask_storeu_ps(to, lanes[n], sum);
          }
        }
        quad += quads;
      }
    }
  }
}

}  // namespace

void relu_product(const Sum& sum, const Offsets& offsets, const Matrix& out, Range rows,
                  Range groups) {
  product(sum, rows, groups, ReluEnd{offsets, out, sum.columns(), rows.end});
}

void masked_product(const Sum& sum, const Matrix& mask, const Matrix& out, Range rows,
                    Range groups) {
  product(sum, rows, groups, MaskEnd{mask, out});
}

void plain_product(const Sum& sum, const float* bias, bool accumulate, float* out, Range rows,
                   Range groups) {
  product(sum, rows, groups, PlainEnd{bias, accumulate, out, sum.columns(), rows.end});
}

void weight_gradient(const WeightGradient& product) {
  // a part of the result that stays in the L2 cache beside the rows
  for (int64_t begin = product.left_groups.begin; begin < product.left_groups.end;
       begin += kGroupsAtOnce) {
    WeightGradient part = product;
    part.left_groups = {begin, smaller(product.left_groups.end, begin + kGroupsAtOnce)};
    gradient_part(part);
  }
}

void sum_columns(const Matrix& matrix, int64_t rows, int64_t columns, float* out) {
  add_columns(matrix, {0, rows}, {0, groups_for(columns)}, columns, /*first=*/true, out);
}

void pack_weight(const float* values, int64_t group, const Weight& weight) {
  const int64_t outputs = weight.forward.columns;
  const int64_t columns = weight.forward.depth;
  const int64_t count = smaller(kGroup, outputs - group * kGroup);
  const float* from = values + group * kGroup * weight.stride;
  for (int64_t column = 0; column < columns; column += kGroup) {
    const __mmask16 lanes = first_lanes(columns - column);
    __m512 block[kGroup];
    for (int64_t r = 0; r < kGroup; ++r) {
      block[r] = r < count ? _mm512_maskz_loadu_ps(lanes, from + r * weight.stride + column)
                           : _mm512_setzero_ps();
    }
    if (weight.backward.values != nullptr) {
      for (int64_t r = 0; r < count; ++r)
        _mm512_store_ps(panel_row(weight.backward, group * kGroup + r, column / kGroup), block[r]);
    }
    transpose(block);
    for (int64_t c = 0; c < smaller(kGroup, columns - column); ++c)
      _mm512_store_ps(panel_row(weight.forward, column + c, group), block[c]);
  }
}

void one_hot_layer(const Panels& weight, const float* bias, int64_t rows, const Matrix& out) {
  for (int64_t group = 0; group < groups_for(weight.columns); ++group) {
    const __mmask16 lanes = first_lanes(weight.columns - group * kGroup);
    const __m512 offsets = _mm512_maskz_loadu_ps(lanes, bias + group * kGroup);
    for (int64_t row = 0; row < rows; ++row) {
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(panel_row(weight, row, group)), offsets);
      _mm512_store_ps(&out.at(row, group * kGroup), _mm512_max_ps(_mm512_setzero_ps(), sum));
    }
  }
}

}  // namespace drop::avx512

#pragma GCC pop_options

#endif
