// Layers without weights, and the memory of maps.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "layers/buffers.h"
#include "tools/check_layers.h"
#include "tools/random_maps.h"

namespace verydeep {
namespace {

// Small integers: many of a window are equal, and all sums and quarters are exact.
std::vector<float> integers(std::mt19937& engine, long count) {
    std::vector<float> numbers(count);
    for (float& number : numbers) number = static_cast<float>(between(engine, -3, 3));
    return numbers;
}

struct Poolings {
    std::vector<float> greatest, to_greatest, added, mean, to_mean, to_rectified;
    std::vector<int> argmax;
    bool padded = true;
    bool operator==(const Poolings&) const = default;
};

// What is pooled, gradients at what comes out, and what a gradient is added to.
struct PoolingLayer {
    long images;
    Shape in, out;
    std::vector<float> x, slope, before;

    explicit PoolingLayer(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          in{between(engine, 1, 50), between(engine, 2, 18), between(engine, 2, 18)},
          out(pooled(in)),
          x(integers(engine, numbers_of(images, in))),
          slope(integers(engine, numbers_of(images, out))),
          before(integers(engine, numbers_of(images, in))) {}
};

Poolings run(const Processor& processor, PoolingLayer& layer) {
    const PoolLock lock;
    const auto packed = [&](std::vector<float>& tensor, const Shape& shape) {
        return HeapMaps(processor, tensor, layer.images, shape);
    };
    // Gradients are written over what was there before, all of them.
    HeapMaps x = packed(layer.x, layer.in), slope = packed(layer.slope, layer.out);
    HeapMaps greatest(layer.images, layer.out), mean(layer.images, layer.out);
    HeapMaps added = packed(layer.before, layer.in), to_greatest = packed(layer.before, layer.in);
    HeapMaps to_mean = packed(layer.before, layer.in), to_rectified = packed(layer.before, layer.in);
    HeapArgmax argmax(layer.images, layer.out, true);
    max_pool(processor, x.maps(), greatest.maps(), argmax.data());
    max_pool_gradient(processor, {slope.maps(), argmax.data()}, to_greatest.maps());
    max_pool_gradient(processor, {slope.maps(), argmax.data()}, added.maps(), true);
    average_pool(processor, x.maps(), mean.maps());
    average_pool_gradient(processor, slope.maps(), nullptr, to_mean.maps());
    average_pool_gradient(processor, slope.maps(), x.data(), to_rectified.maps());
    Poolings found;
    found.padded = true;
    for (HeapMaps* const maps : {&greatest, &mean, &added, &to_greatest, &to_mean, &to_rectified})
        found.padded = found.padded && maps->padded_with_zeros();
    found.greatest = greatest.unpack(processor);
    found.to_greatest = to_greatest.unpack(processor);
    found.added = added.unpack(processor);
    found.mean = mean.unpack(processor);
    found.to_mean = to_mean.unpack(processor);
    found.to_rectified = to_rectified.unpack(processor);
    found.argmax = argmax.places();
    return found;
}

Poolings exact(const PoolingLayer& layer) {
    Poolings right;
    for (std::vector<float>* const numbers : {&right.greatest, &right.mean}) numbers->resize(layer.slope.size());
    for (std::vector<float>* const numbers : {&right.to_greatest, &right.to_mean, &right.to_rectified})
        numbers->resize(layer.x.size());
    right.argmax.resize(layer.slope.size());
    right.added = layer.before;
    for_each_number(layer.images, layer.out, [&](long n, long c, int y, int x) {
        const long at = index_of(layer.out, n, c, y, x);
        long first = 0;
        for (int place = 0; place < 4; ++place) {
            const long from = index_of(layer.in, n, c, 2 * y + place / 2, 2 * x + place % 2);
            if (place == 0 || layer.x[from] > right.greatest[at]) {
                right.greatest[at] = layer.x[from];
                right.argmax[at] = place;
                first = from;
            }
            right.mean[at] += layer.x[from] / 4;
            right.to_mean[from] = layer.slope[at] / 4;
            right.to_rectified[from] = layer.x[from] > 0 ? layer.slope[at] / 4 : 0;
        }
        right.to_greatest[first] = layer.slope[at];
        right.added[first] += layer.slope[at];
    });
    return right;
}

// Distances of the unit vectors at each position, and their gradients.
struct DistanceLayer {
    long images;
    Shape shape;
    bool masked;
    float epsilon = 1e-3f;
    std::vector<float> first, second, weights, slope;

