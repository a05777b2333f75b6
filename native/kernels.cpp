// The loops themselves. This file is compiled once for each instruction set, each time into a namespace of its own.
//
// Nothing of the standard library is used here: an inline function of it that is compiled for AVX-512 could be the
// copy that the linker keeps for every processor.
#include "kernels.h"

#include "vectors.h"

namespace verydeep::VERYDEEP_INSTRUCTIONS {
namespace {

static_assert(BLOCK == CHANNELS, "a block of channels is what lies side by side");

constexpr int PARTS = CHANNELS / LANES;  // vectors in a block
constexpr int DISTANCE = 6;              // tiles that memory is asked for before they are worked at
constexpr float ROOT_HALF = 0.70710678118654752f, ROOT_TWO = 1.41421356237309505f;

VERYDEEP_INLINE int least(int a, int b) { return a < b ? a : b; }

// ---------------------------------------------------------------------------------------------------- numbers

// The factors of a product: float32, or bfloat16 or integers in pairs.
struct Single {
    typedef float Number;
    typedef Vector Sum;
    static constexpr bool SCALED = false;
    static constexpr int DEPTH = 1;  // numbers of k that a multiplication takes at once
    static VERYDEEP_INLINE Vector broadcast_row(const float* from) { return broadcast(*from); }
    static VERYDEEP_INLINE Vector load_weights(const float* from) { return load(from); }
    static VERYDEEP_INLINE Vector multiply_add(Vector sum, Vector x, Vector w) { return sum + x * w; }
    static VERYDEEP_INLINE void store_part(float* to, Vector x) { store(to, x); }
};

#if defined(__AVX512BF16__)
struct Half {
    typedef std::uint16_t Number;
    typedef Vector Sum;
    static constexpr bool SCALED = false;
    static constexpr int DEPTH = 2;
    static VERYDEEP_INLINE Vector broadcast_row(const Number* from) {
        std::int32_t pair;
        __builtin_memcpy(&pair, from, sizeof pair);
        return (Vector)_mm512_set1_epi32(pair);
    }
    static VERYDEEP_INLINE Vector load_weights(const Number* from) { return (Vector)_mm512_loadu_si512(from); }
    static VERYDEEP_INLINE Vector multiply_add(Vector sum, Vector x, Vector w) {
        return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
    }
    static VERYDEEP_INLINE void store_part(Number* to, Vector x) {
        _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(x));
    }
    static VERYDEEP_INLINE float to_float(Number number) {
        const std::uint32_t bits = static_cast<std::uint32_t>(number) << 16;
        float x;
        __builtin_memcpy(&x, &bits, sizeof x);
        return x;
    }
    static VERYDEEP_INLINE Number from_float(float x) {
        std::uint32_t bits;
        __builtin_memcpy(&bits, &x, sizeof bits);
        if (x != x) return static_cast<Number>((bits >> 16) | 64);
        return static_cast<Number>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
};
#endif

#if defined(__AVX512VNNI__)
// Integers of 16 bits, whose products are added up exactly over a group of channels' blocks: 64 products of levels up
// to these are below 2^31. A group of a tile and a column of weights have a scale each.
struct Integer {
    typedef std::int16_t Number;
    typedef __m512i Sum;
    static constexpr bool SCALED = true;
    static constexpr int DEPTH = 2;
    static constexpr float MOST_INPUT = 8191, MOST_WEIGHT = 4095;
    static constexpr float NOTHING = 1e-30f;  // below it a number's inverse is no number any more
    static_assert(GROUP * CHANNELS * MOST_INPUT * MOST_WEIGHT < 2147483648.0, "a sum has to fit in 32 bits");
    static VERYDEEP_INLINE Sum zero() { return _mm512_setzero_si512(); }
    static VERYDEEP_INLINE Sum load_weights(const Number* from) { return _mm512_loadu_si512(from); }
    static VERYDEEP_INLINE Sum broadcast_row(const Number* from) {
        std::int32_t pair;
        __builtin_memcpy(&pair, from, sizeof pair);
        return _mm512_set1_epi32(pair);
    }
    static VERYDEEP_INLINE Sum multiply_add(Sum sum, Sum x, Sum w) {
#if defined(VERYDEEP_EMULATED)
        return _mm512_dpwssd_epi32(sum, x, w);
#else
        asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));  // of its intrinsic GCC 12 puts the sums on the stack
        return sum;
#endif
    }
    // One instruction whatever the number of rows is, lest a picture's scores depend on the batch.
    static VERYDEEP_INLINE Vector scale_and_add(Sum sum, Vector scale, Vector before) {
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, before);
    }
    static VERYDEEP_INLINE void store_part(Number* to, Vector x) {
        _mm256_storeu_si256((__m256i*)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
    }
};
#endif

// What integers are multiplied by: for each row and group, and for each column.
struct Scales {
    const float* rows = nullptr;
    long rows_step = 0;  // from a group to the next
    const float* columns = nullptr;

    VERYDEEP_INLINE Scales at(int row, int column) const {
        return rows ? Scales{rows + row, rows_step, columns + column} : Scales{};
    }
};

// ---------------------------------------------------------------------------------------------------- products

// Weights that are wanted next, brought near while others are multiplied: the processor does not guess where one panel
// ends and the next begins, and misses each panel's beginning.
struct Fetch {
    const char* from;
    long step;

    VERYDEEP_INLINE void next() {
        __builtin_prefetch(from, 0, 2);
        from += step;
    }
};
constexpr int LINE = 64;                 // bytes that memory gives at once
constexpr int FETCHES = LANES == 16 ? 2 : 1;  // for each row of weights that is multiplied: a line, or two in one pass
constexpr long FARTHEST = 64L << 10;     // bytes ahead: a panel's point of 512 channels
// Four steps at a time for AVX2, whose steps are short and whose processors bring the next few rows of weights near
// themselves.
#if defined(__AVX2__) && !defined(__AVX512F__)
#define VERYDEEP_STEPS VERYDEEP_UNROLL_FOUR
constexpr bool FETCH_ROWS = false;
#else
#define VERYDEEP_STEPS
constexpr bool FETCH_ROWS = true;
#endif

