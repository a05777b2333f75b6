// The time of an operation, added to its step's.
#pragma once

#include <chrono>

#include "engine/running.h"

namespace verydeep {

class Stopwatch {
public:
    Stopwatch(const Call& call, const Operation& operation)
        : seconds_(call.seconds ? call.seconds + operation.step_number : nullptr), begin_(Clock::now()) {}
    ~Stopwatch() {
        if (seconds_) *seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count();
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    double* const seconds_;
    const Clock::time_point begin_;
};

}  // namespace verydeep
