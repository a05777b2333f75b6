#include "engine/ceiling.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "engine/threads.h"

namespace verydeep {
namespace {

constexpr double TRIAL_SECONDS = 2e-3, WARM_UP_SECONDS = 50e-3;

// Rounds of the loop that take as long as a trial, once the clock frequency has settled.
long calibrate(const Kernels& kernels) {
    long iterations = 1000;
    double seconds = 0;
    for (double begin = thread_seconds();
         thread_seconds() - begin < WARM_UP_SECONDS || seconds < TRIAL_SECONDS / 4;) {
        const double start = thread_seconds();
        kernels.multiply_add_registers(iterations);
        seconds = thread_seconds() - start;
        if (seconds < TRIAL_SECONDS / 2) iterations *= 2;
    }
    return std::max(1L, static_cast<long>(iterations * TRIAL_SECONDS / seconds));
}

}  // namespace

double thread_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double multiply_add_ceiling(const Kernels& kernels, int threads, int trials) {
    threads = start_threads(threads);
    const long iterations = calibrate(kernels);
    std::vector<double> rates(threads);
    double best = 0;
    for (int trial = 0; trial < trials; ++trial) {
        std::atomic<int> waiting{threads};
        parallel_for(threads, threads, [&](long task, int) {
            // All at once: no thread takes the task of another, and those that share a core share it.
            for (waiting.fetch_sub(1); waiting.load() > 0;) {
            }
            const double start = thread_seconds();
            const double operations = kernels.multiply_add_registers(iterations);
            rates[task] = operations / (thread_seconds() - start);
        });
        best = std::max(best, std::accumulate(rates.begin(), rates.end(), 0.0));
    }
    return best;
}

}  // namespace verydeep
