#include "engine/planning.h"

#include <algorithm>

#include "engine/layout.h"
#include "tuning.h"

namespace verydeep {
namespace {

constexpr std::size_t PAGE = 4096, LINE = 64;

// Hands out places in scratch, one after the other.
class Arena {
public:
    std::size_t take(std::size_t size) {
        const std::size_t place = bytes_;
        bytes_ = round_up(place + round_up(size, PAGE) + 192, LINE);  // 192: not all at the same place of a page
        return place;
    }
    std::size_t bytes() const { return bytes_; }

private:
    std::size_t bytes_ = 0;
};

// What the operations need at most, in bytes.
struct Needs {
    std::size_t shared_input = 0, own_input = 0, products = 0, strip = 0, panel = 0;
};

void at_least(std::size_t& need, std::size_t bytes) { need = std::max(need, bytes); }

class Planner {
public:
    Planner(const std::vector<Operation>& operations, const PlanOptions& options)
        : options_(options), kernels_(*options.kernels) {
        for (const Operation& operation : operations) plan_.operations.push_back({operation});
        std::size_t& first = plan_.first_fully_connected = operations.size();
        while (first > 0 && operations[first - 1].step->step.kind == StepKind::fully_connected) --first;
    }

    // Fewer and fewer images at once, until scratch is small enough.
    Plan plan() {
        const std::vector<std::size_t> ends = segment_ends();
        plan_.strips = plan_strips(ends[0]);
        plan_.images = std::min(options_.batch, tuning::MAX_IMAGES);
        for (;;) {
            Arena arena;
            plan_maps(ends, arena);
            plan_threads(arena);
            plan_fully_connected(arena);
            plan_.buffers.bytes = arena.bytes();
            if (plan_.buffers.bytes <= tuning::MAX_SCRATCH_BYTES || plan_.images <= options_.multiple)
                return plan_;
            plan_.images = round_up(ceil_div(plan_.images, 2L), options_.multiple);
        }
    }

private:
    bool in_strips(std::size_t operation) const { return plan_.strips && operation == 1; }
    bool into_strips(std::size_t operation) const { return plan_.strips && operation == 0; }

    // The stages up to the second, the third and the fourth pooling are segments that take few images at a time:
    // their maps are large. What follows takes all images: its weights are large.
    std::vector<std::size_t> segment_ends() const {
        std::vector<std::size_t> ends;
        int poolings = 0;
        for (std::size_t i = 0; i + 1 < plan_.first_fully_connected; ++i) {
            const Operation& operation = plan_.operations[i];
            const bool pools = operation.max_pool || operation.kind == OperationKind::max_pooling ||
                               operation.kind == OperationKind::average_pooling;
            if (pools && ++poolings >= 2 && poolings <= 4) ends.push_back(i + 1);
        }
        ends.push_back(plan_.first_fully_connected);
        return ends;
    }

    std::optional<StripPlan> plan_strips(std::size_t first_segment_end) const {
        if (first_segment_end < 2) return std::nullopt;
        const Operation &first = plan_.operations[0], &second = plan_.operations[1];
        const TileGrid grid = tile_grid(first.in.height, first.in.width);
        if (first.kind != OperationKind::first_convolution || first.max_pool || !first.outputs.empty() ||
            second.kind != OperationKind::winograd_convolution || second.step->on_demand ||
            second.step->weights.bytes() > tuning::STRIP_WEIGHT_BYTES || grid.count() < tuning::MIN_IMAGE_TILES)
            return std::nullopt;
        // A tile's transformed input, 16 pixels of the map and the border's share.
        const long in_channels = blocks_of(second.in.channels) * BLOCK;
        const long tile_bytes =
            in_channels * (POINTS * second.step->kernels->point_element_bytes + 20L * sizeof(float));
        const long max_tiles =
            std::clamp<long>(tuning::STRIP_BYTES / tile_bytes, tuning::MIN_STRIP_TILES, tuning::MAX_STRIP_TILES);
        return fewest_pixels(grid, max_tiles);
    }

