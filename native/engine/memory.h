// Memory on large pages, aligned for every vector.
#pragma once

#include <cstddef>

namespace verydeep {

class Memory {
public:
    Memory() = default;
    // Zeroed. Raises std::bad_alloc.
    explicit Memory(std::size_t bytes);
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Memory();

    void* data() const { return data_; }
    float* floats() const { return static_cast<float*>(data_); }
    std::size_t bytes() const { return bytes_; }
    // Gives whole pages back to the system; they are 0 when they are touched again.
    static void release(void* pages, std::size_t bytes);

private:
    void swap(Memory& other) noexcept;
    void* data_ = nullptr;
    std::size_t bytes_ = 0, mapped_ = 0;
    void* mapping_ = nullptr;
};

}  // namespace verydeep
