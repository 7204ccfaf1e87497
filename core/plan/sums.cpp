// accumulate: a sum over time of products h_t^T g_t, which is every recurrent weight's gradient, becomes one
// product whose inner dimension joins the times; likewise sums of column sums, and of rows at ids. What else
// a sum adds up becomes a pointwise result, which a kernel can take in.
#include <algorithm>
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

  void sum(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const auto in = graph_.in(n);
    const auto list = graph_.list_of(n);
    std::vector<Part> products, columns, rows, others;
    for (size_t p = 0; p < list.size() / kPlaceWords; ++p) {
      const int64_t ids = list[p * kPlaceWords + 3];
      const Part part{place_of(list, p), in[p], ids < 0 ? -1 : in[static_cast<size_t>(ids)]};
      (is_outer_product(part) ? products : is_column_sum(part) ? columns : is_rows(part) ? rows : others)
          .push_back(part);
    }
    std::vector<Term> terms;
    const auto narrow = std::stable_partition(products.begin(), products.end(), [&](const Part& p) {
      return graph_.node(p.value).i[2] == 0;  // f32 ones first: the two join among themselves
    });
    join_products({products.begin(), narrow}, terms);
    join_products({narrow, products.end()}, terms);
    join_columns(columns, terms);
    join_rows(rows, terms);
    for (const Part& p : others) {
      const GraphNode* node = alone(p.value);
      terms.push_back({p.place, rewrite_.now(p.value), p.ids < 0 ? -1 : rewrite_.now(p.ids),
                       node && node->op->accumulates && p.place.at == Place::At::whole});
    }
    rewrite_.set(graph_.id_of(k), add_up(n, terms));
  }

  // ---- Joining ----

  // The values one below another.
  Id joined(const std::vector<Id>& values) {
    if (values.size() == 1) return values[0];
    Join& join = joins_[sorted(values)];
    if (join.values == values) return join.id;
    GraphNode n{.op = &op_of(Kind::concat), .dtype = rewrite_.to.dtype(values[0]), .shape = rewrite_.to.shape(values[0])};
    n.shape[0] = 0;
    for (Id id : values) n.shape[0] += rewrite_.to.shape(id)[0];
    const Id id = rewrite_.to.add(n, values);
    if (join.values.empty()) join = {values, id};
    return id;
  }

  static std::vector<Id> sorted(std::vector<Id> values) {
    std::sort(values.begin(), values.end());
    return values;
  }

  static std::vector<Id> distinct_of(const std::vector<Id>& values) {
    std::vector<Id> out = sorted(values);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  // The order in which these values were joined before, as positions; their own where they were not.
  std::vector<size_t> known_order(const std::vector<Id>& values) const {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto join = joins_.find(sorted(values));
    if (join == joins_.end()) return order;
    std::map<Id, size_t> position;
    for (size_t k = 0; k < values.size(); ++k) position[values[k]] = k;
    for (size_t k = 0; k < values.size(); ++k) order[k] = position[join->second.values[k]];
    return order;
  }

  template <class T>
  static std::vector<T> reordered(const std::vector<T>& values, const std::vector<size_t>& order) {
    std::vector<T> out;
    for (size_t k : order) out.push_back(values[k]);
    return out;
  }

  // Two lists of values joined in one order, which is that of a join made before, if there is one.
  std::pair<Id, Id> joined(std::vector<Id> a, std::vector<Id> b) {
    const std::vector<size_t> order = joins_.contains(sorted(a)) ? known_order(a) : known_order(b);
    return {joined(reordered(a, order)), joined(reordered(b, order))};
  }

  // In tape order of the older operand: the times of a sequence in their order, not in that of the backward
  // pass, so that both operands' joins are those that the forward pass has as well.
  template <class Key>
  static void sort_by(std::vector<Part>& parts, const Key& key) {
    std::stable_sort(parts.begin(), parts.end(), [&](const Part& a, const Part& b) { return key(a) < key(b); });
  }

  void join_products(std::vector<Part> parts, std::vector<Term>& terms) {
    sort_by(parts, [&](const Part& p) {
      const auto in = graph_.in(graph_.node(p.value));
      return std::min(in[0], in[1]);
    });
    const bool joins = parts.size() > 1 && distinct(parts);
    if (!joins) {
      for (const Part& p : parts) terms.push_back({p.place, rewrite_.now(p.value), -1, true});
      return;
    }
    std::vector<Id> left, right;
    for (const Part& p : parts) {
      const auto in = graph_.in(graph_.node(p.value));
      left.push_back(rewrite_.now(in[0]));
      right.push_back(rewrite_.now(in[1]));
    }
    const auto [a, b] = joined(left, right);
    const Id operands[] = {a, b};
    terms.push_back({parts[0].place, rewrite_.to.add(graph_.node(parts[0].value), operands), -1, true});
  }

  // No operand twice on one side: joining it would copy it.
  bool distinct(const std::vector<Part>& parts) const {
    for (size_t side = 0; side < 2; ++side) {
      std::vector<Id> ids;
      for (const Part& p : parts) ids.push_back(graph_.in(graph_.node(p.value))[side]);
      std::sort(ids.begin(), ids.end());
      if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) return false;
    }
    return true;
  }

  void join_columns(std::vector<Part>& parts, std::vector<Term>& terms) {
    if (parts.empty()) return;
    sort_by(parts, [&](const Part& p) { return graph_.in(graph_.node(p.value))[0]; });
    std::vector<Id> values;
    for (const Part& p : parts) values.push_back(rewrite_.now(graph_.in(graph_.node(p.value))[0]));
    std::vector<Id> unique = values;
    std::sort(unique.begin(), unique.end());
    if (parts.size() == 1 || std::adjacent_find(unique.begin(), unique.end()) != unique.end()) {
      for (const Part& p : parts) terms.push_back({p.place, rewrite_.now(p.value), -1, false});
      return;
    }
    const Id join = joined(reordered(values, known_order(values)));
    terms.push_back({parts[0].place, rewrite_.to.add(graph_.node(parts[0].value), {&join, 1}), -1, false});
  }

  void join_rows(const std::vector<Part>& parts, std::vector<Term>& terms) {
    if (parts.size() < 2) {
      for (const Part& p : parts) terms.push_back({p.place, rewrite_.now(p.value), rewrite_.now(p.ids), false});
      return;
    }
    std::vector<Part> ordered = parts;
    sort_by(ordered, [](const Part& p) { return p.ids; });
    std::vector<Id> values, ids;
    for (const Part& p : ordered) {
      values.push_back(rewrite_.now(p.value));
      ids.push_back(rewrite_.now(p.ids));
    }
    if (sorted(values) != distinct_of(values) || sorted(ids) != distinct_of(ids)) {
      for (const Part& p : ordered) terms.push_back({p.place, rewrite_.now(p.value), rewrite_.now(p.ids), false});
      return;
    }
    const auto [rows, at] = joined(values, ids);
    terms.push_back({parts[0].place, rows, at, false});
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
  struct Join {
    std::vector<Id> values;
    Id id;
  };
  std::map<std::vector<Id>, Join> joins_;  // the first of these values, sorted
};

}  // namespace

Graph join_sums(const Graph& graph) { return Joining(graph).run(); }

}  // namespace reel::plan
