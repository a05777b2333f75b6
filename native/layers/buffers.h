// Memory for maps: kept when it is given back, for those to come.
#pragma once

#include <cstddef>

namespace verydeep {

enum class BufferKind { maps, bordered_images, argmax, numbers };

// What a piece of memory is for: two of one layout have their borders at the same places. `numbers` are as many as
// there are channels.
struct BufferLayout {
    BufferKind kind;
    long images, channels;
    int height, width;
    bool operator==(const BufferLayout&) const = default;

    std::size_t bytes() const;
};

struct Buffer {
    BufferLayout layout;
    char* data;
};

// Its border is 0, and nothing else is set. Raises std::bad_alloc. Any thread may call these.
Buffer* take_buffer(const BufferLayout& layout);
void give_back(Buffer* buffer);

// What is kept is bounded: kept and used memory together are never more than the most that was used at once, and a
// sixteenth of that.
std::size_t kept_buffer_bytes();
void free_kept_buffers();

}  // namespace verydeep
