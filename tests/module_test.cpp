// Modules: registration by declaration, names, state, and the plain layers.
#include <doctest/doctest.h>

#include "reel.h"

using namespace reel;

namespace {

struct Inner : nn::Module {
  nn::Linear a{{this, "a"}, 2, 3};
  nn::LayerNorm norm{{this, "norm"}, 3};
  explicit Inner(nn::Member at = {}) : Module(std::move(at)) {}
};

struct Outer : nn::Module {
  Inner inner{{this, "inner"}};
  nn::LSTM lstm{{this, "lstm"}, 3, 4, {.bidirectional = true}};
  Tensor scale = parameter("scale", {1}, nn::init::constant(2));
  Tensor seen = buffer("seen", Tensor::from(std::vector<int64_t>{7}, {1}));
};

std::vector<std::string> keys(const NamedTensors& tensors) {
  std::vector<std::string> out;
  for (const auto& [name, t] : tensors) out.push_back(name);
  return out;
}

}  // namespace

TEST_CASE("module: a member declared is a member registered, under PyTorch's names") {
  Outer outer;
  const std::vector<std::string> want{"scale",
                                      "inner.a.weight",
                                      "inner.a.bias",
                                      "inner.norm.weight",
                                      "inner.norm.bias",
                                      "lstm.weight_ih_l0",
                                      "lstm.weight_hh_l0",
                                      "lstm.bias_ih_l0",
                                      "lstm.bias_hh_l0",
                                      "lstm.weight_ih_l0_reverse",
                                      "lstm.weight_hh_l0_reverse",
                                      "lstm.bias_ih_l0_reverse",
                                      "lstm.bias_hh_l0_reverse"};
  CHECK(keys(outer.named_parameters()) == want);
  auto with_buffer = want;
  with_buffer.insert(with_buffer.begin() + 1, "seen");
  CHECK(keys(outer.state_dict()) == with_buffer);
  CHECK(outer.num_parameters() == 1 + 9 + 6 + 2 * (16 * 3 + 16 * 4 + 32));
  outer.eval();
  CHECK_FALSE(outer.inner.a.training());
}

TEST_CASE("module: load_state_dict takes values over, or says what is wrong and changes nothing") {
  manual_seed(1);
  Inner from, to;
  CHECK(from.a.weight.to_vector<float>() != to.a.weight.to_vector<float>());
  to.load_state_dict(from.state_dict());
  CHECK(from.a.weight.to_vector<float>() == to.a.weight.to_vector<float>());

  const auto before = to.a.weight.to_vector<float>();
  NamedTensors state{{"a.weight", zeros({3, 2})}, {"a.bias", zeros({3})}, {"norm.weight", zeros({3})}};
  CHECK_THROWS_WITH_AS(to.load_state_dict(state), doctest::Contains("'norm.bias' [3] is missing"), Error);
  state.emplace_back("norm.bias", zeros({4}));
  CHECK_THROWS_WITH_AS(to.load_state_dict(state), doctest::Contains("'norm.bias' has shape [4]: want [3]"),
                       Error);
  state.back().second = full({3}, 0, DType::i64);
  CHECK_THROWS_WITH_AS(to.load_state_dict(state), doctest::Contains("'norm.bias' is i64: want f32"), Error);
  state.back().second = zeros({3});
  state.emplace_back("b", zeros({1}));
  CHECK_THROWS_WITH_AS(to.load_state_dict(state), doctest::Contains("'b' [1] is unknown"), Error);
  CHECK(to.a.weight.to_vector<float>() == before);
  to.load_state_dict(state, false);
  CHECK(to.a.weight.to_vector<float>() == std::vector<float>(6, 0));
}

TEST_CASE("module: names are used once, and a member that ends before its parent is forgotten") {
  struct Twice : nn::Module {
    nn::Linear a{{this, "same"}, 1, 1}, b{{this, "same"}, 1, 1};
  };
  CHECK_THROWS_WITH_AS(Twice(), doctest::Contains("two members are named 'same'"), Error);
  struct Optional : nn::Module {
    std::unique_ptr<nn::Linear> a = std::make_unique<nn::Linear>(nn::Member{this, "a"}, 1, 1);
  } optional;
  CHECK(optional.parameters().size() == 2);
  optional.a.reset();
  CHECK(optional.parameters().empty());
}

