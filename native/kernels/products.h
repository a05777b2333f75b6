// Matrix products: rows times a panel of weights, by blocks of rows and columns whose sums stay in registers.
#pragma once

#include "kernels/numbers.h"
#include "kernels/vectors.h"
#include "tuning.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

constexpr int CACHE_LINE = 64;  // bytes

// Prefetches the weights that are wanted next while others are multiplied: the processor does not guess where one
// panel ends and the next begins, and misses each panel's beginning.
struct Prefetcher {
    const char* from;
    long stride;

    VERYDEEP_INLINE void next() {
        __builtin_prefetch(from, 0, 2);
        from += stride;
    }
};
constexpr int PREFETCHES = LANES == 16 ? 2 : 1;  // for each row of weights: a cache line, or two in one pass
// AVX2 takes four steps at a time, as its steps are short. Its processors prefetch the next few rows by
// themselves.
#if defined(__AVX2__) && !defined(__AVX512F__)
#define VERYDEEP_UNROLL_STEPS VERYDEEP_UNROLL_FOUR
constexpr bool PREFETCH_ROWS = false;
#else
#define VERYDEEP_UNROLL_STEPS
constexpr bool PREFETCH_ROWS = true;
#endif

// The numbers of rows that a block may have, as template arguments: 1 to MAX_ROWS.
template <int... R>
struct Counts {};
template <int N, int... R>
struct CountsUpTo : CountsUpTo<N - 1, N, R...> {};
template <int... R>
struct CountsUpTo<0, R...> {
    using type = Counts<R...>;
};
using RowCounts = CountsUpTo<MAX_ROWS>::type;

// What int16's sums are multiplied by: for each row and group of blocks, and for each column.
struct Scales {
    const float* rows = nullptr;
    long row_group_stride = 0;
    const float* columns = nullptr;

    VERYDEEP_INLINE Scales at(int row, int column) const {
        return rows ? Scales{rows + row, row_group_stride, columns + column} : Scales{};
    }
};

// The rows and weights of a product, and where they go on.
template <class Numbers>
struct Factors {
    const typename Numbers::Element* rows;
    long row_block_stride;
    const typename Numbers::Element* panel;
    long panel_row_stride;  // from K_STEP inputs to the next
    Prefetcher prefetcher;
};

// R rows and N vectors of columns.
template <class Numbers>
struct BlockProduct {
    Factors<Numbers> factors;
    int in_blocks;
    float* results;
    long columns[2];   // where the vectors of columns lie in the results
    bool accumulate;   // begin with what is there, as if the product had not been cut
    bool add = false;  // or add the whole product to it: fewer roundings in each sum
    Scales scales{};
};

// Where two vectors of columns lie in results of blocks of 16.
VERYDEEP_INLINE void find_columns(int vector, int count, long block_stride, long* columns) {
    for (int n = 0; n < count; ++n)
        columns[n] = (vector + n) / PARTS * block_stride + (vector + n) % PARTS * LANES;
}

// Adds the products of R rows and N vectors of columns to their sums, and advances the factors. Each sum is added
// up in the order of k, whatever R is and wherever a product is cut: so an image's scores do not depend on the
// batch that it is in, to the last bit.
template <class Numbers, int R, int N>
VERYDEEP_INLINE void add_products(typename Numbers::Sum (&sum)[R][N], Factors<Numbers>& factors, int in_blocks) {
    constexpr int STEPS = BLOCK / Numbers::K_STEP;
    constexpr int VECTOR = LANES * Numbers::K_STEP;  // elements in a vector of weights
    auto& [rows, row_block_stride, panel, panel_row_stride, prefetcher] = factors;
    for (int block = 0; block < in_blocks; ++block, rows += row_block_stride) {
        VERYDEEP_UNROLL_STEPS
        for (int k = 0; k < STEPS; ++k, panel += panel_row_stride) {
            VERYDEEP_UNROLL
            for (int i = 0; i < PREFETCHES; ++i) prefetcher.next();
            typename Numbers::Sum weights[N];
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) {
                weights[n] = Numbers::load_weights(panel + n * VECTOR);
                if (PREFETCH_ROWS && n * VECTOR * sizeof *panel % CACHE_LINE == 0)
                    __builtin_prefetch(panel + n * VECTOR + tuning::WEIGHT_ROWS_AHEAD * panel_row_stride, 0, 3);
            }
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                const typename Numbers::Sum x = Numbers::broadcast_row(rows + r * BLOCK + k * Numbers::K_STEP);
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) sum[r][n] = Numbers::multiply_add(sum[r][n], x, weights[n]);
            }
        }
    }
}

