// Winograd convolutions F(m x m, r x r) for CPUs, several in a row.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: an output tile of m x m is
// A^T [ (G g G^T) . (B^T d B) ] A, with (m + r - 1)^2 multiplications per pair of channels in place of (m r)^2.
// The matrices are those of Toom-Cook's algorithm. Interpolation points come in pairs p and -p, of which the
// transforms share the even and the odd part; which points is a matter of rounding (see Points).
//
// Images are (n, h, w, c) float32 with c a multiple of 16. A thread takes a block of tiles through all three
// steps, so that what is transformed stays in its cache.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef __linux__
#include <sys/mman.h>
#endif
#include <omp.h>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, MAX_COLUMNS = 4, MAX_ROWS = 6;  // 24 of 32 registers hold sums
#elif defined(__AVX__)
constexpr int LANES = 8, MAX_COLUMNS = 2, MAX_ROWS = 6;  // 12 of 16
#else
constexpr int LANES = 4, MAX_COLUMNS = 4, MAX_ROWS = 6;  // 24 of 32
#endif
constexpr int64_t BLOCK_BYTES = 1200 << 10;  // of transformed tiles, within a second-level cache

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef int32_t int_alias __attribute__((aligned(2), may_alias));

INLINE vec load(const float* from) { return *reinterpret_cast<const vec*>(from); }
INLINE void store(float* to, vec values) { *reinterpret_cast<vec*>(to) = values; }

// What is multiplied: float32, or bfloat16 with sums in float32, where the processor has instructions for it.
enum class bfloat16 : uint16_t {};
#ifdef __AVX512BF16__
constexpr bool HAS_BFLOAT16 = true;
#else
constexpr bool HAS_BFLOAT16 = false;
#endif

// How many input channels one instruction multiplies and adds up.
template <typename Factor> constexpr int DEPTH = std::is_same_v<Factor, bfloat16> ? 2 : 1;

INLINE void store(bfloat16* to, vec values) {
#ifdef __AVX512BF16__
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)values));
#endif
}

constexpr double power(double base, int exponent) {
  double result = 1;
  for (int i = 0; i < exponent; i++) result *= base;
  return result;
}

// The points beside 0 and infinity, one of each pair. Of all choices among 1, 2, 3, 4, 3/2, 4/3 and their
// inverses these have the smallest error in float32, or one within a per cent of it, on normally distributed
// images and weights.
template <int M, int R> struct Points;
template <> struct Points<4, 3> { static constexpr double pairs[] = {2. / 3, 3. / 2}; };
template <> struct Points<6, 3> { static constexpr double pairs[] = {1, 2, 1. / 2}; };
template <> struct Points<4, 7> { static constexpr double pairs[] = {1. / 2, 2, 3. / 4, 4. / 3}; };

// One-dimensional transforms. Of n = m + r - 1 transformed values the first belongs to point 0, the following to
// p, -p of each pair, the last to infinity.
template <int M, int R> struct Transform {
  static constexpr int N = M + R - 1, PAIRS = N / 2 - 1;
  static_assert(N == 2 * PAIRS + 2);

  double all[PAIRS + 1]{};         // coefficients in x^2 of the product of (x^2 - p^2) over all pairs
  double others[PAIRS][PAIRS]{};   // over all pairs but one
  double powers[M][PAIRS]{};

  constexpr Transform() {
    for (int left_out = -1; left_out < PAIRS; left_out++) {
      double product[PAIRS + 1] = {1};
      int degree = 0;
      for (int j = 0; j < PAIRS; j++) {
        if (j == left_out) continue;
        const double square = power(Points<M, R>::pairs[j], 2);
        degree++;
        for (int k = degree; k >= 0; k--)
          product[k] = (k > 0 ? product[k - 1] : 0) - square * (k < degree ? product[k] : 0);
      }
      for (int k = 0; k <= degree; k++) (left_out < 0 ? all[k] : others[left_out][k]) = product[k];
    }
    for (int i = 0; i < M; i++)
      for (int j = 0; j < PAIRS; j++) powers[i][j] = power(Points<M, R>::pairs[j], i);
  }

  static INLINE void input(const vec* d, vec* transformed);    // B^T d, n values to n
  static INLINE void output(const vec* products, vec* y);      // A^T m, n values to m
  static void weights(double (&g)[N][R]);                      // G
};
template <int M, int R> constexpr Transform<M, R> of{};

