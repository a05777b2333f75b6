// Random numbers and maps for the checks of layers.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/threads.h"
#include "layers/layers.h"

namespace verydeep {

using Doubles = std::vector<double>;

inline int between(std::mt19937& engine, int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(engine);
}

inline std::vector<float> normal(std::mt19937& engine, long count, float scale = 1, float mean = 0) {
    std::normal_distribution<float> draw(mean, scale);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = draw(engine);
    return numbers;
}

// Relative L2. Where terms cancel, `terms` are what the error is relative to.
inline double error(const std::vector<float>& found, const Doubles& right, const Doubles& terms) {
    double squares = 0, whole = 1e-12;
    for (std::size_t i = 0; i < found.size(); ++i) squares += (found[i] - right[i]) * (found[i] - right[i]);
    for (const double term : terms) whole += term * term;
    return std::sqrt(squares / whole);
}
inline double error(const std::vector<float>& found, const Doubles& right) { return error(found, right, right); }

// Of tensors [image][channel][y][x].
inline long numbers_of(long images, const Shape& shape) {
    return images * shape.channels * shape.height * shape.width;
}
inline long index_of(const Shape& shape, long image, long channel, int y, int x) {
    return ((image * shape.channels + channel) * shape.height + y) * shape.width + x;
}
inline PlainTensor tensor_of(std::vector<float>& numbers, const Shape& shape) {
    const long plane = static_cast<long>(shape.height) * shape.width;
    return {numbers.data(), shape.channels * plane, plane, shape.width, 1};
}
// `use(image, channel, y, x)` for all.
template <class Use>
void for_each_number(long images, const Shape& shape, Use use) {
    for (long image = 0; image < images; ++image)
        for (long channel = 0; channel < shape.channels; ++channel)
            for (int y = 0; y < shape.height; ++y)
                for (int x = 0; x < shape.width; ++x) use(image, channel, y, x);
}
inline Shape pooled(const Shape& shape) { return {shape.channels, shape.height / 2, shape.width / 2}; }

// Where the number of a channel lies in maps.
inline long place_of(const FeatureMap& map, long image, long channel, int y, int x) {
    return image * map.image_stride + channel / BLOCK * map.block_stride + (y + 1) * map.row_stride +
           (x + 1L) * BLOCK + channel % BLOCK;
}

// Maps on the heap, whose ends the address sanitizer guards: no kernel reads or writes beyond them.
class HeapMaps {
public:
    HeapMaps(long images, const Shape& shape)
        : images_(images), shape_(shape), numbers_(images * map_floats(shape)) {}
    HeapMaps(const Processor& processor, std::vector<float>& tensor, long images, const Shape& shape)
        : HeapMaps(images, shape) {
        pack_maps(processor, tensor_of(tensor, shape), maps(), nullptr);
    }

    Maps maps() { return {numbers_.data(), images_, shape_}; }
    float* data() { return numbers_.data(); }
    std::vector<float> unpack(const Processor& processor) {
        std::vector<float> tensor(numbers_of(images_, shape_));
        unpack_maps(processor, maps(), tensor_of(tensor, shape_));
        return tensor;
    }
    // The border and the channels that fill the last block are 0: what reads the maps next counts on it.
    bool padded_with_zeros() {
        std::vector<float> rest = numbers_;
        const FeatureMap map = map_layout(shape_);
        for_each_number(images_, shape_, [&](long image, long channel, int y, int x) {
            rest[place_of(map, image, channel, y, x)] = 0;
        });
        return std::all_of(rest.begin(), rest.end(), [](float number) { return number == 0; });
    }

private:
    long images_;
    Shape shape_;
    std::vector<float> numbers_;
};

// Which number of each window was the greatest, of pooled maps; none where there is no pooling.
class HeapArgmax {
public:
    HeapArgmax(long images, const Shape& shape, bool max_pool)
        : images_(images), shape_(shape), entries_(max_pool ? images * map_floats(shape) / BLOCK : 0) {}

    Argmax* data() { return entries_.empty() ? nullptr : entries_.data(); }
    // 0 to 3, in the order of reading: [image][channel][y][x].
    std::vector<int> places() const {
        std::vector<int> found(numbers_of(images_, shape_));
        if (entries_.empty()) return found;
        const FeatureMap map = map_layout(shape_);
        for_each_number(images_, shape_, [&](long image, long channel, int y, int x) {
            const Argmax bits = entries_[place_of(map, image, channel, y, x) / BLOCK] >> channel % BLOCK;
            found[index_of(shape_, image, channel, y, x)] = (bits & 1) + (bits >> BLOCK & 1) * 2;
        });
        return found;
    }

private:
    long images_;
    Shape shape_;
    std::vector<Argmax> entries_;
};

}  // namespace verydeep
