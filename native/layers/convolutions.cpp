// 3x3 convolutions forwards, and backwards to their inputs: the same but for the transforms at both ends.
#include <algorithm>
#include <vector>

#include "engine/threads.h"
#include "layers/layers.h"
#include "layers/positions.h"
#include "layers/scratch.h"
#include "tuning.h"

namespace verydeep {
namespace {

int panel_blocks_of(long channels, long panel) {
    return static_cast<int>(std::min<long>(PANEL / BLOCK, blocks_of(channels) - panel * (PANEL / BLOCK)));
}

// Elements of the points' products, in floats.
long in_floats(const Processor& processor, long elements) {
    return elements * processor.points.point_element_bytes / static_cast<long>(sizeof(float));
}

// Floats of one panel of weights; the last may be smaller, and lies as if it were not.
long panel_floats(const Processor& processor, long in_channels) {
    const int bytes = processor.points.point_element_bytes;
    return in_floats(processor, POINTS * panel_point_stride(blocks_of(in_channels), PANEL / BLOCK, bytes));
}

// The products of a convolution by tiles, whose both ends are said by the caller.
struct Winograd {
    const Processor& processor;
    TileGrid grid;
    long images, in_channels, out_channels;
    const float* weights;  // transformed

    // `transform(tiles, block, to, strides)` brings a block of channels to the 36 points; `finish(products,
    // strides, tiles, first_block, num_blocks)` makes outputs of a panel's products. Each thread takes tiles of
    // its own, or all share some where they are few.
    template <class Transform, class Finish>
    void run(float* scratch, Transform transform, Finish finish) const {
        const long tiles = images * grid.count();
        const int in_blocks = static_cast<int>(blocks_of(in_channels));
        const auto multiply = [&](const TileRange& range, const float* transformed, long panel, float* products) {
            const PointStrides strides = product_strides(range.count);
            const int panel_blocks = panel_blocks_of(out_channels, panel);
            processor.points.multiply_points(
                {transformed, transformed_strides(in_blocks, range.count, processor.points), range.count,
                 in_blocks, weights + panel * panel_floats(processor, in_channels), panel_blocks, products,
                 strides});
            finish(products, strides, range, static_cast<int>(panel) * (PANEL / BLOCK), panel_blocks);
        };
        const long blocks = num_blocks(), panels = panels_of(out_channels);
        const auto range_of = [&](long number) {
            const long first = tiles * number / blocks;
            return TileRange{grid, first, static_cast<int>(tiles * (number + 1) / blocks - first)};
        };
        const long input_floats = thread_input_floats(), product_floats = thread_product_floats();
        if (!shared()) {
            parallel_for(processor.threads, blocks, [&](long number, int thread) {
                const TileRange range = range_of(number);
                float* const transformed = scratch + thread * (input_floats + product_floats);
                const PointStrides strides = transformed_strides(in_blocks, range.count, processor.points);
                for (int block = 0; block < in_blocks; ++block) transform(range, block, transformed, strides);
                for (long panel = 0; panel < panels; ++panel)
                    multiply(range, transformed, panel, transformed + input_floats);
            });
            return;
        }
        for (long number = 0; number < blocks; ++number) {
            const TileRange range = range_of(number);
            const PointStrides strides = transformed_strides(in_blocks, range.count, processor.points);
            parallel_for(processor.threads, in_blocks,
                         [&](long block, int) { transform(range, static_cast<int>(block), scratch, strides); });
            parallel_for(processor.threads, panels, [&](long panel, int thread) {
                multiply(range, scratch, panel, scratch + input_floats + thread * product_floats);
            });
        }
    }

