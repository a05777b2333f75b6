// Winograd's F(4x4, 3x3): the transforms of inputs and of outputs, with bias, activation and pooling. The points
// are 0, +-sqrt(1/2), +-sqrt(2) and infinity.
#pragma once

#include "kernels/numbers.h"
#include "kernels/vectors.h"
#include "tuning.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

constexpr float SQRT_HALF = 0.70710678118654752f, SQRT_TWO = 1.41421356237309505f;

// Six numbers -> their transform at the six points.
VERYDEEP_INLINE void transform_six(const Vector* d, Vector* t) {
    const Vector even_half = d[4] - 2.0f * d[2], odd_half = d[3] - 2.0f * d[1];
    const Vector even_two = d[4] - 0.5f * d[2], odd_two = d[3] - 0.5f * d[1];
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[1] = even_half + SQRT_HALF * odd_half;
    t[2] = even_half - SQRT_HALF * odd_half;
    t[3] = even_two + SQRT_TWO * odd_two;
    t[4] = even_two - SQRT_TWO * odd_two;
    t[5] = d[1] - 2.5f * d[3] + d[5];
}

// Six products -> four outputs.
VERYDEEP_INLINE void transform_back(const Vector* m, Vector* y) {
    const Vector sum_half = m[1] + m[2], difference_half = m[1] - m[2];
    const Vector sum_two = m[3] + m[4], difference_two = m[3] - m[4];
    y[0] = m[0] + sum_half + sum_two;
    y[1] = SQRT_HALF * difference_half + SQRT_TWO * difference_two;
    y[2] = 0.5f * sum_half + 2.0f * sum_two;
    y[3] = 0.5f * SQRT_HALF * difference_half + 2.0f * SQRT_TWO * difference_two + m[5];
}

// Where a tile lies.
struct TilePosition {
    TileGrid grid;
    long image;
    int row, column;

    TilePosition(TileGrid grid, long tile)
        : grid(grid),
          image(tile / grid.count()),
          row(static_cast<int>(tile % grid.count()) / grid.columns),
          column(static_cast<int>(tile % grid.count()) % grid.columns) {}

    VERYDEEP_INLINE void next() {
        if (++column < grid.columns) return;
        column = 0;
        if (++row == grid.rows) row = 0, ++image;
    }

    VERYDEEP_INLINE long number() const { return image * grid.count() + row * grid.columns + column; }

    // The upper left of a tile's inputs.
    VERYDEEP_INLINE const float* patch(const FeatureMap& in, int block) const {
        return in.at(image, block, TILE * row - 1, TILE * column - 1);
    }
};

// Goes over the tiles of some blocks of channels a few tiles ahead of the work, and prefetches what it will want:
// tiles leap from row to row and from block to block, which the processor does not guess.
struct TilesAhead {
    TilePosition position;
    const long first;
    const int count;
    int block, tile = 0;

    TilesAhead(const TileRange& tiles, int block)
        : position(tiles.grid, tiles.first), first(tiles.first), count(tiles.count), block(block) {
        for (int i = 0; i < tuning::TILES_AHEAD; ++i) next();
    }

    VERYDEEP_INLINE void next() {
        if (++tile < count) return position.next();
        position = TilePosition(position.grid, first);
        tile = 0;
        ++block;
    }

    // Inputs of a tile, but for the columns that it shares with the one before.
    VERYDEEP_INLINE void prefetch_patch(const FeatureMap& in) const {
        const float* corner = in.at(position.image, block, TILE * position.row - 1, TILE * position.column + 1);
        VERYDEEP_UNROLL
        for (int y = 0; y < PATCH; ++y) VERYDEEP_UNROLL
        for (int x = 0; x < TILE; ++x) __builtin_prefetch(corner + y * in.row_stride + x * BLOCK, 0, 3);
    }

    // Outputs of a tile, to be written.
    template <int SIDE>
    VERYDEEP_INLINE void prefetch_tile(const FeatureMap& out) const {
        const float* corner = out.at(position.image, block, SIDE * position.row, SIDE * position.column);
        VERYDEEP_UNROLL
        for (int y = 0; y < SIDE; ++y) VERYDEEP_UNROLL
        for (int x = 0; x < SIDE; ++x) __builtin_prefetch(corner + y * out.row_stride + x * BLOCK, 1, 3);
    }
};

