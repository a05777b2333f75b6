#include "tools/check_layers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tools/random_maps.h"

namespace verydeep {
namespace {

// ---- convolutions

// A convolution with what follows it, of random sizes and numbers, channels first.
struct Convolution {
    long images;
    Shape in, out;
    bool relu, max_pool, rectified;
    bool bordered;     // its input are images of three channels
    bool transformed;  // its weights are transformed beforehand
    std::vector<float> x, weights, bias, slope;

    explicit Convolution(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          in(random_shape(engine)),
          relu(between(engine, 0, 1)),
          max_pool(in.height > 1 && in.width > 1 && between(engine, 0, 1)),
          rectified(between(engine, 0, 1)),
          bordered(in.channels == 3 && !max_pool && !rectified && between(engine, 0, 1)),
          transformed(between(engine, 0, 1)) {
        out = max_pool ? pooled(in) : in;
        out.channels = between(engine, 1, 50);
        x = normal(engine, numbers_of(images, in));
        for (float& number : x) number = rectified ? std::max(number, 0.0f) : number;
        weights = normal(engine, out.channels * in.channels * 9, 1 / std::sqrt(9.0f * in.channels));
        bias = normal(engine, out.channels);
        slope = normal(engine, numbers_of(images, out));
    }

    // One in four is low and wide: more tiles side by side than a kernel takes together.
    static Shape random_shape(std::mt19937& engine) {
        const long channels = between(engine, 0, 3) ? between(engine, 1, 70) : 3;
        if (between(engine, 0, 3)) return {channels, between(engine, 1, 18), between(engine, 1, 18)};
        return {channels, between(engine, 1, 6), between(engine, 30, 80)};
    }

    // `use(input, weight)` for all that a sum is of.
    template <class Use>
    void each(long image, long output, int y, int column, Use use) const {
        for (long c = 0; c < in.channels; ++c)
            for (int i = -1; i <= 1; ++i)
                for (int j = -1; j <= 1; ++j)
                    if (y + i >= 0 && y + i < in.height && column + j >= 0 && column + j < in.width)
                        use(index_of(in, image, c, y + i, column + j),
                            ((output * in.channels + c) * 3 + i + 1) * 3 + j + 1);
    }
};

// What the kernels make of a convolution.
struct ConvolutionResults {
    std::vector<float> y, to_x, to_weights, to_bias;
    std::vector<int> argmax;
    bool padded = true;
    bool operator==(const ConvolutionResults&) const = default;
};

ConvolutionResults run_of_images(const Processor& processor, Convolution& layer) {
    const auto bordered = [&](std::vector<float>& memory) {
        memory.resize(layer.images * (layer.in.height + 2L) * (layer.in.width + 2L) * 3 + BORDERED_SLACK);
        return BorderedImages{memory.data(), layer.images, layer.in.height, layer.in.width};
    };
    ConvolutionResults found;
    found.to_x.resize(layer.x.size());
    found.to_weights.resize(layer.weights.size());
    found.to_bias.resize(layer.bias.size());
    std::vector<float> image_memory, gradient_memory;
    const BorderedImages images = bordered(image_memory), to_images = bordered(gradient_memory);
    const ConvolutionWeights weights{layer.weights.data(), layer.in.channels, layer.out.channels};
    const PoolLock lock;
    HeapMaps y(layer.images, layer.out), slope(processor, layer.slope, layer.images, layer.out);
    pack_images(processor, tensor_of(layer.x, layer.in), images);
    convolve_images(processor, images, weights, layer.bias.data(),
                    layer.relu ? Activation::relu : Activation::none, y.maps());
    images_data_gradient(processor, slope.maps(), weights, to_images);
    images_weight_gradient(processor, images, slope.maps(), found.to_weights.data(), found.to_bias.data());
    unpack_images(processor, to_images, tensor_of(found.to_x, layer.in));
    found.y = y.unpack(processor);
    found.padded = y.padded_with_zeros();
    found.argmax.resize(found.y.size());
    return found;
}

ConvolutionResults run(const Processor& processor, Convolution& layer) {
    if (layer.bordered) return run_of_images(processor, layer);
    ConvolutionResults found;
    found.to_weights.resize(layer.weights.size());
    found.to_bias.resize(layer.bias.size());
    const ConvolutionWeights weights{layer.weights.data(), layer.in.channels, layer.out.channels};
    const PoolLock lock;
    HeapMaps x(processor, layer.x, layer.images, layer.in), slope(processor, layer.slope, layer.images, layer.out);
    HeapMaps y(layer.images, layer.out), to_x(layer.images, layer.in);
    HeapArgmax argmax(layer.images, layer.out, layer.max_pool);
    const auto transformed = [&](bool back) {
        const Shape from{back ? layer.out.channels : layer.in.channels, layer.in.height, layer.in.width};
        const long outputs = back ? layer.in.channels : layer.out.channels;
        std::vector<float> numbers(layer.transformed ? transformed_floats(processor, from, outputs) : 0);
        if (layer.transformed) transform_convolution(processor, weights, from, back, numbers.data());
        return numbers;
    };
    const std::vector<float> ahead = transformed(false), back = transformed(true);
    const auto both = [&](const std::vector<float>& numbers) {
        return LayerWeights{weights, layer.transformed ? numbers.data() : nullptr};
    };
    convolve(processor, {x.maps()}, both(ahead), layer.bias.data(),
             {y.maps(), layer.relu ? Activation::relu : Activation::none, argmax.data()});
    const OutputGradient gradient{slope.maps(), argmax.data()};
    convolution_data_gradient(processor, gradient, both(back), layer.rectified ? x.data() : nullptr, to_x.maps());
    convolution_weight_gradient(processor, {x.maps()}, gradient, found.to_weights.data(), found.to_bias.data());
    found.y = y.unpack(processor);
    found.to_x = to_x.unpack(processor);
    found.argmax = argmax.places();
    found.padded = y.padded_with_zeros() && to_x.padded_with_zeros();
    return found;
}

struct ExactConvolution {
    Doubles y, to_x, to_weights, to_bias;
    double chosen_too_small;
};

// `chosen` says which place of each window was the greatest there, as two that are nearly equal may change places.
ExactConvolution exact(const Convolution& layer, const std::vector<int>& chosen) {
    ExactConvolution results{Doubles(layer.slope.size()), Doubles(layer.x.size()), Doubles(layer.weights.size()),
                             Doubles(layer.bias.size()), 0};
    const int step = layer.max_pool ? 2 : 1;
    for_each_number(layer.images, layer.out, [&](long n, long o, int y, int x) {
        const auto sum_at = [&](int place) {
            double sum = layer.bias[o];
            layer.each(n, o, step * y + place / 2, step * x + place % 2,
                       [&](long i, long w) { sum += static_cast<double>(layer.x[i]) * layer.weights[w]; });
            return sum;
        };
        const long at = index_of(layer.out, n, o, y, x);
        double greatest = sum_at(0);
        for (int place = 1; place < step * step; ++place) greatest = std::max(greatest, sum_at(place));
        results.y[at] = layer.relu && greatest < 0 ? 0 : greatest;
        // Where the ReLU gives 0, any place will do: readers pass no gradient back.
        if (!layer.relu || greatest > 0)
            results.chosen_too_small = std::max(results.chosen_too_small, greatest - sum_at(chosen[at]));
        const double slope = layer.slope[at];
        results.to_bias[o] += slope;
        layer.each(n, o, step * y + chosen[at] / 2, step * x + chosen[at] % 2, [&](long i, long w) {
            if (!layer.rectified || layer.x[i] > 0) results.to_x[i] += slope * layer.weights[w];
            results.to_weights[w] += slope * layer.x[i];
        });
    });
    return results;
}

// ---- batch normalisation

// Of random sizes and numbers, which need not follow from each other: what the kernels promise holds for any.
struct Normalization {
    long images;
    Shape in, out;
    bool relu, max_pool;
    std::vector<float> x, slope;
    std::vector<float> scale, shift, slope_scale, deviation_scale, offset;  // of the channels, in whole blocks