    // Strips overlap by two rows and columns, which are computed twice: those with the fewest pixels in all.
    static StripPlan fewest_pixels(const TileGrid& grid, long max_tiles) {
        StripPlan best{};
        long fewest = 0;
        for (int down = 1; down <= grid.rows; ++down) {
            const long tile_rows = ceil_div(grid.rows, down);
            const long across = ceil_div(static_cast<long>(grid.columns), std::max(1L, max_tiles / tile_rows));
            const long pixels = (4L * grid.rows + 2 * down) * (4L * grid.columns + 2 * across);
            if (tile_rows > max_tiles || (fewest && pixels >= fewest)) continue;
            fewest = pixels;
            best.down = down;
            best.across = static_cast<int>(across);
        }
        best.tile_rows = ceil_div(grid.rows, best.down);
        best.tile_columns = ceil_div(grid.columns, best.across);
        return best;
    }

    void plan_maps(const std::vector<std::size_t>& ends, Arena& arena) {
        plan_.segments.clear();
        std::size_t map_bytes[2] = {0, 0};
        long min_images = options_.multiple;
        for (std::size_t i = 0; i < ends.size(); ++i) {
            const bool last = i + 1 == ends.size();
            Segment segment{i ? ends[i - 1] : 0, ends[i], plan_.images, 0};
            if (!last) segment.images = segment_images(segment, min_images);
            min_images = segment.images;
            segment.input = arena.take((segment.images * input_floats(segment) + 64) * sizeof(float));
            assign_maps(segment, last, map_bytes);
            plan_.segments.push_back(segment);
        }
        for (int map = 0; map < 2; ++map) plan_.buffers.maps[map] = arena.take(map_bytes[map]);
    }

    // As many images as keep a segment's largest map in the cache, and no fewer than the segment before; evenly.
    long segment_images(const Segment& segment, long min_images) const {
        long floats = 1;
        for (std::size_t i = segment.first; i < segment.last; ++i) {
            if (into_strips(i)) continue;
            const Operation& operation = plan_.operations[i];
            floats = std::max({floats, map_floats(operation.out), in_strips(i) ? 0 : map_floats(operation.in)});
        }
        const long fitting = std::clamp<long>(tuning::SEGMENT_MAP_BYTES / (floats * sizeof(float)), min_images,
                                              std::max(min_images, plan_.images));
        return round_up(ceil_div(plan_.images, ceil_div(plan_.images, fitting)), options_.multiple);
    }

    // Of an image. The first convolution reads one of three channels with a border, or makes strips from its
    // pixels.
    long input_floats(const Segment& segment) const {
        const Operation& head = plan_.operations[segment.first];
        if (segment.first > 0 || head.kind != OperationKind::first_convolution) return map_floats(head.in);
        return plan_.strips ? 0 : (head.in.height + 2L) * (head.in.width + 2L) * 3;
    }

    // Operations write the two maps in turn, but for the last, which writes into the next segment's input.
    void assign_maps(const Segment& segment, bool last_segment, std::size_t (&map_bytes)[2]) {
        int map = 0;
        for (std::size_t i = segment.first; i < segment.last; ++i) {
            PlannedOperation& operation = plan_.operations[i];
            const bool onward = i + 1 == segment.last && !last_segment;
            if (into_strips(i) || onward || operation.kind == OperationKind::activation) continue;
            operation.map = map;
            at_least(map_bytes[map], segment.images * map_floats(operation.out) * sizeof(float));
            map = 1 - map;
        }
    }

    void plan_threads(Arena& arena) {
        Needs needs;
        needs.own_input = INT20_SCALE_INPUTS * PANEL * sizeof(float);  // weights of 20 bits as floats
        for (const Segment& segment : plan_.segments)
            for (std::size_t i = segment.first; i < segment.last; ++i) plan_operation(i, segment.images, needs);
        const auto after = [](std::size_t place, std::size_t bytes) {
            return place + round_up(bytes, PAGE) + LINE;
        };
        ThreadBuffers& thread = plan_.buffers.thread;
        thread.products = after(0, needs.own_input);
        thread.strip = after(thread.products, needs.products);
        thread.panel = after(thread.strip, needs.strip);
        thread.bytes = after(thread.panel, needs.panel);
        plan_.buffers.shared_input = arena.take(needs.shared_input);
        plan_.buffers.threads = arena.take(thread.bytes * options_.threads);
    }

    void plan_operation(std::size_t number, long images, Needs& needs) {
        PlannedOperation& operation = plan_.operations[number];
        if (into_strips(number)) return;
        if (in_strips(number)) return need_strips(operation, needs);
        switch (operation.kind) {
            case OperationKind::winograd_convolution: plan_winograd(operation, images, needs); break;
            case OperationKind::first_convolution:
                if (operation.max_pool)  // two rows of the map
                    at_least(needs.strip,
                             2 * blocks_of(operation.out.channels) * BLOCK * operation.in.width * sizeof(float));
                break;
            case OperationKind::pointwise_convolution:
                if (kernels_.element_bytes != sizeof(float))  // a row that is converted
                    at_least(needs.own_input, blocks_of(operation.in.channels) * BLOCK * operation.in.width *
                                                  kernels_.element_bytes);
                break;
            default: break;
        }
    }