// A vector of channels of a tile's 6x6 inputs -> `keep(point, vector)` for each of the 36 points. Row by row of
// the points, from as many inputs as a row or two of them need: 36 intermediate vectors would not fit the
// registers.
template <class Keep>
VERYDEEP_INLINE void transform_patch(const float* corner, long row_stride, Keep keep) {
    const auto input = [&](int y, int x) { return load(corner + y * row_stride + x * BLOCK); };
    const auto keep_row = [&](int y, const Vector* d) {
        Vector t[PATCH];
        transform_six(d, t);
        VERYDEEP_UNROLL
        for (int x = 0; x < PATCH; ++x) keep(PATCH * y + x, t[x]);
    };
    Vector upper[PATCH], lower[PATCH];
    VERYDEEP_UNROLL
    for (int x = 0; x < PATCH; ++x) upper[x] = input(0, x) - 2.5f * input(2, x) + input(4, x);
    keep_row(0, upper);
    VERYDEEP_UNROLL
    for (int x = 0; x < PATCH; ++x) {
        const Vector even = input(4, x) - 2.0f * input(2, x), odd = input(3, x) - 2.0f * input(1, x);
        upper[x] = even + SQRT_HALF * odd;
        lower[x] = even - SQRT_HALF * odd;
    }
    keep_row(1, upper);
    keep_row(2, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < PATCH; ++x) {
        const Vector even = input(4, x) - 0.5f * input(2, x), odd = input(3, x) - 0.5f * input(1, x);
        upper[x] = even + SQRT_TWO * odd;
        lower[x] = even - SQRT_TWO * odd;
    }
    keep_row(3, upper);
    keep_row(4, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < PATCH; ++x) upper[x] = input(1, x) - 2.5f * input(3, x) + input(5, x);
    keep_row(5, upper);
}

// As an outer product over tiles takes them: after a tile's points are written, those of the tile before and its
// own are made to alternate, or at the end those of a last tile and zeros.
template <class Numbers>
VERYDEEP_INLINE void alternate_tiles(typename Numbers::Element* out, int tile, int count, long point_stride) {
    static_assert(Numbers::K_STEP <= 2);
    if (Numbers::K_STEP == 1 || (tile % 2 == 0 && tile + 1 < count)) return;
    for (int point = 0; point < POINTS; ++point)
        Numbers::alternate(out + point * point_stride - tile % 2 * BLOCK, tile % 2 == 0);
}

template <class Numbers, bool ALTERNATE>
VERYDEEP_INLINE void transform_input_as(const InputTransform& all) {
    using Element = typename Numbers::Element;
    const FeatureMap& in = all.in;
    const TileRange tiles = all.tiles;
    const long point_stride = all.strides.point, block_stride = all.strides.block;
    TilesAhead ahead(tiles, all.first_block);
    for (int block = all.first_block, end = block + all.num_blocks; block < end; ++block) {
        Element* out = static_cast<Element*>(all.transformed) + block * block_stride;
        TilePosition position(tiles.grid, tiles.first);
        for (int tile = 0; tile < tiles.count; ++tile, out += BLOCK, position.next(), ahead.next()) {
            ahead.prefetch_patch(in);
            const float* corner = position.patch(in, block);
            for (int part = 0; part < PARTS; ++part)
                transform_patch(corner + part * LANES, in.row_stride, [&](int point, Vector x) {
                    Numbers::store_vector(out + point * point_stride + part * LANES, x);
                });
            if constexpr (ALTERNATE) alternate_tiles<Numbers>(out, tile, tiles.count, point_stride);
        }
    }
}

template <class Numbers>
void transform_input(const InputTransform& all) {
    transform_input_as<Numbers, false>(all);
}

template <class Numbers>
void transform_factor(const InputTransform& all) {
    transform_input_as<Numbers, true>(all);
}

// The scale of a group of blocks follows from its greatest number: so it is transformed as floats at first.
template <class Numbers>
void transform_scaled_input(const InputTransform& all) {
    using Element = typename Numbers::Element;
    const FeatureMap in = all.in;
    const TileRange tiles = all.tiles;
    const PointStrides strides = all.strides;
    const int num_blocks = all.num_blocks;
    Element* const transformed = static_cast<Element*>(all.transformed);
    Element* out = transformed + all.first_block * strides.block;
    float* const scales = reinterpret_cast<float*>(transformed + POINTS * strides.point) +
                          static_cast<long>(all.first_block / INT16_SCALE_BLOCKS) * tiles.count;
    TilePosition position(tiles.grid, tiles.first);
    for (int tile = 0; tile < tiles.count; ++tile, out += BLOCK, position.next()) {
        alignas(64) float points[INT16_SCALE_BLOCKS][POINTS][BLOCK];
        Vector max_lanes{};
        for (int i = 0; i < num_blocks; ++i) {
            const float* corner = position.patch(in, all.first_block + i);
            for (int part = 0; part < PARTS; ++part)
                transform_patch(corner + part * LANES, in.row_stride, [&](int point, Vector x) {
                    store(points[i][point] + part * LANES, x);
                    max_lanes = max(max_lanes, abs(x));
                });
        }
        float magnitude = 0;  // or NaN, which then all sums of the tile become
        for (int lane = 0; lane < LANES; ++lane)
            if (max_lanes[lane] > magnitude || max_lanes[lane] != max_lanes[lane]) magnitude = max_lanes[lane];
        scales[tile] = magnitude < Numbers::MIN_MAGNITUDE ? 0 : magnitude * (1 / Numbers::MAX_INPUT);
        const Vector levels = broadcast(magnitude >= Numbers::MIN_MAGNITUDE ? Numbers::MAX_INPUT / magnitude : 0);
        for (int i = 0; i < num_blocks; ++i)
            for (int point = 0; point < POINTS; ++point)
                for (int part = 0; part < PARTS; ++part)
                    Numbers::store_vector(out + i * strides.block + point * strides.point + part * LANES,
                                          load(points[i][point] + part * LANES) * levels);
    }
}

