// Layout of a file: the header's length (8 bytes, little-endian), the header (JSON), the tensors' bytes.
#include "nn/safetensors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/atomic_file.h"
#include "core/error.h"
#include "nn/safetensors_header.h"

namespace reel {

using safetensors::Entry;
using safetensors::shown;

namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint64_t longest_header = 100'000'000;

// The file, open, and how much of it there is.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (!error && !std::filesystem::exists(status))
      error = std::make_error_code(std::errc::no_such_file_or_directory);
    if (error) fail("{} could not be read: {}.", path, error.message());
    if (!std::filesystem::is_regular_file(status)) {
      fail("{} could not be read: it is {}, not a file.", path,
           std::filesystem::is_directory(status) ? "a directory" : "a pipe, socket or device");
    }
    size_ = std::filesystem::file_size(path, error);
    if (error) fail("{} could not be read: {}.", path, error.message());
    errno = 0;
    file_.open(path, std::ios::binary);
    if (!file_) fail("{} could not be read: {}.", path, std::generic_category().message(errno));
  }

  uint64_t size() const { return size_; }

  void read(uint64_t offset, void* to, uint64_t bytes) {
    file_.seekg(static_cast<std::streamoff>(offset));
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    if (!file_)
      fail("{} could not be read: it became shorter, or byte {} and on are damaged.", path_, offset);
  }

 private:
  std::string path_;
  std::ifstream file_;
  uint64_t size_ = 0;
};

std::string read_header(Reader& file, const std::string& path) {
  if (file.size() < 8) {
    fail("{} is not a safetensors file: it has {} bytes, want 8 and a header.", path, file.size());
  }
  uint64_t length = 0;
  file.read(0, &length, sizeof length);
  if (length > longest_header || length > file.size() - 8) {
    fail("{} is not a safetensors file: it says its header has {} bytes, want at most {}.", path, length,
         std::min(longest_header, file.size() - 8));
  }
  std::string header(length, '\0');
  file.read(8, header.data(), length);
  return header;
}

float from_half(uint16_t bits) {
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  if (exponent < 31) return sign * std::ldexp(static_cast<float>(fraction | 0x400), exponent - 25);
  return std::bit_cast<float>((bits & 0x8000U) << 16 | 0x7f800000U | static_cast<uint32_t>(fraction) << 13);
}

float from_bfloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

template <class To, class From>
Tensor converted(const std::vector<std::byte>& bytes, const Shape& shape, To (*convert)(From)) {
  std::vector<To> values(bytes.size() / sizeof(From));
  for (size_t i = 0; i < values.size(); ++i) {
    From from;
    std::memcpy(&from, bytes.data() + i * sizeof from, sizeof from);
    values[i] = convert(from);
  }
  return Tensor::from(values, shape);
}

template <class From>
Tensor widened(const std::vector<std::byte>& bytes, const Shape& shape) {
  return converted<int64_t, From>(bytes, shape, [](From x) { return static_cast<int64_t>(x); });
}

Tensor tensor_of(const Entry& entry, const std::vector<std::byte>& bytes) {
  const std::string& type = entry.dtype;
  if (type == "F32") return Tensor::from_bytes(bytes, DType::f32, entry.shape);
  if (type == "F64") return Tensor::from_bytes(bytes, DType::f64, entry.shape);
  if (type == "I64") return Tensor::from_bytes(bytes, DType::i64, entry.shape);
  if (type == "F16") return converted<float, uint16_t>(bytes, entry.shape, from_half);
  if (type == "BF16") return converted<float, uint16_t>(bytes, entry.shape, from_bfloat);
  if (type == "I32") return widened<int32_t>(bytes, entry.shape);
  if (type == "I16") return widened<int16_t>(bytes, entry.shape);
  if (type == "I8") return widened<int8_t>(bytes, entry.shape);
  if (type == "U32") return widened<uint32_t>(bytes, entry.shape);
  if (type == "U16") return widened<uint16_t>(bytes, entry.shape);
  if (type == "U8") return widened<uint8_t>(bytes, entry.shape);
  return Tensor::from_bytes(bytes, DType::boolean, entry.shape);
}

// The layout of the format's own library, so that equal contents are equal files.
struct Stored {
  std::string_view dtype;
  int rank;
};
Stored stored(DType t) {
  switch (t) {
    case DType::i64: return {"I64", 0};
    case DType::f64: return {"F64", 1};
    case DType::f32: return {"F32", 2};
    case DType::boolean: return {"BOOL", 3};
  }
  return {"", 4};
}

}  // namespace

SafetensorsFile load_safetensors(const std::string& path) {
  Reader file(path);
  const std::string text = read_header(file, path);
  const uint64_t start = 8 + text.size();
  safetensors::Header header = safetensors::parse_header(text, file.size() - start, path);

  SafetensorsFile result{.tensors = {}, .metadata = std::move(header.metadata)};
  std::vector<std::byte> bytes;
  for (const auto& [name, entry] : header.entries) {
    bytes.resize(entry.end - entry.begin);
    file.read(start + entry.begin, bytes.data(), bytes.size());
    if (entry.dtype == "BOOL") {
      const auto odd = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
      if (odd != bytes.end()) {
        fail("{}: tensor {} has the byte {} at {} of its BOOLs, want 0 or 1.", path, shown(name),
             std::to_integer<int>(*odd), odd - bytes.begin());
      }
    }
    result.tensors.emplace(name, tensor_of(entry, bytes));
  }
  return result;
}

void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensors::value_type*> order;
  for (const auto& named : tensors) {
    if (!named.second.defined())
      fail("{} could not be written: tensor {} is undefined.", path, shown(named.first));
    order.push_back(&named);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(stored(a->second.dtype()).rank, std::string_view(a->first)) <
           std::pair(stored(b->second.dtype()).rank, std::string_view(b->first));
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t end = 0;
  for (const auto* named : order) {
    const auto& [name, tensor] = *named;
    if (name == "__metadata__") fail("{} could not be written: no tensor can have the name {}.", path, name);
    if (header.contains(name)) fail("{} could not be written: two tensors are named {}.", path, shown(name));
    const uint64_t begin = end;
    end += static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
    header[name] = {{"dtype", stored(tensor.dtype()).dtype},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {begin, end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::type_error&) {
    fail("{} could not be written: a tensor's name or the metadata is not UTF-8.", path);
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > longest_header)
    fail("{} could not be written: its header would have {} bytes.", path, text.size());

  std::vector<std::byte> bytes(8 + text.size() + end);
  const uint64_t length = text.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, text.data(), text.size());
  auto to = bytes.begin() + 8 + static_cast<std::ptrdiff_t>(text.size());
  for (const auto* named : order) {
    const std::vector<std::byte> values = named->second.to_bytes();
    to = std::copy(values.begin(), values.end(), to);
  }
  write_file_atomically(path, bytes);
}

}  // namespace reel
