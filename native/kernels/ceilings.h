// Loops of nothing but multiplications, or nothing but memory: what a kernel's speed is a share of.
#pragma once

#include "kernels/numbers.h"
#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// Makes the compiler take a value for unknown without an instruction: else it would compute one product for
// all, outside of the loop, and find that all sums are the same.
#if defined(VERYDEEP_EMULATED)
#define VERYDEEP_OPAQUE(x) asm volatile("" : "+m"(x))
#elif defined(__AVX512F__)
#define VERYDEEP_OPAQUE(x) asm volatile("" : "+v"(x))
#elif defined(__x86_64__)
#define VERYDEEP_OPAQUE(x) asm volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define VERYDEEP_OPAQUE(x) asm volatile("" : "+w"(x))
#else
#define VERYDEEP_OPAQUE(x) asm volatile("" : "+m"(x))
#endif

// Sums that do not wait for each other: more than a multiplication's latency (at most 6 cycles) times two a cycle,
// and as few as leave registers for two factors.
constexpr int INDEPENDENT_SUMS = LANES == 16 ? 24 : 12;

template <class Numbers>
double multiply_add_registers(long iterations) {
    typename Numbers::Element one[LANES * Numbers::K_STEP];
    for (auto& element : one) element = typename Numbers::Element(1);
    auto x = Numbers::load_weights(one), w = x;
    VERYDEEP_OPAQUE(w);
    typename Numbers::Sum sums[INDEPENDENT_SUMS] = {};
    for (auto& sum : sums) VERYDEEP_OPAQUE(sum);
    for (long i = 0; i < iterations; ++i) {
        VERYDEEP_UNROLL
        for (int s = 0; s < INDEPENDENT_SUMS; ++s) {
            VERYDEEP_OPAQUE(x);
            sums[s] = Numbers::multiply_add(sums[s], x, w);
        }
    }
    for (auto& sum : sums) VERYDEEP_OPAQUE(sum);
    return 2.0 * iterations * INDEPENDENT_SUMS * LANES * Numbers::K_STEP;
}

void stream_memory(const MemoryStream& stream) {
    constexpr int AT_ONCE = 8, STEP = AT_ONCE * LANES;
    const float* const from = stream.from;
    float* const to = stream.to;
    const long num_read = stream.num_read, num_written = stream.num_written;
    const char* const read_ahead = reinterpret_cast<const char*>(from) + stream.prefetch_bytes;
    const char* const write_ahead = reinterpret_cast<const char*>(to) + stream.prefetch_bytes;
    Vector sums[AT_ONCE] = {};
    for (long i = 0; i + STEP <= num_read; i += STEP) {
        VERYDEEP_UNROLL
        for (int line = 0; line < STEP / 16; ++line) __builtin_prefetch(read_ahead + 4 * i + 64 * line, 0, 3);
        VERYDEEP_UNROLL
        for (int s = 0; s < AT_ONCE; ++s) sums[s] += load(from + i + s * LANES);
    }
    for (auto& sum : sums) VERYDEEP_OPAQUE(sum);
    const Vector zero{};
    for (long i = 0; i + STEP <= num_written; i += STEP) {
        VERYDEEP_UNROLL
        for (int line = 0; line < STEP / 16; ++line) __builtin_prefetch(write_ahead + 4 * i + 64 * line, 1, 3);
        VERYDEEP_UNROLL
        for (int s = 0; s < AT_ONCE; ++s) store(to + i + s * LANES, zero);
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
