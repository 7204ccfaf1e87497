#include "examples/common/checkpoint.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace reel::examples {

namespace {

constexpr const char* kKind = "reel checkpoint";

NamedTensors with_prefix(const std::string& prefix, const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(prefix + name, tensor);
  return out;
}

NamedTensors without_prefix(const std::string& prefix, const std::map<std::string, Tensor>& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), tensor);
  }
  return out;
}

const std::string& entry(const std::map<std::string, std::string>& text, const std::string& key) {
  const auto found = text.find(key);
  if (found == text.end()) fail("the checkpoint has no '{}'", key);
  return found->second;
}

template <class T>
T parsed(const std::map<std::string, std::string>& text, const std::string& key) {
  const std::string& word = entry(text, key);
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size())
    fail("the checkpoint's {} is '{}': want a number", key, word);
  return value;
}

void want_same(const std::map<std::string, std::string>& text,
               const std::map<std::string, std::string>& same) {
  const auto is_word = [](const std::string& s) {
    return s.size() <= 40 && std::ranges::all_of(s, [](char c) { return c > ' ' && c <= '~'; });
  };
  for (const auto& [key, ours] : same) {
    const std::string& theirs = entry(text, key);
    if (theirs == ours) continue;
    if (!is_word(theirs) || !is_word(ours))
      fail("the checkpoint's {} is not this run's: want the same data and flags", key);
    fail("the checkpoint's {} is {} and this run's {}: want the same data and flags", key, theirs, ours);
  }
}

bool is_checkpoint(const SafetensorsFile& file) {
  const auto kind = file.metadata.find("format");
  return kind != file.metadata.end() && kind->second == kKind;
}

void want_weights(const SafetensorsFile& file) {
  if (is_checkpoint(file)) fail("want the weights of a model, not a checkpoint (that goes to --resume)");
}

void want_finite(const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (!is_float(tensor.dtype())) continue;
    for (const double x : tensor.to_vector<double>()) {
      if (!std::isfinite(x)) fail("'{}' holds a NaN or an infinity: want finite weights", name);
    }
  }
}

// What `body` throws gets the file's name in front.
template <class Body>
auto about_file(const std::string& path, const Body& body) {
  try {
    return body();
  } catch (const Error& e) {
    fail("{}: {}", path, e.what());
  }
}

}  // namespace

long Checkpoint::whole(const std::string& key) const {
  return about_file(path, [&] {
    const long value = parsed<long>(text, key);
    if (value < 0) fail("the checkpoint's {} is {}: want 0 or more", key, value);
    return value;
  });
}

double Checkpoint::number(const std::string& key) const {
  return about_file(path, [&] { return parsed<double>(text, key); });
}

const Tensor& Checkpoint::tensor(const std::string& name, const Tensor& like) const {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; });
  if (found == tensors.end()) fail("{}: the checkpoint has no tensor '{}'", path, name);
  const Tensor& tensor = found->second;
  if (!(tensor.shape() == like.shape()) || tensor.dtype() != like.dtype()) {
    fail("{}: the checkpoint's '{}' is {} {}: want {} {}", path, name, name_of(tensor.dtype()),
         tensor.shape(), name_of(like.dtype()), like.shape());
  }
  return tensor;
}

NamedTensors copies(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, t] : tensors)
    out.emplace_back(name, Tensor::from_bytes(t.to_bytes(), t.dtype(), t.shape()));
  return out;
}

void save_checkpoint(const std::string& path, const nn::Module& model, const optim::Optimizer& optimizer,
                     const Checkpoint& extra) {
  NamedTensors all = with_prefix("model.", model.state_dict());
  for (auto& entry : with_prefix("optimizer.", optimizer.state())) all.push_back(std::move(entry));
  for (auto& entry : with_prefix("extra.", extra.tensors)) all.push_back(std::move(entry));
  std::map<std::string, std::string> text = extra.text;
  text["format"] = kKind;
  const RandomState random = random_state();
  text["random_seed"] = std::to_string(random.seed);
  text["random_position"] = std::to_string(random.position);
  save_safetensors(path, all, text);
}

Checkpoint load_checkpoint(const std::string& path, nn::Module& model, optim::Optimizer& optimizer,
                           const std::map<std::string, std::string>& same) {
  const SafetensorsFile file = load_safetensors(path);
  return about_file(path, [&] {
    if (!is_checkpoint(file)) {
      fail("want a checkpoint that --resume's program saved, not other weights (those go to --load)");
    }
    want_same(file.metadata, same);
    const NamedTensors weights = without_prefix("model.", file.tensors);
    want_finite(weights);
    Checkpoint extra{without_prefix("extra.", file.tensors), file.metadata, path};
    const RandomState random{parsed<uint64_t>(file.metadata, "random_seed"),
                             parsed<uint64_t>(file.metadata, "random_position")};
    const NamedTensors before = copies(model.state_dict());  // should the optimiser's part not fit
    model.load_state_dict(weights);
    try {
      optimizer.load_state(without_prefix("optimizer.", file.tensors));
    } catch (...) {
      model.load_state_dict(before);
      throw;
    }
    set_random_state(random);
    return extra;
  });
}

std::string text_checksum(std::string_view text) {
  const auto* bytes = reinterpret_cast<const Bytef*>(text.data());
  return fmt::format("{:08x}", crc32_z(0, bytes, text.size()));
}

void save_weights(const std::string& path, const nn::Module& model,
                  const std::map<std::string, std::string>& text) {
  save_safetensors(path, model.state_dict(), text);
}

std::map<std::string, std::string> load_weights(const std::string& path, nn::Module& model) {
  const SafetensorsFile file = load_safetensors(path);
  return about_file(path, [&] {
    want_weights(file);
    const NamedTensors weights(file.tensors.begin(), file.tensors.end());
    want_finite(weights);
    model.load_state_dict(weights);
    return file.metadata;
  });
}

Shape matrix_in(const SafetensorsFile& file, const std::string& path, const std::string& name) {
  return about_file(path, [&] {
    want_weights(file);
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) fail("'{}' is missing", name);
    const Shape& shape = found->second.shape();
    if (shape.rank() != 2 || shape.numel() == 0) fail("'{}' has shape {}: want a matrix", name, shape);
    return shape;
  });
}

RecurrentSizes recurrent_in(const SafetensorsFile& file, const std::string& path, const std::string& prefix) {
  const auto name = [&](int64_t layer) { return fmt::format("{}.weight_hh_l{}", prefix, layer); };
  RecurrentSizes sizes{matrix_in(file, path, name(0))[1], 0};
  for (; file.tensors.contains(name(sizes.layers)); ++sizes.layers) {
    const Shape shape = matrix_in(file, path, name(sizes.layers));
    if (shape[1] != sizes.hidden || shape[0] % shape[1] != 0) {
      fail("{}: '{}' has shape {}: want [gates * {}, {}]", path, name(sizes.layers), shape, sizes.hidden,
           sizes.hidden);
    }
  }
  return sizes;
}

}  // namespace reel::examples
