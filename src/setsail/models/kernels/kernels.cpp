// The parts of a training step that are no matrix products, each in one pass over memory: attention inside documents,
// rotary positions, RMSNorm, SwiGLU and cross-entropy, forward and backward; and adding gradients up.
//
// Plain C++17 in vectors of the compiler, no intrinsics: the same file serves AVX-512, AVX2 and NEON. Sums are float32
// whatever is stored. Results do not depend on the number of threads, since no two threads add to the same place.
// Nothing here checks its arguments: the callers in Python do.
//
// Legend: T tokens of a packed row, L tokens of a document, H query heads, G key-value heads, C channels of a head,
// D channels of a token, V words of the vocabulary.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int W = 16, ROWS = 6, COLUMNS = 4;  // 24 sums, 4 operands and 1 factor in 32 registers
#elif defined(__AVX2__)
constexpr int W = 8, ROWS = 4, COLUMNS = 3;
#else
constexpr int W = 4, ROWS = 4, COLUMNS = 4;
#endif

typedef float vec __attribute__((vector_size(W * 4), aligned(4), may_alias));

enum bf16 : uint16_t {};  // the upper half of a float's bits

inline float load(float x) { return x; }

inline float load(bf16 x) {
  const uint32_t bits = uint32_t(x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline void store(float& place, float value) { place = value; }

inline void store(bf16& place, float value) {  // to the nearest, ties to even, as torch rounds
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  place = bf16((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : rounded);
}

typedef uint16_t half_vec __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef uint32_t bits_vec __attribute__((vector_size(W * 4)));

inline vec load_vec(const float* from) { return *(const vec*)from; }

inline vec load_vec(const bf16* from) { return (vec)(__builtin_convertvector(*(const half_vec*)from, bits_vec) << 16); }

inline void store_vec(float* to, vec values) { *(vec*)to = values; }

inline void store_vec(bf16* to, vec values) {
  const bits_vec bits = (bits_vec)values, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const bits_vec kept = (bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : rounded;
  *(half_vec*)to = __builtin_convertvector(kept, half_vec);
}

// e^x to about one part in 10^7 between e^-80 and e^80, its bounds; what is not a number stays so. Beyond them results,
// or one over them, would be too small for the format's normal numbers, and such cost a hundred cycles each.
inline float exponential(float x) {
  x = x < -80.0f ? -80.0f : (x > 80.0f ? 80.0f : x);
  const float power = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounded to a whole number
  const float rest = (x - power * 0.693359375f) + power * 2.12194440e-4f;
  float sum = 1.3888889e-3f;
  sum = sum * rest + 8.3333333e-3f;
  sum = sum * rest + 4.1666667e-2f;
  sum = sum * rest + 1.6666667e-1f;
  sum = sum * rest + 0.5f;
  sum = sum * rest + 1.0f;
  sum = sum * rest + 1.0f;
  const int32_t bits = (int32_t(power) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return sum * scale;
}

constexpr int64_t round_up(int64_t n) { return (n + W - 1) / W * W; }

// A product of small matrices: C[M,N] = A[M,K]·B[K,N], added to C if `add`. B and C are rows of vectors (N a multiple
// of W); A is read number by number with any strides, so that a transposed A costs nothing.
struct Factor {
  const float* at;
  int64_t row, column;
};

template <int R, int N>
inline void tile(int64_t K, Factor a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  vec sums[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) sums[r][n] = add ? *(const vec*)(c + r * c_row + n * W) : vec{};
  for (int64_t k = 0; k < K; ++k) {
    vec operands[N];
    for (int n = 0; n < N; ++n) operands[n] = *(const vec*)(b + k * b_row + n * W);
    for (int r = 0; r < R; ++r) {
      const float factor = a.at[r * a.row + k * a.column];
      for (int n = 0; n < N; ++n) sums[r][n] += factor * operands[n];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) *(vec*)(c + r * c_row + n * W) = sums[r][n];
}

// The last rows, fewer than ROWS, in one tile of just their number.
template <int R, int N>
inline void last_tile(int64_t M, int64_t K, Factor a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  if (M == R) return tile<R, N>(K, a, b, b_row, c, c_row, add);
  if constexpr (R > 1) last_tile<R - 1, N>(M, K, a, b, b_row, c, c_row, add);
}

template <int N>
void strip(int64_t M, int64_t K, Factor a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  for (; M >= ROWS; M -= ROWS, a.at += ROWS * a.row, c += ROWS * c_row)
    tile<ROWS, N>(K, a, b, b_row, c, c_row, add);
  last_tile<ROWS - 1, N>(M, K, a, b, b_row, c, c_row, add);
}

template <int N>
inline void last_strip(int64_t columns, int64_t M, int64_t K, Factor a, const float* b, int64_t b_row, float* c,
                       int64_t c_row, bool add) {
  if (columns == N) return strip<N>(M, K, a, b, b_row, c, c_row, add);
  if constexpr (N > 1) last_strip<N - 1>(columns, M, K, a, b, b_row, c, c_row, add);
}

void product(int64_t M, int64_t N, int64_t K, Factor a, const float* b, int64_t b_row, float* c, int64_t c_row,
             bool add = false) {
  int64_t n = 0;
  for (; n + COLUMNS * W <= N; n += COLUMNS * W) strip<COLUMNS>(M, K, a, b + n, b_row, c + n, c_row, add);
  last_strip<COLUMNS - 1>((N - n) / W, M, K, a, b + n, b_row, c + n, c_row, add);
}

}  // namespace

// What attention computes; strides are in numbers, between tokens; the heads of a token stand side by side.
struct Attention {
  const int32_t* starts;  // [documents + 1]
  int32_t documents, heads, groups, channels;
  int32_t causal, window;  // window 0: none; else a token sees itself and the window - 1 before it
  float scale;
  int32_t threads;
  int64_t query_stride, key_stride, value_stride, output_stride;
};

namespace {

constexpr int64_t BLOCK = 24;  // queries at once: their scores stay in the first cache

// C numbers of one token's head to float32, `times` each, and back; whole vectors first.
template <typename T>
inline void widen(const T* from, int64_t C, float* to, float times) {
  int64_t c = 0;
  for (; c + W <= C; c += W) *(vec*)(to + c) = load_vec(from + c) * times;
  for (; c < C; ++c) to[c] = load(from[c]) * times;
}

template <typename T>
inline void narrow(const float* from, int64_t C, T* to, float times) {
  int64_t c = 0;
  for (; c + W <= C; c += W) store_vec(to + c, *(const vec*)(from + c) * times);
  for (; c < C; ++c) store(to[c], from[c] * times);
}

// [L, C] numbers of one head as float32 rows of `width` ≥ C, zeros behind.
template <typename T>
void gather(const T* from, int64_t stride, int64_t L, int64_t C, float* to, int64_t width, float times = 1.0f) {
  for (int64_t t = 0; t < L; ++t) {
    widen(from + t * stride, C, to + t * width, times);
    for (int64_t c = C; c < width; ++c) to[t * width + c] = 0.0f;
  }
}

template <typename T>
void scatter(const float* from, int64_t width, int64_t L, int64_t C, T* to, int64_t stride, float times = 1.0f) {
  for (int64_t t = 0; t < L; ++t) narrow(from + t * width, C, to + t * stride, times);
}

void transpose(const float* from, int64_t rows, int64_t columns, int64_t width, float* to, int64_t to_width) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) to[column * to_width + row] = from[row * width + column];
    for (int64_t row = rows; row < to_width; ++row) to[column * to_width + row] = 0.0f;
  }
}

// Which keys query i may see, [first, last).
struct Seen {
  int64_t first, last;
};

inline Seen seen(const Attention& a, int64_t i, int64_t L) {
  return {a.causal && a.window ? std::max<int64_t>(0, i - a.window + 1) : 0, a.causal ? i + 1 : L};
}

// Keys that any of the queries [i, i + rows) sees, widened to whole vectors.
inline Seen seen_by_block(const Attention& a, int64_t i, int64_t rows, int64_t L) {
  return {seen(a, i, L).first / W * W, round_up(seen(a, i + rows - 1, L).last)};
}

template <typename T>
void attend(const Attention& a, const T* query, const T* key, const T* value, T* output, float* log_sums,
            int64_t total) {
  const int64_t C = a.channels, width = round_up(C), per_group = a.heads / a.groups;
#pragma omp parallel num_threads(a.threads)
  {
    std::vector<float> keys, keys_t, values, scores, queries(BLOCK * width), outputs(BLOCK * width);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < int64_t(a.documents) * a.groups; ++task) {
      const int64_t group = task % a.groups, start = a.starts[task / a.groups];
      const int64_t L = a.starts[task / a.groups + 1] - start, padded = round_up(L);
      keys.resize(L * width), keys_t.resize(width * padded), values.assign(padded * width, 0.0f);
      scores.resize(BLOCK * padded);
      gather(key + start * a.key_stride + group * C, a.key_stride, L, C, keys.data(), width);
      gather(value + start * a.value_stride + group * C, a.value_stride, L, C, values.data(), width);
      transpose(keys.data(), L, width, width, keys_t.data(), padded);
      for (int64_t head = group * per_group; head < (group + 1) * per_group; ++head)
        for (int64_t i = 0; i < L; i += BLOCK) {
          const int64_t rows = std::min(BLOCK, L - i), at = start + i;
          const Seen range = seen_by_block(a, i, rows, L);
          const int64_t n = range.last - range.first;
          gather(query + at * a.query_stride + head * C, a.query_stride, rows, C, queries.data(), width, a.scale);
          product(rows, n, C, {queries.data(), width, 1}, keys_t.data() + range.first, padded, scores.data(), padded);
          for (int64_t r = 0; r < rows; ++r) {
            float* row = scores.data() + r * padded;
            const Seen mine = seen(a, i + r, L);
            const int64_t first = mine.first - range.first, last = mine.last - range.first;
            float most = row[first], sum = 0.0f;
            for (int64_t j = 0; j < first; ++j) row[j] = 0.0f;
#pragma omp simd reduction(max : most)
            for (int64_t j = first; j < last; ++j) most = most < row[j] ? row[j] : most;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = first; j < last; ++j) sum += row[j] = exponential(row[j] - most);
            for (int64_t j = last; j < n; ++j) row[j] = 0.0f;
            log_sums[head * total + at + r] = most + std::log(sum);
            queries[r] = 1.0f / sum;  // the queries are used up
          }
          product(rows, width, n, {scores.data(), padded, 1}, values.data() + range.first * width, width,
                  outputs.data(), width);
          for (int64_t r = 0; r < rows; ++r)
            narrow(outputs.data() + r * width, C, output + (at + r) * a.output_stride + head * C, queries[r]);
        }
    }
  }
}

template <typename T>
void attend_backward(const Attention& a, const T* query, const T* key, const T* value, const T* output,
                     const float* log_sums, const T* d_output, T* d_query, T* d_key, T* d_value, int64_t total) {
  const int64_t C = a.channels, width = round_up(C), per_group = a.heads / a.groups;
#pragma omp parallel num_threads(a.threads)
  {
    std::vector<float> keys, keys_t, values, values_t, d_keys, d_values, weights, d_scores;
    std::vector<float> queries(BLOCK * width), d_outputs(BLOCK * width), d_queries(BLOCK * width);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < int64_t(a.documents) * a.groups; ++task) {
      const int64_t group = task % a.groups, start = a.starts[task / a.groups];
      const int64_t L = a.starts[task / a.groups + 1] - start, padded = round_up(L);
      keys.assign(padded * width, 0.0f), values.resize(L * width);
      keys_t.resize(width * padded), values_t.resize(width * padded);
      d_keys.assign(padded * width, 0.0f), d_values.assign(padded * width, 0.0f);
      weights.resize(BLOCK * padded), d_scores.resize(BLOCK * padded);
      gather(key + start * a.key_stride + group * C, a.key_stride, L, C, keys.data(), width);
      gather(value + start * a.value_stride + group * C, a.value_stride, L, C, values.data(), width);
      transpose(keys.data(), L, width, width, keys_t.data(), padded);
      transpose(values.data(), L, width, width, values_t.data(), padded);
      for (int64_t head = group * per_group; head < (group + 1) * per_group; ++head)
        for (int64_t i = 0; i < L; i += BLOCK) {
          const int64_t rows = std::min(BLOCK, L - i), at = start + i;
          const Seen range = seen_by_block(a, i, rows, L);
          const int64_t n = range.last - range.first;
          const int64_t place = at * a.output_stride + head * C;
          gather(query + at * a.query_stride + head * C, a.query_stride, rows, C, queries.data(), width, a.scale);
          gather(d_output + place, a.output_stride, rows, C, d_outputs.data(), width);
          gather(output + place, a.output_stride, rows, C, d_queries.data(), width);  // until their gradient comes
          product(rows, n, C, {queries.data(), width, 1}, keys_t.data() + range.first, padded, weights.data(), padded);
          product(rows, n, C, {d_outputs.data(), width, 1}, values_t.data() + range.first, padded, d_scores.data(),
                  padded);
          for (int64_t r = 0; r < rows; ++r) {
            float *weight = weights.data() + r * padded, *d_score = d_scores.data() + r * padded;
            const Seen mine = seen(a, i + r, L);
            const int64_t first = mine.first - range.first, last = mine.last - range.first;
            const float log_sum = log_sums[head * total + at + r];
            float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
            for (int64_t c = 0; c < width; ++c) mean += d_queries[r * width + c] * d_outputs[r * width + c];
            for (int64_t j = 0; j < first; ++j) weight[j] = d_score[j] = 0.0f;
#pragma omp simd
            for (int64_t j = first; j < last; ++j) {
              weight[j] = exponential(weight[j] - log_sum);
              d_score[j] = weight[j] * (d_score[j] - mean);
            }
            for (int64_t j = last; j < n; ++j) weight[j] = d_score[j] = 0.0f;
          }
          product(rows, width, n, {d_scores.data(), padded, 1}, keys.data() + range.first * width, width,
                  d_queries.data(), width);
          scatter(d_queries.data(), width, rows, C, d_query + at * a.query_stride + head * C, a.query_stride, a.scale);
          product(n, width, rows, {weights.data(), 1, padded}, d_outputs.data(), width,
                  d_values.data() + range.first * width, width, true);
          product(n, width, rows, {d_scores.data(), 1, padded}, queries.data(), width,
                  d_keys.data() + range.first * width, width, true);
        }
      scatter(d_keys.data(), width, L, C, d_key + start * a.key_stride + group * C, a.key_stride);
      scatter(d_values.data(), width, L, C, d_value + start * a.value_stride + group * C, a.value_stride);
    }
  }
}

