#include "layers/positions.h"

#include <algorithm>
#include <vector>

#include "engine/threads.h"
#include "layers/scratch.h"
#include "tuning.h"

namespace verydeep {
namespace {

// Pairs of neighbours, themselves included, along a side.
long pairs_along(int side) { return 3L * side - 2; }

long positions_of(const Shape& map) { return static_cast<long>(map.height) * map.width; }

// In the order of the outputs.
std::vector<Connection> connections_of(int height, int width) {
    std::vector<Connection> found;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int down = std::max(-1, -y); down <= std::min(1, height - 1 - y); ++down)
                for (int across = std::max(-1, -x); across <= std::min(1, width - 1 - x); ++across)
                    found.push_back({y * width + x, (y + down) * width + x + across, (down + 1) * 3 + across + 1});
    return found;
}

// Maps as rows of images: [position][block][image][16].
struct Rows {
    float* data;
    long images;
    int num_blocks;

    float* at(long position, int block) const { return data + (position * num_blocks + block) * images * BLOCK; }
    long block_stride() const { return images * BLOCK; }
};

long row_floats(const Shape& map, long images, long channels) {
    return positions_of(map) * blocks_of(channels) * BLOCK * images;
}

void gather(const Processor& processor, const Maps& maps, const Rows& rows) {
    const FeatureMap map = maps.map();
    parallel_for(processor.threads, positions_of(maps.shape) * rows.num_blocks, [&](long task, int) {
        const int position = static_cast<int>(task / rows.num_blocks),
                  block = static_cast<int>(task % rows.num_blocks);
        float* to = rows.at(position, block);
        for (long image = 0; image < rows.images; ++image, to += BLOCK)
            std::copy_n(map.at(image, block, position / map.width, position % map.width), BLOCK, to);
    });
}

// The sums of all outputs: `finish(image, block, position, sums of 16)`.
template <class Finish>
void multiply_all(const Processor& processor, const Maps& in, const float* weights, const Maps& out,
                  float* scratch, Finish finish) {
    const FeatureMap map = out.map();
    const int in_blocks = in.map().num_blocks;
    const long panels = panels_of(out.shape.channels), images = in.images;
    const Rows rows{scratch, images, in_blocks};
    const Rows sums{scratch + row_floats(in.shape, images, in.shape.channels), images, map.num_blocks};
    gather(processor, in, rows);
    const std::vector<Connection> connections = connections_of(map.height, map.width);
    const long panel_floats = in_blocks * BLOCK * static_cast<long>(PANEL);
    const long chunks = ceil_div(images, long{tuning::POSITION_IMAGES});
    parallel_for(processor.threads, panels * chunks, [&](long task, int) {
        const int panel = static_cast<int>(task % panels), first_block = panel * (PANEL / BLOCK);
        const int panel_blocks = std::min(PANEL / BLOCK, map.num_blocks - first_block);
        const long begin = images * (task / panels) / chunks, end = images * (task / panels + 1) / chunks;
        int before = -1;
        for (const Connection& connection : connections) {
            MatrixProduct product{};
            product.rows = rows.at(connection.in, 0) + begin * BLOCK;
            product.row_block_stride = rows.block_stride();
            product.num_rows = static_cast<int>(end - begin);
            product.in_blocks = in_blocks;
            product.panel = weights + (connection.tap * panels + panel) * panel_floats;
            product.panel_blocks = panel_blocks;
            product.results = sums.at(connection.out, first_block) + begin * BLOCK;
            product.result_block_stride = sums.block_stride();
            product.accumulate = connection.out == before;
            processor.kernels.multiply(product);
            before = connection.out;
        }
        for (long position = 0; position < positions_of(out.shape); ++position)
            for (int block = first_block; block < first_block + panel_blocks; ++block)
                for (long image = begin; image < end; ++image)
                    finish(block,
                           map.at(image, block, static_cast<int>(position) / map.width,
                                  static_cast<int>(position) % map.width),
                           sums.at(position, block) + image * BLOCK);
    });
}

}  // namespace

bool by_positions(const Shape& map) {
    const TileGrid grid = tile_grid(map.height, map.width);
    return pairs_along(map.height) * pairs_along(map.width) < long{POINTS} * grid.count();
}

long position_weight_floats(long in_channels, long out_channels) {
    return 9 * panels_of(out_channels) * round_up(in_channels, long{BLOCK}) * PANEL;
}

