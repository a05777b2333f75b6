#include "network.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "threads.h"

namespace verydeep {

// ------------------------------------------------------------------------------------------------- sizes

namespace {

constexpr std::size_t MOST_SCRATCH = std::size_t{512} << 20;  // a batch that needs more is shown in parts
constexpr long MOST_PICTURES = 64;                            // likewise
constexpr long MOST_PLACES = 256;                             // of the score map that are multiplied at once
constexpr std::size_t CACHED_MAPS = std::size_t{12} << 20;    // of the pictures that go through a stage together
constexpr std::size_t OWN_INPUT = std::size_t{600} << 10;     // transformed input of a block of tiles, for a core's cache
constexpr int OWN_TILES = 28;                                 // of a block, however large: weights come once for them
constexpr std::size_t OWN_WEIGHTS = std::size_t{12} << 20;    // transformed weights that each thread reads for itself
constexpr int FEW_THREADS = 2;                                // that may read larger ones, too: memory gives as much
constexpr std::size_t STRIP_WEIGHTS = std::size_t{3} << 20;   // where conv1_1 and conv1_2 go by strips
constexpr std::size_t OWN_STRIP = std::size_t{600} << 10;     // as OWN_INPUT, with the strip that it is made of
constexpr int FEWEST_STRIP_TILES = 28;                        // that a picture has where the map goes by strips
constexpr int SHARED_TILES = 56;                              // in a block that all threads share, at least
constexpr int MOST_SHARED_TILES = 224;                        // with many threads: the block is read by all of them
constexpr std::size_t LARGE_WEIGHTS = std::size_t{4} << 20;   // of an FC layer: they come from memory each time
constexpr int POOLINGS_ON_DEMAND = 4;  // before the layers whose maps are small and weights large: the others' are kept
constexpr int ON_DEMAND_TILES = 112;   // in a block, for which weights are transformed
constexpr long LONG_SUM = 512;                                // whose rounding is above that of weights of 20 bits
constexpr int DEPTH_AT_ONCE = 32;                             // blocks of a row in a product with many rows
// Each layer in bfloat16 adds to the error of the scores. 3x3 layers beyond so many, E's last three alone, take
// integers of 16 bits, whose error is a seventh of that.
constexpr int MOST_IN_BFLOAT16 = 12;

template <class Number>
Number rounded(Number value, Number to) {
    return (value + to - 1) / to * to;
}

template <class Number>
Number divided(Number value, Number by) {
    return (value + by - 1) / by;
}

Tiles tiles_of(int height, int width) { return {divided(height, TILE), divided(width, TILE)}; }

// Where a map of one picture lies.
Map layout(long channels, int height, int width, float* data = nullptr) {
    Map map;
    map.data = data;
    map.blocks = static_cast<int>(blocks_of(channels));
    map.height = height;
    map.width = width;
    map.row = (rounded(width, TILE) + 2L) * CHANNELS;
    map.plane = map.row * (rounded(height, TILE) + 2L);
    map.picture = map.plane * map.blocks;
    return map;
}

long floats_of(const Shape& shape) { return layout(shape.channels, shape.height, shape.width).picture; }

// 64 bytes aside for each next one of the 36 matrices, lest they all fall into the same sets of the cache.
long skewed(long numbers, long number_bytes) {
    return rounded(numbers * number_bytes, 4096L) / number_bytes + 192 / number_bytes;
}

// Of some tiles' transformed input, and of its scales where it has any.
std::size_t input_bytes(long numbers, long tiles, const Kernels& kernels) {
    const std::size_t scales = kernels.scaled ? divided(numbers, long{GROUP * CHANNELS}) * tiles * sizeof(float) : 0;
    return POINTS * skewed(numbers * tiles, kernels.point_bytes) * kernels.point_bytes + scales;
}

}  // namespace

// ------------------------------------------------------------------------------------------------- steps

struct Network::Step {
    StepDescription is;
    Memory weights, bias;
    bool first = false;
    const Kernels* kernels = nullptr;
    const float* plain = nullptr;  // what is transformed on demand

