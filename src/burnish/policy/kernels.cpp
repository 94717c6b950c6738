// Fused CPU kernels for the common decoder family: x W^T, attention, and what stands between them, of a bfloat16 forward, backward and
// decode step. Compiled at first use by burnish/policy/kernels.py. The other products of the backward pass are the library's.
//
// Plain C++17 with vector extensions, so any x86-64 or ARM compiler will do. Deterministic: a result never depends on which thread
// computed what. NaN goes through everywhere: a step that went wrong must show.
//
// Letters: N places, B rows decoded, E hidden width, I inner width, V vocabulary, H query heads, K key heads, R = H / K, D head width.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int W = 16;  // lanes
typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef uint32_t vu __attribute__((vector_size(4 * W)));
typedef uint16_t vh __attribute__((vector_size(2 * W)));
typedef uint16_t bf;  // the bits of a bfloat16

inline vf load(const float* p) { vf v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
inline vf load(const bf* p) {
    vh h;
    std::memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
inline void store(bf* p, vf v) {  // to the nearest, ties to even
#ifdef __AVX512BF16__
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(p, &h, sizeof h);
#else
    vu u = (vu)v;
    vu rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    vi nan = v != v;
    rounded = nan ? (u >> 16) | 0x40u : rounded;
    vh h = __builtin_convertvector(rounded, vh);
    std::memcpy(p, &h, sizeof h);
#endif
}
inline vf rounded(vf v) { bf b[W]; store(b, v); return load(b); }
inline float one(bf b) { uint32_t u = uint32_t(b) << 16; float f; std::memcpy(&f, &u, 4); return f; }
inline vf all(float f) { return f - vf{}; }
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
inline float sum(vf v) {
    v8 a[2];
    v4 b[2];
    std::memcpy(a, &v, sizeof a);
    a[0] += a[1];
    std::memcpy(b, a, sizeof b);
    b[0] += b[1];
    return (b[0][0] + b[0][2]) + (b[0][1] + b[0][3]);
}
inline float top(vf v) {
    v8 a[2];
    v4 b[2];
    std::memcpy(a, &v, sizeof a);
    a[0] = a[0] < a[1] ? a[1] : a[0];
    std::memcpy(b, a, sizeof b);
    b[0] = b[0] < b[1] ? b[1] : b[0];
    float left = b[0][0] < b[0][2] ? b[0][2] : b[0][0], right = b[0][1] < b[0][3] ? b[0][3] : b[0][1];
    return left < right ? right : left;
}

// exp to about one unit in the last place (Cephes' polynomial); 0 below -87.3.
inline vf exponential(vf x) {
    vi nothing = x < all(-87.3f);
    x = x > all(88.3f) ? all(88.3f) : x;
    vf n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
#ifdef __AVX512F__
    return nothing ? vf{} : (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    vi power = (__builtin_convertvector(n, vi) + 127) << 23;
    return nothing ? vf{} : p * (vf)power;
#endif
}
// 1 / v to about one unit in the last place, of what is not beyond 2^126.
inline vf inverse(vf v) {
#ifdef __AVX512F__
    vf r = (vf)_mm512_rcp14_ps((__m512)v);
    return r * (2.0f - v * r);
#else
    return 1.0f / v;
#endif
}
inline vf sigmoid(vf x) { return inverse(1.0f + exponential(x < all(-87.0f) ? all(87.0f) : -x)); }

// C[M, N] = A B, or += with `add`. A(m, k) = a[m * am + k * ak]; B and C by rows; N a multiple of W.
template <int MR, int NV, bool ADD>
inline void tile(int K, const float* a, int am, int ak, const float* b, int ldb, float* c, int ldc) {
    vf acc[MR][NV];
    for (int m = 0; m < MR; ++m)
        for (int v = 0; v < NV; ++v) acc[m][v] = ADD ? load(c + m * ldc + v * W) : vf{};
    for (int k = 0; k < K; ++k) {
        vf right[NV];
        for (int v = 0; v < NV; ++v) right[v] = load(b + k * ldb + v * W);
        for (int m = 0; m < MR; ++m) {
            vf left = all(a[m * am + k * ak]);
            for (int v = 0; v < NV; ++v) acc[m][v] += left * right[v];
        }
    }
    for (int m = 0; m < MR; ++m)
        for (int v = 0; v < NV; ++v) store(c + m * ldc + v * W, acc[m][v]);
}
template <int NV, bool ADD>
inline void columns(int M, int K, const float* a, int am, int ak, const float* b, int ldb, float* c, int ldc) {
    int m = 0;
    for (; m + 6 <= M; m += 6) tile<6, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc);
    switch (M - m) {
        case 5: tile<5, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc); break;
        case 4: tile<4, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc); break;
        case 3: tile<3, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc); break;
        case 2: tile<2, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc); break;
        case 1: tile<1, NV, ADD>(K, a + m * am, am, ak, b, ldb, c + m * ldc, ldc); break;
    }
}
template <bool ADD>
inline void product(int M, int N, int K, const float* a, int am, int ak, const float* b, int ldb, float* c, int ldc) {
    int n = 0;
    for (; n + 4 * W <= N; n += 4 * W) columns<4, ADD>(M, K, a, am, ak, b + n, ldb, c + n, ldc);
    switch ((N - n) / W) {
        case 3: columns<3, ADD>(M, K, a, am, ak, b + n, ldb, c + n, ldc); break;
        case 2: columns<2, ADD>(M, K, a, am, ak, b + n, ldb, c + n, ldc); break;
        case 1: columns<1, ADD>(M, K, a, am, ak, b + n, ldb, c + n, ldc); break;
    }
}

inline int threads_at_most() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
inline int up(int n) { return (n + W - 1) / W * W; }

// One head: norm (if it has a weight; the normed head is rounded before its weight, as transformers does) and rotation.
inline void turn(const bf* in, const float* weight, float epsilon, const float* cosine, const float* sine, int D, bf* out) {
    float x[256];
    if (weight) {
        vf square{};
        for (int d = 0; d < D; d += W) { vf v = load(in + d); square += v * v; }
        float scale = 1.0f / std::sqrt(sum(square) / D + epsilon);
        for (int d = 0; d < D; d += W) store(x + d, rounded(load(in + d) * scale) * load(weight + d));
    } else {
        for (int d = 0; d < D; d += W) store(x + d, load(in + d));
    }
    int half = D / 2;
    for (int d = 0; d < half; d += W) {
        vf a = load(x + d), b = load(x + half + d), c = load(cosine + d), s = load(sine + d);
        store(out + d, a * c - b * s);
        store(out + half + d, b * c + a * s);
    }
}

// Rows that attend: `spans` holds (first place and length of what comes before, first place and length of its own) for each.
struct Span { int32_t before, before_length, own, own_length; };

// Scores of M = positions * R queries against the first J columns, then exp(score - shift), zero outside [low, limit).
struct Scratch {
    std::vector<float> buffer;
    float* take(size_t n, float*& cursor) { float* p = cursor; cursor += (n + W - 1) / W * W; return p; }
    float* room(size_t n) { if (buffer.size() < n + W) buffer.resize(n + W); return buffer.data(); }
};
thread_local Scratch scratch;

