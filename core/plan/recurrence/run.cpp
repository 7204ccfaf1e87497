// Runs a recurrence: its levels one after another, on one thread; or what does not depend on each other
// (rows of a batch, trees) on several, each from the first level to the last without waiting for the others.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"
#include "core/plan/explain.h"
#include "core/plan/recurrence/compiled.h"
#include "core/plan/recurrence/together.h"
#include "core/plan/run.h"

namespace reel::plan {

namespace {

using Compiled = Recurrence::Compiled;
using Base = Compiled::Base;
using Run = Schedule::Run;

// The rows of each level that one thread takes.
using Share = std::vector<Schedule::Level>;

class Running {
 public:
  Running(const Exec& e, const Schedule& schedule, const Compiled& compiled)
      : e_(e),
        r_(*e.op.recurrence),
        schedule_(schedule),
        c_(compiled),
        read_(r_.body.outputs.size(), {schedule.rows, 0}) {
    shared_ = Buffer(static_cast<size_t>(std::max<int64_t>(c_.plan->arena_bytes, 1)));
    for (size_t k = 0; k < r_.body.outputs.size(); ++k) {
      outputs_.push_back(e.out.data +
                         r_.offset(k, schedule.rows) * static_cast<int64_t>(size_of(e.out.dtype)));
      carried_.push_back(rows_carried(e, schedule, k));
    }
    for (const auto& runs : schedule.reads) {
      for (const Run& run : runs) {
        if (run.source == Schedule::kNothing || static_cast<size_t>(run.source) >= outputs_.size()) continue;
        Schedule::Level& read = read_[static_cast<size_t>(run.source)];
        read = {std::min(read.begin, run.from), std::max(read.end, run.from + run.count)};
      }
    }
  }

  // What all levels share: packed weights.
  void once() {
    Thread thread(*this, shared_.data(), nullptr, nullptr);
    for (size_t s : c_.once) thread.step(c_.plan->steps[s], -1, explain::on());
  }

  // `sums`: room for the totals; null: the result itself, for the first thread.
  void levels(const Share& share, std::byte* sums) {
    const Compiled& c = c_;
    int64_t gathered = 0;
    for (int64_t bytes : c.read_bytes) gathered += bytes * c.capacity + 64;
    Buffer own;
    if (sums) own = Buffer(static_cast<size_t>(std::max<int64_t>(c.plan->arena_bytes, 1)));
    const Buffer rows(static_cast<size_t>(std::max<int64_t>(gathered, 1)));
    Thread thread(*this, sums ? own.data() : shared_.data(), rows.data(), sums);
    thread.clear_totals();
    const bool explained = explain::on();
    for (const auto& level : share) {
      if (level.begin == level.end) continue;
      thread.place(level);
      const int64_t rows = level.end - level.begin;
      for (const auto& at : c.level) {
        const Step& step = c.plan->steps[at.step];
        if (at.output >= 0 && nobody_reads(static_cast<size_t>(at.output), level)) continue;
        if (at.left >= 0 && thread.reads_nothing(static_cast<size_t>(at.left), level) &&
            thread.zero_product(step, rows))
          continue;
        if (rows == 1 && at.row_sum > 0 && !explained) {
          thread.add_row(step, at.row_sum);
        } else {
          thread.step(step, rows, explained);
        }
      }
      thread.add_totals();
    }
  }

  int64_t totals_bytes() const { return sum_at(c_.totals.size()); }
  // Those of the other threads, in so many rooms one behind another, onto the first one's.
  void add_totals(const std::byte* sums, int others) const {
    for (size_t k = 0; k < c_.totals.size(); ++k) {
      const int64_t bytes = size_of_total(c_.totals[k]), width = static_cast<int64_t>(size_of(e_.out.dtype));
      std::byte* to = outputs_[c_.totals[k].output];
      parallel_for(others > 0 ? bytes / width : 0, others, [&](int64_t begin, int64_t end) {
        for (int t = 0; t < others; ++t) {
          const std::byte* from = sums + t * totals_bytes() + sum_at(k);
          add(to + begin * width, from + begin * width, (end - begin) * width);
        }
      });
    }
  }

 private:
  // The addresses of one thread.
  class Thread {
   public:
    Thread(const Running& all, std::byte* arena, std::byte* gathered, std::byte* sums)
        : all_(all),
          plan_(*all.c_.plan),
          arena_(arena),
          gathered_(gathered),
          sums_(sums),
          arrays_(plan_.arrays),
          addresses_(plan_.addresses),
          found_(all.r_.reads),
          runs_(all.r_.reads) {
      settle();
    }

