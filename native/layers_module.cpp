// The part of `verydeep._native` that trains: layers one by one, on arrays that Python holds.
#include "layers_module.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "engine/network.h"
#include "engine/threads.h"
#include "gil.h"
#include "layers/buffers.h"
#include "layers/layers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using verydeep::Argmax;
using verydeep::BLOCK;
using verydeep::BorderedImages;
using verydeep::BufferKind;
using verydeep::Maps;

// Images, channels, height, width.
using Sizes = std::tuple<long, long, int, int>;
using Numbers = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Winners = nb::ndarray<std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Rows of numbers, one for each channel.
using ChannelRows = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Tensor = nb::ndarray<float, nb::ndim<4>, nb::device::cpu>;
using Weights = nb::ndarray<float, nb::shape<-1, -1, 3, 3>, nb::c_contig, nb::device::cpu>;
template <class Array>
using Maybe = std::optional<Array>;

constexpr long MAX_FLOATS = 1L << 40;

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument(reason); }

long checked_floats(const Sizes& sizes, long each) {
    const auto [images, channels, height, width] = sizes;
    if (images < 0 || channels < 1 || height < 1 || width < 1 || each < 1 || each > MAX_FLOATS ||
        images > MAX_FLOATS / each)
        refuse("maps have sizes that no memory holds");
    return images * each;
}

long map_floats(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    if (channels < 1 || channels > 1L << 20 || height < 1 || width < 1 || height > 1 << 20 || width > 1 << 20)
        refuse("maps have sizes that no memory holds");
    return checked_floats(sizes, verydeep::map_floats({channels, height, width}));
}

long image_floats(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    if (channels != 3 || height < 1 || width < 1 || height > 1 << 20 || width > 1 << 20)
        refuse("bordered images have 3 channels");
    return checked_floats(sizes, (height + 2L) * (width + 2L) * 3) + verydeep::BORDERED_SLACK;
}

template <class Array>
void check_size(const Array& array, long wanted) {
    if (static_cast<long>(array.size()) != wanted)
        refuse("an array has " + std::to_string(array.size()) + " numbers, " + std::to_string(wanted) +
               " are wanted");
}

Maps maps_of(const Numbers& numbers, const Sizes& sizes) {
    check_size(numbers, map_floats(sizes));
    const auto [images, channels, height, width] = sizes;
    return {numbers.data(), images, {channels, height, width}};
}

BorderedImages images_of(const Numbers& numbers, const Sizes& sizes) {
    check_size(numbers, image_floats(sizes));
    const auto [images, channels, height, width] = sizes;
    return {numbers.data(), images, height, width};
}

verydeep::PlainTensor tensor_of(const Tensor& tensor, const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    if (static_cast<long>(tensor.shape(0)) != images || static_cast<long>(tensor.shape(1)) != channels ||
        static_cast<long>(tensor.shape(2)) != height || static_cast<long>(tensor.shape(3)) != width)
        refuse("a tensor has another shape than its maps");
    return {tensor.data(), tensor.stride(0), tensor.stride(1), tensor.stride(2), tensor.stride(3)};
}

void check_rows(const ChannelRows& rows, long wanted, const Maps& maps) {
    if (static_cast<long>(rows.shape(0)) != wanted || static_cast<long>(rows.shape(1)) != maps.shape.channels)
        refuse("numbers of channels have another shape than is wanted");
}

// Numbers of channels, padded to whole blocks with zeros.
class Padded {
public:
    explicit Padded(const Maps& maps)
        : channels_(maps.shape.channels), numbers_(verydeep::blocks_of(channels_) * BLOCK, 0.0f) {}
    Padded(const Maps& maps, const Numbers& numbers) : Padded(maps) {
        check_size(numbers, channels_);
        std::copy_n(numbers.data(), channels_, numbers_.begin());
    }
    float* data() { return numbers_.data(); }
    const float* data() const { return numbers_.data(); }
    float& operator[](long i) { return numbers_[i]; }
    float operator[](long i) const { return numbers_[i]; }
    void write(float* to) const { std::copy_n(numbers_.begin(), channels_, to); }

private:
    long channels_;
    std::vector<float> numbers_;
};

