// What the processor gives at best.
#pragma once

#include "kernels/kernels.h"

namespace verydeep {

// Seconds of processor time that the calling thread has taken: other programs disturb it little.
double thread_seconds();

// Multiplications and additions a second on registers alone, in the type of the kernels' Winograd products: the
// best of `trials`. By processor time, on up to so many threads at once. The caller holds a PoolLock.
double multiply_add_ceiling(const Kernels& kernels, int threads, int trials = 40);

}  // namespace verydeep
