// A standalone test of the kernels over random shapes, for the sanitizers: `make sanitize`.
//
// Each network is run beside a plain loop in double precision, in every instruction set of this processor, by several
// threads at once.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "network.h"

using namespace verydeep;

namespace {

struct Generator {
    std::mt19937 engine;
    int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
    std::vector<float> normal(long count) {
        std::normal_distribution<float> draw;
        std::vector<float> numbers(count);
        for (float& number : numbers) number = draw(engine);
        return numbers;
    }
};

// Channels first, in double precision.
struct Exact {
    long batch, channels;
    int height, width;
    std::vector<double> numbers;
    Exact(long batch, long channels, int height, int width)
        : batch(batch), channels(channels), height(height), width(width), numbers(batch * channels * height * width) {}
    double& at(long n, long c, int y, int x) { return numbers[((n * channels + c) * height + y) * width + x]; }
    double inside(long n, long c, int y, int x) {
        return y < 0 || x < 0 || y >= height || x >= width ? 0 : at(n, c, y, x);
    }
};

Exact convolve(Exact& in, const StepDescription& step) {
    const int padding = step.kind == Kind::convolution ? step.kernel / 2 : 0;
    const int less = step.kind == Kind::convolution ? 0 : step.kernel - 1;
    Exact out(in.batch, step.out_channels, in.height - less, in.width - less);
    for (long n = 0; n < out.batch; ++n)
        for (long o = 0; o < out.channels; ++o)
            for (int y = 0; y < out.height; ++y)
                for (int x = 0; x < out.width; ++x) {
                    double sum = step.bias[o];
                    for (long c = 0; c < in.channels; ++c)
                        for (int i = 0; i < step.kernel; ++i)
                            for (int j = 0; j < step.kernel; ++j)
                                sum += in.inside(n, c, y + i - padding, x + j - padding) *
                                       step.weights[((o * in.channels + c) * step.kernel + i) * step.kernel + j];
                    out.at(n, o, y, x) = step.relu && sum < 0 ? 0 : sum;
                }
    return out;
}

Exact halve(Exact& in) {
    Exact out(in.batch, in.channels, in.height / 2, in.width / 2);
    for (long n = 0; n < out.batch; ++n)
        for (long c = 0; c < out.channels; ++c)
            for (int y = 0; y < out.height; ++y)
                for (int x = 0; x < out.width; ++x)
                    out.at(n, c, y, x) = std::max(std::max(in.at(n, c, 2 * y, 2 * x), in.at(n, c, 2 * y, 2 * x + 1)),
                                                  std::max(in.at(n, c, 2 * y + 1, 2 * x), in.at(n, c, 2 * y + 1, 2 * x + 1)));
    return out;
}

Exact normalize(Exact& in, const StepDescription& step) {
    Exact out(in.batch, in.channels, in.height, in.width);
    for (long n = 0; n < out.batch; ++n)
        for (long c = 0; c < out.channels; ++c)
            for (int y = 0; y < out.height; ++y)
                for (int x = 0; x < out.width; ++x) {
                    double sum = 0;
                    for (long i = c - step.size / 2; i < c - step.size / 2 + step.size; ++i)
                        if (i >= 0 && i < in.channels) sum += in.at(n, i, y, x) * in.at(n, i, y, x);
                    out.at(n, c, y, x) = in.at(n, c, y, x) / std::pow(step.k + step.alpha * sum, step.beta);
                }
    return out;
}

// The squared distance of the unit vectors of two pictures at each place, weighted.
std::vector<double> distances(Exact& maps, const std::vector<float>& weights) {
    std::vector<double> found;
    for (long n = 0; n + 1 < maps.batch; n += 2)
        for (int y = 0; y < maps.height; ++y)
            for (int x = 0; x < maps.width; ++x) {
                double lengths[2] = {0, 0}, sum = 0;
                for (long c = 0; c < maps.channels; ++c)
                    for (int i = 0; i < 2; ++i) lengths[i] += maps.at(n + i, c, y, x) * maps.at(n + i, c, y, x);
                for (long c = 0; c < maps.channels; ++c) {
                    const double apart = maps.at(n, c, y, x) / (std::sqrt(lengths[0]) + 1e-3) -
                                         maps.at(n + 1, c, y, x) / (std::sqrt(lengths[1]) + 1e-3);
                    sum += weights[c] * apart * apart;
                }
                found.push_back(sum);
            }
    return found;
}

bool check(Generator& generator, Instructions instructions, Precision precision) {
    std::vector<StepDescription> steps;
    std::vector<std::vector<float>> kept;
    const bool large = generator.between(0, 3) == 0;  // enough tiles for conv1_1 to go by strips
    const bool picture = large || generator.between(0, 1);
    const long in_channels = picture ? 3 : generator.between(1, 40);
    const long batch = generator.between(1, 3);
    const bool pooled = !large && generator.between(0, 3) == 0;  // so far that weights are transformed on demand
    const int least = large ? 20 : pooled ? 16 : 1, most = large || pooled ? 80 : 30;
    const int height = generator.between(least, most), width = generator.between(least, most);
    const std::vector<float> numbers = generator.normal(batch * height * width * in_channels);
    Exact exact(batch, in_channels, height, width);
    for (long n = 0; n < batch; ++n)
        for (long c = 0; c < in_channels; ++c)
            for (int y = 0; y < height; ++y)
                for (int x = 0; x < width; ++x)
                    exact.at(n, c, y, x) = numbers[((n * height + y) * width + x) * in_channels + c];
    for (int i = 0; pooled && i < 4; ++i) {
        StepDescription step{};
        step.kind = Kind::max_pooling;
        exact = halve(exact);
        steps.push_back(step);
    }
    const int before = static_cast<int>(steps.size());
    const int depth = before + (generator.between(0, 7) ? generator.between(1, 4) : 16);  // so deep that precisions are mixed
    for (int i = before; i < depth; ++i) {
        StepDescription step{};
        if (!steps.empty() && steps.back().kind != Kind::fully_connected && generator.between(0, 7) == 0) {
            step.kind = Kind::normalization;
            step.size = generator.between(1, MOST_NEAR);
            step.alpha = 0.1f;
            step.beta = generator.between(0, 1) ? 0.75f : 0.6f;
            step.k = 1;
            exact = normalize(exact, step);
            steps.push_back(step);
            continue;
        }
        const bool connected = (!steps.empty() && steps.back().kind == Kind::fully_connected) ||
                               (i > large && generator.between(0, 3) == 0);
        step.kind = connected ? Kind::fully_connected : Kind::convolution;
        step.in_channels = exact.channels;
        step.out_channels = generator.between(1, large ? 20 : 70);
        const bool first = steps.empty() || steps.back().kind != Kind::fully_connected;
        step.kernel = !connected ? (large || generator.between(0, 3) ? 3 : 1)
                      : first    ? generator.between(1, std::min({4, exact.height, exact.width}))
                                 : 1;
        const long places = exact.batch * (exact.height - step.kernel + 1) * (exact.width - step.kernel + 1);
        const long sum = step.in_channels * step.kernel * step.kernel;
        if (connected && places <= 60 && sum >= 512)  // so large that weights have 20 bits
            step.out_channels = (1L << 20) / sum + generator.between(1, 70);
        step.relu = generator.between(0, 1);
        step.pool = !connected && exact.height > 1 && exact.width > 1 && generator.between(0, 1);
        kept.push_back(generator.normal(step.out_channels * step.in_channels * step.kernel * step.kernel));
        for (float& weight : kept.back()) weight /= std::sqrt(float(step.in_channels)) * step.kernel;
        step.weights = kept.back().data();
        kept.push_back(generator.normal(step.out_channels));
        step.bias = kept.back().data();
        exact = convolve(exact, step);
        if (step.pool) exact = halve(exact);
        steps.push_back(step);
    }
    Network network(steps, in_channels, std::vector<float>(768), false, instructions, precision, generator.between(1, 4),
                    pooled || generator.between(0, 1));
    const StepDescription& last = steps.back();
    const Output output{depth - 1, last.pool ? Stage::pool : last.relu ? Stage::relu : Stage::sums};
    std::vector<float> found(exact.numbers.size());
    bool right = true;
    // Two threads call one network at once: they have to take turns.
    std::vector<float> other(found.size());
    std::thread second([&] { network.run({nullptr, numbers.data()}, batch, height, width, {output}, {other.data()}); });
    network.run({nullptr, numbers.data()}, batch, height, width, {output}, {found.data()});
    second.join();
    double squared = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        squared += (found[i] - exact.numbers[i]) * (found[i] - exact.numbers[i]);
        right = right && found[i] == other[i];
    }
    if (exact.batch == 2 && last.kind == Kind::convolution && precision == Precision::float32) {
        std::vector<float> weights(blocks_of(exact.channels) * CHANNELS, 0.0f);
        std::fill(weights.begin(), weights.begin() + exact.channels, 1 / float(exact.channels));
        const Comparison comparison{{weights.data()}, 1e-3f};
        std::vector<float> apart(std::size_t(exact.height) * exact.width);
        network.run({nullptr, numbers.data()}, batch, height, width, {output}, {apart.data()}, &comparison);
        const std::vector<double> wanted = distances(exact, weights);
        for (std::size_t i = 0; i < apart.size(); ++i)
            right = right && std::abs(apart[i] - wanted[i]) < 1e-3;
    }
    const double error = std::sqrt(squared / double(found.size()));
    right = right && error < (precision == Precision::float32 ? 1e-5 : 4e-2);
    if (!right)
        std::fprintf(stderr, "%s in %s: %ld x %ld x %d x %d, %d steps: error %g\n", name_of(instructions),
                     name_of(precision), batch, in_channels, height, width, depth, error);
    return right;
}

}  // namespace

int main(int count, char** words) {
    const int networks = count > 1 ? std::atoi(words[1]) : 40;
    int wrong = 0;
    for (const Instructions instructions : available_instructions())
        for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::int16}) {
            if (!has(instructions, precision)) continue;
            Generator generator{std::mt19937(1)};
            for (int i = 0; i < networks; ++i) wrong += !check(generator, instructions, precision);
            std::printf("%s in %s: %d networks\n", name_of(instructions), name_of(precision), networks);
        }
    return wrong > 0;
}
