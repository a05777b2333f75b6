// Layers one by one, forwards and backwards, for training and for losses. Maps and sums are float32. Winograd's
// products, forwards and backwards, may be of bfloat16.
//
// What passes between layers are the engine's maps, in blocks of 16 channels with a border of zeros: they are
// never brought into another layout on the way. A gradient at a map lies as the map does. The caller of each
// function holds a PoolLock. Sums have the same order for any number of threads.
#pragma once

#include <cstdint>

#include "engine/instructions.h"
#include "engine/layout.h"
#include "kernels/gradient_kernels.h"
#include "kernels/kernels.h"

namespace verydeep {

struct Processor {
    const Kernels& kernels;
    const GradientKernels& gradients;
    int threads;
    // Of Winograd's products, in the precision that was asked for.
    const Kernels& points;
    const PointGradientKernels& point_gradients;
};

// Raises std::invalid_argument if the instruction set has no such products, or the precision is int16.
Processor processor_of(Instructions instructions, int threads, Precision precision = Precision::float32);

// Maps of some images.
struct Maps {
    float* data;
    long images;
    Shape shape;

    FeatureMap map() const { return map_layout(shape, data); }
};

// Images of three channels, [y][x][3] with a border of zeros, as the first convolution reads them.
struct BorderedImages {
    float* data;
    long images;
    int height, width;

