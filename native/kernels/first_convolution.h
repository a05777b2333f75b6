// The first convolution, of three channels: direct, as they would fill a fifth of a block.
#pragma once

#include "kernels/products.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// R pixels of a row and N vectors of outputs.
struct FirstConvolutionBlock {
    const float* image;
    long image_row_stride;
    const float* weights;
    long weight_row_stride;
    const float* bias;
    Activation activation;
    float* out;
    long columns[2];  // where the vectors of outputs lie
};

template <int R, int N>
void convolve_first_block(const FirstConvolutionBlock& block) {
    const float* image = block.image;
    const float* weights = block.weights;
    const long weight_row_stride = block.weight_row_stride;
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) sum[r][n] = load(block.bias + n * LANES);
    for (int y = 0; y < 3; ++y, image += block.image_row_stride)
        for (int k = 0; k < 9; ++k, weights += weight_row_stride) {
            Vector w[N];
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) w[n] = load(weights + n * LANES);
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                const Vector x = broadcast(image[3 * r + k]);
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) sum[r][n] += x * w[n];
            }
        }
    const Activation activation = block.activation;
    float* const out = block.out;
    const long* const columns = block.columns;
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) store(out + columns[n] + r * BLOCK, activate(activation, sum[r][n]));
}

template <int N, int... R>
VERYDEEP_INLINE auto first_block_function(int pixels, Counts<R...>) {
    using BlockFunction = void (*)(const FirstConvolutionBlock&);
    static constexpr BlockFunction table[] = {convolve_first_block<R, N>...};
    return table[pixels - 1];
}

// Pixels of a row are split evenly, as the rows of a product are: strips are seldom a multiple of a block wide.
void first_convolution_row(const FirstConvolutionRow& row) {
    const int vectors = row.out_blocks * PARTS;
    for (int vector = 0; vector < vectors; vector += 2) {
        const bool two = vector + 1 < vectors;
        FirstConvolutionBlock block;
        block.image_row_stride = row.image_row_stride;
        block.weights = row.weights + vector * LANES;
        block.weight_row_stride = row.out_blocks * BLOCK;
        block.bias = row.bias + vector * LANES;
        block.activation = row.activation;
        find_columns(vector, 1 + two, row.out_block_stride, block.columns);
        const int pieces = (row.width + MAX_ROWS - 1) / MAX_ROWS;
        for (int piece = 0, x = 0; piece < pieces; ++piece) {
            const int count = (row.width - x) / (pieces - piece);
            block.image = row.image + 3 * x;
            block.out = row.out + x * BLOCK;
            const auto convolve =
                two ? first_block_function<2>(count, RowCounts{}) : first_block_function<1>(count, RowCounts{});
            convolve(block);
            x += count;
        }
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
