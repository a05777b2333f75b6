// Weights -> panels: Winograd's transform of 3x3 kernels, packing, and quantizing to 20 bits.
#pragma once

#include "kernels/int20.h"
#include "kernels/numbers.h"
#include "kernels/winograd.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// The output channels of a panel.
struct PanelColumns {
    long first;
    int outputs;  // that the layer has
    int columns;  // with those that fill the last block

    PanelColumns(int panel, long out_channels)
        : first(static_cast<long>(panel) * PANEL),
          outputs(static_cast<int>(min(out_channels - first, long{PANEL}))),
          columns(outputs > BLOCK ? PANEL : BLOCK) {}
};

// Three weights -> their transform at the six points.
VERYDEEP_INLINE void transform_three(const Vector* g, Vector* t) {
    const Vector even_half = g[0] + 0.5f * g[2], even_two = g[0] + 2.0f * g[2];
    t[0] = g[0];
    t[1] = (even_half + SQRT_HALF * g[1]) * (-2.0f / 3.0f);
    t[2] = (even_half - SQRT_HALF * g[1]) * (-2.0f / 3.0f);
    t[3] = (even_two + SQRT_TWO * g[1]) * (1.0f / 6.0f);
    t[4] = (even_two - SQRT_TWO * g[1]) * (1.0f / 6.0f);
    t[5] = g[2];
}

// Where the weight of an input k and a column of a panel lies.
template <class Numbers>
VERYDEEP_INLINE long index_in_panel(long k, int column, int columns) {
    return (k / Numbers::K_STEP * columns + column) * Numbers::K_STEP + k % Numbers::K_STEP;
}

// Rounds weights one after the other so that their errors add up to nothing, not only each to little: a sixteenth
// of what the weights before have lost is added to each. What a layer takes has been through a ReLU and has a mean
// above zero, which such a sum of errors would multiply. It lowers the error of D in bfloat16 from 1.02e-2 to
// 0.97e-2.
constexpr float FEEDBACK = 1.0f / 16.0f;

template <class Numbers>
VERYDEEP_INLINE typename Numbers::Element round_with_feedback(float x, float& lost) {
    if constexpr (Numbers::K_STEP == 1) {
        return x;
    } else {
        const typename Numbers::Element element = Numbers::from_float(x + lost * FEEDBACK);
        lost += x - Numbers::to_float(element);
        return element;
    }
}

// A vector of 3x3 kernels -> `keep(point, vector)` for each of the 36 points.
template <class Keep>
VERYDEEP_INLINE void transform_loaded(const float kernel[9][LANES], Keep keep) {
    Vector rows[PATCH][3];
    for (int x = 0; x < 3; ++x) {
        const Vector g[3] = {load(kernel[x]), load(kernel[3 + x]), load(kernel[6 + x])};
        Vector t[PATCH];
        transform_three(g, t);
        for (int y = 0; y < PATCH; ++y) rows[y][x] = t[y];
    }
    for (int y = 0; y < PATCH; ++y) {
        Vector t[PATCH];
        transform_three(rows[y], t);
        for (int x = 0; x < PATCH; ++x) keep(PATCH * y + x, t[x]);
    }
}

// The same of one input channel's kernels, for a vector of output channels.
template <class Keep>
VERYDEEP_INLINE void transform_kernel(const float* weights, long in_channels, int outputs, Keep keep) {
    alignas(64) float kernel[9][LANES] = {};
    for (int lane = 0; lane < LANES && lane < outputs; ++lane)
        for (int i = 0; i < 9; ++i) kernel[i][lane] = weights[lane * in_channels * 9 + i];
    transform_loaded(kernel, keep);
}