// Turns each pair (c, c + C/2) of each head by its token's angle, in place; `sign` -1 turns back.
template <typename T>
void rotate(T* states, int64_t stride, const T* cosines, const T* sines, int64_t tokens, int64_t heads, int64_t C,
            float sign, int32_t threads) {
  const int64_t half = C / 2;
#pragma omp parallel for num_threads(threads)
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t head = 0; head < heads; ++head) {
      T *low = states + t * stride + head * C, *high = low + half;
      const T *cosine = cosines + t * C, *sine = sines + t * C;
#pragma omp simd
      for (int64_t c = 0; c < half; ++c) {
        const float x = load(low[c]), y = load(high[c]);
        store(low[c], x * load(cosine[c]) - sign * y * load(sine[c]));
        store(high[c], y * load(cosine[c]) + sign * x * load(sine[c]));
      }
    }
}

template <typename T>
void rms_norm(const T* input, const T* weight, T* output, float* scales, int64_t tokens, int64_t D, float epsilon,
              int32_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t t = 0; t < tokens; ++t) {
    const T* x = input + t * D;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < D; ++d) sum += load(x[d]) * load(x[d]);
    const float scale = 1.0f / std::sqrt(sum / D + epsilon);
    scales[t] = scale;
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) store(output[t * D + d], load(x[d]) * scale * load(weight[d]));
  }
}

