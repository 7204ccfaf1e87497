#include "core/plan/run.h"

#include <algorithm>
#include <cstring>

#include "core/environment.h"
#include "core/kernels/bf16.h"
#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/plan/explain.h"
#include "core/plan/pack_ahead.h"
#include "core/plan/plan.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

bool in_double(const Exec& call) {
  if (call.out.dtype == DType::f64) return true;
  for (const Array& a : call.in) {
    if (a.dtype == DType::f64) return true;
  }
  return false;
}

std::span<const int64_t> list_of(const Node& node) {
  return node.list ? std::span<const int64_t>(*node.list) : std::span<const int64_t>();
}

// Scratch memory of this thread, for one running plan at a time.
struct Scratch {
  Buffer memory;
  int64_t bytes = 0;
  std::byte* at_least(int64_t wanted) {
    if (wanted > bytes) {
      memory = {};
      bytes = 0;
      memory = Buffer(static_cast<size_t>(wanted));
      bytes = wanted;
    }
    static const bool poison = switched_on("REEL_POISON");  // nothing is left from the last run
    if (poison && bytes > 0) std::memset(memory.data(), 0xff, static_cast<size_t>(bytes));
    return memory.data();
  }
};
thread_local Scratch scratch;

// Bases of all roots; buffers of what stays.
struct Memory {
  std::vector<std::byte*> base;
  std::vector<Buffer> own;

  Memory(const Plan& plan, std::span<Node* const> leaves) : base(plan.roots.size()), own(plan.roots.size()) {
    std::byte* arena = scratch.at_least(plan.arena_bytes);
    for (size_t r = 0; r < plan.roots.size(); ++r) {
      const Root& root = plan.roots[r];
      switch (root.home) {
        case Home::leaf: base[r] = leaves[static_cast<size_t>(root.leaf)]->array().data; break;
        case Home::scratch: base[r] = arena + root.offset; break;
        case Home::own:
          own[r] = root.by_rows ? Buffer::for_rows(static_cast<size_t>(root.bytes))
                                : Buffer(static_cast<size_t>(root.bytes));
          base[r] = own[r].data();
          break;
      }
    }
    for (size_t k = 0; k < plan.operands.size(); ++k) {
      const PlannedValue& v = plan.values[static_cast<size_t>(plan.operands[k])];
      plan.arrays[k].data = plan.addresses[k] = base[static_cast<size_t>(v.root)] + v.offset;
    }
  }
};

// A step into memory that is zeros but for some rows. True where nothing is left to do.
bool only_rows(const Plan& plan, const Step& step, Memory& memory) {
  if (step.what != Do::zero && step.what != Do::put) return false;
  const size_t out = step.first + step.inputs;
  const auto root = static_cast<size_t>(plan.values[static_cast<size_t>(plan.operands[out])].root);
  if (!plan.roots[root].by_rows) return false;
  if (step.what == Do::zero) return memory.own[root].clear_rows(static_cast<size_t>(plan.roots[root].bytes));
  const Array &whole = plan.arrays[out], &ids = plan.arrays[step.first + 1];
  const auto row = static_cast<size_t>(whole.shape.numel() / std::max<int64_t>(whole.shape[0], 1));
  memory.own[root].rows_written({ids.as<int64_t>(), static_cast<size_t>(ids.shape.numel())},
                                row * size_of(whole.dtype));
  return false;
}

Array contiguous(const Array& in, Buffer& room) {
  if (in.contiguous()) return in;
  room = Buffer(static_cast<size_t>(in.shape.numel()) * size_of(in.dtype));
  Array out{room.data(), in.dtype, in.shape, row_major(in.shape)};
  copy(in, out);
  return out;
}

Array array_of(const Node& node, const Value& value) {
  return {value.buffer.data() + value.offset * static_cast<int64_t>(size_of(node.dtype)), node.dtype,
          node.shape, value.strides};
}

