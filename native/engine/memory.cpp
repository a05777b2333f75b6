#include "engine/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace verydeep {
namespace {

constexpr std::size_t LARGE_PAGE = std::size_t{2} << 20;

std::size_t rounded(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    const bool large = bytes >= LARGE_PAGE / 2;
    mapped_ = large ? rounded(bytes, LARGE_PAGE) + LARGE_PAGE : rounded(bytes, 4096);
    mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) {
        mapping_ = nullptr;
        throw std::bad_alloc();
    }
    data_ = mapping_;
    if (large) {
        const auto address = rounded(reinterpret_cast<std::uintptr_t>(mapping_), LARGE_PAGE);
        data_ = reinterpret_cast<void*>(address);
#if defined(MADV_HUGEPAGE)
        madvise(data_, rounded(bytes, LARGE_PAGE), MADV_HUGEPAGE);  // a wish: small pages work too
#endif
    }
}

Memory::~Memory() {
    if (mapping_) munmap(mapping_, mapped_);
}

void Memory::release(void* pages, std::size_t bytes) {
#if defined(__linux__)
    if (madvise(pages, bytes, MADV_DONTNEED) == 0) return;
#endif
    std::memset(pages, 0, bytes);  // elsewhere that advice does not clear them
}

void Memory::swap(Memory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    std::swap(mapping_, other.mapping_);
}

}  // namespace verydeep
