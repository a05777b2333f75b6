// Fully connected layers: products over every position of the score map.
#include <algorithm>
#include <vector>

#include "engine/layout.h"
#include "engine/running.h"
#include "engine/threads.h"
#include "tuning.h"

namespace verydeep {
namespace {

// Some positions of the score maps, counted over those of all images of a range.
struct PositionRange {
    long first, count;
};

// What one position sees, as a row of a product, in the order of the weights: channel, row, column.
void gather_row(const Kernels& kernels, const Step& step, const float* corner, const FeatureMap& map, char* to,
                long block_bytes) {
    float block[BLOCK];
    int filled = 0;
    const auto flush = [&] {
        kernels.convert_rows(block, 1, to);
        to += block_bytes;
        filled = 0;
    };
    for (long channel = 0; channel < step.in_channels; ++channel) {
        const float* const from = corner + channel / BLOCK * map.block_stride + channel % BLOCK;
        for (int y = 0; y < step.kernel; ++y)
            for (int x = 0; x < step.kernel; ++x) {
                block[filled++] = from[y * map.row_stride + x * BLOCK];
                if (filled == BLOCK) flush();
            }
    }
    if (filled) {
        std::fill(block + filled, block + BLOCK, 0.0f);
        flush();
    }
}

const void* gather_rows(const Call& call, const Operation& operation, const FeatureMap& map,
                        const PositionRange& positions) {
    const int columns = operation.out.width;
    const long each = static_cast<long>(operation.out.height) * columns;
    const long row_bytes = BLOCK * call.kernels.element_bytes;
    char* const to = call.scratch + call.plan.buffers.rows;
    parallel_for(call.threads, positions.count, [&](long row, int) {
        const long position = positions.first + row;
        const int within = static_cast<int>(position % each);
        gather_row(call.kernels, operation.step->step,
                   map.at(position / each, 0, within / columns, within % columns), map, to + row * row_bytes,
                   positions.count * row_bytes);
    });
    return to;
}

// The sums of one layer as the rows of the next one's product.
const void* convert_sums(const Call& call, const Operation& operation, const float* sums, long rows) {
    const Kernels& kernels = call.kernels;
    if (kernels.element_bytes == sizeof(float)) return sums;
    char* const to = call.scratch + call.plan.buffers.rows;
    parallel_for(call.threads, blocks_of(operation.step->step.inputs()), [&](long block, int) {
        kernels.convert_rows(sums + block * rows * BLOCK, rows, to + block * rows * BLOCK * kernels.element_bytes);
    });
    return to;
}

// In pieces of the inputs where rows are many: a piece of them stays in the cache.
void multiply_in_pieces(const Kernels& kernels, const MatrixProduct& all) {
    const int at_once = all.num_rows > tuning::MANY_ROWS ? tuning::BLOCKS_AT_ONCE : all.in_blocks;
    const long row_bytes = all.row_block_stride * kernels.element_bytes;
    const long panel_bytes = static_cast<long>(BLOCK) * all.panel_blocks * BLOCK * kernels.element_bytes;
    for (int block = 0; block < all.in_blocks; block += at_once) {
        MatrixProduct piece = all;
        piece.rows = static_cast<const char*>(all.rows) + block * row_bytes;
        piece.panel = static_cast<const char*>(all.panel) + block * panel_bytes;
        piece.in_blocks = std::min(at_once, all.in_blocks - block);
        piece.accumulate = block > 0;
        kernels.multiply(piece);
    }
}

void multiply(const Call& call, const Operation& operation, const void* rows, long num_rows, float* sums) {
    const PackedStep& step = *operation.step;
    const long block_stride = num_rows * BLOCK;
    parallel_for(call.threads, panels_of(operation.out.channels), [&](long number, int thread) {
        const int panel = static_cast<int>(number), panel_blocks = step.panel_blocks(panel);
        MatrixProduct product;
        product.rows = rows;
        product.row_block_stride = product.result_block_stride = block_stride;
        product.num_rows = static_cast<int>(num_rows);
        product.in_blocks = static_cast<int>(blocks_of(step.step.inputs()));
        product.panel = step.panel(panel);
        product.panel_blocks = panel_blocks;
        product.results = sums + panel * (PANEL / BLOCK) * block_stride;
        product.accumulate = false;
        if (step.packing == Packing::int20)
            call.kernels.multiply_int20(product, reinterpret_cast<float*>(call.thread_scratch(thread)));
        else
            multiply_in_pieces(call.kernels, product);
        call.kernels.add_bias(
            {product.results, block_stride, num_rows, panel_blocks, step.panel_bias(panel), operation.activation});
    });
}

void write_sums(const Call& call, const Operation& operation, const float* sums, long first_image,
                const PositionRange& positions) {
    const long each = static_cast<long>(operation.out.height) * operation.out.width,
               channels = operation.out.channels;
    for (const int output : operation.outputs)
        for (long row = 0; row < positions.count; ++row) {
            const long position = positions.first + row;
            float* const to =
                call.results[output] + (first_image + position / each) * channels * each + position % each;
            for (long channel = 0; channel < channels; ++channel)
                to[channel * each] = sums[(channel / BLOCK * positions.count + row) * BLOCK + channel % BLOCK];
        }
}

void run_positions(const Call& call, const FeatureMap& map, long first_image, const PositionRange& positions) {
    const std::size_t first = call.plan.first_fully_connected;
    int side = 1;  // of the two buffers of sums, the one that was written last
    for (std::size_t i = first; i < call.plan.operations.size(); ++i) {
        const Operation& operation = call.plan.operations[i];
        if (operation.kind == OperationKind::activation) {
            const long num_blocks = blocks_of(operation.out.channels), block_stride = positions.count * BLOCK;
            const std::vector<float> no_bias(num_blocks * BLOCK, -0.0f);
            call.kernels.add_bias({call.floats(call.plan.buffers.sums[side]), block_stride, positions.count,
                                   static_cast<int>(num_blocks), no_bias.data(), operation.step->step.activation});
        } else {
            const void* const rows =
                i == first
                    ? gather_rows(call, operation, map, positions)
                    : convert_sums(call, operation, call.floats(call.plan.buffers.sums[side]), positions.count);
            side = 1 - side;
            multiply(call, operation, rows, positions.count, call.floats(call.plan.buffers.sums[side]));
        }
        write_sums(call, operation, call.floats(call.plan.buffers.sums[side]), first_image, positions);
    }
}

}  // namespace

void run_fully_connected(const Call& call, const FeatureMap& map, const ImageRange& images) {
    const Shape& out = call.plan.operations[call.plan.first_fully_connected].out;
    const long all = images.count * out.height * out.width;
    for (long first = 0; first < all; first += call.plan.positions)
        run_positions(call, map, images.first, {first, std::min(call.plan.positions, all - first)});
}

}  // namespace verydeep
