// Steps whose weights are brought into the form that the kernels read.
#pragma once

#include <vector>

#include "engine/instructions.h"
#include "engine/memory.h"
#include "engine/step.h"

namespace verydeep {

// The form of a step's weights, which decides how it is computed.
enum class Packing {
    none,
    first_convolution,  // [27][outputs] in float32
    winograd,           // panels, transformed
    panels,             // of 1x1 convolutions and fully connected layers
    int20,              // panels of large fully connected layers, where products are of float32
};

struct PackedStep {
    Step step;  // its weights and bias are null
    Packing packing = Packing::none;
    const Kernels* kernels = nullptr;
    Memory weights, bias;
    const float* on_demand = nullptr;  // plain weights, of which a panel is transformed whenever it is wanted

    std::size_t panel_bytes(int panel) const;
    const void* panel(int number) const {
        return static_cast<const char*>(weights.data()) + number * panel_bytes(0);
    }
    int panel_blocks(int panel) const;  // 2, or 1 of the last
    const float* panel_bias(int panel) const { return bias.floats() + panel * static_cast<long>(PANEL); }
};

struct PackingOptions {
    Instructions instructions;
    Precision precision;
    int threads;
    bool on_demand;
};

std::vector<PackedStep> pack_steps(const std::vector<Step>& steps, const PackingOptions& options);

}  // namespace verydeep
