// The kernels of one instruction set. This file is compiled once for each, each time into a namespace of its own.
//
// Neither it nor what it includes uses the standard library: an inline function of it that is compiled for AVX-512
// could be the copy that the linker keeps for every processor. All else is in unnamed namespaces.
#include "kernels/kernels.h"

#include "kernels/ceilings.h"
#include "kernels/first_convolution.h"
#include "kernels/int20.h"
#include "kernels/products.h"
#include "kernels/rows.h"
#include "kernels/weights.h"
#include "kernels/winograd.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// `Numbers` are those of products, `PointNumbers` those of Winograd's 36 products.
template <class Numbers, class PointNumbers>
constexpr Kernels make_kernels() {
    Kernels kernels{
        .preprocess_row = preprocess_row,
        .first_convolution_row = first_convolution_row,
        .transform_input = nullptr,
        .multiply_points = multiply_points<PointNumbers>,
        .transform_output = transform_output,
        .transform_weights = nullptr,
        .multiply = multiply<Numbers>,
        .pack_weights = pack_weights<Numbers>,
        .convert_rows = convert_rows<Numbers>,
        .multiply_int20 = multiply_int20,
        .pack_weights_int20 = pack_weights_int20,
        .add_bias = add_bias,
        .max_pool_row = max_pool_row,
        .average_pool_row = average_pool_row,
        .normalize_row = normalize_row,
        .unit_distance_row = unit_distance_row,
        .multiply_add_registers = multiply_add_registers<PointNumbers>,
        .stream_memory = stream_memory,
        .element_bytes = sizeof(typename Numbers::Element),
        .point_element_bytes = sizeof(typename PointNumbers::Element),
        .point_scales = PointNumbers::SCALED,
    };
    if constexpr (PointNumbers::SCALED) {
        kernels.transform_input = transform_scaled_input<PointNumbers>;
        kernels.transform_weights = transform_scaled_weights<PointNumbers>;
    } else {
        kernels.transform_input = transform_input<PointNumbers>;
        kernels.transform_weights = transform_weights<PointNumbers>;
    }
    return kernels;
}

}  // namespace

const Kernels& kernels([[maybe_unused]] Precision precision) {
    static constexpr Kernels float32 = make_kernels<Float32, Float32>();
#if defined(__AVX512BF16__)
    static constexpr Kernels bfloat16 = make_kernels<BFloat16, BFloat16>();
    if (precision == Precision::bfloat16) return bfloat16;
#endif
#if defined(__AVX512VNNI__)
    static constexpr Kernels int16 = make_kernels<Float32, Int16>();
    if (precision == Precision::int16) return int16;
#endif
    return float32;
}

}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
