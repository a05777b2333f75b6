// Random layers, forwards and backwards, beside plain loops in double precision.
#pragma once

#include <random>

#include "engine/instructions.h"

namespace verydeep {

// Whether a random layer is right on an instruction set; if not, it says so.
bool check_layer(std::mt19937& engine, Instructions instructions);

}  // namespace verydeep
