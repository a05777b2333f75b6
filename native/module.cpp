// The Python module `verydeep._native`. Arrays cross as DLPack, without a copy; the GIL is released while it
// computes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/ceiling.h"
#include "engine/network.h"
#include "engine/threads.h"
#include "gil.h"
#include "layers_module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using verydeep::Activation;
using verydeep::Network;
using verydeep::NetworkOptions;
using verydeep::Output;
using verydeep::Stage;
using verydeep::StepKind;

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Floats4 = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Pixels4 = nb::ndarray<const std::uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Levels = nb::ndarray<const float, nb::shape<3, 256>, nb::c_contig, nb::device::cpu>;

// An integer of Python; of those that are too large for a type, the largest of it, which no size or number is.
template <class Number>
struct Clamped {
    Number value;
    operator Number() const { return value; }
};
using Int = Clamped<int>;
using Long = Clamped<long>;
using NamedOutputs = std::vector<std::pair<Int, std::string>>;

}  // namespace

template <class Number>
struct nb::detail::type_caster<Clamped<Number>> {
    NB_TYPE_CASTER(Clamped<Number>, const_name("int"))

    bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
        const object index = steal(PyNumber_Index(source.ptr()));
        int beyond = 0;
        const long long number = index.is_valid() ? PyLong_AsLongLongAndOverflow(index.ptr(), &beyond) : 0;
        PyErr_Clear();
        using Limits = std::numeric_limits<Number>;
        value.value = beyond > 0 ? Limits::max()
                      : beyond < 0
                          ? Limits::min()
                          : static_cast<Number>(std::clamp<long long>(number, Limits::min(), Limits::max()));
        return index.is_valid();
    }
};