// Mean and variance of the channels, and what is added to the variance.
using Statistics = std::tuple<Numbers, Numbers, double>;

// Those, and the factors and what is added.
using Normalization = std::tuple<Statistics, Numbers, Numbers>;
// Factors of a normalisation, pooled maps, and which were the greatest.
using Pooling = std::tuple<Numbers, Numbers, Winners>;

struct BatchNormNumbers {
    const Maps& maps;
    Padded mean, inverse;

    BatchNormNumbers(const Maps& maps, const Statistics& statistics)
        : maps(maps), mean(maps, std::get<0>(statistics)), inverse(maps, std::get<1>(statistics)) {
        const double epsilon = std::get<2>(statistics);
        for (long i = 0; i < maps.shape.channels; ++i)
            inverse[i] = static_cast<float>(1 / std::sqrt(inverse[i] + epsilon));
    }
    Padded times_inverse(const Numbers& weight) const {
        Padded scale(maps, weight);
        for (long i = 0; i < maps.shape.channels; ++i) scale[i] *= inverse[i];
        return scale;
    }
};

// What the kernels take for a batch normalisation of some maps.
class NormOf {
public:
    NormOf(const Maps& maps, const Normalization& given)
        : numbers_(maps, std::get<0>(given)),
          scale_(numbers_.times_inverse(std::get<1>(given))),
          shift_(maps, std::get<2>(given)),
          norm_{numbers_.mean.data(), scale_.data(), shift_.data()} {}
    NormOf(const NormOf&) = delete;
    NormOf& operator=(const NormOf&) = delete;

    const verydeep::BatchNorm& norm() const { return norm_; }
    const BatchNormNumbers& numbers() const { return numbers_; }

private:
    const BatchNormNumbers numbers_;
    const Padded scale_, shift_;
    const verydeep::BatchNorm norm_;
};

// Maps that a convolution multiplies: as they are, or normalised, with a ReLU, which needs products by tiles.
class Input {
public:
    Input(const Maps& maps, const Maybe<Normalization>& given) : maps_(maps) {
        if (!given) return;
        if (!verydeep::by_tiles(maps.shape)) refuse("maps so small are not normalised by the convolution");
        norm_.emplace(maps_, *given);
    }
    verydeep::ConvolutionInput get() const { return {maps_, norm_ ? &norm_->norm() : nullptr}; }
    const BatchNormNumbers& numbers() const { return norm_->numbers(); }  // of a normalisation that there is

private:
    const Maps maps_;
    std::optional<NormOf> norm_;
};

// Sums of channels, and of their products with (x - mean) -> the gradients of bias and weight.
void write_sums(const Padded& sums, Padded& products, const BatchNormNumbers& numbers, ChannelRows to) {
    const long channels = numbers.maps.shape.channels;
    for (long i = 0; i < channels; ++i) products[i] *= numbers.inverse[i];
    sums.write(to.data());
    products.write(to.data() + channels);
}

Sizes pooled(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    return {images, channels, height / 2, width / 2};
}

Sizes with_channels(const Sizes& sizes, long channels) {
    return {std::get<0>(sizes), channels, std::get<2>(sizes), std::get<3>(sizes)};
}

Argmax* argmax_of(const Winners& winners, const Maps& maps) {
    check_size(winners, maps.images * verydeep::map_floats(maps.shape) / BLOCK);
    return reinterpret_cast<Argmax*>(winners.data());
}

Argmax* argmax_of(const Maybe<Winners>& winners, const Maps& maps) {
    return winners ? argmax_of(*winners, maps) : nullptr;
}

const float* mask_of(const Maybe<Numbers>& seen, const Numbers& of) {
    if (!seen) return nullptr;
    check_size(*seen, static_cast<long>(of.size()));
    return seen->data();
}

