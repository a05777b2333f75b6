// A pool of threads of our own: no OpenMP, of which a process must not hold two, and which does not live through a
// fork.
#pragma once

#include <functional>

namespace verydeep {

// Runs `work(number, thread)` for each number in [0, count), on up to `threads` threads, the caller's included.
//
// The caller holds a `PoolLock`. The threads are made when they are first needed, in each process anew.
void parallel_for(int threads, long count, const std::function<void(long number, int thread)>& work);

// Holds the pool for one call of a network; other callers wait. Not to be nested.
class PoolLock {
public:
    PoolLock();
    ~PoolLock();
    PoolLock(const PoolLock&) = delete;
    PoolLock& operator=(const PoolLock&) = delete;

private:
    void* pool_;
};

}  // namespace verydeep
