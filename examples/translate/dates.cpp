// Writes dates in many human forms.
#include "examples/translate/dates.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "core/error.h"

namespace reel::examples {
namespace {

using std::string, std::string_view;
using std::chrono::sys_days, std::chrono::year_month_day;

constexpr std::array<string_view, 7> weekday_names{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<string_view, 12> month_names{"January",   "February", "March",    "April",
                                                  "May",       "June",     "July",     "August",
                                                  "September", "October",  "November", "December"};
constexpr std::array<string_view, 12> roman_months{"I",   "II",   "III", "IV", "V",  "VI",
                                                   "VII", "VIII", "IX",  "X",  "XI", "XII"};
constexpr std::array<string_view, 20> small_cardinals{
    "zero",     "one",     "two",     "three",     "four",     "five",    "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<string_view, 20> small_ordinals{
    "zeroth",     "first",     "second",    "third",       "fourth",     "fifth",     "sixth",
    "seventh",    "eighth",    "ninth",     "tenth",       "eleventh",   "twelfth",   "thirteenth",
    "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth"};
constexpr std::array<string_view, 10> tens{"",      "",      "twenty",  "thirty", "forty",
                                           "fifty", "sixty", "seventy", "eighty", "ninety"};

string cardinal(int n) {  // 0 <= n < 100
  if (n < 20) return string(small_cardinals[n]);
  return n % 10 == 0 ? string(tens[n / 10]) : fmt::format("{}-{}", tens[n / 10], small_cardinals[n % 10]);
}

string ordinal(int n) {  // 1 <= n <= 31
  if (n < 20) return string(small_ordinals[n]);
  if (n % 10 == 0) return n == 20 ? "twentieth" : "thirtieth";
  return fmt::format("{}-{}", tens[n / 10], small_ordinals[n % 10]);
}

string_view suffix(int n) {  // 1st 2nd 3rd 4th .. 11th 12th 13th .. 21st
  if (n / 10 == 1) return "th";
  return n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
}

// nineteen ninety-eight, two thousand, two thousand and five, twenty seventeen
string spoken_year(int year) {
  if (year < 2000) return fmt::format("nineteen {}", cardinal(year - 1900));
  if (year == 2000) return "two thousand";
  if (year < 2010) return fmt::format("two thousand and {}", cardinal(year - 2000));
  return fmt::format("twenty {}", cardinal(year - 2000));
}

// ninety-eight, two thousand, oh five, seventeen
string short_year(int year) {
  const int two_digits = year % 100;
  if (two_digits == 0) return "two thousand";
  return two_digits < 10 ? fmt::format("oh {}", cardinal(two_digits)) : cardinal(two_digits);
}

// The forms, each beside what it makes of 1998-05-09. The words are the arguments of write_date.
constexpr const char* forms[] = {
    "{weekday} {day} {month} {year}",                              // Saturday 9 May 1998
    "{day} {month} {year}",                                        // 9 May 1998
    "{month} {day}, {year}",                                       // May 9, 1998
    "{m}/{day}/{yy:02}",                                           // 5/9/98
    "{m:02}/{day:02}/{year}",                                      // 05/09/1998
    "{day:02}.{m:02}.{year}",                                      // 09.05.1998
    "{day}.{m}.{yy:02}",                                           // 9.5.98
    "{year}/{m:02}/{day:02}",                                      // 1998/05/09
    "{year}{m:02}{day:02}",                                        // 19980509
    "{day} {roman} {year}",                                        // 9 V 1998
    "{day}{th} of {month}, {year}",                                // 9th of May, 1998
    "the {day}{th} of {month} {yy:02}",                            // the 9th of May 98
    "{month} {day}{th} '{yy:02}",                                  // May 9th '98
    "{weekday}, {month} {day}{th}, {year}",                        // Saturday, May 9th, 1998
    "{wday}, {day:02} {mon} {year}",                               // Sat, 09 May 1998
    "{wday} {mon} {day} {year}",                                   // Sat May 9 1998
    "{wday} {day}-{mon}-{yy:02}",                                  // Sat 9-May-98
    "{day:02}-{mon}-{year}",                                       // 09-May-1998
    "{year} {mon} {day}",                                          // 1998 May 9
    "{cardinal} {month} {short_year}",                             // nine May ninety-eight
    "the {ordinal} of {month} {spoken_year}",                      // the ninth of May nineteen ninety-eight
    "{month} the {ordinal}, {spoken_year}",                        // May the ninth, nineteen ninety-eight
    "{weekday} the {ordinal} of {month} '{yy:02}",                 // Saturday the ninth of May '98
    "{weekday}, the {day}{th} day of {month} in the year {year}",  // as the last but one, in full
};

void check(year_month_day date) {
  const int year = static_cast<int>(date.year());
  if (!date.ok() || year < first_year || year > last_year)
    fail("a date of year {} month {} day {} cannot be written; want a real day from {} to {}.", year,
         static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), first_year, last_year);
}

// SplitMix64 (Steele, Lea and Flood, 2014): as a hash, and as a stream of draws.
constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t z) {
  z += golden;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class Draws {
 public:
  Draws(std::uint64_t seed, std::uint64_t index) : state_(mix(mix(seed) + index)) {}

  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t draw = mix(state_);
    state_ += golden;
    return draw % n;
  }

 private:
  std::uint64_t state_;
};

// Half as it is, a third lower case, a sixth upper case.
string vary_case(string text, Draws& draws) {
  const std::uint64_t choice = draws.below(6);
  for (char& c : text) {
    if (choice >= 3 && choice < 5 && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (choice == 5 && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

}  // namespace

Split split_of(year_month_day date) {
  const auto day = static_cast<std::uint64_t>(sys_days(date).time_since_epoch().count());
  const std::uint64_t tenth = mix(day) % 10;
  return tenth == 9 ? Split::test : tenth == 8 ? Split::valid : Split::train;
}

DatePair date_pair(std::uint64_t seed, std::uint64_t index, Split split) {
  constexpr sys_days first = std::chrono::year(first_year) / 1 / 1;
  constexpr sys_days past = std::chrono::year(last_year + 1) / 1 / 1;
  Draws draws(seed, index);
  year_month_day date;
  do {
    date = first + std::chrono::days(draws.below(static_cast<std::uint64_t>((past - first).count())));
  } while (split_of(date) != split);
  const string text = write_date(date, draws.below(date_form_count()));
  return {vary_case(text, draws), iso_date(date)};
}

std::size_t date_form_count() { return std::size(forms); }

string write_date(year_month_day date, std::size_t form) {
  if (form >= std::size(forms)) fail("there is no date form {}; want 0 to {}.", form, std::size(forms) - 1);
  check(date);
  const int year = static_cast<int>(date.year());
  const auto month = static_cast<unsigned>(date.month());
  const auto day = static_cast<int>(static_cast<unsigned>(date.day()));
  const string_view weekday = weekday_names[std::chrono::weekday(sys_days(date)).c_encoding()];
  const string_view month_name = month_names[month - 1];
  // clang-format off
  return fmt::format(fmt::runtime(forms[form]),
                     fmt::arg("weekday", weekday), fmt::arg("wday", weekday.substr(0, 3)),
                     fmt::arg("day", day), fmt::arg("th", suffix(day)),
                     fmt::arg("cardinal", cardinal(day)), fmt::arg("ordinal", ordinal(day)),
                     fmt::arg("month", month_name), fmt::arg("mon", month_name.substr(0, 3)),
                     fmt::arg("m", month), fmt::arg("roman", roman_months[month - 1]),
                     fmt::arg("year", year), fmt::arg("yy", year % 100),
                     fmt::arg("spoken_year", spoken_year(year)), fmt::arg("short_year", short_year(year)));
  // clang-format on
}

string iso_date(year_month_day date) {
  check(date);
  return fmt::format("{}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

}  // namespace reel::examples
