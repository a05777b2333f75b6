// Batch normalisation: statistics of a batch, what they make of the maps, and the gradients of both.
//
// Sums are taken over a few rows at a time in single precision, and put together in double precision in the order
// of images and rows: so they have the same bits for any number of threads.
#include <algorithm>
#include <array>
#include <vector>

#include "layers/blocks.h"
#include "layers/layers.h"

namespace verydeep {
namespace {

constexpr int PLACES_AT_ONCE = 256;  // of a block, 16 KiB: they stay in the nearest cache between two passes

template <class Number>
using Channels = std::array<Number, BLOCK>;

int rows_at_once(int width) { return std::max(1, PLACES_AT_ONCE / width); }

// Mean and sum of squared deviations of all that was put together, by the rule of Chan, Golub and LeVeque.
struct Moments {
    double count = 0;
    Channels<double> mean{}, squares{};

    void add(const Moments& other) {
        const double whole = count + other.count, share = other.count / whole;
        for (int i = 0; i < BLOCK; ++i) {
            const double delta = other.mean[i] - mean[i];
            mean[i] += delta * share;
            squares[i] += other.squares[i] + delta * delta * count * share;
        }
        count = whole;
    }
};

// Of deviations from a centre near the mean.
Moments moments_about(const Channels<float>& center, double count, const Channels<float>& sums,
                      const Channels<float>& squares) {
    Moments moments;
    moments.count = count;
    for (int i = 0; i < BLOCK; ++i) {
        const double rest = sums[i] / count;
        moments.mean[i] = center[i] + rest;
        moments.squares[i] = squares[i] - rest * sums[i];
    }
    return moments;
}

struct Sums {
    Channels<double> sums{}, products{};

    template <class Number>
    void add(const Channels<Number>& other_sums, const Channels<Number>& other_products) {
        for (int i = 0; i < BLOCK; ++i) {
            sums[i] += other_sums[i];
            products[i] += other_products[i];
        }
    }
};

// Parts of all images, put together for each block: `add(whole, part)`, in the order of the images.
template <class Part, class OfBlock, class Add>
std::vector<Part> gather(const Processor& processor, const Maps& maps, OfBlock of_block, Add add) {
    const long num_blocks = maps.map().num_blocks;
    std::vector<Part> parts(maps.images * num_blocks), wholes(num_blocks);
    for_each_block(processor, maps,
                   [&](long image, int block) { parts[image * num_blocks + block] = of_block(image, block); });
    for (std::size_t task = 0; task < parts.size(); ++task) add(wholes[task % num_blocks], parts[task]);
    return wholes;
}

void write(const Channels<double>& from, float* to) {
    std::transform(from.begin(), from.end(), to, [](double number) { return static_cast<float>(number); });
}

BatchNorm of_block(const BatchNorm& norm, int block) {
    const long at = static_cast<long>(block) * BLOCK;
    return {norm.mean + at, norm.scale + at, norm.shift + at, norm.activation};
}

BatchNormGradient of_block(const BatchNormGradient& norm, int block) {
    const long at = static_cast<long>(block) * BLOCK;
    return {norm.mean + at, norm.scale + at, norm.slope + at, norm.offset + at};
}

}  // namespace

void channel_statistics(const Processor& processor, const Maps& in, float* means, float* squares) {
    const FeatureMap map = in.map();
    const auto moments = gather<Moments>(
        processor, in,
        [&](long image, int block) {
            Moments whole;
            Channels<float> center, sums, deviations;
            for (int y = 0, rows; y < map.height; y += rows) {
                rows = std::min(rows_at_once(map.width), map.height - y);
                processor.gradients.channel_statistics({map.at(image, block, y, 0), map.row_stride, rows,
                                                        map.width, center.data(), sums.data(), deviations.data()});
                whole.add(moments_about(center, static_cast<double>(rows) * map.width, sums, deviations));
            }
            return whole;
        },
        [](Moments& whole, const Moments& part) { whole.add(part); });
    for (int block = 0; block < map.num_blocks; ++block) {
        write(moments[block].mean, means + block * BLOCK);
        write(moments[block].squares, squares + block * BLOCK);
    }
}

void batch_norm(const Processor& processor, const Maps& in, const BatchNorm& norm, const Maps& out,
                Argmax* argmax) {
    const FeatureMap from = in.map(), to = out.map();
    for_each_block(processor, out, [&](long image, int block) {
        const BatchNorm numbers = of_block(norm, block);
        for (int y = 0; y < to.height; ++y) {
            float* const row = to.at(image, block, y, 0);
            if (argmax)
                processor.gradients.batch_norm_pool_row(
                    {{from.at(image, block, 2 * y, 0), from.at(image, block, 2 * y + 1, 0), to.width, row},
                     numbers,
                     argmax + (row - to.data) / BLOCK});
            else
                processor.gradients.batch_norm_row({from.at(image, block, y, 0), to.width, numbers, row});
        }
    });
}

void batch_norm_sums(const Processor& processor, const Maps& in, const float* mean, const OutputGradient& gradient,
                     float* sums, float* products) {
    const FeatureMap map = in.map();
    const Gradient slope{gradient.maps.map(), gradient.argmax};
    const auto found = gather<Sums>(
        processor, in,
        [&](long image, int block) {
            Sums whole;
            Channels<float> some_sums, some_products;
            const int step = slope.argmax ? 2 : 1;
            for (int y = 0, rows; y < slope.map.height; y += rows) {
                rows = std::min(rows_at_once(step * map.width), slope.map.height - y);
                const float* const row = slope.map.at(image, block, y, 0);
                processor.gradients.batch_norm_sums(
                    {{map.at(image, block, step * y, 0), map.row_stride, row, slope.map.row_stride,
                      slope.argmax ? slope.argmax_at(row) : nullptr, rows, map.width},
                     mean + static_cast<long>(block) * BLOCK,
                     some_sums.data(),
                     some_products.data()});
                whole.add(some_sums, some_products);
            }
            return whole;
        },
        [](Sums& whole, const Sums& part) { whole.add(part.sums, part.products); });
    for (int block = 0; block < map.num_blocks; ++block) {
        write(found[block].sums, sums + block * BLOCK);
        write(found[block].products, products + block * BLOCK);
    }
}

void batch_norm_gradient(const Processor& processor, const Maps& in, const BatchNormGradient& norm,
                         const OutputGradient& gradient, const Maps& out) {
    const FeatureMap from = in.map(), to = out.map();
    const Gradient slope{gradient.maps.map(), gradient.argmax};
    for_each_block(processor, in, [&](long image, int block) {
        const BatchNormGradient numbers = of_block(norm, block);
        const auto plain = [&](int y, const float* row) {
            processor.gradients.batch_norm_gradient_row(
                {from.at(image, block, y, 0), row, from.width, numbers, to.at(image, block, y, 0)});
        };
        for (int y = 0; y < slope.map.height; ++y) {
            const float* const row = slope.map.at(image, block, y, 0);
            if (slope.argmax)
                processor.gradients.batch_norm_pooled_gradient_row(
                    {from.at(image, block, 2 * y, 0), from.row_stride, row, slope.argmax_at(row), from.width,
                     numbers, to.at(image, block, 2 * y, 0)});
            else
                plain(y, row);
        }
        // The row that the pooling dropped.
        if (slope.argmax && from.height % 2) plain(from.height - 1, nullptr);
    });
}

}  // namespace verydeep
