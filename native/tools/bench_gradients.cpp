// Rows of the kernels that go backwards, in float32, at the sizes in which the layers call them on one thread.
#include <algorithm>
#include <random>
#include <vector>

#include "layers/layers.h"
#include "tools/bench.h"
#include "tuning.h"

namespace verydeep {
namespace {

constexpr long FLOAT = sizeof(float);

std::vector<Argmax> random_argmax(long count) {
    std::mt19937 engine(1);
    std::vector<Argmax> entries(count);
    for (Argmax& entry : entries) entry = static_cast<Argmax>(engine());
    return entries;
}

// Bytes of a map's numbers, without its border.
long bytes_of(const Layer& layer, long blocks) {
    return layer.images * layer.side * layer.side * blocks * BLOCK * FLOAT;
}
// The same of what is pooled, and which was the greatest.
long pooled_bytes_of(const Layer& layer, long blocks) {
    return bytes_of(layer, blocks) / 4 + bytes_of(layer, blocks) / 4 / BLOCK;
}

// A convolution's maps, gradients and blocks of tiles.
struct GradientLayer {
    const Kernels& kernels;
    const GradientKernels& gradients;
    const PointGradientKernels& point_gradients;
    const Layer& layer;
    long in_blocks = blocks_of(layer.in_channels), out_blocks = blocks_of(layer.out_channels);
    Shape in_shape{layer.in_channels, layer.side, layer.side};
    Shape out_shape{layer.out_channels, layer.side, layer.side};
    Shape pooled_shape{layer.out_channels, layer.side / 2, layer.side / 2};
    Memory in = random_floats(layer.images * map_floats(in_shape));
    Memory to_in = random_floats(layer.images * map_floats(in_shape));
    Memory slope = random_floats(layer.images * map_floats(out_shape));
    Memory pooled = random_floats(layer.images * map_floats(pooled_shape));
    std::vector<Argmax> argmax = random_argmax(layer.images * map_floats(pooled_shape) / BLOCK);
    FeatureMap in_map = map_layout(in_shape, in.floats()), to_in_map = map_layout(in_shape, to_in.floats());
    FeatureMap pooled_map = map_layout(pooled_shape, pooled.floats());
    TileGrid grid = tile_grid(layer.side, layer.side);
    long tiles = layer.images * grid.count();
    GradientSums sums_of = GradientSums(tiles, in_blocks, out_blocks, FLOAT);
    long point_floats = sums_of.point_floats, blocks = sums_of.blocks, parts = sums_of.parts;
    long most_tiles = ceil_div(tiles, blocks);
    Memory inputs = random_floats(POINTS * transformed_strides(in_blocks, most_tiles, kernels).point);
    Memory slopes = random_floats(POINTS * transformed_strides(out_blocks, most_tiles, kernels).point);
    Memory products = random_floats(POINTS * product_strides(most_tiles).point);
    Memory sums = random_floats(parts * POINTS * point_floats);
    Memory weights = random_floats(layer.in_channels * layer.out_channels * 9);
    long back_floats = POINTS * panel_point_stride(out_blocks, PANEL / BLOCK, FLOAT);
    Memory back{static_cast<std::size_t>(panels_of(layer.in_channels) * back_floats * FLOAT)};
    std::vector<float> biases = std::vector<float>(out_blocks * BLOCK + PANEL);

    Gradient gradient(bool is_pooled) const {
        return is_pooled ? Gradient{pooled_map, argmax.data()}
                         : Gradient{map_layout(out_shape, slope.floats()), nullptr};
    }
    template <class Use>
    void for_each_block(Use use) const {
        for (long block = 0; block < blocks; ++block) {
            const long first = tiles * block / blocks;
            use(TileRange{grid, first, static_cast<int>(tiles * (block + 1) / blocks - first)});
        }
    }
    // `use(tiles, first block, number of blocks)` for each panel of each block of tiles.
    template <class Use>
    void for_each_panel(long channel_blocks, Use use) const {
        for_each_block([&](const TileRange& range) {
            for (long block = 0; block < channel_blocks; block += PANEL / BLOCK)
                use(range, static_cast<int>(block),
                    static_cast<int>(std::min(channel_blocks - block, long{PANEL / BLOCK})));
        });
    }

