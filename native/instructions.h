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

// Whether there are kernels for products in a precision: float32, and what is quicker than it there.
bool has(Instructions, Precision);

const char* name_of(Precision);

// By its name. Raises std::invalid_argument if there is none of this name.
Precision precision_called(const std::string& name);

// Loops for products in a precision that the instruction set has.
const Kernels& kernels_for(Instructions, Precision);

}  // namespace verydeep