template <int M, int R> INLINE void Transform<M, R>::input(const vec* d, vec* transformed) {
  vec zero = d[N - 2], infinity = d[N - 1];
  UNROLL for (int k = 0; k < PAIRS; k++) {
    zero += static_cast<float>(of<M, R>.all[k]) * d[2 * k];
    infinity += static_cast<float>(of<M, R>.all[k]) * d[2 * k + 1];
  }
  transformed[0] = zero;
  transformed[N - 1] = infinity;
  UNROLL for (int j = 0; j < PAIRS; j++) {
    vec even = d[N - 2], odd = d[N - 3];
    UNROLL for (int k = 0; k < PAIRS - 1; k++) {
      even += static_cast<float>(of<M, R>.others[j][k]) * d[2 * k + 2];
      odd += static_cast<float>(of<M, R>.others[j][k]) * d[2 * k + 1];
    }
    const float p = static_cast<float>(Points<M, R>::pairs[j]);
    transformed[1 + 2 * j] = even + p * odd;
    transformed[2 + 2 * j] = even - p * odd;
  }
}

template <int M, int R> INLINE void Transform<M, R>::output(const vec* products, vec* y) {
  vec sum[PAIRS], difference[PAIRS];
  UNROLL for (int j = 0; j < PAIRS; j++) {
    sum[j] = products[1 + 2 * j] + products[2 + 2 * j];
    difference[j] = products[1 + 2 * j] - products[2 + 2 * j];
  }
  UNROLL for (int i = 0; i < M; i++) {
    vec value = i == 0 ? products[0] : i == M - 1 ? products[N - 1] : vec{};
    UNROLL for (int j = 0; j < PAIRS; j++)
      value += static_cast<float>(of<M, R>.powers[i][j]) * (i % 2 == 0 ? sum[j] : difference[j]);
    y[i] = value;
  }
}

template <int M, int R> void Transform<M, R>::weights(double (&g)[N][R]) {
  double points[N - 1] = {0};
  for (int j = 0; j < PAIRS; j++) {
    points[1 + 2 * j] = Points<M, R>::pairs[j];
    points[2 + 2 * j] = -Points<M, R>::pairs[j];
  }
  for (int i = 0; i < N - 1; i++) {
    double scale = 1;
    for (int j = 0; j < N - 1; j++)
      if (j != i) scale *= points[i] - points[j];
    for (int k = 0; k < R; k++) g[i][k] = power(points[i], k) / scale;
  }
  for (int k = 0; k < R; k++) g[N - 1][k] = k == R - 1;
}

// A convolution that keeps the size, then what follows it: out = leaky_relu(conv(in) + bias + add).
struct Convolution {
  const void* weights;   // transformed, of float or bfloat16
  const float* bias;     // cout
  const float* in;       // n, h, w, cin
  const float* add;      // as out; or null; may be out itself
  float* out;            // n, h, w, cout; with shuffle n, 2h, 2w, cout / 4
  int64_t n, h, w, cin, cout;
  int32_t tile, kernel;    // m and r
  float negative_slope;    // 1 for none, 0 for ReLU
  int32_t in_bfloat16;     // whether what is multiplied is
  int32_t shuffle;         // channels are corner by corner: left above, right above, left below, right below
};

// sums[i][j] += a[i] * row[j] for DEPTH input channels.
template <int ROWS, int COLUMNS>
INLINE void multiply_add(vec (&sums)[ROWS][COLUMNS], const float* a, int64_t a_step, const float* b) {
  vec row[COLUMNS];
  UNROLL for (int j = 0; j < COLUMNS; j++) row[j] = load(b + j * LANES);
  UNROLL for (int i = 0; i < ROWS; i++) {
    const vec value = a[i * a_step] - vec{};  // in all lanes; adding to zeros would be an instruction, for -0
    UNROLL for (int j = 0; j < COLUMNS; j++) sums[i][j] += value * row[j];
  }
}