constexpr int BLOCK = 12;  // query positions at once

// ---- products: out[N, O] = x[N, I] W^T (* scale) (+ bias), with W in panels of 64 outputs, in the order [I / 2][64][2]: two inputs'
// weights are one word. What a place gets never depends on which places are computed beside it.
constexpr int PANEL = 4 * W, CHUNK = 192;

// Sixteen words of two numbers, each multiplied with the two of `pair`, and both added.
inline vf dot2(vf sum, uint32_t pair, vu words) {
#ifdef __AVX512BF16__
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)words);
#else
    return sum + (vf)(words & 0xffff0000u) * all(one(bf(pair >> 16))) + (vf)(words << 16) * all(one(bf(pair)));
#endif
}
inline vu words_of(const bf* p) { vu w; std::memcpy(&w, p, sizeof w); return w; }
inline vu wide_of(const bf* p) { vh h; std::memcpy(&h, p, sizeof h); return __builtin_convertvector(h, vu); }
inline uint32_t pair_of(const bf* p) { uint32_t u; std::memcpy(&u, p, sizeof u); return u; }

// Where the sums of a place against panel p go. `scale` and `bias` [panels * 64], where there are some, are of the outputs in their order
// in the panels.
struct Plain {
    int O;
    const float *scale, *bias;
    bf* out;
    void operator()(int n, int p, const vf* sum) const {
        for (int v = 0, o = p * PANEL; v < 4 && o < O; ++v, o += W) {
            vf done = sum[v];
            if (scale) done *= load(scale + o);
            if (bias) done += load(bias + o);
            if (O - o >= W) {
                store(out + (size_t)n * O + o, done);
            } else {
                bf rounded[W];
                store(rounded, done);
                std::memcpy(out + (size_t)n * O + o, rounded, sizeof(bf) * (O - o));
            }
        }
    }
};
// Of a gated layer: panels hold sixteen outputs of the gate and then sixteen of what it gates, by turns. out [N, O / 2] is
// silu(gate) * up, or with `apart` out [N, O] has all gates first, as silu_mul takes them.
struct Gated {
    int O;
    const float* scale;
    bool apart;
    bf* out;
    void operator()(int n, int p, const vf* sum) const {
        for (int v = 0, o = p * PANEL; v < 4 && o < O; v += 2, o += 2 * W) {
            vf gate = scale ? sum[v] * load(scale + o) : sum[v], up = scale ? sum[v + 1] * load(scale + o + W) : sum[v + 1];
            if (apart) {
                store(out + (size_t)n * O + o / 2, gate);
                store(out + (size_t)n * O + O / 2 + o / 2, up);
            } else {
                gate = rounded(gate);
                store(out + (size_t)n * (O / 2) + o / 2, rounded(gate * sigmoid(gate)) * rounded(up));
            }
        }
    }
};

// M rows against one panel.
template <int M, class Put>
inline void dot_panel(int I, const bf* x, const bf* panel, int n, int p, const Put& put) {
    vf acc[M][4] = {};
    for (int i = 0; i < I; i += 2) {
        vu right[4];
        for (int v = 0; v < 4; ++v) right[v] = words_of(panel + (size_t)i * PANEL + 2 * v * W);
        for (int m = 0; m < M; ++m) {
            uint32_t pair = pair_of(x + (size_t)(n + m) * I + i);
            for (int v = 0; v < 4; ++v) acc[m][v] = dot2(acc[m][v], pair, right[v]);
        }
    }
    for (int m = 0; m < M; ++m) put(n + m, p, acc[m]);
}

// Weights of eight bits: a sign and seven bits. In every 64 bytes, runs of eight from the first and from the second 32 take turns, which
// is the order in which they come out of the tables below. A panel is widened once and then read by all rows.
#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)
// The two bytes of 0 .. 127 as bfloat16, in which they are exact.
struct Bytes {
    alignas(64) uint8_t low[128], high[128];
    Bytes() {
        for (int i = 0; i < 128; ++i) {
            float f = i;
            uint32_t u;
            std::memcpy(&u, &f, 4);
            low[i] = u >> 16, high[i] = u >> 24;
        }
    }
};
const Bytes bytes_of;

inline void widen_panel(int depth, const uint8_t* weight, bf* panel) {
    __m512i low0 = _mm512_load_si512(bytes_of.low), low1 = _mm512_load_si512(bytes_of.low + 64);
    __m512i high0 = _mm512_load_si512(bytes_of.high), high1 = _mm512_load_si512(bytes_of.high + 64);
    __m512i sign = _mm512_set1_epi8((char)0x80);
    for (int i = 0; i < depth * PANEL; i += 64) {
        __m512i w = _mm512_loadu_si512(weight + i);  // a table of 128 looks at seven bits
        __m512i low = _mm512_permutex2var_epi8(low0, w, low1), high = _mm512_permutex2var_epi8(high0, w, high1);
        high = _mm512_ternarylogic_epi64(high, w, sign, 0xf8);  // high | (w & sign)
        _mm512_storeu_si512(panel + i, _mm512_unpacklo_epi8(low, high));
        _mm512_storeu_si512(panel + i + 32, _mm512_unpackhi_epi8(low, high));
    }
}
#else
inline void widen_panel(int depth, const uint8_t* weight, bf* panel) {
    for (int i = 0; i < depth * PANEL; ++i) {  // i counts numbers in order, `at` bytes as they lie
        int at = i / 64 * 64 + i % 32 / 8 * 16 + i % 64 / 32 * 8 + i % 8;
        float number = weight[at] & 128 ? -(weight[at] & 127) : weight[at] & 127;
        uint32_t u;
        std::memcpy(&u, &number, 4);
        panel[i] = u >> 16;
    }
}
#endif

inline const bf* panel_of(const bf* weight, int) { return weight; }
inline const bf* panel_of(const uint8_t* weight, int I) {
    static thread_local std::vector<bf> wide;
    if (wide.size() < (size_t)I * PANEL) wide.resize((size_t)I * PANEL);
    widen_panel(I, weight, wide.data());
    return wide.data();
}

template <class Weight, class Put>
inline void dense(int N, int O, int I, const bf* x, const Weight* weight, const Put& put) {
    if (!N) return;
    int panels = (O + PANEL - 1) / PANEL, chunks = (N + CHUNK - 1) / CHUNK, threads = threads_at_most();
    while (chunks * panels % threads && N >= 12 * (chunks + 1)) ++chunks;  // as much for each of them
    int size = ((N + chunks - 1) / chunks + 5) / 6 * 6;
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < chunks; ++c)
        for (int p = 0; p < panels; ++p) {
            const bf* panel = panel_of(weight + (size_t)p * I * PANEL, I);
            int n = c * size, end = std::min(N, n + size);
            for (; n + 6 <= end; n += 6) dot_panel<6>(I, x, panel, n, p, put);
            switch (end - n) {
                case 5: dot_panel<5>(I, x, panel, n, p, put); break;
                case 4: dot_panel<4>(I, x, panel, n, p, put); break;
                case 3: dot_panel<3>(I, x, panel, n, p, put); break;
                case 2: dot_panel<2>(I, x, panel, n, p, put); break;
                case 1: dot_panel<1>(I, x, panel, n, p, put); break;
            }
        }
}

