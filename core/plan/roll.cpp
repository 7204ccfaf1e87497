// roll: what a graph does again and again becomes calls of a template, so that a recurrence written out op by
// op is planned like one whose cell was declared (core/once.h). Rounds (rounds.h) that are alike but for the
// rows they read are calls of one template.
#include <algorithm>
#include <utility>

#include "core/plan/batching.h"
#include "core/plan/rounds.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Rolling {
 public:
  Rolling(const Graph& graph, bool fixed) : graph_(graph), rounds_(graph, fixed) {}

  std::optional<Graph> run() {
    if (!rounds_.find()) return {};
    find_forms();
    find_outputs();
    bool any = false;
    for (Form& form : forms_) any = make_template(form) || any;
    if (!any) return {};
    return write();
  }

 private:
  struct At {  // an input of a node of a round
    uint32_t node, input;
  };
  // Rounds that are alike.
  struct Form {
    std::vector<uint32_t> rounds;
    std::vector<uint64_t> words;
    std::vector<bool> outputs = {};  // of its nodes: whether anything else reads one of them
    const Op* op = nullptr;          // the template
    std::vector<At> arguments = {};
    std::vector<Id> rows = {};  // of the inputs that are rows, one after another: which argument
    std::vector<Id> captured = {};
    Shape shape = {};
  };

  // ---- Which are alike ----

  bool is_inside(Id id, size_t round) const { return rounds_.of_value(id) == static_cast<int32_t>(round); }

  // Of the first so many of its nodes.
  void words_of(size_t round, size_t size, std::vector<uint64_t>& words) const {
    const auto word = [](auto x) { return static_cast<uint64_t>(x); };
    words.assign({word(rounds_.rows(round)), size});
    for (uint32_t k : rounds_.nodes(round).first(size)) {
      const GraphNode& n = graph_.nodes[k];
      words.insert(words.end(),
                   {reinterpret_cast<uintptr_t>(n.op),
                    word(n.floats) << 32 | word(n.list_size) << 9 | word(n.dtype) << 1 | word(n.cut),
                    word(n.shape[1]), n.inputs});
      for (int64_t i : n.i) words.push_back(word(i));
      for (int64_t i : graph_.list_of(n)) words.push_back(word(i));
      for (size_t p = 0; p < n.inputs; ++p) {
        const Id id = graph_.in(n)[p];
        words.push_back(is_inside(id, round)        ? word(rounds_.position(graph_.node_of(id))) << 2
                        : rounds_.is_captured(n, p) ? word(rounds_.canon(id)) << 2 | 1
                                                    : word(graph_.shape(id)[1]) << 2 | 2);
      }
    }
  }
  void find_forms() {
    form_.assign(rounds_.size(), -1);
    Table table;
    std::vector<uint64_t> words;
    for (size_t k = 0; k < rounds_.size(); ++k) {
      words_of(k, rounds_.nodes(k).size(), words);
      const auto next = static_cast<int32_t>(forms_.size());
      form_[k] = table.find(reel::hash_of(words), next,
                            [&](int32_t other) { return forms_[static_cast<size_t>(other)].words == words; });
      if (form_[k] == next) forms_.push_back({.rounds = {}, .words = words});
      form(k).rounds.push_back(static_cast<uint32_t>(k));
    }
    if (!forms_.empty()) shorten();
  }
  // A round that begins as most do (the last, after which come other things than the next) ends as they do.
  void shorten() {
    const auto most = std::ranges::max_element(forms_, {}, [](const Form& f) { return f.rounds.size(); });
    const size_t size = rounds_.nodes(most->rounds[0]).size();
    std::vector<uint64_t> words;
    for (size_t k = 0; k < rounds_.size(); ++k) {
      if (rounds_.nodes(k).size() <= size) continue;
      words_of(k, size, words);
      if (words != most->words) continue;
      std::erase(form(k).rounds, static_cast<uint32_t>(k));
      form_[k] = static_cast<int32_t>(most - forms_.begin());
      most->rounds.push_back(static_cast<uint32_t>(k));
      rounds_.shorten(k, size);
    }
    std::ranges::sort(most->rounds);
  }
  Form& form(size_t round) { return forms_[static_cast<size_t>(form_[round])]; }
  const Form& form(size_t round) const { return forms_[static_cast<size_t>(form_[round])]; }

  void find_outputs() {
    for (Form& f : forms_) {
      if (!f.rounds.empty()) f.outputs.assign(rounds_.nodes(f.rounds[0]).size(), false);
    }
    const auto read = [&](Id id, int32_t by) {
      const int32_t from = rounds_.of_value(id);
      if (from >= 0 && from != by)
        form(static_cast<size_t>(from)).outputs[rounds_.position(graph_.node_of(id))] = true;
    };
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      for (Id id : graph_.in(graph_.nodes[k])) read(id, rounds_.of(k));
    }
    for (const Result& r : graph_.results) read(r.id, -1);
  }

  // ---- Templates ----

  Id input(size_t round, At at) const {
    return rounds_.canon(graph_.in(rounds_.node(round, at.node))[at.input]);
  }
  bool same_values(const Form& f, At a, At b) const {
    return std::ranges::all_of(f.rounds, [&](size_t r) { return input(r, a) == input(r, b); });
  }
  // Whether many of the rounds read what others of them made.
  bool recurs(const Form& f) const {
    return std::ranges::any_of(f.arguments, [&](At at) {
      const auto reading = std::ranges::count_if(f.rounds, [&](size_t r) {
        const int32_t from = rounds_.of_value(input(r, at));
        return from >= 0 && form_[static_cast<size_t>(from)] == form_[r];
      });
      return 4 * static_cast<size_t>(reading) >= f.rounds.size();
    });
  }

  bool make_template(Form& f) const {
    if (f.rounds.size() < Rounds::kLeast) return false;
    find_inputs(f);
    if (!recurs(f)) return false;
    std::optional<Body> body = body_of(f);
    if (!body) return false;
    f.shape = {rounds_.rows(f.rounds[0]), 0};
    for (Id id : body->outputs) f.shape[1] += body->graph.shape(id)[1];
    stack(*body);
    identify(*body);
    f.op = found_template(*body);
    return f.op != nullptr;
  }
  // Rows that are the same in every round are one argument.
  void find_inputs(Form& f) const {
    const size_t round = f.rounds[0];
    for (uint32_t k = 0; k < rounds_.nodes(round).size(); ++k) {
      const GraphNode& n = rounds_.node(round, k);
      for (uint32_t p = 0; p < n.inputs; ++p) {
        const Id id = rounds_.canon(graph_.in(n)[p]);
        if (is_inside(graph_.in(n)[p], round)) continue;
        if (!rounds_.is_captured(n, p)) {
          const size_t a = argument(f, {k, p});
          if (a == f.arguments.size()) f.arguments.push_back({k, p});
          f.rows.push_back(static_cast<Id>(a));
        } else if (std::ranges::find(f.captured, id) == f.captured.end()) {
          f.captured.push_back(id);
        }
      }
    }
  }
  size_t argument(const Form& f, At at) const {
    size_t a = 0;
    while (a < f.arguments.size() && !same_values(f, f.arguments[a], at)) ++a;
    return a;
  }

  std::optional<Body> body_of(const Form& f) const {
    const size_t round = f.rounds[0];
    Body body;
    const auto add_leaf = [&](Id id) {
      body.graph.leaves.push_back({graph_.dtype(id), graph_.shape(id), row_major(graph_.shape(id))});
      body.leaf_grads.push_back(is_float(graph_.dtype(id)));
    };
    for (At at : f.arguments) add_leaf(input(round, at));
    for (Id id : f.captured) add_leaf(id);
    body.arguments = f.arguments.size();
    std::vector<Id> in;
    size_t next = 0;
    for (uint32_t k = 0; k < rounds_.nodes(round).size(); ++k) {
      GraphNode n = rounds_.node(round, k);
      if (n.dtype != rounds_.node(round, 0).dtype) return {};
      in.clear();
      for (uint32_t p = 0; p < n.inputs; ++p) {
        const Id id = graph_.in(n)[p];
        if (is_inside(id, round)) {
          in.push_back(body.graph.id_of(rounds_.position(graph_.node_of(id))));
        } else if (rounds_.is_captured(n, p)) {
          const auto at = std::ranges::find(f.captured, rounds_.canon(id));
          in.push_back(static_cast<Id>(body.arguments) + static_cast<Id>(at - f.captured.begin()));
        } else {
          in.push_back(f.rows[next++]);
        }
      }
      if (n.floats >= 0) {
        body.floats.push_back(graph_.floats[static_cast<size_t>(n.floats)]);
        n.floats = static_cast<int32_t>(body.floats.size()) - 1;
      }
      body.requires_grad.push_back(!n.cut);
      n.stays = n.cut = false;
      n.origin = -1;
      const Id id = body.graph.add(n, in, graph_.list_of(rounds_.node(round, k)));
      if (f.outputs[k]) body.outputs.push_back(id);
    }
    return body.outputs.empty() || !works_by_rows(body) ? std::nullopt : std::optional(std::move(body));
  }
  static bool works_by_rows(const Body& body) {
    Grouping inside(body);
    inside.find_ways();
    for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
      if (inside.way(k) == Way::alone || inside.way(k) == Way::constant) return false;
    }
    return true;
  }

  // ---- The new graph ----

  // What depends on no round; then each round, and what depends on it and on none that is later.
  Graph write() const {
    const size_t count = graph_.nodes.size();
    std::vector<uint32_t> begin(rounds_.size() + 2, 0), order(count);
    const auto place = [&](size_t k) { return static_cast<size_t>(rounds_.after(k) + 1); };
    for (size_t k = 0; k < count; ++k) ++begin[place(k) + 1];
    for (size_t b = 1; b < begin.size(); ++b) begin[b] += begin[b - 1];
    for (size_t k = 0; k < count; ++k) order[begin[place(k)]++] = static_cast<uint32_t>(k);
    Rewrite rewrite(graph_);
    for (uint32_t k : order) {
      const int32_t round = rounds_.of(k);
      if (round < 0 || !form(static_cast<size_t>(round)).op) {
        rewrite.keep(k);
      } else if (rounds_.position(k) == 0) {
        call(rewrite, static_cast<size_t>(round));
      }
    }
    return rewrite.done();
  }
  void call(Rewrite& rewrite, size_t round) const {
    const Form& f = form(round);
    std::vector<Id> in;
    for (At at : f.arguments) in.push_back(rewrite.now(graph_.in(rounds_.node(round, at.node))[at.input]));
    for (Id id : f.captured) in.push_back(rewrite.now(id));
    const GraphNode& first = rounds_.node(round, 0);
    const GraphNode all{.op = f.op, .origin = first.origin, .dtype = first.dtype, .shape = f.shape};
    const Id made = rewrite.to.add(all, in);
    int64_t column = 0;
    for (uint32_t k : rounds_.nodes(round)) {
      if (!f.outputs[rounds_.position(k)]) continue;
      const GraphNode& n = graph_.nodes[k];
      const GraphNode part{.op = &slice_op,
                           .i = {1, column, column + n.shape[1]},
                           .origin = n.origin,
                           .dtype = n.dtype,
                           .shape = n.shape};
      column += n.shape[1];
      rewrite.set(graph_.id_of(k), n.shape == f.shape ? made : rewrite.to.add(part, {&made, 1}));
    }
  }

  const Graph& graph_;
  Rounds rounds_;
  std::vector<Form> forms_;
  std::vector<int32_t> form_;  // of rounds
};

}  // namespace

std::optional<Graph> roll(const Graph& graph, bool fixed) { return Rolling(graph, fixed).run(); }

}  // namespace reel::plan