template <int ROWS, int COLUMNS>
INLINE void multiply_add(vec (&sums)[ROWS][COLUMNS], const bfloat16* a, int64_t a_step, const bfloat16* b) {
#ifdef __AVX512BF16__
  __m512i row[COLUMNS];
  UNROLL for (int j = 0; j < COLUMNS; j++) row[j] = _mm512_loadu_si512(b + j * LANES * 2);
  UNROLL for (int i = 0; i < ROWS; i++) {
    const __m512i pair = _mm512_set1_epi32(*reinterpret_cast<const int_alias*>(a + i * a_step));
    UNROLL for (int j = 0; j < COLUMNS; j++)
      sums[i][j] = (vec)_mm512_dpbf16_ps((__m512)sums[i][j], (__m512bh)pair, (__m512bh)row[j]);
  }
#endif
}

// The product of ROWS x k and k x (COLUMNS * LANES), in registers.
template <int ROWS, int COLUMNS, typename Factor>
INLINE void multiply_rows(
    const Factor* a, int64_t a_step, const Factor* b, float* c, int64_t c_step, int64_t k_count) {
  vec sums[ROWS][COLUMNS] = {};
  for (int64_t k = 0; k < k_count; k += DEPTH<Factor>, b += DEPTH<Factor> * COLUMNS * LANES)
    multiply_add(sums, a + k, a_step, b);
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) store(c + i * c_step + j * LANES, sums[i][j]);
}

template <int COLUMNS, typename Factor>
void multiply(
    const Factor* a, int64_t a_step, const Factor* b, float* c, int64_t c_step, int64_t k_count, int64_t rows) {
  int64_t i = 0;
  for (; i + MAX_ROWS <= rows; i += MAX_ROWS)
    multiply_rows<MAX_ROWS, COLUMNS>(a + i * a_step, a_step, b, c + i * c_step, c_step, k_count);
  a += i * a_step;
  c += i * c_step;
  switch (rows - i) {
    case 1: return multiply_rows<1, COLUMNS>(a, a_step, b, c, c_step, k_count);
    case 2: return multiply_rows<2, COLUMNS>(a, a_step, b, c, c_step, k_count);
    case 3: return multiply_rows<3, COLUMNS>(a, a_step, b, c, c_step, k_count);
    case 4: return multiply_rows<4, COLUMNS>(a, a_step, b, c, c_step, k_count);
    case 5: return multiply_rows<5, COLUMNS>(a, a_step, b, c, c_step, k_count);
  }
}

