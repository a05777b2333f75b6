// The kernels that go backwards, of one instruction set. As kernels.cpp, this file is compiled once for each, and
// uses nothing of the standard library.
#include "kernels/gradient_kernels.h"

#include "kernels/batch_norm.h"
#include "kernels/normalized_winograd.h"
#include "kernels/outer_products.h"
#include "kernels/row_gradients.h"
#include "kernels/winograd_gradients.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {

const GradientKernels& gradient_kernels() {
    static constexpr GradientKernels kernels{
        .transform_output_argmax = transform_output_argmax,
        .transform_output_gradient = transform_output_gradient,
        .transform_output_measured = transform_output_measured,
        .transform_output_normalized_gradient = transform_output_normalized_gradient,
        .multiply_outer = multiply_outer<Float32>,
        .gather_weight_gradient = gather_weight_gradient,
        .first_weight_gradient_row = first_weight_gradient_row,
        .first_data_gradient_row = first_data_gradient_row,
        .max_pool_argmax_row = max_pool_argmax_row,
        .max_pool_gradient_row = max_pool_gradient_row,
        .average_pool_gradient_row = average_pool_gradient_row,
        .unit_distance_gradient_row = unit_distance_gradient_row,
        .channel_statistics = channel_statistics,
        .batch_norm_row = batch_norm_row,
        .batch_norm_pool_row = batch_norm_pool_row,
        .batch_norm_sums = batch_norm_sums,
        .batch_norm_gradient_row = batch_norm_gradient_row,
        .batch_norm_pooled_gradient_row = batch_norm_pooled_gradient_row,
    };
    return kernels;
}

}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
