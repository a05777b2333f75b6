// The first convolution, of three channels: direct in all directions.
#include <algorithm>
#include <vector>

#include "engine/threads.h"
#include "layers/layers.h"
#include "layers/scratch.h"
#include "tuning.h"

namespace verydeep {
namespace {

constexpr long SUMS = 28 * BLOCK;  // of a block of outputs: 27 weights and the bias

long output_blocks(const Maps& maps) { return maps.map().num_blocks; }

}  // namespace

void convolve_images(const Processor& processor, const BorderedImages& in, const ConvolutionWeights& weights,
                     const float* bias, Activation activation, const Maps& out) {
    const FeatureMap map = out.map();
    const long columns = output_blocks(out) * BLOCK;
    std::vector<float> packed(27 * columns, 0.0f), biases(columns, 0.0f);
    for (long output = 0; output < weights.out_channels; ++output) {
        biases[output] = bias[output];
        for (long channel = 0; channel < 3; ++channel)
            for (long position = 0; position < 9; ++position)
                packed[(position * 3 + channel) * columns + output] =
                    weights.data[(output * 3 + channel) * 9 + position];
    }
    parallel_for(processor.threads, out.images * map.height, [&](long task, int) {
        const long image = task / map.height;
        const int y = static_cast<int>(task % map.height);
        processor.kernels.first_convolution_row({in.at(image, y - 1, -1), in.row_stride(), packed.data(),
                                                 biases.data(), activation, map.width, map.at(image, 0, y, 0),
                                                 map.block_stride, map.num_blocks});
    });
}

void images_data_gradient(const Processor& processor, const Maps& gradient, const ConvolutionWeights& weights,
                          const BorderedImages& out) {
    const FeatureMap map = gradient.map();
    std::vector<float> packed(27L * map.num_blocks * BLOCK, 0.0f);
    for (long position = 0; position < 9; ++position)
        for (long output = 0; output < weights.out_channels; ++output)
            for (long channel = 0; channel < 3; ++channel)
                packed[((position * map.num_blocks + output / BLOCK) * 3 + channel) * BLOCK + output % BLOCK] =
                    weights.data[(output * 3 + channel) * 9 + 8 - position];
    parallel_for(processor.threads, gradient.images * map.height, [&](long task, int) {
        const long image = task / map.height;
        const int y = static_cast<int>(task % map.height);
        processor.gradients.first_data_gradient_row({map.at(image, 0, y, 0), map.row_stride, map.block_stride,
                                                     map.num_blocks, map.width, packed.data(),
                                                     out.at(image, y, 0)});
    });
}

void images_weight_gradient(const Processor& processor, const BorderedImages& in, const Maps& gradient,
                            float* weights, float* bias) {
    const FeatureMap map = gradient.map();
    const long rows = gradient.images * map.height;
    const long parts = std::min(rows, long{tuning::MAX_PARTIAL_SUMS});
    float* const sums = layer_scratch(parts * map.num_blocks * SUMS);
    std::fill_n(sums, parts * map.num_blocks * SUMS, 0.0f);
    parallel_for(processor.threads, parts * map.num_blocks, [&](long task, int) {
        const long part = task / map.num_blocks;
        const int block = static_cast<int>(task % map.num_blocks);
        for (long row = rows * part / parts; row < rows * (part + 1) / parts; ++row) {
            const long image = row / map.height;
            const int y = static_cast<int>(row % map.height);
            processor.gradients.first_weight_gradient_row({in.at(image, y - 1, -1), in.row_stride(),
                                                           map.at(image, block, y, 0), map.width,
                                                           sums + task * SUMS});
        }
    });
    for (long output = 0; output < gradient.shape.channels; ++output)
        for (long k = 0; k < 28; ++k) {
            float sum = 0;
            for (long part = 0; part < parts; ++part)
                sum += sums[(part * map.num_blocks + output / BLOCK) * SUMS + k * BLOCK + output % BLOCK];
            if (k == 27)
                bias[output] = sum;
            else
                weights[(output * 3 + k % 3) * 9 + k / 3] = sum;
        }
}

}  // namespace verydeep
