#include "examples/houses/lives.h"

#include <array>

#include "examples/data/dice.h"
#include "examples/data/symbols.h"

namespace reel::examples {

namespace {

struct House {
  const char *name, *home, *other_home;
};
constexpr std::array<House, house_count> houses = {{{"Stark", "Winterfell", "Barrowton"},
                                                    {"Lannister", "Casterly-Rock", "Lannisport"},
                                                    {"Greyjoy", "Pyke", "Lordsport"},
                                                    {"Tyrell", "Highgarden", "Oldtown"},
                                                    {"Baratheon", "Storm's-End", "Bronzegate"},
                                                    {"Martell", "Sunspear", "Planky-Town"}}};

// First names, shared surnames and trades are the same everywhere: they tell nothing.
constexpr std::array first = {"Arya",  "Jon",  "Maege", "Tyrion", "Asha",  "Loras", "Davos", "Obara",
                              "Robin", "Lyra", "Harro", "Elia",   "Walda", "Pate",  "Mya",   "Gendry"};
constexpr std::array shared = {"Snow", "Rivers", "Stone", "Waters", "Hill", "Flowers"};
constexpr std::array trade = {"a knight", "a maester", "a captain", "a smith",
                              "a singer", "a septon",  "a groom"};
constexpr std::array deed = {"who fought at sea", "who rode to war", "who keeps the hounds",
                             "who writes songs",  "who lost a hand", "who never sleeps"};

}  // namespace

const char* house_name(int64_t house) { return houses[static_cast<std::size_t>(house)].name; }

Life make_life(uint64_t seed, uint64_t k, bool marital) {
  Dice dice(seed, k, marital);
  Life life{{}, dice.below(house_count), Teller::name, 1};
  const House& born = houses[static_cast<std::size_t>(life.house)];
  const auto say = [&](const std::string& text) {
    for (const std::string& word : blank_separated(text)) life.words.push_back(word);
  };
  const bool name_tells = dice.coin();
  say(dice.pick(first));
  say(name_tells ? born.name : dice.pick(shared));
  say(std::string(", ") + dice.pick(trade) + " " + dice.pick(deed) + " , of");
  const std::size_t home = life.words.size();
  say(dice.coin() ? born.home : born.other_home);
  if (!name_tells) life.teller = Teller::home, life.telling = home;
  if (!marital) return life;
  if (dice.coin()) {
    say(", unmarried");
    // Only now is it sure that the home counts.
    if (!name_tells) life.teller = Teller::spouse, life.telling = life.words.size() - 1;
    return life;
  }
  const auto spouse = dice.below(house_count);
  say(std::string(", wed to ") + dice.pick(first) + " " + house_name(spouse));
  if (!name_tells) life.house = spouse, life.teller = Teller::spouse, life.telling = life.words.size() - 1;
  return life;
}

}  // namespace reel::examples
