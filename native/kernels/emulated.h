// AVX-512 for processors that lack it, one loop for each intrinsic that the kernels use: `make avx512`. Slow; for
// tests.
//
// Included before everything else in a translation unit that is compiled for AVX2. What the instructions do is by
// the pseudocode of Intel's Intrinsics Guide, but that sums of bfloat16's products are rounded once more.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#define __AVX512F__ 1
#if VERYDEEP_EMULATED > 1
#define __AVX512VNNI__ 1
#endif
#if VERYDEEP_EMULATED > 2
#define __AVX512BF16__ 1
#endif

namespace emulated {

typedef float FloatVector __attribute__((vector_size(64)));
typedef std::int32_t Int32Vector __attribute__((vector_size(64)));
typedef std::int16_t Int16Vector __attribute__((vector_size(64)));
typedef std::int16_t HalfInt16Vector __attribute__((vector_size(32)));
typedef std::uint16_t Mask;

template <typename To, typename From>
To as(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

template <typename Vector, typename Lane>
Vector each(Lane lane) {
    Vector y{};
    for (int i = 0; i < int(sizeof y / sizeof y[0]); ++i) y[i] = lane(i);
    return y;
}

inline FloatVector set1_ps(float x) { return FloatVector{} + x; }
inline __m512i set1_epi32(int x) { return as<__m512i>(Int32Vector{} + x); }
inline FloatVector sqrt_ps(FloatVector x) {
    return each<FloatVector>([&](int i) { return std::sqrt(x[i]); });
}
// The second operand where the comparison fails, as with NaN it does.
inline FloatVector max_ps(FloatVector x, FloatVector y) {
    return each<FloatVector>([&](int i) { return x[i] > y[i] ? x[i] : y[i]; });
}
inline Mask unordered(FloatVector x, FloatVector y) {
    Mask mask = 0;
    for (int i = 0; i < 16; ++i) mask |= (x[i] != x[i] || y[i] != y[i]) << i;
    return mask;
}
inline Mask movepi32_mask(__m512i x) {
    Mask mask = 0;
    for (int i = 0; i < 16; ++i) mask |= (as<Int32Vector>(x)[i] < 0) << i;
    return mask;
}
inline FloatVector mask_mov_ps(FloatVector otherwise, Mask mask, FloatVector x) {
    return each<FloatVector>([&](int i) { return mask >> i & 1 ? x[i] : otherwise[i]; });
}
inline FloatVector fmadd_ps(FloatVector x, FloatVector y, FloatVector sum) {
    return each<FloatVector>([&](int i) { return std::fma(x[i], y[i], sum[i]); });
}
inline FloatVector cvtepi32_ps(__m512i x) {
    return each<FloatVector>([numbers = as<Int32Vector>(x)](int i) { return float(numbers[i]); });
}
inline __m512i cvtps_epi32(FloatVector x) {
    return as<__m512i>(each<Int32Vector>([&](int i) { return std::int32_t(std::nearbyint(x[i])); }));
}
inline __m256i cvtepi32_epi16(__m512i x) {
    return as<__m256i>(
        each<HalfInt16Vector>([numbers = as<Int32Vector>(x)](int i) { return std::int16_t(numbers[i]); }));
}
inline __m512i loadu_si512(const void* from) {
    __m512i x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
inline __m512i dpwssd_epi32(__m512i sum, __m512i x, __m512i y) {
    const auto a = as<Int16Vector>(x), b = as<Int16Vector>(y);
    return as<__m512i>(each<Int32Vector>([&, before = as<Int32Vector>(sum)](int i) {
        return before[i] + a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    }));
}
inline float widened(std::int16_t number) { return as<float>(std::int32_t(number) * 65536); }
template <typename Bits>
FloatVector dpbf16_ps(FloatVector sum, Bits x, Bits y) {
    const auto a = as<Int16Vector>(x), b = as<Int16Vector>(y);
    return each<FloatVector>([&](int i) {
        const float odd = std::fma(widened(a[2 * i + 1]), widened(b[2 * i + 1]), sum[i]);
        return std::fma(widened(a[2 * i]), widened(b[2 * i]), odd);
    });
}
inline __m256i cvtneps_pbh(FloatVector x) {
    return as<__m256i>(each<HalfInt16Vector>([&](int i) {
        const auto bits = as<std::uint32_t>(float(x[i]));
        if (x[i] != x[i]) return std::int16_t(bits >> 16 | 64);
        return std::int16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }));
}

}  // namespace emulated

#define _mm512_setzero_ps() (emulated::FloatVector{})
#define _mm512_setzero_si512() (__m512i{})
#define _mm512_set1_ps emulated::set1_ps
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_sqrt_ps emulated::sqrt_ps
#define _mm512_max_ps emulated::max_ps
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask(x, y, unordered_) emulated::unordered(x, y)
#undef _mm512_movepi32_mask
#define _mm512_movepi32_mask emulated::movepi32_mask
#define _mm512_mask_mov_ps emulated::mask_mov_ps
#define _mm512_fmadd_ps emulated::fmadd_ps
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_loadu_si512 emulated::loadu_si512
#define _mm512_dpwssd_epi32 emulated::dpwssd_epi32
#define _mm512_dpbf16_ps emulated::dpbf16_ps
#define _mm512_cvtneps_pbh emulated::cvtneps_pbh
