// The Python module `verydeep._native`. Arrays cross as DLPack, without a copy; the GIL is released while it computes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using verydeep::Kind;
using verydeep::Network;
using verydeep::Output;
using verydeep::Stage;
using verydeep::StepDescription;

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Floats4 = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Pixels4 = nb::ndarray<const std::uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

// A description that keeps its arrays alive until the network has taken what it needs, or as long as it needs them.
struct Step {
    StepDescription is;
    Floats4 weights;
    Floats bias;
};

Step weighted(Kind kind, Floats4 weights, Floats bias, bool relu, bool pool) {
    if (weights.shape(2) != weights.shape(3)) throw std::invalid_argument("a kernel has to be square");
    if (bias.ndim() != 1 || bias.shape(0) != weights.shape(0))
        throw std::invalid_argument("bias needs a number for each of " + std::to_string(weights.shape(0)) + " outputs");
    Step step{{}, weights, bias};
    step.is.kind = kind;
    step.is.out_channels = static_cast<long>(weights.shape(0));
    step.is.in_channels = static_cast<long>(weights.shape(1));
    step.is.kernel = static_cast<int>(weights.shape(2));
    step.is.relu = relu;
    step.is.pool = pool;
    step.is.weights = weights.data();
    step.is.bias = bias.data();
    return step;
}

Step weightless(Kind kind) {
    Step step;
    step.is.kind = kind;
    return step;
}

Output output_of(const std::pair<int, std::string>& named) {
    const auto& [step, stage] = named;
    if (stage == "sums") return {step, Stage::sums};
    if (stage == "relu") return {step, Stage::relu};
    if (stage == "pool") return {step, Stage::pool};
    throw std::invalid_argument("no stage is called '" + stage + "'; there are sums, relu, pool");
}

using NamedOutputs = std::vector<std::pair<int, std::string>>;

std::vector<Output> outputs_of(const NamedOutputs& named) {
    std::vector<Output> outputs;
    for (const auto& one : named) outputs.push_back(output_of(one));
    return outputs;
}

template <class Array>
void check_pictures(const Network& network, const Array& input) {
    if (static_cast<long>(input.shape(3)) != network.in_channels())
        throw std::invalid_argument("pictures have " + std::to_string(input.shape(3)) + " channels, this network takes " +
                                    std::to_string(network.in_channels()));
    const std::size_t most = std::size_t{1} << 30;
    if (input.shape(1) > most || input.shape(2) > most) throw std::invalid_argument("picture is too large");
}

// Room for an output, which belongs to the array.
template <std::size_t axes>
float* room(nb::list& arrays, const std::size_t (&sizes)[axes]) {
    std::size_t count = 1;
    for (const std::size_t size : sizes) count *= size;
    auto* const numbers = new float[count + 1];
    const nb::capsule owner(numbers, [](void* data) noexcept { delete[] static_cast<float*>(data); });
    arrays.append(nb::ndarray<nb::numpy, float, nb::ndim<axes>>(numbers, axes, sizes, owner));
    return numbers;
}

template <class Array>
nb::list run(Network& network, const Array& input, const NamedOutputs& named, verydeep::Input start,
             const verydeep::Comparison* comparison = nullptr) {
    check_pictures(network, input);
    const std::size_t batch = input.shape(0);
    const int height = static_cast<int>(input.shape(1)), width = static_cast<int>(input.shape(2));
    const std::vector<Output> outputs = outputs_of(named);
    const std::vector<verydeep::Shape> shapes = network.shapes(height, width, outputs);
    std::vector<float*> results;
    nb::list arrays;
    for (const verydeep::Shape& shape : shapes) {
        const auto channels = static_cast<std::size_t>(shape.channels), rows = static_cast<std::size_t>(shape.height),
                   columns = static_cast<std::size_t>(shape.width);
        results.push_back(comparison ? room(arrays, {batch / 2, rows, columns})
                                     : room(arrays, {batch, channels, rows, columns}));
    }
    {
        const nb::gil_scoped_release released;
        network.run(start, static_cast<long>(batch), height, width, outputs, results, comparison);
    }
    return arrays;
}