// Adds the products of R rows and N vectors of columns to their sums, and goes on behind them. Each sum is added up in
// the order of k, whatever R is and wherever a product is cut: so a picture's scores do not depend on the batch that it
// is shown in, to the last bit.
template <class Numbers, int R, int N>
VERYDEEP_INLINE void add_products(typename Numbers::Sum (&sum)[R][N], const typename Numbers::Number*& rows,
                                  long rows_step, int blocks, const typename Numbers::Number*& panel, long panel_row,
                                  Fetch& fetch) {
    constexpr int STEPS = CHANNELS / Numbers::DEPTH;
    constexpr int VECTOR = LANES * Numbers::DEPTH;  // numbers in a vector of weights
    for (int block = 0; block < blocks; ++block, rows += rows_step) {
        VERYDEEP_STEPS
        for (int k = 0; k < STEPS; ++k, panel += panel_row) {
            VERYDEEP_UNROLL
            for (int i = 0; i < FETCHES; ++i) fetch.next();
            typename Numbers::Sum weights[N];
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) {
                weights[n] = Numbers::load_weights(panel + n * VECTOR);
                if (FETCH_ROWS && n * VECTOR * sizeof *panel % LINE == 0)
                    __builtin_prefetch(panel + n * VECTOR + 16 * panel_row, 0, 3);
            }
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                const typename Numbers::Sum x = Numbers::broadcast_row(rows + r * CHANNELS + k * Numbers::DEPTH);
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) sum[r][n] = Numbers::multiply_add(sum[r][n], x, weights[n]);
            }
        }
    }
}

template <class Numbers, int R, int N>
void multiply_block(const typename Numbers::Number* rows, long rows_step, int blocks,
                    const typename Numbers::Number* panel, long panel_row, float* results, const long* columns,
                    bool add, const Scales&, Fetch fetch) {
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r)
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) sum[r][n] = add ? load(results + columns[n] + r * CHANNELS) : Vector{};
    add_products<Numbers>(sum, rows, rows_step, blocks, panel, panel_row, fetch);
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r)
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) store(results + columns[n] + r * CHANNELS, sum[r][n]);
}

// The same of integers: the sums of a group of channels are exact, and are added up as floats.
template <class Numbers, int R, int N>
void multiply_integers(const typename Numbers::Number* rows, long rows_step, int blocks,
                       const typename Numbers::Number* panel, long panel_row, float* results, const long* columns, bool,
                       const Scales& scales, Fetch fetch) {
    const float* row_scales = scales.rows;
    for (int first = 0; first < blocks; first += GROUP, row_scales += scales.rows_step) {
        typename Numbers::Sum sum[R][N];
        VERYDEEP_UNROLL
        for (int r = 0; r < R; ++r)
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) sum[r][n] = Numbers::zero();
        add_products<Numbers>(sum, rows, rows_step, least(GROUP, blocks - first), panel, panel_row, fetch);
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) {
            const Vector column = load(scales.columns + n * LANES);
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                float* const place = results + columns[n] + r * CHANNELS;
                const Vector before = first ? load(place) : Vector{};
                store(place, Numbers::scale_and_add(sum[r][n], column * broadcast(row_scales[r]), before));
            }
        }
    }
}

template <class Numbers>
using Block = void (*)(const typename Numbers::Number*, long, int, const typename Numbers::Number*, long, float*,
                       const long*, bool, const Scales&, Fetch);

template <class Numbers, int R, int N>
constexpr Block<Numbers> block_for() {
    if constexpr (Numbers::SCALED)
        return multiply_integers<Numbers, R, N>;
    else
        return multiply_block<Numbers, R, N>;
}

// Numbers of rows that a block may have.
template <int... R>
struct Counts {};
#if defined(__AVX512F__)
using RowCounts = Counts<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>;
#elif defined(__aarch64__)
using RowCounts = Counts<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>;
#else
using RowCounts = Counts<1, 2, 3, 4, 5, 6>;
#endif

template <class Numbers, int N, int... R>
VERYDEEP_INLINE Block<Numbers> block_among(int rows, Counts<R...>) {
    static constexpr Block<Numbers> table[] = {block_for<Numbers, R, N>()...};
    return table[rows - 1];
}

template <class Numbers, int N>
VERYDEEP_INLINE Block<Numbers> block_of(int rows) {
    return block_among<Numbers, N>(rows, RowCounts{});
}

// Rows are split evenly, so that there is never a lone remainder. Each pass over the panel fetches its share of what
// lies behind it: the next point's weights, or the next numbers'. (Behind weights that have been unpacked lies nothing.)
template <class Numbers>
VERYDEEP_INLINE void multiply_rows(const typename Numbers::Number* rows, long rows_step, int num_rows, int blocks,
                                   const typename Numbers::Number* panel, int panel_blocks, float* results,
                                   long results_step, bool add, const Scales& scales = {}) {
    const long panel_row = panel_blocks * CHANNELS * Numbers::DEPTH;
    const int vectors = panel_blocks * PARTS;
    const int pieces = (num_rows + MOST_ROWS - 1) / MOST_ROWS, passes = pieces * ((vectors + 1) / 2);
    const long row_bytes = panel_row * static_cast<long>(sizeof *panel);
    const long share = row_bytes / passes, panel_bytes = row_bytes * blocks * (CHANNELS / Numbers::DEPTH);
    const char* ahead = reinterpret_cast<const char*>(panel) + (panel_bytes < FARTHEST ? panel_bytes : FARTHEST);
    for (int piece = 0, row = 0; piece < pieces; ++piece) {
        const int count = (num_rows - row) / (pieces - piece);
        for (int vector = 0; vector < vectors; vector += 2, ahead += panel_bytes / passes) {
            const bool two = vector + 1 < vectors;
            long columns[2];
            for (int n = 0; n < 1 + two; ++n)
                columns[n] = (vector + n) / PARTS * results_step + (vector + n) % PARTS * LANES;
            const Block<Numbers> block = two ? block_of<Numbers, 2>(count) : block_of<Numbers, 1>(count);
            block(rows + row * CHANNELS, rows_step, blocks, panel + vector * LANES * Numbers::DEPTH, panel_row,
                  results + row * CHANNELS, columns, add, scales.at(row, vector * LANES), {ahead, share / FETCHES});
        }
        row += count;
    }
}

template <class Numbers>
void multiply(const Product& product) {
    typedef typename Numbers::Number Number;
    multiply_rows<Numbers>(static_cast<const Number*>(product.rows), product.rows_step, product.num_rows,
                           product.blocks, static_cast<const Number*>(product.panel), product.panel_blocks,
                           product.results, product.results_step, product.add);
}

