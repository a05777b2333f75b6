// A standalone test of the kernels over random networks and layers, for the sanitizers: `make sanitize`.
//
// Each network is run beside a plain loop in double precision, in every instruction set of this processor, by two
// threads at once.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "engine/network.h"
#include "engine/threads.h"
#include "tools/check_layers.h"

using namespace verydeep;

namespace {

struct Generator {
    std::mt19937 engine;
    int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
    bool one_in(int count) { return between(1, count) == 1; }
    std::vector<float> normal(long count) {
        std::normal_distribution<float> draw;
        std::vector<float> numbers(count);
        for (float& number : numbers) number = draw(engine);
        return numbers;
    }
};

// Maps in double precision, channels first.
struct Exact {
    long batch, channels;
    int height, width;
    std::vector<double> numbers;
    Exact(long batch, long channels, int height, int width)
        : batch(batch),
          channels(channels),
          height(height),
          width(width),
          numbers(batch * channels * height * width) {}
    double& at(long n, long c, int y, int x) { return numbers[((n * channels + c) * height + y) * width + x]; }
    double inside(long n, long c, int y, int x) {
        return y < 0 || x < 0 || y >= height || x >= width ? 0 : at(n, c, y, x);
    }
    // `compute(n, c, y, x)` for each number.
    template <class Compute>
    void fill(Compute compute) {
        for (long n = 0; n < batch; ++n)
            for (long c = 0; c < channels; ++c)
                for (int y = 0; y < height; ++y)
                    for (int x = 0; x < width; ++x) at(n, c, y, x) = compute(n, c, y, x);
    }
};

Exact multiply(Exact& in, const Step& step) {
    const int padding = step.kind == StepKind::convolution ? step.kernel / 2 : 0;
    const int lost = step.kind == StepKind::convolution ? 0 : step.kernel - 1;
    Exact out(in.batch, step.out_channels, in.height - lost, in.width - lost);
    out.fill([&](long n, long o, int y, int x) {
        double sum = step.bias[o];
        for (long c = 0; c < in.channels; ++c)
            for (int i = 0; i < step.kernel; ++i)
                for (int j = 0; j < step.kernel; ++j)
                    sum += in.inside(n, c, y + i - padding, x + j - padding) *
                           step.weights[((o * in.channels + c) * step.kernel + i) * step.kernel + j];
        return step.activation == Activation::relu && sum < 0 ? 0 : sum;
    });
    return out;
}

Exact max_pool(Exact& in) {
    Exact out(in.batch, in.channels, in.height / 2, in.width / 2);
    out.fill([&](long n, long c, int y, int x) {
        return std::max({in.at(n, c, 2 * y, 2 * x), in.at(n, c, 2 * y, 2 * x + 1), in.at(n, c, 2 * y + 1, 2 * x),
                         in.at(n, c, 2 * y + 1, 2 * x + 1)});
    });
    return out;
}

Exact average_pool(Exact& in) {
    Exact out(in.batch, in.channels, in.height / 2, in.width / 2);
    out.fill([&](long n, long c, int y, int x) {
        return (in.at(n, c, 2 * y, 2 * x) + in.at(n, c, 2 * y, 2 * x + 1) + in.at(n, c, 2 * y + 1, 2 * x) +
                in.at(n, c, 2 * y + 1, 2 * x + 1)) /
               4;
    });
    return out;
}

Exact normalize(Exact& in, const ResponseNorm& norm) {
    Exact out(in.batch, in.channels, in.height, in.width);
    out.fill([&](long n, long c, int y, int x) {
        double sum = 0;
        for (long i = c - norm.size / 2; i < c - norm.size / 2 + norm.size; ++i)
            if (i >= 0 && i < in.channels) sum += in.at(n, i, y, x) * in.at(n, i, y, x);
        return in.at(n, c, y, x) / std::pow(norm.k + norm.alpha * sum, norm.beta);
    });
    return out;
}

constexpr float EPSILON = 1e-3f;

// The squared distance of the unit vectors of pairs at each position, weighted.
std::vector<double> distances(Exact& maps, const std::vector<float>& weights) {
    std::vector<double> found;
    for (long n = 0; n + 1 < maps.batch; n += 2)
        for (int y = 0; y < maps.height; ++y)
            for (int x = 0; x < maps.width; ++x) {
                double lengths[2] = {0, 0}, sum = 0;
                for (long c = 0; c < maps.channels; ++c)
                    for (int i = 0; i < 2; ++i) lengths[i] += maps.at(n + i, c, y, x) * maps.at(n + i, c, y, x);
                for (long c = 0; c < maps.channels; ++c) {
                    const double apart = maps.at(n, c, y, x) / (std::sqrt(lengths[0]) + EPSILON) -
                                         maps.at(n + 1, c, y, x) / (std::sqrt(lengths[1]) + EPSILON);
                    sum += weights[c] * apart * apart;
                }
                found.push_back(sum);
            }
    return found;
}

// What a random network is like.
enum class Variety {
    any,
    large,   // enough tiles for conv1_1 to go by strips
    pooled,  // so far that weights are transformed on demand
};

// A random network, its input, and what it gives in double precision.
class RandomNetwork {
public:
    explicit RandomNetwork(Generator& generator) : generator_(generator), exact_(0, 0, 0, 0) {
        const Variety variety = generator.one_in(4)   ? Variety::large
                                : generator.one_in(4) ? Variety::pooled
                                                      : Variety::any;
        add_images(variety);
        for (int i = 0; variety == Variety::pooled && i < 4; ++i) add_pooling();
        const int first = static_cast<int>(steps.size());
        const int depth =
            generator.between(0, 7) ? generator.between(1, 4) : 16;  // so deep that precisions are mixed
        while (static_cast<int>(steps.size()) < first + depth) {
            const bool flat = !steps.empty() && steps.back().kind == StepKind::fully_connected;
            if (!steps.empty() && !flat && generator.one_in(8))
                add_norm();
            else
                add_weighted(variety == Variety::large, flat);
        }
        on_demand = variety == Variety::pooled || generator.between(0, 1);
    }

