// Batch normalisation over the rows of a map, forwards and backwards.
#pragma once

#include "kernels/argmax.h"
#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// `use(x, gradient)` for a vector of each place of a row. A pooled gradient has a window of two rows: then `use`
// is called for both, and not for a column that the pooling dropped.
template <class Use>
VERYDEEP_INLINE void each_place(const GradientRows& rows, int y, int part, Use use) {
    const float* const x = rows.in + y * rows.in_row_stride + part * LANES;
    const float* const slope = rows.gradient + y * rows.gradient_row_stride + part * LANES;
    for (int column = 0; column < rows.width; ++column)
        use(load(x + column * BLOCK), load(slope + column * BLOCK));
}

template <class Use>
VERYDEEP_INLINE void each_window(const GradientRows& rows, int y, int part, Use use) {
    const float* const upper = rows.in + 2 * y * rows.in_row_stride + part * LANES;
    const float* const lower = upper + rows.in_row_stride;
    const long from = y * rows.gradient_row_stride;
    for (int column = 0; column < rows.width / 2; ++column) {
        const Window window(load(rows.gradient + from + column * BLOCK + part * LANES),
                            rows.argmax[from / BLOCK + column], part);
        const long at = 2L * column * BLOCK;
        use(load(upper + at), window.upper_left);
        use(load(upper + at + BLOCK), window.upper_right);
        use(load(lower + at), window.lower_left);
        use(load(lower + at + BLOCK), window.lower_right);
    }
}

// Two passes, as squares less the square of the mean cancel where the mean is large.
void channel_statistics(const StatisticsRows& rows) {
    const float inverse = 1.0f / static_cast<float>(rows.num_rows * rows.width);
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const auto each = [&](auto use) {
            for (int y = 0; y < rows.num_rows; ++y) {
                const float* const from = rows.in + y * rows.row_stride + lane;
                for (int x = 0; x < rows.width; ++x) use(load(from + x * BLOCK));
            }
        };
        Vector sum{}, rest{}, squares{};
        each([&](Vector x) { sum += x; });
        const Vector center = sum * inverse;
        each([&](Vector x) {
            const Vector deviation = x - center;
            rest += deviation;
            squares += deviation * deviation;
        });
        store(rows.center + lane, center);
        store(rows.sums + lane, rest);
        store(rows.squares + lane, squares);
    }
}

// The numbers of a block's channels, for one part of them.
struct NormalizedPart {
    Vector mean, scale, shift;

    VERYDEEP_INLINE NormalizedPart(const BatchNorm& norm, int lane)
        : mean(load(norm.mean + lane)), scale(load(norm.scale + lane)), shift(load(norm.shift + lane)) {}
    VERYDEEP_INLINE Vector of(Vector x) const { return (x - mean) * scale + shift; }
};

void batch_norm_row(const BatchNormRow& row) {
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const NormalizedPart part(row.norm, lane);
        for (long at = lane, end = static_cast<long>(row.width) * BLOCK; at < end; at += BLOCK)
            store(row.out + at, activate(row.activation, part.of(load(row.in + at))));
    }
}

void batch_norm_pool_row(const BatchNormPoolingRow& all) {
    const PoolingRow& row = all.row;
    for (int part = 0; part < PARTS; ++part) {
        const int lane = part * LANES;
        const NormalizedPart norm(all.norm, lane);
        for (int x = 0; x < row.width; ++x) {
            const float *const upper = row.upper + 2 * x * BLOCK + lane, *const lower =
                                                                             row.lower + 2 * x * BLOCK + lane;
            const Greatest greatest = greatest_of(norm.of(load(upper)), norm.of(load(upper + BLOCK)),
                                                  norm.of(load(lower)), norm.of(load(lower + BLOCK)));
            store(row.out + x * BLOCK + lane, activate(all.activation, greatest.value));
            keep_argmax(greatest, part, all.argmax + x);
        }
    }
}

void batch_norm_sums(const BatchNormSums& all) {
    for (int part = 0; part < PARTS; ++part) {
        const Vector mean = load(all.mean + part * LANES);
        Vector sum{}, product{};
        const auto add = [&](Vector x, Vector slope) {
            sum += slope;
            product += slope * (x - mean);
        };
        for (int y = 0; y < all.rows.num_rows; ++y)
            if (all.rows.argmax)
                each_window(all.rows, y, part, add);
            else
                each_place(all.rows, y, part, add);
        store(all.sums + part * LANES, sum);
        store(all.products + part * LANES, product);
    }
}

// The gradient of a block's channels, for one part of them.
struct GradientPart {
    Vector mean, scale, slope, offset;

    VERYDEEP_INLINE GradientPart(const BatchNormGradient& norm, int lane)
        : mean(load(norm.mean + lane)),
          scale(load(norm.scale + lane)),
          slope(load(norm.slope + lane)),
          offset(load(norm.offset + lane)) {}
    VERYDEEP_INLINE Vector of(Vector x, Vector gradient) const {
        return gradient * scale - ((x - mean) * slope + offset);
    }
};

void batch_norm_gradient_row(const BatchNormGradientRow& row) {
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const GradientPart part(row.norm, lane);
        for (long at = lane, end = static_cast<long>(row.width) * BLOCK; at < end; at += BLOCK)
            store(row.out + at, part.of(load(row.in + at), row.gradient ? load(row.gradient + at) : Vector{}));
    }
}

void batch_norm_pooled_gradient_row(const BatchNormPooledGradientRow& row) {
    for (int part = 0; part < PARTS; ++part) {
        const GradientPart norm(row.norm, part * LANES);
        const auto put = [&](long at, Vector slope) { store(row.out + at, norm.of(load(row.in + at), slope)); };
        for (int x = 0; x < row.width / 2; ++x) {
            const Window window(load(row.gradient + x * BLOCK + part * LANES), row.argmax[x], part);
            const long upper = 2L * x * BLOCK + part * LANES, lower = upper + row.row_stride;
            put(upper, window.upper_left);
            put(upper + BLOCK, window.upper_right);
            put(lower, window.lower_left);
            put(lower + BLOCK, window.lower_right);
        }
        if (row.width % 2) {
            const long last = (row.width - 1L) * BLOCK + part * LANES;
            put(last, Vector{});
            put(last + row.row_stride, Vector{});
        }
    }
}

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