constexpr int64_t SLICE = 64;  // tokens whose share of a weight's gradient is added up in order, whoever does it

// The gradient of the weight comes as partial sums [slices, D]; null where nobody needs it.
template <typename T>
void rms_norm_backward(const T* d_output, const T* input, const T* weight, const float* scales, T* d_input,
                       float* d_weights, int64_t tokens, int64_t D, int32_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t slice = 0; slice < (tokens + SLICE - 1) / SLICE; ++slice)
    for (int64_t t = slice * SLICE; t < std::min(tokens, (slice + 1) * SLICE); ++t) {
      const T *dy = d_output + t * D, *x = input + t * D;
      const float scale = scales[t];
      float along = 0.0f;
#pragma omp simd reduction(+ : along)
      for (int64_t d = 0; d < D; ++d) along += load(dy[d]) * load(weight[d]) * load(x[d]);
      along *= scale * scale / D;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d)
        store(d_input[t * D + d], scale * (load(dy[d]) * load(weight[d]) - load(x[d]) * along));
      if (!d_weights) continue;
      float* sums = d_weights + slice * D;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) sums[d] += load(dy[d]) * load(x[d]) * scale;
    }
}

// silu(gate)·up, where each row of the input is [gate, up].
template <typename T>
void swiglu(const T* input, T* output, int64_t tokens, int64_t D, int32_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t t = 0; t < tokens; ++t) {
    const T *gate = input + 2 * t * D, *up = gate + D;
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) {
      const float g = load(gate[d]);
      store(output[t * D + d], g / (1.0f + exponential(-g)) * load(up[d]));
    }
  }
}

