#include "examples/char_lm/tales.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <string_view>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

struct Person {
  const char *name, *he;
};
struct Animal {
  const char *one, *many;
};
struct Place {
  const char *at, *to;
};

constexpr std::array<Person, 6> people = {{{"Anton", "he"},
                                           {"Clara", "she"},
                                           {"Greta", "she"},
                                           {"Hugo", "he"},
                                           {"Jonas", "he"},
                                           {"Martha", "she"}}};
constexpr std::array trades = {"baker", "fiddler", "gardener", "miller", "smith", "weaver"};
constexpr std::array<Animal, 5> animals = {
    {{"cow", "cows"}, {"dog", "dogs"}, {"goose", "geese"}, {"mouse", "mice"}, {"pony", "ponies"}}};
constexpr std::array witnesses = {"badger", "crow", "fox", "wolf"};
constexpr std::array<Place, 5> places = {{{"at the bridge", "to the bridge"},
                                          {"by the river", "to the river"},
                                          {"in the forest", "into the forest"},
                                          {"on the hill", "up the hill"},
                                          {"under the great oak", "to the great oak"}}};
constexpr std::array kinds = {"clever", "lonely", "merry", "poor", "quiet", "rich", "stubborn", "young"};
constexpr std::array weathers = {"bright", "cold", "foggy", "grey", "rainy", "still", "warm", "windy"};
constexpr std::array hours = {"afternoon", "evening", "morning", "night", "Sunday"};
constexpr std::array voices = {"asked", "cried", "shouted", "sighed", "whispered"};
constexpr std::array goes = {"hurried", "ran", "rode", "tiptoed", "walked"};
constexpr std::array numbers = {"no", "one", "two", "three", "four", "five", "six"};
constexpr std::array ends = {"ate soup and fell asleep", "danced until the morning",
                             "never parted again",       "shared every supper",
                             "told this tale to all",    "were the best of friends"};

// A tale as it grows: each choice among n, all equally likely, adds log n to its nats. Different choices make
// different texts.
class Teller {
 public:
  explicit Teller(uint64_t k) : dice_(0, k) {}

  template <class List>
  const auto& pick(const List& list) {
    nats_ += std::log(static_cast<double>(list.size()));
    return dice_.pick(list);
  }
  size_t from_to(size_t least, size_t most) {
    nats_ += std::log(static_cast<double>(most - least + 1));
    return least + static_cast<size_t>(dice_.below(static_cast<int64_t>(most - least + 1)));
  }
  template <class... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...);
  }
  Text done() { return {std::move(text_), nats_}; }

 private:
  Dice dice_;
  std::string text_;
  double nats_ = 0;
};

std::string capitals(std::string_view words) {
  std::string text(words);
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string counted(size_t n, const Animal& animal) {
  return fmt::format("{} {}", numbers[n], n == 1 ? animal.one : animal.many);
}

}  // namespace

Text make_tale(uint64_t k) {
  Teller t(k);
  const char* trade = t.pick(trades);
  const Animal& animal = t.pick(animals);
  const Person& who = t.pick(people);
  const size_t all = t.from_to(2, 6), gone = t.from_to(1, all - 1), left = all - gone;
  t.tell("THE {} AND THE {}\n\n", capitals(trade), capitals(animal.many));
  t.tell("There once was a {} {}", t.pick(kinds), trade);
  t.tell(" called {}. {} had {}.\n", who.name, who.name, counted(all, animal));
  t.tell("One {}", t.pick(weathers));
  t.tell(" {} {} ran away, and {} {} left.\n", t.pick(hours), counted(gone, animal), counted(left, animal),
         left == 1 ? "was" : "were");
  t.tell("\"Who has seen my {}?\" {}", gone == 1 ? animal.one : animal.many, t.pick(voices));
  const char* witness = t.pick(witnesses);
  const Place& place = t.pick(places);
  t.tell(" {} the {}.\n", who.name, trade);
  t.tell("\"I have,\" said the {}. \"I saw {} {}.\"\n", witness, counted(gone, animal), place.at);
  t.tell("So {} thanked the {} and {}", who.name, witness, t.pick(goes));
  t.tell(" {}, and there {} found the {}.\n", place.to, who.he, counted(gone, animal));
  t.tell("{} the {} and the {} {}.\n\n\n", who.name, trade, counted(all, animal), t.pick(ends));
  return t.done();
}

Text make_tales(uint64_t count) {
  Text all{"", 0};
  for (uint64_t k = 0; k < count; ++k) {
    const Text tale = make_tale(k);
    all.text += tale.text;
    all.nats += tale.nats;
  }
  return all;
}

}  // namespace reel::examples
