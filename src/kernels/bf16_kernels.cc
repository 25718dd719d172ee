#include "kernels/bf16_kernels.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

// false alarms of GCC 12 inside its own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace drop::bf16 {

Isa best_isa() {
  // the system must save the vector registers (bits 5 to 7) and the tiles (17, 18) of a thread
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return Isa::kNone;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0xE6U) != 0xE6U) return Isa::kNone;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::kNone;
  const unsigned vectors = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
  const bool tiles = (d & bit_AMX_TILE) != 0 && (d & bit_AMX_BF16) != 0;
  if ((b & vectors) != vectors || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return Isa::kNone;
  if ((a & bit_AVX512BF16) == 0) return Isa::kNone;
  // Linux grants a process the use of tile data when asked
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  const bool granted =
      (low & 0x60000U) == 0x60000U && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return tiles && granted ? Isa::kAmx : Isa::kAvx512;
}

}  // namespace drop::bf16

// all that follows is compiled for these instructions and runs only where `best_isa` found them;
// it uses no templates of the standard library, whose instances the linker might share with others
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")

namespace drop::bf16 {

namespace {

constexpr int64_t kHalf = kBlockSize / 2;  // a half of a block in the right form
constexpr int kPairs = 16;                 // pairs of rows in a block

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// the first n of 16 or 32 lanes
inline __mmask16 mask16(int64_t n) {
  return n >= 16 ? __mmask16{0xFFFF} : n <= 0 ? __mmask16{0} : __mmask16((1U << n) - 1);
}
inline __mmask32 mask32(int64_t n) {
  return n >= 32 ? ~__mmask32{0} : n <= 0 ? __mmask32{0} : (__mmask32{1} << n) - 1;
}

inline __m512i round_row(__m512 low, __m512 high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}
inline __m512i load_row(const Bf16* from) { return _mm512_load_si512(from); }
inline void store_row(Bf16* to, __m512i row) { _mm512_store_si512(to, row); }

// [16][16] of 32 bits, transposed
inline void transpose(__m512i* m) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // m[4 q + j]: rows 4 q ... 4 q + 3 of columns j, 4 + j, 8 + j, 12 + j
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(m[j], m[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(m[j], m[4 + j], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0xDD);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xDD);
    t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
  for (int i = 0; i < 16; ++i) m[i] = t[i];
}

// rows 8 q ... 8 q + 7 of a block [32][32] into its transpose
inline void transpose_rows(const Bf16* from, int q, Bf16* out) {
  const Bf16* rows = from + 8 * q * kBlock;
  __m512i r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = load_row(rows + i * kBlock);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm512_unpacklo_epi32(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi32(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi32(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm512_unpacklo_epi64(r[i], r[4 + i]);
    t[2 * i + 1] = _mm512_unpackhi_epi64(r[i], r[4 + i]);
  }
  // lane l of t[j] is column 8 l + j
  for (int j = 0; j < 8; ++j) {
    Bf16* to = out + j * kBlock + 8 * q;
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(t[j]));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + 8 * kBlock),
                    _mm512_extracti32x4_epi32(t[j], 1));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + 16 * kBlock),
                    _mm512_extracti32x4_epi32(t[j], 2));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + 24 * kBlock),
                    _mm512_extracti32x4_epi32(t[j], 3));
  }
}

// ---- parts of a product

// result [strips][panels], the last strip with fewer rows perhaps
struct Area {
  int64_t first_strip, last_strip;
  int64_t first_panel, last_panel;
  int64_t end_row;
  int64_t columns;
};

// operands of a block: each a run of `depth` blocks
struct Run {
  const Bf16* left;
  const Bf16* right;
  int64_t depth;
};

// cache lines that are fetched into the L2 cache ahead of their use, some at each step
struct Ahead {
  const Bf16* next = nullptr;
  const Bf16* end = nullptr;
  int64_t lines_a_step = 0;

  static constexpr int64_t kLine = 32;  // values

  void fetch() {
    for (int64_t i = 0; i < lines_a_step && next < end; ++i, next += kLine)
      _mm_prefetch(next, _MM_HINT_T1);
  }
};

// ---- what becomes of a finished block of sums. `start` names the block, `pair` takes two of its
// rows from `sums` [32][32], `finish` ends it

// relu(sum + offsets), rounded
struct ReluEnd {
  const Offsets& offsets;
  const Matrix& out;
  int64_t columns;

  int64_t first_row = 0;
  int64_t column = 0;
  __mmask16 mask0 = 0, mask1 = 0;
  __m512 bias0{}, bias1{};
  Bf16* left = nullptr;