verydeep::ConvolutionWeights weights_of(const Weights& weights, long in_channels, long out_channels) {
    if (static_cast<long>(weights.shape(1)) != in_channels || static_cast<long>(weights.shape(0)) != out_channels)
        refuse("weights have other channels than the maps");
    return {weights.data(), in_channels, out_channels};
}

template <class Array>
Array array_of(const verydeep::BufferLayout& layout, long count) {
    verydeep::Buffer* const buffer = verydeep::take_buffer(layout);
    const nb::capsule owner(
        buffer, [](void* data) noexcept { verydeep::give_back(static_cast<verydeep::Buffer*>(data)); });
    const std::size_t shape[1] = {static_cast<std::size_t>(count)};
    return Array(buffer->data, 1, shape, owner);
}

using NumpyFloats = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using NumpyInts = nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>;

NumpyFloats make_maps(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    return array_of<NumpyFloats>({BufferKind::maps, images, channels, height, width}, map_floats(sizes));
}

NumpyFloats make_images(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    return array_of<NumpyFloats>({BufferKind::bordered_images, images, channels, height, width},
                                 image_floats(sizes));
}

NumpyFloats make_numbers(long count) {
    if (count < 1 || count > MAX_FLOATS) refuse("so many numbers no memory holds");
    return array_of<NumpyFloats>({BufferKind::numbers, 1, count, 1, 1}, count);
}

NumpyInts make_argmax(const Sizes& sizes) {
    const auto [images, channels, height, width] = sizes;
    return array_of<NumpyInts>({BufferKind::argmax, images, channels, height, width}, map_floats(sizes) / BLOCK);
}

class Layers {
public:
    Layers(const std::string& instructions, int threads, const std::string& precision)
        : processor_(verydeep::processor_of(verydeep::instructions_called(instructions), checked(threads),
                                            verydeep::precision_called(precision))) {}

    int threads() const { return processor_.threads; }

    void pack(const Tensor& tensor, const Sizes& sizes, Numbers to, const Maybe<Numbers>& seen) const {
        const Maps maps = maps_of(to, sizes);
        const float* const mask = mask_of(seen, to);
        run([&] { verydeep::pack_maps(processor_, tensor_of(tensor, sizes), maps, mask); });
    }
    void unpack(const Numbers& from, const Sizes& sizes, Tensor to) const {
        const Maps maps = maps_of(from, sizes);
        run([&] { verydeep::unpack_maps(processor_, maps, tensor_of(to, sizes)); });
    }
    void pack_images(const Tensor& tensor, const Sizes& sizes, Numbers to) const {
        const BorderedImages images = images_of(to, sizes);
        run([&] { verydeep::pack_images(processor_, tensor_of(tensor, sizes), images); });
    }
    void unpack_images(const Numbers& from, const Sizes& sizes, Tensor to) const {
        const BorderedImages images = images_of(from, sizes);
        run([&] { verydeep::unpack_images(processor_, images, tensor_of(to, sizes)); });
    }

    void max_pool(const Numbers& from, const Sizes& sizes, Numbers to, Winners winners) const {
        const Maps in = maps_of(from, sizes), out = maps_of(to, pooled(sizes));
        Argmax* const argmax = argmax_of(winners, out);
        run([&] { verydeep::max_pool(processor_, in, out, argmax); });
    }
    void max_pool_gradient(const Numbers& gradient, const Winners& winners, const Sizes& sizes, Numbers to,
                           bool accumulate) const {
        const Maps in = maps_of(gradient, pooled(sizes)), out = maps_of(to, sizes);
        const Argmax* const argmax = argmax_of(winners, in);
        run([&] { verydeep::max_pool_gradient(processor_, {in, argmax}, out, accumulate); });
    }
    void average_pool(const Numbers& from, const Sizes& sizes, Numbers to) const {
        const Maps in = maps_of(from, sizes), out = maps_of(to, pooled(sizes));
        run([&] { verydeep::average_pool(processor_, in, out); });
    }
    void average_pool_gradient(const Numbers& gradient, const Sizes& sizes, const Maybe<Numbers>& seen,
                               Numbers to) const {
        const Maps in = maps_of(gradient, pooled(sizes)), out = maps_of(to, sizes);
        const float* const mask = mask_of(seen, to);
        run([&] { verydeep::average_pool_gradient(processor_, in, mask, out); });
    }