    // The picture's three channels would fill a fifth of a block: they have a kernel of their own.
    bool direct() const { return first && is.kind == Kind::convolution && is.kernel == 3 && is.in_channels == 3; }
    bool pools() const { return is.pool || is.kind == Kind::max_pooling || is.kind == Kind::average_pooling; }
    bool winograd() const { return is.kind == Kind::convolution && is.kernel == 3 && !direct(); }
    // FC layers whose weights are float32 and many are kept in 20 bits.
    bool shortened() const {
        return is.kind == Kind::fully_connected && kernels->number_bytes == sizeof(float) && numbers() >= LONG_SUM &&
               static_cast<std::size_t>(numbers()) * is.out_channels * sizeof(float) >= LARGE_WEIGHTS;
    }
    long numbers() const { return is.in_channels * is.kernel * is.kernel; }  // that an output is the sum of
    std::size_t panel_bytes(int panel) const {
        const long outputs = std::min<long>(is.out_channels - panel * static_cast<long>(PANEL), PANEL);
        const long columns = blocks_of(outputs) * CHANNELS;
        if (shortened()) return short_bytes(rounded(numbers(), 16L), columns);
        if (!winograd()) return rounded(numbers(), 16L) * columns * (direct() ? sizeof(float) : kernels->number_bytes);
        const long matrix = panel_matrix(blocks_of(is.in_channels), columns / CHANNELS, kernels->point_bytes);
        return POINTS * (matrix * kernels->point_bytes + (kernels->scaled ? columns * sizeof(float) : 0));
    }
    const void* panel(int number) const {
        return static_cast<const char*>(weights.data()) + number * panel_bytes(0);
    }
    int panel_blocks(int panel) const {
        return static_cast<int>(std::min<long>(2, blocks_of(is.out_channels) - 2L * panel));
    }
};

Network::Network(const std::vector<StepDescription>& steps, long in_channels, std::vector<float> levels, bool flip,
                 Instructions instructions, Precision precision, int threads, bool on_demand)
    : in_channels_(in_channels),
      levels_(std::move(levels)),
      flip_(flip),
      instructions_(instructions),
      precision_(has(instructions, precision) ? precision : Precision::float32),
      threads_(threads),
      on_demand_(on_demand),
      kernels_(kernels_for(instructions, precision_)) {
    if (threads < 1) throw std::invalid_argument("number of threads is " + std::to_string(threads) + "; it has to be at least 1");
    if (in_channels < 1) throw std::invalid_argument("a network needs at least one input channel");
    if (in_channels == 3 && levels_.size() != 768) throw std::invalid_argument("levels have to be 3 times 256 numbers");
    if (steps.empty()) throw std::invalid_argument("a network needs at least one step");
    long channels = in_channels;
    bool flat = false;
    for (const StepDescription& step : steps) {
        const bool weighted = step.kind == Kind::convolution || step.kind == Kind::fully_connected;
        if (weighted && step.in_channels != channels)
            throw std::invalid_argument("a step takes " + std::to_string(step.in_channels) + " channels, the one before gives " +
                                        std::to_string(channels));
        if (weighted && (step.out_channels < 1 || !step.weights || !step.bias))
            throw std::invalid_argument("a step with weights needs outputs, weights and biases");
        if (step.kind == Kind::convolution && step.kernel != 3 && step.kernel != 1)
            throw std::invalid_argument("a convolution's kernel is 3 or 1, not " + std::to_string(step.kernel));
        if (step.kind == Kind::fully_connected && (step.kernel < 1 || (flat && step.kernel != 1) || step.pool))
            throw std::invalid_argument("only the first fully connected step may have a kernel above 1");
        if (flat && step.kind != Kind::fully_connected)
            throw std::invalid_argument("only fully connected steps may follow a fully connected one");
        if (step.kind == Kind::normalization && (step.size < 1 || step.size > MOST_NEAR))
            throw std::invalid_argument("a normalization is over " + std::to_string(step.size) +
                                        " channels; it may be over 1 to " + std::to_string(MOST_NEAR));
        flat = flat || step.kind == Kind::fully_connected;
        if (weighted) channels = step.out_channels;
    }
    const Turn turn;
    for (const StepDescription& step : steps) add(step);
}

Network::~Network() = default;

void Network::add(const StepDescription& description) {
    auto step = std::make_unique<Step>();
    step->is = description;
    step->first = steps_.empty();
    const StepDescription& is = step->is;
    const auto before = std::count_if(steps_.begin(), steps_.end(), [](const auto& one) { return one->winograd(); });
    const bool deep = precision_ == Precision::bfloat16 && step->winograd() && before >= MOST_IN_BFLOAT16;
    step->kernels = deep ? &kernels_for(instructions_, Precision::int16) : &kernels_;
    if (is.kind == Kind::convolution || is.kind == Kind::fully_connected) {
        const long panels = panels_of(is.out_channels);
        step->bias = Memory(blocks_of(is.out_channels) * CHANNELS * sizeof(float));
        std::memcpy(step->bias.floats(), is.bias, is.out_channels * sizeof(float));
        std::size_t bytes = 0;
        for (int panel = 0; panel < panels; ++panel) bytes += step->panel_bytes(panel);
        const auto poolings = std::count_if(steps_.begin(), steps_.end(), [](const auto& one) { return one->pools(); });
        if (on_demand_ && step->winograd() && step->kernels->point_bytes == sizeof(float) && poolings >= POOLINGS_ON_DEMAND) {
            step->plain = is.weights;
            bytes = 0;
        }
        step->weights = Memory(bytes);
        char* const to = static_cast<char*>(step->weights.data());
        const std::size_t panel_bytes = step->panel_bytes(0);
        if (step->plain) {
            // Nothing is to be done before they are wanted.
        } else if (step->winograd()) {
            in_parallel(threads_, panels, [&](long panel, int) {
                step->kernels->transform_weights(is.weights, is.in_channels, is.out_channels, static_cast<int>(panel),
                                                 to + panel * panel_bytes);
            });
        } else if (step->direct()) {  // [27][all outputs], in the order of rows, columns, channels
            const long columns = blocks_of(is.out_channels) * CHANNELS;
            float* const out = step->weights.floats();
            for (long output = 0; output < is.out_channels; ++output)
                for (long channel = 0; channel < 3; ++channel)
                    for (long place = 0; place < 9; ++place)
                        out[(place * 3 + channel) * columns + output] =
                            is.weights[(output * 3 + channel) * 9 + place];
        } else {
            const long numbers_padded = rounded(step->numbers(), 16L);
            constexpr long stretch = 8 * STRETCH;
            const auto pack = step->shortened() ? kernels_.shorten_weights : kernels_.pack_weights;
            const long stretches = divided(numbers_padded, stretch);
            in_parallel(threads_, panels * stretches, [&](long task, int) {
                const int panel = static_cast<int>(task / stretches);
                const long first = task % stretches * stretch;
                pack(is.weights, step->numbers(), is.out_channels, panel, first, std::min(first + stretch, numbers_padded),
                     to + panel * panel_bytes);
            });
        }
    }
    step->is.weights = step->is.bias = nullptr;
    steps_.push_back(std::move(step));
}

bool Network::borrows(int step) const { return steps_[step]->plain; }

std::size_t Network::weight_bytes() const {
    std::size_t bytes = 0;
    for (const auto& step : steps_) bytes += step->weights.bytes() + step->bias.bytes();
    return bytes;
}

// ------------------------------------------------------------------------------------------------- plans

// Something that is done in one go. A step is one operation, or several where its stages are asked for.
struct Network::Operation {
    enum class What { convolve, rectify, max_pool, average_pool, normalize, connect } what;
    const Step* step;
    int number;  // of the step
    bool relu, pool;
    Shape in, out;
    std::vector<int> outputs;  // of those that were asked for, the ones that are taken here
    // Winograd:
    bool shared = false;  // all threads work on one block of tiles, or each on its own
    int block_tiles = 0;
    // conv1_1 and conv1_2 strip by strip:
    bool into_strips = false;   // conv1_1: its map is never there as a whole
    int down = 0, across = 0;   // conv1_2: strips of a picture
    int strip_down = 0, strip_across = 0;  // tiles of the largest
    int side = 0;  // which of the two maps is written, if not the next segment's input
};

// A part of the operations, done for some pictures at once, so that their maps stay in the cache.
struct Segment {
    std::size_t first, last;
    long pictures;
    std::size_t input;  // offset into the scratch, in bytes
};

struct Network::Plan {
    std::vector<Operation> operations;
    std::size_t connected;  // operations from here on are fully connected
    std::vector<Segment> segments;
    std::size_t maps[2];  // that an operation reads and writes, of one segment at a time: the others are done or wait
    long pictures;  // that go through the whole network at once
    long places;    // of the score map that are multiplied at once
    std::size_t shared_input, own, own_step, products, strip, panel, rows, sums[2], bytes;
};

Network::Plan Network::plan(long batch, int height, int width, const std::vector<Output>& outputs, long together) const {
    if (batch < 1 || height < 1 || width < 1) throw std::invalid_argument("there is no picture, or it has no pixels");
    if (outputs.empty()) throw std::invalid_argument("no output is asked for");
    int last_step = 0;
    for (const Output& output : outputs) {
        if (output.step < 0 || output.step >= num_steps())
            throw std::invalid_argument("there is no step " + std::to_string(output.step));
        const StepDescription& is = steps_[output.step]->is;
        const bool weighted = is.kind == Kind::convolution || is.kind == Kind::fully_connected;
        if ((output.stage == Stage::relu && !is.relu) || (output.stage == Stage::pool && !is.pool) ||
            (output.stage != Stage::sums && !weighted))
            throw std::invalid_argument("step " + std::to_string(output.step) + " has no such stage");
        last_step = std::max(last_step, output.step);
    }
    Plan plan;
    std::vector<Operation>& operations = plan.operations;
    const auto asked = [&](int step, Stage stage) {
        std::vector<int> places;
        for (std::size_t i = 0; i < outputs.size(); ++i)
            if (outputs[i].step == step && outputs[i].stage == stage) places.push_back(static_cast<int>(i));
        return places;
    };
    Shape shape{in_channels_, height, width};
    for (int number = 0; number <= last_step; ++number) {
        const Step* step = steps_[number].get();
        const StepDescription& is = step->is;
        const auto then = [&](Operation::What what, bool relu, bool pool, Shape out, std::vector<int> taken) {
            if (out.height < 1 || out.width < 1)
                throw std::invalid_argument("picture is " + std::to_string(width) + "x" + std::to_string(height) +
                                            " pixels; this network needs a larger one");
            operations.push_back({what, step, number, relu, pool, shape, out, std::move(taken)});
            shape = out;
        };
        const auto halved = [&](Shape s) { return Shape{s.channels, s.height / 2, s.width / 2}; };
        using What = Operation::What;
        switch (is.kind) {
            case Kind::max_pooling: then(What::max_pool, false, false, halved(shape), asked(number, Stage::sums)); break;
            case Kind::average_pooling:
                then(What::average_pool, false, false, halved(shape), asked(number, Stage::sums));
                break;
            case Kind::normalization: then(What::normalize, false, false, shape, asked(number, Stage::sums)); break;
            case Kind::convolution:
            case Kind::fully_connected: {
                const bool convolution = is.kind == Kind::convolution;
                const What what = convolution ? What::convolve : What::connect;
                const int less = convolution ? 0 : is.kernel - 1;
                const Shape sums{is.out_channels, shape.height - less, shape.width - less};
                std::vector<int> bare = asked(number, Stage::sums), positive = asked(number, Stage::relu);
                // 1x1 convolutions alone have no pooling of their own.
                const bool pool_apart = is.pool && (!bare.empty() || !positive.empty() ||
                                                    !(step->winograd() || step->direct()));
                const bool relu_apart = is.relu && !bare.empty();
                then(what, is.relu && !relu_apart, is.pool && !pool_apart, is.pool && !pool_apart ? halved(sums) : sums,
                     relu_apart || !is.relu ? bare : is.pool && !pool_apart ? std::vector<int>{} : positive);
                if (relu_apart) then(What::rectify, false, false, shape, positive);
                if (pool_apart) then(What::max_pool, false, false, halved(shape), {});
                if (is.pool) operations.back().outputs = asked(number, Stage::pool);
                break;
            }
        }
    }
    plan.connected = operations.size();
    for (std::size_t i = operations.size(); i-- > 0 && operations[i].step->is.kind == Kind::fully_connected;)
        plan.connected = i;

    // The stages up to the second, the third and the fourth pooling are shown few pictures at a time: their maps are
    // large. What follows is shown all: its weights are what is large.
    std::vector<std::size_t> ends;
    int poolings = 0;
    for (std::size_t i = 0; i < plan.connected; ++i) {
        const Operation& operation = operations[i];
        const bool pools = operation.pool || operation.what == Operation::What::max_pool ||
                           operation.what == Operation::What::average_pool;
        if (pools && ++poolings >= 2 && poolings <= 4 && i + 1 < plan.connected) ends.push_back(i + 1);
    }
    ends.push_back(plan.connected);

    if (ends[0] > 1 && operations[0].step->direct() && !operations[0].pool && operations[0].outputs.empty() &&
        operations[1].what == Operation::What::convolve && operations[1].step->winograd() &&
        operations[1].step->weights.bytes() <= STRIP_WEIGHTS) {
        Operation& operation = operations[1];
        const Tiles tiles = tiles_of(height, width);
        const long in_numbers = blocks_of(operation.in.channels) * CHANNELS;
        // Of 16 numbers and the border's share.
        const long tile_bytes = in_numbers * (POINTS * operation.step->kernels->point_bytes + 20L * sizeof(float));
        const long most = std::clamp<long>(OWN_STRIP / tile_bytes, 14, 112);
        operations[0].into_strips = tiles.each() >= FEWEST_STRIP_TILES;
        // As few pixels of conv1_1 as can be: strips overlap by two.
        long fewest = 0;
        for (int down = 1; down <= tiles.down; ++down) {
            const long across = divided(static_cast<long>(tiles.across), std::max(1L, most / divided(tiles.down, down)));
            const long pixels = (4L * tiles.down + 2 * down) * (4L * tiles.across + 2 * across);
            if (divided(tiles.down, down) > most || (fewest && pixels >= fewest)) continue;
            fewest = pixels;
            operation.down = down;
            operation.across = static_cast<int>(across);
        }
        operation.strip_down = divided(tiles.down, operation.down);
        operation.strip_across = divided(tiles.across, operation.across);
    }
    for (plan.pictures = std::min(batch, MOST_PICTURES);; plan.pictures = rounded(divided(plan.pictures, 2L), together)) {
        std::size_t end = 0;
        const auto take = [&](std::size_t size) {
            const std::size_t place = end;
            end += rounded(size, std::size_t{4096}) + 192;  // not all at the same place of a page
            end = rounded(end, std::size_t{64});
            return place;
        };
        plan.segments.clear();
        std::size_t first = 0, map_bytes[2] = {0, 0};
        long fewer = together;
        for (const std::size_t last : ends) {
            long most = 0;
            for (std::size_t i = first; i < last; ++i)
                if (!operations[i].into_strips)
                    most = std::max({most, floats_of(operations[i].out),
                                     i == 1 && operations[0].into_strips ? 0 : floats_of(operations[i].in)});
            Segment segment{first, last, plan.pictures, 0};
            if (last != ends.back()) {
                const long fitting =
                    std::clamp<long>(CACHED_MAPS / std::max(1L, most * 4), fewer, std::max(fewer, plan.pictures));
                segment.pictures = rounded(divided(plan.pictures, divided(plan.pictures, fitting)), together);  // evenly
            }
            fewer = segment.pictures;
            const bool direct = first == 0 && !operations.empty() && operations[0].step->direct();
            const Shape in = operations[first].in;
            const std::size_t input = !direct                      ? floats_of(in)
                                      : operations[0].into_strips ? 0
                                                                  : (in.height + 2L) * (in.width + 2L) * 3;
            segment.input = take((segment.pictures * input + 64) * sizeof(float));
            int side = 0;
            for (std::size_t i = first; i < last; ++i) {
                Operation& operation = operations[i];
                const bool onward = i + 1 == last && last != ends.back();  // into the next segment's input
                if (operation.into_strips || onward || operation.what == Operation::What::rectify) continue;
                operation.side = side;
                map_bytes[side] = std::max(map_bytes[side], segment.pictures * floats_of(operation.out) * sizeof(float));
                side = 1 - side;
            }
            plan.segments.push_back(segment);
            first = last;
        }
        for (int side = 0; side < 2; ++side) plan.maps[side] = take(map_bytes[side]);
        std::size_t shared = 0, products = 0, strip = 0, panel = 0;
        std::size_t own = STRETCH * PANEL * sizeof(float);  // weights of 20 bits as floats
        for (const Segment& segment : plan.segments)
            for (std::size_t i = segment.first; i < segment.last; ++i) {
                Operation& operation = operations[i];
                if (operation.what != Operation::What::convolve) continue;
                const long in_numbers = blocks_of(operation.in.channels) * CHANNELS;
                if (operation.into_strips) continue;
                if (i == 1 && operations[0].into_strips) {
                    const long tiles = static_cast<long>(operation.strip_down) * operation.strip_across;
                    const Shape map{operation.in.channels, TILE * operation.strip_down, TILE * operation.strip_across};
                    own = std::max<std::size_t>(own, input_bytes(in_numbers, tiles, *operation.step->kernels));
                    products = std::max<std::size_t>(products, POINTS * skewed(PANEL * tiles, sizeof(float)) * sizeof(float));
                    strip = (floats_of(map) + (map.height + 4L) * (map.width + 4L) * 3) * sizeof(float);
                } else if (operation.step->direct()) {
                    if (operation.pool)  // two rows of the map
                        strip = 2 * blocks_of(operation.out.channels) * CHANNELS * operation.in.width * sizeof(float);
                } else if (operation.step->winograd()) {
                    const long tiles = segment.pictures * tiles_of(operation.in.height, operation.in.width).each();
                    const std::size_t tile_bytes = POINTS * in_numbers * operation.step->kernels->point_bytes;
                    const long fitting = std::clamp<long>(OWN_INPUT / tile_bytes, OWN_TILES, 112);
                    const bool on_demand = operation.step->plain;  // a panel is transformed once a block, for all threads
                    operation.shared = on_demand ||
                                       (operation.step->weights.bytes() > OWN_WEIGHTS && threads_ > FEW_THREADS) ||
                                       divided(tiles, fitting) < threads_;
                    const long shared_tiles =
                        on_demand ? ON_DEMAND_TILES
                                  : std::clamp<long>(long{OWN_TILES} * threads_, SHARED_TILES, MOST_SHARED_TILES);
                    if (on_demand) panel = std::max(panel, operation.step->panel_bytes(0));
                    const long most = operation.shared ? shared_tiles : fitting;
                    long blocks = divided(tiles, most);
                    if (!operation.shared) blocks = rounded(blocks, static_cast<long>(threads_));
                    operation.block_tiles = static_cast<int>(divided(tiles, blocks));
                    const std::size_t input = input_bytes(in_numbers, operation.block_tiles, *operation.step->kernels);
                    (operation.shared ? shared : own) = std::max(operation.shared ? shared : own, input);
                    products = std::max<std::size_t>(
                        products, POINTS * skewed(PANEL * operation.block_tiles, sizeof(float)) * sizeof(float));
                } else if (kernels_.number_bytes == 2) {  // a row of a 1x1 convolution in bfloat16
                    own = std::max<std::size_t>(own, in_numbers * operation.in.width * kernels_.number_bytes);
                }
            }
        plan.shared_input = take(shared);
        plan.products = rounded(own, std::size_t{4096}) + 64;
        plan.strip = plan.products + rounded(products, std::size_t{4096}) + 64;
        plan.panel = plan.strip + rounded(strip, std::size_t{4096}) + 64;
        plan.own_step = plan.panel + rounded(panel, std::size_t{4096}) + 64;
        plan.own = take(plan.own_step * threads_);
        plan.rows = plan.sums[0] = plan.sums[1] = 0;
        plan.places = 0;
        if (plan.connected < operations.size()) {
            const Shape& out = operations[plan.connected].out;
            plan.places = std::min(MOST_PLACES, plan.pictures * out.height * out.width);
            long numbers = 0, sums = 0;
            for (std::size_t i = plan.connected; i < operations.size(); ++i) {
                numbers = std::max(numbers, rounded(operations[i].step->numbers(), 16L));
                sums = std::max(sums, blocks_of(operations[i].out.channels) * CHANNELS);
            }
            plan.rows = take(plan.places * numbers * kernels_.number_bytes);
            for (std::size_t& place : plan.sums) place = take(plan.places * sums * sizeof(float));
        }
        plan.bytes = end;
        if (plan.bytes <= MOST_SCRATCH || plan.pictures <= together) return plan;
    }
}

std::vector<Shape> Network::shapes(int height, int width, const std::vector<Output>& outputs) const {
    const Plan made = plan(1, height, width, outputs);
    std::vector<Shape> shapes(outputs.size());
    for (const Operation& operation : made.operations)
        for (const int output : operation.outputs) shapes[output] = operation.out;
    return shapes;
}

std::size_t Network::scratch_bytes(long batch, int height, int width, const std::vector<Output>& outputs) const {
    return plan(batch, height, width, outputs).bytes;
}

// ------------------------------------------------------------------------------------------------- a call

struct Network::Call {
    Network& network;
    const Plan& plan;
    Input input;
    long batch;
    int height, width;
    const std::vector<float*>& results;
    const Comparison* comparison;
    const Kernels& kernels = network.kernels_;
    const int threads = network.threads_;
    char* const scratch = static_cast<char*>(network.scratch_.data());