  void meanwhile(int64_t, int64_t, int) const {}

  void start(int64_t strip, int64_t panel) {
    first_row = strip * kBlock;
    column = panel * kBlock;
    mask0 = mask16(columns - column);
    mask1 = mask16(columns - column - 16);
    bias0 = bias1 = _mm512_setzero_ps();
    if (offsets.bias != nullptr) {
      bias0 = _mm512_maskz_loadu_ps(mask0, offsets.bias + column);
      bias1 = _mm512_maskz_loadu_ps(mask1, offsets.bias + column + 16);
    }
    left = out.block(strip, panel);
  }

  __m512i row(const float* sums, int64_t r) const {
    __m512 low = _mm512_add_ps(_mm512_load_ps(sums), bias0);
    __m512 high = _mm512_add_ps(_mm512_load_ps(sums + 16), bias1);
    if (offsets.shared != nullptr) {
      const int64_t group = offsets.group == 1 ? r : r / offsets.group;
      const float* shared = offsets.shared + group * columns + column;
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(mask0, shared));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(mask1, shared + 16));
    }
    // not a number stays not a number: the second operand is what comes back then
    const __m512 zero = _mm512_setzero_ps();
    return round_row(_mm512_max_ps(zero, low), _mm512_max_ps(zero, high));
  }

  void pair(const float* sums, int p) {
    for (int r = 2 * p; r < 2 * p + 2; ++r)
      store_row(left + r * kBlock, row(sums + r * kBlock, first_row + r));
  }

  void finish() {}
};

// tanh to about 1e-7: a polynomial near 0 (coefficients of Cephes' tanhf), elsewhere from
// 2^(2 |x| / ln 2)
inline __m512 tanh_of(__m512 x) {
  const __m512 square = _mm512_mul_ps(x, x);
  __m512 near = _mm512_set1_ps(-5.70498872745e-3f);
  constexpr float kNear[] = {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                             -3.33332819422e-1f};
  for (const float c : kNear) near = _mm512_fmadd_ps(near, square, _mm512_set1_ps(c));
  near = _mm512_fmadd_ps(_mm512_mul_ps(near, square), x, x);

  const __m512 size = _mm512_min_ps(_mm512_set1_ps(20.0f), _mm512_abs_ps(x));
  const __m512 exponent = _mm512_mul_ps(size, _mm512_set1_ps(2.88539008f));
  const __m512 whole = _mm512_roundscale_ps(exponent, 0);
  const __m512 part = _mm512_sub_ps(exponent, whole);
  __m512 power = _mm512_set1_ps(1.54035304e-4f);
  constexpr float kPower[] = {1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f,
                              2.40226507e-1f, 6.93147181e-1f, 1.0f};
  for (const float c : kPower) power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(c));
  power = _mm512_scalef_ps(power, whole);
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 far = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(power, one)));
  far = _mm512_or_ps(far, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
  return _mm512_mask_mov_ps(near, _mm512_cmp_ps_mask(size, _mm512_set1_ps(0.625f), _CMP_GT_OQ),
                            far);
}

// (+)= sum + offsets or its tanh, plain
struct PlainEnd {
  const Offsets& offsets;
  const Plain& out;
  int64_t columns;
  int64_t end;

  int64_t first_row = 0;
  int64_t column = 0;
  __mmask16 mask0 = 0, mask1 = 0;
  __m512 bias0{}, bias1{};

  void meanwhile(int64_t, int64_t, int) const {}

  void start(int64_t strip, int64_t panel) {
    first_row = strip * kBlock;
    column = panel * kBlock;
    mask0 = mask16(columns - column);
    mask1 = mask16(columns - column - 16);
    bias0 = bias1 = _mm512_setzero_ps();
    if (offsets.bias != nullptr) {
      bias0 = _mm512_maskz_loadu_ps(mask0, offsets.bias + column);
      bias1 = _mm512_maskz_loadu_ps(mask1, offsets.bias + column + 16);
    }
  }

  void row(const float* sums, int64_t r) const {
    if (r >= end) return;
    float* to = out.values + r * out.stride + column;
    __m512 low = _mm512_add_ps(_mm512_load_ps(sums), bias0);
    __m512 high = _mm512_add_ps(_mm512_load_ps(sums + 16), bias1);
    if (out.tanh) {
      low = tanh_of(low);
      high = tanh_of(high);
    }
    if (out.accumulate) {
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(mask0, to));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(mask1, to + 16));
    }
    _mm512_mask_storeu_ps(to, mask0, low);
    _mm512_mask_storeu_ps(to + 16, mask1, high);
  }

  void pair(const float* sums, int p) {
    row(sums + 2 * p * kBlock, first_row + 2 * p);
    row(sums + (2 * p + 1) * kBlock, first_row + 2 * p + 1);
  }

  void finish() {}
};

