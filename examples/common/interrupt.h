// Ctrl-C, SIGTERM, a closed terminal, and output that nobody reads, as a flag that the training loop polls.
#pragma once

namespace reel::examples {

// The first signal sets the flag; one more, later, ends the program as usual. To be called before the engine
// starts its threads.
void catch_interrupts();
bool interrupted();

}  // namespace reel::examples
