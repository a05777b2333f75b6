// Gram matrices of maps: products of channels, summed over an image's places.
#include <algorithm>
#include <vector>

#include "engine/threads.h"
#include "layers/layers.h"
#include "layers/scratch.h"
#include "tuning.h"

namespace verydeep {
namespace {

// An image's places as one span, from its first to its last row: the border between them is 0, and adds nothing.
long span_of(const FeatureMap& map) { return (map.height - 1) * map.row_stride / BLOCK + map.width; }

}  // namespace

void gram_matrices(const Processor& processor, const Maps& in, float* out) {
    const FeatureMap map = in.map();
    const long blocks = map.num_blocks, channels = in.shape.channels, places = span_of(map);
    const long parts = ceil_div(places, long{tuning::GRAM_PLACES}), slice_floats = blocks * BLOCK * BLOCK;
    float* const sums = layer_scratch(in.images * blocks * parts * slice_floats);
    parallel_for(processor.threads, in.images * blocks * parts, [&](long task, int) {
        const long part = task % parts, block = task / parts % blocks, image = task / parts / blocks;
        const long first = places * part / parts, count = places * (part + 1) / parts - first;
        const float* const from = map.at(image, static_cast<int>(block), 0, 0) + first * BLOCK;
        // With itself and those behind it: the matrix is symmetric.
        processor.gradients.multiply_outer({from, map.block_stride, 1, from, map.block_stride,
                                            map.num_blocks - static_cast<int>(block), static_cast<int>(count),
                                            sums + task * slice_floats, false});
    });
    parallel_for(processor.threads, in.images * channels, [&](long task, int) {
        const long image = task / channels, row = task % channels;
        float* const to = out + task * channels;
        for (long column = 0; column < channels; ++column) {
            const bool above = row / BLOCK <= column / BLOCK;
            const long left = above ? row : column, right = above ? column : row;
            const long block = left / BLOCK, behind = right / BLOCK - block;
            const float* const from = sums + (image * blocks + block) * parts * slice_floats +
                                      (behind * BLOCK + left % BLOCK) * BLOCK + right % BLOCK;
            to[column] = 0;
            for (long part = 0; part < parts; ++part) to[column] += from[part * slice_floats];
        }
    });
}

void gram_gradient(const Processor& processor, const Maps& in, const float* slope, bool masked, const Maps& out) {
    const FeatureMap from = in.map(), to = out.map();
    const long channels = in.shape.channels, panels = panels_of(channels);
    const long panel_floats = from.num_blocks * BLOCK * static_cast<long>(PANEL);
    float* const weights = layer_scratch(in.images * panels * panel_floats);
    parallel_for(processor.threads, in.images * panels, [&](long task, int) {
        const long image = task / panels, panel = task % panels, first = panel * PANEL;
        processor.kernels.pack_weights(
            {slope + (image * channels + first) * channels, channels, std::min(long{PANEL}, channels - first)},
            {0, 0, from.num_blocks * long{BLOCK}}, weights + task * panel_floats);
    });
    const long rows_at_once = ceil_div(long{tuning::GRAM_PLACES}, long{from.width});
    const long pieces = ceil_div(long{from.height}, rows_at_once);
    parallel_for(processor.threads, in.images * panels * pieces, [&](long task, int) {
        const long piece = task % pieces, panel = task / pieces % panels, image = task / pieces / panels;
        const int first_block = static_cast<int>(panel) * (PANEL / BLOCK);
        const int panel_blocks = std::min(PANEL / BLOCK, from.num_blocks - first_block);
        MatrixProduct product{};
        product.row_block_stride = from.block_stride;
        product.num_rows = from.width;
        product.in_blocks = from.num_blocks;
        product.panel = weights + (image * panels + panel) * panel_floats;
        product.panel_blocks = panel_blocks;
        product.result_block_stride = to.block_stride;
        for (long y = from.height * piece / pieces; y < from.height * (piece + 1) / pieces; ++y) {
            product.rows = from.at(image, 0, static_cast<int>(y), 0);
            product.results = to.at(image, first_block, static_cast<int>(y), 0);
            processor.kernels.multiply(product);
            for (int block = 0; masked && block < panel_blocks; ++block) {
                const float* const seen = from.at(image, first_block + block, static_cast<int>(y), 0);
                float* const row = to.at(image, first_block + block, static_cast<int>(y), 0);
                for (long i = 0; i < from.width * static_cast<long>(BLOCK); ++i)
                    row[i] = seen[i] <= 0 ? 0.0f : row[i];
            }
        }
    });
}

}  // namespace verydeep