    void transform_gradient_input(bool is_pooled) const {
        for_each_block([&](const TileRange& range) {
            for (int block = 0; block < out_blocks; ++block)
                point_gradients.transform_gradient_input({gradient(is_pooled), range, block, 1, slopes.data(),
                                                          transformed_strides(out_blocks, range.count, kernels)});
        });
    }
    void transform_output_argmax() {
        for_each_panel(out_blocks, [&](const TileRange& range, int first, int count) {
            gradients.transform_output_argmax({{products.floats(),
                                                product_strides(range.count),
                                                range,
                                                pooled_map,
                                                first,
                                                count,
                                                {biases.data() + first * BLOCK, Activation::relu, false}},
                                               argmax.data()});
        });
    }
    void transform_output_gradient(bool masked) const {
        FeatureMap seen = in_map;
        if (!masked) seen.data = nullptr;
        for_each_panel(in_blocks, [&](const TileRange& range, int first, int count) {
            gradients.transform_output_gradient(
                {products.floats(), product_strides(range.count), range, to_in_map, seen, first, count});
        });
    }
    void transform_gradient(bool is_pooled) {
        for_each_block([&](const TileRange& range) {
            point_gradients.transform_gradient(
                {gradient(is_pooled), range, 0, static_cast<int>(out_blocks), slopes.floats(),
                 transformed_strides(out_blocks, range.count, kernels), biases.data()});
        });
    }
    void multiply_outer() const {
        for_each_block([&](const TileRange& range) {
            const PointStrides in_strides = transformed_strides(in_blocks, range.count, kernels);
            const PointStrides out_strides = transformed_strides(out_blocks, range.count, kernels);
            for (int point = 0; point < POINTS; ++point)
                gradients.multiply_outer({slopes.floats() + point * out_strides.point, out_strides.block,
                                          static_cast<int>(out_blocks), inputs.floats() + point * in_strides.point,
                                          in_strides.block, static_cast<int>(in_blocks), range.count,
                                          sums.floats() + point * point_floats, range.first > 0});
        });
    }
    void gather_weight_gradient() const {
        for (int block = 0; block < out_blocks; ++block)
            gradients.gather_weight_gradient({sums.floats(), static_cast<int>(parts), POINTS * point_floats,
                                              point_floats, block, layer.in_channels, layer.out_channels,
                                              weights.floats()});
    }
    void transform_weights_back() const {
        for (int panel = 0; panel < panels_of(layer.in_channels); ++panel)
            point_gradients.transform_weights_back({weights.floats(), layer.in_channels, layer.out_channels},
                                                   panel, back.floats() + panel * back_floats);
    }
};

void bench_convolution(Bench& bench, const Processor& processor, const Layer& layer) {
    GradientLayer one{bench.kernels(), processor.gradients, processor.point_gradients, layer};
    const long slope_bytes = bytes_of(layer, one.out_blocks),
               pooled_bytes = pooled_bytes_of(layer, one.out_blocks);
    const long in_bytes = bytes_of(layer, one.in_blocks);
    const long product_bytes = one.tiles * POINTS * BLOCK * FLOAT;  // of a block of channels
    const long weight_bytes = layer.in_channels * layer.out_channels * 9 * FLOAT;
    for (const bool pooled : {false, true}) {
        if (pooled && !layer.max_pool) continue;
        const std::string shape = shape_of(layer.name, pooled ? "pooled" : "plain");
        const Traffic traffic{pooled ? pooled_bytes : slope_bytes, product_bytes * one.out_blocks, one.blocks,
                              false, true};
        bench.bound_by_memory("gradient input", shape, traffic, [&] { one.transform_gradient_input(pooled); });
        bench.bound_by_memory("gradient transform", shape, traffic, [&] { one.transform_gradient(pooled); });
    }
    if (layer.max_pool)
        bench.bound_by_memory("argmax output", layer.name,
                              {product_bytes * one.out_blocks, pooled_bytes,
                               one.blocks * panels_of(layer.out_channels), true, false},
                              [&] { one.transform_output_argmax(); });
    for (const bool masked : {false, true}) {
        Traffic traffic{product_bytes * one.in_blocks, in_bytes, one.blocks * panels_of(layer.in_channels), true,
                        false};
        traffic.also_read = masked ? in_bytes : 0;
        bench.bound_by_memory("gradient output", shape_of(layer.name, masked ? "masked" : "plain"), traffic,
                              [&] { one.transform_output_gradient(masked); });
    }
    bench.bound_by_multiplications("outer products", layer.name,
                                   2.0 * POINTS * one.tiles * one.in_blocks * one.out_blocks * BLOCK * BLOCK,
                                   [&] { one.multiply_outer(); });
    bench.bound_by_memory(
        "weight gradient", layer.name,
        {one.parts * POINTS * one.in_blocks * one.out_blocks * BLOCK * BLOCK * FLOAT, weight_bytes},
        [&] { one.gather_weight_gradient(); });
    bench.bound_by_memory("weights back", layer.name,
                          {weight_bytes, panels_of(layer.in_channels) * one.back_floats * FLOAT},
                          [&] { one.transform_weights_back(); });
}

// conv1_1 of 224x224 pixels.
void bench_first_convolution(Bench& bench, const GradientKernels& gradients) {
    constexpr int SIDE = 224;
    for (const long channels : {64L, 16L}) {
        const char* const name = channels == 64 ? "D 224" : "D/4 224";
        const double operations = 2.0 * 27 * channels * SIDE * SIDE;
        const Shape shape{channels, SIDE, SIDE};
        const Memory image = random_floats((SIDE + 2) * (SIDE + 2) * 3 + BORDERED_SLACK);
        const Memory slope = random_floats(map_floats(shape)), weights = random_floats(27 * channels);
        const Memory sums = random_floats(28 * channels);
        const FeatureMap map = map_layout(shape, slope.floats());
        const BorderedImages images{image.floats(), 1, SIDE, SIDE};
        bench.bound_by_multiplications("first weight gradient", name, operations, [&] {
            for (int block = 0; block < map.num_blocks; ++block)
                for (int y = 0; y < SIDE; ++y)
                    gradients.first_weight_gradient_row({images.at(0, y - 1, -1), images.row_stride(),
                                                         map.at(0, block, y, 0), SIDE,
                                                         sums.floats() + block * 28L * BLOCK});
        });
        bench.bound_by_multiplications("first data gradient", name, operations, [&] {
            for (int y = 0; y < SIDE; ++y)
                gradients.first_data_gradient_row({map.at(0, 0, y, 0), map.row_stride, map.block_stride,
                                                   map.num_blocks, SIDE, weights.floats(), images.at(0, y, 0)});
        });
    }
}

// Maps, what was pooled of them, and gradients at both.
struct MapLayer {
    const Layer& layer;
    Shape shape{layer.in_channels, layer.side, layer.side};
    Shape pooled_shape{layer.in_channels, layer.side / 2, layer.side / 2};
    Memory in = random_floats(layer.images * map_floats(shape)),
           out = random_floats(layer.images * map_floats(shape));
    Memory slope = random_floats(layer.images * map_floats(shape));
    Memory pooled = random_floats(layer.images * map_floats(pooled_shape));
    std::vector<Argmax> argmax = random_argmax(layer.images * map_floats(pooled_shape) / BLOCK);
    FeatureMap from = map_layout(shape, in.floats()), to = map_layout(shape, out.floats());
    FeatureMap slope_map = map_layout(shape, slope.floats()),
               pooled_map = map_layout(pooled_shape, pooled.floats());
    long bytes = bytes_of(layer, from.num_blocks), pooled_bytes = pooled_bytes_of(layer, from.num_blocks);

