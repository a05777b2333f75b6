#include "engine/instructions.h"

#include <stdexcept>

namespace verydeep {

const char* name_of(Instructions instructions) {
    switch (instructions) {
        case Instructions::portable: return "portable";
        case Instructions::avx2: return "avx2";
        case Instructions::avx512: return "avx512";
        case Instructions::avx512_vnni: return "avx512_vnni";
        case Instructions::avx512_bf16: return "avx512_bf16";
    }
    return "";
}

std::vector<Instructions> available_instructions() {
    std::vector<Instructions> found{Instructions::portable};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back(Instructions::avx2);
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            found.push_back(Instructions::avx512);
            if (__builtin_cpu_supports("avx512vnni")) {
                found.push_back(Instructions::avx512_vnni);
                if (__builtin_cpu_supports("avx512bf16")) found.push_back(Instructions::avx512_bf16);
            }
        }
    }
#endif
    return found;
}

Instructions instructions_called(const std::string& name) {
    const std::vector<Instructions> found = available_instructions();
    std::string names;
    for (const Instructions instructions : found) {
        if (name == name_of(instructions)) return instructions;
        names += (names.empty() ? "" : ", ") + std::string(name_of(instructions));
    }
    throw std::invalid_argument("instruction set '" + name + "' is not one of this processor's; it has " + names);
}

bool has(Instructions instructions, Precision precision) {
    switch (precision) {
        case Precision::float32: return true;
        case Precision::bfloat16: return instructions == Instructions::avx512_bf16;
        case Precision::int16:
            return instructions == Instructions::avx512_vnni || instructions == Instructions::avx512_bf16;
    }
    return false;
}

const char* name_of(Precision precision) {
    switch (precision) {
        case Precision::float32: return "float32";
        case Precision::bfloat16: return "bfloat16";
        case Precision::int16: return "int16";
    }
    return "";
}

Precision precision_called(const std::string& name) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::int16})
        if (name == name_of(precision)) return precision;
    throw std::invalid_argument("precision '" + name + "' is none of float32, bfloat16, int16");
}

const Kernels& kernels_for(Instructions instructions, Precision precision) {
    switch (instructions) {
#if defined(__x86_64__)
        case Instructions::avx2: return avx2::kernels(precision);
        case Instructions::avx512: return avx512::kernels(precision);
        case Instructions::avx512_vnni: return avx512_vnni::kernels(precision);
        case Instructions::avx512_bf16: return avx512_bf16::kernels(precision);
#endif
        default: return portable::kernels(precision);
    }
}

}  // namespace verydeep
