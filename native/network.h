// A network as a list of steps, from pixels to class score maps, in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "instructions.h"
#include "kernels.h"
#include "memory.h"

namespace verydeep {

enum class Kind { convolution, max_pooling, average_pooling, normalization, fully_connected };

// What a step is, before its weights are brought into their form.
struct StepDescription {
    Kind kind;
    long in_channels = 0, out_channels = 0;
    int kernel = 0;                 // 3 or 1 of a convolution, any of a fully connected layer
    bool relu = false;
    bool pool = false;              // 2x2 max-pooling follows
    const float* weights = nullptr; // [out][in][kernel][kernel]
    const float* bias = nullptr;    // [out]
    int size = 0;                   // of a normalization
    float alpha = 0, beta = 0, k = 0;
};

// What a step can hand out: its bare sums, these after the ReLU, these after the pooling.
enum class Stage { sums, relu, pool };
struct Output {
    int step;
    Stage stage;
};

// Channels, height and width.
struct Shape {
    long channels;
    int height, width;
};

// One or the other: levels of 0 to 255, or numbers that are preprocessed already; [picture][y][x][channel].
struct Input {
    const std::uint8_t* pixels = nullptr;
    const float* numbers = nullptr;
};

// Pictures 2n and 2n + 1 are a pair, and an output is a number for each place of their maps: the squared distance of
// their unit vectors along the channels, weighted. `weights` are those of each output's channels, with zeros up to whole
// blocks; `epsilon` is added to lengths.
struct Comparison {
    std::vector<const float*> weights;
    float epsilon;
};

class Network {
public:
    // `levels` has, for each of three channels, the number that each of 256 levels is turned into. `flip` swaps the
    // first and the last channel. `on_demand`: float32 weights of 3x3 convolutions behind the fourth pooling are
    // transformed at each call, and have to stay where they are. Raises std::invalid_argument if the steps do not fit
    // together.
    Network(const std::vector<StepDescription>& steps, long in_channels, std::vector<float> levels, bool flip,
            Instructions instructions, Precision precision, int threads, bool on_demand = false);
    ~Network();

    // Shapes of the outputs for pictures of a size. Raises std::invalid_argument if a picture is too small, or an
    // output is not one that the network has.
    std::vector<Shape> shapes(int height, int width, const std::vector<Output>& outputs) const;

    // Bytes of scratch that a call takes which compares no pictures.
    std::size_t scratch_bytes(long batch, int height, int width, const std::vector<Output>& outputs) const;
    // Bytes of all weights in their transformed form, but for those that are transformed on demand.
    std::size_t weight_bytes() const;

    // Writes each output as [picture][channel][y][x], or as [pair][y][x] where pictures are compared. Waits its turn if
    // another thread is running a network.
    void run(Input input, long batch, int height, int width, const std::vector<Output>& outputs,
             const std::vector<float*>& results, const Comparison* comparison = nullptr);

    // Whoever owns the weights that are transformed on demand, and whether a step's are.
    std::shared_ptr<const void> kept;
    bool borrows(int step) const;

    // Seconds that each step of the last call took, if `measure` was set before.
    bool measure = false;
    std::vector<double> seconds;

    Instructions instructions() const { return instructions_; }
    Precision precision() const { return precision_; }
    int threads() const { return threads_; }
    long in_channels() const { return in_channels_; }
    int num_steps() const { return static_cast<int>(steps_.size()); }

private:
    struct Step;
    struct Operation;
    struct Plan;
    struct Call;

    void add(const StepDescription&);
    // `together`: 2 where pictures are compared and no pair may be parted, else 1.
    Plan plan(long batch, int height, int width, const std::vector<Output>& outputs, long together = 1) const;

    std::vector<std::unique_ptr<Step>> steps_;
    long in_channels_;
    std::vector<float> levels_;
    bool flip_;
    Instructions instructions_;
    Precision precision_;
    int threads_;
    bool on_demand_;
    const Kernels& kernels_;
    Memory scratch_;
};

}  // namespace verydeep