    void gram_matrices(const Numbers& from, const Sizes& sizes, Numbers to) const {
        const Maps in = maps_of(from, sizes);
        check_size(to, in.images * in.shape.channels * in.shape.channels);
        run([&] { verydeep::gram_matrices(processor_, in, to.data()); });
    }
    void gram_gradient(const Numbers& from, const Sizes& sizes, const Numbers& slope, bool masked,
                       Numbers to) const {
        const Maps in = maps_of(from, sizes), out = maps_of(to, sizes);
        check_size(slope, in.images * in.shape.channels * in.shape.channels);
        run([&] { verydeep::gram_gradient(processor_, in, slope.data(), masked, out); });
    }

    // `to` gets rows of numbers for the channels: mean, and sum of squared deviations.
    void channel_statistics(const Numbers& from, const Sizes& sizes, ChannelRows to) const {
        const Maps in = maps_of(from, sizes);
        Padded means(in), squares(in);
        check_rows(to, 2, in);
        run([&] {
            verydeep::channel_statistics(processor_, in, {means.data(), squares.data()});
            means.write(to.data());
            squares.write(to.data() + in.shape.channels);
        });
    }
    void batch_norm(const Numbers& from, const Sizes& sizes, const Normalization& given, bool relu, Numbers to,
                    const Maybe<Winners>& winners) const {
        const Maps in = maps_of(from, sizes), out = maps_of(to, winners ? pooled(sizes) : sizes);
        const NormOf norm(in, given);
        Argmax* const argmax = argmax_of(winners, out);
        run([&] { verydeep::batch_norm(processor_, in, norm.norm(), activation(relu), out, argmax); });
    }
    // `to` gets the gradients of bias and weight: sums of the gradient, and of its products with what is
    // normalised.
    void batch_norm_sums(const Numbers& from, const Sizes& sizes, const Statistics& statistics,
                         const Numbers& gradient, const Maybe<Winners>& winners, ChannelRows to) const {
        const Maps in = maps_of(from, sizes), slope = maps_of(gradient, winners ? pooled(sizes) : sizes);
        const BatchNormNumbers numbers(in, statistics);
        Padded sums(in), products(in);
        check_rows(to, 2, in);
        const Argmax* const argmax = argmax_of(winners, slope);
        run([&] {
            verydeep::batch_norm_sums(processor_, in, numbers.mean.data(), {slope, argmax},
                                      {sums.data(), products.data()});
            write_sums(sums, products, numbers, to);
        });
    }
    // `means` has what `batch_norm_sums` gives, divided by the numbers that the statistics are of; 0 where these
    // are constants.
    void batch_norm_gradient(const Numbers& from, const Sizes& sizes, const Statistics& statistics,
                             const Numbers& weight, const ChannelRows& means, const Numbers& gradient,
                             const Maybe<Winners>& winners, Numbers to) const {
        const Maps in = maps_of(from, sizes), out = maps_of(to, sizes);
        const Maps slope = maps_of(gradient, winners ? pooled(sizes) : sizes);
        const BatchNormNumbers numbers(in, statistics);
        const Padded scale = numbers.times_inverse(weight);
        Padded offset(in), along(in);
        check_rows(means, 2, in);
        for (long i = 0; i < in.shape.channels; ++i) {
            offset[i] = scale[i] * means.data()[i];
            along[i] = scale[i] * numbers.inverse[i] * means.data()[in.shape.channels + i];
        }
        const Argmax* const argmax = argmax_of(winners, slope);
        run([&] {
            verydeep::batch_norm_gradient(processor_, in,
                                          {numbers.mean.data(), scale.data(), along.data(), offset.data()},
                                          {slope, argmax}, out);
        });
    }

