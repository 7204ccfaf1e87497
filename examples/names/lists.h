// Surnames and their languages: a short embedded list, or a folder of files; one part is held out for the
// test.
#pragma once

#include <string>

#include "examples/data/name_lists.h"

namespace reel::examples {

NameLists embedded_names();

struct NameSplit {
  NameLists train, test;
};
// Each name once a language; every so-many-th of a language's names, in the order of the file, is held out.
NameSplit split_names(const NameLists& all, std::size_t every);

}  // namespace reel::examples