// ---- pages: S positions (a multiple of 16) of K heads. Keys [K, D / 2, S, 2] and values [K, S / 2, D, 2]: two numbers that are
// multiplied and added together lie in one word. What a query gets never depends on which queries are computed beside it.

// Q queries against V x 16 positions of one page.
template <int Q, int V>
inline void score_page(const bf* query, int D, const bf* keys, int S, float* score, int ld) {
    vf acc[2][Q][V] = {};  // two sums, of every other word: one would wait for itself
    for (int i = 0; i < D / 2; i += 2)
        for (int odd = 0; odd < 2; ++odd) {
            vu key[V];
            for (int v = 0; v < V; ++v) key[v] = words_of(keys + 2 * ((size_t)(i + odd) * S + v * W));
            for (int q = 0; q < Q; ++q) {
                uint32_t pair = pair_of(query + q * D + 2 * (i + odd));
                for (int v = 0; v < V; ++v) acc[odd][q][v] = dot2(acc[odd][q][v], pair, key[v]);
            }
        }
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) store(score + (size_t)q * ld + v * W, acc[0][q][v] + acc[1][q][v]);
}
template <int V>
inline void score_stretch(int M, const bf* query, int D, const bf* keys, int S, float* score, int ld) {
    int m = 0;
    for (; m + 6 <= M; m += 6) score_page<6, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld);
    switch (M - m) {
        case 5: score_page<5, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld); break;
        case 4: score_page<4, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld); break;
        case 3: score_page<3, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld); break;
        case 2: score_page<2, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld); break;
        case 1: score_page<1, V>(query + m * D, D, keys, S, score + (size_t)m * ld, ld); break;
    }
}
// The first `count` positions of a page, and what makes sixteen full.
inline void score_all(int M, const bf* query, int D, const bf* keys, int S, int count, float* score, int ld) {
    int s = 0;
    for (; s + W < count; s += 2 * W) score_stretch<2>(M, query, D, keys + 2 * s, S, score + s, ld);
    if (s < count) score_stretch<1>(M, query, D, keys + 2 * s, S, score + s, ld);
}

// Q queries' weighted sums of `count` values, V x 16 of their numbers, added to what is there. Where `count` is odd, what follows the
// last value is a zero (page_write) whose weight is zero.
template <int Q, int V>
inline void mix_page(const bf* weight, int ld, const bf* values, int D, int count, float* into) {
    vf acc[Q][V];
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) acc[q][v] = load(into + q * D + v * W);
    for (int j = 0; j < count; j += 2) {
        vu value[V];
        for (int v = 0; v < V; ++v) value[v] = words_of(values + (size_t)j * D + 2 * v * W);
        for (int q = 0; q < Q; ++q) {
            uint32_t pair = pair_of(weight + (size_t)q * ld + j);
            for (int v = 0; v < V; ++v) acc[q][v] = dot2(acc[q][v], pair, value[v]);
        }
    }
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) store(into + q * D + v * W, acc[q][v]);
}
template <int V>
inline void mix_stretch(int M, const bf* weight, int ld, const bf* values, int D, int count, float* into) {
    int m = 0;
    for (; m + 6 <= M; m += 6) mix_page<6, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D);
    switch (M - m) {
        case 5: mix_page<5, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D); break;
        case 4: mix_page<4, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D); break;
        case 3: mix_page<3, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D); break;
        case 2: mix_page<2, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D); break;
        case 1: mix_page<1, V>(weight + (size_t)m * ld, ld, values, D, count, into + m * D); break;
    }
}
inline void mix_all(int M, const bf* weight, int ld, const bf* values, int D, int count, float* into) {
    int d = 0;
    for (; d + 4 * W <= D; d += 4 * W) mix_stretch<4>(M, weight, ld, values + 2 * d, D, count, into + d);
    if (d < D) mix_stretch<2>(M, weight, ld, values + 2 * d, D, count, into + d);
}

// Ask for what will be read next of a page while this one is worked on: the pages of a row lie anywhere, so nobody else can guess.
inline void ask_keys(const bf* keys, int D, int S, int count) {
    for (int i = 0; i < D / 2; ++i)
        for (int s = 0; s < count; s += W) __builtin_prefetch(keys + 2 * ((size_t)i * S + s), 0, 2);
}
inline void ask_values(const bf* values, int D, int count) {
    for (int j = 0; j < count * D; j += 2 * W) __builtin_prefetch(values + j, 0, 2);
}

// What comes of the product for queries, keys and values [N, (H + 2K) D], at places (page * S + offset) of the pages.
struct New {
    int N, H, K, D, S;
    const bf* qkv;
    const float *norm_q, *norm_k;
    float epsilon;
    const int64_t* position_N;
    const float *cosine, *sine;
    const int64_t* place_N;
    bf *keys, *values;

    const bf* row(int n) const { return qkv + (size_t)n * (H + 2 * K) * D; }
    void turned(int n, int h, const float* norm, bf* out) const {
        size_t angle = position_N[n] * (D / 2);
        turn(row(n) + h * D, norm, epsilon, cosine + angle, sine + angle, D, out);
    }
    void query(int n, int h, bf* out) const { turned(n, h, norm_q, out); }
    // The key and value of place n go to their page.
    void keep(int n, int k) const {
        size_t page = place_N[n] / S, offset = place_N[n] % S;
        bf key[256];
        turned(n, H + k, norm_k, key);
        bf* to = keys + (page * K + k) * S * D + 2 * offset;
        for (int i = 0; i < D / 2; ++i) std::memcpy(to + (size_t)2 * i * S, key + 2 * i, 2 * sizeof(bf));
        // Two values to a word: those of an even place and of the one after it, if that is new too, else zeros; an odd place alone
        // joins what is there.
        bf* pairs = values + ((page * K + k) * S + offset / 2 * 2) * D;
        const bf *value = row(n) + (H + K + k) * D, *after = row(n + 1) + (H + K + k) * D;
        bool with_next = n + 1 < N && place_N[n + 1] == place_N[n] + 1, written = n > 0 && place_N[n - 1] == place_N[n] - 1;
        if (offset % 2 && written) return;
        for (int d = 0; d < D; d += W) {
            vu words = wide_of(value + d);
            if (offset % 2)
                words = (words_of(pairs + 2 * d) & 0xffffu) | (words << 16);
            else if (with_next)
                words |= wide_of(after + d) << 16;
            std::memcpy(pairs + 2 * d, &words, sizeof words);
        }
    }
};