namespace {

// A step that keeps its arrays alive until the network has taken what it needs, or as long as it needs them.
struct Step {
    verydeep::Step step;
    Floats4 weights;
    Floats bias;
};

Step step_with_weights(StepKind kind, Floats4 weights, Floats bias, bool relu, bool max_pool) {
    if (weights.shape(2) != weights.shape(3)) throw std::invalid_argument("a kernel must be square");
    if (bias.ndim() != 1 || bias.shape(0) != weights.shape(0))
        throw std::invalid_argument("bias needs a number for each of " + std::to_string(weights.shape(0)) +
                                    " outputs");
    verydeep::Step step{kind};
    step.out_channels = static_cast<long>(weights.shape(0));
    step.in_channels = static_cast<long>(weights.shape(1));
    step.kernel = static_cast<int>(weights.shape(2));
    step.activation = relu ? Activation::relu : Activation::none;
    step.max_pool = max_pool;
    step.weights = weights.data();
    step.bias = bias.data();
    return {step, weights, bias};
}

Step convolution(Floats4 weights, Floats bias, bool relu, bool pool) {
    return step_with_weights(StepKind::convolution, weights, bias, relu, pool);
}

Step fully_connected(Floats4 weights, Floats bias, bool relu) {
    return step_with_weights(StepKind::fully_connected, weights, bias, relu, false);
}

Step response_norm(Int size, float alpha, float beta, float k) {
    verydeep::Step step{StepKind::response_norm};
    step.norm = {size, alpha, beta, k};
    return {step, {}, {}};
}

Output output_called(const std::pair<Int, std::string>& named) {
    const auto& [step, stage] = named;
    if (stage == "sums") return {step, Stage::sums};
    if (stage == "relu") return {step, Stage::activated};
    if (stage == "pool") return {step, Stage::pool};
    throw std::invalid_argument("no stage is called '" + stage + "'; there are sums, relu, pool");
}

std::vector<Output> outputs_called(const NamedOutputs& named) {
    std::vector<Output> outputs;
    for (const auto& one : named) outputs.push_back(output_called(one));
    return outputs;
}

void make_network(Network* self, const std::vector<Step>& steps, Long in_channels, Levels levels, bool flip,
                  const std::string& instructions, const std::string& precision, Int threads, bool on_demand) {
    NetworkOptions options;
    options.in_channels = in_channels;
    options.levels.assign(levels.data(), levels.data() + levels.size());
    options.flip = flip;
    options.instructions = verydeep::instructions_called(instructions);
    options.precision = verydeep::precision_called(precision);
    options.threads = threads;
    options.on_demand = on_demand;
    std::vector<verydeep::Step> plain;
    for (const Step& step : steps) plain.push_back(step.step);
    {
        const GilReleased released;
        new (self) Network(plain, std::move(options));
    }
    auto borrowed = std::make_shared<std::vector<Step>>();
    for (int i = 0; i < self->num_steps(); ++i)
        if (self->borrows_weights(i)) borrowed->push_back(steps[i]);
    self->weights_owner = std::move(borrowed);
}

// An array of images, as a network takes them. `pixels` or `numbers` is null.
template <class Array>
verydeep::Images images_of(const Network& network, const Array& array, const std::uint8_t* pixels,
                           const float* numbers) {
    if (static_cast<long>(array.shape(3)) != network.in_channels())
        throw std::invalid_argument("images have " + std::to_string(array.shape(3)) +
                                    " channels, this network takes " + std::to_string(network.in_channels()));
    const auto side = [&array](int axis) {
        return static_cast<int>(std::min<std::size_t>(array.shape(axis), std::numeric_limits<int>::max()));
    };
    return {pixels, numbers, static_cast<long>(array.shape(0)), side(1), side(2)};
}

// A new array at the end of a list, which owns its memory.
template <std::size_t axes>
float* append_array(nb::list& arrays, const std::size_t (&sizes)[axes]) {
    std::size_t count = 1;
    for (const std::size_t size : sizes)
        if (__builtin_mul_overflow(count, size, &count)) throw std::bad_alloc();
    auto* const numbers = new float[count + 1];
    const nb::capsule owner(numbers, [](void* data) noexcept { delete[] static_cast<float*>(data); });
    arrays.append(nb::ndarray<nb::numpy, float, nb::ndim<axes>>(numbers, axes, sizes, owner));
    return numbers;
}

nb::list run(Network& network, const verydeep::Images& images, const NamedOutputs& named,
             const verydeep::Comparison* comparison = nullptr) {
    const std::vector<Output> outputs = outputs_called(named);
    const auto batch = static_cast<std::size_t>(images.count);
    std::vector<float*> results;
    nb::list arrays;
    for (const verydeep::Shape& shape : network.shapes(images.height, images.width, outputs)) {
        const auto channels = static_cast<std::size_t>(shape.channels),
                   rows = static_cast<std::size_t>(shape.height), columns = static_cast<std::size_t>(shape.width);
        results.push_back(comparison ? append_array(arrays, {batch / 2, rows, columns})
                                     : append_array(arrays, {batch, channels, rows, columns}));
    }
    {
        const GilReleased released;
        network.run(images, outputs, results, comparison);
    }
    return arrays;
}

nb::list run_pixels(Network& network, Pixels4 pixels, const NamedOutputs& outputs) {
    return run(network, images_of(network, pixels, pixels.data(), nullptr), outputs);
}

nb::list run_numbers(Network& network, Floats4 numbers, const NamedOutputs& outputs) {
    return run(network, images_of(network, numbers, nullptr, numbers.data()), outputs);
}

// As many weights as each output has channels, and zeros up to whole blocks.
std::vector<std::vector<float>> padded(const std::vector<Floats>& weights,
                                       const std::vector<verydeep::Shape>& shapes) {
    if (weights.size() != shapes.size()) throw std::invalid_argument("each output needs weights");
    std::vector<std::vector<float>> blocks;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        if (weights[i].ndim() != 1 || static_cast<long>(weights[i].shape(0)) != shapes[i].channels)
            throw std::invalid_argument("weights need a number for each of " + std::to_string(shapes[i].channels) +
                                        " channels");
        blocks.emplace_back(weights[i].data(), weights[i].data() + shapes[i].channels);
        blocks.back().resize(verydeep::blocks_of(shapes[i].channels) * verydeep::BLOCK);
    }
    return blocks;
}

