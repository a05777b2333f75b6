// Which instruction sets this processor has, and the kernels that are compiled for them.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace verydeep {

const char* name_of(Instructions);
const char* name_of(Precision);

// From the plainest to the best.
std::vector<Instructions> available_instructions();

// Whether there are kernels for products in a precision: float32, and what is faster than it there.
bool has(Instructions, Precision);

// By its name. Raises std::invalid_argument if there is none of this name, or the processor lacks it.
Instructions instructions_called(const std::string& name);

// By its name. Raises std::invalid_argument if there is none of this name.
Precision precision_called(const std::string& name);

// Kernels for products in a precision that the instruction set has.
const Kernels& kernels_for(Instructions, Precision);

}  // namespace verydeep
