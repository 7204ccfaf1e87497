// Differentiation: one walk backwards along the tape. Each op's gradient is recorded with ops; here they are
// added up.
#include <algorithm>

#include "core/grad.h"
#include "core/plan/plan.h"
#include "core/structural.h"
#include "core/tape.h"

namespace reel {

namespace {

class Differentiation {
 public:
  Differentiation(bool create_graph, Where where) : create_graph_(create_graph), where_(where) {}
  ~Differentiation() {
    for (Node* node : touched_) node->mark = -1;
    for (Node* node : touched_) Tape::release(node);
  }
  Differentiation(const Differentiation&) = delete;
  Differentiation& operator=(const Differentiation&) = delete;

  // A node's cotangent will be asked for: it is kept when its contributions have been summed.
  void want(Node* node) { slot(node).wanted = true; }

  // Nor is the walk to go beyond it.
  void stop_at(Node* node) {
    slot(node).wanted = true;
    slot(node).stop = true;
  }

  void seed(const Tensor& output, Tensor cotangent) {
    contribute(reading(output), {std::move(cotangent), {}, {}});
  }

  // Walks from the newest node to the oldest that is still waited for.
  void run() {
    const KeepGradMode mode(tape_);
    tape_.grad_enabled = create_graph_;
    walk();
    for (Node* variable : variables_) seal(variable, slots_[static_cast<size_t>(variable->mark)]);
    for (Node* node : touched_) {
      Slot& s = slots_[static_cast<size_t>(node->mark)];
      if (s.stop && !s.parts.empty()) seal(node, s);
    }
  }

  // The sum for a variable or a wanted node; undefined where nothing depends on it.
  Tensor cotangent(Node* node) {
    return node->mark < 0 ? Tensor() : slots_[static_cast<size_t>(node->mark)].sum;
  }
  const std::vector<Node*>& variables() const { return variables_; }
  const std::vector<Node*>& visited() const { return visited_; }

  static Node* reading(const Tensor& t) {
    return t.node()->variable ? t.node()->variable->version : t.node();
  }

 private:
  struct Slot {
    std::vector<Contribution> parts;
    Tensor sum;
    bool wanted = false, stop = false;
  };

  Slot& slot(Node* node) {
    if (node->mark < 0) {
      node->mark = static_cast<int32_t>(slots_.size());
      slots_.emplace_back();
      touched_.push_back(node);
      Tape::retain(node);
    }
    return slots_[static_cast<size_t>(node->mark)];
  }

  void contribute(Node* node, Contribution part) {
    if (!node->requires_grad) return;
    Node* variable = node->op           ? nullptr
                     : node->owner      ? node->owner
                     : node->inputs > 0 ? node->in[0]
                                        : nullptr;
    if (!node->op && !variable) return;  // a version whose variable is gone
    Node* target = variable ? variable : node;
    Slot& s = slot(target);
    if (s.parts.empty() && !s.stop) {
      if (variable) {
        variables_.push_back(variable);
      } else {
        if (!tape_.history().has(node)) {
          fail(
              "[backward] the graph behind [{}]{} was consumed by an earlier backward(): want retain_graph "
              "there, or "
              "detach() where the value is carried on{}",
              node->op->name, at(node->where), at(where_));
        }
        ++waiting_;
      }
    }
    s.parts.push_back(std::move(part));
  }

  void seal(Node* node, Slot& s) {
    if (s.parts.size() == 1 && s.parts[0].place.at == Place::At::whole) {
      s.sum = std::move(s.parts[0].value);
    } else {
      s.sum = accumulate(s.parts, node->shape, node->dtype);
    }
    s.parts.clear();
  }

  void walk() {
    std::vector<Contribution> out;
    for (size_t at = tape_.history().size(); waiting_ > 0;) {
      Node* node = tape_.history().from(0)[--at];
      if (!node || node->mark < 0 || slots_[static_cast<size_t>(node->mark)].parts.empty()) continue;
      if (slots_[static_cast<size_t>(node->mark)].stop) continue;
      --waiting_;
      visited_.push_back(node);
      const auto index = static_cast<size_t>(node->mark);
      seal(node, slots_[index]);
      Tensor dy = slots_[index].wanted ? slots_[index].sum : std::move(slots_[index].sum);
      out.assign(node->inputs, {});
      Vjp vjp(*node, std::move(dy), out);
      node->op->vjp(vjp);
      for (uint32_t k = 0; k < node->inputs; ++k) {
        if (!out[k].value.defined() || !node->in[k]->requires_grad) continue;
        if (out[k].place.at == Place::At::whole) out[k].value = sum_to(out[k].value, node->in[k]->shape);
        contribute(node->in[k], std::move(out[k]));
      }
      at = static_cast<size_t>(node->history_at);  // gaps may have been closed
    }
  }

