#include "nn/safetensors_header.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace reel::safetensors {

namespace {

struct Type {
  std::string_view name;
  uint64_t bytes;
};
constexpr std::array<Type, 12> types{{{"F64", 8},
                                      {"F32", 4},
                                      {"F16", 2},
                                      {"BF16", 2},
                                      {"I64", 8},
                                      {"I32", 4},
                                      {"I16", 2},
                                      {"I8", 1},
                                      {"U32", 4},
                                      {"U16", 2},
                                      {"U8", 1},
                                      {"BOOL", 1}}};

const Type* type_of(std::string_view name) {
  const auto* found = std::find_if(types.begin(), types.end(), [&](const Type& t) { return t.name == name; });
  return found == types.end() ? nullptr : found;
}

// Follows the parser through the only form that a header may have,
//   {"__metadata__": {string: string, ...}, name: {"dtype": string, "shape": [n, ...], "data_offsets": [n,
//   n]}, ...}
// and throws at the first thing that is not of it. So nothing nests deeper than the form does, and nothing is
// kept that is not wanted.
class Form : public nlohmann::json::json_sax_t {
 public:
  explicit Form(const std::string& path) : path_(path) {}
  Header header;

  bool start_object(size_t) override {
    if (at_ == At::top) {
      at_ = At::names;
    } else if (at_ == At::entry) {
      at_ = name_ == "__metadata__" ? At::metadata : At::fields;
      entry_ = {};
      seen_.clear();
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& key) override {
    if (at_ == At::names) {
      if (header.entries.contains(key) || (key == "__metadata__" && metadata_seen_))
        refuse("{} comes twice", shown(key));
      name_ = key;
      at_ = At::entry;
      return true;
    }
    const bool twice = at_ == At::metadata ? header.metadata.contains(key)
                                           : std::find(seen_.begin(), seen_.end(), key) != seen_.end();
    if (twice) refuse("{} of {} comes twice", shown(key), shown(name_));
    field_ = key;
    if (at_ == At::fields) start_field(key);
    return true;
  }

  bool string(string_t& value) override {
    if (at_ == At::metadata) {
      header.metadata.emplace(field_, value);
    } else if (at_ == At::dtype) {
      if (!type_of(value)) {
        refuse(
            "tensor {} has the dtype {}, want F64, F32, F16, BF16, I64, I32, I16, I8, U32, U16, U8 or BOOL",
            shown(name_), shown(value));
      }
      entry_.dtype = value;
      at_ = At::fields;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (at_ == At::shape) {
      at_ = At::dimensions;
    } else if (at_ == At::data_offsets) {
      at_ = At::offsets;
    } else {
      unexpected("an array");
    }
    numbers_.clear();
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ != At::dimensions && at_ != At::offsets) unexpected("a number");
    if (at_ == At::dimensions && numbers_.size() == kMaxRank) {
      refuse("tensor {} has more than {} dimensions, want at most {}", shown(name_), kMaxRank, kMaxRank);
    }
    if (at_ == At::offsets && numbers_.size() == 2)
      refuse("tensor {} has more than two data_offsets", shown(name_));
    numbers_.push_back(value);
    return true;
  }

  bool end_array() override {
    if (at_ == At::offsets) {
      if (numbers_.size() != 2)
        refuse("tensor {} has {} data_offsets, want two", shown(name_), numbers_.size());
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
    } else {
      for (const uint64_t n : numbers_) {
        if (n > largest)
          refuse("tensor {} has a dimension of {}, more than memory can hold", shown(name_), n);
        entry_.shape.push_back(static_cast<int64_t>(n));
      }
    }
    at_ = At::fields;
    return true;
  }

  bool end_object() override {
    if (at_ == At::metadata) {
      metadata_seen_ = true;
    } else if (at_ == At::fields) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (std::find(seen_.begin(), seen_.end(), field) == seen_.end()) {
          refuse("tensor {} has no {}", shown(name_), field);
        }
      }
      check_size();
      header.entries.emplace(name_, std::move(entry_));
    }
    at_ = At::names;
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    unexpected("a number that is a fraction, or too large,");
  }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    refuse("it is not JSON in UTF-8 at byte {}", position);
  }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: bad safetensors header: {}.", path_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  enum class At { top, names, entry, metadata, fields, dtype, shape, data_offsets, dimensions, offsets };
  static constexpr uint64_t largest = uint64_t{1} << 44;  // elements, see checked_numel

  [[noreturn]] void unexpected(std::string_view what) const {
    constexpr std::array<std::string_view, 10> wanted{"an object of tensors",
                                                      "a name",
                                                      "an object",
                                                      "a string",
                                                      "a key",
                                                      "a string",
                                                      "an array of whole numbers",
                                                      "an array of two whole numbers",
                                                      "a whole number",
                                                      "a whole number"};
    const std::string place = at_ <= At::names   ? ""
                              : at_ == At::entry ? " for " + shown(name_)
                                                 : " for " + shown(field_) + " of " + shown(name_);
    refuse("{} where {} is wanted{}", what, wanted[static_cast<size_t>(at_)], place);
  }

  void start_field(const std::string& key) {
    if (key == "dtype") {
      at_ = At::dtype;
    } else if (key == "shape") {
      at_ = At::shape;
    } else if (key == "data_offsets") {
      at_ = At::data_offsets;
    } else {
      refuse("tensor {} has the key {}, want dtype, shape and data_offsets only", shown(name_), shown(key));
    }
    seen_.push_back(key);
  }

  void check_size() const {
    uint64_t bytes = type_of(entry_.dtype)->bytes;
    bool empty = false;
    for (const int64_t dim : entry_.shape) {
      empty = empty || dim == 0;
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(std::max<int64_t>(dim, 1)), &bytes) ||
          bytes / 8 > largest) {
        refuse("tensor {} has the shape {}, more than memory can hold", shown(name_), entry_.shape);
      }
    }
    if (empty) bytes = 0;
    if (entry_.end < entry_.begin || entry_.end - entry_.begin != bytes) {
      refuse("tensor {} has the data_offsets [{}, {}], want {} bytes for {} {}", shown(name_), entry_.begin,
             entry_.end, bytes, entry_.dtype, entry_.shape);
    }
  }

  const std::string& path_;
  At at_ = At::top;
  std::string name_, field_;
  Entry entry_;
  std::vector<std::string> seen_;  // fields of the entry
  std::vector<uint64_t> numbers_;  // of the array
  bool metadata_seen_ = false;
};

}  // namespace

