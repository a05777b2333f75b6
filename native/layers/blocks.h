// Loops over maps that all layers share.
#pragma once

#include "engine/threads.h"
#include "layers/layers.h"

namespace verydeep {

// `work(image, block)` for all blocks of some maps.
template <class Work>
void for_each_block(const Processor& processor, const Maps& maps, Work work) {
    const int num_blocks = maps.map().num_blocks;
    parallel_for(processor.threads, maps.images * num_blocks,
                 [&](long task, int) { work(task / num_blocks, static_cast<int>(task % num_blocks)); });
}

}  // namespace verydeep