// Softmax of one query's scores times `scale`, up to the factor that is returned: what is outside [low, limit), or within [from, to),
// gets no weight. The weights are rounded, and the factor is of the rounded ones: they sum to one as they are used.
// `base` to `end`: multiples of 16. lse: the log of what the softmax divides by, if asked for.
inline float weigh(float* score, float scale, int base, int low, int from, int to, int limit, int end, bf* weight, float* lse) {
    auto hide = [&](int first, int after) {
        while (first < after && first % W) score[first++] = -INFINITY;
        for (; first + W <= after; first += W) store(score + first, all(-INFINITY));
        while (first < after) score[first++] = -INFINITY;
    };
    hide(base, low);
    hide(std::max(base, from), std::min(to, end));
    hide(limit, end);
    vf high = load(score + base), total{};
    for (int j = base + W; j < end; j += W) { vf v = load(score + j); high = v < high ? high : v; }
    float most = top(high) * scale;
    vf exact{};
    for (int j = base; j < end; j += W) {
        vf e = exponential(load(score + j) * scale - most);
        store(weight + j, e);
        total += load(weight + j);
        exact += e;
    }
    if (lse) *lse = most + std::log(sum(exact));
    return 1.0f / sum(total);
}

}  // namespace

extern "C" {

// hidden_out = hidden (+ delta, if there is one; hidden_out may then be hidden); out = norm(hidden_out) in bfloat16;
// scale_N = 1 / root mean square, if asked for.
void add_norm(int N, int E, const float* hidden, const bf* delta, float* hidden_out, const float* weight, float epsilon, bf* out,
              float* scale_N) {
#pragma omp parallel for schedule(static) if (N * (long)E > 16384)
    for (int n = 0; n < N; ++n) {
        const float* h = hidden + (size_t)n * E;
        vf square{};
        if (delta) {
            float* to = hidden_out + (size_t)n * E;
            for (int e = 0; e < E; e += W) {
                vf v = load(h + e) + load(delta + (size_t)n * E + e);
                store(to + e, v);
                square += v * v;
            }
            h = to;
        } else {
            for (int e = 0; e < E; e += W) { vf v = load(h + e); square += v * v; }
        }
        float scale = 1.0f / std::sqrt(sum(square) / E + epsilon);
        if (scale_N) scale_N[n] = scale;
        for (int e = 0; e < E; e += W) store(out + (size_t)n * E + e, load(h + e) * scale * load(weight + e));
    }
}

// out = hidden + delta.
void add(long count, const float* hidden, const bf* delta, float* out) {
#pragma omp parallel for schedule(static) if (count > 16384)
    for (long i = 0; i < count; i += W) store(out + i, load(hidden + i) + load(delta + i));
}

// Backward of a norm: grad [N, E] (the gradient of its input) = (carry, if there is one) + what comes through the norm, and the same
// rounded in grad_bf, if asked for; weight_grad [parts, E] holds partial sums, one a block of places.
void norm_backward(int N, int E, const float* hidden, const float* weight, const float* scale_N, const bf* grad_out,
                   const float* carry, float* grad, bf* grad_bf, float* weight_grad, int parts) {
    int size = (N + parts - 1) / parts;
#pragma omp parallel for schedule(static)
    for (int part = 0; part < parts; ++part) {
        float* partial = weight_grad + (size_t)part * E;
        std::memset(partial, 0, sizeof(float) * E);
        for (int n = part * size; n < std::min(N, (part + 1) * size); ++n) {
            const float* h = hidden + (size_t)n * E;
            const bf* g = grad_out + (size_t)n * E;
            float scale = scale_N[n];
            vf dot{};
            for (int e = 0; e < E; e += W) {
                vf grown = load(g + e) * load(h + e) * scale;
                store(partial + e, load(partial + e) + grown);
                dot += grown * load(weight + e);
            }
            float mean = sum(dot) / E;
            for (int e = 0; e < E; e += W) {
                vf through = (load(g + e) * load(weight + e) - load(h + e) * (scale * mean)) * scale;
                if (carry) through += load(carry + (size_t)n * E + e);
                store(grad + (size_t)n * E + e, through);
                if (grad_bf) store(grad_bf + (size_t)n * E + e, through);
            }
        }
    }
}

// out [N, I] = silu(gate) * up, of both [N, 2I].
void silu_mul(int N, int I, const bf* both, bf* out) {
#pragma omp parallel for schedule(static) if (N * (long)I > 8192)
    for (int n = 0; n < N; ++n) {
        const bf* gate = both + (size_t)n * 2 * I;
        for (int i = 0; i < I; i += W) {
            vf g = load(gate + i);
            store(out + (size_t)n * I + i, rounded(g * sigmoid(g)) * load(gate + I + i));
        }
    }
}

// Backward of silu_mul: both_grad [N, 2I], and the product's value again in out [N, I].
void silu_mul_backward(int N, int I, const bf* both, const bf* grad, bf* both_grad, bf* out) {
#pragma omp parallel for schedule(static)
    for (int n = 0; n < N; ++n) {
        const bf* gate = both + (size_t)n * 2 * I;
        bf* into = both_grad + (size_t)n * 2 * I;
        for (int i = 0; i < I; i += W) {
            vf g = load(gate + i), u = load(gate + I + i), s = sigmoid(g), d = load(grad + (size_t)n * I + i);
            vf swish = rounded(g * s);
            store(out + (size_t)n * I + i, swish * u);
            store(into + i, d * u * s * (1.0f + g * (1.0f - s)));
            store(into + I + i, d * swish);
        }
    }
}

// Queries and keys of all places, normed and turned: qkv [N, (H + 2K) D] -> turned [N, (H + K) D].
void norm_rotate(int N, int H, int K, int D, const bf* qkv, const float* norm_q, const float* norm_k, float epsilon,
                 const int64_t* position_N, const float* cosine, const float* sine, bf* turned) {
    int wide = (H + 2 * K) * D, narrow = (H + K) * D;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < N; ++n) {
        const float* c = cosine + position_N[n] * (D / 2);
        const float* s = sine + position_N[n] * (D / 2);
        for (int h = 0; h < H + K; ++h)
            turn(qkv + (size_t)n * wide + h * D, h < H ? norm_q : norm_k, epsilon, c, s, D, turned + (size_t)n * narrow + h * D);
    }
}

// Backward, in place on grad [N, (H + 2K) D]; norm_grad [parts, 2, D] holds partial sums.
void norm_rotate_backward(int N, int H, int K, int D, const bf* qkv, const float* norm_q, const float* norm_k, float epsilon,
                          const int64_t* position_N, const float* cosine, const float* sine, bf* grad, float* norm_grad, int parts) {
    int wide = (H + 2 * K) * D, half = D / 2, size = (N + parts - 1) / parts;
#pragma omp parallel for schedule(static)
    for (int part = 0; part < parts; ++part) {
        float* partial = norm_grad ? norm_grad + (size_t)part * 2 * D : nullptr;
        if (partial) std::memset(partial, 0, sizeof(float) * 2 * D);
        for (int n = part * size; n < std::min(N, (part + 1) * size); ++n) {
            const float* c = cosine + position_N[n] * half;
            const float* s = sine + position_N[n] * half;
            for (int h = 0; h < H + K; ++h) {
                bf* g = grad + (size_t)n * wide + h * D;
                const bf* x = qkv + (size_t)n * wide + h * D;
                const float* weight = h < H ? norm_q : norm_k;
                float back[256];
                for (int d = 0; d < half; d += W) {
                    vf a = load(g + d), b = load(g + half + d), co = load(c + d), si = load(s + d);
                    store(back + d, a * co + b * si);
                    store(back + half + d, b * co - a * si);
                }
                if (!weight) {
                    for (int d = 0; d < D; d += W) store(g + d, load(back + d));
                    continue;
                }
                vf square{}, dot{};
                for (int d = 0; d < D; d += W) { vf v = load(x + d); square += v * v; }
                float scale = 1.0f / std::sqrt(sum(square) / D + epsilon);
                float* own = partial + (h < H ? 0 : D);
                for (int d = 0; d < D; d += W) {
                    vf grown = load(back + d) * load(x + d) * scale;
                    store(own + d, load(own + d) + grown);
                    dot += grown * load(weight + d);
                }
                float mean = sum(dot) / D;
                for (int d = 0; d < D; d += W)
                    store(g + d, (load(back + d) * load(weight + d) - load(x + d) * (scale * mean)) * scale);
            }
        }
    }
}