nb::list compare_numbers(Network& network, Floats4 numbers, const NamedOutputs& outputs,
                         const std::vector<Floats>& weights, float epsilon) {
    const verydeep::Images images = images_of(network, numbers, nullptr, numbers.data());
    const auto blocks = padded(weights, network.shapes(images.height, images.width, outputs_called(outputs)));
    verydeep::Comparison comparison{{}, epsilon};
    for (const std::vector<float>& one : blocks) comparison.weights.push_back(one.data());
    return run(network, images, outputs, &comparison);
}

std::vector<std::string> available_instructions() {
    std::vector<std::string> names;
    for (const verydeep::Instructions instructions : verydeep::available_instructions())
        names.emplace_back(verydeep::name_of(instructions));
    return names;
}

double peak(const std::string& instructions, const std::string& precision, Int threads) {
    const verydeep::Instructions chosen = verydeep::instructions_called(instructions);
    const verydeep::Precision type = verydeep::precision_called(precision);
    if (!verydeep::has(chosen, type))
        throw std::invalid_argument("instruction set '" + instructions + "' has no products in " + precision);
    verydeep::check_threads(threads);
    const GilReleased released;
    const verydeep::PoolLock lock;
    return verydeep::multiply_add_ceiling(verydeep::kernels_for(chosen, type), threads);
}

void bind_step(nb::module_& module) {
    nb::class_<Step>(module, "Step")
        .def_static("convolution", convolution, "weights"_a.noconvert(), "bias"_a.noconvert(), nb::kw_only(),
                    "relu"_a = true, "pool"_a = false)
        .def_static("fully_connected", fully_connected, "weights"_a.noconvert(), "bias"_a.noconvert(),
                    nb::kw_only(), "relu"_a = true)
        .def_static("max_pooling", [] { return Step{{StepKind::max_pooling}, {}, {}}; })
        .def_static("average_pooling", [] { return Step{{StepKind::average_pooling}, {}, {}}; })
        .def_static("normalization", response_norm, "size"_a, "alpha"_a, "beta"_a, "k"_a);
}

void bind_network(nb::module_& module) {
    nb::class_<Network>(module, "Network")
        .def("__init__", make_network, "steps"_a, nb::kw_only(), "in_channels"_a, "levels"_a.noconvert(), "flip"_a,
             "instructions"_a, "precision"_a, "threads"_a, "on_demand"_a = false)
        .def("run_pixels", run_pixels, "pixels"_a.noconvert(), "outputs"_a)
        .def("run_numbers", run_numbers, "numbers"_a.noconvert(), "outputs"_a)
        .def("compare_numbers", compare_numbers, "numbers"_a.noconvert(), "outputs"_a, "weights"_a, nb::kw_only(),
             "epsilon"_a)
        .def(
            "scratch_bytes",
            [](const Network& network, Long batch, Int height, Int width, const NamedOutputs& outputs) {
                return network.scratch_bytes(batch, height, width, outputs_called(outputs));
            },
            "batch"_a, "height"_a, "width"_a, "outputs"_a)
        .def_prop_ro("weight_bytes", &Network::weight_bytes)
        .def_prop_ro("instructions",
                     [](const Network& network) { return verydeep::name_of(network.instructions()); })
        .def_prop_ro("precision", [](const Network& network) { return verydeep::name_of(network.precision()); })
        .def_prop_ro("threads", &Network::threads);
}

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // Python keeps some objects until it ends
    module.doc() = "VGG networks on a processor's own instructions: see docs/explanation/native-engine.md";
    bind_step(module);
    bind_network(module);
    module.def("available_instructions", available_instructions);
    module.def(
        "has",
        [](const std::string& instructions, const std::string& precision) {
            return verydeep::has(verydeep::instructions_called(instructions),
                                 verydeep::precision_called(precision));
        },
        "instructions"_a, "precision"_a);
    module.def("peak", peak, "instructions"_a, "precision"_a, "threads"_a);
    bind_layers(module);
}