void pack_position_weights(const Processor& processor, const ConvolutionWeights& weights, bool back, float* to) {
    const long inputs = back ? weights.out_channels : weights.in_channels;
    const long outputs = back ? weights.in_channels : weights.out_channels;
    const long panels = panels_of(outputs), rounded = round_up(inputs, long{BLOCK});
    parallel_for(processor.threads, 9 * panels, [&](long task, int) {
        const long tap = task / panels, panel = task % panels;
        const long first = panel * PANEL, here = std::min(long{PANEL}, outputs - first);
        std::vector<float> matrix(here * inputs);
        for (long output = 0; output < here; ++output)
            for (long input = 0; input < inputs; ++input) {
                const long one = first + output;
                matrix[output * inputs + input] =
                    back ? weights.data[(input * weights.in_channels + one) * 9 + 8 - tap]
                         : weights.data[(one * weights.in_channels + input) * 9 + tap];
            }
        processor.kernels.pack_weights({matrix.data(), inputs, here}, {0, 0, rounded},
                                       to + task * rounded * PANEL);
    });
}

long position_scratch(const Shape& map, long images, long in_channels, long out_channels) {
    return row_floats(map, images, in_channels) + row_floats(map, images, out_channels);
}

void convolve_positions(const Processor& processor, const Maps& in, const float* weights, const float* bias,
                        Activation activation, const Maps& out, float* scratch) {
    multiply_all(processor, in, weights, out, scratch, [&](int block, float* to, const float* sums) {
        std::copy_n(sums, BLOCK, to);
        processor.kernels.add_bias({to, 0, 1, 1, bias + block * BLOCK, activation});
    });
}

void positions_data_gradient(const Processor& processor, const Maps& gradient, const float* weights,
                             const float* seen, const Maps& out, float* scratch) {
    multiply_all(processor, gradient, weights, out, scratch, [&](int, float* to, const float* sums) {
        const float* const mask = seen ? seen + (to - out.data) : nullptr;
        for (int i = 0; i < BLOCK; ++i) to[i] = mask && mask[i] <= 0 ? 0.0f : sums[i];
    });
}

void positions_weight_gradient(const Processor& processor, const Maps& in, const OutputGradient& gradient,
                               float* weights, float* bias) {
    const long inputs = in.shape.channels, outputs = gradient.maps.shape.channels, images = in.images;
    const int in_blocks = in.map().num_blocks, out_blocks = gradient.maps.map().num_blocks;
    const Shape full{outputs, in.shape.height, in.shape.width};
    const long sum_floats = static_cast<long>(in_blocks) * BLOCK * BLOCK;
    ScratchPlan plan;
    const long in_rows = plan.take(row_floats(in.shape, images, inputs));
    const long out_rows = plan.take(row_floats(in.shape, images, outputs));
    const long sums_at = plan.take(9 * out_blocks * sum_floats);
    const long full_at = plan.take(gradient.argmax ? images * map_floats(full) : 0);
    float* const scratch = layer_scratch(plan.floats());
    const Maps slope_maps = gradient.argmax ? Maps{scratch + full_at, images, full} : gradient.maps;
    if (gradient.argmax) max_pool_gradient(processor, gradient, slope_maps);
    const Rows rows{scratch + in_rows, images, in_blocks}, slopes{scratch + out_rows, images, out_blocks};
    gather(processor, in, rows);
    gather(processor, slope_maps, slopes);
    const std::vector<Connection> connections = connections_of(in.shape.height, in.shape.width);
    parallel_for(processor.threads, 9L * out_blocks, [&](long task, int) {
        const int tap = static_cast<int>(task / out_blocks), block = static_cast<int>(task % out_blocks);
        float* const sums = scratch + sums_at + task * sum_floats;
        bool accumulate = false;
        for (const Connection& connection : connections) {
            if (connection.tap != tap) continue;
            processor.gradients.multiply_outer({slopes.at(connection.out, block), slopes.block_stride(), 1,
                                                rows.at(connection.in, 0), rows.block_stride(), in_blocks,
                                                static_cast<int>(images), sums, accumulate});
            accumulate = true;
        }
        for (long output = 0; output < BLOCK && block * BLOCK + output < outputs; ++output)
            for (long input = 0; input < inputs; ++input)
                weights[((block * BLOCK + output) * inputs + input) * 9 + tap] =
                    accumulate ? sums[(input / BLOCK * BLOCK + output) * BLOCK + input % BLOCK] : 0.0f;
    });
    for (long output = 0; output < outputs; ++output) {
        float sum = 0;
        for (long position = 0; position < positions_of(in.shape); ++position) {
            const float* const row = slopes.at(position, static_cast<int>(output / BLOCK)) + output % BLOCK;
            for (long image = 0; image < images; ++image) sum += row[image * BLOCK];
        }
        bias[output] = sum;
    }
}

}  // namespace verydeep
