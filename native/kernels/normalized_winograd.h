// Winograd's convolutions between batch normalisations: they normalise what they read, and sum up what they write.
// So what a normalisation and its ReLU give is never stored, and its sums need no pass of their own.
#pragma once

#include "kernels/argmax.h"
#include "kernels/batch_norm.h"
#include "kernels/vectors.h"
#include "kernels/winograd.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// Tiles side by side whose patches are normalised together: patches overlap by a third.
constexpr int TILES_NORMALIZED = 8;
constexpr long STRIP_STRIDE = (TILES_NORMALIZED * TILE + 2L) * BLOCK;

// Patches of tiles side by side, normalised -> [6][places][16]. Beyond the map's edges there are zeros, as the
// convolution has them.
VERYDEEP_INLINE void normalize_strip(const NormalizedInputTransform& all, const TilePosition& first, int num_tiles,
                                     int block, float* strip) {
    const FeatureMap& in = all.input.in;
    const int top = TILE * first.row - 1, left = TILE * first.column - 1, width = TILE * num_tiles + 2;
    const int begin = left < 0 ? 1 : 0, end = min(width, in.width - left);
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const NormalizedPart norm(all.norm, block * BLOCK + lane);
        for (int row = 0; row < PATCH; ++row) {
            float* const to = strip + row * STRIP_STRIDE + lane;
            const bool inside = top + row >= 0 && top + row < in.height;
            const int first_inside = inside ? begin : width, last_inside = inside ? end : width;
            const float* const from = in.at(first.image, block, top + row, left) + lane;
            for (int x = 0; x < first_inside; ++x) store(to + x * BLOCK, Vector{});
            for (int x = first_inside; x < last_inside; ++x)
                store(to + x * BLOCK, activate(Activation::relu, norm.of(load(from + x * BLOCK))));
            for (int x = last_inside; x < width; ++x) store(to + x * BLOCK, Vector{});
        }
    }
}

template <class Numbers, bool ALTERNATE>
VERYDEEP_INLINE void transform_normalized_as(const NormalizedInputTransform& all) {
    using Element = typename Numbers::Element;
    const InputTransform& input = all.input;
    const TileRange tiles = input.tiles;
    const long point_stride = input.strides.point;
    alignas(64) float strip[PATCH * STRIP_STRIDE];
    for (int block = input.first_block, end = block + input.num_blocks; block < end; ++block) {
        Element* out = static_cast<Element*>(input.transformed) + block * input.strides.block;
        TilePosition position(tiles.grid, tiles.first);
        for (int tile = 0; tile < tiles.count;) {
            const int count = min(min(TILES_NORMALIZED, tiles.count - tile), tiles.grid.columns - position.column);
            normalize_strip(all, position, count, block, strip);
            const float* patch = strip;
            for (int i = 0; i < count; ++i, ++tile, out += BLOCK, patch += TILE * BLOCK, position.next()) {
                for (int part = 0; part < PARTS; ++part)
                    transform_patch(patch + part * LANES, STRIP_STRIDE, [&](int point, Vector x) {
                        Numbers::store_vector(out + point * point_stride + part * LANES, x);
                    });
                if constexpr (ALTERNATE) alternate_tiles<Numbers>(out, tile, tiles.count, point_stride);
            }
        }
    }
}

template <class Numbers>
void transform_normalized_input(const NormalizedInputTransform& all) {
    transform_normalized_as<Numbers, false>(all);
}

template <class Numbers>
void transform_normalized_factor(const NormalizedInputTransform& all) {
    transform_normalized_as<Numbers, true>(all);
}

// The places of a tile that lie in the map, and where two numbers of each channel of a tile are kept.
struct TileOutput {
    int rows, columns;
    float *to, *kept;

    TileOutput(const FeatureMap& out, const TilePosition& position, int block, float* numbers)
        : rows(min(TILE, out.height - TILE * position.row)),
          columns(min(TILE, out.width - TILE * position.column)),
          to(out.at(position.image, block, TILE * position.row, TILE * position.column)),
          kept(numbers + (position.number() * out.num_blocks + block) * 2 * BLOCK) {}

    // `use(row, column)` for each place.
    template <class Use>
    VERYDEEP_INLINE void each(Use use) const {
        if (rows == TILE && columns == TILE) {
            VERYDEEP_UNROLL
            for (int row = 0; row < TILE; ++row) VERYDEEP_UNROLL
            for (int column = 0; column < TILE; ++column) use(row, column);
        } else {
            for (int row = 0; row < rows; ++row)
                for (int column = 0; column < columns; ++column) use(row, column);
        }
    }
};

VERYDEEP_INLINE Vector sum_of_rows(const Vector (&rows)[TILE]) {
    return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}

