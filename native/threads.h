// A pool of threads of our own: no OpenMP, of which a process must not hold two, and which does not live through a fork.
#pragma once

#include <functional>

namespace verydeep {

// Runs `work(number, thread)` for each number in [0, count), on up to `threads` threads, the caller's included.
//
// One caller runs at a time; others wait their turn in `Turn`. The threads are made when they are first needed, in
// each process anew.
void in_parallel(int threads, long count, const std::function<void(long number, int thread)>& work);

// Holds the pool for one call of the network. May be nested by no one.
class Turn {
public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    void* pool_;
};

}  // namespace verydeep
