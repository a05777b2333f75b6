// The system gives memory in regions, which are cut into pieces. So what held a large gradient holds several small
// maps in the next step. To clear their borders costs much less than fresh memory, which the system clears whole.
#include "layers/buffers.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>

#include "engine/layout.h"
#include "engine/memory.h"
#include "layers/layers.h"

namespace verydeep {
namespace {

// Maps as bytes: `unit` of them are a place.
struct Planes {
    std::size_t unit;
    long count, rows, columns;  // with the border
    int height, width;          // without it

    std::size_t bytes() const { return unit * count * rows * columns; }
};

Planes planes_of(const BufferLayout& layout) {
    const auto [kind, images, channels, height, width] = layout;
    if (kind == BufferKind::numbers) return {sizeof(float), channels, 1, 1, 1, 1};
    if (kind == BufferKind::bordered_images)
        return {3 * sizeof(float), images, height + 2L, width + 2L, height, width};
    const FeatureMap map = map_layout({channels, height, width});
    return {kind == BufferKind::argmax ? sizeof(Argmax) : BLOCK * sizeof(float),
            images * map.num_blocks,
            map.block_stride / map.row_stride,
            map.row_stride / BLOCK,
            height,
            width};
}

void clear_borders(const BufferLayout& layout, char* data) {
    if (layout.kind == BufferKind::numbers) return;
    const Planes planes = planes_of(layout);
    const auto clear = [&](long from, long to) {
        std::memset(data + from * planes.unit, 0, (to - from) * planes.unit);
    };
    for (long plane = 0; plane < planes.count; ++plane) {
        long border = plane * planes.rows * planes.columns;  // begins here, up to each row in turn
        for (int y = 1; y <= planes.height; ++y) {
            const long row = (plane * planes.rows + y) * planes.columns + 1;
            clear(border, row);
            border = row + planes.width;
        }
        clear(border, (plane + 1) * planes.rows * planes.columns);
    }
    std::memset(data + planes.bytes(), 0, layout.bytes() - planes.bytes());
}

constexpr std::size_t PAGE = 4096;  // a piece has whole ones
constexpr std::size_t SLACK = 16;  // part of the most that was used which may be kept beyond it, as there are gaps
constexpr std::size_t LARGE_REGION = std::size_t{1} << 30;

// Fresh: the system gives it memory, of zeros, once it is touched.
enum class State { used, kept, fresh };

struct Region;

struct Piece : Buffer {
    Region* region;
    std::size_t bytes;
    State state;
    bool bordered;    // whether the border of `layout` is 0
    long given_back;  // when it was, of those that are kept
};

struct Region {
    Region(std::size_t bytes, bool of_maps) : memory(bytes), of_maps(of_maps) {
        Piece whole{};
        whole.data = static_cast<char*>(memory.data());
        whole.region = this;
        whole.bytes = bytes;
        whole.state = State::fresh;
        pieces.push_back(whole);
    }

    Memory memory;
    bool of_maps;             // or of numbers: these are held for longer, and would part the room for large maps
    std::list<Piece> pieces;  // side by side
};

class Pool {
public:
    Piece* take(const BufferLayout& layout) {
        const std::size_t bytes = round_up(std::max<std::size_t>(layout.bytes(), 1), PAGE);
        const bool of_maps = layout.kind != BufferKind::numbers;
        const auto fits = [&](const Piece& one) { return one.region->of_maps == of_maps && one.bytes >= bytes; };
        const auto same = [&](const Piece& one) { return one.bordered && one.layout == layout; };
        const std::lock_guard<std::mutex> lock(mutex_);
        Piece* piece = first(State::kept, same);
        if (!piece) {
            merge();
            piece = first(State::kept, fits);
        }
        const std::size_t most_used = most_used_;
        used_ += bytes;
        most_used_ = std::max(most_used_, used_);
        try {
            if (!piece) {
                drop(most_used_ / SLACK);
                merge();
                piece = first(State::fresh, fits);
            }
            if (!piece) piece = &grow(bytes, of_maps);
            if (piece->bytes > bytes) cut(*piece, bytes);
        } catch (...) {
            used_ -= bytes;
            most_used_ = most_used;
            throw;
        }
        if (piece->state == State::kept) kept_ -= bytes;
        piece->bordered = piece->state == State::fresh || same(*piece);
        piece->state = State::used;
        piece->layout = layout;
        return piece;
    }

