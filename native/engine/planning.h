// Operations -> how they are carried out: which images at once, where everything lies in scratch, who works at
// what.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/lowering.h"

namespace verydeep {

struct PlannedOperation : Operation {
    // Of a Winograd convolution: all threads share a block of tiles, or each has its own; and tiles of a block.
    bool shared = false;
    int block_tiles = 0;
    int map = 0;  // which of the two maps is written, if not the next segment's input
};

// conv1_1 and conv1_2 as strips: conv1_1's map, as large as sixteen times the image and more, is never there as a
// whole.
struct StripPlan {
    int down, across;             // strips of an image
    int tile_rows, tile_columns;  // of the largest
};

// Some operations that are done for some images at once, so that their maps stay in the cache.
struct Segment {
    std::size_t first, last;  // operations [first, last)
    long images;
    std::size_t input;  // where it lies in scratch
};

// Within one thread's scratch, in bytes. First comes the transformed input.
struct ThreadBuffers {
    std::size_t products, strip, panel, bytes;
};

// In scratch, in bytes.
struct Buffers {
    std::size_t maps[2];  // that an operation reads and writes, of one segment at a time
    std::size_t shared_input;
    std::size_t threads;
    ThreadBuffers thread;
    std::size_t rows, sums[2];  // of fully connected layers
    std::size_t bytes;          // of all
};

struct Plan {
    std::vector<PlannedOperation> operations;
    std::size_t first_fully_connected;  // those from here on are
    std::optional<StripPlan> strips;    // of the first two operations
    std::vector<Segment> segments;
    long images;     // that go through the whole network at once
    long positions;  // of the score map that are multiplied at once
    Buffers buffers;
};

struct PlanOptions {
    long batch;
    long multiple;  // of images that stay together
    int threads;
    const Kernels* kernels;
};

Plan make_plan(const std::vector<Operation>& operations, const PlanOptions& options);

// Tiles of a block that a thread works at alone, at most.
long own_block_tiles(long in_blocks, const Kernels& kernels);

}  // namespace verydeep
