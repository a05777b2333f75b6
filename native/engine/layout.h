// Where maps, and the matrices of Winograd's convolutions, lie in memory.
#pragma once

#include "engine/step.h"
#include "kernels/kernels.h"

namespace verydeep {

template <class Number>
constexpr Number ceil_div(Number value, Number by) {
    return (value + by - 1) / by;
}

template <class Number>
constexpr Number round_up(Number value, Number to) {
    return ceil_div(value, to) * to;
}

inline TileGrid tile_grid(int height, int width) { return {ceil_div(height, TILE), ceil_div(width, TILE)}; }

// Maps of a shape, from `data` on.
inline FeatureMap map_layout(const Shape& shape, float* data = nullptr) {
    FeatureMap map;
    map.data = data;
    map.num_blocks = static_cast<int>(blocks_of(shape.channels));
    map.height = shape.height;
    map.width = shape.width;
    map.row_stride = (round_up(shape.width, TILE) + 2L) * BLOCK;
    map.block_stride = map.row_stride * (round_up(shape.height, TILE) + 2L);
    map.image_stride = map.block_stride * map.num_blocks;
    return map;
}

inline long map_floats(const Shape& shape) { return map_layout(shape).image_stride; }

// Elements from one of the 36 matrices to the next: each is 192 bytes aside, lest they all fall into the same sets
// of the cache.
inline long skewed_stride(long elements, long element_bytes) {
    return round_up(elements * element_bytes, 4096L) / element_bytes + 192 / element_bytes;
}

inline PointStrides transformed_strides(long in_blocks, long tiles, const Kernels& kernels) {
    return {skewed_stride(in_blocks * BLOCK * tiles, kernels.point_element_bytes), tiles * BLOCK};
}

// Of a block of tiles' transformed input, and of its scales where it has any.
inline std::size_t transformed_bytes(long in_blocks, long tiles, const Kernels& kernels) {
    const std::size_t scales =
        kernels.point_scales ? ceil_div(in_blocks, long{INT16_SCALE_BLOCKS}) * tiles * sizeof(float) : 0;
    return POINTS * transformed_strides(in_blocks, tiles, kernels).point * kernels.point_element_bytes + scales;
}

inline PointStrides product_strides(long tiles) {
    return {skewed_stride(PANEL * tiles, sizeof(float)), tiles * BLOCK};
}

// Of a block of tiles' products with a panel.
inline std::size_t product_bytes(long tiles) { return POINTS * product_strides(tiles).point * sizeof(float); }

}  // namespace verydeep