template <class Numbers, int R, int N>
void multiply_block(const BlockProduct<Numbers>& product) {
    Factors<Numbers> factors = product.factors;
    float* const results = product.results;
    const long* const columns = product.columns;
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) sum[r][n] = product.accumulate ? load(results + columns[n] + r * BLOCK) : Vector{};
    add_products<Numbers>(sum, factors, product.in_blocks);
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n) {
        float* const place = results + columns[n] + r * BLOCK;
        store(place, product.add ? load(place) + sum[r][n] : sum[r][n]);
    }
}

// The same of int16: the sums of a group of channels are exact, and are added up as floats.
template <class Numbers, int R, int N>
void multiply_scaled_block(const BlockProduct<Numbers>& product) {
    Factors<Numbers> factors = product.factors;
    float* const results = product.results;
    const int in_blocks = product.in_blocks;
    const Scales scales = product.scales;
    long columns[N];
    for (int n = 0; n < N; ++n) columns[n] = product.columns[n];
    const float* row_scales = scales.rows;
    for (int first = 0; first < in_blocks; first += INT16_SCALE_BLOCKS, row_scales += scales.row_group_stride) {
        typename Numbers::Sum sum[R][N];
        VERYDEEP_UNROLL
        for (int r = 0; r < R; ++r) VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) sum[r][n] = Numbers::zero();
        add_products<Numbers>(sum, factors, min(INT16_SCALE_BLOCKS, in_blocks - first));
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) {
            const Vector column = load(scales.columns + n * LANES);
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                float* const place = results + columns[n] + r * BLOCK;
                const Vector before = first ? load(place) : Vector{};
                store(place, Numbers::scale_and_add(sum[r][n], column * broadcast(row_scales[r]), before));
            }
        }
    }
}

template <class Numbers>
using BlockFunction = void (*)(const BlockProduct<Numbers>&);

template <class Numbers, int R, int N>
constexpr BlockFunction<Numbers> block_function() {
    if constexpr (Numbers::SCALED)
        return multiply_scaled_block<Numbers, R, N>;
    else
        return multiply_block<Numbers, R, N>;
}

template <class Numbers, int N, int... R>
VERYDEEP_INLINE BlockFunction<Numbers> block_function_for(int rows, Counts<R...>) {
    static constexpr BlockFunction<Numbers> table[] = {block_function<Numbers, R, N>()...};
    return table[rows - 1];
}

// Rows are split evenly, so that there is never a lone remainder. Each pass over the panel prefetches its share of
// what lies behind it: the next point's weights, or the next inputs'. (Behind weights that have been unpacked lies
// nothing.)
template <class Numbers>
VERYDEEP_INLINE void multiply_rows(const MatrixProduct& product, const Scales& scales = {}) {
    using Element = typename Numbers::Element;
    const auto* const rows = static_cast<const Element*>(product.rows);
    const auto* const panel = static_cast<const Element*>(product.panel);
    const long panel_row_stride = product.panel_blocks * BLOCK * Numbers::K_STEP;
    const int vectors = product.panel_blocks * PARTS;
    const int pieces = (product.num_rows + MAX_ROWS - 1) / MAX_ROWS, passes = pieces * ((vectors + 1) / 2);
    const long row_bytes = panel_row_stride * static_cast<long>(sizeof(Element));
    const long share = row_bytes / passes, panel_bytes = row_bytes * product.in_blocks * (BLOCK / Numbers::K_STEP);
    const char* ahead = reinterpret_cast<const char*>(panel) + min(panel_bytes, tuning::MAX_PREFETCH_BYTES);
    for (int piece = 0, row = 0; piece < pieces; ++piece) {
        const int count = (product.num_rows - row) / (pieces - piece);
        for (int vector = 0; vector < vectors; vector += 2, ahead += panel_bytes / passes) {
            const bool two = vector + 1 < vectors;
            BlockProduct<Numbers> block;
            block.factors = {rows + row * BLOCK,
                             product.row_block_stride,
                             panel + vector * LANES * Numbers::K_STEP,
                             panel_row_stride,
                             {ahead, share / PREFETCHES}};
            block.in_blocks = product.in_blocks;
            block.results = product.results + row * BLOCK;
            find_columns(vector, 1 + two, product.result_block_stride, block.columns);
            block.accumulate = product.accumulate;
            block.scales = scales.at(row, vector * LANES);
            const auto multiply = two ? block_function_for<Numbers, 2>(count, RowCounts{})
                                      : block_function_for<Numbers, 1>(count, RowCounts{});
            multiply(block);
        }
        row += count;
    }
}