    // `use(image, block, y)` for every `step`th row.
    template <class Use>
    void for_each_row(int step, Use use) const {
        for (long image = 0; image < layer.images; ++image)
            for (int block = 0; block < from.num_blocks; ++block)
                for (int y = 0; y + step <= layer.side; y += step) use(image, block, y);
    }
    Argmax* argmax_at(const float* place) { return argmax.data() + (place - pooled_map.data) / BLOCK; }
};

void bench_poolings(Bench& bench, const GradientKernels& gradients, const Layer& layer) {
    MapLayer one{layer};
    const FeatureMap &from = one.from, &to = one.to, &pooled = one.pooled_map;
    bench.bound_by_memory("max pooling argmax", layer.name, {one.bytes, one.pooled_bytes}, [&] {
        one.for_each_row(2, [&](long image, int block, int y) {
            float* const row = pooled.at(image, block, y / 2, 0);
            gradients.max_pool_argmax_row(
                {{from.at(image, block, y, 0), from.at(image, block, y + 1, 0), pooled.width, row},
                 one.argmax_at(row)});
        });
    });
    for (const bool added : {false, true})
        bench.bound_by_memory("max pooling gradient", shape_of(layer.name, added ? "added" : "plain"),
                              {one.pooled_bytes + (added ? one.bytes : 0), one.bytes, 1, false, false, added},
                              [&] {
                                  one.for_each_row(2, [&](long image, int block, int y) {
                                      const float* const row = pooled.at(image, block, y / 2, 0);
                                      gradients.max_pool_gradient_row({row, one.argmax_at(row), pooled.width,
                                                                       to.at(image, block, y, 0),
                                                                       to.at(image, block, y + 1, 0), added});
                                  });
                              });
    for (const bool masked : {false, true})
        bench.bound_by_memory("average pooling gradient", shape_of(layer.name, masked ? "masked" : "plain"),
                              {one.bytes / 4 + (masked ? one.bytes : 0), one.bytes}, [&] {
                                  one.for_each_row(2, [&](long image, int block, int y) {
                                      gradients.average_pool_gradient_row(
                                          {pooled.at(image, block, y / 2, 0), pooled.width,
                                           masked ? from.at(image, block, y, 0) : nullptr,
                                           masked ? from.at(image, block, y + 1, 0) : nullptr,
                                           to.at(image, block, y, 0), to.at(image, block, y + 1, 0)});
                                  });
                              });
}

void bench_batch_norm(Bench& bench, const GradientKernels& gradients, const Layer& layer) {
    MapLayer one{layer};
    const FeatureMap &from = one.from, &to = one.to, &pooled = one.pooled_map, &slope = one.slope_map;
    const Memory numbers = random_floats(7 * BLOCK);
    const auto of_channels = [&](int which) { return numbers.floats() + which * BLOCK; };
    float *const sums = of_channels(4), *const products = of_channels(5), *const center = of_channels(6);
    const BatchNorm norm{of_channels(0), of_channels(1), of_channels(2)};
    const BatchNormGradient norm_gradient{of_channels(0), of_channels(1), of_channels(2), of_channels(3)};
    // As many rows as the layer sums up at once.
    const int rows = std::clamp(256 / layer.side, 1, layer.side), pairs = std::max(1, rows / 2);
    bench.bound_by_memory("channel statistics", layer.name, {one.bytes, 0}, [&] {
        one.for_each_row(rows, [&](long image, int block, int y) {
            gradients.channel_statistics(
                {from.at(image, block, y, 0), from.row_stride, rows, from.width, center, sums, products});
        });
    });
    bench.bound_by_memory("batch norm", shape_of(layer.name, "plain"), {one.bytes, one.bytes}, [&] {
        one.for_each_row(1, [&](long image, int block, int y) {
            gradients.batch_norm_row(
                {from.at(image, block, y, 0), from.width, norm, Activation::relu, to.at(image, block, y, 0)});
        });
    });
    bench.bound_by_memory("batch norm", shape_of(layer.name, "pooled"), {one.bytes, one.pooled_bytes}, [&] {
        one.for_each_row(2, [&](long image, int block, int y) {
            float* const row = pooled.at(image, block, y / 2, 0);
            gradients.batch_norm_pool_row(
                {{from.at(image, block, y, 0), from.at(image, block, y + 1, 0), pooled.width, row},
                 norm,
                 Activation::relu,
                 one.argmax_at(row)});
        });
    });
    bench.bound_by_memory("batch norm sums", shape_of(layer.name, "plain"), {2 * one.bytes, 0}, [&] {
        one.for_each_row(rows, [&](long image, int block, int y) {
            gradients.batch_norm_sums({{from.at(image, block, y, 0), from.row_stride, slope.at(image, block, y, 0),
                                        slope.row_stride, nullptr, rows, from.width},
                                       norm.mean,
                                       sums,
                                       products});
        });
    });
    bench.bound_by_memory(
        "batch norm sums", shape_of(layer.name, "pooled"), {one.bytes + one.pooled_bytes, 0}, [&] {
            one.for_each_row(2 * pairs, [&](long image, int block, int y) {
                const float* const row = pooled.at(image, block, y / 2, 0);
                gradients.batch_norm_sums({{from.at(image, block, y, 0), from.row_stride, row, pooled.row_stride,
                                            one.argmax_at(row), pairs, from.width},
                                           norm.mean,
                                           sums,
                                           products});
            });
        });
    bench.bound_by_memory("batch norm gradient", shape_of(layer.name, "plain"), {2 * one.bytes, one.bytes}, [&] {
        one.for_each_row(1, [&](long image, int block, int y) {
            gradients.batch_norm_gradient_row({from.at(image, block, y, 0), slope.at(image, block, y, 0),
                                               from.width, norm_gradient, to.at(image, block, y, 0)});
        });
    });
    bench.bound_by_memory(
        "batch norm gradient", shape_of(layer.name, "pooled"), {one.bytes + one.pooled_bytes, one.bytes}, [&] {
            one.for_each_row(2, [&](long image, int block, int y) {
                const float* const row = pooled.at(image, block, y / 2, 0);
                gradients.batch_norm_pooled_gradient_row({from.at(image, block, y, 0), from.row_stride, row,
                                                          one.argmax_at(row), from.width, norm_gradient,
                                                          to.at(image, block, y, 0)});
            });
        });
}

void bench_distances(Bench& bench, const GradientKernels& gradients) {
    const Shape shape{64, 224, 224};
    const Memory in = random_floats(2 * map_floats(shape)), out = random_floats(2 * map_floats(shape));
    const Memory weights = random_floats(shape.channels), slope = random_floats(shape.height * shape.width);
    const FeatureMap from = map_layout(shape, in.floats()), to = map_layout(shape, out.floats());
    const long bytes = shape.channels * shape.height * shape.width * FLOAT;
    bench.bound_by_memory(
        "unit distance gradient", "64 channels 224", {2 * bytes + shape.height * shape.width * FLOAT, 2 * bytes},
        [&] {
            for (int y = 0; y < shape.height; ++y) {
                const DistanceRow row{from.at(0, 0, y, 0),
                                      from.at(1, 0, y, 0),
                                      from.block_stride,
                                      from.num_blocks,
                                      shape.width,
                                      weights.floats(),
                                      1e-10f,
                                      nullptr};
                gradients.unit_distance_gradient_row({row, slope.floats() + static_cast<long>(y) * shape.width,
                                                      true, to.at(0, 0, y, 0), to.at(1, 0, y, 0)});
            }
        });
}

}  // namespace

void bench_gradients(Bench& bench) {
    // There are none of their own for what adds 16-bit types.
    if (bench.instructions() > Instructions::avx512) return;
    const Processor processor = processor_of(bench.instructions(), 1);
    const GradientKernels& gradients = processor.gradients;
    for (const Layer& layer : LAYERS) bench_convolution(bench, processor, layer);
    bench_first_convolution(bench, gradients);
    for (const Layer& layer : POOLINGS) bench_poolings(bench, gradients, layer);
    for (const Layer& layer : POOLINGS) bench_batch_norm(bench, gradients, layer);
    bench_distances(bench, gradients);
}

}  // namespace verydeep
