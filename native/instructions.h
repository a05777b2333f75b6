// Which instruction sets this processor has, and the loops that are compiled for them.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace verydeep {

// From the plainest to the best.
std::vector<Instructions> available_instructions();

// By its name. Raises std::invalid_argument if there is none of this name, or the processor lacks it.
Instructions instructions_called(const std::string& name);

// Loops for products in float32, or in bfloat16 where the instruction set has it.
const Kernels& kernels_for(Instructions, bool bfloat16);

inline bool has_bfloat16(Instructions instructions) { return instructions == Instructions::avx512_bf16; }

}  // namespace verydeep
