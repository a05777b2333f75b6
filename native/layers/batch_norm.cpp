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
        if (other.count == 0) return;
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

void write(const std::vector<Moments>& of_blocks, const ChannelMoments& to) {
    for (std::size_t block = 0; block < of_blocks.size(); ++block) {
        write(of_blocks[block].mean, to.means + block * BLOCK);
        write(of_blocks[block].squares, to.squares + block * BLOCK);
    }
}

void write(const std::vector<Sums>& of_blocks, const ChannelSums& to) {
    for (std::size_t block = 0; block < of_blocks.size(); ++block) {
        write(of_blocks[block].sums, to.sums + block * BLOCK);
        write(of_blocks[block].products, to.products + block * BLOCK);
    }
}

constexpr long NUMBERS_OF_TILE = 2 * BLOCK;

// What a convolution summed up of each tile of some maps, as it wrote them: [tiles][blocks][2][16].
class Tiles {
public:
    Tiles(const Maps& maps, const float* of_tiles) : map_(maps.map()), of_tiles_(of_tiles) {}

    // `use(first numbers, second numbers, places in the tile)` of a block's channels, for each tile of an image.
    template <class Use>
    void each(long image, int block, Use use) const {
        const TileGrid grid = tile_grid(map_.height, map_.width);
        const float* tile = of_tiles_ + (image * grid.count() * map_.num_blocks + block) * NUMBERS_OF_TILE;
        for (int row = 0; row < grid.rows; ++row)
            for (int column = 0; column < grid.columns; ++column, tile += map_.num_blocks * NUMBERS_OF_TILE) {
                const int rows = std::min(TILE, map_.height - TILE * row);
                const int columns = std::min(TILE, map_.width - TILE * column);
                use(tile, tile + BLOCK, static_cast<double>(rows * columns));
            }
    }

private:
    const FeatureMap map_;
    const float* const of_tiles_;
};

BatchNorm of_block(const BatchNorm& norm, int block) {
    const long at = static_cast<long>(block) * BLOCK;
    return {norm.mean + at, norm.scale + at, norm.shift + at};
}

BatchNormGradient of_block(const BatchNormGradient& norm, int block) {
    const long at = static_cast<long>(block) * BLOCK;
    return {norm.mean + at, norm.scale + at, norm.slope + at, norm.offset + at};
}

}  // namespace

void channel_statistics(const Processor& processor, const Maps& in, const ChannelMoments& to) {
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
    write(moments, to);
}

long tile_sum_floats(const Maps& maps) {
    return maps.images * tile_grid(maps.shape.height, maps.shape.width).count() * maps.map().num_blocks *
           NUMBERS_OF_TILE;
}

// Of an image at once, about its own mean.
void gather_moments(const Processor& processor, const Maps& maps, const float* of_tiles,
                    const ChannelMoments& to) {
    const Tiles tiles(maps, of_tiles);
    const double count = static_cast<double>(maps.shape.height) * maps.shape.width;
    const auto moments = gather<Moments>(
        processor, maps,
        [&](long image, int block) {
            Moments whole;
            whole.count = count;
            tiles.each(image, block, [&](const float* means, const float*, double places) {
                for (int i = 0; i < BLOCK; ++i) whole.mean[i] += means[i] * places;
            });
            for (double& mean : whole.mean) mean /= count;
            tiles.each(image, block, [&](const float* means, const float* squares, double places) {
                for (int i = 0; i < BLOCK; ++i) {
                    const double delta = means[i] - whole.mean[i];
                    whole.squares[i] += squares[i] + delta * delta * places;
                }
            });
            return whole;
        },
        [](Moments& whole, const Moments& part) { whole.add(part); });
    write(moments, to);
}

void batch_norm(const Processor& processor, const Maps& in, const BatchNorm& norm, Activation activation,
                const Maps& out, Argmax* argmax) {
    const FeatureMap from = in.map(), to = out.map();
    for_each_block(processor, out, [&](long image, int block) {
        const BatchNorm numbers = of_block(norm, block);
        for (int y = 0; y < to.height; ++y) {
            float* const row = to.at(image, block, y, 0);
            if (argmax)
                processor.gradients.batch_norm_pool_row(
                    {{from.at(image, block, 2 * y, 0), from.at(image, block, 2 * y + 1, 0), to.width, row},
                     numbers,
                     activation,
                     argmax + (row - to.data) / BLOCK});
            else
                processor.gradients.batch_norm_row(
                    {from.at(image, block, y, 0), to.width, numbers, activation, row});
        }
    });
}

void batch_norm_sums(const Processor& processor, const Maps& in, const float* mean, const OutputGradient& gradient,
                     const ChannelSums& to) {
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
    write(found, to);
}

void gather_sums(const Processor& processor, const Maps& maps, const float* of_tiles, const ChannelSums& to) {
    const Tiles tiles(maps, of_tiles);
    const auto found = gather<Sums>(
        processor, maps,
        [&](long image, int block) {
            Sums whole;
            tiles.each(image, block, [&](const float* sums, const float* products, double) {
                for (int i = 0; i < BLOCK; ++i) whole.sums[i] += sums[i], whole.products[i] += products[i];
            });
            return whole;
        },
        [](Sums& whole, const Sums& part) { whole.add(part.sums, part.products); });
    write(found, to);
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
