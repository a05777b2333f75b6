#include "tools/check_layers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "engine/memory.h"
#include "engine/threads.h"
#include "layers/buffers.h"
#include "layers/layers.h"

namespace verydeep {
namespace {

using Doubles = std::vector<double>;

int between(std::mt19937& engine, int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(engine);
}

std::vector<float> normal(std::mt19937& engine, long count, float scale = 1) {
    std::normal_distribution<float> draw(0, scale);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = draw(engine);
    return numbers;
}

// A convolution with what follows it, of random sizes and numbers, channels first.
struct Layer {
    long images, inputs, outputs;
    int height, width;
    bool relu, max_pool, rectified;
    std::vector<float> x, weights, bias, slope;

    explicit Layer(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          inputs(between(engine, 0, 3) ? between(engine, 1, 70) : 3),
          outputs(between(engine, 1, 50)),
          height(between(engine, 1, 18)),
          width(between(engine, 1, 18)),
          relu(between(engine, 0, 1)),
          max_pool(height > 1 && width > 1 && between(engine, 0, 1)),
          rectified(between(engine, 0, 1)),
          x(normal(engine, images * inputs * height * width)),
          weights(normal(engine, outputs * inputs * 9, 1 / std::sqrt(9.0f * inputs))),
          bias(normal(engine, outputs)),
          slope(normal(engine, images * outputs * out_height() * out_width())) {
        for (float& number : x) number = rectified ? std::max(number, 0.0f) : number;
    }

    int out_height() const { return max_pool ? height / 2 : height; }
    int out_width() const { return max_pool ? width / 2 : width; }
    long in(long n, long c, int y, int column) const { return ((n * inputs + c) * height + y) * width + column; }
    long out(long n, long c, int y, int column) const {
        return ((n * outputs + c) * out_height() + y) * out_width() + column;
    }

    // `use(input, weight)` for all that a sum is of.
    template <class Use>
    void each(long n, long o, int y, int column, Use use) const {
        for (long c = 0; c < inputs; ++c)
            for (int i = -1; i <= 1; ++i)
                for (int j = -1; j <= 1; ++j)
                    if (y + i >= 0 && y + i < height && column + j >= 0 && column + j < width)
                        use(in(n, c, y + i, column + j), ((o * inputs + c) * 3 + i + 1) * 3 + j + 1);
    }
};

struct Results {
    Doubles y, to_x, to_weights, to_bias;
};

// `chosen` says which place of each window was the greatest there, as two that are nearly equal may change places.
Results exact(const Layer& layer, const std::vector<int>& chosen) {
    Results results{Doubles(layer.slope.size()), Doubles(layer.x.size()), Doubles(layer.weights.size()),
                    Doubles(layer.bias.size())};
    const int step = layer.max_pool ? 2 : 1;
    for (long n = 0; n < layer.images; ++n)
        for (long o = 0; o < layer.outputs; ++o)
            for (int y = 0; y < layer.out_height(); ++y)
                for (int x = 0; x < layer.out_width(); ++x) {
                    const long at = layer.out(n, o, y, x);
                    const int place = layer.max_pool ? chosen[at] : 0;
                    const int row = step * y + place / 2, column = step * x + place % 2;
                    double sum = layer.bias[o];
                    layer.each(n, o, row, column,
                               [&](long i, long w) { sum += static_cast<double>(layer.x[i]) * layer.weights[w]; });
                    results.y[at] = layer.relu && sum < 0 ? 0 : sum;
                    const double slope = layer.slope[at];
                    results.to_bias[o] += slope;
                    layer.each(n, o, row, column, [&](long i, long w) {
                        if (!layer.rectified || layer.x[i] > 0) results.to_x[i] += slope * layer.weights[w];
                        results.to_weights[w] += slope * layer.x[i];
                    });
                }
    return results;
}

double error(const std::vector<float>& found, const Doubles& right) {
    double squares = 0, whole = 1e-12;
    for (std::size_t i = 0; i < found.size(); ++i) {
        squares += (found[i] - right[i]) * (found[i] - right[i]);
        whole += right[i] * right[i];
    }
    return std::sqrt(squares / whole);
}

PlainTensor tensor_of(std::vector<float>& numbers, long channels, int height, int width) {
    const long plane = static_cast<long>(height) * width;
    return {numbers.data(), channels * plane, plane, width, 1};
}

}  // namespace

bool check_layer(std::mt19937& engine, Instructions instructions) {
    Layer layer(engine);
    const Processor processor = processor_of(instructions, between(engine, 1, 4));
    const bool bordered = layer.inputs == 3 && !layer.max_pool && !layer.rectified && between(engine, 0, 1);
    const Shape in{layer.inputs, layer.height, layer.width};
    const Shape out{layer.outputs, layer.out_height(), layer.out_width()};
    const long image_floats = layer.images * (layer.height + 2L) * (layer.width + 2L) * 3 + BORDERED_SLACK;
    Memory x(layer.images * map_floats(in) * 4), to_x(layer.images * map_floats(in) * 4),
        y(layer.images * map_floats(out) * 4), slope(layer.images * map_floats(out) * 4), images(image_floats * 4),
        to_images(image_floats * 4), argmax(layer.images * map_floats(out) / BLOCK * 4);
    const Maps in_maps{x.floats(), layer.images, in}, out_maps{y.floats(), layer.images, out};
    const Maps slope_maps{slope.floats(), layer.images, out}, to_in_maps{to_x.floats(), layer.images, in};
    const BorderedImages in_images{images.floats(), layer.images, layer.height, layer.width};
    const BorderedImages to_in_images{to_images.floats(), layer.images, layer.height, layer.width};
    Argmax* const winners = layer.max_pool ? static_cast<Argmax*>(argmax.data()) : nullptr;
    const Activation activation = layer.relu ? Activation::relu : Activation::none;
    const ConvolutionWeights weights{layer.weights.data(), layer.inputs, layer.outputs};
    std::vector<float> found_y(layer.slope.size()), found_x(layer.x.size()), found_weights(layer.weights.size()),
        found_bias(layer.bias.size());
    const PlainTensor x_tensor = tensor_of(layer.x, layer.inputs, layer.height, layer.width);
    const PlainTensor to_x_tensor = tensor_of(found_x, layer.inputs, layer.height, layer.width);
    {
        const PoolLock lock;
        pack_maps(processor, tensor_of(layer.slope, layer.outputs, out.height, out.width), slope_maps, nullptr);
        if (bordered) {
            pack_images(processor, x_tensor, in_images);
            convolve_images(processor, in_images, weights, layer.bias.data(), activation, out_maps);
            images_data_gradient(processor, slope_maps, weights, to_in_images);
            images_weight_gradient(processor, in_images, slope_maps, found_weights.data(), found_bias.data());
            unpack_images(processor, to_in_images, to_x_tensor);
        } else {
            pack_maps(processor, x_tensor, in_maps, nullptr);
            std::vector<float> transformed[2];
            const bool kept = between(engine, 0, 1);
            for (int back = 0; back < 2; ++back) {
                const Shape from{back ? layer.outputs : layer.inputs, in.height, in.width};
                transformed[back].resize(kept ? transformed_floats(from, back ? layer.inputs : layer.outputs, back)
                                              : 0);
                if (kept) transform_convolution(processor, weights, from, back, transformed[back].data());
            }
            convolve(processor, in_maps, {weights, kept ? transformed[0].data() : nullptr}, layer.bias.data(),
                     activation, out_maps, winners);
            convolution_data_gradient(processor, {slope_maps, winners},
                                      {weights, kept ? transformed[1].data() : nullptr},
                                      layer.rectified ? x.floats() : nullptr, to_in_maps);
            convolution_weight_gradient(processor, in_maps, {slope_maps, winners}, found_weights.data(),
                                        found_bias.data());
            unpack_maps(processor, to_in_maps, to_x_tensor);
        }
        unpack_maps(processor, out_maps, tensor_of(found_y, layer.outputs, out.height, out.width));
    }
    std::vector<int> chosen(found_y.size());
    for (long n = 0; layer.max_pool && n < layer.images; ++n)
        for (long o = 0; o < layer.outputs; ++o)
            for (int row = 0; row < out.height; ++row)
                for (int column = 0; column < out.width; ++column) {
                    const FeatureMap map = out_maps.map();
                    const float* const place = map.at(n, static_cast<int>(o / BLOCK), row, column);
                    const Argmax bits = winners[(place - map.data) / BLOCK] >> o % BLOCK;
                    chosen[layer.out(n, o, row, column)] = (bits & 1) + (bits >> BLOCK & 1) * 2;
                }
    const Results right = exact(layer, chosen);
    const double errors[4] = {error(found_y, right.y), error(found_x, right.to_x),
                              error(found_weights, right.to_weights), error(found_bias, right.to_bias)};
    const bool fine = std::all_of(errors, errors + 4, [](double one) { return one < 1e-5; });
    if (!fine)
        std::fprintf(stderr,
                     "%s: a layer of %ld images, %ld -> %ld channels, %d x %d, relu %d, pooled %d, rectified %d, "
                     "bordered %d: errors %g, %g, %g, %g\n",
                     name_of(instructions), layer.images, layer.inputs, layer.outputs, layer.height, layer.width,
                     layer.relu, layer.max_pool, layer.rectified, bordered, errors[0], errors[1], errors[2],
                     errors[3]);
    return fine;
}

}  // namespace verydeep