// The number of each of a tile's 2x2 windows that is normalised to the greatest: the least, where the factor is
// below 0.
VERYDEEP_INLINE void pool_tile(const MeasuredOutputTransform& all, const TilePosition& position, int block,
                               int part, const Vector (&y)[TILE][TILE]) {
    constexpr int SIDE = TILE / 2;
    const FeatureMap& out = all.pooled;
    const Vector sign = load(all.signs + block * BLOCK + part * LANES);
    const int top = SIDE * position.row, left = SIDE * position.column;
    const int rows = min(SIDE, out.height - top), columns = min(SIDE, out.width - left);
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) {
            const Vector(&upper)[TILE] = y[2 * row], (&lower)[TILE] = y[2 * row + 1];
            const Greatest greatest = greatest_of(upper[2 * column] * sign, upper[2 * column + 1] * sign,
                                                  lower[2 * column] * sign, lower[2 * column + 1] * sign);
            float* const to = out.at(position.image, block, top + row, left + column);
            store(to + part * LANES, greatest.value * sign);
            keep_argmax(greatest, part, all.argmax + (to - out.data) / BLOCK);
        }
}

template <bool POOLED>
void transform_output_measured_as(const MeasuredOutputTransform& all) {
    const OutputTransform& output = all.output;
    const FeatureMap& out = output.out;
    const float* products = output.products;
    const float* bias = output.epilogue.bias;
    TilesAhead ahead(output.tiles, output.first_block);
    for (int i = 0; i < output.num_blocks; ++i, products += output.strides.block, bias += BLOCK) {
        const int block = output.first_block + i;
        TilePosition position(output.tiles.grid, output.tiles.first);
        for (int tile = 0; tile < output.tiles.count; ++tile, position.next(), ahead.next()) {
            ahead.prefetch_tile<TILE>(out);
            const TileOutput at(out, position, block, all.moments);
            const float share = 1.0f / static_cast<float>(at.rows * at.columns);
            for (int part = 0; part < PARTS; ++part) {
                Vector y[TILE][TILE], sums[TILE] = {}, squares[TILE] = {};
                transform_products(products + tile * BLOCK + part * LANES, output.strides.point,
                                   load(bias + part * LANES), y);
                at.each([&](int row, int column) {
                    store(at.to + row * out.row_stride + column * BLOCK + part * LANES, y[row][column]);
                    sums[row] += y[row][column];
                });
                const Vector mean = sum_of_rows(sums) * share;
                at.each([&](int row, int column) {
                    const Vector deviation = y[row][column] - mean;
                    squares[row] += deviation * deviation;
                });
                store(at.kept + part * LANES, mean);
                store(at.kept + BLOCK + part * LANES, sum_of_rows(squares));
                if constexpr (POOLED) pool_tile(all, position, block, part, y);
            }
        }
    }
}

void transform_output_measured(const MeasuredOutputTransform& all) {
    if (all.pooled.data)
        transform_output_measured_as<true>(all);
    else
        transform_output_measured_as<false>(all);
}

void transform_output_normalized_gradient(const NormalizedGradientOutputTransform& all) {
    const GradientOutputTransform& output = all.output;
    const FeatureMap &out = output.out, &seen = output.seen;
    const float* products = output.products;
    TilesAhead ahead(output.tiles, output.first_block);
    for (int i = 0; i < output.num_blocks; ++i, products += output.strides.block) {
        const int block = output.first_block + i;
        TilePosition position(output.tiles.grid, output.tiles.first);
        for (int tile = 0; tile < output.tiles.count; ++tile, position.next(), ahead.next()) {
            ahead.prefetch_tile<TILE>(out);
            ahead.prefetch_tile<TILE>(seen);
            const TileOutput at(out, position, block, all.sums);
            const float* const from = at.to - out.data + seen.data;
            for (int part = 0; part < PARTS; ++part) {
                const NormalizedPart norm(all.norm, block * BLOCK + part * LANES);
                Vector y[TILE][TILE], sums[TILE] = {}, sums_of_products[TILE] = {};
                transform_products(products + tile * BLOCK + part * LANES, output.strides.point, Vector{}, y);
                at.each([&](int row, int column) {
                    const long place = row * out.row_stride + column * BLOCK + part * LANES;
                    const Vector x = load(from + place), slope = where_active(norm.of(x), y[row][column]);
                    store(at.to + place, slope);
                    sums[row] += slope;
                    sums_of_products[row] += slope * (x - norm.mean);
                });
                store(at.kept + part * LANES, sum_of_rows(sums));
                store(at.kept + BLOCK + part * LANES, sum_of_rows(sums_of_products));
            }
        }
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
