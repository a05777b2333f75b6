// A network as a list of steps, from pixels to class score maps, in one call.
#pragma once

#include <memory>
#include <vector>

#include "engine/instructions.h"
#include "engine/memory.h"
#include "engine/packing.h"
#include "engine/planning.h"
#include "engine/step.h"

namespace verydeep {

struct NetworkOptions {
    long in_channels = 3;
    std::vector<float> levels;  // for each of three channels, what each of 256 levels becomes
    bool flip = false;          // swaps the first and the last channel of pixels
    Instructions instructions = Instructions::portable;
    Precision precision = Precision::float32;  // float32 where the instruction set lacks it
    int threads = 1;
    // float32 weights of 3x3 convolutions behind the fourth pooling are transformed at each call, and have to stay
    // where they are.
    bool on_demand = false;
};

// Raises std::invalid_argument if no network can have so many.
void check_threads(int threads);

class Network {
public:
    // Raises std::invalid_argument if the steps do not fit together.
    Network(const std::vector<Step>& steps, NetworkOptions options);

    // Shapes of the outputs for images of a size. Raises std::invalid_argument if an image is too small, or an
    // output is not one that the network has.
    std::vector<Shape> shapes(int height, int width, const std::vector<Output>& outputs) const;

    // Bytes of scratch that a call takes which compares no images.
    std::size_t scratch_bytes(long batch, int height, int width, const std::vector<Output>& outputs) const;
    // Bytes of all weights in their packed form, but for those that are transformed on demand.
    std::size_t weight_bytes() const;

    // Writes each output as [image][channel][y][x], or as [pair][y][x] where images are compared. Waits if another
    // thread is running a network. Raises as `shapes` does, and if images or outputs cannot be compared.
    void run(const Images& images, const std::vector<Output>& outputs, const std::vector<float*>& results,
             const Comparison* comparison = nullptr);

    // Whoever owns the weights that are transformed on demand, and whether a step's are.
    std::shared_ptr<const void> weights_owner;
    bool borrows_weights(int step) const { return steps_[step].on_demand; }

    Instructions instructions() const { return options_.instructions; }
    Precision precision() const { return options_.precision; }
    int threads() const { return options_.threads; }
    long in_channels() const { return options_.in_channels; }
    int num_steps() const { return static_cast<int>(steps_.size()); }

private:
    // `multiple`: of images that stay together, 2 where pairs are compared.
    Plan plan(long batch, int height, int width, const std::vector<Output>& outputs, long multiple = 1) const;

    NetworkOptions options_;
    const Kernels& kernels_;
    std::vector<PackedStep> steps_;
    Memory scratch_;
};

}  // namespace verydeep