// sum where the mask's activation is positive, rounded
struct MaskedEnd {
  const Matrix& mask;
  const Matrix& out;

  const Bf16* hidden = nullptr;
  Bf16* left = nullptr;
  float* column_sums = nullptr;
  __m512 sum0{}, sum1{};

  void meanwhile(int64_t, int64_t, int) const {}

  void start(int64_t strip, int64_t panel) {
    hidden = mask.block(strip, panel);
    left = out.block(strip, panel);
    column_sums = out.column_sums != nullptr
                      ? out.column_sums + (strip * out.blocks + panel) * kBlock
                      : nullptr;
    sum0 = sum1 = _mm512_setzero_ps();
  }

  void row(const float* sums, int r) {
    const __mmask32 positive =
        _mm512_cmpgt_epi16_mask(load_row(hidden + r * kBlock), _mm512_setzero_si512());
    const __m512 low = _mm512_maskz_mov_ps(__mmask16(positive), _mm512_load_ps(sums));
    const __m512 high = _mm512_maskz_mov_ps(__mmask16(positive >> 16), _mm512_load_ps(sums + 16));
    sum0 = _mm512_add_ps(sum0, low);
    sum1 = _mm512_add_ps(sum1, high);
    store_row(left + r * kBlock, round_row(low, high));
  }

  void pair(const float* sums, int p) {
    row(sums + 2 * p * kBlock, 2 * p);
    row(sums + (2 * p + 1) * kBlock, 2 * p + 1);
  }

  void finish() const {
    if (column_sums == nullptr) return;
    _mm512_store_ps(column_sums, sum0);
    _mm512_store_ps(column_sums + 16, sum1);
  }
};

// A group of rows of both operands of gradient^T x, rearranged: the gradient transposed, left form,
// all strips; x in right form, panels in turn. The columns of a panel come in the order in which
// two rows interleave within 128-bit lanes: 0-3, 8-11, 16-19, 24-27, 4-7, 12-15, 20-23, 28-31.
struct Group {
  const WeightGradient& w;
  int64_t first;  // strips of rows [first, first + depth)
  int64_t depth;
  int64_t next_pair = 0;  // of the next panel

  static constexpr int64_t kDepth = 16;

  Bf16* strip_values(int64_t strip) const {
    return w.scratch + (strip - w.first_strip) * kDepth * kBlockSize;
  }
  Bf16* panel_values(int64_t panel) const {
    return strip_values(w.last_strip) + panel % 2 * kDepth * kBlockSize;
  }

  // into the L2 cache: each operand comes from far away once, a strip or panel ahead of its use
  static void prefetch(const Bf16* from, int64_t count) {
    for (int64_t i = 0; i < count; i += kBlock) _mm_prefetch(from + i, _MM_HINT_T1);
  }
  // block k of a strip
  void rearrange_gradient(int64_t strip, int64_t k) const {
    const Bf16* from = w.gradient.block(first + k, strip);
    if (strip + 1 < w.last_strip) prefetch(from + kBlockSize, kBlockSize);
    Bf16* to = strip_values(strip) + k * kBlockSize;
    for (int q = 0; q < 4; ++q) transpose_rows(from, q, to);
  }
  // pair of rows of a panel
  void rearrange_x(int64_t panel, int64_t pair) const {
    const int64_t p = pair % kPairs;
    const Bf16* from = w.x.block(first + pair / kPairs, panel) + 2 * p * kBlock;
    Bf16* to = panel_values(panel) + pair / kPairs * kBlockSize + p * kBlock;
    if (panel + 1 < w.last_panel) prefetch(from + kBlockSize, 2 * kBlock);
    const __m512i even = load_row(from);
    const __m512i odd = load_row(from + kBlock);
    store_row(to, _mm512_unpacklo_epi16(even, odd));
    store_row(to + kHalf, _mm512_unpackhi_epi16(even, odd));
  }

  // operands of a block of sums
  void operator()(int64_t strip, int64_t panel, Run* operands) const {
    operands[0] = {strip_values(strip), panel_values(panel), depth};
  }
  static Ahead ahead(int64_t, int64_t, const Area&) { return {}; }

