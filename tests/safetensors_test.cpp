// Safetensors: round trips, real files, and what must be refused.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "nn/safetensors.h"
#include "tests/scratch.h"

using namespace reel;
using scratch::Contains;
using scratch::Folder;
using scratch::get;
using scratch::message_of;
using scratch::put;

namespace {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;
using Ints = std::vector<int64_t>;

// A file with this header and this many bytes of data: 0, 1, 2, ...
std::string file_of(const std::string& header, size_t data = 0) {
  const uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  text += header;
  for (size_t i = 0; i < data; ++i) text += static_cast<char>(i);
  return text;
}

// An entry of a header, and a header of one.
std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}
std::string only(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":)" + entry(dtype, shape, offsets) + "}";
}

SafetensorsFile loaded(const std::string& bytes) {
  const Folder folder;
  put(folder / "f.safetensors", bytes);
  return load_safetensors(folder / "f.safetensors");
}
std::string refusal(const std::string& bytes) {
  return message_of([&] { loaded(bytes); });
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

NamedTensors samples() {
  return {{"scalar", Tensor::from(Doubles{0.1}, {})},
          {"empty", Tensor::from(Floats{}, {3, 0})},
          {"weight", Tensor::from(Floats{1, -2.5F, 3e38F, 1e-45F, std::nanf(""), -INFINITY}, {2, 3})},
          {"ids", Tensor::from(Ints{std::numeric_limits<int64_t>::min(), -1, 1LL << 62}, {3})},
          {"mask", Tensor::from(std::vector<bool>{true, false, true}, {3, 1})}};
}

}  // namespace

TEST_CASE("safetensors: what is written is read back, bit for bit") {
  const Folder folder;
  const std::string path = folder / "weights.safetensors";
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"quote \" and \n", "Grüße, 世界"}};
  save_safetensors(path, samples(), metadata);
  const SafetensorsFile file = load_safetensors(path);
  CHECK(file.metadata == metadata);
  REQUIRE(file.tensors.size() == samples().size());
  for (const auto& named : samples()) {
    CAPTURE(named.first);
    const Tensor &tensor = named.second, &got = file.tensors.at(named.first);
    CHECK(got.dtype() == tensor.dtype());
    CHECK(got.shape() == tensor.shape());
    CHECK(got.to_bytes() == tensor.to_bytes());
  }
  CHECK(folder.count() == 1);

  save_safetensors(path, {});
  CHECK(load_safetensors(path).tensors.empty());
  CHECK(get(path) == file_of("{}      "));
}

TEST_CASE("safetensors: written as Python's library writes it") {
  // safetensors.torch.save({"b": tensor([1., 2.]), "a": tensor(True), "n": tensor([3])}, {"k": "v"}), Python
  // 0.8
  const Folder folder;
  save_safetensors(folder / "f",
                   {{"b", Tensor::from(Floats{1, 2}, {2})},
                    {"a", Tensor::from(std::vector<bool>{true}, {})},
                    {"n", Tensor::from(Ints{3}, {1})}},
                   {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"a":{"dtype":"BOOL","shape":[],"data_offsets":[16,17]}})";
  std::string padded = header;
  padded.resize((header.size() + 7) / 8 * 8, ' ');
  CHECK(get(folder / "f") == file_of(padded) + bytes_of(Ints{3}) + bytes_of(Floats{1, 2}) + '\1');
}

TEST_CASE("safetensors: a variable is saved as it is now, a computed tensor is computed") {
  const Folder folder;
  Tensor w = Tensor::from(Floats{1, 2}, {2}).requires_grad_();
  w.assign(Tensor::from(Floats{3, 4}, {2}));
  save_safetensors(folder / "f", {{"w", w}});
  CHECK(load_safetensors(folder / "f").tensors.at("w").to_vector<float>() == Floats{3, 4});
  CHECK_FALSE(load_safetensors(folder / "f").tensors.at("w").is_variable());
}

