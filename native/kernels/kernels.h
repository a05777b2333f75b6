// What the engine asks of an instruction set: the loops that run on a single thread, over memory laid out by
// others.
//
// Numbers lie in blocks of 16: activations as [image][block of channels][row][column][16], the rows of a matrix
// product as [block][row][16]. Weights lie in panels of 32 output channels: [input][32], and in types of 16 bits
// two inputs side by side, [input / 2][32][2]. The last panel of a layer may have 16 columns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace verydeep {

constexpr int BLOCK = 16;                 // channels that lie side by side
constexpr int PANEL = 32;                 // output channels whose weights lie together
constexpr int TILE = 4;                   // side of a tile of outputs: Winograd's F(4x4, 3x3)
constexpr int PATCH = TILE + 3 - 1;       // side of a tile's inputs
constexpr int POINTS = PATCH * PATCH;     // products a tile and pair of channels
constexpr int MAX_NORM_SIZE = 2 * BLOCK;  // channels that a local response normalization is over
constexpr int INT16_SCALE_BLOCKS = 4;     // blocks of a tile's channels that share a scale in int16

inline long blocks_of(long channels) { return (channels + BLOCK - 1) / BLOCK; }
inline long panels_of(long channels) { return (channels + PANEL - 1) / PANEL; }

// Elements from one point of a panel's transformed weights to the next: each is 192 bytes aside, lest all of a
// channel's fall into the same sets of the cache.
inline long panel_point_stride(long in_blocks, long panel_blocks, long element_bytes) {
    return in_blocks * BLOCK * panel_blocks * BLOCK + 192 / element_bytes;
}

// Activations of some images. A map has a border of zeros: one wide at the top and the left, and at the bottom and
// the right as wide as the last tile reaches.
struct FeatureMap {
    float* data;                                  // the first block's upper left corner, in the border
    int num_blocks, height, width;                // without the border
    long row_stride, block_stride, image_stride;  // in floats

    float* at(long image, int block, int y, int x) const {
        return data + image * image_stride + block * block_stride + (y + 1) * row_stride + (x + 1) * BLOCK;
    }
};

// The tiles that cover a map.
struct TileGrid {
    int rows, columns;
    int count() const { return rows * columns; }
};

// Some tiles, counted over those of all images.
struct TileRange {
    TileGrid grid;  // of each image
    long first;
    int count;
};

// What is done to each sum of a layer while it is in registers. A further one is a name here, a case in vectors.h
// and one in winograd.h, which the compiler asks for; the kernels and the engine hand it on.
enum class Activation { none, relu };

// What follows the sums of a 3x3 convolution.
struct Epilogue {
    const float* bias;  // of the first channel that is computed
    Activation activation;
    bool max_pool;  // 2x2
};

// Matrices in blocks of 16 columns, one for each point of a tile. In elements.
struct PointStrides {
    long point, block;
};

// conv1_1 of three channels: columns [0, width) of one row of all outputs.
struct FirstConvolutionRow {
    const float* image;  // [y][x][3], with its border: the row above, one column to the left
    long image_row_stride;
    const float* weights;  // [27][outputs], in the order of rows, columns, channels
    const float* bias;
    Activation activation;
    int width;
    float* out;  // column 0 of the first block
    long out_block_stride;
    int out_blocks;
};

// Winograd's first step, for a group of blocks: all that share a scale, or any where there are no scales.
struct InputTransform {
    FeatureMap in;
    TileRange tiles;
    int first_block, num_blocks;
    // [36][blocks][tiles][16]; int16's scales follow, [groups of blocks][tiles]. From block 0 on.
    void* transformed;
    PointStrides strides;
};

// Winograd's second step: 36 products of a block of tiles with a panel.
struct PointProducts {
    const void* transformed;  // as InputTransform leaves it
    PointStrides input_strides;
    int num_tiles, in_blocks;
    const void* panel;  // as transform_weights leaves it
    int panel_blocks;   // 2, or 1
    float* products;    // [36][panel_blocks][tiles][16]
    PointStrides product_strides;
};

// Winograd's third step: a panel's products -> outputs.
struct OutputTransform {
    const float* products;
    PointStrides strides;
    TileRange tiles;
    FeatureMap out;
    int first_block, num_blocks;  // of the output
    Epilogue epilogue;
};

// Rows times a panel of weights.
struct MatrixProduct {
    const void* rows;  // [blocks][rows][16]: floats, or bfloat16 where the weights are
    long row_block_stride;
    int num_rows, in_blocks;
    const void* panel;
    int panel_blocks;
    float* results;  // [panel_blocks][rows][16]
    long result_block_stride;
    bool accumulate;  // onto what is there
};

struct ConvolutionWeights {
    const float* data;  // [out][in][3][3]
    long in_channels, out_channels;
};

struct MatrixWeights {
    const float* data;  // [out][in]
    long in_channels, out_channels;
};

// Inputs [begin, end) of a panel of weights, for threads to share one.
struct PanelSlice {
    int panel;
    long begin, end;
};