    float* floats(std::size_t offset) const { return reinterpret_cast<float*>(scratch + offset); }
    char* own(int thread) const { return scratch + plan.own + thread * plan.own_step; }

    void run() {
        for (long first = 0; first < batch; first += plan.pictures) {
            const long count = std::min(plan.pictures, batch - first);
            const std::size_t last = plan.segments.size() - 1;
            const Segment& segment = plan.segments[last];
            Map map{};
            if (segment.first < segment.last)
                map = run_segment(last, first, count, nullptr, 0);
            else  // fully connected from the first step on
                load(segment, first, count);
            if (plan.connected < plan.operations.size()) {
                if (segment.first == segment.last) {
                    const Shape& in = plan.operations[plan.connected].in;
                    map = layout(in.channels, in.height, in.width, floats(segment.input));
                }
                connect(map, first, count);
            }
        }
    }

    // Runs a segment, and the ones before it for as many pictures at a time as they take. The last operation writes
    // into `into`, the next segment's input, from picture `offset` on; or into scratch of its own.
    Map run_segment(std::size_t number, long first, long count, float* into, long offset) {
        const Segment& segment = plan.segments[number];
        if (number > 0) {
            const Segment& before = plan.segments[number - 1];
            for (long done = 0; done < count; done += before.pictures)
                run_segment(number - 1, first + done, std::min(before.pictures, count - done), floats(segment.input), done);
        } else {
            load(segment, first, count);
        }
        const Operation& head = plan.operations[segment.first];
        Map in = layout(head.in.channels, head.in.height, head.in.width, floats(segment.input));
        for (std::size_t i = segment.first; i < segment.last; ++i) {
            const Operation& operation = plan.operations[i];
            if (operation.into_strips) continue;
            const bool last = i + 1 == segment.last;
            const auto begin = std::chrono::steady_clock::now();
            Map out = in;
            if (operation.what == Operation::What::rectify && !(last && into)) {
                rectify(in, count);
            } else {
                out = layout(operation.out.channels, operation.out.height, operation.out.width);
                out.data = last && into ? into + offset * out.picture : floats(plan.maps[operation.side]);
                clear_border(out, count);
                if (i == 1 && plan.operations[0].into_strips)
                    convolve_strips(plan.operations[0], operation, out, first, count);
                else
                    perform(operation, segment, in, out, count);
            }
            hand_out(operation, out, first, count);
            if (network.measure)
                network.seconds[operation.number] +=
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
            in = out;
        }
        return in;
    }

