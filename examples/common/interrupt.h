// Ctrl-C and SIGTERM as a flag that the training loop polls.
#pragma once

namespace reel::examples {

void catch_interrupts();  // the first signal sets the flag; one more, later, ends the program as usual
bool interrupted();

}  // namespace reel::examples
