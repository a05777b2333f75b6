#include "layers/buffers.h"

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

namespace verydeep {
namespace {

class Pool {
public:
    Buffer* take(const BufferLayout& layout, std::size_t bytes) {
        std::list<Buffer> dropped;
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto same = std::find_if(kept_.begin(), kept_.end(), [&](const Buffer& one) {
            return one.layout == layout && one.memory.bytes() == bytes;
        });
        const std::size_t most_used = most_used_;
        used_ += bytes;
        most_used_ = std::max(most_used_, used_);
        if (same != kept_.end()) {
            kept_bytes_ -= bytes;
            auto* const found = new Buffer(std::move(*same));
            kept_.erase(same);
            return found;
        }
        drop_until(dropped);
        dropped.clear();  // first, as its memory may be what is lacking
        try {
            return new Buffer{layout, Memory(bytes)};
        } catch (...) {
            used_ -= bytes;
            most_used_ = most_used;
            throw;
        }
    }

    void give_back(Buffer* buffer) {
        const std::unique_ptr<Buffer> owned(buffer);
        std::list<Buffer> dropped;  // freed when the lock is no longer held
        const std::lock_guard<std::mutex> lock(mutex_);
        used_ -= buffer->memory.bytes();
        kept_bytes_ += buffer->memory.bytes();
        kept_.push_front(std::move(*buffer));
        drop_until(dropped);
    }

    std::size_t kept_bytes() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return kept_bytes_;
    }

    void free_kept() {
        std::list<Buffer> dropped;
        const std::lock_guard<std::mutex> lock(mutex_);
        dropped.swap(kept_);
        kept_bytes_ = 0;
        most_used_ = used_;
    }

private:
    // The one that was given back longest ago goes first.
    void drop_until(std::list<Buffer>& dropped) {
        while (!kept_.empty() && used_ + kept_bytes_ > most_used_) {
            kept_bytes_ -= kept_.back().memory.bytes();
            dropped.splice(dropped.end(), kept_, std::prev(kept_.end()));
        }
    }

    std::mutex mutex_;
    std::list<Buffer> kept_;
    std::size_t used_ = 0, kept_bytes_ = 0, most_used_ = 0;
};

Pool& pool() {
    static Pool* const made = new Pool;  // never deleted: arrays may outlive every static object
    return *made;
}

}  // namespace

Buffer* take_buffer(const BufferLayout& layout, std::size_t bytes) { return pool().take(layout, bytes); }
void give_back(Buffer* buffer) { pool().give_back(buffer); }
std::size_t kept_buffer_bytes() { return pool().kept_bytes(); }
void free_kept_buffers() { pool().free_kept(); }

}  // namespace verydeep