    void perform(const Operation& operation, const Segment& segment, const Map& in, const Map& out, long count) {
        using What = Operation::What;
        switch (operation.what) {
            case What::convolve:
                if (operation.step->direct())
                    convolve_directly(operation, segment, out, count);
                else if (operation.step->winograd())
                    convolve(operation, in, out, count);
                else
                    convolve_pointwise(operation, in, out, count);
                break;
            case What::max_pool: pool(kernels.max_pool_row, in, out, count); break;
            case What::average_pool: pool(kernels.average_pool_row, in, out, count); break;
            case What::normalize: normalize(operation, in, out, count); break;
            case What::rectify:  // into the next segment's input
                in_parallel(threads, count * in.blocks, [&](long task, int) {
                    for (int y = 0; y < in.height; ++y)
                        std::memcpy(out.at(task / in.blocks, static_cast<int>(task % in.blocks), y, 0),
                                    in.at(task / in.blocks, static_cast<int>(task % in.blocks), y, 0),
                                    in.width * CHANNELS * sizeof(float));
                });
                rectify(out, count);
                break;
            case What::connect: break;  // not a part of a segment
        }
    }

    // ---- what comes in

    void load(const Segment& segment, long first, long count) {
        const Operation& head = plan.operations[segment.first];
        const long channels = network.in_channels_;
        if (head.into_strips) return;
        if (head.step->direct()) {
            const long row = (width + 2L) * 3, picture = (height + 2L) * row;
            float* const to = floats(segment.input);
            in_parallel(threads, count, [&](long number, int) {
                float* const bordered = to + number * picture;
                std::memset(bordered, 0, row * sizeof(float));
                std::memset(bordered + (height + 1) * row, 0, row * sizeof(float));
                for (int y = 0; y < height; ++y) {
                    float* const line = bordered + (y + 1) * row;
                    for (int i = 0; i < 3; ++i) line[i] = line[row - 3 + i] = 0;
                    read_row(first + number, y, 0, width, line + 3);
                }
            });
            return;
        }
        const Map map = layout(channels, height, width, floats(segment.input));
        clear_border(map, count);
        in_parallel(threads, count * height, [&](long task, int) {
            const long number = task / height;
            const int y = static_cast<int>(task % height);
            std::vector<float> line;
            const float* from = input.numbers + ((first + number) * height + y) * width * channels;
            if (input.pixels) {
                line.resize(3L * width);
                kernels.preprocess_row(input.pixels + ((first + number) * height + y) * width * 3L,
                                       network.levels_.data(), network.flip_, width, line.data());
                from = line.data();
            }
            for (int block = 0; block < map.blocks; ++block) {
                float* to = map.at(number, block, y, 0);
                const long here = std::min<long>(CHANNELS, channels - block * static_cast<long>(CHANNELS));
                for (int x = 0; x < width; ++x, to += CHANNELS)
                    for (long i = 0; i < CHANNELS; ++i)
                        to[i] = i < here ? from[x * channels + block * CHANNELS + i] : 0.0f;
            }
        });
    }

