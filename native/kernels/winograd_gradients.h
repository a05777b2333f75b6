// Winograd's F(4x4, 3x3) backwards: transforms of gradients, with the ReLU's mask and 2x2 max-poolings.
//
// The gradient at the inputs is a convolution of the gradient at the outputs, with weights that are flipped and
// transposed. The gradient of the weights is G^T [sum over tiles of (B^T x B) (A dy A^T)] G: 36 products, whose
// inner dimension are the tiles.
#pragma once

#include "kernels/argmax.h"
#include "kernels/numbers.h"
#include "kernels/vectors.h"
#include "kernels/weights.h"
#include "kernels/winograd.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// One window of a pooled gradient -> its four places, from `to` on.
VERYDEEP_INLINE void expand_window(const Gradient& gradient, const float* from, float* to, long row_stride) {
    const Argmax argmax = *gradient.argmax_at(from);
    for (int part = 0; part < PARTS; ++part) {
        const Window window(load(from + part * LANES), argmax, part);
        float* const place = to + part * LANES;
        store(place, window.upper_left);
        store(place + BLOCK, window.upper_right);
        store(place + row_stride, window.lower_left);
        store(place + row_stride + BLOCK, window.lower_right);
    }
}

// A tile's four windows -> [4][4][16]. What the pooling dropped is 0: there the pooled map has its border.
VERYDEEP_INLINE void expand_tile(const Gradient& gradient, const TilePosition& position, int block, float* tile) {
    const FeatureMap& map = gradient.map;
    for (int row = 0; row < TILE / 2; ++row)
        for (int column = 0; column < TILE / 2; ++column)
            expand_window(gradient,
                          map.at(position.image, block, min(TILE / 2 * position.row + row, map.height),
                                 min(TILE / 2 * position.column + column, map.width)),
                          tile + (2 * row * TILE + 2 * column) * BLOCK, TILE * BLOCK);
}

// Tiles side by side whose patches are expanded together: a window is in up to four patches.
constexpr int TILES_EXPANDED = 8;
constexpr long EXPANDED_STRIDE = (TILES_EXPANDED * TILE + 4L) * BLOCK;

// Patches overlap windows by half: what is expanded begins a row and a column before the first patch.
VERYDEEP_INLINE void expand_patches(const Gradient& gradient, const TilePosition& first, int num_tiles, int block,
                                    float* expanded) {
    const FeatureMap& map = gradient.map;
    for (int row = 0; row < PATCH / 2 + 1; ++row) {
        const int y = min(TILE / 2 * first.row + row - 1, map.height);
        for (int column = 0; column < TILE / 2 * num_tiles + 2; ++column)
            expand_window(gradient,
                          map.at(first.image, block, y, min(TILE / 2 * first.column + column - 1, map.width)),
                          expanded + 2 * row * EXPANDED_STRIDE + 2 * column * BLOCK, EXPANDED_STRIDE);
    }
}

template <class Numbers>
void transform_gradient_input(const GradientInputTransform& all) {
    using Element = typename Numbers::Element;
    if (!all.gradient.argmax)
        return transform_input<Numbers>(
            {all.gradient.map, all.tiles, all.first_block, all.num_blocks, all.transformed, all.strides});
    alignas(64) float expanded[(PATCH + 2) * EXPANDED_STRIDE];
    for (int block = all.first_block, end = block + all.num_blocks; block < end; ++block) {
        Element* out = static_cast<Element*>(all.transformed) + block * all.strides.block;
        TilePosition position(all.tiles.grid, all.tiles.first);
        for (int done = 0, count; done < all.tiles.count; done += count) {
            count = min(min(TILES_EXPANDED, all.tiles.count - done), all.tiles.grid.columns - position.column);
            expand_patches(all.gradient, position, count, block, expanded);
            const float* patch = expanded + EXPANDED_STRIDE + BLOCK;
            for (int tile = 0; tile < count; ++tile, out += BLOCK, patch += TILE * BLOCK, position.next())
                for (int part = 0; part < PARTS; ++part)
                    transform_patch(patch + part * LANES, EXPANDED_STRIDE, [&](int point, Vector x) {
                        Numbers::store_vector(out + point * all.strides.point + part * LANES, x);
                    });
        }
    }
}

