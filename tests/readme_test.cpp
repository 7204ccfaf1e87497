// The code in README.md and CONTRIBUTING.md compiles and does what they say; what they show is what stands
// here.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "ops/rules.h"
#include "reel.h"
#include "tests/minimal_gated_unit.h"

using namespace reel;
using tests::MinimalGatedUnit;

namespace {

std::string file(const std::string& name) {
  std::ifstream in(std::string(REEL_SOURCE_DIR "/") + name);
  REQUIRE(in.good());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string packed(std::string text) {
  std::erase_if(text, [](unsigned char c) { return std::isspace(c); });
  return text;
}

std::string without_comment(const std::string& line) { return line.substr(0, line.find("//")); }

// Every line of the ```cpp blocks of a page must stand in one of these sources, white space and comments
// aside.
void check_page(const std::string& page, const std::vector<std::string>& sources) {
  std::string known;
  for (const std::string& source : sources) {
    std::istringstream lines(file(source));
    for (std::string line; std::getline(lines, line);) known += without_comment(line);
  }
  known = packed(known);
  std::istringstream lines(file(page));
  bool code = false;
  int seen = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      code = line == "```cpp";
      continue;
    }
    if (!code) continue;
    ++seen;
    INFO(page, ": ", line);
    CHECK(known.find(packed(without_comment(line))) != std::string::npos);
  }
  CHECK(seen > 10);
}

struct Classifier : nn::Module {
  nn::Embedding words{{this, "words"}, 5000, 64};
  nn::LSTM lstm{{this, "lstm"}, 64, 128};
  nn::Linear output{{this, "output"}, 128, 5};

  Tensor operator()(const Tensor& ids) const { return output(lstm(words(ids)).state.back().h); }
};

Tensor log1p(Arg x);
using lanes::Inputs;

const Op log1p_op{
    .name = "log1p",
    .doc = "y = ln(1 + x), exact for small x",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy / (g.x(0) + 1); },
    .lanes = [](const Inputs& x) { return log1p(x[0]); },
    .samples = [] { return rules::unary(log1p, -0.5, 3); },
};
const Register log1p_registered(log1p_op);

Tensor log1p(Arg x) { return record(log1p_op, {x}); }

}  // namespace

TEST_CASE("readme: what the pages show is what is compiled here") {
  const std::string here = "tests/readme_test.cpp", cell = "tests/minimal_gated_unit.h";
  check_page("README.md", {here, cell, "nn/cells.cpp"});
  check_page("CONTRIBUTING.md", {here});
}

TEST_CASE("readme: the classifier learns") {
  manual_seed(1);
  std::vector<int64_t> words(7 * 4), classes{0, 1, 2, 3};
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<int64_t>(i * 131 % 5000);
  const std::vector<std::pair<Tensor, Tensor>> batches(
      20, {Tensor::from(words, {7, 4}), Tensor::from(classes, {4})});
  std::vector<double> losses;

  Classifier model;
  optim::Adam adam(model.parameters(), {.lr = 2e-3});
  for (auto [ids, labels] : batches) {
    Tensor loss = cross_entropy(model(ids), labels);
    adam.zero_grad();
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 5);
    adam.step();
    losses.push_back(loss.item());
  }
  CHECK(losses.front() > 1.4);
  CHECK(losses.back() < 0.5 * losses.front());
}

TEST_CASE("readme: the classifier in bf16") {
  manual_seed(1);
  Classifier model;
  const Tensor ids = Tensor::from(std::vector<int64_t>{1, 2, 3, 4, 5, 6}, {3, 2}),
               labels = Tensor::from(std::vector<int64_t>{0, 3}, {2});
  const double exact = cross_entropy(model(ids), labels).item();
  const Autocast bf16;
  Tensor loss = cross_entropy(model(ids), labels);
  CHECK(loss.item() != exact);
  CHECK(loss.item() == doctest::Approx(exact).epsilon(0.01));
}

TEST_CASE("readme: a tree's cell is recorded once") {
  const Tensor w = normal({3, 3}), left = normal({1, 3}), right = normal({1, 3});
  const Once cell = once([&](const Tensors& in) -> Tensors { return {tanh(matmul(in[0] + in[1], w))}; });
  Tensor parent = cell({left, right})[0];
  CHECK(sum(abs(parent - tanh(matmul(left + right, w)))).item() < 1e-6);
}

TEST_CASE("readme: a gradient check of one's own") {
  const Tensor a = normal({2, 3}), b = normal({3, 2}), c = uniform({2, 2}, 1, 2);
  auto report = gradcheck([](const Tensors& x) { return tanh(matmul(x[0], x[1])) / x[2]; }, {a, b, c});
  if (!report.ok) fmt::print("{}\n", report.text());
  CHECK(report.ok);
  CHECK(report.checked == 16);

  const DefaultDType f64(DType::f64);
  nn::LSTM model({}, 3, 4);
  const Tensor x = normal({5, 2, 3});
  const auto f = [&](const Tensors&) { return model(x).output; };
  const Tensors inputs = model.parameters();
  CHECK(gradgradcheck([](const Tensors& v) { return tanh(v[0]); }, {a}).ok);
  gradgradcheck(f, inputs);
  CHECK(gradcheck(f, model.parameters(), {.directions = 20}).ok);
  gradcheck(f, model.parameters(), {.directions = 20});
}

TEST_CASE("readme: a cell of one's own trains in a bidirectional residual stack, with lengths") {
  const DefaultDType f64(DType::f64);
  manual_seed(2);
  nn::Recurrent<MinimalGatedUnit> layers({}, 8, 8,
                                         {.num_layers = 3, .bidirectional = true, .residual = true});
  nn::Linear output({}, 16, 1);
  CHECK(layers.named_parameters().front().first == "forget_l0.weight");
  std::vector<double> losses;
  Tensors parameters = layers.parameters();
  for (const Tensor& p : output.parameters()) parameters.push_back(p);
  optim::Adam adam(parameters, {.lr = 1e-2});
  const Tensor x = normal({6, 20, 8}), first = slice(x, 2, 0, 1);
  const std::vector<int64_t> lengths{6, 5, 4, 3, 6, 6, 2, 6, 1, 6, 6, 5, 4, 3, 6, 6, 2, 6, 5, 6};
  // The label of a row, wanted at each of its steps: the sign of what stands first plus what stands last.
  std::vector<double> labels, counts;
  const std::vector<double> values = first.to_vector<double>();
  for (size_t t = 0; t < 6; ++t) {
    for (size_t row = 0; row < 20; ++row) {
      const auto last = static_cast<size_t>(lengths[row] - 1);
      labels.push_back(values[row] + values[last * 20 + row] > 0 ? 1 : 0);
      counts.push_back(t <= last ? 1 : 0);
    }
  }
  const Tensor want = Tensor::from(labels, {6, 20, 1}), mask = Tensor::from(counts, {6, 20, 1});
  const auto loss_now = [&] {
    const Tensor y = output(layers(x, {}, {.lengths = lengths}).output);
    return sum(bce_with_logits(y, want, {.reduction = Reduction::none}) * mask) / sum(mask);
  };
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = loss_now();
    adam.zero_grad();
    loss.backward();
    adam.step();
    losses.push_back(loss.item());
  }
  CHECK(losses.front() > 0.5);
  CHECK(losses.back() < 0.05);
  const auto report = gradcheck([&](const Tensors&) { return loss_now(); }, parameters, {.directions = 10});
  INFO(report.text());
  CHECK(report.ok);
}