// Causal attention of rows of any length, with the arithmetic of `paged_attend` in its order, so that what samples and what learns say
// the same. A group is a stretch of rows that share what comes before them; `groups` [G + 1] holds where each begins.
// turned [N, (H + K) D]; values inside qkv; out [N, H D]; lse [N, H]. `window` 0 means none.
void attend(int G, const int32_t* groups, const int32_t* spans, int H, int K, int D, const bf* turned, const bf* qkv, float scale,
            int window, bf* out, float* lse) {
    const Span* rows = reinterpret_cast<const Span*>(spans);
    int R = H / K, narrow = (H + K) * D, wide = (H + 2 * K) * D;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int g = 0; g < G; ++g)
        for (int k = 0; k < K; ++k) {
            int most = 0;
            for (int r = groups[g]; r < groups[g + 1]; ++r) most = std::max(most, up(rows[r].before_length) + rows[r].own_length);
            int ld = up(most), M = BLOCK * R;
            float* cursor = scratch.room((size_t)D * ld + (size_t)M * (ld + ld / 2 + D + D / 2 + 1) + 64);
            bf* keys = (bf*)scratch.take((size_t)D * ld / 2, cursor);  // one page of ld positions
            bf* values = (bf*)scratch.take((size_t)D * ld / 2, cursor);
            bf* query_MD = (bf*)scratch.take((size_t)M * D / 2, cursor);
            bf* weight_MJ = (bf*)scratch.take((size_t)M * ld / 2, cursor);
            float* score_MJ = scratch.take((size_t)M * ld, cursor);
            float* sum_MD = scratch.take((size_t)M * D, cursor);
            float* factor_M = scratch.take(M, cursor);
            std::memset(keys, 0, sizeof(bf) * D * ld);
            // `length` places from n on go to the page from `base` on, which is even; a zero follows an odd number of values.
            auto lay = [&](int n, int length, int base) {
                for (int j = 0; j < length; ++j) {
                    const bf* key = turned + (size_t)(n + j) * narrow + (H + k) * D;
                    for (int i = 0; i < D / 2; ++i) std::memcpy(keys + 2 * ((size_t)i * ld + base + j), key + 2 * i, 2 * sizeof(bf));
                }
                for (int j = 0; j < length; j += 2) {
                    const bf* value = qkv + (size_t)(n + j) * wide + (H + K + k) * D;
                    for (int d = 0; d < D; d += W) {
                        vu words = wide_of(value + d);
                        if (j + 1 < length) words |= wide_of(value + wide + d) << 16;
                        std::memcpy(values + (size_t)(base + j) * D + 2 * d, &words, sizeof words);
                    }
                }
            };
            int held = -1, held_length = 0;
            for (int r = groups[g]; r < groups[g + 1]; ++r) {
                Span row = rows[r];
                int P = row.before_length, base = up(P);  // a row's own positions begin sixteen by sixteen, as in pages
                if (P && (held != row.before || held_length != P)) {
                    lay(row.before, P, 0);
                    std::memset(values + (size_t)(P + 1) / 2 * 2 * D, 0, sizeof(bf) * D * (base - (P + 1) / 2 * 2));
                    held = row.before, held_length = P;
                }
                if (!P) held = -1;
                lay(row.own, row.own_length, base);
                for (int first = 0; first < row.own_length; first += BLOCK) {
                    int count = std::min(BLOCK, row.own_length - first), limit = base + first + count, J = up(limit);
                    for (int i = 0; i < count; ++i)
                        std::memcpy(query_MD + i * R * D, turned + (size_t)(row.own + first + i) * narrow + k * R * D, sizeof(bf) * R * D);
                    score_all(count * R, query_MD, D, keys, ld, limit, score_MJ, ld);
                    for (int m = 0; m < count * R; ++m) {
                        int low = window ? std::max(0, P + first + m / R + 1 - window) : 0;
                        size_t n = row.own + first + m / R;
                        factor_M[m] = weigh(score_MJ + (size_t)m * ld, scale, 0, low < P ? low : low + base - P, P, base,
                                            base + first + m / R + 1, J, weight_MJ + (size_t)m * ld,
                                            lse ? lse + n * H + k * R + m % R : nullptr);
                    }
                    std::memset(sum_MD, 0, sizeof(float) * count * R * D);
                    mix_all(count * R, weight_MJ, ld, values, D, limit, sum_MD);
                    for (int m = 0; m < count * R; ++m) {
                        bf* o = out + (size_t)(row.own + first + m / R) * H * D + (k * R + m % R) * D;
                        for (int d = 0; d < D; d += W) store(o + d, load(sum_MD + m * D + d) * factor_M[m]);
                    }
                }
            }
        }
}