// Four numbers -> A times these: the transpose of `transform_back`.
VERYDEEP_INLINE void spread_four(const Vector* d, Vector* t) {
    const Vector even_half = d[0] + 0.5f * d[2], odd_half = d[1] + 0.5f * d[3];
    const Vector even_two = d[0] + 2.0f * d[2], odd_two = d[1] + 2.0f * d[3];
    t[0] = d[0];
    t[1] = even_half + SQRT_HALF * odd_half;
    t[2] = even_half - SQRT_HALF * odd_half;
    t[3] = even_two + SQRT_TWO * odd_two;
    t[4] = even_two - SQRT_TWO * odd_two;
    t[5] = d[3];
}

// A vector of channels of a tile's 4x4 gradients -> `keep(point, vector)` for each of the 36 points.
template <class Keep>
VERYDEEP_INLINE void spread_tile(const float* corner, long row_stride, Keep keep) {
    const auto input = [&](int y, int x) { return load(corner + y * row_stride + x * BLOCK); };
    const auto keep_row = [&](int y, const Vector* d) {
        Vector t[PATCH];
        spread_four(d, t);
        VERYDEEP_UNROLL
        for (int x = 0; x < PATCH; ++x) keep(PATCH * y + x, t[x]);
    };
    Vector upper[TILE], lower[TILE];
    VERYDEEP_UNROLL
    for (int x = 0; x < TILE; ++x) upper[x] = input(0, x);
    keep_row(0, upper);
    VERYDEEP_UNROLL
    for (int x = 0; x < TILE; ++x) {
        const Vector even = input(0, x) + 0.5f * input(2, x), odd = input(1, x) + 0.5f * input(3, x);
        upper[x] = even + SQRT_HALF * odd;
        lower[x] = even - SQRT_HALF * odd;
    }
    keep_row(1, upper);
    keep_row(2, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < TILE; ++x) {
        const Vector even = input(0, x) + 2.0f * input(2, x), odd = input(1, x) + 2.0f * input(3, x);
        upper[x] = even + SQRT_TWO * odd;
        lower[x] = even - SQRT_TWO * odd;
    }
    keep_row(3, upper);
    keep_row(4, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < TILE; ++x) upper[x] = input(3, x);
    keep_row(5, upper);
}

template <class Numbers, bool POOLED>
void transform_gradient_as(const GradientTransform& all) {
    using Element = typename Numbers::Element;
    const Gradient& gradient = all.gradient;
    const TileRange tiles = all.tiles;
    const long point_stride = all.strides.point;
    alignas(64) float patch[TILE * TILE * BLOCK];
    TilesAhead ahead(tiles, all.first_block);
    for (int i = 0; i < all.num_blocks; ++i) {
        const int block = all.first_block + i;
        Element* out = static_cast<Element*>(all.transformed) + i * all.strides.block;
        TilePosition position(tiles.grid, tiles.first);
        Vector sums[PARTS] = {};
        for (int tile = 0; tile < tiles.count; ++tile, out += BLOCK, position.next(), ahead.next()) {
            const float* corner = patch;
            long row_stride = TILE * BLOCK;
            if constexpr (POOLED) {
                expand_tile(gradient, position, block, patch);
            } else {
                ahead.prefetch_tile<TILE>(gradient.map);
                corner = gradient.map.at(position.image, block, TILE * position.row, TILE * position.column);
                row_stride = gradient.map.row_stride;
            }
            for (int part = 0; part < PARTS; ++part) {
                Vector sum{};
                for (int y = 0; y < TILE; ++y) VERYDEEP_UNROLL
                for (int x = 0; x < TILE; ++x) sum += load(corner + y * row_stride + x * BLOCK + part * LANES);
                sums[part] += sum;
                spread_tile(corner + part * LANES, row_stride, [&](int point, Vector x) {
                    Numbers::store_vector(out + point * point_stride + part * LANES, x);
                });
            }
            alternate_tiles<Numbers>(out, tile, tiles.count, point_stride);
        }
        for (int part = 0; part < PARTS; ++part) {
            float* const sum = all.sums + block * BLOCK + part * LANES;
            store(sum, load(sum) + sums[part]);
        }
    }
}

