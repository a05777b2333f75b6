// Which number of a 2x2 window is the greatest: kept in two bits, and expanded again.
#pragma once

#include "kernels/gradient_kernels.h"
#include "kernels/vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

// Which of a window's four is the greatest, as masks.
struct Greatest {
    Vector value;
    Int32Vector right, low;
};

// The first of equal ones in the order of reading, and the last NaN, as torch has it.
VERYDEEP_INLINE Greatest greatest_of(Vector a, Vector b, Vector c, Vector d) {
    const Int32Vector upper_right = (b > a) | (b != b), lower_right = (d > c) | (d != d);
    const Vector upper = max(a, b), lower = max(c, d);
    const Int32Vector low = (lower > upper) | (lower != lower);
    return {max(upper, lower), (low & lower_right) | (~low & upper_right), low};
}

// A part's bits of a block's entry.
VERYDEEP_INLINE void keep_argmax(const Greatest& greatest, int part, Argmax* entry) {
    const Argmax bits = (bits_of(greatest.right) | bits_of(greatest.low) << BLOCK) << part * LANES;
    *entry = part == 0 ? bits : *entry | bits;
}

// A pooled gradient -> the four of its window.
struct Window {
    Vector upper_left, upper_right, lower_left, lower_right;

    VERYDEEP_INLINE Window(Vector gradient, Argmax argmax, int part) {
        const Int32Vector right = mask_of(argmax >> part * LANES), low = mask_of(argmax >> BLOCK >> part * LANES);
        const Vector lower = where(low, gradient), upper = where(~low, gradient);
        upper_left = where(~right, upper);
        upper_right = where(right, upper);
        lower_left = where(~right, lower);
        lower_right = where(right, lower);
    }
};

}  // namespace
}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