    long row_stride() const { return (width + 2L) * 3; }
    long image_stride() const { return (height + 2L) * row_stride(); }
    float* at(long image, int y, int x) const {
        return data + image * image_stride() + (y + 1) * row_stride() + (x + 1) * 3L;
    }
};
// Kernels read a few numbers beyond a row's end.
constexpr long BORDERED_SLACK = 64;

// A plain tensor (image, channel, y, x), with strides in floats.
struct PlainTensor {
    float* data;
    long image, channel, row, column;
};

// The gradient at a layer's output. `argmax` is not null if the layer pooled it: then its maps have the pooled
// size.
struct OutputGradient {
    Maps maps;
    const Argmax* argmax;
};

// ---- maps.cpp

// Where `seen` is not null, the tensor is a gradient, and becomes 0 where `seen` is not above 0.
void pack_maps(const Processor&, const PlainTensor& from, const Maps& to, const float* seen);
void unpack_maps(const Processor&, const Maps& from, const PlainTensor& to);
void pack_images(const Processor&, const PlainTensor& from, const BorderedImages& to);
void unpack_images(const Processor&, const BorderedImages& from, const PlainTensor& to);

void max_pool(const Processor&, const Maps& in, const Maps& out, Argmax* argmax);
// May be added to a gradient that is there already.
void max_pool_gradient(const Processor&, const OutputGradient& gradient, const Maps& out, bool accumulate = false);
void average_pool(const Processor&, const Maps& in, const Maps& out);
void average_pool_gradient(const Processor&, const Maps& gradient, const float* seen, const Maps& out);

// Distances of the unit vectors at each position: [image][y][x]. `weights` are padded to whole blocks.
void unit_distances(const Processor&, const Maps& first, const Maps& second, const float* weights, float epsilon,
                    float* out);
// Gradients at the maps, either of which may be null.
struct DistanceGradients {
    const float* slope;  // [image][y][x]
    bool masked;
    float *first, *second;
};
void unit_distance_gradients(const Processor&, const Maps& first, const Maps& second, const float* weights,
                             float epsilon, const DistanceGradients& gradients);

// ---- gram.cpp

// [image][channel][channel]: products of channels, summed over the places.
void gram_matrices(const Processor&, const Maps& in, float* out);
// The maps' channels times a symmetric matrix for each image; where `masked`, 0 where the maps are not above 0.
void gram_gradient(const Processor&, const Maps& in, const float* slope, bool masked, const Maps& out);

// ---- batch_norm.cpp. Numbers of channels are padded to whole blocks, with zeros.

// The mean of each channel over all images and places, and the sum of its squared deviations from it.
struct ChannelMoments {
    float *means, *squares;
};
// Sums over images and places of the gradient at a batch normalisation's output, and of its products with
// (x - mean).
struct ChannelSums {
    float *sums, *products;
};

void channel_statistics(const Processor&, const Maps& in, const ChannelMoments& to);
// (x - mean) * scale + shift, and what follows. `argmax` is not null where the outputs are pooled.
void batch_norm(const Processor&, const Maps& in, const BatchNorm& norm, Activation activation, const Maps& out,
                Argmax* argmax);
void batch_norm_sums(const Processor&, const Maps& in, const float* mean, const OutputGradient& gradient,
                     const ChannelSums& to);
// The gradient at the input: gradient * scale - (x - mean) * slope - offset. `out` may be the gradient's own maps
// where these are not pooled.
void batch_norm_gradient(const Processor&, const Maps& in, const BatchNormGradient& norm,
                         const OutputGradient& gradient, const Maps& out);
// The same sums, of what was summed up for each tile: [tiles][blocks][2][16].
long tile_sum_floats(const Maps& maps);
void gather_moments(const Processor&, const Maps& maps, const float* of_tiles, const ChannelMoments& to);
void gather_sums(const Processor&, const Maps& maps, const float* of_tiles, const ChannelSums& to);

// ---- convolutions.cpp: 3x3 with a border of zeros

// Floats of weights that are transformed once and used by many calls: what `transform_convolution` writes, and the
// convolutions take in place of plain weights.
long transformed_floats(const Processor&, const Shape& in, long out_channels);
void transform_convolution(const Processor&, const ConvolutionWeights& weights, const Shape& in, bool back,
                           float* to);

struct LayerWeights {
    ConvolutionWeights plain;
    const float* transformed;  // or null
};

// Whether maps are multiplied by tiles. A batch normalisation and its ReLU are then computed on the way, and what
// they give is not stored.
bool by_tiles(const Shape& map);

// What a convolution multiplies: maps, or where `norm` is not null what that and a ReLU make of them.
struct ConvolutionInput {
    Maps maps;
    const BatchNorm* norm = nullptr;
};

// What a batch normalisation wants to know of the maps it reads. Where a ReLU and a 2x2 max-pooling follow it, the
// number of each window that is normalised to the greatest, and which it was; only by tiles.
struct Measured {
    ChannelMoments moments;
    FeatureMap pooled;   // `data` may be null
    const float* signs;  // of the normalisation's factors, 1 or -1; padded to whole blocks
    Argmax* argmax;
};

struct ConvolutionOutput {
    Maps maps;
    Activation activation;
    Argmax* argmax = nullptr;            // not null where they are pooled
    const Measured* measured = nullptr;  // not null where it is wanted of maps as they are
};

void convolve(const Processor&, const ConvolutionInput& in, const LayerWeights& weights, const float* bias,
              const ConvolutionOutput& out);
// The gradient at a convolution's input. Where `seen` is not null it is that input, behind a ReLU.
void convolution_data_gradient(const Processor&, const OutputGradient& gradient, const LayerWeights& weights,
                               const float* seen, const Maps& out);
// The same at what a normalisation and a ReLU made of `in`, and its sums.
void normalized_data_gradient(const Processor&, const OutputGradient& gradient, const LayerWeights& weights,
                              const ConvolutionInput& in, const Maps& out, const ChannelSums& sums);

// ---- weight_gradients.cpp

// How a gradient of weights is summed up over tiles: in blocks that are multiplied at once, and parts that have
// sums of their own. By the layer's sizes alone, and those of the numbers that are multiplied.
struct GradientSums {
    GradientSums(long tiles, long in_blocks, long out_blocks, long element_bytes);
    long point_floats;  // of one part's sums at one of the 36 points
    long blocks, parts;
};

void convolution_weight_gradient(const Processor&, const ConvolutionInput& in, const OutputGradient& gradient,
                                 float* weights, float* bias);

// ---- first_convolution.cpp: of three channels

void convolve_images(const Processor&, const BorderedImages& in, const ConvolutionWeights& weights,
                     const float* bias, Activation activation, const Maps& out);
void images_data_gradient(const Processor&, const Maps& gradient, const ConvolutionWeights& weights,
                          const BorderedImages& out);
void images_weight_gradient(const Processor&, const BorderedImages& in, const Maps& gradient, float* weights,
                            float* bias);

}  // namespace verydeep