// `keep(channel, column, point, vector)` for all transformed weights of a panel; those beyond the last channel are
// 0.
template <class Keep>
VERYDEEP_INLINE void transform_panel(const ConvolutionWeights& weights, const PanelColumns& panel, Keep keep) {
    const long in_channels = weights.in_channels;
    const float* const first = weights.data + panel.first * in_channels * 9;
    for (long channel = 0; channel < blocks_of(in_channels) * BLOCK; ++channel)
        for (int column = 0; column < panel.columns; column += LANES)
            transform_kernel(first + (column * in_channels + channel) * 9, in_channels,
                             channel < in_channels ? panel.outputs - column : 0,
                             [&](int point, Vector x) { keep(channel, column, point, x); });
}

// Where the transformed weights of a panel go.
template <class Numbers>
class PanelOfPoints {
public:
    using Element = typename Numbers::Element;

    PanelOfPoints(long in_blocks, const PanelColumns& panel, void* to)
        : out_(static_cast<Element*>(to)),
          stride_(panel_point_stride(in_blocks, panel.columns / BLOCK, sizeof(Element))),
          columns_(panel.columns) {}

    // A vector of columns of one input; for each column and point in the order of the inputs.
    VERYDEEP_INLINE void keep(long input, int column, int point, Vector x) {
        Element* const place = out_ + point * stride_ + index_in_panel<Numbers>(input, column, columns_);
        if constexpr (Numbers::K_STEP == 1) {
            store(place, x);
        } else {
            float* const at = lost_[point] + column;
            const Vector lost = load(at);
            const long second = input % 2;
            store(at, lost + (x - Numbers::store_half(place - second, second, x + lost * FEEDBACK)));
        }
    }

private:
    Element* const out_;
    const long stride_;
    const int columns_;
    float lost_[POINTS][PANEL] = {};
};

template <class Numbers>
void transform_weights(const ConvolutionWeights& weights, int panel_number, void* to) {
    const PanelColumns panel(panel_number, weights.out_channels);
    PanelOfPoints<Numbers> out(blocks_of(weights.in_channels), panel, to);
    transform_panel(weights, panel,
                    [&](long channel, int column, int point, Vector x) { out.keep(channel, column, point, x); });
}

// To integers: a column's scale follows from its greatest weight, so all are transformed twice.
template <class Numbers>
void transform_scaled_weights(const ConvolutionWeights& weights, int panel_number, void* to) {
    using Element = typename Numbers::Element;
    const PanelColumns panel(panel_number, weights.out_channels);
    const long stride = panel_point_stride(blocks_of(weights.in_channels), panel.columns / BLOCK, sizeof(Element));
    Element* const out = static_cast<Element*>(to);
    float magnitudes[POINTS][PANEL] = {};
    transform_panel(weights, panel, [&](long, int column, int point, Vector x) {
        float* const here = magnitudes[point] + column;
        for (int lane = 0; lane < LANES; ++lane) {  // NaN is kept, and becomes all sums of the column
            const float magnitude = x[lane] < 0 ? -x[lane] : x[lane];
            if (magnitude > here[lane] || magnitude != magnitude) here[lane] = magnitude;
        }
    });
    transform_panel(weights, panel, [&](long channel, int column, int point, Vector x) {
        Element* const place = out + point * stride + index_in_panel<Numbers>(channel, column, panel.columns);
        for (int lane = 0; lane < LANES; ++lane) {
            const float magnitude = magnitudes[point][column + lane];
            const bool usual = magnitude >= Numbers::MIN_MAGNITUDE && magnitude - magnitude == 0;  // finite
            const float level = usual ? x[lane] / magnitude * Numbers::MAX_WEIGHT : 0;
            place[lane * Numbers::K_STEP] = static_cast<Element>(level < 0 ? level - 0.5f : level + 0.5f);
        }
    });
    float* const scales = reinterpret_cast<float*>(out + POINTS * stride);
    for (int point = 0; point < POINTS; ++point)
        for (int column = 0; column < panel.columns; ++column) {
            const float magnitude = magnitudes[point][column];
            scales[point * panel.columns + column] =
                magnitude < Numbers::MIN_MAGNITUDE ? 0 : magnitude * (1 / Numbers::MAX_WEIGHT);
        }
}

