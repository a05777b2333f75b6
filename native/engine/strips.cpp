// conv1_1 and conv1_2 strip by strip: a strip of conv1_1's map is made, and used up, within one core's cache.
#include <algorithm>
#include <cstring>

#include "engine/layout.h"
#include "engine/running.h"
#include "engine/threads.h"

namespace verydeep {
namespace {

// Computes conv1_1 from one row above and one column left of (top, left) on, as much as the strip with its border
// holds; zeros where there is no image. `pixels` has room for what it reads.
void fill_strip(const Call& call, long image, int top, int left, const FeatureMap& strip, float* pixels) {
    const Operation& first = call.plan.operations[0];
    const PackedStep& step = *first.step;
    const int height = call.images.height, width = call.images.width;
    const int rows = strip.height + 2, columns = strip.width + 2;
    const long row_floats = (columns + 2L) * 3;
    const auto within = [&](int x) { return std::clamp(x, 0, width); };
    const int begin = within(left - 2), end = within(left + columns);
    std::memset(pixels, 0, (rows + 2) * row_floats * sizeof(float));
    for (int y = std::max(0, top - 2); y < std::min(height, top + rows); ++y)
        read_row(call, image, y, begin, end, pixels + (y - top + 2) * row_floats + (begin - left + 2) * 3L);
    const int from = within(left - 1) - (left - 1), to = within(left - 1 + columns) - (left - 1);
    for (int y = 0; y < rows; ++y) {
        const bool outside = top - 1 + y < 0 || top - 1 + y >= height;
        const int zeros_from = outside ? columns : from, zeros_to = outside ? columns : to;
        for (int block = 0; block < strip.num_blocks; ++block) {
            float* const row = strip.at(0, block, y - 1, -1);
            std::memset(row, 0, zeros_from * BLOCK * sizeof(float));
            std::memset(row + zeros_to * BLOCK, 0, (columns - zeros_to) * BLOCK * sizeof(float));
        }
        if (outside) continue;
        call.kernels.first_convolution_row(
            {pixels + y * row_floats + from * 3L, row_floats, step.weights.floats(), step.bias.floats(),
             first.activation, to - from, strip.at(0, 0, y - 1, from - 1), strip.block_stride, strip.num_blocks});
    }
}

// What remains of a map from (top, left) of an image on.
FeatureMap rest_of(const FeatureMap& map, long image, int top, int left) {
    FeatureMap rest = map;
    rest.data += image * map.image_stride + top * map.row_stride + left * BLOCK;
    rest.height -= top;
    rest.width -= left;
    return rest;
}

// Part `number` of `parts` of a length begins here.
int part_begin(int length, int number, int parts) {
    return static_cast<int>(static_cast<long>(length) * number / parts);
}

}  // namespace

void convolve_strips(const Call& call, const FeatureMap& out, const ImageRange& images) {
    const Operation &first = call.plan.operations[0], &second = call.plan.operations[1];
    const StripPlan& strips = *call.plan.strips;
    const TileGrid grid = tile_grid(call.images.height, call.images.width);
    const int strips_each = strips.down * strips.across;
    parallel_for(call.threads, images.count * strips_each, [&](long task, int thread) {
        const long image = task / strips_each;
        const int down = static_cast<int>(task % strips_each) / strips.across;
        const int across = static_cast<int>(task % strips_each) % strips.across;
        const int tile_row = part_begin(grid.rows, down, strips.down);
        const int tile_column = part_begin(grid.columns, across, strips.across);
        const TileGrid here{part_begin(grid.rows, down + 1, strips.down) - tile_row,
                            part_begin(grid.columns, across + 1, strips.across) - tile_column};
        float* const scratch =
            reinterpret_cast<float*>(call.thread_scratch(thread) + call.plan.buffers.thread.strip);
        const FeatureMap strip = map_layout({first.out.channels, TILE * here.rows, TILE * here.columns}, scratch);
        fill_strip(call, images.first + image, TILE * tile_row, TILE * tile_column, strip,
                   scratch + strip.image_stride);
        const int side = second.max_pool ? TILE / 2 : TILE;
        convolve_tiles(call, second, strip, {here, 0, here.count()},
                       rest_of(out, image, side * tile_row, side * tile_column), thread);
    });
}

}  // namespace verydeep