TEST_CASE("safetensors: what cannot be written is refused, and the old file stays") {
  const Folder folder;
  const std::string path = folder / "f";
  save_safetensors(path, samples());
  const std::string before = get(path);
  const Tensor one = Tensor::from(Floats{1}, {1});
  const auto refused = [&](const NamedTensors& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    return message_of([&] { save_safetensors(path, tensors, metadata); });
  };
  CHECK(refused({{"a", one}, {"a", one}}) == Contains("two tensors are named \"a\""));
  CHECK(refused({{"a", {}}}) == Contains("tensor \"a\" is undefined"));
  CHECK(refused({{"__metadata__", one}}) == Contains("no tensor can have the name __metadata__"));
  CHECK(refused({{"\xff", one}}) == Contains("not UTF-8"));
  CHECK(refused({}, {{"k", "\xc3"}}) == Contains("not UTF-8"));
  CHECK(refused({{std::string(100'000'001, 'x'), one}}) == Contains("its header would have 1000000"));
  CHECK(message_of([&] { save_safetensors(folder / "no/such/f", {}); }) ==
        Contains("no/such/f could not be written"));
  CHECK(get(path) == before);
}

TEST_CASE("safetensors: every dtype that is read") {
  const auto values = [](const std::string& dtype, const std::string& data, const std::string& count) {
    const SafetensorsFile file =
        loaded(file_of(only(dtype, "[" + count + "]", "[0," + std::to_string(data.size()) + "]")) + data);
    return std::pair(file.tensors.at("a").dtype(), file.tensors.at("a").to_vector<double>());
  };
  using P = std::pair<DType, Doubles>;
  CHECK(values("F64", bytes_of(Doubles{0.1, -2}), "2") == P{DType::f64, {0.1, -2}});
  CHECK(values("F32", bytes_of(Floats{0.5F, -2}), "2") == P{DType::f32, {0.5, -2}});
  CHECK(values("I64", bytes_of(Ints{-5, 7}), "2") == P{DType::i64, {-5, 7}});
  CHECK(values("I32", bytes_of(std::vector<int32_t>{-5, 1 << 30}), "2") == P{DType::i64, {-5, 1 << 30}});
  CHECK(values("I16", bytes_of(std::vector<int16_t>{-5, 32767}), "2") == P{DType::i64, {-5, 32767}});
  CHECK(values("I8", bytes_of(std::vector<int8_t>{-5, 127}), "2") == P{DType::i64, {-5, 127}});
  CHECK(values("U32", bytes_of(std::vector<uint32_t>{5, 0xffffffff}), "2") ==
        P{DType::i64, {5, 4294967295.0}});
  CHECK(values("U16", bytes_of(std::vector<uint16_t>{5, 65535}), "2") == P{DType::i64, {5, 65535}});
  CHECK(values("U8", bytes_of(std::vector<uint8_t>{5, 255}), "2") == P{DType::i64, {5, 255}});
  CHECK(values("BOOL", bytes_of(std::vector<uint8_t>{1, 0}), "2") == P{DType::boolean, {1, 0}});
  CHECK(values("BF16", bytes_of(std::vector<uint16_t>{0x3f80, 0xc049}), "2") ==
        P{DType::f32, {1, -3.140625}});
  // one, -2, the largest, the smallest normal, the smallest, its negative, 1/3
  const std::vector<uint16_t> half{0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8001, 0x3555};
  CHECK(values("F16", bytes_of(half), "7") ==
        P{DType::f32, {1, -2, 65504, 0x1p-14, 0x1p-24, -0x1p-24, 0.333251953125}});
  const auto special =
      values("F16", bytes_of(std::vector<uint16_t>{0x7c00, 0xfc00, 0x7e01, 0x8000}), "4").second;
  CHECK(special[0] == INFINITY);
  CHECK(special[1] == -INFINITY);
  CHECK(std::isnan(special[2]));
  CHECK((special[3] == 0 && std::signbit(special[3])));
}

TEST_CASE("safetensors: forms that are unusual and allowed") {
  CHECK(loaded(file_of("{}")).tensors.empty());
  CHECK(loaded(file_of("{}    \n")).tensors.empty());
  CHECK(loaded(file_of(R"({"__metadata__":{}})")).metadata.empty());
  CHECK(loaded(file_of(only("F32", "[]", "[0,4]"), 4)).tensors.at("a").shape() == Shape{});
  CHECK(loaded(file_of(only("F32", "[2,0]", "[0,0]"))).tensors.at("a").shape() == Shape{2, 0});
  // keys in another order, escapes, an empty name, an odd offset, an empty tensor between two others
  const auto file =
      loaded(file_of(R"({"z":{"shape":[1],"data_offsets":[1,5],"dtype":"I32"},"\u00e4":)" +
                         entry("F32", "[0]", "[1,1]") + R"(,"":)" + entry("U8", "[1]", "[0,1]") + "}",
                     5));
  CHECK(file.tensors.at("z").item() == 0x04030201);
  CHECK(file.tensors.at("").item() == 0);
  CHECK(file.tensors.at("ä").numel() == 0);
}

