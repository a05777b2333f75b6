// Memory that the layers work in: kept from call to call, and shared by all, as one call works at a time.
#pragma once

#include <cstddef>

namespace verydeep {

// The caller holds a PoolLock. Raises std::bad_alloc.
float* layer_scratch(std::size_t floats);

// Counts floats, each part on cache lines of its own, and aside of pages' beginnings.
class ScratchPlan {
public:
    long take(long floats) {
        const long place = floats_;
        floats_ = (place + floats + 15) / 16 * 16 + 48;
        return place;
    }
    long floats() const { return floats_; }

private:
    long floats_ = 0;
};

}  // namespace verydeep
