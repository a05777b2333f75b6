// Gradients of kernels over the rows of a map: poolings, distances, and conv1_1.
#pragma once

#include "kernels/argmax.h"
#include "kernels/products.h"
#include "kernels/rows.h"
#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

void max_pool_argmax_row(const ArgmaxPoolingRow& all) {
    const float *upper = all.row.upper, *lower = all.row.lower;
    float* out = all.row.out;
    for (int x = 0; x < all.row.width; ++x, upper += 2 * BLOCK, lower += 2 * BLOCK, out += BLOCK)
        for (int part = 0; part < PARTS; ++part) {
            const int lane = part * LANES;
            const Greatest greatest = greatest_of(load(upper + lane), load(upper + BLOCK + lane),
                                                  load(lower + lane), load(lower + BLOCK + lane));
            store(out + lane, greatest.value);
            keep_argmax(greatest, part, all.argmax + x);
        }
}

template <bool ACCUMULATE>
VERYDEEP_INLINE void spread_pooled_row(const MaxPoolingGradientRow& row) {
    const auto put = [](float* to, Vector x) { store(to, ACCUMULATE ? load(to) + x : x); };
    for (int x = 0; x < row.width; ++x)
        for (int part = 0; part < PARTS; ++part) {
            const Window window(load(row.gradient + x * BLOCK + part * LANES), row.argmax[x], part);
            const long at = 2 * x * BLOCK + part * LANES;
            put(row.upper + at, window.upper_left);
            put(row.upper + at + BLOCK, window.upper_right);
            put(row.lower + at, window.lower_left);
            put(row.lower + at + BLOCK, window.lower_right);
        }
}

void max_pool_gradient_row(const MaxPoolingGradientRow& row) {
    if (row.accumulate)
        spread_pooled_row<true>(row);
    else
        spread_pooled_row<false>(row);
}

void average_pool_gradient_row(const AveragePoolingGradientRow& row) {
    for (int x = 0; x < row.width; ++x)
        for (int lane = 0; lane < BLOCK; lane += LANES) {
            const Vector quarter = 0.25f * load(row.gradient + x * BLOCK + lane);
            for (long at = 2L * x * BLOCK + lane, end = at + 2 * BLOCK; at < end; at += BLOCK) {
                store(row.upper + at, row.seen_upper ? where_active(load(row.seen_upper + at), quarter) : quarter);
                store(row.lower + at, row.seen_lower ? where_active(load(row.seen_lower + at), quarter) : quarter);
            }
        }
}

// The gradient of one map at a position: (toward - unit * along * (length + epsilon) / length) * inverse, where
// `toward` is twice the weighted difference of the unit vectors, and `along` its sum over the channels of products
// with this map's unit vector. 0 where the vector is 0, whose length has no slope.
struct DistanceSide {
    float inverse, along, slope;
};

// A few positions at a time, as in `unit_distances`.
template <int POSITIONS>
void unit_distance_gradients(const DistanceGradientRow& all, int position) {
    const DistanceRow& row = all.row;
    const long offset = static_cast<long>(position) * BLOCK;
    const float *const first = row.first + offset, *const second = row.second + offset;
    Vector u[POSITIONS] = {}, v[POSITIONS] = {};
    const auto for_each = [&](auto use) {
        for (int block = 0; block < row.num_blocks; ++block)
            for (int lane = 0; lane < BLOCK; lane += LANES) VERYDEEP_UNROLL
        for (int p = 0; p < POSITIONS; ++p)
            use(p, block * row.block_stride + p * BLOCK + lane, row.weights + block * BLOCK + lane);
    };
    for_each([&](int p, long at, const float*) {
        const Vector x = load(first + at), y = load(second + at);
        u[p] += x * x;
        v[p] += y * y;
    });
    UnitDifference<POSITIONS> difference;
    DistanceSide ones[POSITIONS], others[POSITIONS];
    for (int p = 0; p < POSITIONS; ++p) {
        ones[p].inverse = inverse_length(u[p], row.epsilon);
        others[p].inverse = inverse_length(v[p], row.epsilon);
        difference.set(p, ones[p].inverse, others[p].inverse);
        ones[p].slope = 2 * all.slope[position + p];
        others[p].slope = -ones[p].slope;
    }
    Vector along_first[POSITIONS] = {}, along_second[POSITIONS] = {};
    for_each([&](int p, long at, const float* weights) {
        const Vector x = load(first + at), y = load(second + at);
        const Vector toward = load(weights) * difference.of(p, x, y);
        along_first[p] += toward * x;
        along_second[p] += toward * y;
    });
    const auto along = [&](Vector sums, Vector squares, float inverse) {
        const float length = __builtin_sqrtf(sum_of(squares));
        return length > 0 ? sum_of(sums) * inverse * (length + row.epsilon) / length : 0;
    };
    for (int p = 0; p < POSITIONS; ++p) {
        ones[p].along = along(along_first[p], u[p], ones[p].inverse);
        others[p].along = along(along_second[p], v[p], others[p].inverse);
    }
    const auto write = [&](const float* maps, const DistanceSide* sides, float* gradient) {
        if (!gradient) return;
        for_each([&](int p, long at, const float* weights) {
            const Vector toward = load(weights) * difference.of(p, load(first + at), load(second + at));
            const Vector x = load(maps + at);
            const DistanceSide& side = sides[p];
            const Vector rest = (toward - x * (side.inverse * side.along)) * (side.inverse * side.slope);
            store(gradient + offset + at, all.masked ? where_active(x, rest) : rest);
        });
    };
    write(first, ones, all.first_gradient);
    write(second, others, all.second_gradient);
}

