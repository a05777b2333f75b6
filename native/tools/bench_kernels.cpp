// The speed of each kernel at the shapes of the networks, and its share of what the machine gives at best: `make
// bench-kernels`.
//
//     bench_kernels [--json FILE] [--instructions NAME] [--kernel WORD] [--quick]
//
// All on one thread, by its processor time, each the best of several trials. A kernel that multiplications bound
// is compared with a loop of multiplications on registers alone in its type, one that memory bounds with a loop
// that reads and writes as many bytes of as large arrays and does nothing else. A share far above 100 % says that
// a ceiling was measured too low, and is warned of.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tools/bench.h"

using namespace verydeep;

namespace {

struct FullyConnected {
    const char* name;
    long inputs, outputs;
    std::vector<int> batches;
};
const std::vector<FullyConnected> FULLY_CONNECTED = {
    {"D 224 fc6", 25088, 4096, {1, 16, 64}},
    {"D 224 fc7", 4096, 4096, {1, 16, 64}},
    {"D/4 64 fc6", 512, 1024, {1, 16}},
};

// A layer's maps, weights and blocks of tiles, as the engine has them on one thread.
struct WinogradLayer {
    const Kernels& kernels;
    const Layer& layer;
    long in_blocks = blocks_of(layer.in_channels), out_blocks = blocks_of(layer.out_channels);
    long panels = panels_of(layer.out_channels);
    Shape in_shape{layer.in_channels, layer.side, layer.side};
    Shape out_shape{layer.out_channels, layer.side, layer.side};
    Memory in = random_floats(layer.images * map_floats(in_shape)),
           out = random_floats(layer.images * map_floats(out_shape));
    FeatureMap in_map = map_layout(in_shape, in.floats()), out_map = map_layout(out_shape, out.floats());
    TileGrid grid = tile_grid(layer.side, layer.side);
    long tiles = layer.images * grid.count();
    long blocks = ceil_div(tiles, own_block_tiles(in_blocks, kernels));
    int block_tiles = static_cast<int>(ceil_div(tiles, blocks));
    Memory transformed{transformed_bytes(in_blocks, block_tiles, kernels)};
    Memory products = random_floats(static_cast<long>(product_bytes(block_tiles)) / 4);
    long panel_bytes = round_up(
        POINTS * (panel_point_stride(in_blocks, 2, kernels.point_element_bytes) * kernels.point_element_bytes +
                  PANEL * 4L),
        64L);
    Memory weights = random_floats(layer.in_channels * layer.out_channels * 9);
    Memory panel_memory{static_cast<std::size_t>(panels * panel_bytes)};
    Memory bias = random_floats(out_blocks * BLOCK + PANEL);

    int panel_blocks(long panel) const { return static_cast<int>(std::min(2L, out_blocks - 2 * panel)); }
    char* panel(long number) const { return static_cast<char*>(panel_memory.data()) + number * panel_bytes; }