    // Three channels of columns [begin, end) of a picture's row.
    void read_row(long number, int y, int begin, int end, float* to) const {
        const long from = ((number * height + y) * width + begin) * 3;
        if (input.pixels)
            kernels.preprocess_row(input.pixels + from, network.levels_.data(), network.flip_, end - begin, to);
        else
            std::memcpy(to, input.numbers + from, (end - begin) * 3 * sizeof(float));
    }

    void clear_border(const Map& map, long count) {
        in_parallel(threads, count * map.blocks, [&](long task, int) {
            float* const corner = map.data + task / map.blocks * map.picture + task % map.blocks * map.plane;
            const long rows = map.plane / map.row;
            std::memset(corner, 0, map.row * sizeof(float));
            for (long y = 1; y <= map.height; ++y) {
                float* const row = corner + y * map.row;
                std::memset(row, 0, CHANNELS * sizeof(float));
                std::memset(row + (map.width + 1L) * CHANNELS, 0, (map.row - (map.width + 1L) * CHANNELS) * sizeof(float));
            }
            std::memset(corner + (map.height + 1L) * map.row, 0, (rows - map.height - 1) * map.row * sizeof(float));
        });
    }

    // ---- convolutions

    void convolve_directly(const Operation& operation, const Segment& segment, const Map& out, long count) {
        const Step& step = *operation.step;
        const long row = (width + 2L) * 3, picture = (height + 2L) * row;
        const float* const from = floats(segment.input);
        const auto convolve_row = [&](long number, int y, float* to, long plane) {
            kernels.first_row(from + number * picture + y * row, row, step.weights.floats(), step.bias.floats(), width,
                              operation.relu, to, plane, out.blocks);
        };
        in_parallel(threads, count * out.height, [&](long task, int thread) {
            const long number = task / out.height;
            const int y = static_cast<int>(task % out.height);
            if (!operation.pool) {
                convolve_row(number, y, out.at(number, 0, y, 0), out.plane);
                return;
            }
            float* const upper = reinterpret_cast<float*>(own(thread) + plan.strip);
            float* const lower = upper + static_cast<long>(width) * CHANNELS;
            const long plane = 2L * width * CHANNELS;
            convolve_row(number, 2 * y, upper, plane);
            convolve_row(number, 2 * y + 1, lower, plane);
            for (int block = 0; block < out.blocks; ++block)
                kernels.max_pool_row(upper + block * plane, lower + block * plane, out.width, out.at(number, block, y, 0));
        });
    }

