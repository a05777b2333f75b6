// The kernels of gradients at inputs, in the least precise products of an instruction set that has some of its
// own. As kernels.cpp, this file is compiled once for each, and uses nothing of the standard library.
#include "kernels/gradient_kernels.h"
#include "kernels/winograd_gradients.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {

const DataGradientKernels& data_gradient_kernels() {
#if defined(__AVX512BF16__)
    using Numbers = BFloat16;
#else
    using Numbers = Float32;
#endif
    static constexpr DataGradientKernels kernels{
        .transform_gradient_input = transform_gradient_input<Numbers>,
        .transform_weights_back = transform_weights_back<Numbers>,
    };
    return kernels;
}

}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