    explicit DistanceLayer(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          shape{between(engine, 1, 70), between(engine, 1, 14), between(engine, 1, 14)},
          masked(between(engine, 0, 1)),
          first(normal(engine, numbers_of(images, shape))),
          second(normal(engine, numbers_of(images, shape))),
          weights(normal(engine, shape.channels)),
          slope(normal(engine, images * shape.height * shape.width)) {
        weights.resize(round_up(shape.channels, long{BLOCK}));
        // Behind a ReLU there are zeros, where there are few channels whole vectors of them.
        for (std::vector<float>* const maps : {&first, &second})
            for (float& number : *maps) number = masked ? std::max(number, 0.0f) : number;
    }
};

struct Distances {
    std::vector<float> distances, to_first, to_second;
    bool padded = true;
    bool operator==(const Distances&) const = default;
};

Distances run(const Processor& processor, DistanceLayer& layer) {
    const PoolLock lock;
    HeapMaps first(processor, layer.first, layer.images, layer.shape);
    HeapMaps second(processor, layer.second, layer.images, layer.shape);
    HeapMaps to_first(layer.images, layer.shape), to_second(layer.images, layer.shape);
    Distances found;
    found.distances.resize(layer.slope.size());
    unit_distances(processor, first.maps(), second.maps(), layer.weights.data(), layer.epsilon,
                   found.distances.data());
    unit_distance_gradients(processor, first.maps(), second.maps(), layer.weights.data(), layer.epsilon,
                            {layer.slope.data(), layer.masked, to_first.data(), to_second.data()});
    found.padded = to_first.padded_with_zeros() && to_second.padded_with_zeros();
    found.to_first = to_first.unpack(processor);
    found.to_second = to_second.unpack(processor);
    return found;
}

// The two terms of a gradient may cancel: `terms` are the first ones.
struct ExactDistances {
    Doubles distances, to_first, to_second, distance_terms, first_terms, second_terms;
};

ExactDistances exact(const DistanceLayer& layer) {
    const Shape& shape = layer.shape;
    ExactDistances right;
    right.distances.resize(layer.slope.size());
    right.distance_terms.resize(layer.slope.size());
    for (Doubles* const numbers : {&right.to_first, &right.to_second, &right.first_terms, &right.second_terms})
        numbers->resize(layer.first.size());
    for_each_number(layer.images, {1, shape.height, shape.width}, [&](long n, long, int y, int x) {
        const long at = (n * shape.height + y) * shape.width + x;
        const auto index = [&](long c) { return index_of(shape, n, c, y, x); };
        double lengths[2] = {0, 0};
        for (long c = 0; c < shape.channels; ++c) {
            lengths[0] += std::pow(static_cast<double>(layer.first[index(c)]), 2);
            lengths[1] += std::pow(static_cast<double>(layer.second[index(c)]), 2);
        }
        for (double& length : lengths) length = std::sqrt(length);
        const auto difference = [&](long c) {
            return layer.first[index(c)] / (lengths[0] + layer.epsilon) -
                   layer.second[index(c)] / (lengths[1] + layer.epsilon);
        };
        double along[2] = {0, 0};
        for (long c = 0; c < shape.channels; ++c) {
            const double square = layer.weights[c] * difference(c) * difference(c);
            right.distances[at] += square;
            right.distance_terms[at] += std::abs(square);
            along[0] += 2 * layer.weights[c] * difference(c) * layer.first[index(c)];
            along[1] -= 2 * layer.weights[c] * difference(c) * layer.second[index(c)];
        }
        const auto gradient = [&](int side, const std::vector<float>& maps, Doubles& to, Doubles& terms) {
            const double length = lengths[side], whole = length + layer.epsilon;
            for (long c = 0; c < shape.channels; ++c) {
                const double number = maps[index(c)], sign = side == 0 ? 1 : -1;
                const double toward = sign * 2 * layer.weights[c] * difference(c) / whole;
                const double less = length > 0 ? number * along[side] / (length * whole * whole) : 0;
                terms[index(c)] = layer.slope[at] * toward;
                to[index(c)] = layer.masked && number <= 0 ? 0 : layer.slope[at] * (toward - less);
            }
        };
        gradient(0, layer.first, right.to_first, right.first_terms);
        gradient(1, layer.second, right.to_second, right.second_terms);
    });
    return right;
}

// Gram matrices, and what a symmetric gradient at them is at the maps.
struct GramLayer {
    long images;
    Shape shape;
    bool masked;
    std::vector<float> x, slope;