// A thread's memory for transformed tiles, kept from call to call.
class Scratch {
 public:
  ~Scratch() { std::free(data_); }
  float* floats(int64_t count) {
    const int64_t page = 2 << 20, bytes = (count * static_cast<int64_t>(sizeof(float)) + page - 1) / page * page;
    if (bytes > bytes_) {
      std::free(data_);
      data_ = std::aligned_alloc(page, bytes);
      bytes_ = data_ == nullptr ? 0 : bytes;
      if (data_ == nullptr) return nullptr;
#ifdef __linux__
      madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    }
    return static_cast<float*>(data_);
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};
thread_local Scratch scratch;

template <int M, int R, typename Factor> struct Tiles {
  using T = Transform<M, R>;
  static constexpr int N = T::N;

  const Convolution& conv;
  const int64_t across = (conv.w + M - 1) / M, down = (conv.h + M - 1) / M;
  // As many tiles as the cache holds; a multiple of the rows that are multiplied at once.
  const int64_t tile_bytes = N * N * (conv.cin * sizeof(Factor) + conv.cout * sizeof(float));
  const int64_t block = std::max<int64_t>(1, BLOCK_BYTES / tile_bytes / MAX_ROWS) * MAX_ROWS;
  // From one of the n * n matrices to the next; no power of two, which would crowd a few sets of the cache.
  const int64_t in_step = block * conv.cin + 64 / sizeof(Factor), out_step = block * conv.cout + LANES;
  const Factor* const weights = static_cast<const Factor*>(conv.weights);
  float* const products = scratch.floats(N * N * (in_step + out_step));
  Factor* const transformed = reinterpret_cast<Factor*>(products + N * N * out_step);

  int64_t count() const { return conv.n * down * across; }

  void run(int64_t begin, int64_t end) const {
    for (int64_t first = begin; first < end; first += block) {
      const int64_t tiles = std::min(block, end - first);
      for (int64_t i = 0; i < tiles; i++) transform_input(first + i, transformed + i * conv.cin);
      for (int64_t i = 0; i < N * N; i++)
        multiply_all(transformed + i * in_step, weights + i * conv.cin * conv.cout, products + i * out_step, tiles);
      for (int64_t i = 0; i < tiles; i++) transform_output(first + i, products + i * conv.cout);
    }
  }

  void multiply_all(const Factor* a, const Factor* b, float* c, int64_t tiles) const {
    for (int64_t o = 0; o < conv.cout;) {
      const int64_t columns = std::min<int64_t>(MAX_COLUMNS, (conv.cout - o) / LANES);
      switch (columns) {
        case 1: multiply<1>(a, conv.cin, b, c + o, conv.cout, conv.cin, tiles); break;
        case 2: multiply<2>(a, conv.cin, b, c + o, conv.cout, conv.cin, tiles); break;
        case 3: multiply<3>(a, conv.cin, b, c + o, conv.cout, conv.cin, tiles); break;
        case 4: multiply<4>(a, conv.cin, b, c + o, conv.cout, conv.cin, tiles); break;
      }
      o += columns * LANES;
      b += columns * LANES * conv.cin;
    }
  }

  void transform_input(int64_t tile, Factor* to) const {
    const int64_t image = tile / (down * across);
    const int64_t y = tile / across % down * M - R / 2, x = tile % across * M - R / 2;
    const bool is_inside = y >= 0 && x >= 0 && y + N <= conv.h && x + N <= conv.w;
    const float* const corner = conv.in + ((image * conv.h + y) * conv.w + x) * conv.cin;
    for (int64_t c = 0; c < conv.cin; c += LANES) {
      vec half[N][N];  // by column
      for (int j = 0; j < N; j++) {
        vec d[N];
        if (is_inside) {
          UNROLL for (int i = 0; i < N; i++) d[i] = load(corner + (i * conv.w + j) * conv.cin + c);
        } else {
          for (int i = 0; i < N; i++) {
            const bool is_there = y + i >= 0 && y + i < conv.h && x + j >= 0 && x + j < conv.w;
            d[i] = is_there ? load(corner + (i * conv.w + j) * conv.cin + c) : vec{};
          }
        }
        T::input(d, half[j]);
      }
      for (int i = 0; i < N; i++) {
        vec d[N], row[N];
        UNROLL for (int j = 0; j < N; j++) d[j] = half[j][i];
        T::input(d, row);
        UNROLL for (int j = 0; j < N; j++) store(to + (i * N + j) * in_step + c, row[j]);
      }
    }
  }

  void transform_output(int64_t tile, const float* from) const {
    const int64_t image = tile / (down * across), y = tile / across % down * M, x = tile % across * M;
    const int64_t rows = std::min<int64_t>(M, conv.h - y), columns = std::min<int64_t>(M, conv.w - x);
    const int64_t scale = conv.shuffle ? 2 : 1, channels = conv.cout / (scale * scale);
    const vec slope = vec{} + conv.negative_slope;
    const bool is_relu = conv.negative_slope == 0;
    for (int64_t o = 0; o < conv.cout; o += LANES) {
      vec half[M][N];
      for (int j = 0; j < N; j++) {
        vec m[N], column[M];
        UNROLL for (int i = 0; i < N; i++) m[i] = load(from + (i * N + j) * out_step + o);
        T::output(m, column);
        UNROLL for (int i = 0; i < M; i++) half[i][j] = column[i];
      }
      const vec bias = load(conv.bias + o);
      const int64_t corner = o / channels;
      for (int i = 0; i < rows; i++) {
        vec row[M];
        T::output(half[i], row);
        const int64_t to_y = scale * (image * conv.h + y + i) + corner / 2, to_x = scale * x + corner % 2;
        int64_t at = (to_y * scale * conv.w + to_x) * channels + o % channels;
        for (int j = 0; j < columns; j++, at += scale * channels) {
          vec value = row[j] + bias;
          if (conv.add != nullptr) value += load(conv.add + at);
          const vec below = is_relu ? vec{} : value * slope;  // infinity times 0 would be no number
          store(conv.out + at, value <= 0 ? below : value);
        }
      }
    }
  }
};

// False where there is no memory for a block of tiles.
template <int M, int R, typename Factor = float>
bool run_share(const Convolution& conv, int64_t part, int64_t parts) {
  const Tiles<M, R, Factor> tiles{conv};
  if (tiles.products == nullptr) return false;
  tiles.run(tiles.count() * part / parts, tiles.count() * (part + 1) / parts);
  return true;
}

INLINE float to_factor(float, double value) { return static_cast<float>(value); }
INLINE bfloat16 to_factor(bfloat16, double value) {
  const float narrow = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  return static_cast<bfloat16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}

// (cout, cin, r, r) to n * n matrices of cin x cout, each in panels as wide as `multiply_all` takes them. Of a
// panel, DEPTH input channels lie side by side for each output channel.
template <int M, int R, typename Factor = float>
void transform(const float* weights, int64_t cin, int64_t cout, void* to, int32_t threads) {
  constexpr int N = M + R - 1, WIDTH = MAX_COLUMNS * LANES, D = DEPTH<Factor>;
  double g[N][R];
  Transform<M, R>::weights(g);
#pragma omp parallel for collapse(2) num_threads(threads)
  for (int64_t panel = 0; panel < cout; panel += WIDTH)
    for (int64_t c = 0; c < cin; c++) {
      const int64_t width = std::min<int64_t>(WIDTH, cout - panel);
      double kernels[R][R][WIDTH], half[N][R][WIDTH], row[WIDTH];
      for (int64_t o = 0; o < width; o++)
        for (int k = 0; k < R * R; k++) kernels[k / R][k % R][o] = weights[((panel + o) * cin + c) * R * R + k];
      for (int i = 0; i < N; i++)
        for (int l = 0; l < R; l++)
          for (int64_t o = 0; o < width; o++) {
            half[i][l][o] = 0;
            for (int k = 0; k < R; k++) half[i][l][o] += g[i][k] * kernels[k][l][o];
          }
      for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
          for (int64_t o = 0; o < width; o++) {
            row[o] = 0;
            for (int l = 0; l < R; l++) row[o] += half[i][l][o] * g[j][l];
          }
          Factor* matrix = static_cast<Factor*>(to) + (i * N + j) * cin * cout + panel * cin;
          for (int64_t o = 0; o < width; o++)
            matrix[(c / D * width + o) * D + c % D] = to_factor(Factor{}, row[o]);
        }
    }
}