// ---------------------------------------------------------------------------------------------------- 20 bits

constexpr float MOST_SHORT = 524287;  // 2^19 - 1
constexpr float LEAST_SIZE = 1e-30f;  // of a weight: a level of a smaller one would be no normal number
constexpr int FEW_PIECES = 2;         // of rows, that each unpack the weights; for more it is done once a stretch

constexpr long group_bytes(int columns) { return columns * (GROUPED * 2L + 4); }

// A vector of weights of a group: its number k, from a column on.
VERYDEEP_INLINE Vector lengthened(const char* group, int k, int column, int columns, Vector scale) {
    Short high;
    Whole low;
    __builtin_memcpy(&high, group + (k * columns + column) * 2, sizeof high);
    __builtin_memcpy(&low, group + (GROUPED * columns + column * 2) * 2, sizeof low);
    const Whole level = (__builtin_convertvector(high, Whole) * 16) | ((low >> (4 * k)) & 15);
    return __builtin_convertvector(level, Vector) * scale;
}

// `keep(k, weights)` for the numbers of a panel and N vectors of its columns; `k` counts from the panel's beginning.
template <int N, class Keep>
VERYDEEP_INLINE void lengthen(const void* panel, int blocks, int column, int columns, Keep keep) {
    const char* from = static_cast<const char*>(panel);
    const long numbers = static_cast<long>(blocks) * CHANNELS, each = group_bytes(columns);
    for (long first = 0; first < numbers; first += STRETCH) {
        Vector scales[N];
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) scales[n] = load(reinterpret_cast<const float*>(from) + column + n * LANES);
        from += columns * sizeof(float);
        const long end = first + STRETCH < numbers ? first + STRETCH : numbers;
        for (long group = first; group < end; group += GROUPED, from += each)
            for (int k = 0; k < GROUPED; ++k) {
                VERYDEEP_UNROLL
                for (int i = 0; i < 2; ++i)
                    __builtin_prefetch(from + FARTHEST + (2 * k + i) * each / (2 * GROUPED), 0, 2);
                Vector weights[N];
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) weights[n] = lengthened(from, k, column + n * LANES, columns, scales[n]);
                keep(group + k, weights);
            }
    }
}

// Products of R rows and N vectors of columns, each sum in the order of `add_products`.
template <int R, int N>
void multiply_short_block(const Product& product, int column, const long* places) {
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r)
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n)
            sum[r][n] = product.add ? load(product.results + places[n] + r * CHANNELS) : Vector{};
    const float* const rows = static_cast<const float*>(product.rows);
    lengthen<N>(product.panel, product.blocks, column, product.panel_blocks * CHANNELS, [&](long k, const Vector* weights) {
        const float* const here = rows + k / CHANNELS * product.rows_step + k % CHANNELS;
        VERYDEEP_UNROLL
        for (int r = 0; r < R; ++r) {
            const Vector x = broadcast(here[r * CHANNELS]);
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) sum[r][n] += x * weights[n];
        }
    });
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r)
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n) store(product.results + places[n] + r * CHANNELS, sum[r][n]);
}

template <int N, int... R>
VERYDEEP_INLINE void multiply_short_rows(const Product& product, int column, const long* places, Counts<R...>) {
    using Block = void (*)(const Product&, int, const long*);
    static constexpr Block table[] = {multiply_short_block<R, N>...};
    table[product.num_rows - 1](product, column, places);
}

void multiply_short(const Product& product, float* unpacked) {
    const int columns = product.panel_blocks * CHANNELS, vectors = columns / LANES;
    const int pieces = (product.num_rows + MOST_ROWS - 1) / MOST_ROWS;
    if (pieces <= FEW_PIECES) {
        for (int piece = 0, row = 0; piece < pieces; ++piece) {
            Product here = product;
            here.num_rows = (product.num_rows - row) / (pieces - piece);
            here.rows = static_cast<const float*>(product.rows) + row * CHANNELS;
            here.results += row * CHANNELS;
            for (int vector = 0; vector < vectors; vector += 2) {
                const bool two = vector + 1 < vectors;
                long places[2];
                for (int n = 0; n < 1 + two; ++n)
                    places[n] = (vector + n) / PARTS * product.results_step + (vector + n) % PARTS * LANES;
                if (two)
                    multiply_short_rows<2>(here, vector * LANES, places, RowCounts{});
                else
                    multiply_short_rows<1>(here, vector * LANES, places, RowCounts{});
            }
            row += here.num_rows;
        }
        return;
    }
    const float* rows = static_cast<const float*>(product.rows);
    const char* panel = static_cast<const char*>(product.panel);
    constexpr int EACH = STRETCH / CHANNELS;
    for (int block = 0; block < product.blocks; block += EACH) {
        const int blocks = least(EACH, product.blocks - block);
        for (int vector = 0; vector < vectors; vector += 2) {
            const auto keep = [&](int count) {
                return [=](long k, const Vector* weights) {
                    for (int n = 0; n < count; ++n) store(unpacked + k * columns + (vector + n) * LANES, weights[n]);
                };
            };
            if (vector + 1 < vectors)
                lengthen<2>(panel, blocks, vector * LANES, columns, keep(2));
            else
                lengthen<1>(panel, blocks, vector * LANES, columns, keep(1));
        }
        multiply_rows<Single>(rows, product.rows_step, product.num_rows, blocks, unpacked, product.panel_blocks,
                              product.results, product.results_step, product.add || block > 0);
        rows += blocks * product.rows_step;
        panel += short_bytes(blocks * CHANNELS, columns);
    }
}

template <class Numbers>
void multiply_points(const void* input, long matrix, long step, int tiles, int blocks, const void* panel,
                     int panel_blocks, float* products, long products_matrix, long products_step) {
    typedef typename Numbers::Number Number;
    const long weights = panel_matrix(blocks, panel_blocks, sizeof(Number));
    Scales scales;
    if constexpr (Numbers::SCALED)
        scales = {reinterpret_cast<const float*>(static_cast<const Number*>(input) + POINTS * matrix), tiles,
                  reinterpret_cast<const float*>(static_cast<const Number*>(panel) + POINTS * weights)};
    for (int point = 0; point < POINTS; ++point)
        multiply_rows<Numbers>(static_cast<const Number*>(input) + point * matrix, step, tiles, blocks,
                               static_cast<const Number*>(panel) + point * weights, panel_blocks,
                               products + point * products_matrix, products_step, false,
                               scales.at(0, point * panel_blocks * CHANNELS));
}