    explicit GramLayer(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          shape(random_shape(engine)),
          masked(between(engine, 0, 1)),
          x(normal(engine, numbers_of(images, shape))),
          slope(normal(engine, images * shape.channels * shape.channels)) {
        for (long image = 0; image < images; ++image)
            for (long row = 0; row < shape.channels; ++row)
                for (long column = 0; column < row; ++column)
                    slope[at(image, row, column)] = slope[at(image, column, row)];
    }
    // One in eight has more places than are summed up at once.
    static Shape random_shape(std::mt19937& engine) {
        if (between(engine, 0, 7)) return {between(engine, 1, 70), between(engine, 1, 18), between(engine, 1, 40)};
        return {between(engine, 1, 20), between(engine, 45, 70), between(engine, 46, 60)};
    }
    long at(long image, long row, long column) const {
        return (image * shape.channels + row) * shape.channels + column;
    }
};

struct Grams {
    std::vector<float> matrices, to_x;
    bool padded = true;
    bool operator==(const Grams&) const = default;
};

Grams run(const Processor& processor, GramLayer& layer) {
    const PoolLock lock;
    HeapMaps x(processor, layer.x, layer.images, layer.shape), to_x(layer.images, layer.shape);
    Grams found;
    found.matrices.resize(layer.slope.size());
    gram_matrices(processor, x.maps(), found.matrices.data());
    gram_gradient(processor, x.maps(), layer.slope.data(), layer.masked, to_x.maps());
    found.padded = to_x.padded_with_zeros();
    found.to_x = to_x.unpack(processor);
    return found;
}

// Sums of products may cancel: `terms` are of their magnitudes.
struct ExactGrams {
    Doubles matrices, terms, to_x;
};

ExactGrams exact(const GramLayer& layer) {
    const Shape& shape = layer.shape;
    ExactGrams right{Doubles(layer.slope.size()), Doubles(layer.slope.size()), Doubles(layer.x.size())};
    for_each_number(layer.images, shape, [&](long n, long row, int y, int x) {
        const long here = index_of(shape, n, row, y, x);
        for (long column = 0; column < shape.channels; ++column) {
            const double other = layer.x[index_of(shape, n, column, y, x)], product = layer.x[here] * other;
            right.matrices[layer.at(n, row, column)] += product;
            right.terms[layer.at(n, row, column)] += std::abs(product);
            if (!layer.masked || layer.x[here] > 0)
                right.to_x[here] += layer.slope[layer.at(n, row, column)] * other;
        }
    });
    return right;
}

}  // namespace

bool check_poolings(std::mt19937& engine, Instructions instructions) {
    PoolingLayer layer(engine);
    const Poolings found = run(processor_of(instructions, between(engine, 1, 4)), layer);
    const bool same_bits = found == run(processor_of(instructions, between(engine, 1, 4)), layer);
    const bool fine = same_bits && found == exact(layer);
    if (!fine)
        std::fprintf(stderr, "%s: poolings of %ld images, %ld channels, %d x %d: wrong%s%s\n",
                     name_of(instructions), layer.images, layer.in.channels, layer.in.height, layer.in.width,
                     same_bits ? "" : ", other bits with another number of threads",
                     found.padded ? "" : ", not padded with zeros");
    return fine;
}

bool check_distances(std::mt19937& engine, Instructions instructions) {
    DistanceLayer layer(engine);
    const Distances found = run(processor_of(instructions, between(engine, 1, 4)), layer);
    const bool same_bits = found == run(processor_of(instructions, between(engine, 1, 4)), layer);
    const ExactDistances right = exact(layer);
    const double errors[3] = {error(found.distances, right.distances, right.distance_terms),
                              error(found.to_first, right.to_first, right.first_terms),
                              error(found.to_second, right.to_second, right.second_terms)};
    const bool fine =
        same_bits && found.padded && std::all_of(errors, errors + 3, [](double one) { return one < 1e-5; });
    if (!fine)
        std::fprintf(stderr, "%s: distances of %ld images, %ld channels, %d x %d%s: errors %g, %g, %g%s%s\n",
                     name_of(instructions), layer.images, layer.shape.channels, layer.shape.height,
                     layer.shape.width, layer.masked ? ", masked" : "", errors[0], errors[1], errors[2],
                     same_bits ? "" : ", other bits with another number of threads",
                     found.padded ? "" : ", not padded with zeros");
    return fine;
}

bool check_grams(std::mt19937& engine, Instructions instructions) {
    GramLayer layer(engine);
    const Grams found = run(processor_of(instructions, between(engine, 1, 4)), layer);
    const bool same_bits = found == run(processor_of(instructions, between(engine, 1, 4)), layer);
    const ExactGrams right = exact(layer);
    const double errors[2] = {error(found.matrices, right.matrices, right.terms), error(found.to_x, right.to_x)};
    const bool fine = same_bits && found.padded && errors[0] < 1e-5 && errors[1] < 1e-5;
    if (!fine)
        std::fprintf(stderr, "%s: Gram matrices of %ld images, %ld channels, %d x %d%s: errors %g, %g%s%s\n",
                     name_of(instructions), layer.images, layer.shape.channels, layer.shape.height,
                     layer.shape.width, layer.masked ? ", masked" : "", errors[0], errors[1],
                     same_bits ? "" : ", other bits with another number of threads",
                     found.padded ? "" : ", not padded with zeros");
    return fine;
}

// Whether a number of a buffer is no part of its border.
bool is_inside(const BufferLayout& layout, long number) {
    const auto [kind, images, channels, height, width] = layout;
    if (kind == BufferKind::numbers) return true;
    const bool plain = kind == BufferKind::bordered_images;
    const long columns = (plain ? width : round_up(width, TILE)) + 2,
               rows = (plain ? height : round_up(height, TILE)) + 2;
    const long place = number / (plain ? 3 : kind == BufferKind::maps ? BLOCK : 1);
    const long x = place % columns, y = place / columns % rows, plane = place / columns / rows;
    return 1 <= x && x <= width && 1 <= y && y <= height && (!plain || plane < images);
}

BufferLayout random_layout(std::mt19937& engine) {
    BufferLayout layout{static_cast<BufferKind>(between(engine, 0, 3)), between(engine, 1, 3), 3,
                        static_cast<int>(between(engine, 1, 9)), static_cast<int>(between(engine, 1, 9))};
    if (layout.kind == BufferKind::numbers)
        layout = {BufferKind::numbers, 1, between(engine, 1, 5000), 1, 1};
    else if (layout.kind != BufferKind::bordered_images)
        layout.channels = between(engine, 1, 40);
    return layout;
}

// Each user writes its number into what it has taken: nobody else may have it, and borders are 0.
class BufferUser {
public:
    explicit BufferUser(int number) : engine_(number), number_(static_cast<float>(number)) {}

