// Kernels over the rows of a map: preprocessing, bias and activation, pooling, local response normalization,
// distances.
#pragma once

#include "kernels/vectors.h"
#include "tuning.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

void preprocess_row(const std::uint8_t* pixels, const float* levels, bool flip, int width, float* row) {
    for (int x = 0; x < width; ++x)
        for (int channel = 0; channel < 3; ++channel)
            row[3 * x + (flip ? 2 - channel : channel)] = levels[256 * channel + pixels[3 * x + channel]];
}

void add_bias(const BiasRows& all) {
    const long num_rows = all.num_rows;
    const Activation activation = all.activation;
    for (int block = 0; block < all.num_blocks; ++block)
        for (int part = 0; part < PARTS; ++part) {
            float* place = all.data + block * all.block_stride + part * LANES;
            const Vector bias = load(all.bias + block * BLOCK + part * LANES);
            for (long r = 0; r < num_rows; ++r, place += BLOCK) {
                store(place, activate(activation, load(place) + bias));
            }
        }
}

// `combine(upper left, upper right, lower left, lower right)` for each window.
template <class Combine>
VERYDEEP_INLINE void pool_row(const PoolingRow& row, Combine combine) {
    const float *upper = row.upper, *lower = row.lower;
    float* out = row.out;
    const int width = row.width;
    for (int x = 0; x < width; ++x, upper += 2 * BLOCK, lower += 2 * BLOCK, out += BLOCK)
        for (int i = 0; i < BLOCK; i += LANES)
            store(out + i,
                  combine(load(upper + i), load(upper + BLOCK + i), load(lower + i), load(lower + BLOCK + i)));
}

void max_pool_row(const PoolingRow& row) {
    pool_row(row, [](Vector a, Vector b, Vector c, Vector d) { return max(max(a, b), max(c, d)); });
}

void average_pool_row(const PoolingRow& row) {
    pool_row(row, [](Vector a, Vector b, Vector c, Vector d) { return 0.25f * ((a + b) + (c + d)); });
}

// Squares of a block and of its two neighbours, for some pixels.
VERYDEEP_INLINE void square_neighbours(const ResponseNormRow& row, int block, int first, int count,
                                       float (*squares)[3 * BLOCK]) {
    for (int near = 0; near < 3; ++near) {
        const int other = block - 1 + near;
        const bool there = other >= 0 && other < row.num_blocks;
        const float* from = row.in + (there ? other : block) * row.in_block_stride + first * BLOCK;
        for (int x = 0; x < count; ++x, from += BLOCK)
            for (int lane = 0; lane < BLOCK; lane += LANES) {
                const Vector number = load(from + lane);
                store(squares[x] + near * BLOCK + lane, there ? number * number : Vector{});
            }
    }
}

VERYDEEP_INLINE Vector power(Vector base, float exponent) {
    if (exponent == 0.75f)
        return sqrt(base) * sqrt(sqrt(base));  // AlexNet's: a general power is no vector instruction
    Vector result;
    for (int i = 0; i < LANES; ++i) result[i] = __builtin_powf(base[i], exponent);
    return result;
}

// Squares are written for some pixels first, and read shifted when they have all arrived.
void normalize_row(const ResponseNormRow& row) {
    const auto [size, alpha, beta, k] = row.norm;
    for (int block = 0; block < row.num_blocks; ++block)
        for (int first = 0; first < row.width; first += tuning::NORMALIZED_AT_ONCE) {
            float squares[tuning::NORMALIZED_AT_ONCE][3 * BLOCK];
            const int count = min(tuning::NORMALIZED_AT_ONCE, row.width - first);
            square_neighbours(row, block, first, count, squares);
            const float* in = row.in + block * row.in_block_stride + first * BLOCK;
            float* out = row.out + block * row.out_block_stride + first * BLOCK;
            for (int x = 0; x < count; ++x, in += BLOCK, out += BLOCK)
                for (int lane = 0; lane < BLOCK; lane += LANES) {
                    Vector sum{};
                    for (int i = 0; i < size; ++i) sum += load(squares[x] + BLOCK - size / 2 + lane + i);
                    store(out + lane, load(in + lane) / power(k + alpha * sum, beta));
                }
        }
}

// What makes a vector one of unit length; NaN where its squares overflow, as it would come out as zeros.
VERYDEEP_INLINE float inverse_length(Vector squares, float epsilon) {
    const float length = __builtin_sqrtf(sum_of(squares));
    return length <= __FLT_MAX__ ? 1 / (length + epsilon) : __builtin_nanf("");
}

// x u - y v as (x - y) s + (x or y) (u - v), where s is the smaller of u and v, and the vector that of the
// greater: 0 where x = y and u = v, with fused products too, and nothing large cancels.
template <int POSITIONS>
struct UnitDifference {
    Vector scale[POSITIONS], of_first[POSITIONS], of_second[POSITIONS];

    VERYDEEP_INLINE void set(int p, float u, float v) {
        scale[p] = broadcast(u > v ? v : u);
        of_first[p] = broadcast(u > v ? u - v : 0);
        of_second[p] = broadcast(u > v ? 0 : u - v);
    }
    VERYDEEP_INLINE Vector of(int p, Vector x, Vector y) const {
        return (x - y) * scale[p] + x * of_first[p] + y * of_second[p];
    }
};

// A few positions at a time, whose numbers stay in the nearest cache between their lengths and their distance.
template <int POSITIONS>
void unit_distances(const DistanceRow& row, int position) {
    const float* const first = row.first + position * BLOCK;
    const float* const second = row.second + position * BLOCK;
    const long block_stride = row.block_stride;
    const int num_blocks = row.num_blocks;
    Vector u[POSITIONS] = {}, v[POSITIONS] = {}, sums[POSITIONS] = {};
    for (int block = 0; block < num_blocks; ++block)
        for (int lane = 0; lane < BLOCK; lane += LANES) {
            const long at = block * block_stride + lane;
            VERYDEEP_UNROLL
            for (int p = 0; p < POSITIONS; ++p) {
                const Vector x = load(first + at + p * BLOCK), y = load(second + at + p * BLOCK);
                u[p] += x * x;
                v[p] += y * y;
            }
        }
    UnitDifference<POSITIONS> differences;
    for (int p = 0; p < POSITIONS; ++p)
        differences.set(p, inverse_length(u[p], row.epsilon), inverse_length(v[p], row.epsilon));
    for (int block = 0; block < num_blocks; ++block)
        for (int lane = 0; lane < BLOCK; lane += LANES) {
            const long at = block * block_stride + lane;
            const Vector weight = load(row.weights + block * BLOCK + lane);
            VERYDEEP_UNROLL
            for (int p = 0; p < POSITIONS; ++p) {
                const Vector x = load(first + at + p * BLOCK), y = load(second + at + p * BLOCK);
                const Vector difference = differences.of(p, x, y);
                sums[p] += weight * (difference * difference);
            }
        }
    for (int p = 0; p < POSITIONS; ++p) row.out[position + p] = sum_of(sums[p]);
}

void unit_distance_row(const DistanceRow& row) {
    int x = 0;
    for (; x + 4 <= row.width; x += 4) unit_distances<4>(row, x);
    for (; x < row.width; ++x) unit_distances<1>(row, x);
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
