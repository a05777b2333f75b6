// Plain tensors <-> maps, and layers without weights.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "engine/threads.h"
#include "layers/blocks.h"
#include "layers/layers.h"

namespace verydeep {
namespace {

// `work(image, y)` for all rows.
template <class Work>
void for_each_row(const Processor& processor, long images, int height, Work work) {
    parallel_for(processor.threads, images * height,
                 [&](long task, int) { work(task / height, static_cast<int>(task % height)); });
}

// A row of a block of channels. Channels are inside where they are so in the tensor, else columns.
void pack_row(const float* from, const PlainTensor& tensor, long channels, int width, float* to) {
    if (tensor.channel == 1 && channels == BLOCK) {
        for (int x = 0; x < width; ++x, from += tensor.column, to += BLOCK)
            std::memcpy(to, from, BLOCK * sizeof(float));
        return;
    }
    for (long channel = 0; channel < BLOCK; ++channel)
        for (int x = 0; x < width; ++x)
            to[x * BLOCK + channel] =
                channel < channels ? from[channel * tensor.channel + x * tensor.column] : 0.0f;
}

void unpack_row(const float* from, const PlainTensor& tensor, long channels, int width, float* to) {
    if (tensor.channel == 1 && channels == BLOCK) {
        for (int x = 0; x < width; ++x, from += BLOCK, to += tensor.column)
            std::memcpy(to, from, BLOCK * sizeof(float));
        return;
    }
    for (long channel = 0; channel < channels; ++channel)
        for (int x = 0; x < width; ++x)
            to[channel * tensor.channel + x * tensor.column] = from[x * BLOCK + channel];
}

long channels_of(const Maps& maps, int block) {
    return std::min<long>(BLOCK, maps.shape.channels - block * static_cast<long>(BLOCK));
}

DistanceRow distance_row(const Maps& first, const Maps& second, long image, int y, const float* weights,
                         float epsilon) {
    const FeatureMap one = first.map(), other = second.map();
    DistanceRow row;
    row.first = one.at(image, 0, y, 0);
    row.second = other.at(image, 0, y, 0);
    row.block_stride = one.block_stride;
    row.num_blocks = one.num_blocks;
    row.width = one.width;
    row.weights = weights;
    row.epsilon = epsilon;
    row.out = nullptr;
    return row;
}

}  // namespace

Processor processor_of(Instructions instructions, int threads, Precision precision) {
    if (precision == Precision::int16 || !has(instructions, precision))
        throw std::invalid_argument(std::string("there are no gradients in ") + name_of(precision) + " for " +
                                    name_of(instructions));
    const auto gradients = [&]() -> const GradientKernels& {
        switch (instructions) {
#if defined(__x86_64__)
            case Instructions::avx2: return avx2::gradient_kernels();
            case Instructions::avx512:
            case Instructions::avx512_vnni:
            case Instructions::avx512_bf16: return avx512::gradient_kernels();
#endif
            default: return portable::gradient_kernels();
        }
    };
    const auto point_gradients = [&]() -> const PointGradientKernels& {
        switch (instructions) {
#if defined(__x86_64__)
            case Instructions::avx2: return avx2::point_gradient_kernels();
            case Instructions::avx512:
            case Instructions::avx512_vnni:
            case Instructions::avx512_bf16:
                return precision == Precision::bfloat16 ? avx512_bf16::point_gradient_kernels()
                                                        : avx512::point_gradient_kernels();
#endif
            default: return portable::point_gradient_kernels();
        }
    };
    return {kernels_for(instructions, Precision::float32), gradients(), threads,
            kernels_for(instructions, precision), point_gradients()};
}

void pack_maps(const Processor& processor, const PlainTensor& from, const Maps& to, const float* seen) {
    const FeatureMap map = to.map();
    for_each_row(processor, to.images, map.height, [&](long image, int y) {
        for (int block = 0; block < map.num_blocks; ++block) {
            float* const row = map.at(image, block, y, 0);
            pack_row(from.data + image * from.image + y * from.row + block * BLOCK * from.channel, from,
                     channels_of(to, block), map.width, row);
            if (!seen) continue;
            const float* const mask = seen + (row - map.data);
            for (long i = 0; i < map.width * static_cast<long>(BLOCK); ++i) row[i] = mask[i] <= 0 ? 0.0f : row[i];
        }
    });
}

void unpack_maps(const Processor& processor, const Maps& from, const PlainTensor& to) {
    const FeatureMap map = from.map();
    for_each_row(processor, from.images, map.height, [&](long image, int y) {
        for (int block = 0; block < map.num_blocks; ++block)
            unpack_row(map.at(image, block, y, 0), to, channels_of(from, block), map.width,
                       to.data + image * to.image + y * to.row + block * BLOCK * to.channel);
    });
}

void pack_images(const Processor& processor, const PlainTensor& from, const BorderedImages& to) {
    for_each_row(processor, to.images, to.height, [&](long image, int y) {
        const float* const row = from.data + image * from.image + y * from.row;
        float* out = to.at(image, y, 0);
        for (int x = 0; x < to.width; ++x)
            for (int channel = 0; channel < 3; ++channel) *out++ = row[x * from.column + channel * from.channel];
    });
}

void unpack_images(const Processor& processor, const BorderedImages& from, const PlainTensor& to) {
    for_each_row(processor, from.images, from.height, [&](long image, int y) {
        float* const row = to.data + image * to.image + y * to.row;
        const float* in = from.at(image, y, 0);
        for (int x = 0; x < from.width; ++x)
            for (int channel = 0; channel < 3; ++channel) row[x * to.column + channel * to.channel] = *in++;
    });
}

void max_pool(const Processor& processor, const Maps& in, const Maps& out, Argmax* argmax) {
    const FeatureMap from = in.map(), to = out.map();
    for_each_block(processor, out, [&](long image, int block) {
        for (int y = 0; y < to.height; ++y) {
            float* const row = to.at(image, block, y, 0);
            processor.gradients.max_pool_argmax_row(
                {{from.at(image, block, 2 * y, 0), from.at(image, block, 2 * y + 1, 0), to.width, row},
                 argmax + (row - to.data) / BLOCK});
        }
    });
}

// What the pooling dropped, of an odd side, gets no gradient.
template <class Gradient>
void spread_pooled(const Processor& processor, const FeatureMap& pooled, const Maps& out, bool accumulate,
                   Gradient gradient) {
    const FeatureMap to = out.map();
    for_each_block(processor, out, [&](long image, int block) {
        for (int y = 0; y < pooled.height; ++y) gradient(image, block, y, to);
        if (accumulate) return;
        for (int y = 0; y < pooled.height; ++y)
            for (int lower = 0; lower < 2; ++lower)
                if (to.width % 2)
                    std::memset(to.at(image, block, 2 * y + lower, to.width - 1), 0, BLOCK * sizeof(float));
        if (to.height % 2) std::memset(to.at(image, block, to.height - 1, 0), 0, to.width * BLOCK * sizeof(float));
    });
}

void max_pool_gradient(const Processor& processor, const OutputGradient& gradient, const Maps& out,
                       bool accumulate) {
    const FeatureMap pooled = gradient.maps.map();
    spread_pooled(processor, pooled, out, accumulate, [&](long image, int block, int y, const FeatureMap& to) {
        const float* const row = pooled.at(image, block, y, 0);
        processor.gradients.max_pool_gradient_row({row, gradient.argmax + (row - pooled.data) / BLOCK,
                                                   pooled.width, to.at(image, block, 2 * y, 0),
                                                   to.at(image, block, 2 * y + 1, 0), accumulate});
    });
}

void average_pool(const Processor& processor, const Maps& in, const Maps& out) {
    const FeatureMap from = in.map(), to = out.map();
    for_each_block(processor, out, [&](long image, int block) {
        for (int y = 0; y < to.height; ++y)
            processor.kernels.average_pool_row({from.at(image, block, 2 * y, 0),
                                                from.at(image, block, 2 * y + 1, 0), to.width,
                                                to.at(image, block, y, 0)});
    });
}

void average_pool_gradient(const Processor& processor, const Maps& gradient, const float* seen, const Maps& out) {
    const FeatureMap pooled = gradient.map();
    spread_pooled(processor, pooled, out, false, [&](long image, int block, int y, const FeatureMap& to) {
        float *const upper = to.at(image, block, 2 * y, 0), *const lower = to.at(image, block, 2 * y + 1, 0);
        const auto mask = [&](const float* row) { return seen ? seen + (row - to.data) : nullptr; };
        processor.gradients.average_pool_gradient_row(
            {pooled.at(image, block, y, 0), pooled.width, mask(upper), mask(lower), upper, lower});
    });
}

void unit_distances(const Processor& processor, const Maps& first, const Maps& second, const float* weights,
                    float epsilon, float* out) {
    const int height = first.shape.height, width = first.shape.width;
    for_each_row(processor, first.images, height, [&](long image, int y) {
        DistanceRow row = distance_row(first, second, image, y, weights, epsilon);
        row.out = out + (image * height + y) * width;
        processor.kernels.unit_distance_row(row);
    });
}

void unit_distance_gradients(const Processor& processor, const Maps& first, const Maps& second,
                             const float* weights, float epsilon, const DistanceGradients& gradients) {
    const int height = first.shape.height, width = first.shape.width;
    for_each_row(processor, first.images, height, [&](long image, int y) {
        const DistanceRow row = distance_row(first, second, image, y, weights, epsilon);
        const long at = row.first - first.data;
        processor.gradients.unit_distance_gradient_row({row, gradients.slope + (image * height + y) * width,
                                                        gradients.masked,
                                                        gradients.first ? gradients.first + at : nullptr,
                                                        gradients.second ? gradients.second + at : nullptr});
    });
}

}  // namespace verydeep
