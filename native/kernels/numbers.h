// The types of a product's factors: float32, bfloat16, int16. Each says how its elements lie in memory, are
// multiplied and are rounded; the kernels are templates over them.
//
// K_STEP: elements along k that one multiplication takes. SCALED: whether elements are integers with scales beside
// them.
#pragma once

#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

struct Float32 {
    using Element = float;
    using Sum = Vector;
    static constexpr bool SCALED = false;
    static constexpr int K_STEP = 1;
    static VERYDEEP_INLINE Vector broadcast_row(const float* from) { return broadcast(*from); }
    static VERYDEEP_INLINE Vector load_weights(const float* from) { return load(from); }
    static VERYDEEP_INLINE Vector multiply_add(Vector sum, Vector x, Vector w) { return sum + x * w; }
    static VERYDEEP_INLINE void store_vector(float* to, Vector x) { store(to, x); }
    static VERYDEEP_INLINE void alternate(float*, bool) {}
};

#if defined(__AVX512BF16__)
// Two elements of k lie side by side in 32 bits.
struct BFloat16 {
    using Element = std::uint16_t;
    typedef Element Elements __attribute__((vector_size(2 * LANES)));
    typedef std::uint32_t Pairs __attribute__((vector_size(4 * LANES)));
    using Sum = Vector;
    static constexpr bool SCALED = false;
    static constexpr int K_STEP = 2;
    static VERYDEEP_INLINE Vector broadcast_row(const Element* from) {
        std::int32_t pair;
        __builtin_memcpy(&pair, from, sizeof pair);
        return (Vector)_mm512_set1_epi32(pair);
    }
    static VERYDEEP_INLINE Vector load_weights(const Element* from) { return (Vector)_mm512_loadu_si512(from); }
    static VERYDEEP_INLINE Vector multiply_add(Vector sum, Vector x, Vector w) {
        return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
    }
    static VERYDEEP_INLINE void store_vector(Element* to, Vector x) {
        _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(x));
    }
    // Two vectors, one behind the other -> their elements in turn; the second is taken as 0 where it is `missing`.
    static VERYDEEP_INLINE void alternate(Element* vectors, bool missing) {
        Elements first, second{};
        __builtin_memcpy(&first, vectors, sizeof first);
        if (!missing) __builtin_memcpy(&second, vectors + LANES, sizeof second);
        const Pairs pairs = __builtin_convertvector(first, Pairs) | __builtin_convertvector(second, Pairs) << 16;
        __builtin_memcpy(vectors, &pairs, sizeof pairs);
    }
    // A vector -> the first halves of pairs, or the second ones of pairs whose first are there; gives what became
    // of it.
    static VERYDEEP_INLINE Vector store_half(Element* pairs, bool second, Vector x) {
        const Pairs rounded = __builtin_convertvector((Elements)_mm512_cvtneps_pbh(x), Pairs);
        Pairs both = rounded;
        if (second) {
            __builtin_memcpy(&both, pairs, sizeof both);
            both |= rounded << 16;
        }
        __builtin_memcpy(pairs, &both, sizeof both);
        return (Vector)(rounded << 16);
    }
    static VERYDEEP_INLINE float to_float(Element element) {
        const std::uint32_t bits = static_cast<std::uint32_t>(element) << 16;
        float x;
        __builtin_memcpy(&x, &bits, sizeof x);
        return x;
    }
    static VERYDEEP_INLINE Element from_float(float x) {
        std::uint32_t bits;
        __builtin_memcpy(&bits, &x, sizeof bits);
        if (x != x) return static_cast<Element>((bits >> 16) | 64);
        return static_cast<Element>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
};
#endif

#if defined(__AVX512VNNI__)
// Products are added up exactly over INT16_SCALE_BLOCKS blocks of channels: 64 products of levels up to these are
// below 2^31. Each such group of a tile, and each column of weights, has a scale.
struct Int16 {
    using Element = std::int16_t;
    using Sum = __m512i;
    static constexpr bool SCALED = true;
    static constexpr int K_STEP = 2;
    static constexpr float MAX_INPUT = 8191, MAX_WEIGHT = 4095;
    static constexpr float MIN_MAGNITUDE = 1e-30f;  // the inverse of a smaller number overflows: it counts as 0
    static_assert(INT16_SCALE_BLOCKS * BLOCK * MAX_INPUT * MAX_WEIGHT < 2147483648.0,
                  "a sum has to fit in 32 bits");
    static VERYDEEP_INLINE Sum zero() { return _mm512_setzero_si512(); }
    static VERYDEEP_INLINE Sum load_weights(const Element* from) { return _mm512_loadu_si512(from); }
    static VERYDEEP_INLINE Sum broadcast_row(const Element* from) {
        std::int32_t pair;
        __builtin_memcpy(&pair, from, sizeof pair);
        return _mm512_set1_epi32(pair);
    }
    static VERYDEEP_INLINE Sum multiply_add(Sum sum, Sum x, Sum w) {
#if defined(VERYDEEP_EMULATED)
        return _mm512_dpwssd_epi32(sum, x, w);
#else
        asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));  // GCC 12 spills the sums of its intrinsic
        return sum;
#endif
    }
    // One instruction whatever the number of rows is, lest an image's scores depend on the batch.
    static VERYDEEP_INLINE Vector scale_and_add(Sum sum, Vector scale, Vector before) {
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, before);
    }
    static VERYDEEP_INLINE void store_vector(Element* to, Vector x) {
        _mm256_storeu_si256((__m256i*)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
    }
};
#endif

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
