#include "engine/packing.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/layout.h"
#include "engine/threads.h"
#include "tuning.h"

namespace verydeep {
namespace {

Packing choose_packing(const Step& step, bool first, const Kernels& kernels) {
    if (!step.has_weights()) return Packing::none;
    if (step.kind == StepKind::convolution) {
        if (step.kernel != 3) return Packing::panels;
        // The image's three channels would fill a fifth of a block: they have a kernel of their own.
        return first && step.in_channels == 3 ? Packing::first_convolution : Packing::winograd;
    }
    const std::size_t float_bytes = static_cast<std::size_t>(step.inputs()) * step.out_channels * sizeof(float);
    const bool int20 = kernels.element_bytes == sizeof(float) && step.inputs() >= tuning::INT20_MIN_INPUTS &&
                       float_bytes >= tuning::INT20_WEIGHT_BYTES;
    return int20 ? Packing::int20 : Packing::panels;
}

void pack_first_convolution(const Step& step, float* to) {
    const long columns = blocks_of(step.out_channels) * BLOCK;
    for (long output = 0; output < step.out_channels; ++output)
        for (long channel = 0; channel < 3; ++channel)
            for (long position = 0; position < 9; ++position)
                to[(position * 3 + channel) * columns + output] =
                    step.weights[(output * 3 + channel) * 9 + position];
}

void pack_winograd(const Step& step, const PackedStep& packed, char* to, int threads) {
    const ConvolutionWeights weights{step.weights, step.in_channels, step.out_channels};
    parallel_for(threads, panels_of(step.out_channels), [&](long panel, int) {
        packed.kernels->transform_weights(weights, static_cast<int>(panel), to + panel * packed.panel_bytes(0));
    });
}

void pack_panels(const Step& step, const PackedStep& packed, char* to, int threads) {
    const long inputs = round_up(step.inputs(), long{BLOCK});
    const long slices = ceil_div(inputs, tuning::PACKED_SLICE_INPUTS);
    const auto pack =
        packed.packing == Packing::int20 ? packed.kernels->pack_weights_int20 : packed.kernels->pack_weights;
    parallel_for(threads, panels_of(step.out_channels) * slices, [&](long task, int) {
        const int panel = static_cast<int>(task / slices);
        const long begin = task % slices * tuning::PACKED_SLICE_INPUTS;
        const long end = std::min(begin + tuning::PACKED_SLICE_INPUTS, inputs);
        pack({step.weights, step.inputs(), step.out_channels}, {panel, begin, end},
             to + panel * packed.panel_bytes(0));
    });
}

void pack_weights(const Step& step, PackedStep& packed, int threads) {
    packed.bias = Memory(blocks_of(step.out_channels) * BLOCK * sizeof(float));
    std::memcpy(packed.bias.floats(), step.bias, step.out_channels * sizeof(float));
    if (packed.on_demand) return;
    std::size_t bytes = 0;
    for (int panel = 0; panel < panels_of(step.out_channels); ++panel) bytes += packed.panel_bytes(panel);
    packed.weights = Memory(bytes);
    char* const to = static_cast<char*>(packed.weights.data());
    switch (packed.packing) {
        case Packing::none: break;
        case Packing::first_convolution: pack_first_convolution(step, packed.weights.floats()); break;
        case Packing::winograd: pack_winograd(step, packed, to, threads); break;
        case Packing::panels:
        case Packing::int20: pack_panels(step, packed, to, threads); break;
    }
}

}  // namespace

std::size_t PackedStep::panel_bytes(int panel) const {
    const long columns = panel_blocks(panel) * static_cast<long>(BLOCK);
    const long inputs = round_up(step.inputs(), long{BLOCK});
    switch (packing) {
        case Packing::none: return 0;
        case Packing::first_convolution: return inputs * columns * sizeof(float);
        case Packing::winograd: {
            const long in_blocks = blocks_of(step.in_channels), element_bytes = kernels->point_element_bytes;
            const long point_bytes = panel_point_stride(in_blocks, columns / BLOCK, element_bytes) * element_bytes;
            return POINTS * (point_bytes + (kernels->point_scales ? columns * sizeof(float) : 0));
        }
        case Packing::panels: return inputs * columns * kernels->element_bytes;
        case Packing::int20: return int20_bytes(inputs, columns);
    }
    return 0;
}

int PackedStep::panel_blocks(int panel) const {
    return static_cast<int>(
        std::min<long>(PANEL / BLOCK, blocks_of(step.out_channels) - PANEL / BLOCK * long{panel}));
}

std::vector<PackedStep> pack_steps(const std::vector<Step>& steps, const PackingOptions& options) {
    const PoolLock lock;
    const Kernels& kernels = kernels_for(options.instructions, options.precision);
    std::vector<PackedStep> all;
    int winograd_steps = 0, poolings = 0;
    for (const Step& step : steps) {
        PackedStep packed;
        packed.step = step;
        packed.packing = choose_packing(step, all.empty(), kernels);
        const bool winograd = packed.packing == Packing::winograd;
        const bool deep = winograd && winograd_steps >= tuning::MAX_BFLOAT16_LAYERS;
        packed.kernels = options.precision == Precision::bfloat16 && deep
                             ? &kernels_for(options.instructions, Precision::int16)
                             : &kernels;
        if (options.on_demand && winograd && packed.kernels->point_element_bytes == sizeof(float) &&
            poolings >= tuning::ON_DEMAND_POOLINGS)
            packed.on_demand = step.weights;
        if (step.has_weights()) pack_weights(step, packed, options.threads);
        packed.step.weights = packed.step.bias = nullptr;
        winograd_steps += winograd;
        poolings += step.pools();
        all.push_back(std::move(packed));
    }
    return all;
}

}  // namespace verydeep
