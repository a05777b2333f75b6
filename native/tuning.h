// Every constant that was chosen by measuring, in one place.
//
// The CMake variable VERYDEEP_TUNING_HEADER takes another file in its place: `make check-tuning` checks the
// kernels with small and odd values, as results have to stay right with any. All but those of the last part decide
// speed and memory alone: results are the same bits with any value.
#pragma once

#include <cstddef>

#if defined(VERYDEEP_TUNING_HEADER)
#include VERYDEEP_TUNING_HEADER
#else

namespace verydeep::tuning {

constexpr std::size_t KIB = std::size_t{1} << 10, MIB = std::size_t{1} << 20;

// ---- images at once

// A batch that needs more scratch, or has more images, goes through the network in parts.
constexpr std::size_t MAX_SCRATCH_BYTES = 512 * MIB;
constexpr long MAX_IMAGES = 64;
// Maps of the images that go through a segment together: they stay in L3.
constexpr std::size_t SEGMENT_MAP_BYTES = 12 * MIB;

// ---- Winograd: blocks of tiles

// A thread's block of tiles: its transformed input stays in L2, but it is never smaller than the least, as the
// weights are read once for a block.
constexpr std::size_t BLOCK_INPUT_BYTES = 600 * KIB;
constexpr int MIN_BLOCK_TILES = 28, MAX_BLOCK_TILES = 112;
// Transformed weights that each thread reads for itself. A few threads may read larger ones too: memory has the
// bandwidth.
constexpr std::size_t OWN_WEIGHT_BYTES = 12 * MIB;
constexpr int FEW_THREADS = 2;
// A block that all threads share.
constexpr int MIN_SHARED_TILES = 56, MAX_SHARED_TILES = 224;
// Weights are transformed on demand behind so many poolings, for a block of so many tiles.
constexpr int ON_DEMAND_POOLINGS = 4;
constexpr int ON_DEMAND_TILES = 112;

// ---- conv1_1 and conv1_2 in strips

constexpr std::size_t STRIP_WEIGHT_BYTES = 3 * MIB;  // of conv1_2: each thread reads them for each strip
constexpr std::size_t STRIP_BYTES = 600 * KIB;       // as BLOCK_INPUT_BYTES, with the strip that it is made of
constexpr int MIN_STRIP_TILES = 14, MAX_STRIP_TILES = 112;
constexpr int MIN_IMAGE_TILES = 28;  // of an image whose map is made in strips

// ---- fully connected layers

constexpr long MAX_POSITIONS = 256;  // of the score map that are multiplied at once
// A product of many rows goes through the weights in pieces of so many blocks of inputs.
constexpr int MANY_ROWS = 4;
constexpr int BLOCKS_AT_ONCE = 32;
// Pieces of rows that each unpack weights of 20 bits; for more of them it is done once.
constexpr int FEW_ROW_PIECES = 2;
// Numbers of one output's weights that are packed before the next output's: four cache lines.
constexpr long PACKED_AT_ONCE = 64;

// ---- kernels

constexpr int TILES_AHEAD = 6;                   // tiles whose memory is prefetched before they are transformed
constexpr long MAX_PREFETCH_BYTES = 64L * 1024;  // ahead of a product's weights: a panel's point of 512 channels
constexpr int WEIGHT_ROWS_AHEAD = 16;            // rows of weights that are prefetched into L1
constexpr int NORMALIZED_AT_ONCE = 32;           // pixels whose squares are kept

// ---- layers one by one, forwards and backwards

constexpr int LAYER_TILES = 64;      // a block of tiles of a convolution
constexpr int POSITION_IMAGES = 48;  // of which the positions of small maps are multiplied at once

// ---- accuracy: these change results

// Blocks of inputs of Winograd's products whose weights stay in L1 for all rows. They are a sum of their own.
constexpr int DEEP_BLOCKS = 8;
// A gradient of weights is a sum over tiles: over blocks of so many (of bfloat16 twice as many), in at most so
// many parts, whose sums take at most so much memory.
constexpr int GRADIENT_TILES = 64, MAX_PARTIAL_SUMS = 16;
constexpr long PARTIAL_SUM_BYTES = 8L << 20;
constexpr long LARGE_SUM_BYTES = 16L << 20;  // sums that are read and written from afar: of twice as many tiles
// Places of a map whose products are a sum of their own.
constexpr int GRAM_PLACES = 2048;

// Fully connected layers at least this large (in float32), and with so many inputs, keep weights of 20 bits: a sum
// so long rounds by more than they do.
constexpr std::size_t INT20_WEIGHT_BYTES = 4 * MIB;
constexpr long INT20_MIN_INPUTS = 512;
// Each layer in bfloat16 adds to the error of the scores. 3x3 layers beyond so many (E's last three alone) take
// int16, whose error is a seventh of that.
constexpr int MAX_BFLOAT16_LAYERS = 12;
// Inputs of a panel that a thread packs: what rounding to bfloat16 has lost is carried on within. A multiple of
// INT20_SCALE_INPUTS.
constexpr long PACKED_SLICE_INPUTS = 1024;

}  // namespace verydeep::tuning

#endif