template <Activation ACTIVATION, bool MAX_POOL>
VERYDEEP_INLINE void write_tile(const Vector y[TILE][TILE], const FeatureMap& out, const TilePosition& position,
                                int block, int part) {
    constexpr int SIDE = MAX_POOL ? TILE / 2 : TILE;
    Vector z[SIDE][SIDE];  // the greatest first, as no activation falls where its argument rises
    VERYDEEP_UNROLL
    for (int i = 0; i < SIDE; ++i) VERYDEEP_UNROLL
    for (int j = 0; j < SIDE; ++j) {
        if constexpr (MAX_POOL)
            z[i][j] =
                max(max(y[2 * i][2 * j], y[2 * i][2 * j + 1]), max(y[2 * i + 1][2 * j], y[2 * i + 1][2 * j + 1]));
        else
            z[i][j] = y[i][j];
        z[i][j] = activate(ACTIVATION, z[i][j]);
    }
    const int top = SIDE * position.row, left = SIDE * position.column;
    float* to = out.at(position.image, block, top, left) + part * LANES;
    const int rows = min(SIDE, out.height - top), columns = min(SIDE, out.width - left);
    if (rows == SIDE && columns == SIDE) {
        VERYDEEP_UNROLL
        for (int i = 0; i < SIDE; ++i) VERYDEEP_UNROLL
        for (int j = 0; j < SIDE; ++j) store(to + i * out.row_stride + j * BLOCK, z[i][j]);
    } else {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) store(to + i * out.row_stride + j * BLOCK, z[i][j]);
    }
}

// 36 products of a vector of channels -> 4x4 outputs.
VERYDEEP_INLINE void transform_products(const float* from, long point_stride, Vector bias, Vector y[TILE][TILE]) {
    Vector rows[TILE][PATCH];
    VERYDEEP_UNROLL
    for (int x = 0; x < PATCH; ++x) {
        Vector m[PATCH], t[TILE];
        VERYDEEP_UNROLL
        for (int i = 0; i < PATCH; ++i) m[i] = load(from + (PATCH * i + x) * point_stride);
        transform_back(m, t);
        VERYDEEP_UNROLL
        for (int i = 0; i < TILE; ++i) rows[i][x] = t[i];
    }
    VERYDEEP_UNROLL
    for (int i = 0; i < TILE; ++i) {
        transform_back(rows[i], y[i]);
        VERYDEEP_UNROLL
        for (int j = 0; j < TILE; ++j) y[i][j] += bias;
    }
}

template <Activation ACTIVATION, bool MAX_POOL>
void transform_output_as(const OutputTransform& all) {
    // A reference: with a copy GCC 12 fuses other products of pooled tiles, and their last bits change.
    const FeatureMap& out = all.out;
    const TileRange tiles = all.tiles;
    const long point_stride = all.strides.point;
    const float* products = all.products;
    const float* bias = all.epilogue.bias;
    TilesAhead ahead(tiles, all.first_block);
    for (int block = 0; block < all.num_blocks; ++block, products += all.strides.block, bias += BLOCK) {
        TilePosition position(tiles.grid, tiles.first);
        for (int tile = 0; tile < tiles.count; ++tile, position.next(), ahead.next()) {
            ahead.prefetch_tile<MAX_POOL ? TILE / 2 : TILE>(out);
            for (int part = 0; part < PARTS; ++part) {
                Vector y[TILE][TILE];
                transform_products(products + tile * BLOCK + part * LANES, point_stride, load(bias + part * LANES),
                                   y);
                write_tile<ACTIVATION, MAX_POOL>(y, out, position, all.first_block + block, part);
            }
        }
    }
}

template <Activation ACTIVATION>
void transform_output_with(const OutputTransform& all) {
    if (all.epilogue.max_pool)
        transform_output_as<ACTIVATION, true>(all);
    else
        transform_output_as<ACTIVATION, false>(all);
}

void transform_output(const OutputTransform& all) {
    switch (all.epilogue.activation) {
        case Activation::none: return transform_output_with<Activation::none>(all);
        case Activation::relu: return transform_output_with<Activation::relu>(all);
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
