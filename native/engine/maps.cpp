// Operations over maps that have no weights, and what goes out.
#include <algorithm>
#include <cstring>

#include "engine/running.h"
#include "engine/threads.h"

namespace verydeep {
namespace {

constexpr float NO_BIAS[BLOCK] = {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f,
                                  -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f};  // x + -0 is x, if x is -0 too

void write_block(const FeatureMap& map, long image, int block, long channels, float* to) {
    const long plane = static_cast<long>(map.height) * map.width;
    for (long channel = 0; channel < channels; ++channel, to += plane)
        for (int y = 0; y < map.height; ++y) {
            const float* const from = map.at(image, block, y, 0) + channel;
            for (int x = 0; x < map.width; ++x) to[static_cast<long>(y) * map.width + x] = from[x * BLOCK];
        }
}

void write_maps(const Call& call, const Operation& operation, const FeatureMap& map, const ImageRange& images) {
    const long channels = operation.out.channels, plane = static_cast<long>(map.height) * map.width;
    parallel_for(call.threads, images.count * map.num_blocks, [&](long task, int) {
        const long image = task / map.num_blocks, first = task % map.num_blocks * BLOCK;
        for (const int output : operation.outputs)
            write_block(map, image, static_cast<int>(first / BLOCK), std::min<long>(BLOCK, channels - first),
                        call.results[output] + ((images.first + image) * channels + first) * plane);
    });
}

void compare_pairs(const Call& call, const Operation& operation, const FeatureMap& map, const ImageRange& images) {
    parallel_for(call.threads, images.count / 2 * map.height, [&](long task, int) {
        const long pair = task / map.height;
        const int y = static_cast<int>(task % map.height);
        for (const int output : operation.outputs) {
            DistanceRow row;
            row.first = map.at(2 * pair, 0, y, 0);
            row.second = map.at(2 * pair + 1, 0, y, 0);
            row.block_stride = map.block_stride;
            row.num_blocks = map.num_blocks;
            row.width = map.width;
            row.weights = call.comparison->weights[output];
            row.epsilon = call.comparison->epsilon;
            row.out = call.results[output] + (images.first / 2 * map.height + task) * map.width;
            call.kernels.unit_distance_row(row);
        }
    });
}

}  // namespace

void clear_border(const Call& call, const FeatureMap& map, long count) {
    parallel_for(call.threads, count * map.num_blocks, [&](long task, int) {
        float* const corner = map.data + task * map.block_stride;
        const long rows = map.block_stride / map.row_stride;
        std::memset(corner, 0, map.row_stride * sizeof(float));
        for (long y = 1; y <= map.height; ++y) {
            float* const row = corner + y * map.row_stride;
            const long inside = (map.width + 1L) * BLOCK;
            std::memset(row, 0, BLOCK * sizeof(float));
            std::memset(row + inside, 0, (map.row_stride - inside) * sizeof(float));
        }
        std::memset(corner + (map.height + 1L) * map.row_stride, 0,
                    (rows - map.height - 1) * map.row_stride * sizeof(float));
    });
}

void activate(const Call& call, Activation activation, const FeatureMap& maps, long count) {
    parallel_for(call.threads, count * maps.num_blocks, [&](long task, int) {
        const long image = task / maps.num_blocks;
        const int block = static_cast<int>(task % maps.num_blocks);
        for (int y = 0; y < maps.height; ++y)
            call.kernels.add_bias({maps.at(image, block, y, 0), 0, maps.width, 1, NO_BIAS, activation});
    });
}

void pool(const Call& call, void (*pool_row)(const PoolingRow&), const FeatureMap& in, const FeatureMap& out,
          long count) {
    parallel_for(call.threads, count * in.num_blocks, [&](long task, int) {
        const long image = task / in.num_blocks;
        const int block = static_cast<int>(task % in.num_blocks);
        for (int y = 0; y < out.height; ++y)
            pool_row({in.at(image, block, 2 * y, 0), in.at(image, block, 2 * y + 1, 0), out.width,
                      out.at(image, block, y, 0)});
    });
}

void normalize(const Call& call, const ResponseNorm& norm, const FeatureMap& in, const FeatureMap& out,
               long count) {
    parallel_for(call.threads, count * in.height, [&](long task, int) {
        const long image = task / in.height;
        const int y = static_cast<int>(task % in.height);
        call.kernels.normalize_row({in.at(image, 0, y, 0), in.block_stride, out.at(image, 0, y, 0),
                                    out.block_stride, in.num_blocks, in.width, norm});
    });
}

void write_outputs(const Call& call, const Operation& operation, const FeatureMap& map, const ImageRange& images) {
    if (operation.outputs.empty()) return;
    if (call.comparison)
        compare_pairs(call, operation, map, images);
    else
        write_maps(call, operation, map, images);
}

}  // namespace verydeep