// ---------------------------------------------------------------------------------------------------- Winograd

// Six numbers -> their transform at the points 0, +-sqrt(1/2), +-sqrt(2) and infinity.
VERYDEEP_INLINE void transform_six(const Vector* d, Vector* t) {
    const Vector even_half = d[4] - 2.0f * d[2], odd_half = d[3] - 2.0f * d[1];
    const Vector even_two = d[4] - 0.5f * d[2], odd_two = d[3] - 0.5f * d[1];
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[1] = even_half + ROOT_HALF * odd_half;
    t[2] = even_half - ROOT_HALF * odd_half;
    t[3] = even_two + ROOT_TWO * odd_two;
    t[4] = even_two - ROOT_TWO * odd_two;
    t[5] = d[1] - 2.5f * d[3] + d[5];
}

// Six products -> four outputs.
VERYDEEP_INLINE void transform_back(const Vector* m, Vector* y) {
    const Vector sum_half = m[1] + m[2], difference_half = m[1] - m[2];
    const Vector sum_two = m[3] + m[4], difference_two = m[3] - m[4];
    y[0] = m[0] + sum_half + sum_two;
    y[1] = ROOT_HALF * difference_half + ROOT_TWO * difference_two;
    y[2] = 0.5f * sum_half + 2.0f * sum_two;
    y[3] = 0.5f * ROOT_HALF * difference_half + 2.0f * ROOT_TWO * difference_two + m[5];
}

// Where a tile lies, counted over the pictures.
struct Place {
    Tiles tiles;
    long picture;
    int down, across;

    Place(Tiles tiles, long tile)
        : tiles(tiles),
          picture(tile / tiles.each()),
          down(static_cast<int>(tile % tiles.each()) / tiles.across),
          across(static_cast<int>(tile % tiles.each()) % tiles.across) {}

    VERYDEEP_INLINE void next() {
        if (++across < tiles.across) return;
        across = 0;
        if (++down == tiles.down) down = 0, ++picture;
    }
};

// Goes over the tiles of some blocks of channels a few tiles ahead of the work, to bring near what it will want: tiles
// leap from row to row and from block to block, which the processor does not guess.
struct TilesAhead {
    Place place;
    const long first;
    const int count;
    int block, tile = 0;

    TilesAhead(Tiles tiles, long first, int count, int block)
        : place(tiles, first), first(first), count(count), block(block) {
        for (int i = 0; i < DISTANCE; ++i) next();
    }

    VERYDEEP_INLINE void next() {
        if (++tile < count) return place.next();
        place = Place(place.tiles, first);
        tile = 0;
        ++block;
    }

    // Inputs of a tile, but for the columns that it shares with the one before.
    VERYDEEP_INLINE void fetch_patch(const Map& in) const {
        const float* corner = in.at(place.picture, block, TILE * place.down - 1, TILE * place.across + 1);
        VERYDEEP_UNROLL
        for (int y = 0; y < TILE + 2; ++y)
            VERYDEEP_UNROLL
            for (int x = 0; x < TILE; ++x) __builtin_prefetch(corner + y * in.row + x * CHANNELS, 0, 3);
    }

    // Outputs of a tile, to be written.
    template <int SIDE>
    VERYDEEP_INLINE void fetch_tile(const Map& out) const {
        const float* corner = out.at(place.picture, block, SIDE * place.down, SIDE * place.across);
        VERYDEEP_UNROLL
        for (int y = 0; y < SIDE; ++y)
            VERYDEEP_UNROLL
            for (int x = 0; x < SIDE; ++x) __builtin_prefetch(corner + y * out.row + x * CHANNELS, 1, 3);
    }
};

// A vector of channels of a tile's 6x6 inputs -> `keep(point, vector)` for each of the 36 points. Row by row of the
// points, from as many inputs as a row or two of them need: 36 intermediate vectors would not fit the registers.
template <class Keep>
VERYDEEP_INLINE void transform_patch(const float* corner, long row, Keep keep) {
    const auto input = [&](int y, int x) { return load(corner + y * row + x * CHANNELS); };
    const auto keep_row = [&](int y, const Vector* d) {
        Vector t[6];
        transform_six(d, t);
        VERYDEEP_UNROLL
        for (int x = 0; x < 6; ++x) keep(6 * y + x, t[x]);
    };
    Vector upper[6], lower[6];
    VERYDEEP_UNROLL
    for (int x = 0; x < 6; ++x) upper[x] = input(0, x) - 2.5f * input(2, x) + input(4, x);
    keep_row(0, upper);
    VERYDEEP_UNROLL
    for (int x = 0; x < 6; ++x) {
        const Vector even = input(4, x) - 2.0f * input(2, x), odd = input(3, x) - 2.0f * input(1, x);
        upper[x] = even + ROOT_HALF * odd;
        lower[x] = even - ROOT_HALF * odd;
    }
    keep_row(1, upper);
    keep_row(2, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < 6; ++x) {
        const Vector even = input(4, x) - 0.5f * input(2, x), odd = input(3, x) - 0.5f * input(1, x);
        upper[x] = even + ROOT_TWO * odd;
        lower[x] = even - ROOT_TWO * odd;
    }
    keep_row(3, upper);
    keep_row(4, lower);
    VERYDEEP_UNROLL
    for (int x = 0; x < 6; ++x) upper[x] = input(1, x) - 2.5f * input(3, x) + input(5, x);
    keep_row(5, upper);
}

template <class Numbers>
void transform_input(const Map& in, Tiles tiles, long first, int count, int block, int blocks, void* to, long matrix,
                     long step) {
    typedef typename Numbers::Number Number;
    TilesAhead ahead(tiles, first, count, block);
    for (int end = block + blocks; block < end; ++block) {
        Number* out = static_cast<Number*>(to) + block * step;
        Place place(tiles, first);
        for (int tile = 0; tile < count; ++tile, out += CHANNELS, place.next(), ahead.next()) {
            ahead.fetch_patch(in);
            const float* corner = in.at(place.picture, block, TILE * place.down - 1, TILE * place.across - 1);
            for (int part = 0; part < PARTS; ++part)
                transform_patch(corner + part * LANES, in.row, [&](int point, Vector x) {
                    Numbers::store_part(out + point * matrix + part * LANES, x);
                });
        }
    }
}