// Backward of attend: grad [N, (H + 2K) D] gets the gradients of turned queries, turned keys and values. Scores, and what the gradient of the
// output says of each value, are products of what is in bfloat16 anyway; the others are in float32, as their factors are.
void attend_backward(int G, const int32_t* groups, const int32_t* spans, int H, int K, int D, const bf* turned, const bf* qkv,
                     float scale, int window, const float* lse, const bf* grad_out, bf* grad) {
    const Span* rows = reinterpret_cast<const Span*>(spans);
    int R = H / K, narrow = (H + K) * D, wide = (H + 2 * K) * D;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int g = 0; g < G; ++g)
        for (int k = 0; k < K; ++k) {
            int most = 0, most_before = 0;
            for (int r = groups[g]; r < groups[g + 1]; ++r) {
                most = std::max(most, rows[r].before_length + rows[r].own_length);
                most_before = std::max(most_before, rows[r].before_length);
            }
            int ld = up(most), M = BLOCK * R, first_own = rows[groups[g]].own, first_length = rows[groups[g]].own_length;
            size_t JD = (size_t)ld * D;
            float* cursor = scratch.room(4 * JD + (size_t)2 * most_before * D + (size_t)M * (2 * ld + 4 * D) + 256);
            bf* keys = (bf*)scratch.take(JD / 2, cursor);  // one page of ld positions each, laid out as keys are
            bf* values = (bf*)scratch.take(JD / 2, cursor);
            float* key_JD = scratch.take(JD, cursor);
            float* key_grad_JD = scratch.take(JD, cursor);
            float* value_grad_JD = scratch.take(JD, cursor);
            float* shared_key_PD = scratch.take((size_t)most_before * D, cursor);
            float* shared_value_PD = scratch.take((size_t)most_before * D, cursor);
            bf* query_bf = (bf*)scratch.take((size_t)M * D / 2, cursor);
            bf* out_grad_bf = (bf*)scratch.take((size_t)M * D / 2, cursor);
            float* query_MD = scratch.take((size_t)M * D, cursor);
            float* out_grad_MD = scratch.take((size_t)M * D, cursor);
            float* query_grad_MD = scratch.take((size_t)M * D, cursor);
            float* weight_MJ = scratch.take((size_t)M * ld, cursor);
            float* score_grad_MJ = scratch.take((size_t)M * ld, cursor);
            std::memset(keys, 0, sizeof(bf) * JD);
            std::memset(values, 0, sizeof(bf) * JD);
            std::memset(shared_key_PD, 0, sizeof(float) * most_before * D);
            std::memset(shared_value_PD, 0, sizeof(float) * most_before * D);
            // `length` places from n on are positions from `base` on.
            auto lay = [&](int n, int length, int base) {
                for (int j = 0; j < length; ++j) {
                    const bf *key = turned + (size_t)(n + j) * narrow + (H + k) * D, *value = qkv + (size_t)(n + j) * wide + (H + K + k) * D;
                    for (int i = 0; i < D / 2; ++i) {
                        std::memcpy(keys + 2 * ((size_t)i * ld + base + j), key + 2 * i, 2 * sizeof(bf));
                        std::memcpy(values + 2 * ((size_t)i * ld + base + j), value + 2 * i, 2 * sizeof(bf));
                    }
                    for (int d = 0; d < D; d += W) store(key_JD + (size_t)(base + j) * D + d, load(key + d));
                }
            };
            int held = -1;
            // The first row of a group is what the others share, and gets their gradients too: it goes last.
            for (int r = groups[g + 1] - 1; r >= groups[g]; --r) {
                Span row = rows[r];
                int P = row.before_length;
                if (P && held != row.before) lay(row.before, P, 0);
                held = P ? row.before : -1;
                lay(row.own, row.own_length, P);
                int J_all = P + row.own_length;
                std::memset(key_grad_JD, 0, sizeof(float) * J_all * D);
                std::memset(value_grad_JD, 0, sizeof(float) * J_all * D);
                for (int first = 0; first < row.own_length; first += BLOCK) {
                    int count = std::min(BLOCK, row.own_length - first), limit_all = P + first + count, J = up(limit_all);
                    for (int i = 0; i < count; ++i) {
                        size_t n = row.own + first + i;
                        std::memcpy(query_bf + i * R * D, turned + n * narrow + k * R * D, sizeof(bf) * R * D);
                        std::memcpy(out_grad_bf + i * R * D, grad_out + n * H * D + k * R * D, sizeof(bf) * R * D);
                    }
                    for (int i = 0; i < count * R * D; i += W) {
                        store(query_MD + i, load(query_bf + i) * scale);
                        store(out_grad_MD + i, load(out_grad_bf + i));
                    }
                    score_all(count * R, query_bf, D, keys, ld, limit_all, weight_MJ, ld);
                    score_all(count * R, out_grad_bf, D, values, ld, limit_all, score_grad_MJ, ld);
                    for (int m = 0; m < count * R; ++m) {
                        size_t n = row.own + first + m / R;
                        int h = k * R + m % R, limit = P + first + m / R + 1, low = window ? std::max(0, limit - window) : 0;
                        float* w = weight_MJ + (size_t)m * ld;
                        float* ds = score_grad_MJ + (size_t)m * ld;
                        float shift = lse[n * H + h];
                        for (int j = 0; j < J; j += W) store(w + j, exponential(load(w + j) * scale - shift));
                        for (int j = 0; j < low; ++j) w[j] = 0.0f;
                        for (int j = limit; j < J; ++j) w[j] = 0.0f;
                        // The mean of the weights' gradients, from the weights themselves: the rounded output would spoil a difference.
                        vf dot{};
                        for (int j = 0; j < J; j += W) dot += load(w + j) * load(ds + j);
                        float mean = sum(dot);
                        for (int j = 0; j < J; j += W) store(ds + j, load(w + j) * (load(ds + j) - mean));
                    }
                    product<false>(count * R, D, limit_all, score_grad_MJ, ld, 1, key_JD, D, query_grad_MD, D);
                    product<true>(limit_all, D, count * R, score_grad_MJ, 1, ld, query_MD, D, key_grad_JD, D);
                    product<true>(limit_all, D, count * R, weight_MJ, 1, ld, out_grad_MD, D, value_grad_JD, D);
                    for (int m = 0; m < count * R; ++m) {
                        bf* to = grad + (size_t)(row.own + first + m / R) * wide + (k * R + m % R) * D;
                        for (int d = 0; d < D; d += W) store(to + d, load(query_grad_MD + m * D + d) * scale);
                    }
                }
                bool is_shared = r == groups[g] && groups[g + 1] - groups[g] > 1 && row.own == first_own && !P;
                for (int j = 0; j < P * D; j += W) {
                    store(shared_key_PD + j, load(shared_key_PD + j) + load(key_grad_JD + j));
                    store(shared_value_PD + j, load(shared_value_PD + j) + load(value_grad_JD + j));
                }
                for (int j = 0; j < row.own_length; ++j)
                    for (int d = 0; d < D; d += W) {
                        vf key_grad = load(key_grad_JD + (size_t)(P + j) * D + d);
                        vf value_grad = load(value_grad_JD + (size_t)(P + j) * D + d);
                        if (is_shared && j < most_before && j < first_length) {
                            key_grad += load(shared_key_PD + (size_t)j * D + d);
                            value_grad += load(shared_value_PD + (size_t)j * D + d);
                        }
                        bf* to = grad + (size_t)(row.own + j) * wide + (H + k) * D + d;
                        store(to, key_grad);
                        store(to + K * D, value_grad);
                    }
            }
        }
}