    bool shared() const { return ceil_div(images * grid.count(), long{tuning::LAYER_TILES}) < processor.threads; }
    long num_blocks() const {
        const long blocks = ceil_div(images * grid.count(), long{tuning::LAYER_TILES});
        return shared() ? blocks : round_up(blocks, static_cast<long>(processor.threads));
    }
    long most_tiles() const { return ceil_div(images * grid.count(), num_blocks()); }
    long thread_input_floats() const {
        const long point = transformed_strides(blocks_of(in_channels), most_tiles(), processor.points).point;
        return round_up(in_floats(processor, POINTS * point), 16L);
    }
    long thread_product_floats() const { return round_up(POINTS * product_strides(most_tiles()).point, 16L); }
    long scratch_floats() const {
        return shared() ? thread_input_floats() + processor.threads * thread_product_floats()
                        : processor.threads * (thread_input_floats() + thread_product_floats());
    }
};

std::vector<float> padded(const float* bias, long channels) {
    std::vector<float> blocks(round_up(channels, long{PANEL}), 0.0f);
    std::copy_n(bias, channels, blocks.begin());
    return blocks;
}

// Places in scratch: the transformed weights, unless the caller has them, and what else a convolution needs.
struct Places {
    const float* weights;
    float* rest;
};

Places prepare(const Processor& processor, const LayerWeights& weights, const Shape& in, bool back, long rest) {
    const long outputs = back ? weights.plain.in_channels : weights.plain.out_channels;
    ScratchPlan plan;
    const long weights_at = weights.transformed ? 0 : plan.take(transformed_floats(processor, in, outputs));
    const long rest_at = plan.take(rest);
    float* const scratch = layer_scratch(plan.floats());
    if (!weights.transformed) transform_convolution(processor, weights.plain, in, back, scratch + weights_at);
    return {weights.transformed ? weights.transformed : scratch + weights_at, scratch + rest_at};
}

void convolve_by_positions(const Processor& processor, const Maps& in, const LayerWeights& weights,
                           const float* bias, const ConvolutionOutput& out) {
    const Shape full{out.maps.shape.channels, in.shape.height, in.shape.width};
    const long full_floats = out.argmax ? in.images * map_floats(full) : 0;
    const Places places =
        prepare(processor, weights, in.shape, false,
                full_floats + position_scratch(in.shape, in.images, in.shape.channels, full.channels));
    const Maps maps = out.argmax ? Maps{places.rest, in.images, full} : out.maps;
    convolve_positions(processor, in, places.weights, bias, out.activation, maps, places.rest + full_floats);
    if (out.argmax) max_pool(processor, maps, out.maps, out.argmax);
}

// A batch normalisation behind which the gradient is, and what its sums of each tile are written to.
struct NormalizedSlope {
    const BatchNorm& norm;
    const ChannelSums& sums;
};

// Where `normalized` is null, `seen` masks the gradient unless it is null too.
void data_gradient_by_tiles(const Processor& processor, const OutputGradient& gradient,
                            const LayerWeights& weights, const float* seen, const NormalizedSlope* normalized,
                            const Maps& out) {
    const Shape in{gradient.maps.shape.channels, out.shape.height, out.shape.width};
    Winograd winograd{processor, tile_grid(in.height, in.width), out.images, in.channels, out.shape.channels,
                      nullptr};
    const long work_floats = winograd.scratch_floats();
    const Places places =
        prepare(processor, weights, in, true, work_floats + (normalized ? tile_sum_floats(out) : 0));
    float* const of_tiles = places.rest + work_floats;
    winograd.weights = places.weights;
    const Gradient from{gradient.maps.map(), gradient.argmax};
    const FeatureMap to = out.map();
    FeatureMap input = to;
    input.data = const_cast<float*>(seen);
    winograd.run(
        places.rest,
        [&](const TileRange& tiles, int block, float* transformed, const PointStrides& strides) {
            processor.point_gradients.transform_gradient_input({from, tiles, block, 1, transformed, strides});
        },
        [&](const float* products, const PointStrides& strides, const TileRange& tiles, int first, int count) {
            const GradientOutputTransform output{products, strides, tiles, to, input, first, count};
            if (normalized)
                processor.gradients.transform_output_normalized_gradient({output, normalized->norm, of_tiles});
            else
                processor.gradients.transform_output_gradient(output);
        });
    if (normalized) gather_sums(processor, out, of_tiles, normalized->sums);
}

}  // namespace

long transformed_floats(const Processor& processor, const Shape& in, long out_channels) {
    return by_positions(in) ? position_weight_floats(in.channels, out_channels)
                            : panels_of(out_channels) * panel_floats(processor, in.channels);
}

void transform_convolution(const Processor& processor, const ConvolutionWeights& weights, const Shape& in,
                           bool back, float* to) {
    if (by_positions(in)) return pack_position_weights(processor, weights, back, to);
    const long inputs = back ? weights.out_channels : weights.in_channels;
    const long outputs = back ? weights.in_channels : weights.out_channels;
    const auto transform =
        back ? processor.point_gradients.transform_weights_back : processor.points.transform_weights;
    parallel_for(processor.threads, panels_of(outputs), [&](long panel, int) {
        transform(weights, static_cast<int>(panel), to + panel * panel_floats(processor, inputs));
    });
}

bool by_tiles(const Shape& map) { return !by_positions(map); }

void convolve(const Processor& processor, const ConvolutionInput& in, const LayerWeights& weights,
              const float* bias, const ConvolutionOutput& out) {
    if (out.maps.images == 0) {
        if (out.measured) gather_moments(processor, out.maps, nullptr, out.measured->moments);
        return;
    }
    const std::vector<float> biases = padded(bias, out.maps.shape.channels);
    if (by_positions(in.maps.shape)) {
        convolve_by_positions(processor, in.maps, weights, biases.data(), out);
        if (out.measured) channel_statistics(processor, out.maps, out.measured->moments);
        return;
    }
    const Shape shape = in.maps.shape;
    Winograd winograd{
        processor, tile_grid(shape.height, shape.width), in.maps.images, shape.channels, out.maps.shape.channels,
        nullptr};
    const long work_floats = winograd.scratch_floats();
    const Places places =
        prepare(processor, weights, shape, false, work_floats + (out.measured ? tile_sum_floats(out.maps) : 0));
    float* const moments = places.rest + work_floats;
    winograd.weights = places.weights;
    const FeatureMap from = in.maps.map(), to = out.maps.map();
    winograd.run(
        places.rest,
        [&](const TileRange& tiles, int block, float* transformed, const PointStrides& strides) {
            const InputTransform input{from, tiles, block, 1, transformed, strides};
            if (in.norm)
                processor.point_gradients.transform_normalized_input({input, *in.norm});
            else
                processor.points.transform_input(input);
        },
        [&](const float* products, const PointStrides& strides, const TileRange& tiles, int first, int count) {
            const Epilogue epilogue{biases.data() + first * BLOCK, out.activation, false};
            const OutputTransform output{products, strides, tiles, to, first, count, epilogue};
            if (out.argmax)
                processor.gradients.transform_output_argmax({output, out.argmax});
            else if (const Measured* const wanted = out.measured)
                processor.gradients.transform_output_measured(
                    {output, moments, wanted->pooled, wanted->signs, wanted->argmax});
            else
                processor.kernels.transform_output(output);
        });
    if (out.measured) gather_moments(processor, out.maps, moments, out.measured->moments);
}

void convolution_data_gradient(const Processor& processor, const OutputGradient& gradient,
                               const LayerWeights& weights, const float* seen, const Maps& out) {
    if (out.images == 0) return;
    const Shape in{gradient.maps.shape.channels, out.shape.height, out.shape.width};
    if (by_positions(in)) {
        const long full_floats = gradient.argmax ? out.images * map_floats(in) : 0;
        const Places places =
            prepare(processor, weights, in, true,
                    full_floats + position_scratch(in, out.images, in.channels, out.shape.channels));
        const Maps maps = gradient.argmax ? Maps{places.rest, out.images, in} : gradient.maps;
        if (gradient.argmax) max_pool_gradient(processor, gradient, maps);
        positions_data_gradient(processor, maps, places.weights, seen, out, places.rest + full_floats);
        return;
    }
    data_gradient_by_tiles(processor, gradient, weights, seen, nullptr, out);
}

void normalized_data_gradient(const Processor& processor, const OutputGradient& gradient,
                              const LayerWeights& weights, const ConvolutionInput& in, const Maps& out,
                              const ChannelSums& sums) {
    if (out.images == 0) return gather_sums(processor, out, nullptr, sums);
    const NormalizedSlope normalized{*in.norm, sums};
    data_gradient_by_tiles(processor, gradient, weights, in.maps.data, &normalized, out);
}

}  // namespace verydeep
