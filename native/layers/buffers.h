// Memory for maps: kept when it is given back, with its border of zeros, for the next of the same layout.
#pragma once

#include <cstddef>

#include "engine/memory.h"

namespace verydeep {

// What a piece of memory is for: two of one layout have their borders at the same places.
struct BufferLayout {
    long images, channels;
    int height, width, kind;
    bool operator==(const BufferLayout&) const = default;
};

struct Buffer {
    BufferLayout layout;
    Memory memory;
};

// Zeroed, or as it was given back. Raises std::bad_alloc. Any thread may call these.
Buffer* take_buffer(const BufferLayout& layout, std::size_t bytes);
void give_back(Buffer* buffer);

// What is kept is bounded: kept and used memory together are never more than the most that was used at once.
std::size_t kept_buffer_bytes();
void free_kept_buffers();

}  // namespace verydeep
