// Random layers, forwards and backwards, beside plain loops in double precision. Each runs with two numbers of
// threads, which have to give the same bits.
#pragma once

#include <random>

#include "engine/instructions.h"

namespace verydeep {

// Whether a random layer is right on an instruction set; if not, it says so.
bool check_convolution(std::mt19937& engine, Instructions instructions);
bool check_normalized_convolution(std::mt19937& engine, Instructions instructions);
bool check_batch_norm(std::mt19937& engine, Instructions instructions);
bool check_poolings(std::mt19937& engine, Instructions instructions);
bool check_distances(std::mt19937& engine, Instructions instructions);
bool check_grams(std::mt19937& engine, Instructions instructions);

// Whether memory for maps is right when several threads take it and give it back at once.
bool check_buffers();

}  // namespace verydeep