template <typename T>
void swiglu_backward(const T* d_output, const T* input, T* d_input, int64_t tokens, int64_t D, int32_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t t = 0; t < tokens; ++t) {
    const T *gate = input + 2 * t * D, *up = gate + D, *dy = d_output + t * D;
    T *d_gate = d_input + 2 * t * D, *d_up = d_gate + D;
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) {
      const float g = load(gate[d]), open = 1.0f / (1.0f + exponential(-g));
      store(d_gate[d], load(dy[d]) * load(up[d]) * open * (1.0f + g * (1.0f - open)));
      store(d_up[d], load(dy[d]) * g * open);
    }
  }
}

// Logits [tokens, V] become the gradient of the summed loss by them, softmax minus one at the target; nats [tokens].
template <typename T>
void cross_entropy(T* logits, const int64_t* targets, float* nats, int64_t tokens, int64_t V, int32_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t t = 0; t < tokens; ++t) {
    T* row = logits + t * V;
    float most = load(row[0]), sum = 0.0f;
#pragma omp simd reduction(max : most)
    for (int64_t v = 0; v < V; ++v) most = most < load(row[v]) ? load(row[v]) : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t v = 0; v < V; ++v) sum += exponential(load(row[v]) - most);
    const float target = load(row[targets[t]]), share = 1.0f / sum;
    nats[t] = std::log(sum) + most - target;
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) store(row[v], exponential(load(row[v]) - most) * share);
    store(row[targets[t]], exponential(target - most) * share - 1.0f);
  }
}