    Images images() const { return {nullptr, input_.data(), batch, height, width}; }
    Output output() const {
        const Step& last = steps.back();
        const Stage stage = last.activation == Activation::none ? Stage::sums : Stage::activated;
        return {static_cast<int>(steps.size()) - 1, last.max_pool ? Stage::pool : stage};
    }
    Exact& exact() { return exact_; }

    std::vector<Step> steps;
    long in_channels = 3, batch = 1;
    int height = 0, width = 0;
    bool on_demand = false;

private:
    void add_images(Variety variety) {
        in_channels = variety == Variety::large || generator_.between(0, 1) ? 3 : generator_.between(1, 40);
        batch = generator_.between(1, 3);
        const int least = variety == Variety::large ? 20 : variety == Variety::pooled ? 16 : 1;
        const int most = variety == Variety::any ? 30 : 80;
        height = generator_.between(least, most);
        width = generator_.between(least, most);
        input_ = generator_.normal(batch * height * width * in_channels);
        exact_ = Exact(batch, in_channels, height, width);
        exact_.fill([&](long n, long c, int y, int x) {
            return input_[((n * height + y) * width + x) * in_channels + c];
        });
    }

    void add_pooling() {
        const bool average = generator_.between(0, 1);
        exact_ = average ? average_pool(exact_) : max_pool(exact_);
        steps.push_back({average ? StepKind::average_pooling : StepKind::max_pooling});
    }

    void add_norm() {
        Step step{StepKind::response_norm};
        step.norm = {generator_.between(1, MAX_NORM_SIZE), 0.1f, generator_.between(0, 1) ? 0.75f : 0.6f, 1};
        exact_ = normalize(exact_, step.norm);
        steps.push_back(step);
    }

    void add_weighted(bool large, bool flat) {
        const bool connected = flat || (static_cast<int>(steps.size()) > large && generator_.one_in(4));
        Step step{connected ? StepKind::fully_connected : StepKind::convolution};
        step.in_channels = exact_.channels;
        step.kernel = !connected ? (large || generator_.between(0, 3) ? 3 : 1)
                      : flat     ? 1
                                 : generator_.between(1, std::min({4, exact_.height, exact_.width}));
        step.out_channels = generator_.between(1, large ? 20 : 70);
        const long positions = exact_.batch * (exact_.height - step.kernel + 1) * (exact_.width - step.kernel + 1);
        if (connected && positions <= 60 && step.inputs() >= 512)  // so large that weights have 20 bits
            step.out_channels = (1L << 20) / step.inputs() + generator_.between(1, 70);
        step.activation = static_cast<Activation>(generator_.between(0, 1));
        step.max_pool = !connected && exact_.height > 1 && exact_.width > 1 && generator_.between(0, 1);
        arrays_.push_back(generator_.normal(step.out_channels * step.inputs()));
        for (float& weight : arrays_.back()) weight /= std::sqrt(float(step.in_channels)) * step.kernel;
        step.weights = arrays_.back().data();
        arrays_.push_back(generator_.normal(step.out_channels));
        step.bias = arrays_.back().data();
        exact_ = multiply(exact_, step);
        if (step.max_pool) exact_ = max_pool(exact_);
        steps.push_back(step);
    }