TEST_CASE("module: freezing") {
  nn::Linear linear({}, 2, 2);
  linear.requires_grad_(false);
  CHECK_FALSE(linear(zeros({1, 2})).requires_grad());
  linear.requires_grad_(true);
  sum(linear(ones({1, 2}))).backward();
  CHECK(linear.bias.grad().to_vector<float>() == std::vector<float>{1, 1});
}

TEST_CASE("layers: embedding rows, the padding row stays, layer norm, dropout") {
  manual_seed(2);
  nn::Embedding words({}, 5, 3, 0);
  CHECK(sum(abs(slice(words.weight, 0, 0, 1))).item() == 0);
  const Tensor ids = Tensor::from(std::vector<int64_t>{0, 3, 3, 1}, {2, 2});
  const Tensor y = words(ids);
  CHECK(y.shape() == Shape{2, 2, 3});
  sum(y).backward();
  CHECK(words.weight.grad().to_vector<float>() ==
        std::vector<float>{0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0});
  CHECK_THROWS_WITH_AS(words(Tensor::from(std::vector<int64_t>{5}, {1})).to_vector<float>(),
                       doctest::Contains("5"), Error);

  nn::LayerNorm norm({}, 4);
  const Tensor z = norm(normal({3, 4}, 5, 2));
  CHECK(sum(z).item() == doctest::Approx(0).epsilon(1e-5));
  CHECK(mean(square(z)).item() == doctest::Approx(1).epsilon(1e-3));

  nn::Dropout half({}, 0.5);
  const Tensor kept = half(ones({1000}));
  CHECK(mean(kept).item() == doctest::Approx(1).epsilon(0.2));
  CHECK(amax(kept).item() == 2);
  half.eval();
  CHECK(mean(half(ones({10}))).item() == 1);
  CHECK_THROWS_WITH_AS(nn::Dropout({}, 1.0), doctest::Contains("want 0 <= p < 1"), Error);
}

TEST_CASE("init: schemes have the spread they promise") {
  manual_seed(4);
  const Shape shape{200, 300};
  const auto deviation = [&](const nn::init::Init& init) {
    return std::sqrt(mean(square(init(shape))).item());
  };
  CHECK(deviation(nn::init::xavier_uniform()) == doctest::Approx(std::sqrt(2.0 / 500)).epsilon(0.02));
  CHECK(deviation(nn::init::xavier_normal()) == doctest::Approx(std::sqrt(2.0 / 500)).epsilon(0.02));
  CHECK(deviation(nn::init::kaiming_uniform()) == doctest::Approx(std::sqrt(2.0 / 300)).epsilon(0.02));
  CHECK(deviation(nn::init::kaiming_normal()) == doctest::Approx(std::sqrt(2.0 / 300)).epsilon(0.02));
  for (const Shape& s : {Shape{5, 8}, Shape{8, 5}}) {
    const Tensor q = nn::init::orthogonal(2)(s);
    const Tensor gram = s[0] < s[1] ? matmul(q, transpose(q, 0, 1)) : matmul(transpose(q, 0, 1), q);
    const Tensor identity = one_hot(Tensor::from(std::vector<int64_t>{0, 1, 2, 3, 4}, {5}), 5) * 4.0;
    CHECK(amax(abs(gram - identity)).item() < 1e-5);
  }
  CHECK_THROWS_WITH_AS(nn::init::xavier_uniform()({3}), doctest::Contains("want [out, in, ..]"), Error);
}

TEST_CASE("modules: without padding every row of an embedding learns, the last one too") {
  const nn::Embedding plain({}, 3, 2), padded({}, 3, 2, 2);
  const Tensor ids = Tensor::from(std::vector<int64_t>{0, 2, 2}, {3});
  (sum(plain(ids)) + sum(padded(ids))).backward();
  CHECK(plain.weight.grad().to_vector<float>() == std::vector<float>{1, 1, 0, 0, 2, 2});
  CHECK(padded.weight.grad().to_vector<float>() == std::vector<float>{1, 1, 0, 0, 0, 0});
}
