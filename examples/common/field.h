// A named value: what a line of metrics.jsonl and the result line are made of.
#pragma once

#include <concepts>
#include <string>
#include <utility>
#include <variant>

namespace reel::examples {

struct Field {
  std::string key;
  std::variant<long long, double, std::string> value;

  Field(std::string k, std::integral auto v) : key(std::move(k)), value(static_cast<long long>(v)) {}
  Field(std::string k, std::floating_point auto v) : key(std::move(k)), value(static_cast<double>(v)) {}
  Field(std::string k, std::string v) : key(std::move(k)), value(std::move(v)) {}
  Field(std::string k, const char* v) : key(std::move(k)), value(std::string(v)) {}
};

}  // namespace reel::examples