    // What lies where it lies at every level.
    void settle() {
      for (size_t k = 0; k < plan_.operands.size(); ++k) {
        const PlannedValue& v = plan_.values[static_cast<size_t>(plan_.operands[k])];
        arrays_[k].data = addresses_[k] = base_of(static_cast<size_t>(v.root)) + v.offset;
      }
    }
    std::byte* base_of(size_t root) const {
      const Compiled::RootBase& b = all_.c_.bases[root];
      if (b.base == Base::shared) return all_.e_.in[all_.r_.rows + b.index].data;
      if (b.base == Base::total) return total(b.index);
      return (b.base == Base::kept ? all_.shared_.data() : arena_) + plan_.roots[root].offset;
    }

    void place(Schedule::Level level) {
      std::byte* room = gathered_;
      for (size_t p = 0; p < all_.r_.reads; ++p) {
        found_[p] = find(p, level, room);
        room += (all_.c_.read_bytes[p] * all_.c_.capacity + 63) / 64 * 64;
      }
      for (const Compiled::Moving& m : all_.c_.moving) {
        std::byte* base =
            m.base.base == Base::read ? found_[m.base.index]
            : m.base.base == Base::row
                ? all_.e_.in[m.base.index].data + level.begin * m.base.row_bytes
                : all_.row_of(static_cast<int64_t>(m.base.index), level.begin, m.base.row_bytes);
        addresses_[m.operand] = base + m.offset;
        if (m.described) arrays_[m.operand].data = addresses_[m.operand];
      }
      if (const int64_t rows = level.end - level.begin; rows != rows_) {
        for (size_t k = 0; k < arrays_.size(); ++k) {
          if (all_.c_.by_rows[k]) arrays_[k].shape[0] = rows;
        }
        rows_ = rows;
      }
    }

    void step(const Step& step, int64_t rows, bool explained) {
      const Operands operands{arrays_.data() + step.first, addresses_.data() + step.first, rows};
      if (!explained) return run_step(plan_, step, {}, operands);
      const auto start = std::chrono::steady_clock::now();
      run_step(plan_, step, {}, operands);
      explain::step_ran(plan_, step, start, std::chrono::steady_clock::now(),
                        rows < 0 ? 1 : static_cast<double>(rows) / static_cast<double>(all_.c_.capacity));
    }

    // A level of one row: its sum over rows.
    void add_row(const Step& step, int64_t floats) {
      std::byte* const* at = addresses_.data() + step.first;
      simd::add_to(reinterpret_cast<float*>(at[1]), reinterpret_cast<const float*>(at[0]),
                   static_cast<size_t>(floats));
    }

    // Of a level at which it was placed.
    bool reads_nothing(size_t p, Schedule::Level level) const {
      const Run* run = runs_[p];
      return run->source == Schedule::kNothing && run->to + run->count >= level.end;
    }
    // A product whose left side is zero. False where it is none: a weight is infinite, or no number.
    bool zero_product(const Step& step, int64_t rows) const {
      const Product& p = plan_.products[static_cast<size_t>(step.kernel)];
      if (p.b_row != 1 && p.b_col != 1) return false;
      const auto* weight = reinterpret_cast<const float*>(addresses_[step.first + 1]);
      const int64_t apart = p.b_col == 1 ? p.b_row : p.b_col, lines = p.b_col == 1 ? p.k : p.n;
      for (int64_t k = 0; k < lines; ++k) {
        const auto length = static_cast<size_t>(p.k * p.n / lines);
        if (!std::isfinite(simd::sum_of_squares(weight + k * apart, 0, length))) return false;
      }
      auto* to = reinterpret_cast<float*>(addresses_[step.first + step.inputs]);
      for (int64_t row = 0; row < rows && !step.add; ++row)
        std::memset(to + row * p.c_row, 0, static_cast<size_t>(p.n) * sizeof(float));
      return true;
    }