// x += bias, and the activation, of some rows.
struct BiasRows {
    float* data;  // [blocks][rows][16]
    long block_stride, num_rows;
    int num_blocks;
    const float* bias;
    Activation activation;
};

// One block of one row of a 2x2 pooling with stride 2.
struct PoolingRow {
    const float *upper, *lower;
    int width;  // of the output
    float* out;
};

// Local response normalization: x / (k + alpha * sum of `size` neighbours' squares)^beta.
struct ResponseNorm {
    int size;  // at most MAX_NORM_SIZE
    float alpha, beta, k;
};
struct ResponseNormRow {
    const float* in;
    long in_block_stride;
    float* out;
    long out_block_stride;
    int num_blocks, width;
    ResponseNorm norm;
};

// The weighted squared distance of unit vectors along the channels, at each position of a row of two maps.
struct DistanceRow {
    const float *first, *second;
    long block_stride;
    int num_blocks, width;
    const float* weights;  // of the channels
    float epsilon;         // added to lengths
    float* out;
};

// Reads and writes of nothing else, for the ceiling of a kernel that memory bounds.
struct MemoryStream {
    const float* from;
    long num_read;
    float* to;
    long num_written;
    long prefetch_bytes;  // ahead of what is read and written
};

// Weights of 20 bits: five eighths of the memory of float32, and with one image the fully connected layers are as
// fast as memory gives their weights. Each is rounded to a millionth of the greatest of its group, which adds up
// to no more than a long sum in float32 errs by, unless few weights are very much larger than all others. A panel
// of [inputs][columns] lies as groups of INT20_SCALE_INPUTS inputs: a scale for each column, then packs of
// INT20_PACK inputs: the upper 16 bits of each as [input][column], then the lower 4, the eight of a column in 32
// bits.
constexpr int INT20_SCALE_INPUTS = 128, INT20_PACK = 8;
static_assert(INT20_SCALE_INPUTS % BLOCK == 0 && BLOCK % INT20_PACK == 0, "a block is whole packs of one group");
inline long int20_bytes(long inputs, long columns) {
    const long groups = (inputs + INT20_SCALE_INPUTS - 1) / INT20_SCALE_INPUTS;
    return columns * (groups * static_cast<long>(sizeof(float)) + inputs / INT20_PACK * 20);
}

struct Kernels {
    // Pixels of 0 to 255 -> (x - mean) / deviation, a row of the image; `levels` has 256 numbers for each channel.
    // `flip` swaps the first and the last channel.
    void (*preprocess_row)(const std::uint8_t* pixels, const float* levels, bool flip, int width, float* row);
    void (*first_convolution_row)(const FirstConvolutionRow&);

    void (*transform_input)(const InputTransform&);
    void (*multiply_points)(const PointProducts&);
    void (*transform_output)(const OutputTransform&);
    // -> one panel [36][inputs][32], `panel_point_stride` from point to point; int16's scales follow, [36][32].
    void (*transform_weights)(const ConvolutionWeights&, int panel, void* to);

    void (*multiply)(const MatrixProduct&);
    // -> a slice of one panel [inputs, rounded up to 16][32]; `to` is where the panel begins.
    void (*pack_weights)(const MatrixWeights&, const PanelSlice&, void* to);
    // 16-number blocks of float -> what `multiply` takes as rows.
    void (*convert_rows)(const float* from, long num_blocks, void* to);
    // The same with a panel of 20 bits. `unpacked` has room for INT20_SCALE_INPUTS inputs of a panel in float32.
    void (*multiply_int20)(const MatrixProduct&, float* unpacked);
    // A slice begins, and ends unless it is the last, at a multiple of INT20_SCALE_INPUTS.
    void (*pack_weights_int20)(const MatrixWeights&, const PanelSlice&, void* to);

    void (*add_bias)(const BiasRows&);
    void (*max_pool_row)(const PoolingRow&);
    void (*average_pool_row)(const PoolingRow&);
    void (*normalize_row)(const ResponseNormRow&);
    void (*unit_distance_row)(const DistanceRow&);

    // For measuring what the machine gives at best. The first does `iterations` rounds of the points' products on
    // registers alone, and returns how many multiplications and additions that was.
    double (*multiply_add_registers)(long iterations);
    void (*stream_memory)(const MemoryStream&);

    int element_bytes;        // of the factors of `multiply`: 4, or 2 of bfloat16
    int point_element_bytes;  // of those of `multiply_points`: as above, or 2 of int16
    bool point_scales;        // whether these have scales
};

enum class Instructions { portable, avx2, avx512, avx512_vnni, avx512_bf16 };
enum class Precision { float32, bfloat16, int16 };

namespace portable {
const Kernels& kernels(Precision);
}
namespace avx2 {
const Kernels& kernels(Precision);
}
namespace avx512 {
const Kernels& kernels(Precision);
}
namespace avx512_vnni {
const Kernels& kernels(Precision);
}
namespace avx512_bf16 {
const Kernels& kernels(Precision);
}

}  // namespace verydeep