// The scale of a group of blocks follows from its greatest number: so it is transformed as floats at first.
template <class Numbers>
void transform_to_integers(const Map& in, Tiles tiles, long first, int count, int block, int blocks, void* to,
                           long matrix, long step) {
    typedef typename Numbers::Number Number;
    Number* out = static_cast<Number*>(to) + block * step;
    float* const scales = reinterpret_cast<float*>(static_cast<Number*>(to) + POINTS * matrix) +
                          static_cast<long>(block / GROUP) * count;
    Place place(tiles, first);
    for (int tile = 0; tile < count; ++tile, out += CHANNELS, place.next()) {
        alignas(64) float points[GROUP][POINTS][CHANNELS];
        Vector most{};
        for (int i = 0; i < blocks; ++i) {
            const float* corner = in.at(place.picture, block + i, TILE * place.down - 1, TILE * place.across - 1);
            for (int part = 0; part < PARTS; ++part)
                transform_patch(corner + part * LANES, in.row, [&](int point, Vector x) {
                    store(points[i][point] + part * LANES, x);
                    most = greater(most, absolute(x));
                });
        }
        float greatest = 0;  // or NaN, which then all sums of the tile become
        for (int lane = 0; lane < LANES; ++lane)
            if (most[lane] > greatest || most[lane] != most[lane]) greatest = most[lane];
        scales[tile] = greatest < Numbers::NOTHING ? 0 : greatest * (1 / Numbers::MOST_INPUT);
        const Vector levels = broadcast(greatest >= Numbers::NOTHING ? Numbers::MOST_INPUT / greatest : 0);
        for (int i = 0; i < blocks; ++i)
            for (int point = 0; point < POINTS; ++point)
                for (int part = 0; part < PARTS; ++part)
                    Numbers::store_part(out + i * step + point * matrix + part * LANES,
                                        load(points[i][point] + part * LANES) * levels);
    }
}

template <bool RELU, bool POOL>
VERYDEEP_INLINE void write_tile(const Vector y[4][4], const Map& out, long picture, int block, int down, int across,
                                int part) {
    constexpr int SIDE = POOL ? TILE / 2 : TILE;
    Vector z[SIDE][SIDE];
    VERYDEEP_UNROLL
    for (int i = 0; i < SIDE; ++i)
        VERYDEEP_UNROLL
        for (int j = 0; j < SIDE; ++j) {
            if constexpr (POOL)
                z[i][j] = greater(greater(y[2 * i][2 * j], y[2 * i][2 * j + 1]),
                                  greater(y[2 * i + 1][2 * j], y[2 * i + 1][2 * j + 1]));
            else
                z[i][j] = y[i][j];
            if constexpr (RELU) z[i][j] = rectified(z[i][j]);
        }
    const int top = SIDE * down, left = SIDE * across;
    float* to = out.at(picture, block, top, left) + part * LANES;
    const int rows = least(SIDE, out.height - top), columns = least(SIDE, out.width - left);
    if (rows == SIDE && columns == SIDE) {
        VERYDEEP_UNROLL
        for (int i = 0; i < SIDE; ++i)
            VERYDEEP_UNROLL
            for (int j = 0; j < SIDE; ++j) store(to + i * out.row + j * CHANNELS, z[i][j]);
    } else {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) store(to + i * out.row + j * CHANNELS, z[i][j]);
    }
}

template <bool RELU, bool POOL>
void transform_output_as(const float* products, long matrix, long step, const Map& out, Tiles tiles, long first,
                         int count, int block, int num_blocks, const float* bias) {
    TilesAhead ahead(tiles, first, count, block);
    for (int half = 0; half < num_blocks; ++half, products += step, bias += CHANNELS) {
        Place place(tiles, first);
        for (int tile = 0; tile < count; ++tile, place.next(), ahead.next()) {
            ahead.fetch_tile<POOL ? TILE / 2 : TILE>(out);
            for (int part = 0; part < PARTS; ++part) {
                const float* from = products + tile * CHANNELS + part * LANES;
                const Vector constant = load(bias + part * LANES);
                Vector rows[4][6], y[4][4];
                VERYDEEP_UNROLL
                for (int x = 0; x < 6; ++x) {
                    Vector m[6], t[4];
                    VERYDEEP_UNROLL
                    for (int i = 0; i < 6; ++i) m[i] = load(from + (6 * i + x) * matrix);
                    transform_back(m, t);
                    VERYDEEP_UNROLL
                    for (int i = 0; i < 4; ++i) rows[i][x] = t[i];
                }
                VERYDEEP_UNROLL
                for (int i = 0; i < 4; ++i) {
                    transform_back(rows[i], y[i]);
                    VERYDEEP_UNROLL
                    for (int j = 0; j < 4; ++j) y[i][j] += constant;
                }
                write_tile<RELU, POOL>(y, out, place.picture, block + half, place.down, place.across, part);
            }
        }
    }
}

void transform_output(const float* products, long matrix, long step, const Map& out, Tiles tiles, long first,
                      int count, int block, int num_blocks, const float* bias, bool relu, bool pool) {
    const auto transform = relu ? (pool ? transform_output_as<true, true> : transform_output_as<true, false>)
                                : (pool ? transform_output_as<false, true> : transform_output_as<false, false>);
    transform(products, matrix, step, out, tiles, first, count, block, num_blocks, bias);
}

// ---------------------------------------------------------------------------------------------------- weights

// Three weights -> their transform at the six points.
template <class V>
VERYDEEP_INLINE void transform_three(const V* g, V* t) {
    const V even_half = g[0] + 0.5f * g[2], even_two = g[0] + 2.0f * g[2];
    t[0] = g[0];
    t[1] = (even_half + ROOT_HALF * g[1]) * (-2.0f / 3.0f);
    t[2] = (even_half - ROOT_HALF * g[1]) * (-2.0f / 3.0f);
    t[3] = (even_two + ROOT_TWO * g[1]) * (1.0f / 6.0f);
    t[4] = (even_two - ROOT_TWO * g[1]) * (1.0f / 6.0f);
    t[5] = g[2];
}

// Where the weight of a row k and a column of a panel lies.
template <class Numbers>
VERYDEEP_INLINE long place_in_panel(long k, int column, int columns) {
    return (k / Numbers::DEPTH * columns + column) * Numbers::DEPTH + k % Numbers::DEPTH;
}