    template <class Use>
    void for_each_block(Use use) const {
        for (long block = 0; block < blocks; ++block) {
            const long first = tiles * block / blocks;
            use(TileRange{grid, first, static_cast<int>(tiles * (block + 1) / blocks - first)});
        }
    }
    void transform_weights() const {
        for (long panel = 0; panel < panels; ++panel)
            kernels.transform_weights({weights.floats(), layer.in_channels, layer.out_channels},
                                      static_cast<int>(panel), this->panel(panel));
    }
    void transform_input() const {
        const int group = kernels.point_scales ? INT16_SCALE_BLOCKS : 1;
        for_each_block([&](const TileRange& range) {
            for (int block = 0; block < in_blocks; block += group)
                kernels.transform_input({in_map, range, block,
                                         std::min(group, static_cast<int>(in_blocks) - block), transformed.data(),
                                         transformed_strides(in_blocks, range.count, kernels)});
        });
    }
    void multiply() const {
        for_each_block([&](const TileRange& range) {
            for (long panel = 0; panel < panels; ++panel)
                kernels.multiply_points({transformed.data(), transformed_strides(in_blocks, range.count, kernels),
                                         range.count, static_cast<int>(in_blocks), this->panel(panel),
                                         panel_blocks(panel), products.floats(), product_strides(range.count)});
        });
    }
    void transform_output(Activation activation, bool max_pool) const {
        for_each_block([&](const TileRange& range) {
            for (long panel = 0; panel < panels; ++panel)
                kernels.transform_output({products.floats(),
                                          product_strides(range.count),
                                          range,
                                          out_map,
                                          static_cast<int>(2 * panel),
                                          panel_blocks(panel),
                                          {bias.floats() + panel * PANEL, activation, max_pool}});
        });
    }
};

void run_winograd(Bench& bench, const Layer& layer) {
    const Kernels& kernels = bench.kernels();
    const WinogradLayer one{kernels, layer};
    const long point_bytes = one.tiles * POINTS * one.in_blocks * BLOCK * kernels.point_element_bytes;
    const long product_total = one.tiles * POINTS * one.out_blocks * BLOCK * 4;
    const long pixels = layer.images * layer.side * layer.side;
    bench.bound_by_memory("weight transform", layer.name,
                          {layer.in_channels * layer.out_channels * 9 * 4, one.panels * one.panel_bytes},
                          [&] { one.transform_weights(); });
    one.transform_weights();
    bench.bound_by_memory("input transform", layer.name,
                          {pixels * one.in_blocks * BLOCK * 4, point_bytes, one.blocks, false, true},
                          [&] { one.transform_input(); });
    one.transform_input();
    bench.bound_by_multiplications("products", layer.name,
                                   2.0 * POINTS * one.tiles * one.in_blocks * one.out_blocks * BLOCK * BLOCK,
                                   [&] { one.multiply(); });
    const auto output = [&](const char* epilogue, Activation activation, bool max_pool) {
        const long turns = one.blocks * one.panels;
        bench.bound_by_memory(
            "output transform", shape_of(layer.name, epilogue),
            {product_total, pixels * one.out_blocks * BLOCK * 4 / (max_pool ? 4 : 1), turns, true, false},
            [&] { one.transform_output(activation, max_pool); });
    };
    output("sums", Activation::none, false);
    output("relu", Activation::relu, false);
    if (layer.max_pool) output("pool", Activation::relu, true);
}

void run_fully_connected(Bench& bench, const FullyConnected& layer) {
    const Kernels& kernels = bench.kernels();
    const bool int20 = kernels.element_bytes == 4;
    const long panels = panels_of(layer.outputs);
    const long panel_bytes =
        int20 ? int20_bytes(layer.inputs, PANEL) : layer.inputs * PANEL * kernels.element_bytes;
    const Memory weights = random_floats(layer.inputs * layer.outputs);
    const Memory packed(static_cast<std::size_t>(panels * panel_bytes));
    const auto panel = [&](long number) { return static_cast<char*>(packed.data()) + number * panel_bytes; };
    const auto pack = int20 ? kernels.pack_weights_int20 : kernels.pack_weights;
    const auto pack_all = [&] {
        for (long number = 0; number < panels; ++number)
            pack({weights.floats(), layer.inputs, layer.outputs}, {static_cast<int>(number), 0, layer.inputs},
                 panel(number));
    };
    bench.bound_by_memory(int20 ? "int20 packing" : "packing", layer.name,
                          {layer.inputs * layer.outputs * 4, panels * panel_bytes}, pack_all);
    pack_all();
    for (const int batch : layer.batches) {
        const Memory rows = random_floats(batch * layer.inputs), sums = random_floats(batch * layer.outputs);
        kernels.convert_rows(rows.floats(), batch * layer.inputs / BLOCK, rows.data());
        const Memory unpacked(INT20_SCALE_INPUTS * PANEL * sizeof(float));
        const auto multiply = [&] {
            for (long number = 0; number < panels; ++number) {
                const MatrixProduct product{rows.data(),
                                            batch * BLOCK,
                                            batch,
                                            static_cast<int>(layer.inputs / BLOCK),
                                            panel(number),
                                            2,
                                            sums.floats() + number * 2 * batch * BLOCK,
                                            batch * BLOCK,
                                            false};
                if (int20)
                    kernels.multiply_int20(product, unpacked.floats());
                else
                    kernels.multiply(product);
            }
        };
        char words[16];
        std::snprintf(words, sizeof words, "b%d", batch);
        const std::string shape = shape_of(layer.name, words);
        if (batch == 1)
            bench.bound_by_memory("fully connected", shape, {panels * panel_bytes, layer.outputs * 4}, multiply);
        else
            bench.bound_by_multiplications("fully connected", shape, 2.0 * batch * layer.inputs * layer.outputs,
                                           multiply);
    }
}

// The first convolution of 224x224 pixels, row by row into a strip that stays in the cache.
void run_first_convolution(Bench& bench) {
    const Kernels& kernels = bench.kernels();
    constexpr int SIDE = 224, STRIP = 8;
    for (const long channels : {64L, 16L}) {
        const long out_blocks = blocks_of(channels), row_floats = (SIDE + 2) * 3;
        const Memory image = random_floats((SIDE + 2) * row_floats), weights = random_floats(27 * channels);
        const Memory bias = random_floats(channels), strip = random_floats(STRIP * out_blocks * SIDE * BLOCK);
        bench.bound_by_multiplications(
            "first convolution", channels == 64 ? "D 224" : "D/4 224", 2.0 * 27 * channels * SIDE * SIDE, [&] {
                for (int y = 0; y < SIDE; ++y)
                    kernels.first_convolution_row({image.floats() + y * row_floats, row_floats, weights.floats(),
                                                   bias.floats(), Activation::relu, SIDE,
                                                   strip.floats() + y % STRIP * out_blocks * SIDE * BLOCK,
                                                   SIDE * BLOCK, static_cast<int>(out_blocks)});
            });
    }
    const std::vector<std::uint8_t> pixels(SIDE * SIDE * 3, 100);
    const Memory levels = random_floats(768), rows = random_floats(SIDE * SIDE * 3);
    bench.bound_by_memory("preprocessing", "224", {SIDE * SIDE * 3, SIDE * SIDE * 3 * 4}, [&] {
        for (int y = 0; y < SIDE; ++y)
            kernels.preprocess_row(pixels.data() + y * SIDE * 3L, levels.floats(), false, SIDE,
                                   rows.floats() + y * SIDE * 3L);
    });
}

void run_pooling(Bench& bench) {
    const Kernels& kernels = bench.kernels();
    for (const Layer& layer : POOLINGS) {
        const Shape in_shape{layer.in_channels, layer.side, layer.side};
        const Shape out_shape{layer.in_channels, layer.side / 2, layer.side / 2};
        const Memory in = random_floats(layer.images * map_floats(in_shape));
        const Memory out = random_floats(layer.images * map_floats(out_shape));
        const FeatureMap from = map_layout(in_shape, in.floats()), to = map_layout(out_shape, out.floats());
        const long bytes = layer.images * layer.in_channels * layer.side * layer.side * 4;
        const auto pool = [&](void (*pool_row)(const PoolingRow&)) {
            for (long image = 0; image < layer.images; ++image)
                for (int block = 0; block < from.num_blocks; ++block)
                    for (int y = 0; y < to.height; ++y)
                        pool_row({from.at(image, block, 2 * y, 0), from.at(image, block, 2 * y + 1, 0), to.width,
                                  to.at(image, block, y, 0)});
        };
        bench.bound_by_memory("max pooling", layer.name, {bytes, bytes / 4}, [&] { pool(kernels.max_pool_row); });
        bench.bound_by_memory("average pooling", layer.name, {bytes, bytes / 4},
                              [&] { pool(kernels.average_pool_row); });
    }
}

// What goes over all channels of a position, or of a row.
void run_channel_kernels(Bench& bench) {
    const Kernels& kernels = bench.kernels();
    const Shape shape{64, 224, 224};
    const Memory in = random_floats(2 * map_floats(shape)), out = random_floats(map_floats(shape));
    const Memory channel_weights = random_floats(64), distances = random_floats(224 * 224);
    const FeatureMap from = map_layout(shape, in.floats()), to = map_layout(shape, out.floats());
    const long bytes = 64L * 224 * 224 * 4;
    bench.bound_by_memory("response norm", "A-LRN 224 norm1_1", {bytes, bytes}, [&] {
        for (int y = 0; y < shape.height; ++y)
            kernels.normalize_row({from.at(0, 0, y, 0),
                                   from.block_stride,
                                   to.at(0, 0, y, 0),
                                   to.block_stride,
                                   from.num_blocks,
                                   shape.width,
                                   {5, 1e-4f, 0.75f, 2}});
    });
    bench.bound_by_memory("bias and relu", "64 channels 224", {bytes, bytes, 1, false, false, true}, [&] {
        for (int y = 0; y < shape.height; ++y)
            kernels.add_bias({to.at(0, 0, y, 0), to.block_stride, shape.width, to.num_blocks,
                              channel_weights.floats(), Activation::relu});
    });
    bench.bound_by_memory("unit distance", "64 channels 224", {2 * bytes, 224 * 224 * 4}, [&] {
        for (int y = 0; y < shape.height; ++y)
            kernels.unit_distance_row({from.at(0, 0, y, 0), from.at(1, 0, y, 0), from.block_stride,
                                       from.num_blocks, shape.width, channel_weights.floats(), 1e-10f,
                                       distances.floats() + y * 224L});
    });
}

void run_rows(Bench& bench) {
    run_first_convolution(bench);
    run_pooling(bench);
    run_channel_kernels(bench);
}

void run(Bench& bench) {
    for (const Layer& layer : LAYERS) run_winograd(bench, layer);
    if (bench.precision() != Precision::int16)
        for (const FullyConnected& layer : FULLY_CONNECTED) run_fully_connected(bench, layer);
    if (bench.precision() != Precision::float32) return;
    run_rows(bench);
    bench_gradients(bench);
}

BenchOptions parse(int count, char** words) {
    BenchOptions options;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        const bool valued = i + 1 < count;
        if (word == "--quick")
            options.quick = true;
        else if (word == "--json" && valued)
            options.json = words[++i];
        else if (word == "--instructions" && valued)
            options.instructions = words[++i];
        else if (word == "--kernel" && valued)
            options.kernel = words[++i];
        else {
            std::fprintf(stderr,
                         "usage: bench_kernels [--json FILE] [--instructions NAME] [--kernel WORD] [--quick]\n");
            std::exit(2);
        }
    }
    return options;
}

}  // namespace

int main(int count, char** words) {
    const BenchOptions options = parse(count, words);
    Bench bench(options);
    bench.for_each_kernels(run);
    const int above = bench.warn();
    if (!options.json.empty()) bench.write_json(above);
    return above > 0;
}
