// The bound on this process's memory.
#pragma once

namespace reel::examples {

// From here on an allocation beyond what the machine (or its container) has left fails, and is told as such;
// else Linux promises the memory and kills some process when it is used.
void limit_memory();

}  // namespace reel::examples
