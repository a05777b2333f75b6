// Sums over rows of products of columns: what a gradient of weights is, whose inner dimension are tiles or images.
#pragma once

#include "kernels/products.h"
#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// Columns of the left matrix whose sums stay in registers, with two vectors of the right one.
constexpr int OUTER_COLUMNS = MAX_ROWS < BLOCK / 2 ? MAX_ROWS : BLOCK / 2;
constexpr int OUTER_PIECES = (BLOCK + OUTER_COLUMNS - 1) / OUTER_COLUMNS;

// C columns of the left matrix and N vectors of the right one.
template <class Numbers>
struct OuterBlock {
    const typename Numbers::Element* left;
    const typename Numbers::Element* right[2];
    int steps;  // of K_STEP rows each
    float* sums[2];
    bool accumulate;
};

template <class Numbers, int C, int N>
VERYDEEP_INLINE void multiply_outer_block(const OuterBlock<Numbers>& block) {
    using Element = typename Numbers::Element;
    constexpr int STEP = BLOCK * Numbers::K_STEP;  // elements
    Vector sum[C][N];
    VERYDEEP_UNROLL
    for (int c = 0; c < C; ++c) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) sum[c][n] = block.accumulate ? load(block.sums[n] + c * BLOCK) : Vector{};
    const Element* left = block.left;
    const Element* right[N];
    for (int n = 0; n < N; ++n) right[n] = block.right[n];
    VERYDEEP_UNROLL_STEPS
    for (int step = 0; step < block.steps; ++step, left += STEP) {
        Vector w[N];
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) w[n] = Numbers::load_weights(right[n] + step * STEP);
        VERYDEEP_UNROLL
        for (int c = 0; c < C; ++c) {
            const Vector x = Numbers::broadcast_row(left + c * Numbers::K_STEP);
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) sum[c][n] = Numbers::multiply_add(sum[c][n], x, w[n]);
        }
    }
    VERYDEEP_UNROLL
    for (int c = 0; c < C; ++c) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) store(block.sums[n] + c * BLOCK, sum[c][n]);
}

// The 16 columns of a left block, in pieces that are as even as can be.
template <class Numbers, int N, int PIECE = 0>
VERYDEEP_INLINE void multiply_outer_columns(OuterBlock<Numbers> block) {
    if constexpr (PIECE < OUTER_PIECES) {
        constexpr int BEGIN = BLOCK * PIECE / OUTER_PIECES, END = BLOCK * (PIECE + 1) / OUTER_PIECES;
        multiply_outer_block<Numbers, END - BEGIN, N>(block);
        block.left += (END - BEGIN) * Numbers::K_STEP;
        for (int n = 0; n < N; ++n) block.sums[n] += (END - BEGIN) * BLOCK;
        multiply_outer_columns<Numbers, N, PIECE + 1>(block);
    }
}

template <class Numbers>
void multiply_outer(const OuterProduct& all) {
    using Element = typename Numbers::Element;
    const auto* const left = static_cast<const Element*>(all.left);
    const auto* const right = static_cast<const Element*>(all.right);
    const int vectors = all.right_blocks * PARTS;
    float* sums = all.sums;
    for (int i = 0; i < all.left_blocks; ++i, sums += all.right_blocks * BLOCK * BLOCK)
        for (int vector = 0; vector < vectors; vector += 2) {
            const int count = min(2, vectors - vector);
            OuterBlock<Numbers> block;
            block.left = left + i * all.left_block_stride;
            block.steps = (all.num_rows + Numbers::K_STEP - 1) / Numbers::K_STEP;
            block.accumulate = all.accumulate;
            for (int n = 0; n < count; ++n) {
                const long of_block = (vector + n) / PARTS, lanes = (vector + n) % PARTS * LANES;
                block.right[n] = right + of_block * all.right_block_stride + lanes * Numbers::K_STEP;
                block.sums[n] = sums + of_block * BLOCK * BLOCK + lanes;
            }
            if (count == 2)
                multiply_outer_columns<Numbers, 2>(block);
            else
                multiply_outer_columns<Numbers, 1>(block);
        }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
