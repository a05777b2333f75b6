#include "engine/lowering.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/layout.h"

namespace verydeep {
namespace {

constexpr long MAX_MAP_FLOATS = 1L << 40;  // of an image: 4 TB

void check_output(const Output& output, const std::vector<PackedStep>& steps) {
    if (output.step < 0 || output.step >= static_cast<int>(steps.size()))
        throw std::invalid_argument("there is no step " + std::to_string(output.step));
    const Step& step = steps[output.step].step;
    if ((output.stage == Stage::activated && step.activation == Activation::none) ||
        (output.stage == Stage::pool && !step.max_pool) || (output.stage != Stage::sums && !step.has_weights()))
        throw std::invalid_argument("step " + std::to_string(output.step) + " has no such stage");
}

OperationKind kind_of(const PackedStep& packed) {
    switch (packed.step.kind) {
        case StepKind::max_pooling: return OperationKind::max_pooling;
        case StepKind::average_pooling: return OperationKind::average_pooling;
        case StepKind::response_norm: return OperationKind::response_norm;
        case StepKind::fully_connected: return OperationKind::fully_connected;
        case StepKind::convolution: break;
    }
    switch (packed.packing) {
        case Packing::first_convolution: return OperationKind::first_convolution;
        case Packing::winograd: return OperationKind::winograd_convolution;
        default: return OperationKind::pointwise_convolution;
    }
}

Shape halved(const Shape& shape) { return {shape.channels, shape.height / 2, shape.width / 2}; }

class Lowering {
public:
    Lowering(const Shape& image, const std::vector<Output>& outputs)
        : image_(image), outputs_(outputs), shape_(image) {}

    void add(const PackedStep& packed, int number) {
        step_ = &packed;
        number_ = number;
        if (packed.step.has_weights())
            add_weighted();
        else
            append(kind_of(packed), packed.step.pools() ? halved(shape_) : shape_, asked(Stage::sums));
    }

    std::vector<Operation> operations;

private:
    // A stage that is asked for is an operation of its own, unless it is the last that the kernel can do in one.
    void add_weighted() {
        const Step& step = step_->step;
        const OperationKind kind = kind_of(*step_);
        const int lost = step.kind == StepKind::convolution ? 0 : step.kernel - 1;
        const Shape sums_shape{step.out_channels, shape_.height - lost, shape_.width - lost};
        const std::vector<int> sums = asked(Stage::sums), activated = asked(Stage::activated);
        // 1x1 convolutions have no pooling of their own.
        const bool pool_apart =
            step.max_pool && (!sums.empty() || !activated.empty() || kind == OperationKind::pointwise_convolution);
        const bool activated_apart = step.activation != Activation::none && !sums.empty();
        const Activation activation = activated_apart ? Activation::none : step.activation;
        const bool max_pool = step.max_pool && !pool_apart;
        append(kind, max_pool ? halved(sums_shape) : sums_shape, {});
        operations.back().activation = activation;
        operations.back().max_pool = max_pool;
        if (!max_pool) operations.back().outputs = activation != Activation::none ? activated : sums;
        if (activated_apart) append(OperationKind::activation, shape_, activated);
        if (pool_apart) append(OperationKind::max_pooling, halved(shape_), {});
        if (step.max_pool) operations.back().outputs = asked(Stage::pool);
    }

    void append(OperationKind kind, const Shape& out, std::vector<int> given) {
        if (out.height < 1 || out.width < 1)
            throw std::invalid_argument("image is " + std::to_string(image_.width) + "x" +
                                        std::to_string(image_.height) +
                                        " pixels; this network needs a larger one");
        if (map_floats(out) > MAX_MAP_FLOATS) throw std::invalid_argument("image is too large");
        operations.push_back({kind, step_, Activation::none, false, shape_, out, std::move(given)});
        shape_ = out;
    }

    // Which outputs are this stage of the step.
    std::vector<int> asked(Stage stage) const {
        std::vector<int> found;
        for (std::size_t i = 0; i < outputs_.size(); ++i)
            if (outputs_[i].step == number_ && outputs_[i].stage == stage) found.push_back(static_cast<int>(i));
        return found;
    }

    const Shape image_;
    const std::vector<Output>& outputs_;
    Shape shape_;  // of what the next operation takes
    const PackedStep* step_ = nullptr;
    int number_ = 0;
};

}  // namespace

std::vector<Operation> lower(const std::vector<PackedStep>& steps, const Shape& image,
                             const std::vector<Output>& outputs) {
    if (outputs.empty()) throw std::invalid_argument("no output is asked for");
    int last = 0;
    for (const Output& output : outputs) {
        check_output(output, steps);
        last = std::max(last, output.step);
    }
    Lowering lowering(image, outputs);
    for (int number = 0; number <= last; ++number) lowering.add(steps[number], number);
    return std::move(lowering.operations);
}

}  // namespace verydeep