TEST_CASE("safetensors: damaged and hostile files are refused with the reason") {
  const std::string a = R"({"a":)", u8 = entry("U8", "[2]", "[0,2]");
  const auto wants = [](const std::string& bytes, const char* part) {
    CHECK(refusal(bytes) == Contains(part));
  };
  // the length of the header
  wants("", "it has 0 bytes");
  wants("1234567", "it has 7 bytes");
  wants(std::string(8, '\0'), "does not begin with {");
  wants(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
        "says its header has 18446744073709551615 bytes");
  wants(std::string("\xfa\xff\xff\xff\xff\xff\xff\xff{}", 10),
        "want at most 2");  // 8 + length would wrap to 2
  wants(std::string("\x03\0\0\0\0\0\0\0{}", 10), "says its header has 3 bytes, want at most 2");
  // its text
  wants(file_of(" {}"), "does not begin with {");
  wants(file_of("\xef\xbb\xbf{}"), "does not begin with {");
  wants(file_of("[]"), "does not begin with {");
  wants(file_of("{"), "not JSON in UTF-8 at byte 2");
  wants(file_of("{}{}"), "not JSON");
  wants(file_of(std::string("{}\0", 3)), "not JSON at byte 3");
  wants(file_of(std::string("{}\0{\"a\":1}", 10)), "not JSON at byte 3");
  wants(file_of("{\"a\xff\":1}"), "not JSON in UTF-8");
  wants(file_of(R"({"\ud800":1})"), "not JSON in UTF-8");
  wants(file_of("{\"a\xc0\xaf\":1}"), "not JSON in UTF-8");  // an overlong /
  wants(file_of(R"({"a":1})"), "a number where an object is wanted for \"a\"");
  wants(file_of(R"({"a":null})"), "null where an object");
  wants(file_of(a + "{}}"), "tensor \"a\" has no dtype");
  wants(file_of(a + R"({"dtype":"U8","shape":[]}})"), "tensor \"a\" has no data_offsets");
  wants(file_of(a + R"({"dtype":"U8","data_offsets":[0,1]}})", 1), "tensor \"a\" has no shape");
  wants(file_of(a + R"({"dtype":"U8","shape":[],"data_offsets":[0,1],"x":0}})", 1), "has the key \"x\"");
  wants(file_of(a + R"({"shape":[[1]]}})"), "an array where a whole number is wanted for \"shape\" of \"a\"");
  wants(file_of(a + R"({"shape":{"a":1}}})"), "an object where an array");
  wants(file_of(a + R"({"shape":"2"}})"), "a string where an array");
  wants(file_of(a + R"({"dtype":["U8"]}})"), "an array where a string");
  wants(file_of(a + std::string(100'000, '[')), "an array where an object");
  std::string deep;
  for (int i = 0; i < 50'000; ++i) deep += R"({"a":)";
  wants(file_of(deep), "has the key \"a\"");
  // names that come twice
  wants(file_of(a + u8 + R"(,"a":)" + u8 + "}", 2), "\"a\" comes twice");
  wants(file_of(a + R"({"dtype":"U8","dtype":"U8"}})"), "\"dtype\" of \"a\" comes twice");
  wants(file_of(R"({"__metadata__":{},"__metadata__":{}})"), "\"__metadata__\" comes twice");
  wants(file_of(R"({"__metadata__":{"k":"1","k":"2"}})"), "\"k\" of \"__metadata__\" comes twice");
  wants(file_of(R"({"__metadata__":{"k":1}})"),
        "a number where a string is wanted for \"k\" of \"__metadata__\"");
  wants(file_of(R"({"__metadata__":"k"})"), "a string where an object");
  wants(file_of(R"({"__metadata__":{"k":{}}})"), "an object where a string");
  // dtypes
  wants(file_of(only("U64", "[1]", "[0,8]"), 8), "has the dtype \"U64\", want F64, F32");
  wants(file_of(only("F8_E4M3", "[1]", "[0,1]"), 1), "has the dtype \"F8_E4M3\"");
  wants(file_of(only("f32", "[1]", "[0,4]"), 4), "has the dtype \"f32\"");
  wants(file_of(only("BOOL", "[2]", "[0,2]")) + std::string("\1\2", 2), "has the byte 2 at 1 of its BOOLs");
  // numbers
  wants(file_of(only("U8", "[-1]", "[0,1]"), 1),
        "a negative number where a whole number is wanted for \"shape\"");
  wants(file_of(only("U8", "[1.0]", "[0,1]"), 1), "a fraction");
  wants(file_of(only("U8", "[1e0]", "[0,1]"), 1), "a fraction");
  wants(file_of(only("U8", "[18446744073709551616]", "[0,1]"), 1), "too large");
  wants(file_of(only("U8", "[18446744073709551615]", "[0,1]"), 1), "has a dimension of 18446744073709551615");
  wants(file_of(only("U8", "[1e999]", "[0,1]"), 1), "bad safetensors header");
  wants(file_of(only("U8", "[true]", "[0,1]"), 1), "a boolean where");
  wants(file_of(only("U8", "[1,1,1,1,1,1,1]", "[0,1]"), 1), "tensor \"a\" has more than 6 dimensions");
  // sizes: products that wrap to 0, to 4, or are hidden behind a zero
  wants(file_of(only("F32", "[4294967296,4294967296]", "[0,0]")), "more than memory can hold");
  wants(file_of(only("F32", "[4611686018427387905]", "[0,4]"), 4), "has a dimension of 4611686018427387905");
  wants(file_of(only("F32", "[0,8796093022208,8796093022208]", "[0,0]")), "more than memory can hold");
  wants(file_of(only("F32", "[2500000000]", "[0,10000000000]"), 4), "have 10000000000 bytes, but 4 follow");
  wants(file_of(only("F32", "[2]", "[0,4]"), 4), "the data_offsets [0, 4], want 8 bytes for F32 [2]");
  wants(file_of(only("F32", "[1]", "[0,8]"), 8), "the data_offsets [0, 8], want 4 bytes");
  // offsets
  wants(file_of(only("U8", "[1]", "[1,0]"), 1), "the data_offsets [1, 0]");
  wants(file_of(only("U8", "[1]", "[0]"), 1), "has 1 data_offsets, want two");
  wants(file_of(only("U8", "[1]", "[0,1,2]"), 1), "more than two data_offsets");
  wants(file_of(only("U8", "[1]", "[18446744073709551615,0]"), 1),
        "the data_offsets [18446744073709551615, 0]");
  wants(file_of(only("U8", "[2]", "[0,2]"), 1), "have 2 bytes, but 1 follow");
  wants(file_of(only("U8", "[2]", "[0,2]"), 3), "have 2 bytes, but 3 follow");
  wants(file_of("{}", 1), "have 0 bytes, but 1 follow");
  wants(file_of(only("U8", "[2]", "[1,3]"), 3), "begins at byte 1 of the data, want 0: it leaves a hole");
  wants(file_of(a + u8 + R"(,"b":)" + u8 + "}", 2),
        "\"b\" begins at byte 0 of the data, want 2: it overlaps");
  wants(file_of(a + u8 + R"(,"b":)" + entry("U8", "[2]", "[1,3]") + "}", 3), "it overlaps another");
  wants(file_of(a + u8 + R"(,"b":)" + entry("U8", "[1]", "[3,4]") + "}", 4), "want 2: it leaves a hole");
}

TEST_CASE("safetensors: an error shows a hostile name short and harmless") {
  const std::string text =
      refusal(file_of("{\"\\u001b[2J" + std::string(60, 'x') + "äöüäöüäöüäöü" + "\":1}"));
  CHECK(text == Contains("\"?[2Jxxx"));
  CHECK(text == Contains("...\""));
  CHECK(text.size() < 300);
  const size_t cut = text.find("...\"");
  CHECK(static_cast<unsigned char>(text[cut - 2]) == 0xc3);  // ends with a whole character
}

TEST_CASE("safetensors: what is not a readable file is said") {
  const Folder folder;
  const auto refused = [](const std::string& path) { return message_of([&] { load_safetensors(path); }); };
  CHECK(refused(folder / "nowhere") == Contains("nowhere could not be read: No such file or directory"));
  CHECK(refused(folder.path.string()) == Contains("it is a directory, not a file"));
  CHECK(refused("/dev/zero") == Contains("it is a pipe, socket or device"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(refused(folder / "pipe") == Contains("it is a pipe"));
  CHECK(refused("") == Contains("could not be read"));
}

TEST_CASE("safetensors: a small file that claims much takes no memory") {
  const auto peak = [] {  // of this process since the last reset, in KiB
    const std::string status = get("/proc/self/status");
    const size_t at = status.find("VmHWM:");
    return at == std::string::npos ? -1 : std::atol(status.c_str() + at + 6);
  };
  put("/proc/self/clear_refs", "5");
  const long before = peak();
  std::string claims = file_of("{}");
  const uint64_t header = 99'000'000;
  std::memcpy(claims.data(), &header, 8);
  CHECK(refusal(claims) == Contains("99000000"));
  CHECK(refusal(file_of(only("F64", "[1250000000]", "[0,10000000000]"), 8)) == Contains("10000000000"));
  CHECK(refusal(file_of(only("F64", "[0,1250000000]", "[0,0]"), 8)) ==
        Contains("have 0 bytes, but 8 follow"));
  const Folder folder;  // a hole of a file, which takes no disk either
  const uint64_t too_long = 150'000'000;
  std::memcpy(claims.data(), &too_long, 8);
  put(folder / "sparse", claims);
  std::filesystem::resize_file(folder / "sparse", 200'000'000);
  CHECK(message_of([&] { load_safetensors(folder / "sparse"); }) ==
        Contains("150000000 bytes, want at most 100000000"));
  CHECK(peak() - before < 20'000);
}

TEST_CASE("safetensors: a file cut off at any byte, or with any byte changed, is an Error or loads") {
  const Folder folder;
  const std::string path = folder / "f.safetensors";
  save_safetensors(
      path,
      {{"w", Tensor::from(Floats{1, 2, 3, 4}, {2, 2})}, {"m", Tensor::from(std::vector<bool>{true}, {1})}},
      {{"k", "v"}});
  const std::string whole = get(path);
  int refused = 0, changed = 0;
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto write = [&](size_t at, char byte) {
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte);
      file.flush();
    };
    for (size_t n = 0; n < whole.size(); ++n) {
      for (const unsigned char byte :
           {0x00, 0x20, 0x22, 0x2c, 0x2d, 0x30, 0x39, 0x5b, 0x7b, 0x7d, 0x80, 0xff}) {
        write(n, static_cast<char>(byte));
        ++changed;
        try {
          load_safetensors(path);  // anything but Error ends the test
        } catch (const Error&) {
          ++refused;
        }
      }
      write(n, whole[n]);
    }
  }
  CHECK(refused > changed / 2);
  CHECK(load_safetensors(path).tensors.size() == 2);
  for (size_t n = whole.size(); n-- > 0;) {
    CAPTURE(n);
    std::filesystem::resize_file(path, n);
    CHECK_THROWS_AS(load_safetensors(path), Error);
  }
}

TEST_CASE("safetensors: the files of the data folder, as Python reads them") {
  const char* given = std::getenv("REEL_DATA");
  const std::string folder =
      (given ? given : REEL_SOURCE_DIR "/../shared/data") + std::string("/safetensors/");
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: there is no " << folder);
    return;
  }
  struct Want {
    const char *file, *name;
    DType dtype;
    Doubles values;
  };
  const Doubles around_zero{-3, -2, -1, 0, 1, 2};
  const std::vector<Want> wants{{"UB", "B", DType::i64, {253, 254, 255, 0, 1, 2}},
                                {"UH", "H", DType::i64, {65533, 65534, 65535, 0, 1, 2}},
                                {"UI", "I", DType::i64, {4294967293, 4294967294, 4294967295, 0, 1, 2}},
                                {"b", "b", DType::i64, around_zero},
                                {"d", "d", DType::f64, around_zero},
                                {"e", "e", DType::f32, around_zero},
                                {"f", "f", DType::f32, around_zero},
                                {"h", "h", DType::i64, around_zero},
                                {"i", "i", DType::i64, around_zero}};
  const SafetensorsFile overall = load_safetensors(folder + "sample_overall.safetensors");
  CHECK(overall.tensors.size() == wants.size());
  for (const Want& want : wants) {
    CAPTURE(want.name);
    const SafetensorsFile file = load_safetensors(folder + "sample_" + want.file + ".safetensors");
    REQUIRE(file.tensors.size() == 1);
    CHECK(file.metadata == std::map<std::string, std::string>{{"test", "a"}});
    for (const Tensor& tensor : {file.tensors.at(want.name), overall.tensors.at(want.name)}) {
      CHECK(tensor.dtype() == want.dtype);
      CHECK(tensor.shape() == Shape{6});
      CHECK(tensor.to_vector<double>() == want.values);
    }
  }
}
