// The gradient of a 3x3 convolution's weights: 36 products whose inner dimension are the tiles.
//
// Tiles are cut into a number of parts that the layer's sizes alone decide, and each part's sums are added up in
// the order of its tiles: so the bits of a gradient do not depend on the number of threads. Where the sums are
// large there are few parts, and threads share out the blocks of outputs instead.
#include <algorithm>
#include <vector>

#include "engine/threads.h"
#include "layers/layers.h"
#include "layers/positions.h"
#include "layers/scratch.h"
#include "tuning.h"

namespace verydeep {
namespace {

constexpr long FLOAT_BYTES = sizeof(float);

class Winograd {
public:
    Winograd(const Processor& processor, const ConvolutionInput& in, const OutputGradient& gradient)
        : processor_(processor),
          in_(in.maps.map()),
          norm_(in.norm),
          gradient_{gradient.maps.map(), gradient.argmax},
          grid_(tile_grid(in_.height, in_.width)),
          tiles_(in.maps.images * grid_.count()),
          summed_(tiles_, in_.num_blocks, gradient_.map.num_blocks, processor.points.point_element_bytes),
          slices_(std::clamp<long>(ceil_div(static_cast<long>(processor.threads), summed_.parts), 1,
                                   gradient_.map.num_blocks)) {}

    void run(long in_channels, long out_channels, float* weights, float* bias) {
        const int in_blocks = in_.num_blocks, out_blocks = gradient_.map.num_blocks;
        const long most_tiles = ceil_div(tiles_, summed_.blocks),
                   most_blocks = ceil_div(long{out_blocks}, slices_);
        const long input_floats = factor_floats(in_blocks, most_tiles);
        const long slope_floats = factor_floats(most_blocks, most_tiles);
        ScratchPlan plan;
        const long sums_at = plan.take(summed_.parts * POINTS * summed_.point_floats);
        const long biases_at = plan.take(summed_.parts * out_blocks * BLOCK);
        const long threads_at = plan.take(processor_.threads * (input_floats + slope_floats));
        float* const scratch = layer_scratch(plan.floats());
        sums_ = scratch + sums_at;
        biases_ = scratch + biases_at;
        std::fill_n(biases_, summed_.parts * out_blocks * BLOCK, 0.0f);
        parallel_for(processor_.threads, summed_.parts * slices_, [&](long task, int thread) {
            float* const inputs = scratch + threads_at + thread * (input_floats + slope_floats);
            const long slice = task % slices_;
            add_part(task / slices_, static_cast<int>(out_blocks * slice / slices_),
                     static_cast<int>(out_blocks * (slice + 1) / slices_), inputs, inputs + input_floats);
        });
        parallel_for(processor_.threads, out_blocks, [&](long block, int) {
            processor_.gradients.gather_weight_gradient(
                {sums_, static_cast<int>(summed_.parts), POINTS * summed_.point_floats, summed_.point_floats,
                 static_cast<int>(block), in_channels, out_channels, weights});
        });
        for (long channel = 0; channel < out_channels; ++channel) {
            bias[channel] = 0;
            for (long part = 0; part < summed_.parts; ++part)
                bias[channel] += biases_[part * out_blocks * BLOCK + channel];
        }
    }

private:
    // Of an even number of tiles, as a product may take two at once.
    PointStrides strides_of(long num_blocks, long tiles) const {
        return transformed_strides(num_blocks, round_up(tiles, 2L), processor_.points);
    }
    long factor_floats(long num_blocks, long tiles) const {
        const long bytes = POINTS * strides_of(num_blocks, tiles).point * processor_.points.point_element_bytes;
        return round_up(bytes / FLOAT_BYTES, 16L);
    }

    const void* element(const float* factors, long index) const {
        return reinterpret_cast<const char*>(factors) + index * processor_.points.point_element_bytes;
    }

    // The sums of one part of the tiles, for blocks [first, last) of the outputs.
    void add_part(long part, int first, int last, float* inputs, float* slopes) const {
        const int in_blocks = in_.num_blocks, out_blocks = gradient_.map.num_blocks;
        float* const sums =
            sums_ + part * POINTS * summed_.point_floats + static_cast<long>(first) * in_blocks * BLOCK * BLOCK;
        const long begin = summed_.blocks * part / summed_.parts,
                   end = summed_.blocks * (part + 1) / summed_.parts;
        for (long block = begin; block < end; ++block) {
            const long tile = tiles_ * block / summed_.blocks;
            const TileRange tiles{grid_, tile, static_cast<int>(tiles_ * (block + 1) / summed_.blocks - tile)};
            const PointStrides in_strides = strides_of(in_blocks, tiles.count);
            const PointStrides out_strides = strides_of(last - first, tiles.count);
            const InputTransform input{in_, tiles, 0, in_blocks, inputs, in_strides};
            if (norm_)
                processor_.point_gradients.transform_normalized_factor({input, *norm_});
            else
                processor_.point_gradients.transform_factor(input);
            processor_.point_gradients.transform_gradient(
                {gradient_, tiles, first, last - first, slopes, out_strides, biases_ + part * out_blocks * BLOCK});
            for (int point = 0; point < POINTS; ++point)
                processor_.point_gradients.multiply_outer(
                    {element(slopes, point * out_strides.point), out_strides.block, last - first,
                     element(inputs, point * in_strides.point), in_strides.block, in_blocks, tiles.count,
                     sums + point * summed_.point_floats, block > begin});
        }
    }

    const Processor& processor_;
    const FeatureMap in_;
    const BatchNorm* const norm_;
    const Gradient gradient_;
    const TileGrid grid_;
    const long tiles_;
    const GradientSums summed_;
    const long slices_;
    float *sums_ = nullptr, *biases_ = nullptr;
};

}  // namespace

GradientSums::GradientSums(long tiles, long in_blocks, long out_blocks, long element_bytes)
    : point_floats(in_blocks * out_blocks * BLOCK * BLOCK + 48) {
    const long sum_bytes = POINTS * point_floats * FLOAT_BYTES;
    const long more = (FLOAT_BYTES / element_bytes) * (sum_bytes >= tuning::LARGE_SUM_BYTES ? 2 : 1);
    blocks = ceil_div(tiles, tuning::GRADIENT_TILES * more);
    parts = std::clamp<long>(tuning::PARTIAL_SUM_BYTES / sum_bytes, 1,
                             std::min(blocks, long{tuning::MAX_PARTIAL_SUMS}));
}

void convolution_weight_gradient(const Processor& processor, const ConvolutionInput& in,
                                 const OutputGradient& gradient, float* weights, float* bias) {
    const long in_channels = in.maps.shape.channels, out_channels = gradient.maps.shape.channels;
    if (in.maps.images == 0) {
        std::fill_n(weights, out_channels * in_channels * 9, 0.0f);
        std::fill_n(bias, out_channels, 0.0f);
        return;
    }
    if (!by_tiles(in.maps.shape)) return positions_weight_gradient(processor, in.maps, gradient, weights, bias);
    Winograd(processor, in, gradient).run(in_channels, out_channels, weights, bias);
}

}  // namespace verydeep