template <class Numbers>
void transform_gradient(const GradientTransform& all) {
    if (all.gradient.argmax)
        transform_gradient_as<Numbers, true>(all);
    else
        transform_gradient_as<Numbers, false>(all);
}

template <Activation ACTIVATION>
void transform_output_argmax_with(const ArgmaxOutputTransform& all) {
    const OutputTransform& output = all.output;
    const FeatureMap& out = output.out;
    const float* products = output.products;
    const float* bias = output.epilogue.bias;
    constexpr int SIDE = TILE / 2;
    TilesAhead ahead(output.tiles, output.first_block);
    for (int i = 0; i < output.num_blocks; ++i, products += output.strides.block, bias += BLOCK) {
        TilePosition position(output.tiles.grid, output.tiles.first);
        for (int tile = 0; tile < output.tiles.count; ++tile, position.next(), ahead.next()) {
            ahead.prefetch_tile<SIDE>(out);
            const int top = SIDE * position.row, left = SIDE * position.column;
            const int rows = min(SIDE, out.height - top), columns = min(SIDE, out.width - left);
            for (int part = 0; part < PARTS; ++part) {
                Vector y[TILE][TILE];
                transform_products(products + tile * BLOCK + part * LANES, output.strides.point,
                                   load(bias + part * LANES), y);
                for (int row = 0; row < rows; ++row)
                    for (int column = 0; column < columns; ++column) {
                        const Greatest greatest =
                            greatest_of(y[2 * row][2 * column], y[2 * row][2 * column + 1],
                                        y[2 * row + 1][2 * column], y[2 * row + 1][2 * column + 1]);
                        float* const to = out.at(position.image, output.first_block + i, top + row, left + column);
                        store(to + part * LANES, activate(ACTIVATION, greatest.value));
                        keep_argmax(greatest, part, all.argmax + (to - out.data) / BLOCK);
                    }
            }
        }
    }
}

void transform_output_argmax(const ArgmaxOutputTransform& all) {
    switch (all.output.epilogue.activation) {
        case Activation::none: return transform_output_argmax_with<Activation::none>(all);
        case Activation::relu: return transform_output_argmax_with<Activation::relu>(all);
    }
}

template <bool MASKED>
void transform_output_gradient_as(const GradientOutputTransform& all) {
    const FeatureMap &out = all.out, &seen = all.seen;
    const float* products = all.products;
    TilesAhead ahead(all.tiles, all.first_block);
    for (int i = 0; i < all.num_blocks; ++i, products += all.strides.block) {
        TilePosition position(all.tiles.grid, all.tiles.first);
        for (int tile = 0; tile < all.tiles.count; ++tile, position.next(), ahead.next()) {
            ahead.prefetch_tile<TILE>(out);
            if constexpr (MASKED) ahead.prefetch_tile<TILE>(seen);
            const int top = TILE * position.row, left = TILE * position.column;
            const int rows = min(TILE, out.height - top), columns = min(TILE, out.width - left);
            float* const to = out.at(position.image, all.first_block + i, top, left);
            const float* const mask = to - out.data + seen.data;
            for (int part = 0; part < PARTS; ++part) {
                Vector y[TILE][TILE];
                transform_products(products + tile * BLOCK + part * LANES, all.strides.point, Vector{}, y);
                const auto put = [&](int row, int column) {
                    const long at = row * out.row_stride + column * BLOCK + part * LANES;
                    store(to + at, MASKED ? where_active(load(mask + at), y[row][column]) : y[row][column]);
                };
                if (rows == TILE && columns == TILE) {
                    VERYDEEP_UNROLL
                    for (int row = 0; row < TILE; ++row) VERYDEEP_UNROLL
                    for (int column = 0; column < TILE; ++column) put(row, column);
                } else {
                    for (int row = 0; row < rows; ++row)
                        for (int column = 0; column < columns; ++column) put(row, column);
                }
            }
        }
    }
}