    // Where the k-th sum over rows is made.
    std::byte* total(size_t k) const {
      return sums_ ? sums_ + all_.sum_at(k) : all_.outputs_[all_.c_.totals[k].output];
    }
    void clear_totals() {
      for (size_t k = 0; k < all_.c_.totals.size(); ++k)
        std::memset(total(k), 0, static_cast<size_t>(all_.size_of_total(all_.c_.totals[k])));
    }
    void add_totals() {
      for (size_t k = 0; k < all_.c_.totals.size(); ++k) {
        const Compiled::Total& sum = all_.c_.totals[k];
        if (sum.added) continue;
        const PlannedValue& v = plan_.values[static_cast<size_t>(sum.value)];
        const std::byte* made = arena_ + plan_.roots[static_cast<size_t>(v.root)].offset + v.offset;
        all_.add(total(k), made, all_.size_of_total(sum));
      }
    }

   private:
    // The rows that read p sees: where they lie if together, else copied together.
    std::byte* find(size_t p, Schedule::Level level, std::byte* room) {
      const auto& runs = all_.schedule_.reads[p];
      const int64_t bytes = all_.c_.read_bytes[p];
      const Run*& at = runs_[p];  // that of the last level, often
      if (!at || level.begin < at->to || level.begin >= at->to + at->count) {
        at = &*(std::upper_bound(runs.begin(), runs.end(), level.begin,
                                 [](int64_t row, const Run& r) { return row < r.to; }) -
                1);
      }
      const Run* run = at;
      if (run->source != Schedule::kNothing && run->to + run->count >= level.end) {
        return all_.row_of(run->source, run->from + level.begin - run->to, bytes);
      }
      std::byte* to = room;
      for (int64_t row = level.begin; row < level.end; ++run) {
        const int64_t end = std::min(level.end, run->to + run->count);
        const auto size = static_cast<size_t>((end - row) * bytes);
        if (run->source == Schedule::kNothing) {
          std::memset(to, 0, size);
        } else {
          std::memcpy(to, all_.row_of(run->source, run->from + row - run->to, bytes), size);
        }
        to += size;
        row = end;
      }
      return room;
    }

    const Running& all_;
    const Plan& plan_;
    std::byte *arena_, *gathered_, *sums_;
    std::vector<Array> arrays_;
    std::vector<std::byte*> addresses_;
    std::vector<std::byte*> found_;  // of reads: the level's rows
    std::vector<const Run*> runs_;   // likewise: where they begin
    int64_t rows_ = -1;
  };

  // Where the k-th total lies among a thread's.
  int64_t sum_at(size_t k) const {
    int64_t bytes = 0;
    for (size_t before = 0; before < k; ++before) bytes += size_of_total(c_.totals[before]);
    return bytes;
  }
  int64_t size_of_total(const Compiled::Total& total) const {
    return r_.shape(total.output, 0).numel() * static_cast<int64_t>(size_of(e_.out.dtype));
  }
  void add(std::byte* to, const std::byte* from, int64_t bytes) const {
    if (e_.out.dtype == DType::f32) {
      return simd::add_to(reinterpret_cast<float*>(to), reinterpret_cast<const float*>(from),
                          static_cast<size_t>(bytes) / sizeof(float));
    }
    auto* sum = reinterpret_cast<double*>(to);
    const auto* part = reinterpret_cast<const double*>(from);
    for (size_t k = 0; k < static_cast<size_t>(bytes) / sizeof(double); ++k) sum[k] += part[k];
  }

  // Whether these rows of an output are read neither by a level nor from outside.
  bool nobody_reads(size_t output, Schedule::Level rows) const {
    return is_carried(e_, output) && (rows.end <= read_[output].begin || rows.begin >= read_[output].end);
  }

  // A row of an output, or of an input that holds rows.
  std::byte* row_of(int64_t source, int64_t row, int64_t bytes) const {
    const auto k = static_cast<size_t>(source), outputs = outputs_.size();
    if (k >= outputs) return e_.in[r_.rows + r_.shared() + k - outputs].data + row * bytes;
    return outputs_[k] + (carried_[k] > 0 ? row % carried_[k] : row) * bytes;
  }

