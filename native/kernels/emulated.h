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

typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Wholes __attribute__((vector_size(64)));
typedef std::int16_t Shorts __attribute__((vector_size(64)));
typedef std::int16_t HalfShorts __attribute__((vector_size(32)));
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

inline Floats set1_ps(float x) { return Floats{} + x; }
inline __m512i set1_epi32(int x) { return as<__m512i>(Wholes{} + x); }
inline Floats sqrt_ps(Floats x) {
    return each<Floats>([&](int i) { return std::sqrt(x[i]); });
}
// The second operand where the comparison fails, as with NaN it does.
inline Floats max_ps(Floats x, Floats y) {
    return each<Floats>([&](int i) { return x[i] > y[i] ? x[i] : y[i]; });
}
inline Mask unordered(Floats x, Floats y) {
    Mask mask = 0;
    for (int i = 0; i < 16; ++i) mask |= (x[i] != x[i] || y[i] != y[i]) << i;
    return mask;
}
inline Floats mask_mov_ps(Floats otherwise, Mask mask, Floats x) {
    return each<Floats>([&](int i) { return mask >> i & 1 ? x[i] : otherwise[i]; });
}
inline Floats fmadd_ps(Floats x, Floats y, Floats sum) {
    return each<Floats>([&](int i) { return std::fma(x[i], y[i], sum[i]); });
}
inline Floats cvtepi32_ps(__m512i x) {
    return each<Floats>([whole = as<Wholes>(x)](int i) { return float(whole[i]); });
}
inline __m512i cvtps_epi32(Floats x) {
    return as<__m512i>(each<Wholes>([&](int i) { return std::int32_t(std::nearbyint(x[i])); }));
}
inline __m256i cvtepi32_epi16(__m512i x) {
    return as<__m256i>(each<HalfShorts>([whole = as<Wholes>(x)](int i) { return std::int16_t(whole[i]); }));
}
inline __m512i loadu_si512(const void* from) {
    __m512i x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
inline __m512i dpwssd_epi32(__m512i sum, __m512i x, __m512i y) {
    const auto a = as<Shorts>(x), b = as<Shorts>(y);
    return as<__m512i>(each<Wholes>([&, before = as<Wholes>(sum)](int i) {
        return before[i] + a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    }));
}
inline float widened(std::int16_t number) { return as<float>(std::int32_t(number) * 65536); }
template <typename Bits>
Floats dpbf16_ps(Floats sum, Bits x, Bits y) {
    const auto a = as<Shorts>(x), b = as<Shorts>(y);
    return each<Floats>([&](int i) {
        const float odd = std::fma(widened(a[2 * i + 1]), widened(b[2 * i + 1]), sum[i]);
        return std::fma(widened(a[2 * i]), widened(b[2 * i]), odd);
    });
}
inline __m256i cvtneps_pbh(Floats x) {
    return as<__m256i>(each<HalfShorts>([&](int i) {
        const auto bits = as<std::uint32_t>(float(x[i]));
        if (x[i] != x[i]) return std::int16_t(bits >> 16 | 64);
        return std::int16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }));
}

}  // namespace emulated

#define _mm512_setzero_ps() (emulated::Floats{})
#define _mm512_setzero_si512() (__m512i{})
#define _mm512_set1_ps emulated::set1_ps
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_sqrt_ps emulated::sqrt_ps
#define _mm512_max_ps emulated::max_ps
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask(x, y, unordered_) emulated::unordered(x, y)
#define _mm512_mask_mov_ps emulated::mask_mov_ps
#define _mm512_fmadd_ps emulated::fmadd_ps
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_loadu_si512 emulated::loadu_si512
#define _mm512_dpwssd_epi32 emulated::dpwssd_epi32
#define _mm512_dpbf16_ps emulated::dpbf16_ps
#define _mm512_cvtneps_pbh emulated::cvtneps_pbh
