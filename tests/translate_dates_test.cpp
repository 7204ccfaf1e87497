// The dates of examples/translate: every text means one date, and the splits are apart.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "examples/translate/dates.h"

using namespace reel;
using namespace reel::examples;
using std::chrono::year_month_day, std::chrono::sys_days, std::chrono::days;

namespace {

using Strings = std::vector<std::string>;

constexpr sys_days first_day = std::chrono::year(1950) / 1 / 1;
constexpr sys_days last_day = std::chrono::year(2049) / 12 / 31;

std::string lower_ascii(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("dates: the forms of one date") {
  const year_month_day date = std::chrono::year(1998) / 5 / 9;
  const Strings expected{"Saturday 9 May 1998",
                         "9 May 1998",
                         "May 9, 1998",
                         "5/9/98",
                         "05/09/1998",
                         "09.05.1998",
                         "9.5.98",
                         "1998/05/09",
                         "19980509",
                         "9 V 1998",
                         "9th of May, 1998",
                         "the 9th of May 98",
                         "May 9th '98",
                         "Saturday, May 9th, 1998",
                         "Sat, 09 May 1998",
                         "Sat May 9 1998",
                         "Sat 9-May-98",
                         "09-May-1998",
                         "1998 May 9",
                         "nine May ninety-eight",
                         "the ninth of May nineteen ninety-eight",
                         "May the ninth, nineteen ninety-eight",
                         "Saturday the ninth of May '98",
                         "Saturday, the 9th day of May in the year 1998"};
  REQUIRE(date_form_count() == expected.size());
  for (std::size_t form = 0; form < expected.size(); ++form) CHECK(write_date(date, form) == expected[form]);
  CHECK(iso_date(date) == "1998-05-09");

  const auto spoken = [](int year, unsigned month, unsigned day) {
    const year_month_day d = std::chrono::year(year) / month / day;
    return write_date(d, 19) + "|" + write_date(d, 21);
  };
  CHECK(spoken(2000, 1, 20) == "twenty January two thousand|January the twentieth, two thousand");
  CHECK(spoken(2005, 12, 31) ==
        "thirty-one December oh five|December the thirty-first, two thousand and five");
  CHECK(spoken(2030, 2, 12) == "twelve February thirty|February the twelfth, twenty thirty");
  CHECK(spoken(1950, 7, 23) == "twenty-three July fifty|July the twenty-third, nineteen fifty");

  CHECK(contains(error_of([&] { write_date(date, 24); }), "no date form 24"));
  CHECK(contains(error_of([] { iso_date(std::chrono::year(2050) / 1 / 1); }), "year 2050"));
  CHECK(contains(error_of([] { write_date(std::chrono::year(2001) / 2 / 29, 0); }), "real day"));
}

TEST_CASE("dates: every word is spelt right") {
  std::string months, decades, weekdays;
  for (unsigned month = 1; month <= 12; ++month)
    for (const std::size_t form : {1, 9})
      months += write_date(std::chrono::year(1950) / month / 7, form) + ",";
  CHECK(months ==
        "7 January 1950,7 I 1950,7 February 1950,7 II 1950,7 March 1950,7 III 1950,7 April 1950,7 IV 1950,"
        "7 May 1950,7 V 1950,7 June 1950,7 VI 1950,7 July 1950,7 VII 1950,7 August 1950,7 VIII 1950,"
        "7 September 1950,7 IX 1950,7 October 1950,7 X 1950,7 November 1950,7 XI 1950,7 December 1950,"
        "7 XII 1950,");
  for (int year = 1950; year < 2050; year += 10) {
    const std::string text = write_date(std::chrono::year(year) / 1 / 1, 20);
    decades += text.substr(text.find_last_of(' '));
  }
  CHECK(decades == " fifty sixty seventy eighty ninety thousand ten twenty thirty forty");
  for (unsigned day = 1; day <= 7; ++day) {
    const std::string text = write_date(std::chrono::year(1950) / 1 / day, 0);
    weekdays += text.substr(0, text.find(' ') + 1);
  }
  CHECK(weekdays == "Sunday Monday Tuesday Wednesday Thursday Friday Saturday ");
  std::string suffixes, ordinals, cardinals;
  for (unsigned day = 1; day <= 31; ++day) {
    const year_month_day date = std::chrono::year(2001) / 1 / day;
    const std::string suffixed = write_date(date, 12), ordinal = write_date(date, 20),
                      cardinal = write_date(date, 19);
    suffixes += suffixed.substr(suffixed.find('\'') - 3, 2);
    ordinals += ordinal.substr(4, ordinal.find(" of ") - 3);
    cardinals += cardinal.substr(0, cardinal.find(' ') + 1);
  }
  CHECK(suffixes == "stndrdthththththththththththththththththstndrdthththththththst");
  CHECK(ordinals ==
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
        "fourteenth "
        "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second "
        "twenty-third "
        "twenty-fourth twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth "
        "thirty-first ");
  CHECK(cardinals ==
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty twenty-one twenty-two twenty-three twenty-four twenty-five "
        "twenty-six twenty-seven twenty-eight twenty-nine thirty thirty-one ");
}

TEST_CASE("dates: no text means two dates, and every weekday is right") {
  // Sakamoto's rule, 0 = Sunday.
  const auto weekday_of = [](int y, int m, int d) {
    static constexpr int shift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
    if (m < 3) --y;
    return (y + y / 4 - y / 100 + y / 400 + shift[m - 1] + d) % 7;
  };
  const Strings weekdays{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};
  std::unordered_map<std::string, int> day_of;
  long ambiguous = 0, wrong_weekday = 0, targets_wrong = 0;
  for (sys_days day = first_day; day <= last_day; day += days(1)) {
    const year_month_day date = day;
    const int number = static_cast<int>((day - first_day).count());
    const int y = static_cast<int>(date.year());
    const auto m = static_cast<unsigned>(date.month()), d = static_cast<unsigned>(date.day());
    targets_wrong += iso_date(date) != fmt::format("{}-{:02}-{:02}", y, m, d);
    const std::string& weekday =
        weekdays[static_cast<std::size_t>(weekday_of(y, static_cast<int>(m), static_cast<int>(d)))];
    for (std::size_t form = 0; form < date_form_count(); ++form) {
      const std::string text = lower_ascii(write_date(date, form));
      ambiguous += day_of.try_emplace(text, number).first->second != number;
      for (const std::string& name : weekdays)
        if (text.starts_with(name.substr(0, 3))) wrong_weekday += name != weekday;
    }
  }
  CHECK(ambiguous == 0);
  CHECK(wrong_weekday == 0);
  CHECK(targets_wrong == 0);
  CHECK(day_of.size() > 24 * 36525 * 9 / 10);  // a few forms agree on a few dates ("12/12/12"), most do not
}

TEST_CASE("dates: pairs repeat, cover all forms, and no test date is seen in training") {
  const DatePair pinned = date_pair(1, 0, Split::train);  // changes only if every trained model may
  CHECK(pinned.source == "THURSDAY, JUNE 24TH, 1965");
  CHECK(pinned.target == "1965-06-24");
  CHECK(date_pair(1, 0, Split::train).source == pinned.source);

  std::map<Split, std::set<std::string>> dates;
  std::set<std::string> sources;
  long upper = 0, lower = 0, not_plain = 0;
  constexpr long count = 20000;
  for (const Split split : {Split::train, Split::valid, Split::test})
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto [source, target] = date_pair(static_cast<std::uint64_t>(split) + 7, i, split);
      dates[split].insert(target);
      if (split == Split::train) sources.insert(source);
      const auto any = [&source = source](char first, char last) {
        return std::ranges::any_of(source, [=](char c) { return c >= first && c <= last; });
      };
      upper += any('A', 'Z') && !any('a', 'z');
      lower += any('a', 'z') && !any('A', 'Z');
      not_plain += std::ranges::any_of(source, [](char c) { return c < ' ' || c > '~'; });
    }
  for (const auto& [a, b] :
       {std::pair(Split::train, Split::valid), {Split::train, Split::test}, {Split::valid, Split::test}}) {
    Strings both;
    std::ranges::set_intersection(dates[a], dates[b], std::back_inserter(both));
    CHECK(both.empty());
  }
  CHECK(sources.size() > count * 95 / 100);
  CHECK(not_plain == 0);
  CHECK(upper > 3 * count / 10);  // a sixth of 60,000, less the forms that have no letters
  CHECK(lower > 6 * count / 10);

  std::map<Split, long> sizes;
  for (sys_days day = first_day; day <= last_day; day += days(1)) ++sizes[split_of(day)];
  CHECK(sizes[Split::train] == doctest::Approx(36525 * 0.8).epsilon(0.02));
  CHECK(sizes[Split::test] == doctest::Approx(36525 * 0.1).epsilon(0.05));
  CHECK(date_pair(1, 5, Split::train).target != date_pair(2, 5, Split::train).target);
}