  // what the first block of sums needs
  void begin() const {
    for (int64_t k = 0; k < depth; ++k) rearrange_gradient(w.first_strip, k);
    for (int64_t pair = 0; pair < depth * kPairs; ++pair) rearrange_x(w.first_panel, pair);
  }

  // one of 16 pieces of what the blocks behind (strip, panel) need
  void prepare(int64_t strip, int64_t panel, int piece) {
    if (panel == w.first_panel && strip + 1 < w.last_strip && piece < depth)
      rearrange_gradient(strip + 1, piece);
    if (panel + 1 == w.last_panel) return;
    if (strip == w.first_strip && piece == 0) next_pair = 0;
    const int64_t strips = w.last_strip - w.first_strip;
    for (int64_t i = 0; i < depth && next_pair < depth * kPairs; i += strips)
      rearrange_x(panel + 1, next_pair++);
  }
};

// part of a weight's gradient, from the panels of a Group
struct WeightEnd {
  Group& group;
  float* out;
  int64_t stride;
  bool accumulate;

  int64_t first_row = 0;
  int64_t column = 0;
  __mmask16 mask0 = 0, mask1 = 0;

  void meanwhile(int64_t strip, int64_t panel, int piece) const {
    group.prepare(strip, panel, piece);
  }

  void start(int64_t strip, int64_t panel) {
    first_row = strip * kBlock;
    column = panel * kBlock;
    mask0 = mask16(group.w.columns - column);
    mask1 = mask16(group.w.columns - column - 16);
  }

  void row(const float* sums, int64_t r) const {
    if (r >= group.w.rows) return;
    float* to = out + r * stride + column;
    const __m512d a = _mm512_load_pd(sums);
    const __m512d b = _mm512_load_pd(sums + 16);
    __m512 low =
        _mm512_castpd_ps(_mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
    __m512 high = _mm512_castpd_ps(
        _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
    if (accumulate) {
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(mask0, to));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(mask1, to + 16));
    }
    _mm512_mask_storeu_ps(to, mask0, low);
    _mm512_mask_storeu_ps(to + 16, mask1, high);
  }

  void pair(const float* sums, int p) const {
    row(sums + 2 * p * kBlock, first_row + 2 * p);
    row(sums + (2 * p + 1) * kBlock, first_row + 2 * p + 1);
  }

  void finish() const {}
};

// the product alone
struct NoEnd {
  void meanwhile(int64_t, int64_t, int) const {}
  void start(int64_t, int64_t) {}
  void pair(const float*, int) {}
  void finish() {}
};

// ---- one block of sums

struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// AMX: the sums stay in four tiles while the operands run through the other four. The left operand
// is loaded past the L1 cache, where the right one stays for the next block
template <bool kBothRows, bool kBothColumns, typename Aside>
inline void sum_tiles(const Run* runs, int count, float* sums, const Aside& aside) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int i = 0; i < count; ++i) {
    const Bf16* left = runs[i].left;
    const Bf16* right = runs[i].right;
    for (int64_t k = 0; k < runs[i].depth; ++k, left += kBlockSize, right += kBlockSize) {
      _tile_loadd(6, right, 64);
      _tile_stream_loadd(4, left, 64);
      _tile_dpbf16ps(0, 4, 6);
      if (kBothColumns) {
        _tile_loadd(7, right + kHalf, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (kBothRows) {
        _tile_stream_loadd(5, left + kHalf, 64);
        _tile_dpbf16ps(2, 5, 6);
        if (kBothColumns) _tile_dpbf16ps(3, 5, 7);
      }
      aside();
    }
  }
  _tile_stored(0, sums, 4 * kBlock);
  // sums of columns left out are zero
  _tile_stored(1, sums + 16, 4 * kBlock);
  if (kBothRows) {
    _tile_stored(2, sums + 16 * kBlock, 4 * kBlock);
    _tile_stored(3, sums + 16 * kBlock + 16, 4 * kBlock);
  }
}

// AVX512-BF16: some rows at a time, or what few there are
template <int kRows, typename Aside>
inline void sum_rows(const Run* runs, int count, int64_t row, float* sums, const Aside& aside) {
  // two chains of additions for a single row: one would wait for itself
  constexpr int kChains = kRows == 1 ? 2 : 1;
  __m512 low[kRows * kChains], high[kRows * kChains];
  for (int r = 0; r < kRows * kChains; ++r) low[r] = high[r] = _mm512_setzero_ps();
  for (int i = 0; i < count; ++i) {
    const Bf16* left = runs[i].left + row * kBlock;
    const Bf16* right = runs[i].right;
    for (int64_t k = 0; k < runs[i].depth; ++k, left += kBlockSize, right += kBlockSize) {
#pragma GCC unroll 2
      for (int p = 0; p < kPairs; ++p) {
        const __m512bh b0 = (__m512bh)load_row(right + p * kBlock);
        const __m512bh b1 = (__m512bh)load_row(right + kHalf + p * kBlock);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          int value;
          __builtin_memcpy(&value, left + r * kBlock + 2 * p, sizeof value);
          const __m512bh a = (__m512bh)_mm512_set1_epi32(value);
          const int to = r + p % kChains;
          low[to] = _mm512_dpbf16_ps(low[to], a, b0);
          high[to] = _mm512_dpbf16_ps(high[to], a, b1);
        }
      }
      if (row == 0) aside();
    }
  }
  sums += row * kBlock;
  if constexpr (kChains == 2) {
    low[0] = _mm512_add_ps(low[0], low[1]);
    high[0] = _mm512_add_ps(high[0], high[1]);
    low[1] = high[1] = _mm512_setzero_ps();  // rows end in pairs
  }
  for (int r = 0; r < kRows * kChains; ++r) {
    _mm512_store_ps(sums + r * kBlock, low[r]);
    _mm512_store_ps(sums + r * kBlock + 16, high[r]);
  }
}