    void take() {
        const BufferLayout layout = random_layout(engine_);
        held_.push_back(take_buffer(layout));
        right_ = right_ && held_.back()->layout == layout;
        each(*held_.back(), [&](float& number, bool inside) {
            right_ = right_ && (inside || number == 0);
            if (inside) number = number_;
        });
    }
    void give_one_back() {
        const auto at = held_.begin() + between(engine_, 0, static_cast<int>(held_.size()) - 1);
        each(**at, [&](float& number, bool inside) { right_ = right_ && number == (inside ? number_ : 0); });
        give_back(*at);
        held_.erase(at);
    }
    std::size_t count() const { return held_.size(); }
    std::size_t bytes() const {
        return std::accumulate(held_.begin(), held_.end(), std::size_t{0}, [](std::size_t sum, const Buffer* one) {
            return sum + round_up(one->layout.bytes(), std::size_t{4096});
        });
    }
    bool right() const { return right_; }

private:
    template <class Work>
    static void each(const Buffer& buffer, Work work) {
        auto* const numbers = reinterpret_cast<float*>(buffer.data);
        const long count = static_cast<long>(buffer.layout.bytes() / sizeof(float));
        for (long i = 0; i < count; ++i) work(numbers[i], is_inside(buffer.layout, i));
    }