int64_t key(int32_t tile, int32_t kernel, int32_t in_bfloat16) {
  return tile * 100 + kernel * 10 + (in_bfloat16 ? 1 : 0);
}

}  // namespace

extern "C" {

int vsr_has_bfloat16() { return HAS_BFLOAT16; }

// 0, or 1 for a tile and kernel that there is no algorithm for.
int vsr_transform_weights(
    const float* weights, int64_t cin, int64_t cout, int32_t tile, int32_t kernel, int32_t in_bfloat16, void* to,
    int32_t threads) {
  switch (key(tile, kernel, in_bfloat16)) {
    case 431:
      if (!HAS_BFLOAT16) return 1;
      transform<4, 3, bfloat16>(weights, cin, cout, to, threads);
      return 0;
    case 630: transform<6, 3>(weights, cin, cout, to, threads); return 0;
    case 470: transform<4, 7>(weights, cin, cout, to, threads); return 0;
  }
  return 1;
}

// One after another, each by all threads. 0, or 1 where a thread has no memory for its tiles.
int vsr_convolve(const Convolution* convolutions, int64_t count, int32_t threads) {
  std::atomic<bool> failed{false};
#pragma omp parallel num_threads(threads)
  for (int64_t i = 0; i < count; i++) {
    const Convolution& conv = convolutions[i];
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    bool done = false;
    switch (key(conv.tile, conv.kernel, conv.in_bfloat16)) {
      case 431: done = run_share<4, 3, bfloat16>(conv, part, parts); break;
      case 630: done = run_share<6, 3>(conv, part, parts); break;
      case 470: done = run_share<4, 7>(conv, part, parts); break;
    }
    if (!done) failed = true;
#pragma omp barrier
  }
  return failed;
}
}