    explicit Normalization(std::mt19937& engine)
        : images(between(engine, 1, 3)),
          // One in four is so wide that a row is more than is summed up at once.
          in{between(engine, 1, 50), between(engine, 1, 40),
             between(engine, 0, 3) ? between(engine, 1, 40) : between(engine, 200, 300)},
          relu(between(engine, 0, 1)),
          max_pool(in.height > 1 && in.width > 1 && between(engine, 0, 1)) {
        out = max_pool ? pooled(in) : in;
        // Far from zero, squares less the square of the mean would cancel; very far, a mean in single precision is
        // not enough.
        constexpr std::array means{0.0f, 30.0f, 1e5f};
        x = normal(engine, numbers_of(images, in), 1, means[between(engine, 0, 2)]);
        slope = normal(engine, numbers_of(images, out));
        for (std::vector<float>* const numbers : {&scale, &shift, &slope_scale, &deviation_scale, &offset}) {
            *numbers = normal(engine, in.channels);
            numbers->resize(round_up(in.channels, long{BLOCK}));
        }
    }
};

struct NormalizationResults {
    std::vector<float> means, squares, y, sums, products, to_x;
    std::vector<int> argmax;
    bool padded = true;
    bool operator==(const NormalizationResults&) const = default;
};

NormalizationResults run(const Processor& processor, Normalization& layer) {
    const std::size_t channels = layer.scale.size();
    NormalizationResults found;
    for (std::vector<float>* const numbers : {&found.means, &found.squares, &found.sums, &found.products})
        numbers->resize(channels);
    const PoolLock lock;
    HeapMaps x(processor, layer.x, layer.images, layer.in), slope(processor, layer.slope, layer.images, layer.out);
    HeapMaps y(layer.images, layer.out), to_x(layer.images, layer.in);
    HeapArgmax argmax(layer.images, layer.out, layer.max_pool);
    channel_statistics(processor, x.maps(), {found.means.data(), found.squares.data()});
    batch_norm(processor, x.maps(), {found.means.data(), layer.scale.data(), layer.shift.data()},
               layer.relu ? Activation::relu : Activation::none, y.maps(), argmax.data());
    const OutputGradient gradient{slope.maps(), argmax.data()};
    batch_norm_sums(processor, x.maps(), found.means.data(), gradient, {found.sums.data(), found.products.data()});
    batch_norm_gradient(
        processor, x.maps(),
        {found.means.data(), layer.slope_scale.data(), layer.deviation_scale.data(), layer.offset.data()},
        gradient, to_x.maps());
    found.y = y.unpack(processor);
    found.to_x = to_x.unpack(processor);
    found.argmax = argmax.places();
    found.padded = y.padded_with_zeros() && to_x.padded_with_zeros();
    return found;
}

// Sums that may cancel come with the sums of what they are of.
struct ExactNormalization {
    Doubles means, mean_terms, squares, y, sums, sum_terms, products, product_terms, to_x;
    double chosen_too_small = 0;
};

ExactNormalization exact(const Normalization& layer, const NormalizationResults& found) {
    const std::size_t channels = layer.scale.size();
    ExactNormalization right;
    for (Doubles* const numbers : {&right.means, &right.mean_terms, &right.squares, &right.sums, &right.sum_terms,
                                   &right.products, &right.product_terms})
        numbers->resize(channels);
    right.y.resize(layer.slope.size());
    right.to_x.resize(layer.x.size());
    const double count = static_cast<double>(layer.images) * layer.in.height * layer.in.width;
    for_each_number(layer.images, layer.in, [&](long n, long c, int y, int x) {
        const double number = layer.x[index_of(layer.in, n, c, y, x)];
        right.means[c] += number / count;
        right.mean_terms[c] += std::abs(number) / count;
    });
    // By the mean as it was rounded: the others take it so.
    const auto deviation = [&](long c, long at) { return static_cast<double>(layer.x[at]) - found.means[c]; };
    for_each_number(layer.images, layer.in, [&](long n, long c, int y, int x) {
        const long at = index_of(layer.in, n, c, y, x);
        right.squares[c] += std::pow(layer.x[at] - right.means[c], 2);
        right.to_x[at] = -deviation(c, at) * layer.deviation_scale[c] - layer.offset[c];
    });
    const int step = layer.max_pool ? 2 : 1;
    for_each_number(layer.images, layer.out, [&](long n, long c, int y, int x) {
        const auto place_at = [&](int place) {
            return index_of(layer.in, n, c, step * y + place / 2, step * x + place % 2);
        };
        const auto normalized = [&](int place) {
            return deviation(c, place_at(place)) * layer.scale[c] + layer.shift[c];
        };
        const long at = index_of(layer.out, n, c, y, x), chosen = place_at(found.argmax[at]);
        double greatest = normalized(0);
        for (int place = 1; place < step * step; ++place) greatest = std::max(greatest, normalized(place));
        right.y[at] = layer.relu && greatest < 0 ? 0 : greatest;
        right.chosen_too_small = std::max(right.chosen_too_small, greatest - normalized(found.argmax[at]));
        const double slope = layer.slope[at], product = slope * deviation(c, chosen);
        right.sums[c] += slope;
        right.sum_terms[c] += std::abs(slope);
        right.products[c] += product;
        right.product_terms[c] += std::abs(product);
        right.to_x[chosen] += slope * layer.slope_scale[c];
    });
    return right;
}

// ---- a convolution that normalises what it reads

// A convolution without what follows it, and a batch normalisation and a ReLU before it.
struct NormalizedConvolution {
    Convolution layer;
    std::vector<float> mean, scale, shift;  // in whole blocks
    std::vector<float> signs;               // of a normalisation behind it, likewise; none where it is not pooled

