// What bench_kernels has of a machine: rows of kernels and their ceilings; and the layers that it measures.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/instructions.h"
#include "engine/planning.h"
#include "kernels/gradient_kernels.h"
#include "tools/measure.h"

namespace verydeep {

struct BenchOptions {
    std::string json, instructions, kernel;
    bool quick = false;
};

struct BenchRow {
    std::string kernel, shape, instructions, precision;
    bool memory;             // what bounds it; else multiplications
    double seconds, amount;  // operations or bytes
    double ceiling;          // of them a second; of multiplications it is filled in at the end
    double rate() const { return amount / seconds; }
    double share() const { return rate() / ceiling; }
};

// Measures kernels one after the other, each beside its ceiling.
class Bench {
public:
    explicit Bench(const BenchOptions& options) : options_(options) {}

    // Calls `measure(*this)` for each instruction set and precision of this processor, and prints its rows.
    template <class Measure>
    void for_each_kernels(Measure measure) {
        for (const Instructions one : available_instructions())
            for (const Precision type : {Precision::float32, Precision::bfloat16, Precision::int16})
                if (begin(one, type)) {
                    measure(*this);
                    end();
                }
    }

    // How many rows are above their ceilings, which is warned of.
    int warn() const;
    void write_json(int above) const;

    // Of the kernels that are measured now.
    const Kernels& kernels() const { return *kernels_; }
    Instructions instructions() const { return instructions_; }
    Precision precision() const { return precision_; }

    // The ceiling is measured again beside each kernel, as the clock frequency changes, and the best of all
    // counts.
    void bound_by_multiplications(const std::string& kernel, const std::string& shape, double operations,
                                  const Work& work);
    // Its ceiling is the best of streams that prefetch at several distances.
    void bound_by_memory(const std::string& kernel, const std::string& shape, const Traffic& traffic,
                         const Work& work);

private:
    double trial_seconds() const { return options_.quick ? 1e-3 : 8e-3; }
    int trials() const { return options_.quick ? 3 : 8; }
    bool wanted(const std::string& kernel) const { return kernel.find(options_.kernel) != std::string::npos; }
    bool begin(Instructions instructions, Precision precision);
    void end();
    void measure_ceiling();
    BenchRow row(const std::string& kernel, const std::string& shape, bool memory, double seconds,
                 double amount) const;

    const BenchOptions options_;
    Instructions instructions_ = Instructions::portable;
    Precision precision_ = Precision::float32;
    const Kernels* kernels_ = nullptr;
    std::size_t first_ = 0;  // row of these kernels
    double ceiling_ = 0;
    std::map<const Kernels*, double> ceiling_of_;
    std::vector<BenchRow> rows_;
};

Memory random_floats(long count);

// A name, and what else tells one row from others.
std::string shape_of(const char* name, const char* more);

// A 3x3 convolution of some images.
struct Layer {
    const char* name;
    long in_channels, out_channels;
    int side;
    bool max_pool;
    long images;
};

// conv1_2 to conv5_1 of D; those that are left out have the shape of one that is there.
inline const std::vector<Layer> LAYERS = {
    {"D 224 conv1_2", 64, 64, 224, true, 1},        {"D 224 conv2_1", 64, 128, 112, false, 1},
    {"D 224 conv2_2", 128, 128, 112, true, 1},      {"D 224 conv3_1", 128, 256, 56, false, 1},
    {"D 224 conv3_2", 256, 256, 56, false, 1},      {"D 224 conv4_1", 256, 512, 28, false, 1},
    {"D 224 conv4_2", 512, 512, 28, false, 1},      {"D 224 conv5_1", 512, 512, 14, false, 1},
    {"D/4 64 b16 conv1_2", 16, 16, 64, true, 16},   {"D/4 64 b16 conv2_2", 32, 32, 32, true, 16},
    {"D/4 64 b16 conv3_2", 64, 64, 16, false, 16},  {"D/4 64 b16 conv4_2", 128, 128, 8, false, 16},
    {"D/4 64 b16 conv5_1", 128, 128, 4, false, 16}, {"D/4 32 b16 conv1_2", 16, 16, 32, true, 16},
    {"D/4 32 b16 conv2_2", 32, 32, 16, true, 16},   {"D/4 32 b16 conv3_2", 64, 64, 8, false, 16},
    {"D/4 32 b16 conv4_2", 128, 128, 4, false, 16}, {"D/4 32 b16 conv5_1", 128, 128, 2, false, 16},
};

// Maps that are pooled, of `in_channels`.
inline const std::vector<Layer> POOLINGS = {{"D 224 pool1", 64, 64, 224, true, 1},
                                            {"D 224 pool5", 512, 512, 14, true, 1},
                                            {"D/4 64 b16 pool1", 16, 16, 64, true, 16}};

// Adds the rows of the kernels that go backwards.
void bench_gradients(Bench& bench);

}  // namespace verydeep