// sums of a block [rows][32 or 16]. `aside()` is work on other data, called at each step along the
// inner dimension: it fills the vector units while the tiles are busy
struct Tiles {
  template <typename Aside>
  static inline void sum(int64_t rows, bool both_columns, const Run* runs, int count, float* sums,
                         const Aside& aside) {
    if (rows > 16 && both_columns)
      sum_tiles<true, true>(runs, count, sums, aside);
    else if (rows > 16)
      sum_tiles<true, false>(runs, count, sums, aside);
    else if (both_columns)
      sum_tiles<false, true>(runs, count, sums, aside);
    else
      sum_tiles<false, false>(runs, count, sums, aside);
  }
};
struct Vectors {
  template <typename Aside>
  static inline void sum(int64_t rows, bool, const Run* runs, int count, float* sums,
                         const Aside& aside) {
    if (rows == 1)
      sum_rows<1>(runs, count, 0, sums, aside);
    else if (rows == 2)
      sum_rows<2>(runs, count, 0, sums, aside);
    else if (rows <= 4)
      sum_rows<4>(runs, count, 0, sums, aside);
    else
      for (int64_t row = 0; row < rows; row += 8) sum_rows<8>(runs, count, row, sums, aside);
  }
};

// ---- all blocks of a product. The end of a block is worked on while the next one is summed

template <typename Block, typename Runs, typename End>
void multiply_with(const Area& area, int count, int64_t steps, const Runs& runs, End end) {
  // the sums of the block before are used up when those of the present one are stored
  alignas(64) float sums[kBlockSize];
  __asm__ volatile("" ::: "memory");  // operands are in memory: tile loads are unknown to compilers
  int open = 0;                       // pairs of rows of the block before that wait for their end
  const int pairs_each = static_cast<int>((kPairs + steps - 1) / steps);
  for (int64_t panel = area.first_panel; panel < area.last_panel; ++panel) {
    const bool both_columns = area.columns - panel * kBlock > 16;
    for (int64_t strip = area.first_strip; strip < area.last_strip; ++strip) {
      const int64_t rows = smaller(kBlock, area.end_row - strip * kBlock);
      Run operands[2];
      runs(strip, panel, operands);
      Ahead ahead_of_use = runs.ahead(strip, panel, area);
      int done = 0;
      int ahead = 0;
      const auto aside = [&]() __attribute__((always_inline)) {
        ahead_of_use.fetch();
        for (int i = 0; i < pairs_each; ++i) {
          if (ahead < kPairs) end.meanwhile(strip, panel, ahead++);
          if (done < open) end.pair(sums, done++);
        }
      };
      Block::sum(rows, both_columns, operands, count, sums, aside);
      if (open > 0) end.finish();
      end.start(strip, panel);
      open = static_cast<int>((rows + 1) / 2);
    }
  }
  for (int p = 0; p < open; ++p) end.pair(sums, p);
  if (open > 0) end.finish();
}

template <typename Runs, typename End>
void multiply(Isa isa, const Area& area, int count, int64_t steps, const Runs& runs,
              const End& end) {
  if (isa == Isa::kAmx) {
    const TileShapes shapes;
    _tile_loadconfig(&shapes);
    multiply_with<Tiles>(area, count, steps, runs, end);
    return;
  }
  multiply_with<Vectors>(area, count, steps, runs, end);
}