// A view of the input's memory if its strides allow, else of a copy.
Value view_of(const Node& node, const Value& input) {
  const Array in = array_of(*node.in[0], input);
  Array out{in.data, node.dtype, node.shape, {}};
  if (node.op->view(in, node.attrs, out)) {
    const int64_t shift = (out.data - in.data) / static_cast<int64_t>(size_of(in.dtype));
    return {input.buffer, input.offset + shift, out.strides};
  }
  Buffer room;
  const Array flat = contiguous(in, room);
  out.data = flat.data;
  if (!node.op->view(flat, node.attrs, out)) fail("[{}] a contiguous input cannot be viewed", node.op->name);
  return {room, (out.data - flat.data) / static_cast<int64_t>(size_of(in.dtype)), out.strides};
}

}  // namespace

int64_t scratch_bytes() { return scratch.bytes; }

void run_call(const Exec& call) {
  const Op& op = call.op;
  if (&op == &full_op && call.out.dtype == DType::f32 && call.out.contiguous()) {
    auto* to = call.out.as<float>();
    return void(std::fill_n(to, call.out.shape.numel(), static_cast<float>(call.attrs.f[0])));
  }
  if (op.lanes) return run_pointwise(op.program, call.in, call.out, call.attrs.f);
  if (op.bytes) return op.bytes(call);
  const Kernel kernel = in_double(call) ? op.f64 : op.f32;
  if (!kernel) call.fail("has no kernel for {}", name_of(call.out.dtype));
  kernel(call);
}

Value compute_alone(const Node& node, std::span<const Value* const> values) {
  const Op& op = *node.op;
  if (op.view) return view_of(node, *values[0]);
  std::vector<Array> in(node.inputs);
  std::vector<Buffer> copies(node.inputs);
  for (uint32_t k = 0; k < node.inputs; ++k) {
    in[k] = array_of(*node.in[k], *values[k]);
    if (op.kind != Kind::pointwise && !op.strided) in[k] = contiguous(in[k], copies[k]);
  }
  const Value value{Buffer(static_cast<size_t>(node.shape.numel()) * size_of(node.dtype)), 0,
                    row_major(node.shape)};
  run_call({op, node.attrs, list_of(node), in, array_of(node, value)});
  return value;
}

void run_alone(Node* node) {
  Tape& tape = node->tape();
  try {
    std::vector<const Value*> in;
    for (uint32_t k = 0; k < node->inputs; ++k) in.push_back(node->in[k]->value.get());
    node->value = std::make_unique<Value>(compute_alone(*node, in));
  } catch (const Error& e) {
    throw Error(e.what() + at(node->where));
  }
  node->state = State::ready;
  tape.no_longer_pending(node);
  if (!node->requires_grad) tape.drop_inputs(node);
}