template <class Numbers>
void pack_weights(const MatrixWeights& weights, const PanelSlice& slice, void* to) {
    using Element = typename Numbers::Element;
    const PanelColumns panel(slice.panel, weights.out_channels);
    Element* const out = static_cast<Element*>(to);
    float lost[PANEL] = {};
    for (long start = slice.begin; start < slice.end; start += tuning::PACKED_AT_ONCE) {
        const long end = min(start + tuning::PACKED_AT_ONCE, slice.end);
        for (int column = 0; column < panel.columns; ++column) {
            const float* const from =
                column < panel.outputs ? weights.data + (panel.first + column) * weights.in_channels : nullptr;
            for (long k = start; k < end; ++k)
                out[index_in_panel<Numbers>(k, column, panel.columns)] =
                    from && k < weights.in_channels ? round_with_feedback<Numbers>(from[k], lost[column])
                                                    : Element{};
        }
    }
}

constexpr float INT20_MAX = 524287;            // 2^19 - 1
constexpr float INT20_MIN_MAGNITUDE = 1e-30f;  // of a weight: a level of a smaller one would be no normal number

// One column of a group of weights -> its scale and its levels. The greatest becomes INT20_MAX. One that is NaN or
// infinite makes the column's sums NaN.
template <class Weight>
VERYDEEP_INLINE void quantize_int20(Weight weight, long begin, long end, int column, int columns, char* group) {
    float magnitude = 0;
    for (long k = begin; k < end; ++k) {
        const float here = weight(k) < 0 ? -weight(k) : weight(k);
        if (here > magnitude || here != here) magnitude = here;
        if (magnitude != magnitude) break;
    }
    const bool usual = magnitude >= INT20_MIN_MAGNITUDE && magnitude - magnitude == 0;
    reinterpret_cast<float*>(group)[column] = usual                             ? magnitude / INT20_MAX
                                              : magnitude < INT20_MIN_MAGNITUDE ? 0
                                                                                : __builtin_nanf("");
    const double inverse = usual ? static_cast<double>(INT20_MAX) / magnitude : 0;
    char* const packs = group + columns * sizeof(float);
    for (long k = begin; k < end; k += INT20_PACK) {
        char* const pack = packs + (k - begin) / INT20_PACK * int20_pack_bytes(columns);
        std::uint32_t low = 0;
        for (int i = 0; i < INT20_PACK; ++i) {
            const double exact = usual ? weight(k + i) * inverse : 0;
            const std::int32_t level = static_cast<std::int32_t>(exact < 0 ? exact - 0.5 : exact + 0.5);
            const std::int16_t high = static_cast<std::int16_t>(level >> 4);
            __builtin_memcpy(pack + (i * columns + column) * 2, &high, sizeof high);
            low |= (static_cast<std::uint32_t>(level) & 15) << (4 * i);
        }
        __builtin_memcpy(pack + (INT20_PACK * columns + column * 2) * 2, &low, sizeof low);
    }
}

void pack_weights_int20(const MatrixWeights& weights, const PanelSlice& slice, void* to) {
    const PanelColumns panel(slice.panel, weights.out_channels);
    char* group = static_cast<char*>(to) + int20_bytes(slice.begin, panel.columns);
    for (long begin = slice.begin; begin < slice.end; begin += INT20_SCALE_INPUTS) {
        const long end = min(begin + INT20_SCALE_INPUTS, slice.end);
        for (int column = 0; column < panel.columns; ++column) {
            const float* const from =
                column < panel.outputs ? weights.data + (panel.first + column) * weights.in_channels : nullptr;
            const auto weight = [&](long k) { return from && k < weights.in_channels ? from[k] : 0.0f; };
            quantize_int20(weight, begin, end, column, panel.columns, group);
        }
        group += int20_bytes(end - begin, panel.columns);
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