std::string shown(std::string_view name) {
  constexpr size_t longest = 80;
  std::string out = "\"";
  for (const char c : name.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  if (name.size() > longest) {
    while ((static_cast<unsigned char>(out.back()) & 0xc0) == 0x80)
      out.pop_back();  // a character that was cut
    if (static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
    out += "...";
  }
  return out + '"';
}

Header parse_header(std::string_view text, uint64_t data_size, const std::string& path) {
  Form form(path);
  if (!text.starts_with('{')) form.refuse("it does not begin with {{");
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    form.refuse("it is not JSON at byte {}", nul + 1);
  nlohmann::json::sax_parse(text.begin(), text.end(), &form);

  std::vector<const std::pair<const std::string, Entry>*> order;
  for (const auto& named : form.header.entries) order.push_back(&named);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const auto* named : order) {
    const auto& [name, entry] = *named;
    if (entry.begin != covered) {
      form.refuse("tensor {} begins at byte {} of the data, want {}: it {}", shown(name), entry.begin,
                  covered, entry.begin < covered ? "overlaps another" : "leaves a hole");
    }
    covered = entry.end;
  }
  if (covered != data_size) {
    form.refuse("its tensors have {} bytes, but {} follow it", covered, data_size);
  }
  return std::move(form.header);
}

}  // namespace reel::safetensors
