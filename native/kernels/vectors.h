// Vectors of floats, as wide as the instruction set that a translation unit is compiled for has them.
//
// The compiler's vector types do the arithmetic. Intrinsics are used where the types cannot say it: broadcasts
// from memory, a maximum that keeps NaN, and bfloat16.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define VERYDEEP_UNROLL _Pragma("clang loop unroll(full)")
#define VERYDEEP_UNROLL_FOUR _Pragma("clang loop unroll_count(4)")
#else
#define VERYDEEP_UNROLL _Pragma("GCC unroll 64")
#define VERYDEEP_UNROLL_FOUR _Pragma("GCC unroll 4")
#endif
#define VERYDEEP_INLINE inline __attribute__((always_inline))

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int MAX_ROWS = 14;  // 14 x 2 sums, 2 weights and a broadcast fill 31 of the 32 registers
#elif defined(__AVX2__)
constexpr int LANES = 8;
constexpr int MAX_ROWS = 6;  // 6 x 2 sums, 2 weights and a broadcast fill 15 of the 16
#elif defined(__aarch64__)
constexpr int LANES = 4;
constexpr int MAX_ROWS = 12;
#else
constexpr int LANES = 4;
constexpr int MAX_ROWS = 6;
#endif
constexpr int PARTS = BLOCK / LANES;  // vectors in a block of channels

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef std::int32_t Int32Vector __attribute__((vector_size(4 * LANES)));
typedef std::int16_t Int16Vector __attribute__((vector_size(2 * LANES)));

VERYDEEP_INLINE int min(int a, int b) { return a < b ? a : b; }
VERYDEEP_INLINE long min(long a, long b) { return a < b ? a : b; }

VERYDEEP_INLINE Vector load(const float* from) {
    Vector x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

VERYDEEP_INLINE void store(float* to, Vector x) { __builtin_memcpy(to, &x, sizeof x); }

VERYDEEP_INLINE Vector broadcast(float x) {
#if defined(__AVX512F__)
    return _mm512_set1_ps(x);
#elif defined(__AVX2__)
    return _mm256_set1_ps(x);
#else
    return Vector{x, x, x, x};
#endif
}

VERYDEEP_INLINE Vector abs(Vector x) {
    return reinterpret_cast<Vector>(reinterpret_cast<Int32Vector>(x) & (Int32Vector{} + 0x7fffffff));
}

VERYDEEP_INLINE Vector sqrt(Vector x) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(x);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(x);
#else
    for (int lane = 0; lane < LANES; ++lane) x[lane] = __builtin_sqrtf(x[lane]);
    return x;
#endif
}

// max(0, x), where NaN stays NaN: the instruction gives its second operand if one of them is NaN.
VERYDEEP_INLINE Vector relu(Vector x) {
#if defined(__AVX512F__)
    return _mm512_max_ps(_mm512_setzero_ps(), x);
#elif defined(__AVX2__)
    return _mm256_max_ps(_mm256_setzero_ps(), x);
#else
    return x < Vector{} ? Vector{} : x;
#endif
}

VERYDEEP_INLINE Vector activate(Activation activation, Vector x) {
    switch (activation) {
        case Activation::none: break;
        case Activation::relu: return relu(x);
    }
    return x;
}

// Lanes whose mask is -1; 0 in those whose mask is 0.
VERYDEEP_INLINE Vector where(Int32Vector mask, Vector x) {
    return reinterpret_cast<Vector>(mask & reinterpret_cast<Int32Vector>(x));
}

// A gradient behind a ReLU that gave `seen`: 0 where that is not above 0. It goes through NaN, as torch's does.
VERYDEEP_INLINE Vector where_active(Vector seen, Vector gradient) { return where(~(seen <= Vector{}), gradient); }

// Bits of a mask's lanes, and back.
VERYDEEP_INLINE std::uint32_t bits_of(Int32Vector mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
    return static_cast<std::uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#else
    std::uint32_t bits = 0;
    for (int lane = 0; lane < LANES; ++lane) bits |= (mask[lane] & 1) << lane;
    return bits;
#endif
}

VERYDEEP_INLINE Int32Vector mask_of(std::uint32_t bits) {
    Int32Vector lanes;
    VERYDEEP_UNROLL
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] = 1 << lane;
    return (lanes & (Int32Vector{} + static_cast<std::int32_t>(bits))) != 0;
}

// The greater of two, and NaN if one of them is.
VERYDEEP_INLINE Vector max(Vector x, Vector y) {
#if defined(__AVX512F__)
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_mov_ps(_mm512_max_ps(x, y), nan, x);
#elif defined(__AVX2__)
    return _mm256_blendv_ps(_mm256_max_ps(x, y), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
#else
    // x where x > y or x is NaN; y otherwise, which may be NaN itself.
    const Int32Vector take_x = (x > y) | (x != x);
    return reinterpret_cast<Vector>((reinterpret_cast<Int32Vector>(x) & take_x) |
                                    (reinterpret_cast<Int32Vector>(y) & ~take_x));
#endif
}

VERYDEEP_INLINE float sum_of(Vector x) {
    float lanes[LANES];
    store(lanes, x);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