// Rounds weights one after the other so that their errors add up to nothing, not only each to little: a sixteenth of
// what the weights before have lost is added to each. What a layer takes has been through a ReLU and has a mean
// above zero, which such a sum of errors would multiply. It lowers the error of D in bfloat16 from 1.02e-2 to 0.97e-2.
template <class Numbers>
VERYDEEP_INLINE typename Numbers::Number round_together(float x, float& lost) {
    if constexpr (Numbers::DEPTH == 1) {
        return x;
    } else {
        const typename Numbers::Number number = Numbers::from_float(x + lost * (1.0f / 16.0f));
        lost += x - Numbers::to_float(number);
        return number;
    }
}

// A vector of output channels' 3x3 weights of one input channel -> `keep(point, vector)` for each of the 36 points.
template <class Keep>
VERYDEEP_INLINE void transform_kernel(const float* weights, long in_channels, int outputs, Keep keep) {
    alignas(64) float kernel[9][LANES] = {};
    for (int lane = 0; lane < LANES && lane < outputs; ++lane)
        for (int i = 0; i < 9; ++i) kernel[i][lane] = weights[lane * in_channels * 9 + i];
    Vector rows[6][3];
    for (int x = 0; x < 3; ++x) {
        const Vector g[3] = {load(kernel[x]), load(kernel[3 + x]), load(kernel[6 + x])};
        Vector t[6];
        transform_three(g, t);
        for (int y = 0; y < 6; ++y) rows[y][x] = t[y];
    }
    for (int y = 0; y < 6; ++y) {
        Vector t[6];
        transform_three(rows[y], t);
        for (int x = 0; x < 6; ++x) keep(6 * y + x, t[x]);
    }
}

// `keep(channel, column, point, vector)` for all transformed weights of a panel; those beyond the last channel are 0.
template <class Keep>
VERYDEEP_INLINE void transform_panel(const float* weights, long in_channels, int outputs, int columns, Keep keep) {
    for (long channel = 0; channel < (in_channels + CHANNELS - 1) / CHANNELS * CHANNELS; ++channel)
        for (int column = 0; column < columns; column += LANES)
            transform_kernel(weights + (column * in_channels + channel) * 9, in_channels,
                             channel < in_channels ? outputs - column : 0,
                             [&](int point, Vector x) { keep(channel, column, point, x); });
}

template <class Numbers>
void transform_weights(const float* weights, long in_channels, long out_channels, int panel, void* to) {
    typedef typename Numbers::Number Number;
    const long first = static_cast<long>(panel) * PANEL;
    const int outputs = static_cast<int>(out_channels - first < PANEL ? out_channels - first : PANEL);
    const int columns = outputs > CHANNELS ? PANEL : CHANNELS;
    const long matrix = panel_matrix(blocks_of(in_channels), columns / CHANNELS, sizeof(Number));
    Number* const out = static_cast<Number*>(to);
    weights += first * in_channels * 9;
    if constexpr (Numbers::SCALED) {
        float most[POINTS][PANEL] = {};
        transform_panel(weights, in_channels, outputs, columns, [&](long, int column, int point, Vector x) {
            float* const here = most[point] + column;
            for (int lane = 0; lane < LANES; ++lane) {  // NaN is kept, and becomes all sums of the column
                const float size = x[lane] < 0 ? -x[lane] : x[lane];
                if (size > here[lane] || size != size) here[lane] = size;
            }
        });
        transform_panel(weights, in_channels, outputs, columns, [&](long channel, int column, int point, Vector x) {
            Number* const place = out + point * matrix + place_in_panel<Numbers>(channel, column, columns);
            for (int lane = 0; lane < LANES; ++lane) {
                const float most_here = most[point][column + lane];
                const bool usual = most_here >= Numbers::NOTHING && most_here < 1 / Numbers::NOTHING;
                const float level = usual ? x[lane] / most_here * Numbers::MOST_WEIGHT : 0;
                place[lane * Numbers::DEPTH] = static_cast<Number>(level < 0 ? level - 0.5f : level + 0.5f);
            }
        });
        float* const scales = reinterpret_cast<float*>(out + POINTS * matrix);
        for (int point = 0; point < POINTS; ++point)
            for (int column = 0; column < columns; ++column) {
                const float size = most[point][column];
                scales[point * columns + column] = size < Numbers::NOTHING ? 0 : size * (1 / Numbers::MOST_WEIGHT);
            }
    } else {
        float lost[POINTS][PANEL] = {};
        transform_panel(weights, in_channels, outputs, columns, [&](long channel, int column, int point, Vector x) {
            Number* const place = out + point * matrix + place_in_panel<Numbers>(channel, column, columns);
            if constexpr (Numbers::DEPTH == 1)
                store(place, x);
            else
                for (int lane = 0; lane < LANES; ++lane)
                    place[lane * Numbers::DEPTH] = round_together<Numbers>(x[lane], lost[point][column + lane]);
        });
    }
}

template <class Numbers>
void pack_weights(const float* weights, long numbers, long outputs, int panel, long first, long last, void* to) {
    typedef typename Numbers::Number Number;
    const long from_output = static_cast<long>(panel) * PANEL;
    const int here = static_cast<int>(outputs - from_output < PANEL ? outputs - from_output : PANEL);
    const int columns = here > CHANNELS ? PANEL : CHANNELS;
    Number* const out = static_cast<Number*>(to);
    constexpr long AT_ONCE = 64;  // of a row that is read at once: four lines
    float lost[PANEL] = {};
    for (long start = first; start < last; start += AT_ONCE) {
        const long end = start + AT_ONCE < last ? start + AT_ONCE : last;
        for (int column = 0; column < columns; ++column) {
            const float* from = column < here ? weights + (from_output + column) * numbers : nullptr;
            for (long k = start; k < end; ++k)
                out[place_in_panel<Numbers>(k, column, columns)] =
                    from && k < numbers ? round_together<Numbers>(from[k], lost[column]) : Number{};
        }
    }
}