    std::mt19937 engine_;
    float number_;
    std::vector<Buffer*> held_;
    bool right_ = true;
};

// Steps of a training: maps are held until the gradients are there, those of weights until the next step's. From
// the third step on all memory has been written into before.
bool buffers_serve_the_next_step() {
    constexpr long IMAGES = 8;
    constexpr int STEPS = 5;
    const std::vector<Shape> shapes = {{16, 64, 64}, {16, 64, 64}, {16, 32, 32}, {32, 32, 32}, {32, 32, 32},
                                       {32, 16, 16}, {64, 16, 16}, {64, 16, 16}, {64, 8, 8},   {128, 8, 8},
                                       {128, 8, 8},  {128, 4, 4},  {128, 4, 4},  {128, 2, 2},  {128, 2, 2}};
    bool reused = true;
    int step = 0;
    const auto take = [&](const BufferLayout& layout) {
        Buffer* const buffer = take_buffer(layout);
        auto* const numbers = reinterpret_cast<float*>(buffer->data);
        const std::size_t count = layout.bytes() / sizeof(float);
        const bool fresh = std::all_of(numbers, numbers + count, [](float number) { return number == 0; });
        reused = reused && (step < 2 || !fresh);
        for (std::size_t i = 0; i < count; ++i)
            if (is_inside(layout, static_cast<long>(i))) numbers[i] = 1;
        return buffer;
    };
    const auto maps = [](const Shape& shape) {
        return BufferLayout{BufferKind::maps, IMAGES, shape.channels, shape.height, shape.width};
    };
    std::vector<Buffer*> to_weights;
    for (; step < STEPS; ++step) {
        std::vector<Buffer*> forward;
        for (const Shape& shape : shapes) forward.push_back(take(maps(shape)));
        for (Buffer* const one : to_weights) give_back(one);
        to_weights.clear();
        Buffer* gradient = take(maps(shapes.back()));
        for (std::size_t i = shapes.size() - 1; i > 0; --i) {
            Buffer* const next = take(maps(shapes[i - 1]));
            to_weights.push_back(
                take({BufferKind::numbers, 1, shapes[i].channels * shapes[i - 1].channels * 9, 1, 1}));
            give_back(gradient);
            give_back(forward[i]);
            gradient = next;
        }
        give_back(gradient);
        give_back(forward.front());
    }
    for (Buffer* const one : to_weights) give_back(one);
    if (!reused) std::fprintf(stderr, "memory for maps: a step does not use that of the step before\n");
    return reused;
}

bool check_buffers() {
    constexpr int THREADS = 4, ROUNDS = 500, HELD = 6;
    free_kept_buffers();
    std::atomic<bool> right{true};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < THREADS; ++thread)
        threads.emplace_back([&right, thread] {
            BufferUser user(thread + 1);
            for (int round = 0; round < ROUNDS; ++round) {
                user.take();
                if (user.count() > HELD) user.give_one_back();
            }
            while (user.count() > 0) user.give_one_back();
            if (!user.right()) right = false;
        });
    for (std::thread& thread : threads) thread.join();
    free_kept_buffers();

    BufferUser alone(THREADS + 1);
    std::size_t most = 0;
    bool bounded = kept_buffer_bytes() == 0, kept = false;
    for (int round = 0; round < 2 * ROUNDS; ++round) {
        if (alone.count() == 0 || (round / 20 % 2 == 0)) {
            alone.take();
        } else {
            alone.give_one_back();
        }
        most = std::max(most, alone.bytes());
        bounded = bounded && alone.bytes() + kept_buffer_bytes() <= most + most / 16;
        kept = kept || kept_buffer_bytes() > 0;
    }
    while (alone.count() > 0) alone.give_one_back();
    free_kept_buffers();
    const bool reused = buffers_serve_the_next_step();
    free_kept_buffers();
    const bool fine = right && alone.right() && bounded && kept && kept_buffer_bytes() == 0;
    if (!fine)
        std::fprintf(stderr, "memory for maps: %s\n",
                     right && alone.right() ? "too much is kept, or nothing" : "shared, or a border is not 0");
    return fine && reused;
}

}  // namespace verydeep