    // Whether a convolution of such maps may be given a normalisation.
    static bool by_tiles(const Sizes& sizes) {
        const auto [images, channels, height, width] = sizes;
        return verydeep::by_tiles({channels, height, width});
    }
    // `sizes` are those of the input in all that follow. `moments` get what `channel_statistics` gives of the
    // output, which is then neither pooled nor rectified. `pooling` has the factors of the normalisation that
    // reads it, and gets what a 2x2 max-pooling behind that chooses, and which it was.
    void convolve(const Numbers& from, const Sizes& sizes, const Maybe<Normalization>& norm,
                  const Weights& weights, const Maybe<Numbers>& transformed, const Numbers& bias, bool relu,
                  Numbers to, const Maybe<Winners>& winners, const Maybe<ChannelRows>& moments,
                  const Maybe<Pooling>& pooling) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const Sizes out_sizes = with_channels(winners ? pooled(sizes) : sizes, outputs);
        const Input in(maps_of(from, sizes), norm);
        const Maps out = maps_of(to, out_sizes);
        const verydeep::LayerWeights both = both_weights(weights, transformed, sizes, outputs, false);
        check_size(bias, outputs);
        Argmax* const argmax = argmax_of(winners, out);
        Padded means(out), squares(out), signs(out);
        verydeep::Measured wanted{{means.data(), squares.data()}, {}, signs.data(), nullptr};
        if (moments) check_rows(*moments, 2, out);
        if (moments && (relu || argmax)) refuse("moments are of maps that are neither rectified nor pooled");
        if (pooling) {
            if (!moments || !by_tiles(sizes))
                refuse("maps are pooled for a normalisation that takes their moments");
            const auto& [factors, pooled_to, pooled_winners] = *pooling;
            const Maps small = maps_of(pooled_to, pooled(out_sizes));
            const Padded weight(out, factors);
            for (long i = 0; i < outputs; ++i) signs[i] = weight[i] < 0 ? -1.0f : 1.0f;
            wanted.pooled = small.map();
            wanted.argmax = argmax_of(pooled_winners, small);
        }
        run([&] {
            verydeep::convolve(processor_, in.get(), both, bias.data(),
                               {out, activation(relu), argmax, moments ? &wanted : nullptr});
            if (!moments) return;
            means.write(moments->data());
            squares.write(moments->data() + outputs);
        });
    }
    void data_gradient(const Numbers& gradient, const Maybe<Winners>& winners, const Sizes& sizes,
                       const Weights& weights, const Maybe<Numbers>& transformed, const Maybe<Numbers>& seen,
                       Numbers to) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const Maps out = maps_of(to, sizes);
        const Maps in = maps_of(gradient, with_channels(winners ? pooled(sizes) : sizes, outputs));
        const verydeep::LayerWeights both = both_weights(weights, transformed, sizes, outputs, true);
        const Argmax* const argmax = argmax_of(winners, in);
        const float* const mask = mask_of(seen, to);
        run([&] { verydeep::convolution_data_gradient(processor_, {in, argmax}, both, mask, out); });
    }
    // The gradient at what a normalisation and a ReLU made of the maps, and its sums as `batch_norm_sums` gives
    // them.
    void normalized_data_gradient(const Numbers& gradient, const Numbers& from, const Sizes& sizes,
                                  const Normalization& norm, const Weights& weights,
                                  const Maybe<Numbers>& transformed, Numbers to, ChannelRows sums_to) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const Maps seen = maps_of(from, sizes), out = maps_of(to, sizes);
        const Maps slope = maps_of(gradient, with_channels(sizes, outputs));
        const Input in(seen, norm);
        const verydeep::LayerWeights both = both_weights(weights, transformed, sizes, outputs, true);
        check_rows(sums_to, 2, out);
        Padded sums(out), products(out);
        run([&] {
            verydeep::normalized_data_gradient(processor_, {slope, nullptr}, both, in.get(), out,
                                               {sums.data(), products.data()});
            write_sums(sums, products, in.numbers(), sums_to);
        });
    }
    void weight_gradient(const Numbers& from, const Sizes& sizes, const Maybe<Normalization>& norm,
                         const Numbers& gradient, const Maybe<Winners>& winners, Weights weights,
                         Numbers bias) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const Maps maps = maps_of(from, sizes);
        const Input in(maps, norm);
        const Maps slope = maps_of(gradient, with_channels(winners ? pooled(sizes) : sizes, outputs));
        weights_of(weights, maps.shape.channels, outputs);
        check_size(bias, outputs);
        const Argmax* const argmax = argmax_of(winners, slope);
        run([&] {
            verydeep::convolution_weight_gradient(processor_, in.get(), {slope, argmax}, weights.data(),
                                                  bias.data());
        });
    }
    // What `transformed` takes: transformed once for many calls.
    NumpyFloats transform(const Weights& weights, const Sizes& sizes, bool back) const {
        const verydeep::ConvolutionWeights plain =
            weights_of(weights, std::get<1>(sizes), static_cast<long>(weights.shape(0)));
        const verydeep::Shape in = input_shape(sizes, plain.out_channels, back);
        const long outputs = back ? plain.in_channels : plain.out_channels;
        const long floats = verydeep::transformed_floats(processor_, in, outputs);
        NumpyFloats found = make_numbers(floats);
        run([&] { verydeep::transform_convolution(processor_, plain, in, back, found.data()); });
        return found;
    }

    void convolve_images(const Numbers& from, const Sizes& sizes, const Weights& weights, const Numbers& bias,
                         bool relu, Numbers to) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const BorderedImages in = images_of(from, sizes);
        const Maps out = maps_of(to, with_channels(sizes, outputs));
        const verydeep::ConvolutionWeights plain = weights_of(weights, 3, outputs);
        check_size(bias, outputs);
        run([&] { verydeep::convolve_images(processor_, in, plain, bias.data(), activation(relu), out); });
    }
    void images_data_gradient(const Numbers& gradient, const Sizes& sizes, const Weights& weights,
                              Numbers to) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const BorderedImages out = images_of(to, sizes);
        const Maps in = maps_of(gradient, with_channels(sizes, outputs));
        const verydeep::ConvolutionWeights plain = weights_of(weights, 3, outputs);
        run([&] { verydeep::images_data_gradient(processor_, in, plain, out); });
    }
    void images_weight_gradient(const Numbers& from, const Sizes& sizes, const Numbers& gradient, Weights weights,
                                Numbers bias) const {
        const long outputs = static_cast<long>(weights.shape(0));
        const BorderedImages in = images_of(from, sizes);
        const Maps slope = maps_of(gradient, with_channels(sizes, outputs));
        weights_of(weights, 3, outputs);
        check_size(bias, outputs);
        run([&] { verydeep::images_weight_gradient(processor_, in, slope, weights.data(), bias.data()); });
    }

    void distances(const Numbers& first, const Numbers& second, const Sizes& sizes, const Numbers& weights,
                   float epsilon, Numbers to) const {
        const Maps one = maps_of(first, sizes), other = maps_of(second, sizes);
        check_size(weights, verydeep::blocks_of(one.shape.channels) * BLOCK);
        check_size(to, one.images * one.shape.height * one.shape.width);
        run([&] { verydeep::unit_distances(processor_, one, other, weights.data(), epsilon, to.data()); });
    }
    void distance_gradients(const Numbers& first, const Numbers& second, const Sizes& sizes,
                            const Numbers& weights, float epsilon, const Numbers& slope, bool masked,
                            const Maybe<Numbers>& to_first, const Maybe<Numbers>& to_second) const {
        const Maps one = maps_of(first, sizes), other = maps_of(second, sizes);
        check_size(weights, verydeep::blocks_of(one.shape.channels) * BLOCK);
        check_size(slope, one.images * one.shape.height * one.shape.width);
        const auto place = [&](const Maybe<Numbers>& to) { return to ? maps_of(*to, sizes).data : nullptr; };
        const verydeep::DistanceGradients gradients{slope.data(), masked, place(to_first), place(to_second)};
        run([&] {
            verydeep::unit_distance_gradients(processor_, one, other, weights.data(), epsilon, gradients);
        });
    }

