// Convolutions of whole maps, shared among threads.
#include <algorithm>

#include "engine/layout.h"
#include "engine/running.h"
#include "engine/threads.h"

namespace verydeep {
namespace {

// Blocks of channels that are transformed together, as they share a scale.
int group_blocks(const PackedStep& step) { return step.kernels->point_scales ? INT16_SCALE_BLOCKS : 1; }

void transform_group(const PackedStep& step, const FeatureMap& in, const TileRange& tiles, int first_block,
                     void* transformed) {
    const int num_blocks = std::min(group_blocks(step), in.num_blocks - first_block);
    step.kernels->transform_input({in, tiles, first_block, num_blocks, transformed,
                                   transformed_strides(in.num_blocks, tiles.count, *step.kernels)});
}

// Products of tiles whose inputs are transformed with a panel, and their outputs.
void finish_panel(const Call& call, const Operation& operation, int panel, const void* transformed,
                  const FeatureMap& in, const TileRange& tiles, const FeatureMap& out, int thread) {
    const PackedStep& step = *operation.step;
    char* const own = call.thread_scratch(thread);
    void* const transformed_here = own + call.plan.buffers.thread.panel;
    if (step.on_demand)
        step.kernels->transform_weights({step.on_demand, step.step.in_channels, step.step.out_channels}, panel,
                                        transformed_here);
    const void* const weights = step.on_demand ? transformed_here : step.panel(panel);
    const int panel_blocks = step.panel_blocks(panel);
    float* const products = reinterpret_cast<float*>(own + call.plan.buffers.thread.products);
    const PointStrides strides = product_strides(tiles.count);
    step.kernels->multiply_points({transformed, transformed_strides(in.num_blocks, tiles.count, *step.kernels),
                                   tiles.count, in.num_blocks, weights, panel_blocks, products, strides});
    step.kernels->transform_output({products,
                                    strides,
                                    tiles,
                                    out,
                                    panel * (PANEL / BLOCK),
                                    panel_blocks,
                                    {step.panel_bias(panel), operation.activation, operation.max_pool}});
}

// Tiles [first, last) of all images' are block number `block` of `blocks`.
TileRange block_of_tiles(const TileGrid& grid, long tiles, long block, long blocks) {
    const long first = tiles * block / blocks;
    return {grid, first, static_cast<int>(tiles * (block + 1) / blocks - first)};
}

}  // namespace

void convolve_first(const Call& call, const Operation& operation, const float* images, const FeatureMap& out,
                    long count) {
    const PackedStep& step = *operation.step;
    const int width = operation.in.width;
    const long row_floats = (width + 2L) * 3, image_floats = (operation.in.height + 2L) * row_floats;
    const auto convolve_row = [&](long image, int y, float* to, long block_stride) {
        call.kernels.first_convolution_row({images + image * image_floats + y * row_floats, row_floats,
                                            step.weights.floats(), step.bias.floats(), operation.activation, width,
                                            to, block_stride, out.num_blocks});
    };
    parallel_for(call.threads, count * out.height, [&](long task, int thread) {
        const long image = task / out.height;
        const int y = static_cast<int>(task % out.height);
        if (!operation.max_pool) {
            convolve_row(image, y, out.at(image, 0, y, 0), out.block_stride);
            return;
        }
        float* const upper =
            reinterpret_cast<float*>(call.thread_scratch(thread) + call.plan.buffers.thread.strip);
        float* const lower = upper + static_cast<long>(width) * BLOCK;
        const long block_stride = 2L * width * BLOCK;
        convolve_row(image, 2 * y, upper, block_stride);
        convolve_row(image, 2 * y + 1, lower, block_stride);
        for (int block = 0; block < out.num_blocks; ++block)
            call.kernels.max_pool_row({upper + block * block_stride, lower + block * block_stride, out.width,
                                       out.at(image, block, y, 0)});
    });
}

void convolve_tiles(const Call& call, const Operation& operation, const FeatureMap& in, const TileRange& tiles,
                    const FeatureMap& out, int thread) {
    const PackedStep& step = *operation.step;
    char* const transformed = call.thread_scratch(thread);
    for (int block = 0; block < in.num_blocks; block += group_blocks(step))
        transform_group(step, in, tiles, block, transformed);
    for (int panel = 0; panel < panels_of(operation.out.channels); ++panel)
        finish_panel(call, operation, panel, transformed, in, tiles, out, thread);
}

void convolve_winograd(const Call& call, const PlannedOperation& operation, const FeatureMap& in,
                       const FeatureMap& out, long count) {
    const PackedStep& step = *operation.step;
    const TileGrid grid = tile_grid(in.height, in.width);
    const long tiles = count * grid.count(), blocks = ceil_div(tiles, static_cast<long>(operation.block_tiles));
    if (!operation.shared) {
        parallel_for(call.threads, blocks, [&](long block, int thread) {
            convolve_tiles(call, operation, in, block_of_tiles(grid, tiles, block, blocks), out, thread);
        });
        return;
    }
    char* const transformed = call.scratch + call.plan.buffers.shared_input;
    for (long block = 0; block < blocks; ++block) {
        const TileRange here = block_of_tiles(grid, tiles, block, blocks);
        parallel_for(call.threads, ceil_div(in.num_blocks, group_blocks(step)), [&](long group, int) {
            transform_group(step, in, here, static_cast<int>(group) * group_blocks(step), transformed);
        });
        parallel_for(call.threads, panels_of(operation.out.channels), [&](long panel, int thread) {
            finish_panel(call, operation, static_cast<int>(panel), transformed, in, here, out, thread);
        });
    }
}

void convolve_pointwise(const Call& call, const Operation& operation, const FeatureMap& in, const FeatureMap& out,
                        long count) {
    const PackedStep& step = *operation.step;
    const Kernels& kernels = call.kernels;
    parallel_for(call.threads, count * in.height, [&](long task, int thread) {
        const long image = task / in.height;
        const int y = static_cast<int>(task % in.height);
        MatrixProduct product{};
        product.rows = in.at(image, 0, y, 0);
        product.row_block_stride = in.block_stride;
        product.num_rows = in.width;
        product.in_blocks = in.num_blocks;
        product.result_block_stride = out.block_stride;
        if (kernels.element_bytes != sizeof(float)) {
            char* const converted = call.thread_scratch(thread);
            const long row = static_cast<long>(in.width) * BLOCK;
            for (int block = 0; block < in.num_blocks; ++block)
                kernels.convert_rows(in.at(image, block, y, 0), in.width,
                                     converted + block * row * kernels.element_bytes);
            product.rows = converted;
            product.row_block_stride = row;
        }
        for (int panel = 0; panel < panels_of(operation.out.channels); ++panel) {
            product.panel = step.panel(panel);
            product.panel_blocks = step.panel_blocks(panel);
            product.results = out.at(image, panel * (PANEL / BLOCK), y, 0);
            kernels.multiply(product);
        }
        kernels.add_bias({out.at(image, 0, y, 0), out.block_stride, out.width, out.num_blocks, step.bias.floats(),
                          operation.activation});
    });
}

}  // namespace verydeep
