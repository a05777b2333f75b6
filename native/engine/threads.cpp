#include "engine/threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <cfenv>
#endif

namespace verydeep {
namespace {

// How a thread rounds, and whether it flushes denormal numbers to zero. A thread begins with the mode of whoever
// started it; results would depend on which thread computes what.
#if defined(__x86_64__)
using FloatMode = unsigned;
FloatMode float_mode() { return _mm_getcsr() & ~_MM_EXCEPT_MASK; }
void set_float_mode(FloatMode mode) {
    if (mode != float_mode()) _mm_setcsr(mode);
}
#else
using FloatMode = std::fenv_t;
FloatMode float_mode() {
    FloatMode mode;
    std::fegetenv(&mode);
    return mode;
}
void set_float_mode(const FloatMode& mode) { std::fesetenv(&mode); }
#endif

// A waiting thread spins for so long, then lets others run between two looks, then sleeps. Waking a sleeper takes
// 0.1 ms and more on virtual machines, as much as Python needs between two layers.
constexpr std::chrono::microseconds SPIN_TIME{100}, YIELD_TIME{2000};

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

template <class Condition>
bool spin_until(Condition condition) {
    const auto start = std::chrono::steady_clock::now();
    for (auto now = start; now < start + YIELD_TIME; now = std::chrono::steady_clock::now()) {
        for (int i = 0; i < 64; ++i) {
            if (condition()) return true;
            relax();
        }
        if (now > start + SPIN_TIME) std::this_thread::yield();
    }
    return false;
}

class Pool {
public:
    std::mutex in_use;  // held for a whole call by its PoolLock

    // As many threads as there can be, up to `threads`; the caller's is one.
    int start(int threads) {
        while (started_ < threads - 1 && start_one()) {
        }
        return std::min(threads, started_ + 1);
    }

    void run(int threads, long count, const std::function<void(long, int)>& work) {
        threads = start(static_cast<int>(std::min<long>(threads, count)));
        if (threads <= 1) {
            for (long number = 0; number < count; ++number) work(number, 0);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            work_ = &work;
            count_ = count;
            mode_ = float_mode();
            next_.store(0, std::memory_order_relaxed);
            wanted_.store(threads - 1, std::memory_order_relaxed);
            busy_.store(threads - 1, std::memory_order_relaxed);
            generation_.fetch_add(1, std::memory_order_release);
        }
        for (int thread = 1; thread < threads; ++thread) begin_[thread - 1]->notify_one();
        take(0);
        const auto done = [this] { return busy_.load(std::memory_order_acquire) == 0; };
        if (!spin_until(done)) {
            std::unique_lock<std::mutex> lock(mutex_);
            end_.wait(lock, done);
        }
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    }

private:
    // Whether there is one thread more: the system may have no room for it.
    bool start_one() {
        const int thread = started_ + 1;
        const long seen = generation_.load();
        try {
            begin_.reserve(thread);
            auto begin = std::make_unique<std::condition_variable>();
            std::thread([this, thread, seen, wake = begin.get()] { live(thread, seen, *wake); }).detach();
            begin_.push_back(std::move(begin));
        } catch (const std::exception&) {
            return false;
        }
        started_ = thread;
        return true;
    }

    // Threads end with the process: they hold nothing that must be given back. A call that wants fewer threads
    // neither wakes this one nor lets it look for longer.
    [[noreturn]] void live(int thread, long seen, std::condition_variable& wake) {
        const auto begun = [this, &seen, thread] {
            return generation_.load(std::memory_order_acquire) != seen &&
                   thread <= wanted_.load(std::memory_order_relaxed);
        };
        for (;;) {
            if (!spin_until(begun)) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake.wait(lock, begun);
            }
            FloatMode mode;
            {
                std::lock_guard<std::mutex> lock(mutex_);
                if (thread > wanted_.load(std::memory_order_relaxed)) continue;
                seen = generation_.load();
                mode = mode_;
            }
            set_float_mode(mode);
            take(thread);
            if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                std::lock_guard<std::mutex> lock(mutex_);
                end_.notify_one();
            }
        }
    }

    // The first error ends the work of all, and is the caller's.
    void take(int thread) {
        try {
            for (long number; (number = next_.fetch_add(1, std::memory_order_relaxed)) < count_;)
                (*work_)(number, thread);
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex_);
            if (!error_) error_ = std::current_exception();
            next_.store(count_, std::memory_order_relaxed);
        }
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<std::condition_variable>> begin_;  // of each thread
    std::condition_variable end_;
    const std::function<void(long, int)>* work_ = nullptr;
    std::exception_ptr error_;
    long count_ = 0;
    FloatMode mode_ = float_mode();
    int started_ = 0;
    std::atomic<long> next_{0}, generation_{0};
    std::atomic<int> wanted_{0}, busy_{0};
};

std::atomic<Pool*> the_pool{nullptr};

// The parent's threads are not in the child, and its locks may be held by them: the child begins with a new pool.
void forget_pool() { the_pool.store(nullptr); }

Pool* pool() {
    Pool* here = the_pool.load();
    if (here) return here;
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    static_cast<void>(registered);
    Pool* made = new Pool;  // never deleted: its threads may outlive every static object
    if (the_pool.compare_exchange_strong(here, made)) return made;
    delete made;
    return here;
}

}  // namespace

PoolLock::PoolLock() : pool_(pool()) { static_cast<Pool*>(pool_)->in_use.lock(); }
PoolLock::~PoolLock() { static_cast<Pool*>(pool_)->in_use.unlock(); }

int start_threads(int threads) { return pool()->start(threads); }

void parallel_for(int threads, long count, const std::function<void(long, int)>& work) {
    pool()->run(threads, count, work);
}

}  // namespace verydeep
