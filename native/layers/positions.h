// 3x3 convolutions of maps so small that products over positions are fewer than Winograd's 36 a tile: an output is
// the sum over the inputs beside it, each times one of the nine matrices of the kernel. Rows are images.
#pragma once

#include "layers/layers.h"

namespace verydeep {

bool by_positions(const Shape& map);

// A pair of positions that a convolution connects, and which of the nine weights does.
struct Connection {
    int out, in, tap;
};

long position_weight_floats(long in_channels, long out_channels);
void pack_position_weights(const Processor&, const ConvolutionWeights& weights, bool back, float* to);

// As the functions of layers.h, with packed weights and without poolings.
void convolve_positions(const Processor&, const Maps& in, const float* weights, const float* bias,
                        Activation activation, const Maps& out, float* scratch);
void positions_data_gradient(const Processor&, const Maps& gradient, const float* weights, const float* seen,
                             const Maps& out, float* scratch);
long position_scratch(const Shape& map, long images, long in_channels, long out_channels);
void positions_weight_gradient(const Processor&, const Maps& in, const OutputGradient& gradient, float* weights,
                               float* bias);

}  // namespace verydeep
