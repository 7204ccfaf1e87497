#include "examples/common/checkpoint.h"

#include <charconv>

#include "core/error.h"
#include "core/random.h"
#include "nn/safetensors.h"

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

template <class T>
T parsed(const std::map<std::string, std::string>& text, const std::string& key) {
  const auto found = text.find(key);
  if (found == text.end()) fail("the checkpoint has no '{}'", key);
  const std::string& word = found->second;
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size())
    fail("the checkpoint's {} is '{}': want a number", key, word);
  return value;
}

}  // namespace

long Checkpoint::whole(const std::string& key) const { return parsed<long>(text, key); }
double Checkpoint::number(const std::string& key) const { return parsed<double>(text, key); }

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

Checkpoint load_checkpoint(const std::string& path, nn::Module& model, optim::Optimizer& optimizer) {
  const SafetensorsFile file = load_safetensors(path);
  try {
    if (const auto kind = file.metadata.find("format");
        kind == file.metadata.end() || kind->second != kKind) {
      fail("want a checkpoint that --resume's program saved, not other weights (those go to --load)");
    }
    Checkpoint extra{without_prefix("extra.", file.tensors), file.metadata};
    const RandomState random{parsed<uint64_t>(file.metadata, "random_seed"),
                             parsed<uint64_t>(file.metadata, "random_position")};
    const NamedTensors before = [&] {  // should the optimiser's part not fit, the model is as it was
      NamedTensors copy;
      for (const auto& [name, t] : model.state_dict())
        copy.emplace_back(name, Tensor::from_bytes(t.to_bytes(), t.dtype(), t.shape()));
      return copy;
    }();
    model.load_state_dict(without_prefix("model.", file.tensors));
    try {
      optimizer.load_state(without_prefix("optimizer.", file.tensors));
    } catch (...) {
      model.load_state_dict(before);
      throw;
    }
    set_random_state(random);
    return extra;
  } catch (const Error& e) {
    fail("{}: {}", path, e.what());
  }
}

void save_weights(const std::string& path, const nn::Module& model,
                  const std::map<std::string, std::string>& text) {
  save_safetensors(path, model.state_dict(), text);
}

std::map<std::string, std::string> load_weights(const std::string& path, nn::Module& model) {
  const SafetensorsFile file = load_safetensors(path);
  try {
    model.load_state_dict(NamedTensors(file.tensors.begin(), file.tensors.end()));
  } catch (const Error& e) {
    fail("{}: {}", path, e.what());
  }
  return file.metadata;
}

}  // namespace reel::examples