    explicit NormalizedConvolution(std::mt19937& engine) : layer(engine) {
        while (layer.max_pool || layer.bordered || !by_tiles(layer.in)) layer = Convolution(engine);
        layer.relu = false;
        for (std::vector<float>* const numbers : {&mean, &scale, &shift}) {
            *numbers = normal(engine, layer.in.channels);
            numbers->resize(round_up(layer.in.channels, long{BLOCK}));
        }
        if (layer.in.height < 2 || layer.in.width < 2 || between(engine, 0, 1)) return;
        signs.resize(round_up(layer.out.channels, long{BLOCK}), 1.0f);
        for (float& sign : signs) sign = between(engine, 0, 1) ? 1.0f : -1.0f;
    }
};

struct NormalizedConvolutionResults {
    std::vector<float> y, means, squares, to_x, sums, products, to_weights, to_bias, pooled;
    std::vector<int> argmax;
    bool padded = true;
    bool operator==(const NormalizedConvolutionResults&) const = default;
};

// By the layers that store what they give, or as one where `fused`.
NormalizedConvolutionResults run(const Processor& processor, NormalizedConvolution& both, bool fused) {
    Convolution& layer = both.layer;
    NormalizedConvolutionResults found;
    for (std::vector<float>* const numbers : {&found.means, &found.squares})
        numbers->resize(round_up(layer.out.channels, long{BLOCK}));
    for (std::vector<float>* const numbers : {&found.sums, &found.products}) numbers->resize(both.mean.size());
    found.to_weights.resize(layer.weights.size());
    found.to_bias.resize(layer.bias.size());
    const LayerWeights weights{{layer.weights.data(), layer.in.channels, layer.out.channels}, nullptr};
    const BatchNorm norm{both.mean.data(), both.scale.data(), both.shift.data()};
    const PoolLock lock;
    HeapMaps x(processor, layer.x, layer.images, layer.in), slope(processor, layer.slope, layer.images, layer.out);
    HeapMaps z(layer.images, layer.in), y(layer.images, layer.out), to_x(layer.images, layer.in);
    const OutputGradient gradient{slope.maps(), nullptr};
    const Shape small = both.signs.empty() ? layer.out : pooled(layer.out);
    HeapMaps chosen(layer.images, small);
    HeapArgmax argmax(layer.images, small, !both.signs.empty());
    const ChannelMoments moments{found.means.data(), found.squares.data()};
    const Measured measured{moments, both.signs.empty() ? FeatureMap{} : chosen.maps().map(), both.signs.data(),
                            argmax.data()};
    const ChannelSums sums{found.sums.data(), found.products.data()};
    const ConvolutionInput in = fused ? ConvolutionInput{x.maps(), &norm} : ConvolutionInput{z.maps()};
    if (!fused) batch_norm(processor, x.maps(), norm, Activation::relu, z.maps(), nullptr);
    convolve(processor, in, weights, layer.bias.data(),
             {y.maps(), Activation::none, nullptr, fused ? &measured : nullptr});
    if (fused) {
        normalized_data_gradient(processor, gradient, weights, in, to_x.maps(), sums);
    } else {
        channel_statistics(processor, y.maps(), moments);
        convolution_data_gradient(processor, gradient, weights, z.data(), to_x.maps());
        batch_norm_sums(processor, x.maps(), both.mean.data(), {to_x.maps(), nullptr}, sums);
    }
    convolution_weight_gradient(processor, in, gradient, found.to_weights.data(), found.to_bias.data());
    found.y = y.unpack(processor);
    found.to_x = to_x.unpack(processor);
    found.padded = y.padded_with_zeros() && to_x.padded_with_zeros() && chosen.padded_with_zeros();
    if (both.signs.empty()) return found;
    found.pooled = chosen.unpack(processor);
    found.argmax = argmax.places();
    return found;
}

// How many windows have another number than the greatest, of the outputs as they were written.
double wrongly_chosen(const NormalizedConvolution& both, const NormalizedConvolutionResults& found) {
    if (both.signs.empty()) return 0;
    const Shape full = both.layer.out, small = pooled(full);
    double wrong = 0;
    for_each_number(both.layer.images, small, [&](long n, long c, int y, int x) {
        const auto number = [&](int place) {
            return found.y[index_of(full, n, c, 2 * y + place / 2, 2 * x + place % 2)] * both.signs[c];
        };
        const long at = index_of(small, n, c, y, x);
        const float greatest = std::max({number(0), number(1), number(2), number(3)});
        wrong += found.pooled[at] != greatest * both.signs[c] || number(found.argmax[at]) != greatest;
    });
    return wrong;
}

// Whether all errors are small, and what ran with another number of threads has the same bits.
template <std::size_t N>
bool fine(const std::array<double, N>& errors, bool same_bits, bool padded, Instructions instructions,
          const std::string& layer) {
    if (same_bits && padded && std::all_of(errors.begin(), errors.end(), [](double one) { return one < 1e-5; }))
        return true;
    std::fprintf(stderr, "%s: %s: ", name_of(instructions), layer.c_str());
    if (!same_bits) std::fprintf(stderr, "other bits with another number of threads; ");
    if (!padded) std::fprintf(stderr, "not padded with zeros; ");
    std::fprintf(stderr, "errors");
    for (const double one : errors) std::fprintf(stderr, " %g", one);
    std::fprintf(stderr, "\n");
    return false;
}

std::string words_of(long images, const Shape& in, const Shape& out) {
    return std::to_string(images) + " images, " + std::to_string(in.channels) + " -> " +
           std::to_string(out.channels) + " channels, " + std::to_string(in.height) + " x " +
           std::to_string(in.width) + (in.height == out.height ? "" : ", pooled");
}

}  // namespace

bool check_convolution(std::mt19937& engine, Instructions instructions) {
    Convolution layer(engine);
    const Precision precision =
        has(instructions, Precision::bfloat16) && between(engine, 0, 1) ? Precision::bfloat16 : Precision::float32;
    const ConvolutionResults found = run(processor_of(instructions, between(engine, 1, 4), precision), layer);
    const bool same_bits = found == run(processor_of(instructions, between(engine, 1, 4), precision), layer);
    const ExactConvolution right = exact(layer, found.argmax);
    // Products in bfloat16 may err so many times as much. Which is the greatest of four goes by the largest error
    // of all windows, not by their mean.
    const bool low = precision == Precision::bfloat16;
    const double allowed = low ? 3000 : 1, allowed_to_chosen = low ? 9000 : 1;
    return fine(std::array{error(found.y, right.y) / allowed, error(found.to_x, right.to_x) / allowed,
                           error(found.to_weights, right.to_weights) / allowed,
                           error(found.to_bias, right.to_bias), right.chosen_too_small / allowed_to_chosen},
                same_bits, found.padded, instructions,
                std::string(name_of(precision)) + ", a convolution of " +
                    words_of(layer.images, layer.in, layer.out) + (layer.relu ? ", relu" : "") +
                    (layer.rectified ? ", rectified" : "") + (layer.bordered ? ", of images" : ""));
}

bool check_normalized_convolution(std::mt19937& engine, Instructions instructions) {
    NormalizedConvolution both(engine);
    const Precision precision =
        has(instructions, Precision::bfloat16) && between(engine, 0, 1) ? Precision::bfloat16 : Precision::float32;
    const auto run_fused = [&] {
        return run(processor_of(instructions, between(engine, 1, 4), precision), both, true);
    };
    const NormalizedConvolutionResults found = run_fused();
    const bool same_bits = found == run_fused();
    const NormalizedConvolutionResults right = run(processor_of(instructions, 2, precision), both, false);
    using Results = NormalizedConvolutionResults;
    const auto doubles = [&](std::vector<float> Results::* numbers) {
        return Doubles((right.*numbers).begin(), (right.*numbers).end());
    };
    const auto error_of = [&](std::vector<float> Results::* numbers) {
        return error(found.*numbers, doubles(numbers));
    };
    const Convolution& layer = both.layer;
    const double count = static_cast<double>(layer.images) * layer.in.height * layer.in.width;
    // Of what may cancel, as in a batch norm's sums.
    Doubles mean_terms(found.means.size()), sum_terms(found.sums.size()), product_terms(found.sums.size());
    for_each_number(layer.images, layer.out, [&](long n, long c, int y, int x) {
        mean_terms[c] += std::abs(right.y[index_of(layer.out, n, c, y, x)]) / count;
    });
    for_each_number(layer.images, layer.in, [&](long n, long c, int y, int x) {
        const long at = index_of(layer.in, n, c, y, x);
        sum_terms[c] += std::abs(right.to_x[at]);
        product_terms[c] += std::abs(right.to_x[at] * (layer.x[at] - both.mean[c]));
    });
    return fine(
        std::array{error_of(&Results::y), error(found.means, doubles(&Results::means), mean_terms),
                   error_of(&Results::squares), error_of(&Results::to_x),
                   error(found.sums, doubles(&Results::sums), sum_terms),
                   error(found.products, doubles(&Results::products), product_terms),
                   error_of(&Results::to_weights), error_of(&Results::to_bias), wrongly_chosen(both, found)},
        same_bits, found.padded, instructions,
        std::string(name_of(precision)) + ", a normalised convolution of " +
            words_of(layer.images, layer.in, layer.out));
}

bool check_batch_norm(std::mt19937& engine, Instructions instructions) {
    Normalization layer(engine);
    const NormalizationResults found = run(processor_of(instructions, between(engine, 1, 4)), layer);
    const bool same_bits = found == run(processor_of(instructions, between(engine, 1, 4)), layer);
    const ExactNormalization right = exact(layer, found);
    return fine(std::array{error(found.means, right.means, right.mean_terms), error(found.squares, right.squares),
                           error(found.y, right.y), error(found.sums, right.sums, right.sum_terms),
                           error(found.products, right.products, right.product_terms),
                           error(found.to_x, right.to_x), right.chosen_too_small},
                same_bits, found.padded, instructions,
                "a batch norm of " + words_of(layer.images, layer.in, layer.out) + (layer.relu ? ", relu" : ""));
}

}  // namespace verydeep
