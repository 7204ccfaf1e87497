// The default corpus of `translate`: dates as people write them, each with its ISO form.
//
// A pair is a pure function of (seed, index, split): nothing is stored and a run resumes at any index. The
// rules that make every text mean exactly one date, and that a reader of the pairs has to know:
//   - dates run from 1950-01-01 to 2049-12-31, so two digits mean 50..99 -> 19xx and 00..49 -> 20xx;
//   - with slashes the month comes first ("5/9/98" is the 9th of May) but after a leading year
//   ("1998/05/09");
//   - with dots the day comes first ("09.05.1998"); a Roman numeral is the month ("9 V 1998");
//   - a weekday, where one is written, is the right one for the date.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace reel::examples {

enum class Split { train, valid, test };

struct DatePair {
  std::string source;  // "Saturday 9 May 1998"
  std::string target;  // "1998-05-09"
};

inline constexpr int first_year = 1950, last_year = 2049;

// The split a date belongs to, whatever the seed and the form: about 80 % train, 10 % valid, 10 % test. A
// test date is therefore never seen in training in any form.
Split split_of(std::chrono::year_month_day date);

DatePair date_pair(std::uint64_t seed, std::uint64_t index, Split split);

// The forms one by one, in natural case: write_date(1998-05-09, 0) is "Saturday 9 May 1998".
std::size_t date_form_count();
std::string write_date(std::chrono::year_month_day date, std::size_t form);

std::string iso_date(std::chrono::year_month_day date);  // "1998-05-09"

}  // namespace reel::examples