  const Exec& e_;
  const Recurrence& r_;
  const Schedule& schedule_;
  const Compiled& c_;
  Buffer shared_;
  std::vector<std::byte*> outputs_;
  std::vector<Schedule::Level> read_;  // of outputs: from which row to which levels read them
  std::vector<int64_t> carried_;  // of outputs: after how many rows the first are written again; 0: never
};

// ---- Threads ----

// Rows that depend on each other belong together: for each row, the first of those it belongs to.
std::vector<int64_t> families(const Recurrence& r, const Schedule& schedule) {
  Together rows(schedule.rows);
  const auto outputs = static_cast<int64_t>(r.body.outputs.size());
  for (const auto& runs : schedule.reads) {
    for (const Run& run : runs) {
      if (run.source == Schedule::kNothing || run.source >= outputs) continue;
      for (int64_t k = 0; k < run.count; ++k) rows.join(run.to + k, run.from + k);
    }
  }
  std::vector<int64_t> first(static_cast<size_t>(schedule.rows));
  for (int64_t row = 0; row < schedule.rows; ++row) first[static_cast<size_t>(row)] = rows.first(row);
  return first;
}

// Rows that depend on each other, as many as there are, in so many levels.
struct Family {
  int64_t first, rows = 0, levels = 0;
};

// Where threads' families end, so that the thread with most to do has as little as can be; each thread's lie
// together.
std::vector<int64_t> limits_for(std::span<const Family> families, int n, int64_t all_rows) {
  std::vector<int64_t> limits;
  const auto cut = [&](int64_t most) {
    int64_t rows = 0, levels = 0;
    limits.clear();
    for (const Family& f : families) {
      if (rows > 0 && rows + f.rows + kRowsALevel * std::max(levels, f.levels) > most) {
        limits.push_back(f.first);
        rows = levels = 0;
      }
      rows += f.rows;
      levels = std::max(levels, f.levels);
    }
    limits.push_back(all_rows);
    return limits.size() <= static_cast<size_t>(n);
  };
  int64_t too_little = 0, enough = all_rows;
  for (const Family& f : families) enough = std::max(enough, all_rows + kRowsALevel * f.levels);
  while (enough - too_little > 1) {
    const int64_t most = (too_little + enough) / 2;
    (cut(most) ? enough : too_little) = most;
  }
  cut(enough);
  limits.resize(static_cast<size_t>(n), all_rows);
  return limits;
}

// A share for each of n threads, of whole families; empty where there are too few, or they lie mixed.
std::vector<Share> shares(const Recurrence& r, const Schedule& schedule, int n) {
  const std::vector<int64_t> family = families(r, schedule);
  std::vector<Family> all;
  std::vector<size_t> of(family.size());  // of rows that are their family's first: which family
  for (int64_t row = 0; row < schedule.rows; ++row) {
    if (family[static_cast<size_t>(row)] != row) continue;
    of[static_cast<size_t>(row)] = all.size();
    all.push_back({.first = row});
  }
  if (all.size() < static_cast<size_t>(n)) return {};
  for (const auto& level : schedule.levels) {
    int64_t before = -1;
    for (int64_t row = level.begin; row < level.end; ++row) {
      const int64_t first = family[static_cast<size_t>(row)];
      Family& mine = all[of[static_cast<size_t>(first)]];
      ++mine.rows;
      if (first < before) return {};
      mine.levels += first != before;
      before = first;
    }
  }
  const std::vector<int64_t> limits = limits_for(all, n, schedule.rows);
  std::vector<Share> shares(static_cast<size_t>(n));
  for (const auto& level : schedule.levels) {
    const auto begin = family.begin() + level.begin, end = family.begin() + level.end;
    auto from = begin;
    for (size_t t = 0; t < limits.size(); ++t) {
      const auto to = std::lower_bound(from, end, limits[t]);
      shares[t].push_back({from - family.begin(), to - family.begin()});
      from = to;
    }
  }
  return shares;
}

}  // namespace

void run_recurrence(const Exec& e) {
  const Recurrence& r = *e.op.recurrence;
  const Schedule schedule(e.list);
  const Compiled& compiled = compiled_for(r, schedule.most_rows());
  Running running(e, schedule, compiled);
  running.once();
  const int most_threads = passes().split ? threads_for(e.out.shape.numel() * 8) : 1;
  std::vector<Share> split = most_threads > 1 ? shares(r, schedule, most_threads) : std::vector<Share>();
  const int threads = split.empty() ? 1 : most_threads;
  const int64_t each = running.totals_bytes();
  const Buffer sums(static_cast<size_t>(std::max<int64_t>(each * (threads - 1), 1)));
  if (split.empty()) {
    running.levels(schedule.levels, nullptr);
  } else {
    run_on_threads(threads, [&](int t) {
      running.levels(split[static_cast<size_t>(t)], t == 0 ? nullptr : sums.data() + (t - 1) * each);
    });
  }
  running.add_totals(sums.data(), threads - 1);
}

}  // namespace reel::plan
