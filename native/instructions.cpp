#include "instructions.h"

#include <stdexcept>

namespace verydeep {

const char* name_of(Instructions instructions) {
    switch (instructions) {
        case Instructions::portable: return "portable";
        case Instructions::avx2: return "avx2";
        case Instructions::avx512: return "avx512";
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
            if (__builtin_cpu_supports("avx512bf16")) found.push_back(Instructions::avx512_bf16);
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

const Kernels& kernels_for(Instructions instructions, bool bfloat16) {
    switch (instructions) {
#if defined(__x86_64__)
        case Instructions::avx2: return *avx2::kernels(bfloat16);
        case Instructions::avx512: return *avx512::kernels(bfloat16);
        case Instructions::avx512_bf16: return *avx512_bf16::kernels(bfloat16);
#endif
        default: return *portable::kernels(bfloat16);
    }
}

}  // namespace verydeep