// ---- a few rows through a weight that is packed for the other direction: a tile of it, [16 pairs
// of columns][16 inner values][2], stands left, and the rows stand right. A pair of columns meets
// each row twice, as (value, 0) and as (0, value): sums [16 pairs][8 rows][2].

// rows 0 to 7 of strip 0: for each block two tiles [16 inner values][8 rows][2][2]
void spread_rows(const Addend& a, Bf16* out) {
  for (int64_t k = 0; k < a.depth; ++k, out += kBlockSize) {
    __m512i low[2 * kFewRows], high[2 * kFewRows];
    for (int64_t r = 0; r < kFewRows; ++r) {
      const __m512i row = load_row(a.left + k * kBlockSize + r * kBlock);
      low[2 * r] = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(row));
      high[2 * r] = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(row, 1));
      low[2 * r + 1] = _mm512_slli_epi32(low[2 * r], 16);
      high[2 * r + 1] = _mm512_slli_epi32(high[2 * r], 16);
    }
    transpose(low);
    transpose(high);
    for (int i = 0; i < 16; ++i) {
      store_row(out + i * kBlock, low[i]);
      store_row(out + kHalf + i * kBlock, high[i]);
    }
  }
}

// a block of the weight onto the sums of its panel
template <int kPanel>
inline void add_block(const Bf16* weight) {
  _tile_loadd(4, weight, 64);
  _tile_loadd(5, weight + kHalf, 64);
  // tiles are named by literals
  if constexpr (kPanel == 0) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(0, 5, 7);
  } else if constexpr (kPanel == 1) {
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(1, 5, 7);
  } else if constexpr (kPanel == 2) {
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(2, 5, 7);
  } else {
    _tile_dpbf16ps(3, 4, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// sums of 32 columns, from a tile to rows [rows][32]
inline void gather_rows(const float* tile, int64_t rows, float* sums) {
  const __m256i pairs = _mm256_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56);
  for (int64_t r = 0; r < rows; ++r, sums += kBlock) {
    const float* from = tile + 2 * r;
    _mm512_store_pd(sums, _mm512_i32gather_pd(pairs, from, 8));
    _mm512_store_pd(sums + 16, _mm512_i32gather_pd(pairs, from + 8 * 16, 8));
  }
}

template <typename End>
void multiply_few(const Sum& s, End end) {
  const Addend& a = s.addends[0];
  const int64_t panels = blocks_for(s.columns);
  const TileShapes shapes;
  _tile_loadconfig(&shapes);
  spread_rows(a, s.few_rows_scratch);
  for (int64_t panel = 0; panel < panels; panel += 4) {
    const int64_t count = smaller(4, panels - panel);
    alignas(64) float tiles[4][16 * 16];
    __asm__ volatile("" ::: "memory");  // as in multiply_with
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < a.depth; ++k) {
      const Bf16* values = s.few_rows_scratch + k * kBlockSize;
      const Bf16* weight = a.right + (k * panels + panel) * kBlockSize;
      _tile_loadd(6, values, 64);
      _tile_loadd(7, values + kHalf, 64);
      add_block<0>(weight);
      if (count > 1) add_block<1>(weight + kBlockSize);
      if (count > 2) add_block<2>(weight + 2 * kBlockSize);
      if (count > 3) add_block<3>(weight + 3 * kBlockSize);
    }
    _tile_stored(0, tiles[0], 64);
    _tile_stored(1, tiles[1], 64);
    _tile_stored(2, tiles[2], 64);
    _tile_stored(3, tiles[3], 64);
    __asm__ volatile("" ::: "memory");
    for (int64_t i = 0; i < count; ++i) {
      alignas(64) float sums[kFewRows * kBlock] = {};
      gather_rows(tiles[i], s.end, sums);
      end.start(0, panel + i);
      for (int p = 0; p < (s.end + 1) / 2; ++p) end.pair(sums, p);
      end.finish();
    }
  }
}

// operands of a Sum
struct RowRuns {
  const Sum& s;

  void operator()(int64_t strip, int64_t panel, Run* operands) const {
    for (int i = 0; i < s.count; ++i) {
      const Addend& a = s.addends[i];
      operands[i] = {a.left + strip * a.depth * kBlockSize, a.right + panel * a.depth * kBlockSize,
                     a.depth};
    }
  }