// The greatest of a stretch of a column becomes MOST_SHORT. One that is NaN or infinite makes the column's sums NaN.
void shorten_weights(const float* weights, long numbers, long outputs, int panel, long first, long last, void* to) {
    const long from_output = static_cast<long>(panel) * PANEL;
    const int here = static_cast<int>(outputs - from_output < PANEL ? outputs - from_output : PANEL);
    const int columns = here > CHANNELS ? PANEL : CHANNELS;
    char* out = static_cast<char*>(to) + short_bytes(first, columns);
    for (long start = first; start < last; start += STRETCH) {
        const long end = start + STRETCH < last ? start + STRETCH : last;
        float* const scales = reinterpret_cast<float*>(out);
        char* const groups = out + columns * sizeof(float);
        for (int column = 0; column < columns; ++column) {
            const float* const from = column < here ? weights + (from_output + column) * numbers : nullptr;
            const auto weight = [&](long k) { return from && k < numbers ? from[k] : 0.0f; };
            float most = 0;
            for (long k = start; k < end; ++k) {
                const float size = weight(k) < 0 ? -weight(k) : weight(k);
                if (size > most || size != size) most = size;
                if (most != most) break;
            }
            const bool usual = most >= LEAST_SIZE && most - most == 0;
            scales[column] = usual ? most / MOST_SHORT : most < LEAST_SIZE ? 0 : __builtin_nanf("");
            const double inverse = usual ? static_cast<double>(MOST_SHORT) / most : 0;
            for (long k = start; k < end; k += GROUPED) {
                char* const group = groups + (k - start) / GROUPED * group_bytes(columns);
                std::uint32_t low = 0;
                for (int i = 0; i < GROUPED; ++i) {
                    const double exact = usual ? weight(k + i) * inverse : 0;
                    const std::int32_t level = static_cast<std::int32_t>(exact < 0 ? exact - 0.5 : exact + 0.5);
                    const std::int16_t high = static_cast<std::int16_t>(level >> 4);
                    __builtin_memcpy(group + (i * columns + column) * 2, &high, sizeof high);
                    low |= (static_cast<std::uint32_t>(level) & 15) << (4 * i);
                }
                __builtin_memcpy(group + (GROUPED * columns + column * 2) * 2, &low, sizeof low);
            }
        }
        out += short_bytes(end - start, columns);
    }
}

template <class Numbers>
void pack_rows(const float* from, long count, void* to) {
    typedef typename Numbers::Number Number;
    for (long i = 0; i < count * CHANNELS; i += LANES) Numbers::store_part(static_cast<Number*>(to) + i, load(from + i));
}

// ---------------------------------------------------------------------------------------------------- the rest

void preprocess_row(const std::uint8_t* pixels, const float* levels, bool flip, int width, float* row) {
    for (int x = 0; x < width; ++x)
        for (int channel = 0; channel < 3; ++channel)
            row[3 * x + (flip ? 2 - channel : channel)] = levels[256 * channel + pixels[3 * x + channel]];
}

template <int R, int N>
void first_pixels(const float* picture, long row, const float* weights, long weights_row,
                                  const float* bias, bool relu, float* results, const long* columns) {
    Vector sum[R][N];
    VERYDEEP_UNROLL
    for (int n = 0; n < N; ++n)
        VERYDEEP_UNROLL
        for (int r = 0; r < R; ++r) sum[r][n] = load(bias + n * LANES);
    for (int y = 0; y < 3; ++y, picture += row)
        for (int k = 0; k < 9; ++k, weights += weights_row) {
            Vector w[N];
            VERYDEEP_UNROLL
            for (int n = 0; n < N; ++n) w[n] = load(weights + n * LANES);
            VERYDEEP_UNROLL
            for (int r = 0; r < R; ++r) {
                const Vector x = broadcast(picture[3 * r + k]);
                VERYDEEP_UNROLL
                for (int n = 0; n < N; ++n) sum[r][n] += x * w[n];
            }
        }
    VERYDEEP_UNROLL
    for (int r = 0; r < R; ++r)
        VERYDEEP_UNROLL
        for (int n = 0; n < N; ++n)
            store(results + columns[n] + r * CHANNELS, relu ? rectified(sum[r][n]) : sum[r][n]);
}

using FirstPixels = void (*)(const float*, long, const float*, long, const float*, bool, float*, const long*);

template <int N, int... R>
VERYDEEP_INLINE FirstPixels first_pixels_among(int pixels, Counts<R...>) {
    static constexpr FirstPixels table[] = {first_pixels<R, N>...};
    return table[pixels - 1];
}

// Pixels of a row are split evenly, as the rows of a product are: strips are seldom a multiple of a block wide.
void first_row(const float* picture, long row, const float* weights, const float* bias, int width, bool relu,
               float* results, long plane, int num_blocks) {
    const int vectors = num_blocks * PARTS;
    for (int vector = 0; vector < vectors; vector += 2) {
        const bool two = vector + 1 < vectors;
        long columns[2];
        for (int n = 0; n < 1 + two; ++n) columns[n] = (vector + n) / PARTS * plane + (vector + n) % PARTS * LANES;
        const float* w = weights + vector * LANES;
        const float* b = bias + vector * LANES;
        const int pieces = (width + MOST_ROWS - 1) / MOST_ROWS;
        for (int piece = 0, x = 0; piece < pieces; ++piece) {
            const int count = (width - x) / (pieces - piece);
            const FirstPixels pixels =
                two ? first_pixels_among<2>(count, RowCounts{}) : first_pixels_among<1>(count, RowCounts{});
            pixels(picture + 3 * x, row, w, num_blocks * CHANNELS, b, relu, results + x * CHANNELS, columns);
            x += count;
        }
    }
}

void finish(float* results, long step, long rows, int num_blocks, const float* bias, bool relu) {
    for (int block = 0; block < num_blocks; ++block, results += step, bias += CHANNELS)
        for (int part = 0; part < PARTS; ++part) {
            const Vector constant = load(bias + part * LANES);
            for (long r = 0; r < rows; ++r) {
                float* place = results + r * CHANNELS + part * LANES;
                const Vector x = load(place) + constant;
                store(place, relu ? rectified(x) : x);
            }
        }
}

void max_pool_row(const float* upper, const float* lower, int width, float* to) {
    for (int x = 0; x < width; ++x, upper += 2 * CHANNELS, lower += 2 * CHANNELS, to += CHANNELS)
        for (int i = 0; i < CHANNELS; i += LANES)
            store(to + i, greater(greater(load(upper + i), load(upper + CHANNELS + i)),
                                  greater(load(lower + i), load(lower + CHANNELS + i))));
}

void average_pool_row(const float* upper, const float* lower, int width, float* to) {
    for (int x = 0; x < width; ++x, upper += 2 * CHANNELS, lower += 2 * CHANNELS, to += CHANNELS)
        for (int i = 0; i < CHANNELS; i += LANES)
            store(to + i, 0.25f * ((load(upper + i) + load(upper + CHANNELS + i)) +
                                   (load(lower + i) + load(lower + CHANNELS + i))));
}