    // conv1_1 and conv1_2: a strip of conv1_1's map is made, and used up, within one core's cache. The map is as large
    // as sixteen times the picture; strips share their edges, which are computed twice.
    void convolve_strips(const Operation& direct, const Operation& operation, const Map& out, long first, long count) {
        const Tiles tiles = tiles_of(height, width);
        const long strips = static_cast<long>(operation.down) * operation.across;
        in_parallel(threads, count * strips, [&](long task, int thread) {
            const long number = task / strips;
            const int down = static_cast<int>(task % strips) / operation.across;
            const int across = static_cast<int>(task % strips) % operation.across;
            const auto start = [](int all, int part, int parts) { return static_cast<int>(static_cast<long>(all) * part / parts); };
            const int first_down = start(tiles.down, down, operation.down);
            const int first_across = start(tiles.across, across, operation.across);
            const Tiles here{start(tiles.down, down + 1, operation.down) - first_down,
                             start(tiles.across, across + 1, operation.across) - first_across};
            const int top = TILE * first_down, left = TILE * first_across;
            float* const strip = reinterpret_cast<float*>(own(thread) + plan.strip);
            const Map in = layout(direct.out.channels, TILE * here.down, TILE * here.across, strip);
            fill_strip(direct, first + number, top, left, in, strip + in.picture);
            // The rest of the output, as seen from the strip's corner.
            const int side = operation.pool ? TILE / 2 : TILE;
            Map rest = out;
            rest.data += number * out.picture + side * first_down * out.row + side * first_across * CHANNELS;
            rest.height -= side * first_down;
            rest.width -= side * first_across;
            convolve_block(operation, in, here, 0, here.each(), rest, thread);
        });
    }

    // Computes conv1_1 from one row above and one column left of a place on, as much as the strip with its border holds;
    // zeros where there is no picture.
    void fill_strip(const Operation& direct, long number, int top, int left, const Map& strip, float* pixels) {
        const Step& step = *direct.step;
        const int rows = strip.height + 2, columns = strip.width + 2;
        const long row = (columns + 2L) * 3;
        const auto within = [&](int x) { return std::clamp(x, 0, width); };
        const int begin = within(left - 2), end = within(left + columns);
        std::memset(pixels, 0, (rows + 2) * row * sizeof(float));
        for (int y = std::max(0, top - 2); y < std::min(height, top + rows); ++y)
            read_row(number, y, begin, end, pixels + (y - top + 2) * row + (begin - left + 2) * 3L);
        const int from = within(left - 1) - (left - 1), to = within(left - 1 + columns) - (left - 1);
        for (int y = 0; y < rows; ++y) {
            const bool outside = top - 1 + y < 0 || top - 1 + y >= height;
            const int zeros_from = outside ? columns : from, zeros_to = outside ? columns : to;
            for (int block = 0; block < strip.blocks; ++block) {
                float* const line = strip.at(0, block, y - 1, -1);
                std::memset(line, 0, zeros_from * CHANNELS * sizeof(float));
                std::memset(line + zeros_to * CHANNELS, 0, (columns - zeros_to) * CHANNELS * sizeof(float));
            }
            if (!outside)
                kernels.first_row(pixels + y * row + from * 3L, row, step.weights.floats(), step.bias.floats(), to - from,
                                  direct.relu, strip.at(0, 0, y - 1, from - 1), strip.plane, strip.blocks);
        }
    }

    static long matrix_of(const Step& step, const Map& in, int tiles) {
        return skewed(static_cast<long>(in.blocks) * CHANNELS * tiles, step.kernels->point_bytes);
    }

    // Blocks of channels that are transformed together.
    static int group(const Step& step) { return step.kernels->scaled ? GROUP : 1; }

    static void transform_group(const Step& step, const Map& in, Tiles tiles, long first, int here, int block,
                                void* transformed) {
        step.kernels->transform_input(in, tiles, first, here, block, std::min(group(step), in.blocks - block),
                                      transformed, matrix_of(step, in, here), here * CHANNELS);
    }

    // A panel of outputs of some tiles, whose inputs are transformed.
    void finish_panel(const Operation& operation, int panel, const void* transformed, const Map& in, Tiles tiles, long first,
                      int here, const Map& out, int thread) {
        const Step& step = *operation.step;
        const int panel_blocks = step.panel_blocks(panel);
        float* const products = reinterpret_cast<float*>(own(thread) + plan.products);
        const long matrix = skewed(PANEL * here, sizeof(float)), products_step = here * CHANNELS;
        void* const to = own(thread) + plan.panel;
        if (step.plain) step.kernels->transform_weights(step.plain, step.is.in_channels, step.is.out_channels, panel, to);
        const void* const weights = step.plain ? to : step.panel(panel);
        step.kernels->multiply_points(transformed, matrix_of(step, in, here), products_step, here, in.blocks, weights,
                                      panel_blocks, products, matrix, products_step);
        step.kernels->transform_output(products, matrix, products_step, out, tiles, first, here, 2 * panel,
                                       panel_blocks, step.bias.floats() + panel * PANEL, operation.relu, operation.pool);
    }