  // the next panel of the first addend, a part with each strip
  Ahead ahead(int64_t strip, int64_t panel, const Area& area) const {
    if (panel + 1 == area.last_panel) return {};
    const Addend& a = s.addends[0];
    const int64_t strips = area.last_strip - area.first_strip;
    const int64_t lines = (kBlockSize / Ahead::kLine + strips - 1) / strips;  // a block's
    const Bf16* next = a.right + (panel + 1) * a.depth * kBlockSize;
    return {next + (strip - area.first_strip) * a.depth * lines * Ahead::kLine,
            next + a.depth * kBlockSize, lines};
  }
};

// rows in pieces whose operands stay in the L2 cache
template <typename End>
void multiply_rows(const Sum& s, const End& end) {
  if (s.few_rows_scratch != nullptr) {
    multiply_few(s, end);
    return;
  }
  int64_t steps = 0;
  for (int i = 0; i < s.count; ++i) steps += s.addends[i].depth;
  const RowRuns runs{s};
  for (int64_t row = s.begin; row < s.end; row += kRowsAtOnce) {
    const int64_t end_row = smaller(row + kRowsAtOnce, s.end);
    multiply(s.isa,
             {row / kBlock, blocks_for(end_row), 0, blocks_for(s.columns), end_row, s.columns},
             s.count, steps, runs, end);
  }
}

}  // namespace

void relu_product(const Sum& sum, const Offsets& offsets, const Matrix& out) {
  multiply_rows(sum, ReluEnd{offsets, out, sum.columns});
}

void plain_product(const Sum& sum, const Offsets& offsets, const Plain& out) {
  multiply_rows(sum, PlainEnd{offsets, out, sum.columns, sum.end});
}

void masked_product(const Sum& sum, const Matrix& mask, const Matrix& out) {
  multiply_rows(sum, MaskedEnd{mask, out});
}

void bare_product(const Sum& sum) { multiply_rows(sum, NoEnd{}); }

int64_t few_rows_scratch(int64_t depth) { return depth * kBlockSize; }

int64_t scratch_size(int64_t strips) { return (strips + 2) * Group::kDepth * kBlockSize; }

void weight_gradient(const WeightGradient& w, float* out, int64_t stride) {
  const int64_t last = w.end / kBlock;
  for (int64_t first = w.begin / kBlock; first < last; first += Group::kDepth) {
    Group group{w, first, smaller(Group::kDepth, last - first)};
    group.begin();
    // both halves of a panel are needed always: their columns are mixed
    const int64_t all_columns = w.last_panel * kBlock;
    multiply(w.isa, {w.first_strip, w.last_strip, w.first_panel, w.last_panel, w.rows, all_columns},
             1, group.depth, group, WeightEnd{group, out, stride, first * kBlock > w.begin});
  }
}

void sum_columns(const Matrix& gradient, int64_t begin, int64_t end, int64_t columns, float* out) {
  const int64_t stride = gradient.blocks * kBlock;
  for (int64_t c = 0; c < columns; c += 16) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t strip = begin / kBlock; strip < blocks_for(end); ++strip)
      sum = _mm512_add_ps(sum, _mm512_load_ps(gradient.column_sums + strip * stride + c));
    _mm512_mask_storeu_ps(out + c, mask16(columns - c), sum);
  }
}

void load(const float* values, int64_t columns, int64_t column, int64_t begin, int64_t end,
          const Matrix& out) {
  for (int64_t strip = begin / kBlock; strip < blocks_for(end); ++strip) {
    const int64_t rows = smaller(kBlock, end - strip * kBlock);
    for (int64_t block = column / kBlock; block < blocks_for(column + columns); ++block) {
      // columns [from, from + n) of the block
      const int64_t first = block * kBlock > column ? block * kBlock : column;
      const int64_t n = smaller(block * kBlock + kBlock, column + columns) - first;
      const int64_t from = first - block * kBlock;
      Bf16* left = out.block(strip, block);
      __m512 sum0 = _mm512_setzero_ps();
      __m512 sum1 = _mm512_setzero_ps();
      for (int64_t r = 0; r < rows; ++r) {
        const float* source = values + (strip * kBlock + r - begin) * columns + first - column;
        const __m512 low = _mm512_maskz_loadu_ps(mask16(n), source);
        const __m512 high = _mm512_maskz_loadu_ps(mask16(n - 16), source + 16);
        sum0 = _mm512_add_ps(sum0, low);
        sum1 = _mm512_add_ps(sum1, high);
        _mm512_mask_storeu_epi16(left + r * kBlock + from, mask32(n), round_row(low, high));
      }
      if (out.column_sums != nullptr) {
        float* sums = out.column_sums + (strip * out.blocks + block) * kBlock + from;
        _mm512_mask_storeu_ps(sums, mask16(n), sum0);
        _mm512_mask_storeu_ps(sums + 16, mask16(n - 16), sum1);
      }
    }
  }
}