void unit_distance_gradient_row(const DistanceGradientRow& all) {
    int x = 0;
    for (; x + 4 <= all.row.width; x += 4) unit_distance_gradients<4>(all, x);
    for (; x < all.row.width; ++x) unit_distance_gradients<1>(all, x);
}

// K numbers at each of a row's 3x3 places, channels inside, and 16 outputs: sums over the row.
template <int K>
VERYDEEP_INLINE void add_first_products(const float* image, const float* gradient, int width, float* sums) {
    Vector sum[K][PARTS < 2 ? PARTS : 2];
    for (int part = 0; part < PARTS; part += 2) {
        constexpr int N = PARTS < 2 ? PARTS : 2;
        VERYDEEP_UNROLL
        for (int k = 0; k < K; ++k) VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) sum[k][n] = load(sums + k * BLOCK + (part + n) * LANES);
        VERYDEEP_UNROLL_STEPS
        for (int x = 0; x < width; ++x) {
            Vector d[N];
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) d[n] = load(gradient + x * BLOCK + (part + n) * LANES);
            VERYDEEP_UNROLL
            for (int k = 0; k < K; ++k) {
                const Vector pixel = broadcast(image[3 * x + k]);
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) sum[k][n] += pixel * d[n];
            }
        }
        VERYDEEP_UNROLL
        for (int k = 0; k < K; ++k) VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) store(sums + k * BLOCK + (part + n) * LANES, sum[k][n]);
    }
}

void first_weight_gradient_row(const FirstWeightGradientRow& row) {
    const float* image = row.image;
    for (int y = 0; y < 3; ++y, image += row.image_row_stride) {
        float* const sums = row.sums + y * 9 * BLOCK;
        if constexpr (MAX_ROWS >= 9) {
            add_first_products<9>(image, row.gradient, row.width, sums);
        } else {
            add_first_products<5>(image, row.gradient, row.width, sums);
            add_first_products<4>(image + 5, row.gradient, row.width, sums + 5 * BLOCK);
        }
    }
    for (int part = 0; part < PARTS; ++part) {
        float* const sums = row.sums + 27 * BLOCK + part * LANES;
        Vector sum = load(sums);
        for (int x = 0; x < row.width; ++x) sum += load(row.gradient + x * BLOCK + part * LANES);
        store(sums, sum);
    }
}

// P pixels of a row, whose three channels' products with all outputs are added up lane by lane.
template <int P>
VERYDEEP_INLINE void convolve_first_back(const FirstDataGradientRow& row, int x) {
    Vector sum[P][3] = {};
    const float* weights = row.weights;
    for (int y = -1; y <= 1; ++y)
        for (int column = -1; column <= 1; ++column)
            for (int block = 0; block < row.num_blocks; ++block, weights += 3 * BLOCK) {
                const float* const from =
                    row.gradient + y * row.row_stride + (x + column) * BLOCK + block * row.block_stride;
                for (int lane = 0; lane < BLOCK; lane += LANES) {
                    Vector w[3];
                    VERYDEEP_UNROLL
                    for (int channel = 0; channel < 3; ++channel)
                        w[channel] = load(weights + channel * BLOCK + lane);
                    VERYDEEP_UNROLL
                    for (int p = 0; p < P; ++p) {
                        const Vector d = load(from + p * BLOCK + lane);
                        VERYDEEP_UNROLL
                        for (int channel = 0; channel < 3; ++channel) sum[p][channel] += d * w[channel];
                    }
                }
            }
    for (int p = 0; p < P; ++p)
        for (int channel = 0; channel < 3; ++channel) row.out[3 * (x + p) + channel] = sum_of(sum[p][channel]);
}

void first_data_gradient_row(const FirstDataGradientRow& row) {
    constexpr int PIXELS = LANES == 16 ? 8 : 4;
    int x = 0;
    for (; x + PIXELS <= row.width; x += PIXELS) convolve_first_back<PIXELS>(row, x);
    for (; x < row.width; ++x) convolve_first_back<1>(row, x);
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
