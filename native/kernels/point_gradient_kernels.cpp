// The kernels of Winograd's products backwards, in the least precise numbers of an instruction set that has some
// of its own. As kernels.cpp, this file is compiled once for each, and uses nothing of the standard library.
#include "kernels/gradient_kernels.h"

#include "kernels/normalized_winograd.h"
#include "kernels/outer_products.h"
#include "kernels/winograd_gradients.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {

const PointGradientKernels& point_gradient_kernels() {
#if defined(__AVX512BF16__)
    using Numbers = BFloat16;
#else
    using Numbers = Float32;
#endif
    static constexpr PointGradientKernels kernels{
        .transform_gradient_input = transform_gradient_input<Numbers>,
        .transform_weights_back = transform_weights_back<Numbers>,
        .transform_factor = transform_factor<Numbers>,
        .transform_normalized_input = transform_normalized_input<Numbers>,
        .transform_normalized_factor = transform_normalized_factor<Numbers>,
        .transform_gradient = transform_gradient<Numbers>,
        .multiply_outer = multiply_outer<Numbers>,
    };
    return kernels;
}

}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