void one_hot_layer(const float* weight, const float* bias, int64_t out_features, int64_t stride,
                   int64_t begin, int64_t end, const Matrix& out) {
  const Offsets offsets{bias, nullptr, 1};
  ReluEnd relu{offsets, out, out_features};
  alignas(64) float sums[kBlockSize];
  for (int64_t strip = begin / kBlock; strip < blocks_for(end); ++strip) {
    for (int64_t panel = 0; panel < blocks_for(out_features); ++panel) {
      // 32 features of 32 inputs, transposed in four quarters
      for (int quarter = 0; quarter < 4; ++quarter) {
        const int64_t feature = panel * kBlock + quarter / 2 * 16;
        const int64_t input = strip * kBlock + quarter % 2 * 16;
        __m512i m[16];
        for (int i = 0; i < 16; ++i) {
          const __mmask16 mask = feature + i < out_features ? mask16(end - input) : __mmask16{0};
          m[i] = _mm512_maskz_loadu_epi32(mask, weight + (feature + i) * stride + input);
        }
        transpose(m);
        for (int i = 0; i < 16; ++i)
          _mm512_store_si512(sums + (quarter % 2 * 16 + i) * kBlock + quarter / 2 * 16, m[i]);
      }
      relu.start(strip, panel);
      for (int p = 0; p < kPairs; ++p) relu.pair(sums, p);
    }
  }
}

void one_hot_gradient(const Matrix& gradient, int64_t rows, int64_t out_features, int64_t stride,
                      float* weight) {
  alignas(64) Bf16 transposed[kBlockSize];
  for (int64_t strip = 0; strip < blocks_for(rows); ++strip) {
    const int64_t n = rows - strip * kBlock;
    for (int64_t panel = 0; panel < blocks_for(out_features); ++panel) {
      for (int q = 0; q < 4; ++q) transpose_rows(gradient.block(strip, panel), q, transposed);
      float* to = weight + panel * kBlock * stride + strip * kBlock;
      for (int64_t f = 0; f < smaller(kBlock, out_features - panel * kBlock); ++f, to += stride) {
        const __m512i values = load_row(transposed + f * kBlock);
        const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(values));
        const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(values, 1));
        _mm512_mask_storeu_epi32(to, mask16(n), _mm512_slli_epi32(low, 16));
        _mm512_mask_storeu_epi32(to + 16, mask16(n - 16), _mm512_slli_epi32(high, 16));
      }
    }
  }
}

void pack_weight(const float* values, int64_t strip, const Weight& w) {
  const int64_t depth = blocks_for(w.columns);
  const int64_t out_depth = blocks_for(w.out);
  const float* master = values + strip * kBlock * w.stride;
  const int64_t rows = smaller(kBlock, w.out - strip * kBlock);
  for (int64_t block = 0; block < depth; ++block) {
    __m512i r[kBlock];
    const __mmask16 mask0 = mask16(w.columns - block * kBlock);
    const __mmask16 mask1 = mask16(w.columns - block * kBlock - 16);
    for (int64_t i = 0; i < kBlock; ++i) {
      const float* from = master + i * w.stride + block * kBlock;
      r[i] = i < rows ? round_row(_mm512_maskz_loadu_ps(mask0, from),
                                  _mm512_maskz_loadu_ps(mask1, from + 16))
                      : _mm512_setzero_si512();
    }
    if (w.backward != nullptr) {
      // pairs of rows; the panel is the block of columns
      Bf16* to = w.backward + (block * out_depth + strip) * kBlockSize;
      for (int p = 0; p < kPairs; ++p) {
        const __m512i a = _mm512_unpacklo_epi16(r[2 * p], r[2 * p + 1]);
        const __m512i b = _mm512_unpackhi_epi16(r[2 * p], r[2 * p + 1]);
        store_row(to + p * kBlock,
                  _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
        store_row(to + kHalf + p * kBlock,
                  _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
      }
    }
    // pairs of columns, transposed; the panel is the strip of rows
    Bf16* to = w.forward + (strip * depth + block) * kBlockSize;
    transpose(r);
    transpose(r + 16);
    for (int p = 0; p < kPairs; ++p) {
      store_row(to + p * kBlock, r[p]);
      store_row(to + kHalf + p * kBlock, r[16 + p]);
    }
  }
}

}  // namespace drop::bf16

#pragma GCC pop_options

#endif