    // Some tiles from their inputs to their outputs, in one thread.
    void convolve_block(const Operation& operation, const Map& in, Tiles tiles, long first, int here, const Map& out,
                        int thread) {
        char* const transformed = own(thread);
        const Step& step = *operation.step;
        for (int block = 0; block < in.blocks; block += group(step))
            transform_group(step, in, tiles, first, here, block, transformed);
        for (int panel = 0; panel < panels_of(operation.out.channels); ++panel)
            finish_panel(operation, panel, transformed, in, tiles, first, here, out, thread);
    }

    void convolve(const Operation& operation, const Map& in, const Map& out, long count) {
        const Tiles tiles = tiles_of(in.height, in.width);
        const long all = count * tiles.each();
        const long blocks = divided(all, static_cast<long>(operation.block_tiles));
        const auto first_of = [&](long block) { return all * block / blocks; };
        if (!operation.shared) {
            in_parallel(threads, blocks, [&](long block, int thread) {
                const long first = first_of(block);
                convolve_block(operation, in, tiles, first, static_cast<int>(first_of(block + 1) - first), out, thread);
            });
            return;
        }
        const Step& step = *operation.step;
        char* const transformed = scratch + plan.shared_input;
        for (long block = 0; block < blocks; ++block) {
            const long first = first_of(block);
            const int here = static_cast<int>(first_of(block + 1) - first);
            in_parallel(threads, divided(in.blocks, group(step)), [&](long number, int) {
                transform_group(step, in, tiles, first, here, static_cast<int>(number) * group(step), transformed);
            });
            in_parallel(threads, panels_of(operation.out.channels), [&](long panel, int thread) {
                finish_panel(operation, static_cast<int>(panel), transformed, in, tiles, first, here, out, thread);
            });
        }
    }

    void convolve_pointwise(const Operation& operation, const Map& in, const Map& out, long count) {
        const Step& step = *operation.step;
        const int panels = static_cast<int>(panels_of(step.is.out_channels));
        in_parallel(threads, count * in.height, [&](long task, int thread) {
            const long number = task / in.height;
            const int y = static_cast<int>(task % in.height);
            Product product{in.at(number, 0, y, 0), in.plane, in.width, in.blocks, nullptr, 0, nullptr, out.plane, false};
            if (kernels.number_bytes == 2) {
                char* const packed = own(thread);
                const long row = static_cast<long>(in.width) * CHANNELS;
                for (int block = 0; block < in.blocks; ++block)
                    kernels.pack_rows(in.at(number, block, y, 0), in.width, packed + block * row * kernels.number_bytes);
                product.rows = packed;
                product.rows_step = row;
            }
            for (int panel = 0; panel < panels; ++panel) {
                product.panel = step.panel(panel);
                product.panel_blocks = step.panel_blocks(panel);
                product.results = out.at(number, 2 * panel, y, 0);
                kernels.multiply(product);
            }
            kernels.finish(out.at(number, 0, y, 0), out.plane, out.width, out.blocks, step.bias.floats(), operation.relu);
        });
    }

    // ---- what has no weights

    void rectify(const Map& map, long count) {
        static const std::vector<float> none(CHANNELS, -0.0f);
        in_parallel(threads, count * map.blocks, [&](long task, int) {
            for (int y = 0; y < map.height; ++y)
                kernels.finish(map.at(task / map.blocks, static_cast<int>(task % map.blocks), y, 0), 0, map.width, 1,
                               none.data(), true);
        });
    }

    void pool(void (*row)(const float*, const float*, int, float*), const Map& in, const Map& out, long count) {
        in_parallel(threads, count * in.blocks, [&](long task, int) {
            const long number = task / in.blocks;
            const int block = static_cast<int>(task % in.blocks);
            for (int y = 0; y < out.height; ++y)
                row(in.at(number, block, 2 * y, 0), in.at(number, block, 2 * y + 1, 0), out.width,
                    out.at(number, block, y, 0));
        });
    }

    void normalize(const Operation& operation, const Map& in, const Map& out, long count) {
        const StepDescription& is = operation.step->is;
        const int padded = in.blocks * CHANNELS;
        in_parallel(threads, count * in.height, [&](long task, int) {
            const long number = task / in.height;
            const int y = static_cast<int>(task % in.height);
            kernels.normalize_row(in.at(number, 0, y, 0), in.plane, padded, in.width, is.size, is.alpha, is.beta, is.k,
                                  out.at(number, 0, y, 0), out.plane);
        });
    }

    // ---- fully connected

    void connect(const Map& map, long first, long count) {
        const Shape& out = plan.operations[plan.connected].out;
        const long each = static_cast<long>(out.height) * out.width, all = count * each;
        for (long place = 0; place < all; place += plan.places) {
            const long here = std::min(plan.places, all - place);
            int side = 0;
            for (std::size_t i = plan.connected; i < plan.operations.size(); ++i) {
                const Operation& operation = plan.operations[i];
                const auto begin = std::chrono::steady_clock::now();
                float* const sums = floats(plan.sums[operation.what == Operation::What::rectify ? 1 - side : side]);
                const long step = here * CHANNELS;
                const int blocks = static_cast<int>(blocks_of(operation.out.channels));
                if (operation.what == Operation::What::rectify) {
                    const std::vector<float> none(blocks * CHANNELS, -0.0f);
                    kernels.finish(sums, step, here, blocks, none.data(), true);
                } else {
                    const void* rows = i == plan.connected ? gather(operation, map, place, here)
                                                           : narrow(operation, floats(plan.sums[1 - side]), here);
                    multiply(operation, rows, here, sums);
                    side = 1 - side;
                }
                for (const int output : operation.outputs)
                    for (long r = 0; r < here; ++r) {
                        const long picture = first + (place + r) / each, within = (place + r) % each;
                        float* const to = results[output] + picture * operation.out.channels * each + within;
                        for (long channel = 0; channel < operation.out.channels; ++channel)
                            to[channel * each] = sums[channel / CHANNELS * step + r * CHANNELS + channel % CHANNELS];
                    }
                if (network.measure)
                    network.seconds[operation.number] +=
                        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
            }
        }
    }