void transform_output_gradient(const GradientOutputTransform& all) {
    if (all.seen.data)
        transform_output_gradient_as<true>(all);
    else
        transform_output_gradient_as<false>(all);
}

// Six sums of products -> three weights' gradients: the transpose of `transform_three`.
VERYDEEP_INLINE void gather_three(const Vector* m, Vector* g) {
    const Vector sum_half = (m[1] + m[2]) * (-2.0f / 3.0f), difference_half = (m[1] - m[2]) * (-2.0f / 3.0f);
    const Vector sum_two = (m[3] + m[4]) * (1.0f / 6.0f), difference_two = (m[3] - m[4]) * (1.0f / 6.0f);
    g[0] = m[0] + sum_half + sum_two;
    g[1] = SQRT_HALF * difference_half + SQRT_TWO * difference_two;
    g[2] = 0.5f * sum_half + 2.0f * sum_two + m[5];
}

// A vector of inputs of one output's weights.
VERYDEEP_INLINE void gather_kernels(const WeightGradient& all, const float* sums, float kernels[9][LANES]) {
    Vector rows[3][PATCH];
    for (int x = 0; x < PATCH; ++x) {
        Vector m[PATCH], t[3];
        for (int y = 0; y < PATCH; ++y) {
            const float* const from = sums + (PATCH * y + x) * all.point_stride;
            m[y] = load(from);
            for (int partial = 1; partial < all.num_partial; ++partial)
                m[y] += load(from + partial * all.partial_stride);
        }
        gather_three(m, t);
        for (int y = 0; y < 3; ++y) rows[y][x] = t[y];
    }
    for (int y = 0; y < 3; ++y) {
        Vector g[3];
        gather_three(rows[y], g);
        for (int x = 0; x < 3; ++x) store(kernels[3 * y + x], g[x]);
    }
}

void gather_weight_gradient(const WeightGradient& all) {
    const long in_blocks = (all.in_channels + BLOCK - 1) / BLOCK;
    const long first = static_cast<long>(all.out_block) * BLOCK;
    const long outputs = min(long{BLOCK}, all.out_channels - first);
    for (long block = 0; block < in_blocks; ++block)
        for (long output = 0; output < outputs; ++output)
            for (int part = 0; part < PARTS; ++part) {
                const long channel = block * BLOCK + part * LANES;
                alignas(64) float kernels[9][LANES];
                gather_kernels(
                    all, all.sums + ((all.out_block * in_blocks + block) * BLOCK + output) * BLOCK + part * LANES,
                    kernels);
                float* const to = all.gradient + ((first + output) * all.in_channels + channel) * 9;
                for (int lane = 0; lane < LANES && channel + lane < all.in_channels; ++lane)
                    for (int i = 0; i < 9; ++i) to[lane * 9 + i] = kernels[i][lane];
            }
}

// The kernel of output channel k of the forward pass, which is an input here, turned by 180 degrees.
template <class Numbers>
void transform_weights_back(const ConvolutionWeights& weights, int panel_number, void* to) {
    const PanelColumns panel(panel_number, weights.in_channels);
    PanelOfPoints<Numbers> out(blocks_of(weights.out_channels), panel, to);
    for (long k = 0; k < blocks_of(weights.out_channels) * BLOCK; ++k)
        for (int column = 0; column < panel.columns; column += LANES) {
            const int inputs = k < weights.out_channels ? panel.outputs - column : 0;
            const float* const from = weights.data + (k * weights.in_channels + panel.first + column) * 9;
            alignas(64) float kernel[9][LANES] = {};
            for (int lane = 0; lane < LANES && lane < inputs; ++lane)
                for (int i = 0; i < 9; ++i) kernel[8 - i][lane] = from[lane * 9 + i];
            transform_loaded(kernel, [&](int point, Vector x) { out.keep(k, column, point, x); });
        }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