template <class Numbers>
void multiply(const MatrixProduct& product) {
    multiply_rows<Numbers>(product);
}

// A point's products with so many inputs that a panel's weights leave the nearest cache: some blocks of inputs at
// a time, whose weights stay there for all rows. Each such part is a sum of its own, with a smaller error.
template <class Numbers>
VERYDEEP_INLINE void multiply_deep(MatrixProduct product, const typename Numbers::Element* next_panel) {
    using Element = typename Numbers::Element;
    const auto* const rows = static_cast<const Element*>(product.rows);
    const auto* const panel = static_cast<const Element*>(product.panel);
    const int in_blocks = product.in_blocks, vectors = product.panel_blocks * PARTS;
    const long panel_row_stride = product.panel_blocks * BLOCK * Numbers::K_STEP;
    const long block_steps = BLOCK / Numbers::K_STEP;
    const int pieces = (product.num_rows + MAX_ROWS - 1) / MAX_ROWS;
    for (int first = 0; first < in_blocks; first += tuning::DEEP_BLOCKS) {
        const int here = min(tuning::DEEP_BLOCKS, in_blocks - first);
        const Element* const weights = panel + first * block_steps * panel_row_stride;
        for (int vector = 0; vector < vectors; vector += 2) {
            const bool two = vector + 1 < vectors;
            // What is wanted next: other columns of these weights, or the first of the next inputs', or point's.
            const Element* const next = vector + 2 < vectors ? weights + (vector + 2) * LANES * Numbers::K_STEP
                                        : first + here < in_blocks
                                            ? weights + here * block_steps * panel_row_stride
                                            : next_panel;
            const long steps = here * block_steps;
            for (int piece = 0, row = 0; piece < pieces; ++piece) {
                const int count = (product.num_rows - row) / (pieces - piece);
                BlockProduct<Numbers> block;
                block.factors = {rows + first * product.row_block_stride + row * BLOCK,
                                 product.row_block_stride,
                                 weights + vector * LANES * Numbers::K_STEP,
                                 panel_row_stride,
                                 {reinterpret_cast<const char*>(next + steps * piece / pieces * panel_row_stride),
                                  panel_row_stride * static_cast<long>(sizeof(Element)) / pieces}};
                block.in_blocks = here;
                block.results = product.results + row * BLOCK;
                find_columns(vector, 1 + two, product.result_block_stride, block.columns);
                block.accumulate = false;
                block.add = first > 0;
                const auto multiply = two ? block_function_for<Numbers, 2>(count, RowCounts{})
                                          : block_function_for<Numbers, 1>(count, RowCounts{});
                multiply(block);
                row += count;
            }
        }
    }
}

template <class Numbers>
void multiply_points(const PointProducts& all) {
    using Element = typename Numbers::Element;
    const auto* const transformed = static_cast<const Element*>(all.transformed);
    const auto* const panel = static_cast<const Element*>(all.panel);
    const long panel_stride = panel_point_stride(all.in_blocks, all.panel_blocks, sizeof(Element));
    Scales scales;
    if constexpr (Numbers::SCALED)
        scales = {reinterpret_cast<const float*>(transformed + POINTS * all.input_strides.point), all.num_tiles,
                  reinterpret_cast<const float*>(panel + POINTS * panel_stride)};
    for (int point = 0; point < POINTS; ++point) {
        MatrixProduct product;
        product.rows = transformed + point * all.input_strides.point;
        product.row_block_stride = all.input_strides.block;
        product.num_rows = all.num_tiles;
        product.in_blocks = all.in_blocks;
        product.panel = panel + point * panel_stride;
        product.panel_blocks = all.panel_blocks;
        product.results = all.products + point * all.product_strides.point;
        product.result_block_stride = all.product_strides.block;
        product.accumulate = false;
        if constexpr (!Numbers::SCALED) {
            if (all.in_blocks > tuning::DEEP_BLOCKS) {
                multiply_deep<Numbers>(product, panel + (point + 1) * panel_stride);
                continue;
            }
        }
        multiply_rows<Numbers>(product, scales.at(0, point * all.panel_blocks * BLOCK));
    }
}

template <class Numbers>
void convert_rows(const float* from, long num_blocks, void* to) {
    auto* const out = static_cast<typename Numbers::Element*>(to);
    for (long i = 0; i < num_blocks * BLOCK; i += LANES) Numbers::store_vector(out + i, load(from + i));
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