// sums += values, each read once.
template <typename T>
void accumulate(float* sums, const T* values, int64_t count, int32_t threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
  for (int64_t i = 0; i < count; ++i) sums[i] += load(values[i]);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// One entry for each kernel and each type of number: NAME_f32 and NAME_bf16.
#define FOR_BOTH_TYPES(MAKE) MAKE(f32, float) MAKE(bf16, bf16)

#define MAKE(suffix, T)                                                                                              \
  EXPORT void attend_##suffix(const Attention* a, const T* q, const T* k, const T* v, T* out, float* log_sums,      \
                              int64_t total) {                                                                      \
    attend(*a, q, k, v, out, log_sums, total);                                                                      \
  }                                                                                                                 \
  EXPORT void attend_backward_##suffix(const Attention* a, const T* q, const T* k, const T* v, const T* out,        \
                                       const float* log_sums, const T* d_out, T* dq, T* dk, T* dv, int64_t total) { \
    attend_backward(*a, q, k, v, out, log_sums, d_out, dq, dk, dv, total);                                          \
  }                                                                                                                 \
  EXPORT void rotate_##suffix(T* x, int64_t stride, const T* cosines, const T* sines, int64_t tokens,               \
                              int64_t heads, int64_t C, float sign, int32_t threads) {                              \
    rotate(x, stride, cosines, sines, tokens, heads, C, sign, threads);                                             \
  }                                                                                                                 \
  EXPORT void rms_norm_##suffix(const T* x, const T* weight, T* out, float* scales, int64_t tokens, int64_t D,      \
                                float epsilon, int32_t threads) {                                                   \
    rms_norm(x, weight, out, scales, tokens, D, epsilon, threads);                                                  \
  }                                                                                                                 \
  EXPORT void rms_norm_backward_##suffix(const T* d_out, const T* x, const T* weight, const float* scales, T* dx,   \
                                         float* d_weights, int64_t tokens, int64_t D, int32_t threads) {            \
    rms_norm_backward(d_out, x, weight, scales, dx, d_weights, tokens, D, threads);                                 \
  }                                                                                                                 \
  EXPORT void swiglu_##suffix(const T* x, T* out, int64_t tokens, int64_t D, int32_t threads) {                     \
    swiglu(x, out, tokens, D, threads);                                                                             \
  }                                                                                                                 \
  EXPORT void swiglu_backward_##suffix(const T* d_out, const T* x, T* dx, int64_t tokens, int64_t D,                \
                                       int32_t threads) {                                                           \
    swiglu_backward(d_out, x, dx, tokens, D, threads);                                                              \
  }                                                                                                                 \
  EXPORT void cross_entropy_##suffix(T* logits, const int64_t* targets, float* nats, int64_t tokens, int64_t V,     \
                                     int32_t threads) {                                                             \
    cross_entropy(logits, targets, nats, tokens, V, threads);                                                       \
  }                                                                                                                 \
  EXPORT void accumulate_##suffix(float* sums, const T* values, int64_t count, int32_t threads) {                   \
    accumulate(sums, values, count, threads);                                                                       \
  }

FOR_BOTH_TYPES(MAKE)