    void need_strips(const Operation& operation, Needs& needs) const {
        const StripPlan& strips = *plan_.strips;
        const long tiles = static_cast<long>(strips.tile_rows) * strips.tile_columns;
        const Shape map{operation.in.channels, TILE * strips.tile_rows, TILE * strips.tile_columns};
        at_least(needs.own_input, transformed_bytes(blocks_of(map.channels), tiles, *operation.step->kernels));
        at_least(needs.products, product_bytes(tiles));
        at_least(needs.strip, (map_floats(map) + (map.height + 4L) * (map.width + 4L) * 3) * sizeof(float));
    }

    // Each thread takes blocks of tiles of its own, as what one core has written another has to fetch, slowly. All
    // share a block where tiles are too few, or weights too large for each thread to read.
    void plan_winograd(PlannedOperation& operation, long images, Needs& needs) {
        const Kernels& kernels = *operation.step->kernels;
        const long in_blocks = blocks_of(operation.in.channels);
        const long tiles = images * tile_grid(operation.in.height, operation.in.width).count();
        const long own_tiles = own_block_tiles(in_blocks, kernels);
        const bool on_demand = operation.step->on_demand;  // a panel is transformed once a block, for all threads
        const bool large_weights =
            operation.step->weights.bytes() > tuning::OWN_WEIGHT_BYTES && options_.threads > tuning::FEW_THREADS;
        operation.shared = on_demand || large_weights || ceil_div(tiles, own_tiles) < options_.threads;
        const long shared_tiles = on_demand ? tuning::ON_DEMAND_TILES
                                            : std::clamp<long>(long{tuning::MIN_BLOCK_TILES} * options_.threads,
                                                               tuning::MIN_SHARED_TILES, tuning::MAX_SHARED_TILES);
        long blocks = ceil_div(tiles, operation.shared ? shared_tiles : own_tiles);
        if (!operation.shared) blocks = round_up(blocks, static_cast<long>(options_.threads));
        operation.block_tiles = static_cast<int>(ceil_div(tiles, blocks));
        at_least(operation.shared ? needs.shared_input : needs.own_input,
                 transformed_bytes(in_blocks, operation.block_tiles, kernels));
        at_least(needs.products, product_bytes(operation.block_tiles));
        if (on_demand) at_least(needs.panel, operation.step->panel_bytes(0));
    }

    void plan_fully_connected(Arena& arena) {
        Buffers& buffers = plan_.buffers;
        buffers.rows = buffers.sums[0] = buffers.sums[1] = 0;
        plan_.positions = 0;
        const std::size_t first = plan_.first_fully_connected;
        if (first == plan_.operations.size()) return;
        const Shape& out = plan_.operations[first].out;
        plan_.positions = std::min(tuning::MAX_POSITIONS, plan_.images * out.height * out.width);
        long inputs = 0, outputs = 0;
        for (std::size_t i = first; i < plan_.operations.size(); ++i) {
            inputs = std::max(inputs, round_up(plan_.operations[i].step->step.inputs(), long{BLOCK}));
            outputs = std::max(outputs, blocks_of(plan_.operations[i].out.channels) * BLOCK);
        }
        buffers.rows = arena.take(plan_.positions * inputs * kernels_.element_bytes);
        for (std::size_t& sums : buffers.sums) sums = arena.take(plan_.positions * outputs * sizeof(float));
    }

    const PlanOptions options_;
    const Kernels& kernels_;
    Plan plan_{};
};

}  // namespace

Plan make_plan(const std::vector<Operation>& operations, const PlanOptions& options) {
    return Planner(operations, options).plan();
}

long own_block_tiles(long in_blocks, const Kernels& kernels) {
    const std::size_t tile_bytes = POINTS * in_blocks * BLOCK * kernels.point_element_bytes;
    return std::clamp<long>(tuning::BLOCK_INPUT_BYTES / tile_bytes, tuning::MIN_BLOCK_TILES,
                            tuning::MAX_BLOCK_TILES);
}

}  // namespace verydeep
