// How bench_kernels measures: best times, and the memory ceiling of the same reads and writes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>

#include "engine/ceiling.h"
#include "engine/layout.h"
#include "engine/memory.h"
#include "kernels/kernels.h"

namespace verydeep {

using Work = std::function<void()>;

// Takes the best time of some work. Trials of several works may alternate, so that a machine that slows down slows
// them all.
class Timer {
public:
    explicit Timer(Work work, double trial_seconds) : work_(std::move(work)) {
        work_();  // touches all memory
        double seconds = run();
        while (seconds < trial_seconds / 2) {
            repetitions_ = seconds > 0
                               ? static_cast<long>(repetitions_ * std::clamp(trial_seconds / seconds, 2.0, 100.0))
                               : 10 * repetitions_;
            seconds = run();
        }
    }

    void trial() { best_ = std::min(best_, run() / repetitions_); }
    double best() const { return best_; }

private:
    double run() const {
        const double start = thread_seconds();
        for (long i = 0; i < repetitions_; ++i) work_();
        return thread_seconds() - start;
    }

    Work work_;
    long repetitions_ = 1;
    double best_ = std::numeric_limits<double>::infinity();
};

// Bytes that a kernel reads and writes, in so many turns. Where the same memory is read or written in each turn,
// its footprint is that of a turn.
struct Traffic {
    long read, written;
    long turns = 1;
    bool read_again = false, write_again = false;
    bool in_place = false;  // what is read is written
    long also_read = 0;     // beside what is read again: of its own memory for each turn
    double bytes() const { return static_cast<double>(read + written + also_read); }
};

// The same bytes, read and written by loops of nothing else.
class Stream {
public:
    Stream(const Kernels& kernels, const Traffic& traffic, long prefetch_bytes)
        : kernels_(kernels),
          traffic_(traffic),
          prefetch_bytes_(prefetch_bytes),
          read_(footprint(traffic.read, traffic.read_again)),
          written_(footprint(traffic.written, traffic.write_again)),
          also_read_(footprint(traffic.also_read, false)) {}

    void run() const {
        const long read = each(traffic_.read), written = each(traffic_.written),
                   also_read = each(traffic_.also_read);
        for (long turn = 0; turn < traffic_.turns; ++turn) {
            const float* const from = read_.floats() + (traffic_.read_again ? 0 : turn * read);
            float* const to = traffic_.in_place ? read_.floats() + turn * read
                                                : written_.floats() + (traffic_.write_again ? 0 : turn * written);
            // A few pages of each in turns, as a kernel does.
            const long pieces = std::max(1L, std::max(read, written) / 4096);
            for (long piece = 0; piece < pieces; ++piece) {
                kernels_.stream_memory({from + part(read, piece, pieces), size(read, piece, pieces),
                                        to + part(written, piece, pieces), size(written, piece, pieces),
                                        prefetch_bytes_});
                if (also_read > 0)
                    kernels_.stream_memory(
                        {also_read_.floats() + turn * also_read + part(also_read, piece, pieces),
                         size(also_read, piece, pieces), to, 0, prefetch_bytes_});
            }
        }
    }

private:
    // Floats of a turn; rounded up, lest a ceiling be above what was measured.
    long each(long bytes) const { return round_up(ceil_div(ceil_div(bytes, 4L), traffic_.turns), 128L); }
    Memory footprint(long bytes, bool again) const {
        return Memory(static_cast<std::size_t>(each(bytes) * (again ? 1 : traffic_.turns) * 4 + 4096));
    }
    // In whole steps of the loop.
    static long part(long floats, long piece, long pieces) { return floats / 128 * piece / pieces * 128; }
    static long size(long floats, long piece, long pieces) {
        return part(floats, piece + 1, pieces) - part(floats, piece, pieces);
    }

    const Kernels& kernels_;
    const Traffic traffic_;
    const long prefetch_bytes_;
    Memory read_, written_, also_read_;
};

}  // namespace verydeep
