// What the network asks of an instruction set: the loops that run on a single thread, over memory laid out by others.
//
// Activations lie blocked by 16 channels, each block a map of rows x columns x 16 numbers. A map has a border of
// zeros, one wide at the top and the left, and at the bottom and the right as wide as the last tile reaches.
#pragma once

#include <cstddef>
#include <cstdint>

namespace verydeep {

constexpr int CHANNELS = 16;  // in a block
constexpr int PANEL = 32;     // output channels whose weights lie together
constexpr int TILE = 4;       // side of a tile of outputs
constexpr int POINTS = 36;    // products a tile: (4 + 3 - 1) squared

inline long blocks_of(long channels) { return (channels + CHANNELS - 1) / CHANNELS; }
inline long panels_of(long channels) { return (channels + PANEL - 1) / PANEL; }

// Numbers from one of the 36 matrices of a panel of transformed weights to the next: 192 bytes aside for each, lest all of
// a channel's fall into the same sets of the cache.
inline long panel_matrix(long blocks, long panel_blocks, long number_bytes) {
    return blocks * CHANNELS * panel_blocks * CHANNELS + 192 / number_bytes;
}

// Activations of some pictures. `data` is the first block's upper left corner, within the border.
struct Map {
    float* data;
    int blocks, height, width;  // without the border
    long row, plane, picture;   // floats from a row, a block, a picture to the next

    float* at(long number, int block, int y, int x) const {
        return data + number * picture + block * plane + (y + 1) * row + (x + 1) * CHANNELS;
    }
};

// Tiles of all pictures, one after the other.
struct Tiles {
    int down, across;
    int each() const { return down * across; }
};

// A matrix product of some rows with one panel of weights.
//
// Rows lie as 16 numbers of each, then the next 16 of each: row r's k-th number is
// rows[(k / 16) * rows_step + r * 16 + k % 16]; results lie likewise.
struct Product {
    const void* rows;     // float, or bfloat16 where the weights are
    long rows_step;       // from 16 numbers to the next 16 of the same row, in numbers
    int num_rows;
    int blocks;           // of 16 numbers a row has
    const void* panel;    // [blocks * 16][32], or [blocks * 8][32][2] in bfloat16
    int panel_blocks;     // 16-column blocks the panel has: 2, or 1 for the last
    float* results;
    long results_step;
    bool add;             // to what is there already
};

// Weights of 20 bits: five eighths of the memory of float32, and a picture alone goes through the FC layers no faster
// than their weights come from memory. Each is rounded to a millionth of the greatest of its stretch, which adds up to
// no more than a long sum in float32 errs by, unless few weights are very much larger than all others. A panel of
// [numbers][columns] lies as stretches of so many numbers: a scale for each column, then groups of numbers, the upper
// 16 bits of each as [number][column], and behind them the lower 4, eight numbers to a column's 32 bits.
constexpr int STRETCH = 128, GROUPED = 8;
static_assert(STRETCH % CHANNELS == 0 && CHANNELS % GROUPED == 0, "a block of a row is whole groups of one stretch");
inline long short_bytes(long numbers, long columns) {
    const long stretches = (numbers + STRETCH - 1) / STRETCH;
    return columns * (stretches * static_cast<long>(sizeof(float)) + numbers / GROUPED * 20);
}

struct Kernels {
    // Pixels of 0 to 255 -> (x - mean) / deviation, a row of the picture; `levels` has 256 numbers for each channel.
    void (*preprocess_row)(const std::uint8_t* pixels, const float* levels, bool flip, int width, float* row);

    // conv1_1: 3 channels of a bordered picture, [y][x][3]. Weights [27][32], in the order of rows, columns, channels.
    // Writes columns [0, width) of one row of two blocks; `results` points to column 0 of the first of them.
    void (*first_row)(const float* picture, long row, const float* weights, const float* bias, int width,
                      bool relu, float* results, long plane, int num_blocks);

    // Winograd's three steps. Transformed input is [36][blocks][tiles][16], `matrix` numbers from point to point; of
    // integers, the scales follow, [groups of blocks][tiles]. `blocks` from `block` on are transformed: a group.
    void (*transform_input)(const Map& in, Tiles tiles, long first, int count, int block, int blocks, void* to,
                            long matrix, long step);
    void (*multiply_points)(const void* input, long matrix, long step, int tiles, int blocks, const void* panel,
                            int panel_blocks, float* products, long products_matrix, long products_step);
    void (*transform_output)(const float* products, long matrix, long step, const Map& out, Tiles tiles, long first,
                             int count, int block, int num_blocks, const float* bias, bool relu, bool pool);

    void (*multiply)(const Product&);

    // Weights [output channel][input channel][3][3] -> one panel [36][blocks * 16][32] of transformed ones, `panel_matrix`
    // numbers from point to point; of integers, the scales of its columns follow, [36][32].
    void (*transform_weights)(const float* weights, long in_channels, long out_channels, int panel, void* to);
    // Weights [output][numbers] -> rows [first, last) of one panel [numbers, rounded up to 16][32].
    void (*pack_weights)(const float* weights, long numbers, long outputs, int panel, long first, long last, void* to);

    // The same of 20 bits; `first` and `last` are multiples of STRETCH, but for the last of all, of 16.
    void (*shorten_weights)(const float* weights, long numbers, long outputs, int panel, long first, long last, void* to);
    // As `multiply`, with a panel of 20 bits. `unpacked` has room for STRETCH numbers of a panel.
    void (*multiply_short)(const Product&, float* unpacked);

    // 16-number blocks of float -> what `multiply` takes as rows.
    void (*pack_rows)(const float* from, long count, void* to);

    // results += bias, and ReLU; `rows` rows of `num_blocks` blocks.
    void (*finish)(float* results, long step, long rows, int num_blocks, const float* bias, bool relu);
    // One row of pooled outputs of one block, from two rows of inputs.
    void (*max_pool_row)(const float* upper, const float* lower, int width, float* to);
    void (*average_pool_row)(const float* upper, const float* lower, int width, float* to);
    // Local response normalisation of one row of all blocks, over at most MOST_NEAR neighbouring channels.
    void (*normalize_row)(const float* row, long plane, int channels, int width, int size, float alpha, float beta,
                          float k, float* to, long to_plane);

    // Weighted squared distance of unit vectors along the channels, at each place of a row of two maps.
    void (*unit_distance_row)(const float* first, const float* second, long plane, int blocks, int width,
                              const float* weights, float epsilon, float* to);

    int number_bytes;  // of the products' factors: 4, or 2 for bfloat16
    int point_bytes;   // of those of Winograd's products: as above, or 2 for integers
    bool scaled;       // whether these have scales
};

constexpr int MOST_NEAR = 2 * CHANNELS;
constexpr int GROUP = 4;  // blocks of channels of a tile that are integers of one scale

enum class Instructions { portable, avx2, avx512, avx512_vnni, avx512_bf16 };
enum class Precision { float32, bfloat16, int16 };

const char* name_of(Instructions);

namespace portable { const Kernels* kernels(Precision); }
namespace avx2 { const Kernels* kernels(Precision); }
namespace avx512 { const Kernels* kernels(Precision); }
namespace avx512_vnni { const Kernels* kernels(Precision); }
namespace avx512_bf16 { const Kernels* kernels(Precision); }

}  // namespace verydeep