    Generator& generator_;
    std::vector<float> input_;
    Exact exact_;
    std::deque<std::vector<float>> arrays_;
};

bool check_comparison(Network& network, RandomNetwork& wanted) {
    Exact& exact = wanted.exact();
    std::vector<float> weights(blocks_of(exact.channels) * BLOCK, 0.0f);
    std::fill(weights.begin(), weights.begin() + exact.channels, 1 / float(exact.channels));
    const Comparison comparison{{weights.data()}, EPSILON};
    std::vector<float> found(std::size_t(exact.height) * exact.width);
    network.run(wanted.images(), {wanted.output()}, {found.data()}, &comparison);
    const std::vector<double> right = distances(exact, weights);
    return std::equal(found.begin(), found.end(), right.begin(),
                      [](float one, double other) { return std::abs(one - other) < 1e-3; });
}

bool check(Generator& generator, Instructions instructions, Precision precision) {
    RandomNetwork random(generator);
    NetworkOptions options;
    options.in_channels = random.in_channels;
    options.levels.resize(768);
    options.instructions = instructions;
    options.precision = precision;
    options.threads = generator.between(1, 4);
    options.on_demand = random.on_demand;
    Network network(random.steps, options);
    const std::vector<double>& exact = random.exact().numbers;
    std::vector<float> found(exact.size()), other(exact.size());
    // Two threads call one network at once: one has to wait.
    std::thread second([&] { network.run(random.images(), {random.output()}, {other.data()}); });
    network.run(random.images(), {random.output()}, {found.data()});
    second.join();
    bool right = found == other;
    double squared = 0;
    for (std::size_t i = 0; i < found.size(); ++i) squared += (found[i] - exact[i]) * (found[i] - exact[i]);
    if (random.batch == 2 && random.steps.back().kind == StepKind::convolution && precision == Precision::float32)
        right = right && check_comparison(network, random);
    const double error = std::sqrt(squared / double(found.size()));
    right = right && error < (precision == Precision::float32 ? 1e-5 : 4e-2);
    if (!right)
        std::fprintf(stderr, "%s in %s: %ld x %ld x %d x %d, %zu steps: error %g\n", name_of(instructions),
                     name_of(precision), random.batch, random.in_channels, random.height, random.width,
                     random.steps.size(), error);
    return right;
}

// The work's first error is the caller's, whichever thread it is of, and the threads go on.
bool check_errors() {
    const PoolLock lock;
    for (long wrong = 0; wrong < 200; ++wrong) {
        std::atomic<long> done{0};
        bool raised = false;
        try {
            parallel_for(4, 200, [&](long number, int) {
                if (number >= wrong) throw std::bad_alloc();
                ++done;
            });
        } catch (const std::bad_alloc&) {
            raised = true;
        }
        if (!raised || done != wrong) return false;
        done = 0;
        parallel_for(4, 200, [&](long, int) { ++done; });
        if (done != 200) return false;
    }
    return true;
}

struct LayerCheck {
    const char* name;
    bool (*check)(std::mt19937&, Instructions);
};
constexpr LayerCheck LAYER_CHECKS[] = {
    {"convolutions", check_convolution}, {"normalised convolutions", check_normalized_convolution},
    {"batch norms", check_batch_norm},   {"poolings", check_poolings},
    {"distances", check_distances},      {"Gram matrices", check_grams}};

}  // namespace

int main(int count, char** words) {
    const int networks = count > 1 ? std::atoi(words[1]) : 40;
    int wrong = !check_errors() + !check_buffers();
    for (const Instructions instructions : available_instructions()) {
        const int layers = 4 * networks;
        for (const auto& [name, check_one] : LAYER_CHECKS) {
            std::mt19937 engine(1);
            for (int i = 0; i < layers; ++i) wrong += !check_one(engine, instructions);
            std::printf("%s: %d %s with gradients\n", name_of(instructions), layers, name);
        }
        for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::int16}) {
            if (!has(instructions, precision)) continue;
            Generator generator{std::mt19937(1)};
            for (int i = 0; i < networks; ++i) wrong += !check(generator, instructions, precision);
            std::printf("%s in %s: %d networks\n", name_of(instructions), name_of(precision), networks);
        }
    }
    return wrong > 0;
}