    void give_back(Piece& piece) {
        const std::lock_guard<std::mutex> lock(mutex_);
        piece.state = State::kept;
        piece.bordered = true;
        piece.given_back = ++times_;
        used_ -= piece.bytes;
        kept_ += piece.bytes;
        drop(most_used_ / SLACK);
    }

    std::size_t kept_bytes() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return kept_;
    }

    void free_kept() {
        const std::lock_guard<std::mutex> lock(mutex_);
        most_used_ = used_;
        drop(0);
        merge();
        regions_.remove_if(
            [](const Region& one) { return one.pieces.size() == 1 && one.pieces.front().state == State::fresh; });
    }

private:
    // The lowest. A step gives back in the reverse order, so that what is free stays in one piece.
    template <class Suits>
    Piece* first(State state, Suits suits) {
        for (Region& region : regions_)
            for (Piece& piece : region.pieces)
                if (piece.state == state && suits(piece)) return &piece;
        return nullptr;
    }

    // A large one, as nothing lies across its end. What is not touched takes no memory, but some systems count it.
    Piece& grow(std::size_t bytes, bool of_maps) {
        try {
            regions_.emplace_back(std::max(bytes, LARGE_REGION), of_maps);
        } catch (const std::bad_alloc&) {
            regions_.emplace_back(bytes, of_maps);
        }
        return regions_.back().pieces.front();
    }

    // What is left is a piece of its own.
    static void cut(Piece& piece, std::size_t bytes) {
        std::list<Piece>& pieces = piece.region->pieces;
        const auto at = std::find_if(pieces.begin(), pieces.end(), [&](Piece& one) { return &one == &piece; });
        Piece rest = piece;
        rest.data += bytes;
        rest.bytes -= bytes;
        rest.bordered = false;
        pieces.insert(std::next(at), rest);
        piece.bytes = bytes;
        piece.bordered = false;
    }

    // Makes one of neighbours that nobody uses.
    void merge() {
        for (Region& region : regions_)
            for (auto at = region.pieces.begin(), next = std::next(at); next != region.pieces.end();) {
                if (at->state == State::used || at->state != next->state) {
                    at = next++;
                    continue;
                }
                at->bytes += next->bytes;
                at->bordered = false;
                at->given_back = std::max(at->given_back, next->given_back);
                next = region.pieces.erase(next);
            }
    }

    // What was given back longest ago goes first.
    void drop(std::size_t slack) {
        while (kept_ > 0 && used_ + kept_ > most_used_ + slack) {
            Piece* oldest = nullptr;
            for (Region& region : regions_)
                for (Piece& piece : region.pieces)
                    if (piece.state == State::kept && (!oldest || piece.given_back < oldest->given_back))
                        oldest = &piece;
            Memory::release(oldest->data, oldest->bytes);
            oldest->state = State::fresh;
            kept_ -= oldest->bytes;
        }
    }

    std::mutex mutex_;
    std::list<Region> regions_;
    std::size_t used_ = 0, kept_ = 0, most_used_ = 0;
    long times_ = 0;
};

Pool& pool() {
    static Pool* const made = new Pool;  // never deleted: arrays may outlive every static object
    return *made;
}

}  // namespace

std::size_t BufferLayout::bytes() const {
    const std::size_t slack = kind == BufferKind::bordered_images ? BORDERED_SLACK * sizeof(float) : 0;
    return planes_of(*this).bytes() + slack;
}

Buffer* take_buffer(const BufferLayout& layout) {
    Piece* const piece = pool().take(layout);
    if (!piece->bordered) clear_borders(layout, piece->data);
    return piece;
}

void give_back(Buffer* buffer) { pool().give_back(*static_cast<Piece*>(buffer)); }
std::size_t kept_buffer_bytes() { return pool().kept_bytes(); }
void free_kept_buffers() { pool().free_kept(); }

}  // namespace verydeep
