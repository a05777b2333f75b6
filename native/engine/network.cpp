#include "engine/network.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "engine/lowering.h"
#include "engine/running.h"
#include "engine/threads.h"

namespace verydeep {
namespace {

// No product of sizes comes near what an integer holds. Maps have a bound of their own, in lowering.cpp.
constexpr int MAX_SIDE = 1 << 24;
constexpr long MAX_PIXELS = 1L << 32, MAX_CHANNELS = 1L << 30;

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument(reason); }

void check_step(const Step& step, long channels, bool flat) {
    if (step.has_weights() && step.in_channels != channels)
        refuse("a step takes " + std::to_string(step.in_channels) + " channels, the one before gives " +
               std::to_string(channels));
    if (step.has_weights() &&
        (step.out_channels < 1 || step.out_channels > MAX_CHANNELS || !step.weights || !step.bias))
        refuse("a step with weights needs outputs, weights and biases");
    if (step.kind == StepKind::convolution && step.kernel != 3 && step.kernel != 1)
        refuse("a convolution's kernel is 3 or 1, not " + std::to_string(step.kernel));
    if (step.kind == StepKind::fully_connected && (step.kernel < 1 || (flat && step.kernel != 1) || step.max_pool))
        refuse("only the first fully connected step may have a kernel above 1");
    if (flat && step.kind != StepKind::fully_connected)
        refuse("only fully connected steps may follow a fully connected one");
    if (step.kind == StepKind::response_norm && (step.norm.size < 1 || step.norm.size > MAX_NORM_SIZE))
        refuse("a normalization is over " + std::to_string(step.norm.size) + " channels; it may be over 1 to " +
               std::to_string(MAX_NORM_SIZE));
}

// The same options, with a precision that the instruction set has.
NetworkOptions checked(const std::vector<Step>& steps, NetworkOptions options) {
    check_threads(options.threads);
    if (options.in_channels < 1 || options.in_channels > MAX_CHANNELS)
        refuse("a network has " + std::to_string(options.in_channels) + " input channels; it may have 1 to " +
               std::to_string(MAX_CHANNELS));
    if (options.in_channels == 3 && options.levels.size() != 768) refuse("levels must be 3 times 256 numbers");
    if (steps.empty()) refuse("a network needs at least one step");
    long channels = options.in_channels;
    bool flat = false;
    for (const Step& step : steps) {
        check_step(step, channels, flat);
        flat = flat || step.kind == StepKind::fully_connected;
        if (step.has_weights()) channels = step.out_channels;
    }
    if (!has(options.instructions, options.precision)) options.precision = Precision::float32;
    return options;
}

}  // namespace

void check_threads(int threads) {
    if (threads < 1 || threads > MAX_THREADS)
        refuse("number of threads is " + std::to_string(threads) + "; it must be 1 to " +
               std::to_string(MAX_THREADS));
}

Network::Network(const std::vector<Step>& steps, NetworkOptions options)
    : options_(checked(steps, std::move(options))),
      kernels_(kernels_for(options_.instructions, options_.precision)),
      steps_(
          pack_steps(steps, {options_.instructions, options_.precision, options_.threads, options_.on_demand})) {}

Plan Network::plan(long batch, int height, int width, const std::vector<Output>& outputs, long multiple) const {
    if (batch < 1 || height < 1 || width < 1) refuse("there is no image, or it has no pixels");
    if (height > MAX_SIDE || width > MAX_SIDE || long{height} * width > MAX_PIXELS) refuse("image is too large");
    return make_plan(lower(steps_, {options_.in_channels, height, width}, outputs),
                     {batch, multiple, options_.threads, &kernels_});
}

std::vector<Shape> Network::shapes(int height, int width, const std::vector<Output>& outputs) const {
    const Plan made = plan(1, height, width, outputs);
    std::vector<Shape> shapes(outputs.size());
    for (const Operation& operation : made.operations)
        for (const int output : operation.outputs) shapes[output] = operation.out;
    return shapes;
}

std::size_t Network::scratch_bytes(long batch, int height, int width, const std::vector<Output>& outputs) const {
    return plan(batch, height, width, outputs).buffers.bytes;
}

std::size_t Network::weight_bytes() const {
    std::size_t bytes = 0;
    for (const PackedStep& step : steps_) bytes += step.weights.bytes() + step.bias.bytes();
    return bytes;
}

void Network::run(const Images& images, const std::vector<Output>& outputs, const std::vector<float*>& results,
                  const Comparison* comparison) {
    if (comparison && images.count % 2) refuse("images come in pairs, these are " + std::to_string(images.count));
    for (const Output& output : outputs)
        if (comparison && output.step >= 0 && output.step < num_steps() &&
            steps_[output.step].step.kind == StepKind::fully_connected)
            refuse("fully connected steps give no maps to be compared");
    if (images.pixels && options_.in_channels != 3)
        refuse("pixels have 3 channels, this network takes " + std::to_string(options_.in_channels));
    const Plan made = plan(images.count, images.height, images.width, outputs, comparison ? 2 : 1);
    const PoolLock lock;
    // Scratch is kept for the next call, unless that wants far less of it.
    const std::size_t wanted = made.buffers.bytes, slack = std::size_t{64} << 20;
    if (scratch_.bytes() < wanted || scratch_.bytes() > 4 * wanted + slack) {
        scratch_ = Memory();  // the old one goes before the new one comes
        scratch_ = Memory(wanted);
    }
    run_call({made, kernels_, options_.threads, static_cast<char*>(scratch_.data()), images,
              options_.levels.data(), options_.flip, results, comparison});
}

}  // namespace verydeep
