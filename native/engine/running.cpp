#include "engine/running.h"

#include <algorithm>

#include "engine/layout.h"

namespace verydeep {
namespace {

void perform(const Call& call, const PlannedOperation& operation, const FeatureMap& in, const FeatureMap& out,
             long count) {
    switch (operation.kind) {
        case OperationKind::first_convolution: convolve_first(call, operation, in.data, out, count); break;
        case OperationKind::winograd_convolution: convolve_winograd(call, operation, in, out, count); break;
        case OperationKind::pointwise_convolution: convolve_pointwise(call, operation, in, out, count); break;
        case OperationKind::activation: activate(call, operation.step->step.activation, out, count); break;
        case OperationKind::max_pooling: pool(call, call.kernels.max_pool_row, in, out, count); break;
        case OperationKind::average_pooling: pool(call, call.kernels.average_pool_row, in, out, count); break;
        case OperationKind::response_norm: normalize(call, operation.step->step.norm, in, out, count); break;
        case OperationKind::fully_connected: break;  // not in a segment
    }
}

// Where a segment's last operation writes: the next segment's input, from an image on. Null in the last segment,
// which writes into a map of scratch.
struct Destination {
    float* data = nullptr;
    long first_image = 0;
};

FeatureMap output_map(const Call& call, const PlannedOperation& operation, const Destination& to) {
    FeatureMap map = map_layout(operation.out, call.floats(call.plan.buffers.maps[operation.map]));
    if (to.data) map.data = to.data + to.first_image * map.image_stride;
    return map;
}

FeatureMap run_operation(const Call& call, std::size_t number, const FeatureMap& in, const ImageRange& images,
                         const Destination& to) {
    const PlannedOperation& operation = call.plan.operations[number];
    const bool in_place = operation.kind == OperationKind::activation;  // which ends no segment
    const FeatureMap out = in_place ? in : output_map(call, operation, to);
    if (!in_place) clear_border(call, out, images.count);
    if (call.plan.strips && number == 1)
        convolve_strips(call, out, images);
    else
        perform(call, operation, in, out, images.count);
    write_outputs(call, operation, out, images);
    return out;
}

// Runs a segment, and those before it for as many images at a time as they take.
FeatureMap run_segment(const Call& call, std::size_t number, const ImageRange& images, const Destination& to) {
    const Segment& segment = call.plan.segments[number];
    float* const input = call.floats(segment.input);
    if (number > 0) {
        const long at_once = call.plan.segments[number - 1].images;
        for (long done = 0; done < images.count; done += at_once)
            run_segment(call, number - 1, {images.first + done, std::min(at_once, images.count - done)},
                        {input, done});
    } else {
        load_images(call, images, input);
    }
    FeatureMap map = map_layout(call.plan.operations[segment.first].in, input);
    for (std::size_t i = segment.first; i < segment.last; ++i) {
        if (call.plan.strips && i == 0) continue;  // a part of the next
        map = run_operation(call, i, map, images, i + 1 == segment.last ? to : Destination{});
    }
    return map;
}

}  // namespace

void run_call(const Call& call) {
    for (long first = 0; first < call.images.count; first += call.plan.images) {
        const ImageRange images{first, std::min(call.plan.images, call.images.count - first)};
        const FeatureMap map = run_segment(call, call.plan.segments.size() - 1, images, {});
        if (call.plan.first_fully_connected < call.plan.operations.size()) run_fully_connected(call, map, images);
    }
}

}  // namespace verydeep