// Attention of new places over pages. Queries and keys are normed and turned, keys and values go to their places first. Place n belongs to
// row row_N[n] of `table` [rows, table_width], whose entry p is the page of indices p S .. p S + S - 1, and sees the indices up to its own,
// index_N[n], but for the row's hole [rows, 2]: from where its prompt ends on the last page that it shares, to where its own pages begin.
// `tile` [tiles, 3]: consecutive places, how many, and how many of their first pages are the same ones, which are then read once for all of
// them. `window` positions are seen, 0 means all. `alone`: no place sees another new one, so each tile writes its own.
void paged_attend(int N, int tiles, const int32_t* tile, int alone, int H, int K, int D, int S, const bf* qkv, const float* norm_q,
                  const float* norm_k, float epsilon, const int64_t* position_N, const float* cosine, const float* sine,
                  const int64_t* place_N, bf* keys, bf* values, const int32_t* table, int table_width, const int32_t* hole,
                  const int32_t* row_N, const int64_t* index_N, float scale, int window, bf* out) {
    New fresh{N, H, K, D, S, qkv, norm_q, norm_k, epsilon, position_N, cosine, sine, place_N, keys, values};
    if (!alone) {
#pragma omp parallel for schedule(static) if (N > 1)
        for (int n = 0; n < N; ++n)
            for (int k = 0; k < K; ++k) fresh.keep(n, k);
    }
    int R = H / K;
    size_t head = (size_t)S * D;
    struct Seen { int low, from, to, limit; };  // indices low .. limit - 1 but for from .. to - 1
#pragma omp parallel for schedule(dynamic) collapse(2) if (tiles * K > 1)
    for (int t = 0; t < tiles; ++t)
        for (int k = 0; k < K; ++k) {
            int first = tile[3 * t], count = tile[3 * t + 1], shared = tile[3 * t + 2], M = count * R, most = 0, least = 1 << 30;
            Seen seen[32];
            for (int i = 0; i < count; ++i) {
                const int32_t* edge = hole + 2 * (size_t)row_N[first + i];
                Seen& s = seen[i] = {0, edge[0], edge[1], (int)index_N[first + i] + 1};
                if (window) {
                    s.low = std::max(0, s.limit - window);
                    if (s.limit > s.to && s.low < s.to) s.low = std::max(0, s.low - (s.to - s.from));  // it looks back across the hole
                }
                most = std::max(most, s.limit);
                least = std::min(least, s.low);
            }
            auto filled = [&](const Seen& s, int p, int limit) {  // of page p, up to `limit`
                return std::min(S, (p * S < s.to ? std::min(s.from, limit) : limit) - p * S);
            };
            int from = least / S, ld = up(most);  // the first page anyone reads, and where the last one ends
            float* cursor = scratch.room((size_t)M * (ld + ld / 2 + D + D / 2 + 1) + 64);
            float* score_MJ = scratch.take((size_t)M * ld, cursor);
            float* out_MD = scratch.take((size_t)M * D, cursor);
            bf* weight_MJ = (bf*)scratch.take((size_t)M * ld / 2, cursor);
            bf* query_MD = (bf*)scratch.take((size_t)M * D / 2, cursor);
            float* factor_M = scratch.take(M, cursor);
            std::memset(out_MD, 0, sizeof(float) * M * D);
            for (int i = 0; i < count; ++i) {
                for (int r = 0; r < R; ++r) fresh.query(first + i, k * R + r, query_MD + (i * R + r) * D);
                if (alone) fresh.keep(first + i, k);
            }
            auto own_page = [&](int i, int p) { return (size_t)table[(size_t)row_N[first + i] * table_width + p] * K + k; };
            auto begins = [&](int i) { return std::max(shared, seen[i].low / S); };
            auto ask_row = [&](int i, bool of_keys) {  // the first page that is a row's own
                if (i >= count || begins(i) * S >= seen[i].limit) return;
                int p = begins(i), live = filled(seen[i], p, seen[i].limit);
                of_keys ? ask_keys(keys + own_page(i, p) * head, D, S, live) : ask_values(values + own_page(i, p) * head, D, live);
            };
            int asked = 0;
            for (int p = from; p < shared; ++p) {
                if (p + 1 < shared) ask_keys(keys + own_page(0, p + 1) * head, D, S, filled(seen[0], p + 1, most));
                while (asked < count && asked * (shared - from) <= (p - from) * count) ask_row(asked++, true);
                score_all(M, query_MD, D, keys + own_page(0, p) * head, S, filled(seen[0], p, most), score_MJ + p * S, ld);
            }
            for (int i = 0; i < count; ++i) {
                float* score = score_MJ + (size_t)i * R * ld;
                for (int p = begins(i); p * S < seen[i].limit; ++p) {
                    if ((p + 1) * S < seen[i].limit)
                        ask_keys(keys + own_page(i, p + 1) * head, D, S, filled(seen[i], p + 1, seen[i].limit));
                    if (i + 1 == asked) ask_row(asked++, true);
                    score_all(R, query_MD + i * R * D, D, keys + own_page(i, p) * head, S, filled(seen[i], p, seen[i].limit),
                              score + p * S, ld);
                }
                ask_row(i, false);
                if (i + 1 == count && from < shared) ask_values(values + own_page(0, from) * head, D, filled(seen[0], from, most));
                for (int r = 0; r < R; ++r)
                    factor_M[i * R + r] = weigh(score + (size_t)r * ld, scale, from * S, seen[i].low, seen[i].from, seen[i].to,
                                                seen[i].limit, ld, weight_MJ + (size_t)(i * R + r) * ld, nullptr);
            }
            for (int p = from; p < shared; ++p) {
                if (p + 1 < shared) ask_values(values + own_page(0, p + 1) * head, D, filled(seen[0], p + 1, most));
                mix_all(M, weight_MJ + p * S, ld, values + own_page(0, p) * head, D, filled(seen[0], p, most), out_MD);
            }
            for (int i = 0; i < count; ++i) {
                for (int p = begins(i); p * S < seen[i].limit; ++p) {
                    if ((p + 1) * S < seen[i].limit)
                        ask_values(values + own_page(i, p + 1) * head, D, filled(seen[i], p + 1, seen[i].limit));
                    mix_all(R, weight_MJ + (size_t)i * R * ld + p * S, ld, values + own_page(i, p) * head, D,
                            filled(seen[i], p, seen[i].limit), out_MD + i * R * D);
                }
                bf* to = out + ((size_t)(first + i) * H + k * R) * D;
                for (int r = 0; r < R; ++r)
                    for (int d = 0; d < D; d += W)
                        store(to + r * D + d, load(out_MD + (i * R + r) * D + d) * factor_M[i * R + r]);
            }
        }
}

// Log-probability of each target under softmax(logits / temperature), its entropy, and the log of the normaliser.
void log_probs(int N, int V, const bf* logits, const int64_t* target_N, float temperature, float* logp_N, float* entropy_N, float* lse_N) {
    float inverse = 1.0f / temperature;
    int whole = V / W * W;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < N; ++n) {
        const bf* row = logits + (size_t)n * V;
        bf rest[W];
        for (int i = 0; i < W; ++i) rest[i] = 0xff80;  // -inf
        std::memcpy(rest, row + whole, sizeof(bf) * (V - whole));
        vf high = load(rest);
        for (int v = 0; v < whole; v += W) { vf x = load(row + v); high = x < high ? high : x; }
        float most = top(high) * inverse;
        double total = 0.0, mean = 0.0;
        vf part{}, weighted{};
        for (int v = 0, since = 0; v < whole; v += W) {
            vf x = load(row + v) * inverse - most, e = exponential(x);
            part += e;
            weighted += e == 0.0f ? vf{} : e * x;  // not 0 times minus infinity
            if (++since == 256) { total += sum(part), mean += sum(weighted), part = weighted = vf{}, since = 0; }
        }
        total += sum(part), mean += sum(weighted);
        for (int v = whole; v < V; ++v) {
            float x = one(row[v]) * inverse - most, e = std::exp(x);
            total += e;
            mean += e == 0.0f ? 0.0f : e * x;
        }
        float shift = (float)std::log(total);
        lse_N[n] = most + shift;
        logp_N[n] = one(row[target_N[n]]) * inverse - most - shift;
        entropy_N[n] = shift - (float)(mean / total);
    }
}

