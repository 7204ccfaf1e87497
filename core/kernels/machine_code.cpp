#include "core/kernels/machine_code.h"

#include <atomic>

#include "core/environment.h"

#ifdef REEL_HAVE_XBYAK
#include <memory>
#include <mutex>

#include <hwy/targets.h>

#include "core/hash.h"
#include "core/kernels/loop_assembler.h"
#endif

namespace reel {

namespace {

std::atomic<bool>& enabled() {
  static std::atomic<bool> on = !switched_off("REEL_MACHINE_CODE");
  return on;
}

}  // namespace

void set_machine_code(bool on) { enabled() = on; }

#ifndef REEL_HAVE_XBYAK

LaneLoop machine_code(const LaneCode&) { return nullptr; }

#else

namespace {

uint64_t hash_of(const LaneCode& code) {
  uint64_t h = code.operands.size();
  for (LaneCode::From from : code.operands) h = mix(h, static_cast<uint64_t>(from));
  for (const LaneCode::Step& s : code.steps) {
    h = mix(h, static_cast<uint64_t>(s.code) << 48 | static_cast<uint64_t>(s.a) << 32 |
                   static_cast<uint64_t>(s.b) << 16 | s.c);
    h = mix(h, s.out);
  }
  for (const LaneCode::Store& s : code.stores) h = mix(h, static_cast<uint64_t>(s.operand) << 1 | s.add);
  return h;
}

// All threads' loops, for the process's life.
class Loops {
 public:
  LaneLoop find(const LaneCode& code) {
    const uint64_t hash = hash_of(code);
    const std::lock_guard lock(mutex_);
    Entry* entry = known_.find(hash, [&](const Entry& e) { return e.code == code; });
    if (!entry) {
      entry = known_.add(hash);
      if (!entry) return nullptr;
      entry->code = code;
      for (int width : {2, 1}) {
        if (!entry->made) entry->made = assembled(entry->code, width);
      }
    }
    return entry->made ? entry->made->loop() : nullptr;
  }

 private:
  // Null where registers do not suffice, or memory must not become code.
  static std::unique_ptr<LoopAssembler> assembled(const LaneCode& code, int width) {
    try {
      return std::make_unique<LoopAssembler>(code, width);
    } catch (const VectorAssembler::Impossible&) {
    } catch (const Xbyak::Error&) {
    }
    return nullptr;
  }

  struct Entry {
    LaneCode code;
    std::unique_ptr<LoopAssembler> made;
  };
  std::mutex mutex_;
  Interned<Entry> known_{4096};
};

}  // namespace

LaneLoop machine_code(const LaneCode& code) {
  // Where the loops were compiled for AVX-512, too: the bits are theirs.
  static const bool possible = (hwy::SupportedTargets() & HWY_TARGETS & HWY_AVX3) != 0;
  if (!possible || !enabled()) return nullptr;
  for (const LaneCode::Step& step : code.steps) {
    if (!has_instructions(step.code)) return nullptr;
  }
  static Loops& loops = *new Loops;  // threads may still run when the process ends
  return loops.find(code);
}

#endif

}  // namespace reel
