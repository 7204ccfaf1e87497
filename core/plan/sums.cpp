// accumulate: a sum over time of products h_t^T g_t, which is every recurrent weight's gradient, becomes one
// product whose inner dimension joins the times; likewise sums of column sums, and of rows at ids. What else
// a sum adds up becomes a pointwise result, which a kernel can take in.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr size_t kFewTerms = 16;

class Joining {
 public:
  explicit Joining(const Graph& graph) : graph_(graph), readers_(graph.readers()), rewrite_(graph) {}

  Graph run() {
    // Products first: both their operands are joined in one order, to which sums of one operand can adapt.
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (graph_.nodes[k].op == &accumulate_op) order_products(k);
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (graph_.nodes[k].op == &accumulate_op) {
        sum(k);
      } else {
        rewrite_.keep(k);
      }
    }
    return rewrite_.done();
  }

 private:
  struct Part {
    Place place;
    Id value, ids;  // of the old graph
  };

  // What the sum is made of after joining, in the new graph.
  struct Term {
    Place place;
    Id value, ids;
    bool product;  // nobody else reads it, and its kernel can add
  };

  const GraphNode* alone(Id id) const {  // the node, if only this sum reads it
    if (!graph_.is_node(id)) return nullptr;
    const GraphNode& n = graph_.node(id);
    return n.stays || readers_[graph_.node_of(id)] != 1 ? nullptr : &n;
  }

  // A^T B of matrices: additive over joined rows of A and B.
  bool is_outer_product(const Part& p) const {
    const GraphNode* n = p.place.at == Place::At::whole ? alone(p.value) : nullptr;
    return n && n->op->kind == Kind::matmul && n->i[0] == 1 && n->i[1] == 0 && n->shape.rank() == 2 &&
           graph_.shape(graph_.in(*n)[0]).rank() == 2 && graph_.shape(graph_.in(*n)[1]).rank() == 2;
  }

  // A matrix summed over its rows.
  bool is_column_sum(const Part& p) const {
    const GraphNode* n = p.place.at == Place::At::whole ? alone(p.value) : nullptr;
    if (!n || n->op != &sum_to_op) return false;
    const Shape& x = graph_.shape(graph_.in(*n)[0]);
    return x.rank() == 2 && n->shape.rank() >= 1 && n->shape[n->shape.rank() - 1] == x[1] &&
           n->shape.numel() == x[1];
  }

  bool is_rows(const Part& p) const {
    return p.place.at == Place::At::rows && p.place.axis == 0 && graph_.shape(p.value).rank() >= 1;
  }

  struct Parts {
    std::array<std::vector<Part>, 2> products;  // f32 and bf16
    std::vector<Part> columns, rows, others;
  };

  Parts parts_of(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    const auto in = graph_.in(n);
    const auto list = graph_.list_of(n);
    Parts parts;
    for (size_t p = 0; p < list.size() / kPlaceWords; ++p) {
      const int64_t ids = list[p * kPlaceWords + 3];
      const Part part{place_of(list, p), in[p], ids < 0 ? -1 : in[static_cast<size_t>(ids)]};
      (is_outer_product(part) ? parts.products[graph_.node(part.value).i[2] != 0]
       : is_column_sum(part)  ? parts.columns
       : is_rows(part)        ? parts.rows
                              : parts.others)
          .push_back(part);
    }
    // In tape order of the older operand: the times of a sequence in their order, not in that of the backward
    // pass, so that the joins are those that the forward pass has as well.
    for (std::vector<Part>& products : parts.products)
      sort_by(products, [&](const Part& p) { return std::min(operand(p, 0), operand(p, 1)); });
    sort_by(parts.columns, [&](const Part& p) { return operand(p, 0); });
    sort_by(parts.rows, [](const Part& p) { return p.ids; });
    return parts;
  }
  Id operand(const Part& p, size_t side) const { return graph_.in(graph_.node(p.value))[side]; }
  std::vector<Id> operands(const std::vector<Part>& parts, size_t side) const {
    std::vector<Id> ids;
    for (const Part& p : parts) ids.push_back(operand(p, side));
    return ids;
  }

  void order_products(size_t k) {
    for (const std::vector<Part>& products : parts_of(k).products) {
      const std::vector<Id> a = operands(products, 0), b = operands(products, 1);
      if (products.size() < 2 || !distinct(a) || !distinct(b)) continue;
      const std::vector<size_t> order = orders_.contains(sorted(a)) ? known_order(a) : known_order(b);
      orders_.try_emplace(sorted(a), reordered(a, order));
      orders_.try_emplace(sorted(b), reordered(b, order));
    }
  }

  void sum(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const Parts parts = parts_of(k);
    std::vector<Term> terms;
    for (const std::vector<Part>& products : parts.products) join_products(products, terms);
    join_columns(parts.columns, terms);
    join_rows(parts.rows, terms);
    for (const Part& p : parts.others) {
      const GraphNode* node = alone(p.value);
      terms.push_back({p.place, rewrite_.now(p.value), p.ids < 0 ? -1 : rewrite_.now(p.ids),
                       node && node->op->accumulates && p.place.at == Place::At::whole});
    }
    rewrite_.set(graph_.id_of(k), add_up(n, terms));
  }

  // ---- Joining ----

  static std::vector<Id> sorted(std::vector<Id> values) {
    std::sort(values.begin(), values.end());
    return values;
  }
  // No value twice: joining it would copy it.
  static bool distinct(const std::vector<Id>& values) {
    const std::vector<Id> order = sorted(values);
    return std::adjacent_find(order.begin(), order.end()) == order.end();
  }
  template <class Key>
  static void sort_by(std::vector<Part>& parts, const Key& key) {
    std::stable_sort(parts.begin(), parts.end(),
                     [&](const Part& a, const Part& b) { return key(a) < key(b); });
  }
  template <class T>
  static std::vector<T> reordered(const std::vector<T>& values, const std::vector<size_t>& order) {
    std::vector<T> out;
    for (size_t k : order) out.push_back(values[k]);
    return out;
  }

  // The order in which these values are joined elsewhere, as positions; their own where they are not.
  std::vector<size_t> known_order(const std::vector<Id>& values) const {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto known = orders_.find(sorted(values));
    if (known == orders_.end()) return order;
    std::map<Id, size_t> position;
    for (size_t k = 0; k < values.size(); ++k) position[values[k]] = k;
    for (size_t k = 0; k < values.size(); ++k) order[k] = position[known->second[k]];
    return order;
  }

  // The values one below another.
  Id joined(const std::vector<Id>& values) {
    if (values.size() == 1) return rewrite_.now(values[0]);
    const auto known = joins_.find(values);
    if (known != joins_.end()) return known->second;
    GraphNode n{.op = &concat_op, .dtype = graph_.dtype(values[0]), .shape = graph_.shape(values[0])};
    n.shape[0] = 0;
    std::vector<Id> now;
    for (Id id : values) {
      n.shape[0] += graph_.shape(id)[0];
      now.push_back(rewrite_.now(id));
    }
    return joins_[values] = rewrite_.to.add(n, now);
  }

  void join_products(const std::vector<Part>& parts, std::vector<Term>& terms) {
    const std::vector<Id> a = operands(parts, 0), b = operands(parts, 1);
    if (parts.size() < 2 || !distinct(a) || !distinct(b)) {
      for (const Part& p : parts) terms.push_back({p.place, rewrite_.now(p.value), -1, true});
      return;
    }
    const std::vector<size_t> order = known_order(a);
    const Id in[] = {joined(reordered(a, order)), joined(reordered(b, order))};
    terms.push_back({parts[0].place, rewrite_.to.add(graph_.node(parts[0].value), in), -1, true});
  }

  void join_columns(const std::vector<Part>& parts, std::vector<Term>& terms) {
    const std::vector<Id> x = operands(parts, 0);
    if (parts.size() < 2 || !distinct(x)) {
      for (const Part& p : parts) terms.push_back({p.place, rewrite_.now(p.value), -1, false});
      return;
    }
    const Id join = joined(reordered(x, known_order(x)));
    terms.push_back({parts[0].place, rewrite_.to.add(graph_.node(parts[0].value), {&join, 1}), -1, false});
  }

  void join_rows(const std::vector<Part>& parts, std::vector<Term>& terms) {
    std::vector<Id> values, ids;
    for (const Part& p : parts) {
      values.push_back(p.value);
      ids.push_back(p.ids);
    }
    if (parts.size() < 2 || !distinct(values) || !distinct(ids)) {
      for (const Part& p : parts)
        terms.push_back({p.place, rewrite_.now(p.value), rewrite_.now(p.ids), false});
      return;
    }
    const std::vector<size_t> order = known_order(values);
    const Id rows = joined(reordered(values, order));
    terms.push_back({parts[0].place, rows, joined(reordered(ids, order)), false});
  }

  // ---- Adding up ----

  Id add_up(const GraphNode& n, const std::vector<Term>& terms) {
    const bool whole =
        std::all_of(terms.begin(), terms.end(), [](const Term& t) { return t.place.at == Place::At::whole; });
    const auto fixed = std::count_if(terms.begin(), terms.end(), [](const Term& t) { return !t.product; });
    if (whole && terms.size() == 1) return terms[0].value;
    if (!whole || fixed == 0 || static_cast<size_t>(fixed) > kFewTerms) return accumulated(n, terms);
    std::vector<Term> products;
    Id sum = -1;
    for (const Term& t : terms) {
      if (t.product) {
        products.push_back(t);
      } else {
        sum = sum < 0 ? t.value : plus(n, sum, t.value);
      }
    }
    if (products.empty()) return sum;
    return plus(n, sum, products.size() == 1 ? products[0].value : accumulated(n, products));
  }

  Id plus(const GraphNode& like, Id a, Id b) {
    const Id in[] = {a, b};
    return rewrite_.to.add({.op = &plus_op(), .dtype = like.dtype, .shape = like.shape}, in);
  }

  Id accumulated(GraphNode n, const std::vector<Term>& terms) {
    std::vector<Id> in;
    std::vector<int64_t> list;
    for (const Term& t : terms) in.push_back(t.value);
    for (const Term& t : terms) {
      list.insert(list.end(), {static_cast<int64_t>(t.place.at), t.place.axis, t.place.begin,
                               t.ids < 0 ? -1 : static_cast<int64_t>(in.size())});
      if (t.ids >= 0) in.push_back(t.ids);
    }
    return rewrite_.to.add(n, in, list);
  }

  const Graph& graph_;
  std::vector<uint32_t> readers_;
  Rewrite rewrite_;
  std::map<std::vector<Id>, std::vector<Id>> orders_;  // of values that products join, by the values sorted
  std::map<std::vector<Id>, Id> joins_;
};

}  // namespace

Graph join_sums(Graph graph) {
  const auto sums = [](const GraphNode& n) { return n.op == &accumulate_op; };
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), sums)) return graph;
  return Joining(graph).run();
}

}  // namespace reel::plan