  bool create_graph_;
  Where where_;
  Tape& tape_ = Tape::current();
  const Tape::AsRecorded as_recorded_{tape_};
  int64_t waiting_ = 0;  // nodes of the tape with contributions that were not visited yet
  std::vector<Slot> slots_;
  std::vector<Node*> touched_, variables_, visited_;
};

Tensor cotangent_for(const Tensor& output, const Tensor* given, const char* op, Where where) {
  const Node* node = checked(output, op, where);
  if (!given || !given->defined()) {
    if (node->shape.numel() != 1) {
      fail("[{}] an output of shape {}: want one element, or a cotangent of its shape{}", op, node->shape,
           at(where));
    }
    return full(node->shape, 1, node->dtype);
  }
  checked(*given, op, where);
  if (!(given->shape() == node->shape) || given->dtype() != node->dtype) {
    fail("[{}] a cotangent of {} {}: want {} {} as the output{}", op, name_of(given->dtype()), given->shape(),
         name_of(node->dtype), node->shape, at(where));
  }
  return *given;
}

}  // namespace

Tensors grad(const Tensors& outputs, const Tensors& wrt, const GradOptions& options, Where where) {
  if (!options.cotangents.empty() && options.cotangents.size() != outputs.size()) {
    fail("[grad] {} cotangents for {} outputs: want one each{}", options.cotangents.size(), outputs.size(),
         at(where));
  }
  Differentiation d(options.create_graph, where);
  for (const Tensor& t : wrt) {
    checked(t, "grad", where);
    if (!t.requires_grad())
      fail("[grad] wrt a tensor that requires no gradient: want requires_grad_() before it is used{}",
           at(where));
    Tape::current().read_by_name(t.node());
    d.want(t.node());
  }
  for (size_t k = 0; k < outputs.size(); ++k) {
    d.seed(outputs[k],
           cotangent_for(outputs[k], options.cotangents.empty() ? nullptr : &options.cotangents[k], "grad",
                         where));
  }
  d.run();
  Tensors result;
  for (const Tensor& t : wrt) {
    Tensor g = d.cotangent(t.node());
    result.push_back(g.defined() ? g : full(t.shape(), 0, t.dtype()));
  }
  return result;
}

Tensor grad(const Tensor& output, const Tensor& wrt, const GradOptions& options, Where where) {
  return grad(Tensors{output}, Tensors{wrt}, options, where)[0];
}

Tensors gradients_within(const Tensors& outputs, const Tensors& cotangents, const Tensors& inputs) {
  Differentiation d(Tape::current().grad_enabled, {});
  for (const Tensor& x : inputs) {
    if (x.node()->requires_grad) d.stop_at(Differentiation::reading(x));
  }
  for (size_t k = 0; k < outputs.size(); ++k) d.seed(outputs[k], cotangents[k]);
  d.run();
  Tensors sums;
  for (const Tensor& x : inputs) sums.push_back(d.cotangent(Differentiation::reading(x)));
  return sums;
}

Gradients differentiate(const Tensor& loss, Where where) {
  Differentiation d(false, where);
  d.seed(loss, full(loss.shape(), 1, loss.dtype()));
  d.run();
  Gradients gradients;
  for (Node* variable : d.variables()) gradients.of.emplace_back(variable, d.cotangent(variable));
  gradients.visited = d.visited();
  return gradients;
}

void Tensor::backward(Where where) const { backward({}, {}, where); }

void Tensor::backward(const Tensor& cotangent, BackwardOptions options, Where where) const {
  const Node* node = checked(*this, "backward", where);
  Tape& tape = Tape::current();
  const bool plain = !cotangent.defined() && !options.retain_graph && !options.create_graph;
  if (plain && numel() == 1 && node->requires_grad && node->state == State::pending &&
      plan::run_backward(tape, *this, where)) {
    return;
  }
  Tensor seed = cotangent_for(*this, &cotangent, "backward", where);
  if (!requires_grad()) {
    fail("[backward] the tensor depends on no variable that requires a gradient{}", at(where));
  }
  std::vector<std::pair<Tensor, Tensor>> before;  // variables and what .grad was, should the computation fail
  {
    Differentiation d(options.create_graph, where);
    d.seed(*this, std::move(seed));
    d.run();
    Tensors sums;
    for (Node* variable : d.variables()) {
      const Tensor& grad = variable->variable->grad;
      before.emplace_back(Tensor(variable), grad);
      Tensor g = d.cotangent(variable);
      if (grad.defined()) g = accumulate({{grad, {}, {}}, {g, {}, {}}}, variable->shape, variable->dtype);
      sums.push_back(std::move(g));
    }
    for (size_t k = 0; k < sums.size(); ++k) d.variables()[k]->variable->grad = sums[k];
    if (!options.retain_graph && !options.create_graph) {
      for (Node* node : d.visited()) node->released = true;
    }
    // What was computed earlier lets go of its history now; what is pending does when it is computed.
    for (Node* node : d.visited()) {
      if (node->released && node->state == State::ready) tape.drop_inputs(node);
    }
  }
  try {
    tape.flush();
  } catch (...) {
    for (auto& [variable, grad] : before) variable.node()->variable->grad = grad;
    throw;
  }
}

}  // namespace reel