// As many weights as each output has channels, and zeros up to whole blocks.
std::vector<std::vector<float>> padded(const Network& network, const std::vector<Floats>& weights, const Floats4& numbers,
                                       const NamedOutputs& named) {
    const auto shapes = network.shapes(static_cast<int>(numbers.shape(1)), static_cast<int>(numbers.shape(2)), outputs_of(named));
    if (weights.size() != shapes.size()) throw std::invalid_argument("each output needs weights");
    std::vector<std::vector<float>> blocks;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        if (weights[i].ndim() != 1 || static_cast<long>(weights[i].shape(0)) != shapes[i].channels)
            throw std::invalid_argument("weights need a number for each of " + std::to_string(shapes[i].channels) + " channels");
        blocks.emplace_back(weights[i].data(), weights[i].data() + shapes[i].channels);
        blocks.back().resize(verydeep::blocks_of(shapes[i].channels) * verydeep::CHANNELS);
    }
    return blocks;
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "VGG networks on a processor's own instructions: see docs/native-engine.md";

    nb::class_<Step>(module, "Step")
        .def_static(
            "convolution",
            [](Floats4 weights, Floats bias, bool relu, bool pool) {
                return weighted(Kind::convolution, weights, bias, relu, pool);
            },
            "weights"_a.noconvert(), "bias"_a.noconvert(), nb::kw_only(), "relu"_a = true, "pool"_a = false)
        .def_static(
            "fully_connected",
            [](Floats4 weights, Floats bias, bool relu) {
                return weighted(Kind::fully_connected, weights, bias, relu, false);
            },
            "weights"_a.noconvert(), "bias"_a.noconvert(), nb::kw_only(), "relu"_a = true)
        .def_static("max_pooling", [] { return weightless(Kind::max_pooling); })
        .def_static("average_pooling", [] { return weightless(Kind::average_pooling); })
        .def_static(
            "normalization",
            [](int size, float alpha, float beta, float k) {
                Step step = weightless(Kind::normalization);
                step.is.size = size;
                step.is.alpha = alpha;
                step.is.beta = beta;
                step.is.k = k;
                return step;
            },
            "size"_a, "alpha"_a, "beta"_a, "k"_a);

    nb::class_<Network>(module, "Network")
        .def(
            "__init__",
            [](Network* self, const std::vector<Step>& steps, long in_channels,
               nb::ndarray<const float, nb::shape<3, 256>, nb::c_contig, nb::device::cpu> levels, bool flip,
               const std::string& instructions, const std::string& precision, int threads,
               bool on_demand) {
                const verydeep::Instructions chosen = verydeep::instructions_called(instructions);
                std::vector<StepDescription> descriptions;
                for (const Step& step : steps) descriptions.push_back(step.is);
                std::vector<float> numbers(levels.data(), levels.data() + 768);
                {
                    const nb::gil_scoped_release released;
                    new (self) Network(descriptions, in_channels, std::move(numbers), flip, chosen,
                                       verydeep::precision_called(precision), threads, on_demand);
                }
                auto borrowed = std::make_shared<std::vector<Step>>();
                for (int i = 0; i < self->num_steps(); ++i)
                    if (self->borrows(i)) borrowed->push_back(steps[i]);
                self->kept = std::move(borrowed);
            },
            "steps"_a, nb::kw_only(), "in_channels"_a, "levels"_a.noconvert(), "flip"_a, "instructions"_a, "precision"_a, "threads"_a,
            "on_demand"_a = false)
        .def(
            "run_pixels",
            [](Network& network, Pixels4 pixels, const NamedOutputs& outputs) {
                return run(network, pixels, outputs, {pixels.data(), nullptr});
            },
            "pixels"_a.noconvert(), "outputs"_a)
        .def(
            "run_numbers",
            [](Network& network, Floats4 numbers, const NamedOutputs& outputs) {
                return run(network, numbers, outputs, {nullptr, numbers.data()});
            },
            "numbers"_a.noconvert(), "outputs"_a)
        .def(
            "compare_numbers",
            [](Network& network, Floats4 numbers, const NamedOutputs& outputs, const std::vector<Floats>& weights,
               float epsilon) {
                check_pictures(network, numbers);
                const std::vector<std::vector<float>> blocks = padded(network, weights, numbers, outputs);
                verydeep::Comparison comparison{{}, epsilon};
                for (const std::vector<float>& one : blocks) comparison.weights.push_back(one.data());
                return run(network, numbers, outputs, {nullptr, numbers.data()}, &comparison);
            },
            "numbers"_a.noconvert(), "outputs"_a, "weights"_a, nb::kw_only(), "epsilon"_a)
        .def(
            "scratch_bytes",
            [](const Network& network, long batch, int height, int width, const NamedOutputs& outputs) {
                return network.scratch_bytes(batch, height, width, outputs_of(outputs));
            },
            "batch"_a, "height"_a, "width"_a, "outputs"_a)
        .def_prop_ro("weight_bytes", &Network::weight_bytes)
        .def_prop_ro("instructions", [](const Network& network) { return verydeep::name_of(network.instructions()); })
        .def_prop_ro("precision", [](const Network& network) { return verydeep::name_of(network.precision()); })
        .def_prop_ro("threads", &Network::threads)
        .def_rw("measure", &Network::measure)
        .def_ro("seconds", &Network::seconds);

    module.def("available_instructions", [] {
        std::vector<std::string> names;
        for (const verydeep::Instructions instructions : verydeep::available_instructions())
            names.emplace_back(verydeep::name_of(instructions));
        return names;
    });
    module.def("has", [](const std::string& instructions, const std::string& precision) {
        return verydeep::has(verydeep::instructions_called(instructions), verydeep::precision_called(precision));
    }, "instructions"_a, "precision"_a);
}
