#include "tools/bench.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "engine/threads.h"

namespace verydeep {
namespace {

constexpr double NOISE = 1.05;  // a share above this is no noise

void print_heading() {
    std::printf("%-24s %-26s %-12s %-9s %10s %9s %-7s %9s %6s\n", "kernel", "shape", "instructions", "precision",
                "us", "rate", "unit", "ceiling", "share");
}

void print(const BenchRow& row) {
    std::printf("%-24s %-26s %-12s %-9s %10.1f %9.1f %-7s %9.1f %5.0f%%%s\n", row.kernel.c_str(),
                row.shape.c_str(), row.instructions.c_str(), row.precision.c_str(), 1e6 * row.seconds,
                1e-9 * row.rate(),
                row.memory                 ? "GB/s"
                : row.precision == "int16" ? "GOP/s"
                                           : "GFLOP/s",
                1e-9 * row.ceiling, 100 * row.share(), row.share() > NOISE ? "  above the ceiling" : "");
    std::fflush(stdout);
}

}  // namespace

bool Bench::begin(Instructions instructions, Precision precision) {
    if (!has(instructions, precision)) return false;
    if (!options_.instructions.empty() && options_.instructions != name_of(instructions)) return false;
    if (rows_.empty()) print_heading();
    instructions_ = instructions;
    precision_ = precision;
    kernels_ = &kernels_for(instructions, precision);
    first_ = rows_.size();
    measure_ceiling();
    return true;
}

void Bench::end() {
    for (std::size_t i = first_; i < rows_.size(); ++i) {
        if (!rows_[i].memory) rows_[i].ceiling = ceiling_;
        print(rows_[i]);
    }
}

int Bench::warn() const {
    int above = 0;
    for (const BenchRow& row : rows_) above += row.share() > NOISE;
    if (above)
        std::printf(
            "WARNING: %d of %zu rows are above 100 %% by more than noise: their ceilings were measured too "
            "low.\n"
            "Run again on a quiet machine.\n",
            above, rows_.size());
    return above;
}

void Bench::write_json(int above) const {
    std::FILE* const file = std::fopen(options_.json.c_str(), "w");
    if (!file) {
        std::perror(options_.json.c_str());
        std::exit(2);
    }
    std::fprintf(file, "{\"above_ceiling\": %d, \"rows\": [", above);
    const char* separator = "\n";
    for (const BenchRow& row : rows_) {
        std::fprintf(
            file,
            "%s  {\"kernel\": \"%s\", \"shape\": \"%s\", \"instructions\": \"%s\", \"precision\": \"%s\", "
            "\"bound\": \"%s\", \"seconds\": %.4g, \"%s_per_second\": %.4g, \"ceiling\": %.4g, \"share\": "
            "%.4f}",
            separator, row.kernel.c_str(), row.shape.c_str(), row.instructions.c_str(), row.precision.c_str(),
            row.memory ? "memory" : "multiplications", row.seconds, row.memory ? "bytes" : "operations",
            row.rate(), row.ceiling, row.share());
        separator = ",\n";
    }
    std::fprintf(file, "\n]}\n");
    std::fclose(file);
}

void Bench::measure_ceiling() {
    const PoolLock lock;
    ceiling_ = std::max(ceiling_of_[kernels_], multiply_add_ceiling(*kernels_, 1, options_.quick ? 5 : 20));
    ceiling_of_[kernels_] = ceiling_;
}

BenchRow Bench::row(const std::string& kernel, const std::string& shape, bool memory, double seconds,
                    double amount) const {
    return {kernel, shape, name_of(instructions_), name_of(precision_), memory, seconds, amount, 0};
}

void Bench::bound_by_multiplications(const std::string& kernel, const std::string& shape, double operations,
                                     const Work& work) {
    if (!wanted(kernel)) return;
    Timer timer(work, trial_seconds());
    for (int i = 0; i < trials(); ++i) timer.trial();
    measure_ceiling();
    rows_.push_back(row(kernel, shape, false, timer.best(), operations));
}

void Bench::bound_by_memory(const std::string& kernel, const std::string& shape, const Traffic& traffic,
                            const Work& work) {
    if (!wanted(kernel)) return;
    Timer timer(work, trial_seconds());
    for (int i = 0; i < trials(); ++i) timer.trial();
    double best = INFINITY;
    for (const long prefetch_bytes : {0L, 1024L, 4096L, 65536L}) {
        const Stream stream(*kernels_, traffic, prefetch_bytes);
        Timer ceiling([&] { stream.run(); }, trial_seconds());
        for (int i = 0; i < trials(); ++i) ceiling.trial(), timer.trial();
        best = std::min(best, ceiling.best());
    }
    rows_.push_back(row(kernel, shape, true, timer.best(), traffic.bytes()));
    rows_.back().ceiling = traffic.bytes() / best;
}

Memory random_floats(long count) {
    std::mt19937 engine(1);
    std::uniform_real_distribution<float> draw(-1, 1);
    Memory memory(static_cast<std::size_t>(count) * sizeof(float) + 4096);
    for (long i = 0; i < count; ++i) memory.floats()[i] = draw(engine);
    return memory;
}

std::string shape_of(const char* name, const char* more) {
    std::string shape = name;
    shape += ' ';
    shape += more;
    return shape;
}

}  // namespace verydeep
