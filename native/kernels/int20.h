// Products with weights of 20 bits, which are unpacked to float32 in registers, or for many rows in memory once.
#pragma once

#include "kernels/products.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

constexpr long int20_pack_bytes(int columns) { return columns * (INT20_PACK * 2L + 4); }

// Weights k of a pack, of a vector of columns.
VERYDEEP_INLINE Vector unpack_int20(const char* pack, int k, int column, int columns, Vector scale) {
    Int16Vector high;
    Int32Vector low;
    __builtin_memcpy(&high, pack + (k * columns + column) * 2, sizeof high);
    __builtin_memcpy(&low, pack + (INT20_PACK * columns + column * 2) * 2, sizeof low);
    const Int32Vector level = (__builtin_convertvector(high, Int32Vector) * 16) | ((low >> (4 * k)) & 15);
    return __builtin_convertvector(level, Vector) * scale;
}

// `use(k, weights)` for the inputs of a panel and N vectors of its columns; `k` counts from the panel's beginning.
template <int N, class Use>
VERYDEEP_INLINE void for_each_int20(const void* panel, int in_blocks, int column, int columns, Use use) {
    const char* from = static_cast<const char*>(panel);
    const long inputs = static_cast<long>(in_blocks) * BLOCK, each = int20_pack_bytes(columns);
    for (long first = 0; first < inputs; first += INT20_SCALE_INPUTS) {
        Vector scales[N];
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) scales[n] = load(reinterpret_cast<const float*>(from) + column + n * LANES);
        from += columns * sizeof(float);
        const long end = min(first + INT20_SCALE_INPUTS, inputs);
        for (long pack = first; pack < end; pack += INT20_PACK, from += each)
            for (int k = 0; k < INT20_PACK; ++k) {
                VERYDEEP_UNROLL
                for (int i = 0; i < 2; ++i)
                    __builtin_prefetch(from + tuning::MAX_PREFETCH_BYTES + (2 * k + i) * each / (2 * INT20_PACK),
                                       0, 2);
                Vector weights[N];
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n)
                    weights[n] = unpack_int20(from, k, column + n * LANES, columns, scales[n]);
                use(pack + k, weights);
            }
    }
}

// Products of R rows and N vectors of columns, each sum in the order of `add_products`.
template <int R, int N>
void multiply_int20_block(const MatrixProduct& product, int column, const long* columns) {
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n)
        sum[r][n] = product.accumulate ? load(product.results + columns[n] + r * BLOCK) : Vector{};
    const float* const rows = static_cast<const float*>(product.rows);
    const auto multiply_add = [&](long k, const Vector* weights) {
        const float* const here = rows + k / BLOCK * product.row_block_stride + k % BLOCK;
        VERYDEEP_UNROLL
        for (int r = 0; r < R; ++r) {
            const Vector x = broadcast(here[r * BLOCK]);
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) sum[r][n] += x * weights[n];
        }
    };
    for_each_int20<N>(product.panel, product.in_blocks, column, product.panel_blocks * BLOCK, multiply_add);
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) store(product.results + columns[n] + r * BLOCK, sum[r][n]);
}

template <int N, int... R>
VERYDEEP_INLINE void multiply_int20_rows(const MatrixProduct& product, int column, const long* columns,
                                         Counts<R...>) {
    using BlockFunction = void (*)(const MatrixProduct&, int, const long*);
    static constexpr BlockFunction table[] = {multiply_int20_block<R, N>...};
    table[product.num_rows - 1](product, column, columns);
}

// Each piece of the rows unpacks the weights for itself.
void multiply_int20_in_registers(const MatrixProduct& product, int pieces) {
    const int vectors = product.panel_blocks * PARTS;
    for (int piece = 0, row = 0; piece < pieces; ++piece) {
        MatrixProduct here = product;
        here.num_rows = (product.num_rows - row) / (pieces - piece);
        here.rows = static_cast<const float*>(product.rows) + row * BLOCK;
        here.results += row * BLOCK;
        for (int vector = 0; vector < vectors; vector += 2) {
            const bool two = vector + 1 < vectors;
            long columns[2];
            find_columns(vector, 1 + two, product.result_block_stride, columns);
            if (two)
                multiply_int20_rows<2>(here, vector * LANES, columns, RowCounts{});
            else
                multiply_int20_rows<1>(here, vector * LANES, columns, RowCounts{});
        }
        row += here.num_rows;
    }
}

// A few blocks of inputs of a panel -> [inputs][columns] in float32.
void unpack_int20_panel(const void* panel, int in_blocks, int columns, float* unpacked) {
    for (int vector = 0; vector < columns / LANES; vector += 2) {
        const auto store_vectors = [&](int count) {
            return [=](long k, const Vector* weights) {
                for (int n = 0; n < count; ++n) store(unpacked + k * columns + (vector + n) * LANES, weights[n]);
            };
        };
        if (vector + 1 < columns / LANES)
            for_each_int20<2>(panel, in_blocks, vector * LANES, columns, store_vectors(2));
        else
            for_each_int20<1>(panel, in_blocks, vector * LANES, columns, store_vectors(1));
    }
}

void multiply_int20(const MatrixProduct& product, float* unpacked) {
    const int columns = product.panel_blocks * BLOCK;
    const int pieces = (product.num_rows + MAX_ROWS - 1) / MAX_ROWS;
    if (pieces <= tuning::FEW_ROW_PIECES) {
        multiply_int20_in_registers(product, pieces);
        return;
    }
    constexpr int GROUP_BLOCKS = INT20_SCALE_INPUTS / BLOCK;
    MatrixProduct here = product;
    const char* panel = static_cast<const char*>(product.panel);
    for (int block = 0; block < product.in_blocks; block += GROUP_BLOCKS) {
        here.in_blocks = min(GROUP_BLOCKS, product.in_blocks - block);
        unpack_int20_panel(panel, here.in_blocks, columns, unpacked);
        here.rows = static_cast<const float*>(product.rows) + block * product.row_block_stride;
        here.panel = unpacked;
        here.accumulate = product.accumulate || block > 0;
        multiply_rows<Float32>(here);
        panel += int20_bytes(here.in_blocks * BLOCK, columns);
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
