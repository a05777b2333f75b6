// Images -> the first operation's input: preprocessed, blocked by channels, with a border.
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/layout.h"
#include "engine/running.h"
#include "engine/threads.h"

namespace verydeep {
namespace {

// [y][x][3] with a border of zeros, as the first convolution reads it.
void load_three_channels(const Call& call, const ImageRange& images, float* to) {
    const int height = call.images.height, width = call.images.width;
    const long row_floats = (width + 2L) * 3, image_floats = (height + 2L) * row_floats;
    parallel_for(call.threads, images.count, [&](long number, int) {
        float* const image = to + number * image_floats;
        std::memset(image, 0, row_floats * sizeof(float));
        std::memset(image + (height + 1) * row_floats, 0, row_floats * sizeof(float));
        for (int y = 0; y < height; ++y) {
            float* const row = image + (y + 1) * row_floats;
            for (int i = 0; i < 3; ++i) row[i] = row[row_floats - 3 + i] = 0;
            read_row(call, images.first + number, y, 0, width, row + 3);
        }
    });
}

void load_blocks(const Call& call, const ImageRange& images, const FeatureMap& map, long channels) {
    const int height = call.images.height, width = call.images.width;
    clear_border(call, map, images.count);
    parallel_for(call.threads, images.count * height, [&](long task, int) {
        const long number = task / height;
        const int y = static_cast<int>(task % height);
        std::vector<float> preprocessed;
        const float* from = call.images.numbers + ((images.first + number) * height + y) * width * channels;
        if (call.images.pixels) {
            preprocessed.resize(3L * width);
            read_row(call, images.first + number, y, 0, width, preprocessed.data());
            from = preprocessed.data();
        }
        for (int block = 0; block < map.num_blocks; ++block) {
            float* to = map.at(number, block, y, 0);
            const long here = std::min<long>(BLOCK, channels - block * static_cast<long>(BLOCK));
            for (int x = 0; x < width; ++x, to += BLOCK)
                for (long i = 0; i < BLOCK; ++i) to[i] = i < here ? from[x * channels + block * BLOCK + i] : 0.0f;
        }
    });
}

}  // namespace

void read_row(const Call& call, long image, int y, int begin, int end, float* to) {
    const long from = ((image * call.images.height + y) * call.images.width + begin) * 3;
    if (call.images.pixels)
        call.kernels.preprocess_row(call.images.pixels + from, call.levels, call.flip, end - begin, to);
    else
        std::memcpy(to, call.images.numbers + from, (end - begin) * 3 * sizeof(float));
}

void load_images(const Call& call, const ImageRange& images, float* to) {
    const Operation& head = call.plan.operations[0];
    if (call.plan.strips) return;  // these read pixels themselves
    if (head.kind == OperationKind::first_convolution)
        load_three_channels(call, images, to);
    else
        load_blocks(call, images, map_layout(head.in, to), head.in.channels);
}

}  // namespace verydeep