// Backward of log_probs, in place: logits become (1[target] - probability) * grad / temperature.
void log_probs_backward(int N, int V, bf* logits, const int64_t* target_N, float temperature, const float* lse_N, const float* grad_N) {
    float inverse = 1.0f / temperature;
    int whole = V / W * W;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < N; ++n) {
        bf* row = logits + (size_t)n * V;
        float g = grad_N[n] * inverse, shift = lse_N[n];
        float at = (1.0f - std::exp(one(row[target_N[n]]) * inverse - shift)) * g;
        for (int v = 0; v < whole; v += W) store(row + v, exponential(load(row + v) * inverse - shift) * -g);
        for (int v = whole; v < V; ++v) {
            bf x[W] = {};
            store(x, all(std::exp(one(row[v]) * inverse - shift) * -g));
            row[v] = x[0];
        }
        bf x[W];
        store(x, all(at));
        row[target_N[n]] = x[0];
    }
}

// Draw by inverting the distribution function of softmax(logits / temperature) at uniform_B in [0, 1).
void draw(int B, int V, const bf* logits, float temperature, const double* uniform_B, int64_t* id_B, float* logp_B) {
    float inverse = 1.0f / temperature;
    int whole = V / W * W;
#pragma omp parallel for schedule(static) if (B * (long)V > 8192)
    for (int b = 0; b < B; ++b) {
        const bf* row = logits + (size_t)b * V;
        float* mass = scratch.room((size_t)up(V) + 64);
        bf rest[W];
        for (int i = 0; i < W; ++i) rest[i] = 0xff80;
        std::memcpy(rest, row + whole, sizeof(bf) * (V - whole));
        vf high = load(rest);
        for (int v = 0; v < whole; v += W) { vf x = load(row + v); high = x < high ? high : x; }
        float most = top(high) * inverse;
        for (int v = 0; v < whole; v += W) store(mass + v, exponential(load(row + v) * inverse - most));
        for (int v = whole; v < V; ++v) mass[v] = std::exp(one(row[v]) * inverse - most);
        double total = 0.0;
        for (int v = 0; v < V; ++v) total += mass[v];
        double threshold = uniform_B[b] * total, run = 0.0;
        int chosen = -1, last = 0;
        for (int v = 0; v < V; ++v) {
            run += mass[v];
            if (mass[v] > 0.0f) last = v;
            if (run > threshold) { chosen = v; break; }
        }
        if (chosen < 0) chosen = last;
        id_B[b] = chosen;
        logp_B[b] = one(row[chosen]) * inverse - most - (float)std::log(total);
    }
}

// out [N, O] = x[N, I] W^T (* scale) (+ bias); `gated`: W is of a gated layer, and out has all gates first.
void product_int8(int N, int O, int I, const bf* x, const uint8_t* weight, const float* scale, const float* bias, int gated, bf* out) {
    if (gated) dense(N, O, I, x, weight, Gated{O, scale, true, out});
    else dense(N, O, I, x, weight, Plain{O, scale, bias, out});
}
void product_bf16(int N, int O, int I, const bf* x, const bf* weight, const float* scale, const float* bias, int gated, bf* out) {
    if (gated) dense(N, O, I, x, weight, Gated{O, scale, true, out});
    else dense(N, O, I, x, weight, Plain{O, scale, bias, out});
}

// Seconds that `through` has spent in products and in attention, for those who ask where the time goes.
static double spent_in[2];
void spent(double* seconds) { std::memcpy(seconds, spent_in, sizeof spent_in); }

// A whole pass of new places through `layers` layers over pages and the last norm. hidden [N, E] is used up; normed [N, E] comes out. Of
// each layer `table` has the pointers in the order of LayerTable, and `number` the epsilon of its norms, that of its heads' norms, and the
// scale of its scores. Angles, places and tiles as above.
struct Dense { const void* weight; const float* scale; const float* bias; };
struct LayerTable {
    const float *norm_in, *norm_post, *norm_q, *norm_k;
    Dense qkv, out, gate_up, down;
    bf *keys, *values;
    int64_t window;
};
void through(int layers, const LayerTable* table, const float* number, int eight_bits, int N, int E, int I, int H, int K, int D, int S,
                float* hidden, const int64_t* position_N, const float* cosine, const float* sine, const int64_t* place_N, int tiles,
                const int32_t* tile, const int32_t* page_table, int table_width, const int32_t* hole, const int32_t* row_N,
                const int64_t* index_N, int alone, const float* norm, float epsilon, bf* normed) {
    constexpr int BLOCK_OF_PLACES = 512;  // the widest states are of so many at a time, which a core's cache holds
    constexpr size_t KEPT = 1 << 23;
    size_t wide = (size_t)(H + 2 * K) * D, narrow = (size_t)H * D;
    size_t size = N * (wide + narrow + E) + (size_t)std::min(N, BLOCK_OF_PLACES) * I;
    static thread_local std::vector<bf> kept;  // not `scratch`, which what is called here uses
    std::vector<bf> large(size > KEPT ? size : 0);
    if (size <= KEPT && kept.size() < size) kept.resize(size);
    bf *qkv = size > KEPT ? large.data() : kept.data(), *attended = qkv + N * wide, *delta = attended + N * narrow,
       *inner = delta + (size_t)N * E;
    auto timed = [&](double& seconds, auto&& work) {
        auto began = std::chrono::steady_clock::now();
        work();
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    };
    auto into = [&](int rows, const Dense& by, int outputs, int inputs, const bf* x, const auto& put) {
        timed(spent_in[0], [&] {
            if (eight_bits) dense(rows, outputs, inputs, x, (const uint8_t*)by.weight, put);
            else dense(rows, outputs, inputs, x, (const bf*)by.weight, put);
        });
    };
    auto product = [&](int rows, const Dense& by, int outputs, int inputs, const bf* x, bf* out) {
        into(rows, by, outputs, inputs, x, Plain{outputs, by.scale, by.bias, out});
    };
    for (int l = 0; l < layers; ++l) {
        const LayerTable& layer = table[l];
        const float* own = number + 3 * l;
        add_norm(N, E, hidden, l ? delta : nullptr, hidden, layer.norm_in, own[0], normed, nullptr);
        product(N, layer.qkv, wide, E, normed, qkv);
        timed(spent_in[1], [&] {
            paged_attend(N, tiles, tile, alone, H, K, D, S, qkv, layer.norm_q, layer.norm_k, own[1], position_N, cosine, sine, place_N,
                         layer.keys, layer.values, page_table, table_width, hole, row_N, index_N, own[2], layer.window, attended);
        });
        product(N, layer.out, E, narrow, attended, delta);
        add_norm(N, E, hidden, delta, hidden, layer.norm_post, own[0], normed, nullptr);
        for (int n = 0; n < N; n += BLOCK_OF_PLACES) {
            int rows = std::min(BLOCK_OF_PLACES, N - n);
            into(rows, layer.gate_up, 2 * I, E, normed + (size_t)n * E, Gated{2 * I, layer.gate_up.scale, false, inner});
            product(rows, layer.down, E, I, inner, delta + (size_t)n * E);
        }
    }
    add_norm(N, E, hidden, delta, hidden, norm, epsilon, normed, nullptr);
}

}  // extern "C"