    // What each place of the score map sees, as the rows of a product; in the order of the weights: channel, row, column.
    const void* gather(const Operation& operation, const Map& map, long place, long here) {
        const Step& step = *operation.step;
        const int kernel = step.is.kernel, down = operation.out.height, across = operation.out.width;
        const long blocks = blocks_of(step.numbers());
        char* const to = scratch + plan.rows;
        in_parallel(threads, here, [&](long r, int) {
            const long number = (place + r) / (static_cast<long>(down) * across);
            const int within = static_cast<int>((place + r) % (static_cast<long>(down) * across));
            const int top = within / across, left = within % across;
            float numbers[CHANNELS];
            int filled = 0;
            long block = 0;
            const auto flush = [&] {
                kernels.pack_rows(numbers, 1, to + (block * here + r) * CHANNELS * kernels.number_bytes);
                ++block;
                filled = 0;
            };
            for (long channel = 0; channel < step.is.in_channels; ++channel) {
                const float* const corner =
                    map.at(number, static_cast<int>(channel / CHANNELS), top, left) + channel % CHANNELS;
                for (int y = 0; y < kernel; ++y)
                    for (int x = 0; x < kernel; ++x) {
                        numbers[filled++] = corner[y * map.row + x * CHANNELS];
                        if (filled == CHANNELS) flush();
                    }
            }
            if (filled) {
                std::fill(numbers + filled, numbers + CHANNELS, 0.0f);
                flush();
            }
            static_cast<void>(blocks);
        });
        return to;
    }

    // The last layer's outputs as the rows of the next product.
    const void* narrow(const Operation& operation, const float* from, long here) {
        if (kernels.number_bytes == sizeof(float)) return from;
        const long blocks = blocks_of(operation.step->numbers());
        char* const to = scratch + plan.rows;
        in_parallel(threads, blocks, [&](long block, int) {
            kernels.pack_rows(from + block * here * CHANNELS, here, to + block * here * CHANNELS * kernels.number_bytes);
        });
        return to;
    }

    void multiply(const Operation& operation, const void* rows, long here, float* sums) {
        const Step& step = *operation.step;
        const int blocks = static_cast<int>(blocks_of(step.numbers()));
        const int at_once = here > 4 ? DEPTH_AT_ONCE : blocks;
        in_parallel(threads, panels_of(step.is.out_channels), [&](long number, int thread) {
            const int panel = static_cast<int>(number), panel_blocks = step.panel_blocks(panel);
            float* const to = sums + panel * 2L * here * CHANNELS;
            Product product{rows, here * CHANNELS, static_cast<int>(here), blocks, step.panel(panel), panel_blocks,
                            to,   here * CHANNELS, false};
            if (step.shortened()) {
                kernels.multiply_short(product, reinterpret_cast<float*>(own(thread)));
            } else {
                const char* const weights = static_cast<const char*>(step.panel(panel));
                const long block_bytes = static_cast<long>(CHANNELS) * panel_blocks * CHANNELS * kernels.number_bytes;
                for (int block = 0; block < blocks; block += at_once) {
                    product.rows = static_cast<const char*>(rows) + block * here * CHANNELS * kernels.number_bytes;
                    product.panel = weights + block * block_bytes;
                    product.blocks = std::min(at_once, blocks - block);
                    product.add = block > 0;
                    kernels.multiply(product);
                }
            }
            kernels.finish(to, here * CHANNELS, here, panel_blocks, step.bias.floats() + panel * PANEL, operation.relu);
        });
    }

    // ---- what goes out

    void hand_out(const Operation& operation, const Map& map, long first, long count) {
        if (operation.outputs.empty()) return;
        if (comparison) {
            compare(operation, map, first / 2, count / 2);
            return;
        }
        in_parallel(threads, count * map.blocks, [&](long task, int) {
            const long number = task / map.blocks, block = task % map.blocks, channels = operation.out.channels;
            const long each = static_cast<long>(map.height) * map.width;
            const long here = std::min<long>(CHANNELS, channels - block * CHANNELS);
            for (const int output : operation.outputs) {
                float* const to = results[output] + ((first + number) * channels + block * CHANNELS) * each;
                for (long channel = 0; channel < here; ++channel)
                    for (int y = 0; y < map.height; ++y) {
                        const float* const from = map.at(number, static_cast<int>(block), y, 0) + channel;
                        for (int x = 0; x < map.width; ++x)
                            to[channel * each + static_cast<long>(y) * map.width + x] = from[x * CHANNELS];
                    }
            }
        });
    }

    void compare(const Operation& operation, const Map& map, long first, long pairs) {
        in_parallel(threads, pairs * map.height, [&](long task, int) {
            const long pair = task / map.height;
            const int y = static_cast<int>(task % map.height);
            for (const int output : operation.outputs)
                kernels.unit_distance_row(map.at(2 * pair, 0, y, 0), map.at(2 * pair + 1, 0, y, 0), map.plane,
                                          map.blocks, map.width, comparison->weights[output], comparison->epsilon,
                                          results[output] + (first * map.height + task) * map.width);
        });
    }
};

void Network::run(Input input, long batch, int height, int width, const std::vector<Output>& outputs,
                  const std::vector<float*>& results, const Comparison* comparison) {
    if (comparison && batch % 2) throw std::invalid_argument("pictures come in pairs, these are " + std::to_string(batch));
    for (const Output& output : outputs)
        if (comparison && output.step >= 0 && output.step < num_steps() &&
            steps_[output.step]->is.kind == Kind::fully_connected)
            throw std::invalid_argument("fully connected steps give no maps to be compared");
    if (input.pixels && in_channels_ != 3)
        throw std::invalid_argument("pixels have 3 channels, this network takes " + std::to_string(in_channels_));
    const Plan made = plan(batch, height, width, outputs, comparison ? 2 : 1);
    const Turn turn;
    if (scratch_.bytes() < made.bytes || scratch_.bytes() > 4 * made.bytes + (std::size_t{64} << 20)) {
        scratch_ = Memory();
        scratch_ = Memory(made.bytes);
    }
    if (measure) seconds.assign(steps_.size(), 0.0);
    Call{*this, made, input, batch, height, width, results, comparison}.run();
}

}  // namespace verydeep
