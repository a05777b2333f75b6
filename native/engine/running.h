// Carries out a plan.
#pragma once

#include <vector>

#include "engine/planning.h"
#include "engine/step.h"

namespace verydeep {

// What all operations of a call share.
struct Call {
    const Plan& plan;
    const Kernels& kernels;  // of the network's precision
    int threads;
    char* scratch;  // plan.buffers.bytes
    const Images& images;
    const float* levels;
    bool flip;
    const std::vector<float*>& results;  // one for each output
    const Comparison* comparison;        // or null

    float* floats(std::size_t offset) const { return reinterpret_cast<float*>(scratch + offset); }
    char* thread_scratch(int thread) const {
        return scratch + plan.buffers.threads + thread * plan.buffers.thread.bytes;
    }
};

// Some images of a call.
struct ImageRange {
    long first, count;
};

// The caller holds a PoolLock.
void run_call(const Call& call);

// ---- images.cpp

// Three channels of columns [begin, end) of an image's row, preprocessed.
void read_row(const Call& call, long image, int y, int begin, int end, float* to);
// Images -> what the first operation reads.
void load_images(const Call& call, const ImageRange& images, float* to);

// ---- convolutions.cpp

void convolve_first(const Call& call, const Operation& operation, const float* images, const FeatureMap& out,
                    long count);
void convolve_winograd(const Call& call, const PlannedOperation& operation, const FeatureMap& in,
                       const FeatureMap& out, long count);
void convolve_pointwise(const Call& call, const Operation& operation, const FeatureMap& in, const FeatureMap& out,
                        long count);

// ---- strips.cpp

// The first two convolutions, from pixels to the second one's map.
void convolve_strips(const Call& call, const FeatureMap& out, const ImageRange& images);
// Some tiles of a Winograd convolution from their inputs to their outputs, in one thread.
void convolve_tiles(const Call& call, const Operation& operation, const FeatureMap& in, const TileRange& tiles,
                    const FeatureMap& out, int thread);

// ---- maps.cpp

void clear_border(const Call& call, const FeatureMap& map, long count);
// `in` and `out` may be one map.
void activate(const Call& call, Activation activation, const FeatureMap& maps, long count);
void pool(const Call& call, void (*pool_row)(const PoolingRow&), const FeatureMap& in, const FeatureMap& out,
          long count);
void normalize(const Call& call, const ResponseNorm& norm, const FeatureMap& in, const FeatureMap& out,
               long count);
// Hands a map out as the operation's outputs, or compares its pairs.
void write_outputs(const Call& call, const Operation& operation, const FeatureMap& map, const ImageRange& images);

// ---- fully_connected.cpp

// All fully connected operations, from the last map to the outputs.
void run_fully_connected(const Call& call, const FeatureMap& map, const ImageRange& images);

}  // namespace verydeep
