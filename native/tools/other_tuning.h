// Other values than those of tuning.h, small and odd, to check that results stay right: `make check-tuning`.
#include <cstddef>

namespace verydeep::tuning {

constexpr std::size_t MAX_SCRATCH_BYTES = 100000;
constexpr long MAX_IMAGES = 3;
constexpr std::size_t SEGMENT_MAP_BYTES = 10000;

constexpr std::size_t BLOCK_INPUT_BYTES = 1;
constexpr int MIN_BLOCK_TILES = 3, MAX_BLOCK_TILES = 5;
constexpr std::size_t OWN_WEIGHT_BYTES = 30000;
constexpr int FEW_THREADS = 1;
constexpr int MIN_SHARED_TILES = 2, MAX_SHARED_TILES = 7;
constexpr int ON_DEMAND_POOLINGS = 0;
constexpr int ON_DEMAND_TILES = 5;

constexpr std::size_t STRIP_WEIGHT_BYTES = std::size_t{1} << 30;
constexpr std::size_t STRIP_BYTES = 1;
constexpr int MIN_STRIP_TILES = 2, MAX_STRIP_TILES = 3;
constexpr int MIN_IMAGE_TILES = 1;

constexpr long MAX_POSITIONS = 5;
constexpr int MANY_ROWS = 0;
constexpr int BLOCKS_AT_ONCE = 1;
constexpr int FEW_ROW_PIECES = 0;
constexpr long PACKED_AT_ONCE = 7;

constexpr int TILES_AHEAD = 1;
constexpr long MAX_PREFETCH_BYTES = 1;
constexpr int WEIGHT_ROWS_AHEAD = 1;
constexpr int NORMALIZED_AT_ONCE = 3;

constexpr int LAYER_TILES = 3;
constexpr int POSITION_IMAGES = 2;

constexpr int DEEP_BLOCKS = 2;
constexpr int GRADIENT_TILES = 3, MAX_PARTIAL_SUMS = 3;
constexpr long PARTIAL_SUM_BYTES = 1L << 20;
constexpr long LARGE_SUM_BYTES = 1L << 17;
constexpr int GRAM_PLACES = 7;
constexpr std::size_t INT20_WEIGHT_BYTES = 1;
constexpr long INT20_MIN_INPUTS = 1;
constexpr int MAX_BFLOAT16_LAYERS = 1;
constexpr long PACKED_SLICE_INPUTS = 128;

}  // namespace verydeep::tuning