// Squares of a block and its neighbours are written for some pixels first, and read shifted when they have all arrived.
void normalize_row(const float* row, long plane, int channels, int width, int size, float alpha, float beta, float k,
                   float* to, long to_plane) {
    constexpr int PIXELS = 32;
    const int before = size / 2, blocks = channels / CHANNELS;
    for (int block = 0; block < blocks; ++block)
        for (int first = 0; first < width; first += PIXELS) {
            float squares[PIXELS][3 * CHANNELS];
            const int count = least(PIXELS, width - first);
            for (int near = 0; near < 3; ++near) {
                const int other = block - 1 + near;
                const bool there = other >= 0 && other < blocks;
                const float* from = row + (there ? other : block) * plane + first * CHANNELS;
                for (int x = 0; x < count; ++x, from += CHANNELS)
                    for (int lane = 0; lane < CHANNELS; lane += LANES) {
                        const Vector number = load(from + lane);
                        store(squares[x] + near * CHANNELS + lane, there ? number * number : Vector{});
                    }
            }
            const float* from = row + block * plane + first * CHANNELS;
            float* out = to + block * to_plane + first * CHANNELS;
            for (int x = 0; x < count; ++x, from += CHANNELS, out += CHANNELS)
                for (int lane = 0; lane < CHANNELS; lane += LANES) {
                    Vector sum{};
                    for (int i = 0; i < size; ++i) sum += load(squares[x] + CHANNELS - before + lane + i);
                    const Vector base = k + alpha * sum;
                    Vector power;
                    if (beta == 0.75f)  // the power that AlexNet has: roots are vectors, a general power is not
                        power = root(base) * root(root(base));
                    else
                        for (int i = 0; i < LANES; ++i) power[i] = __builtin_powf(base[i], beta);
                    store(out + lane, load(from + lane) / power);
                }
        }
}

VERYDEEP_INLINE float sum_of(Vector x) {
    float lanes[LANES];
    store(lanes, x);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

// What makes a vector one of unit length; NaN where its squares overflow, as it would come out as zeros.
VERYDEEP_INLINE float one_over(float length, float epsilon) {
    return length <= __FLT_MAX__ ? 1 / (length + epsilon) : __builtin_nanf("");
}

// A few places at a time, whose numbers stay in the nearest cache between their lengths and their distance.
template <int PLACES>
void unit_distances(const float* first, const float* second, long plane, int blocks, const float* weights,
                    float epsilon, float* to) {
    Vector u[PLACES] = {}, v[PLACES] = {}, sums[PLACES] = {};
    for (int block = 0; block < blocks; ++block)
        for (int lane = 0; lane < CHANNELS; lane += LANES) {
            const long at = block * plane + lane;
            VERYDEEP_UNROLL
            for (int p = 0; p < PLACES; ++p) {
                const Vector x = load(first + at + p * CHANNELS), y = load(second + at + p * CHANNELS);
                u[p] += x * x;
                v[p] += y * y;
            }
        }
    // x u - y v as (x - y) s + (x or y) (u - v), where s is the smaller of u and v, and the vector that of the greater:
    // 0 where x = y and u = v, with fused products too, and nothing large cancels.
    Vector scale[PLACES], of_first[PLACES], of_second[PLACES];
    for (int p = 0; p < PLACES; ++p) {
        const float one = one_over(__builtin_sqrtf(sum_of(u[p])), epsilon);
        const float other = one_over(__builtin_sqrtf(sum_of(v[p])), epsilon);
        scale[p] = broadcast(one > other ? other : one);
        of_first[p] = broadcast(one > other ? one - other : 0);
        of_second[p] = broadcast(one > other ? 0 : one - other);
    }
    for (int block = 0; block < blocks; ++block)
        for (int lane = 0; lane < CHANNELS; lane += LANES) {
            const long at = block * plane + lane;
            const Vector weight = load(weights + block * CHANNELS + lane);
            VERYDEEP_UNROLL
            for (int p = 0; p < PLACES; ++p) {
                const Vector x = load(first + at + p * CHANNELS), y = load(second + at + p * CHANNELS);
                const Vector difference = (x - y) * scale[p] + x * of_first[p] + y * of_second[p];
                sums[p] += weight * (difference * difference);
            }
        }
    for (int p = 0; p < PLACES; ++p) to[p] = sum_of(sums[p]);
}

void unit_distance_row(const float* first, const float* second, long plane, int blocks, int width,
                       const float* weights, float epsilon, float* to) {
    int x = 0;
    for (; x + 4 <= width; x += 4)
        unit_distances<4>(first + x * CHANNELS, second + x * CHANNELS, plane, blocks, weights, epsilon, to + x);
    for (; x < width; ++x)
        unit_distances<1>(first + x * CHANNELS, second + x * CHANNELS, plane, blocks, weights, epsilon, to + x);
}

template <class Points>
constexpr auto transform() {
    if constexpr (Points::SCALED)
        return transform_to_integers<Points>;
    else
        return transform_input<Points>;
}

// `Numbers` are those of products, `Points` those of Winograd's products.
template <class Numbers, class Points>
constexpr Kernels kernels_of() {
    return {preprocess_row,
            first_row,
            transform<Points>(),
            multiply_points<Points>,
            transform_output,
            multiply<Numbers>,
            transform_weights<Points>,
            pack_weights<Numbers>,
            shorten_weights,
            multiply_short,
            pack_rows<Numbers>,
            finish,
            max_pool_row,
            average_pool_row,
            normalize_row,
            unit_distance_row,
            sizeof(typename Numbers::Number),
            sizeof(typename Points::Number),
            Points::SCALED};
}

}  // namespace

const Kernels* kernels([[maybe_unused]] Precision precision) {
    static constexpr Kernels single = kernels_of<Single, Single>();
#if defined(__AVX512BF16__)
    static constexpr Kernels half = kernels_of<Half, Half>();
    if (precision == Precision::bfloat16) return &half;
#endif
#if defined(__AVX512VNNI__)
    static constexpr Kernels integer = kernels_of<Single, Integer>();
    if (precision == Precision::int16) return &integer;
#endif
    return &single;
}

}  // namespace verydeep::VERYDEEP_INSTRUCTIONS
