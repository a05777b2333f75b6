// What training and losses ask of an instruction set beside kernels.h: the loops that go backwards.
#pragma once

#include "kernels/kernels.h"

namespace verydeep {

// Which of the four numbers of a 2x2 window was the greatest, of a block's 16 channels: a bit of the lower half
// says that it was in the right column, one of the upper half that it was in the lower row.
using Argmax = std::uint32_t;

// The gradient at a map, or at what a 2x2 max-pooling made of it: then `argmax` is not null, with an entry for
// each block of `map`, which is of the pooled size. A pooled gradient is expanded only where it is read.
struct Gradient {
    FeatureMap map;
    const Argmax* argmax;

    const Argmax* argmax_at(const float* place) const { return argmax + (place - map.data) / BLOCK; }
};

// (x - mean) * scale + shift, with a number of each for each channel.
struct BatchNorm {
    const float *mean, *scale, *shift;
};

// As InputTransform, of what a batch normalisation and a ReLU make of the maps. `norm` is of all blocks.
struct NormalizedInputTransform {
    InputTransform input;
    BatchNorm norm;
};

// As InputTransform, of a gradient.
struct GradientInputTransform {
    Gradient gradient;
    TileRange tiles;  // of the map that is not pooled
    int first_block, num_blocks;
    void* transformed;
    PointStrides strides;
};

// As OutputTransform, with a 2x2 max-pooling that keeps which was the greatest.
struct ArgmaxOutputTransform {
    OutputTransform output;
    Argmax* argmax;  // of all blocks of the output's maps
};

// As OutputTransform, of products that are a gradient: without a bias, and 0 where `seen`, a map of the same
// layout, is not above 0. `seen.data` may be null.
struct GradientOutputTransform {
    const float* products;
    PointStrides strides;
    TileRange tiles;
    FeatureMap out, seen;
    int first_block, num_blocks;
};

// As OutputTransform, without an activation, for a batch normalisation to read: of each tile, for a block's
// channels, the mean of its numbers and the sum of their squared deviations from it. And where a 2x2 max-pooling
// follows that, the number of each window that is normalised to the greatest, and which it was.
struct MeasuredOutputTransform {
    OutputTransform output;
    float* moments;      // [tiles][blocks][2][16], of all tiles and blocks of the maps
    FeatureMap pooled;   // `data` may be null
    const float* signs;  // that of the normalisation's factor, 1 or -1, of all channels
    Argmax* argmax;
};

// As GradientOutputTransform, of a gradient at what a batch normalisation and a ReLU made of `seen`: it is 0 where
// they gave 0. And of each tile the sums of the gradient, and of its products with (x - mean).
struct NormalizedGradientOutputTransform {
    GradientOutputTransform output;
    BatchNorm norm;  // of all blocks
    float* sums;     // as `moments`
};

// The transform of a gradient's 4x4 tiles to the 36 points, which the products of the weights' gradient take; and
// its sums over all positions, for the bias.
struct GradientTransform {
    Gradient gradient;
    TileRange tiles;
    int first_block, num_blocks;
    void* transformed;  // [36][blocks][tiles][16], from `first_block` on; tiles as OuterProduct takes them
    PointStrides strides;
    float* sums;  // [blocks][16], of the gradient's first block; added to
};

// Rows of two matrices [blocks][rows][16] -> sums over the rows of each product of a column of the one and a
// column of the other. Where one multiplication takes two rows, their numbers alternate, and a last row of its own
// alternates with zeros.
struct OuterProduct {
    const void* left;
    long left_block_stride;
    int left_blocks;
    const void* right;
    long right_block_stride;
    int right_blocks;
    int num_rows;
    float* sums;  // [left blocks][right blocks][16 of left][16 of right]
    bool accumulate;
};

// Sums of products at the 36 points -> the gradient of one block of outputs' weights.
struct WeightGradient {
    const float* sums;  // [partial sums][36][blocks of outputs][blocks of inputs][16][16]
    int num_partial;
    long partial_stride, point_stride;
    int out_block;
    long in_channels, out_channels;
    float* gradient;  // [out][in][3][3]
};

// One row of the gradient at conv1_1's map, a block of its outputs -> is added to [28][16]: the gradient of the
// weights, in the order of rows, columns, channels, and of the bias.
struct FirstWeightGradientRow {
    const float* image;  // [y][x][3], with its border: the row above, one column to the left
    long image_row_stride;
    const float* gradient;
    int width;
    float* sums;
};

// The same row -> a row of the gradient at the image.
struct FirstDataGradientRow {
    const float* gradient;  // of the first block, column 0, the same row
    long row_stride, block_stride;
    int num_blocks, width;
    const float* weights;  // [9 positions, flipped][blocks][3][16]
    float* out;            // [x][3]
};

// One block of one row of a 2x2 max-pooling that keeps which was the greatest.
struct ArgmaxPoolingRow {
    PoolingRow row;
    Argmax* argmax;
};

// One block of one row of a pooled gradient -> two rows of the map's.
struct MaxPoolingGradientRow {
    const float* gradient;
    const Argmax* argmax;
    int width;  // of the pooled map
    float *upper, *lower;
    bool accumulate;  // onto what is there
};
// `seen` are the rows that were pooled; where these are not above 0, so is the gradient. They may be null.
struct AveragePoolingGradientRow {
    const float* gradient;
    int width;
    const float *seen_upper, *seen_lower;
    float *upper, *lower;
};

// Some rows of a block of maps, [y][x][16].
struct StatisticsRows {
    const float* in;
    long row_stride;
    int num_rows, width;
    float *center, *sums,
        *squares;  // [16] each: about the mean, and sums of deviations from there, and of squares
};

struct BatchNormRow {
    const float* in;
    int width;
    BatchNorm norm;
    Activation activation;
    float* out;
};
struct BatchNormPoolingRow {
    PoolingRow row;
    BatchNorm norm;
    Activation activation;
    Argmax* argmax;
};

// Rows of a block of maps, and the gradient at what was made of them. Where this was pooled, `argmax` is not null
// and `num_rows` counts rows of the pooled maps; `width` is always that of the maps.
struct GradientRows {
    const float* in;
    long in_row_stride;
    const float* gradient;
    long gradient_row_stride;
    const Argmax* argmax;
    int num_rows, width;
};
// Sums of the gradient, and of its products with (x - mean): [16] each.
struct BatchNormSums {
    GradientRows rows;
    const float* mean;
    float *sums, *products;
};

// gradient * scale - (x - mean) * slope - offset.
struct BatchNormGradient {
    const float *mean, *scale, *slope, *offset;
};
struct BatchNormGradientRow {
    const float *in, *gradient;  // the gradient is null where it is 0
    int width;
    BatchNormGradient norm;
    float* out;
};
// Two rows of a map, of a row of the pooled gradient.
struct BatchNormPooledGradientRow {
    const float* in;
    long row_stride;  // of `in` and `out`
    const float* gradient;
    const Argmax* argmax;
    int width;
    BatchNormGradient norm;
    float* out;
};

// The gradient of a DistanceRow: at each position `slope` times what the distance changes by.
struct DistanceGradientRow {
    DistanceRow row;  // `out` is not used
    const float* slope;
    bool masked;                              // 0 where a map is not above 0
    float *first_gradient, *second_gradient;  // laid out as the maps; may be null
};

// What Winograd's products backwards ask of a precision.
struct PointGradientKernels {
    // To the gradient at inputs: a convolution of the one at outputs.
    void (*transform_gradient_input)(const GradientInputTransform&);
    // As transform_weights; `panel` counts inputs.
    void (*transform_weights_back)(const ConvolutionWeights&, int panel, void* to);
    // To the gradient of the weights: an outer product of the inputs and of the gradient at outputs. The inputs
    // are transformed as for outputs, with tiles as OuterProduct takes them.
    void (*transform_factor)(const InputTransform&);
    void (*transform_normalized_input)(const NormalizedInputTransform&);
    void (*transform_normalized_factor)(const NormalizedInputTransform&);
    void (*transform_gradient)(const GradientTransform&);
    void (*multiply_outer)(const OuterProduct&);
};

struct GradientKernels {
    void (*transform_output_argmax)(const ArgmaxOutputTransform&);
    void (*transform_output_gradient)(const GradientOutputTransform&);
    void (*transform_output_measured)(const MeasuredOutputTransform&);
    void (*transform_output_normalized_gradient)(const NormalizedGradientOutputTransform&);
    void (*multiply_outer)(const OuterProduct&);
    void (*gather_weight_gradient)(const WeightGradient&);
    void (*first_weight_gradient_row)(const FirstWeightGradientRow&);
    void (*first_data_gradient_row)(const FirstDataGradientRow&);
    void (*max_pool_argmax_row)(const ArgmaxPoolingRow&);
    void (*max_pool_gradient_row)(const MaxPoolingGradientRow&);
    void (*average_pool_gradient_row)(const AveragePoolingGradientRow&);
    void (*unit_distance_gradient_row)(const DistanceGradientRow&);
    void (*channel_statistics)(const StatisticsRows&);
    void (*batch_norm_row)(const BatchNormRow&);
    void (*batch_norm_pool_row)(const BatchNormPoolingRow&);
    void (*batch_norm_sums)(const BatchNormSums&);
    void (*batch_norm_gradient_row)(const BatchNormGradientRow&);
    void (*batch_norm_pooled_gradient_row)(const BatchNormPooledGradientRow&);
};

namespace portable {
const GradientKernels& gradient_kernels();
const PointGradientKernels& point_gradient_kernels();
}  // namespace portable
namespace avx2 {
const GradientKernels& gradient_kernels();
const PointGradientKernels& point_gradient_kernels();
}  // namespace avx2
namespace avx512 {
const GradientKernels& gradient_kernels();
const PointGradientKernels& point_gradient_kernels();
}  // namespace avx512
namespace avx512_bf16 {
const PointGradientKernels& point_gradient_kernels();  // in bfloat16
}

}  // namespace verydeep