private:
    static int checked(int threads) {
        verydeep::check_threads(threads);
        return threads;
    }
    static verydeep::Activation activation(bool relu) {
        return relu ? verydeep::Activation::relu : verydeep::Activation::none;
    }
    // What is multiplied with the weights: backwards these are gradients at the outputs.
    static verydeep::Shape input_shape(const Sizes& sizes, long out_channels, bool back) {
        const auto [images, channels, height, width] = sizes;
        return {back ? out_channels : channels, height, width};
    }
    verydeep::LayerWeights both_weights(const Weights& weights, const Maybe<Numbers>& transformed,
                                        const Sizes& sizes, long outputs, bool back) const {
        const verydeep::ConvolutionWeights plain = weights_of(weights, std::get<1>(sizes), outputs);
        if (!transformed) return {plain, nullptr};
        check_size(*transformed, verydeep::transformed_floats(processor_, input_shape(sizes, outputs, back),
                                                              back ? plain.in_channels : outputs));
        return {plain, transformed->data()};
    }
    template <class Work>
    static void run(Work work) {
        const GilReleased released;
        const verydeep::PoolLock lock;
        work();
    }

    const verydeep::Processor processor_;
};

}  // namespace

// Arrays are taken as they are: a copy of another type would get the results in place of the caller's memory.
void bind_layers(nb::module_& module) {
    module.def("maps", make_maps, "sizes"_a);
    module.def("bordered_images", make_images, "sizes"_a);
    module.def("argmax", make_argmax, "sizes"_a);
    module.def("numbers", make_numbers, "count"_a);
    module.def("kept_buffer_bytes", verydeep::kept_buffer_bytes);
    module.def("free_kept_buffers", verydeep::free_kept_buffers);
    nb::class_<Layers>(module, "Layers")
        .def(nb::init<const std::string&, int, const std::string&>(), nb::kw_only(), "instructions"_a, "threads"_a,
             "precision"_a = "float32")
        .def_prop_ro("threads", &Layers::threads)
        .def("pack", &Layers::pack, "tensor"_a.noconvert(), "sizes"_a, "to"_a.noconvert(),
             "seen"_a.noconvert().none() = nb::none())
        .def("unpack", &Layers::unpack, "maps"_a.noconvert(), "sizes"_a, "to"_a.noconvert())
        .def("pack_images", &Layers::pack_images, "tensor"_a.noconvert(), "sizes"_a, "to"_a.noconvert())
        .def("unpack_images", &Layers::unpack_images, "images"_a.noconvert(), "sizes"_a, "to"_a.noconvert())
        .def("max_pool", &Layers::max_pool, "maps"_a.noconvert(), "sizes"_a, "to"_a.noconvert(),
             "argmax"_a.noconvert())
        .def("max_pool_gradient", &Layers::max_pool_gradient, "gradient"_a.noconvert(), "argmax"_a.noconvert(),
             "sizes"_a, "to"_a.noconvert(), "accumulate"_a = false)
        .def("average_pool", &Layers::average_pool, "maps"_a.noconvert(), "sizes"_a, "to"_a.noconvert())
        .def("average_pool_gradient", &Layers::average_pool_gradient, "gradient"_a.noconvert(), "sizes"_a,
             "seen"_a.noconvert().none(), "to"_a.noconvert())
        .def("gram_matrices", &Layers::gram_matrices, "maps"_a.noconvert(), "sizes"_a, "to"_a.noconvert())
        .def("gram_gradient", &Layers::gram_gradient, "maps"_a.noconvert(), "sizes"_a, "slope"_a.noconvert(),
             "masked"_a, "to"_a.noconvert())
        .def("channel_statistics", &Layers::channel_statistics, "maps"_a.noconvert(), "sizes"_a,
             "to"_a.noconvert())
        .def("batch_norm", &Layers::batch_norm, "maps"_a.noconvert(), "sizes"_a, "norm"_a.noconvert(), "relu"_a,
             "to"_a.noconvert(), "argmax"_a.noconvert().none())
        .def("batch_norm_sums", &Layers::batch_norm_sums, "maps"_a.noconvert(), "sizes"_a,
             "statistics"_a.noconvert(), "gradient"_a.noconvert(), "argmax"_a.noconvert().none(),
             "to"_a.noconvert())
        .def("batch_norm_gradient", &Layers::batch_norm_gradient, "maps"_a.noconvert(), "sizes"_a,
             "statistics"_a.noconvert(), "weight"_a.noconvert(), "means"_a.noconvert(), "gradient"_a.noconvert(),
             "argmax"_a.noconvert().none(), "to"_a.noconvert())
        .def_static("by_tiles", &Layers::by_tiles, "sizes"_a)
        .def("convolve", &Layers::convolve, "maps"_a.noconvert(), "sizes"_a, "norm"_a.noconvert().none(),
             "weights"_a.noconvert(), "transformed"_a.noconvert().none(), "bias"_a.noconvert(), "relu"_a,
             "to"_a.noconvert(), "argmax"_a.noconvert().none(), "moments"_a.noconvert().none(),
             "pooling"_a.noconvert().none())
        .def("data_gradient", &Layers::data_gradient, "gradient"_a.noconvert(), "argmax"_a.noconvert().none(),
             "sizes"_a, "weights"_a.noconvert(), "transformed"_a.noconvert().none(), "seen"_a.noconvert().none(),
             "to"_a.noconvert())
        .def("normalized_data_gradient", &Layers::normalized_data_gradient, "gradient"_a.noconvert(),
             "maps"_a.noconvert(), "sizes"_a, "norm"_a.noconvert(), "weights"_a.noconvert(),
             "transformed"_a.noconvert().none(), "to"_a.noconvert(), "sums"_a.noconvert())
        .def("weight_gradient", &Layers::weight_gradient, "maps"_a.noconvert(), "sizes"_a,
             "norm"_a.noconvert().none(), "gradient"_a.noconvert(), "argmax"_a.noconvert().none(),
             "weights"_a.noconvert(), "bias"_a.noconvert())
        .def("transform", &Layers::transform, "weights"_a.noconvert(), "sizes"_a, "back"_a)
        .def("convolve_images", &Layers::convolve_images, "images"_a.noconvert(), "sizes"_a,
             "weights"_a.noconvert(), "bias"_a.noconvert(), "relu"_a, "to"_a.noconvert())
        .def("images_data_gradient", &Layers::images_data_gradient, "gradient"_a.noconvert(), "sizes"_a,
             "weights"_a.noconvert(), "to"_a.noconvert())
        .def("images_weight_gradient", &Layers::images_weight_gradient, "images"_a.noconvert(), "sizes"_a,
             "gradient"_a.noconvert(), "weights"_a.noconvert(), "bias"_a.noconvert())
        .def("distances", &Layers::distances, "first"_a.noconvert(), "second"_a.noconvert(), "sizes"_a,
             "weights"_a.noconvert(), "epsilon"_a, "to"_a.noconvert())
        .def("distance_gradients", &Layers::distance_gradients, "first"_a.noconvert(), "second"_a.noconvert(),
             "sizes"_a, "weights"_a.noconvert(), "epsilon"_a, "slope"_a.noconvert(), "masked"_a,
             "to_first"_a.noconvert().none(), "to_second"_a.noconvert().none());
}
