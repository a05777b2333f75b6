// A pool of threads of our own: no OpenMP, of which a process must not hold two, and which does not live through a
// fork.
#pragma once

#include <functional>

namespace verydeep {

// As many processors as Linux knows.
constexpr int MAX_THREADS = 8192;

// Starts threads, in each process anew, and returns how many there are, up to `threads` and the caller's included.
// They are fewer than `threads` where the system starts no more. The caller holds a `PoolLock`.
int start_threads(int threads);

// Runs `work(number, thread)` for each number in [0, count), on as many threads as `start_threads` has. Raises the
// first error of the work, whose other numbers are then left out. The caller holds a `PoolLock`.
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
