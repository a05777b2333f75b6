#include "layers/scratch.h"

#include "engine/memory.h"

namespace verydeep {

float* layer_scratch(std::size_t floats) {
    static Memory* const memory = new Memory;  // never deleted: threads may outlive every static object
    const std::size_t wanted = floats * sizeof(float), slack = std::size_t{64} << 20;
    if (memory->bytes() < wanted || memory->bytes() > 4 * wanted + slack) {
        *memory = Memory();  // the old one goes before the new one comes
        *memory = Memory(wanted);
    }
    return memory->floats();
}

}  // namespace verydeep