void run_step(const Plan& plan, const Step& step, const Run& run, const Operands& operands) {
  const Array* in = operands.arrays;
  const Array* out = in + step.inputs;
  switch (step.what) {
    case Do::copy: return copy(in[0], *out);
    case Do::zero:
      return parallel_for(out->shape.numel(), 1, [&](int64_t begin, int64_t end) {
        const size_t each = size_of(out->dtype);
        std::memset(out->data + static_cast<size_t>(begin) * each, 0,
                    static_cast<size_t>(end - begin) * each);
      });
    case Do::put: return put(in[0], step.place, step.inputs > 1 ? &in[1] : nullptr, *out, step.add);
    case Do::fused: {
      const Fused& kernel = plan.kernels[static_cast<size_t>(step.kernel)];
      const std::span<std::byte* const> data(operands.addresses, step.inputs + step.outputs);
      const PreparedPointwise& prepared = plan.prepared[static_cast<size_t>(step.kernel)];
      const auto with = [&](std::span<const double> scalars) {
        return operands.rows < 0 ? prepared.run(data, scalars)
                                 : prepared.run_rows(data, scalars, 0, operands.rows);
      };
      if (kernel.scalars.empty()) return with({});
      static thread_local std::vector<double> scalars;
      scalars.clear();
      for (const auto& [floats, which] : kernel.scalars) {
        scalars.push_back(floats < 0 ? 0 : run.constants(plan, floats)[which]);
      }
      return with(scalars);
    }
    case Do::product: {
      const Product& p = plan.products[static_cast<size_t>(step.kernel)];
      const int64_t m = operands.rows < 0 ? p.m : operands.rows;
      const auto address = [&](uint32_t k) { return reinterpret_cast<float*>(operands.addresses[k]); };
      const Matrix<const float> a{address(0), p.a_row, p.a_col};
      const Matrix<float> c{address(step.inputs), p.c_row, 1};
      if (p.packed >= 0)
        return gemm_packed(m, a, plan.packed[static_cast<size_t>(p.packed)], c, step.add ? 1.0f : 0.0f);
      const auto product =
          p.precision == Precision::bf16 ? gemm_bf16 : static_cast<decltype(&gemm_bf16)>(gemm);
      return product(m, p.n, p.k, a, {address(1), p.b_row, p.b_col}, c, step.add ? 1.0f : 0.0f);
    }
    case Do::pack: {
      const Product& p = plan.products[static_cast<size_t>(step.kernel)];
      return pack({in[0].as<const float>(), p.b_row, p.b_col}, plan.packed[static_cast<size_t>(p.packed)],
                  out->data);
    }
    case Do::call: {
      const PlannedNode& node = plan.nodes[static_cast<size_t>(step.node)];
      Attrs attrs = node.attrs;
      if (node.floats >= 0) attrs.f = run.constants(plan, node.floats);
      if (node.op->kind == Kind::source) {
        if (const Node* origin = run.node(node.origin)) attrs.i = origin->attrs.i;
      }
      run_call({*node.op, attrs, plan.list_of(node), {in, step.inputs}, *out, step.add});
      return;
    }
  }
}

Node* Run::node(int32_t origin) const {
  if (origin >= 0 && !origins.empty()) origin = origins[static_cast<size_t>(origin)];
  return origin < 0 ? nullptr : nodes[static_cast<size_t>(origin)];
}

const Floats& Run::constants(const Plan& plan, int32_t number) const {
  const auto k = static_cast<size_t>(number);
  return k < floats.size() ? floats[k] : plan.floats[k];
}

std::vector<Value> run(const Plan& plan, const Run& run, Node** failed) {
  const explain::Scope scope(explain::Phase::run);
  Memory memory(plan, run.leaves);
  const Step* current = nullptr;
  try {
    const bool explained = explain::on();
    for (const Step& step : plan.steps) {
      current = &step;
      const auto start =
          explained ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
      if (!only_rows(plan, step, memory))
        run_step(plan, step, run, {plan.arrays.data() + step.first, plan.addresses.data() + step.first});
      if (explained) explain::step_ran(plan, step, start, std::chrono::steady_clock::now());
    }
  } catch (const Error& e) {
    Node* node =
        current->node < 0 ? nullptr : run.node(plan.nodes[static_cast<size_t>(current->node)].origin);
    if (!node) throw;
    if (failed) *failed = node;
    throw Error(e.what() + at(node->where));
  }
  std::vector<Value> values;
  values.reserve(plan.results.size());
  for (const Result& r : plan.results) {
    const PlannedValue& v = plan.values[static_cast<size_t>(r.id)];
    const auto root = static_cast<size_t>(v.root);
    Value value{memory.own[root], v.offset / static_cast<int64_t>(size_of(v.dtype)), v.strides};
    if (plan.roots[root].home == Home::leaf) {
      const Value& leaf = *run.leaves[static_cast<size_t>(plan.roots[root].leaf)]->value;
      value.buffer = leaf.buffer;
      value.offset += leaf.offset;
    }
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace reel::plan
