// Steps -> the operations that give the outputs which are asked for.
#pragma once

#include <vector>

#include "engine/packing.h"
#include "engine/step.h"

namespace verydeep {

enum class OperationKind {
    first_convolution,
    winograd_convolution,
    pointwise_convolution,
    fully_connected,
    activation,
    max_pooling,
    average_pooling,
    response_norm,
};

// Something that is done in one go. A step is one operation, or several where its stages are asked for.
struct Operation {
    OperationKind kind;
    const PackedStep* step;
    Activation activation;  // done within it
    bool max_pool;          // likewise
    Shape in, out;
    std::vector<int> outputs;  // of those that were asked for, the ones that it gives
};

inline bool is_convolution(const Operation& operation) {
    return operation.kind == OperationKind::first_convolution ||
           operation.kind == OperationKind::winograd_convolution ||
           operation.kind == OperationKind::pointwise_convolution;
}

// Operations up to the last step that is asked for; they point into `steps`. Raises std::invalid_argument if an
// output is not one that the steps have, or an image is too small.
std::vector<Operation> lower(const std::vector<PackedStep>& steps, const Shape& image,
                             const std::vector<Output>& outputs);

}  // namespace verydeep
