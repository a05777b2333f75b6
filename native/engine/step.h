// What a caller says and asks: steps of a network, images, outputs.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace verydeep {

enum class StepKind { convolution, max_pooling, average_pooling, response_norm, fully_connected };

// A layer, with what follows it. Fields that a kind lacks stay as they are.
struct Step {
    StepKind kind;
    long in_channels = 0, out_channels = 0;
    int kernel = 0;  // 3 or 1 of a convolution, any of a fully connected layer
    Activation activation = Activation::none;
    bool max_pool = false;           // 2x2, behind a convolution
    const float* weights = nullptr;  // [out][in][kernel][kernel]
    const float* bias = nullptr;     // [out]
    ResponseNorm norm{};

    bool has_weights() const { return kind == StepKind::convolution || kind == StepKind::fully_connected; }
    bool pools() const { return max_pool || kind == StepKind::max_pooling || kind == StepKind::average_pooling; }
    long inputs() const { return in_channels * kernel * kernel; }  // that an output is the sum of
};

// What a step can give: its sums, these after the activation, these after the pooling.
enum class Stage { sums, activated, pool };
struct Output {
    int step;
    Stage stage;
};

struct Shape {
    long channels;
    int height, width;
};

// Levels of 0 to 255, or numbers that are preprocessed already: the other pointer is null. [image][y][x][channel].
struct Images {
    const std::uint8_t* pixels;
    const float* numbers;
    long count;
    int height, width;
};

// Images 2n and 2n + 1 are a pair, and an output is a number for each position of their maps: the squared distance
// of their unit vectors along the channels, weighted. `weights` are those of each output's channels, with zeros up
// to whole blocks; `epsilon` is added to lengths.
struct Comparison {
    std::vector<const float*> weights;
    float epsilon;
};

}  // namespace verydeep
