// Straight from yaml-cpp's events to JSON values, so that every bound holds while the text is read. (YAML::LoadAll
// builds a graph first, and 0.7.0 never returns for "," : its parser reports documents without consuming anything.
// Found by fuzzing.)
#include "wick/model/yaml.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <sstream>

namespace wick::model {

namespace json = boost::json;

namespace {

/// A bound was met: not a syntax error, so not YAML's exception.
class TooBig : public std::exception {
 public:
  explicit TooBig(std::string what) : what_(std::move(what)) {}
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

/// A plain scalar by the core schema of YAML 1.2 (10.3.2), with the octal of 1.1 that kubectl reads too: a file's mode
/// is written 0440. Hex is left as text: manifests mean it so or never use it.
json::value resolve_plain(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const auto* begin = text.data();
  const auto* end = begin + text.size();
  std::int64_t integer = 0;
  const bool octal = text.size() > 1 && text[0] == '0' && text.find_first_not_of("01234567", 1) == text.npos;
  if (octal && std::from_chars(begin, end, integer, 8).ec == std::errc{}) return integer;
  if (auto [at, ec] = std::from_chars(begin, end, integer); ec == std::errc{} && at == end) return integer;
  const bool numeric =
      text.find_first_not_of("+-.0123456789eE") == text.npos && text.find_first_of("0123456789") != text.npos;
  double number = 0;
  if (numeric && text[0] != '+')
    if (auto [at, ec] = std::from_chars(begin, end, number); ec == std::errc{} && at == end && std::isfinite(number))
      return number;
  return json::string(text);
}

class JsonBuilder final : public YAML::EventHandler {
 public:
  explicit JsonBuilder(const YamlLimits& limits) : limits_(limits) {}

  /// The last document's value; the builder is ready for the next.
  json::value take() {
    anchors_.clear();
    return std::exchange(root_, nullptr);
  }
  /// Where the last document began.
  int document_at() const { return document_at_; }

  void OnDocumentStart(const YAML::Mark& mark) override { document_at_ = mark.pos; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, anchor, nullptr, 1); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw YAML::ParserException(mark, "an alias of a value it is part of");
    charge(found->second.nodes);
    add(mark, YAML::NullAnchor, found->second.value, found->second.nodes);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    charge(1);
    const bool text = tag == "!" || tag == "tag:yaml.org,2002:str" || expects_key();
    add(mark, anchor, text ? json::value(json::string(value)) : resolve_plain(value), 1);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    json::value value;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    std::size_t nodes = 1;
    std::optional<std::string> key;  // of a map, when its value is next
  };
  struct Anchored {
    json::value value;
    std::size_t nodes;
  };

  bool expects_key() const { return !open_.empty() && open_.back().value.is_object() && !open_.back().key; }

  void charge(std::size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > limits_.nodes_max)
      throw TooBig(fmt::format("YAML has more than {} values (aliases count where they are used)", limits_.nodes_max));
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, json::value empty) {
    charge(1);
    if (expects_key()) throw YAML::ParserException(mark, "a key must be a scalar");
    if (open_.size() >= limits_.depth_max)
      throw TooBig(fmt::format("YAML is nested deeper than {} levels", limits_.depth_max));
    open_.push_back({.value = std::move(empty), .mark = mark, .anchor = anchor, .key = {}});
  }

  void close() {
    auto done = std::move(open_.back());
    open_.pop_back();
    add(done.mark, done.anchor, std::move(done.value), done.nodes);
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, json::value value, std::size_t nodes) {
    if (anchor != YAML::NullAnchor) {
      charge(nodes);  // the copy kept for its aliases
      anchors_.insert_or_assign(anchor, Anchored{value, nodes});
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    auto& parent = open_.back();
    parent.nodes += nodes;
    if (auto* array = parent.value.if_array()) {
      array->push_back(std::move(value));
    } else if (!parent.key) {
      if (!value.is_string()) throw YAML::ParserException(mark, "a key must be a scalar");
      parent.key = std::string(value.get_string());
      if (parent.value.get_object().contains(*parent.key))
        throw YAML::ParserException(mark, fmt::format("key \"{}\" is there twice", *parent.key));
    } else {
      parent.value.get_object().emplace(*parent.key, std::move(value));
      parent.key.reset();
    }
  }

  const YamlLimits& limits_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  json::value root_;
  int document_at_ = -1;
  std::size_t nodes_ = 0;
};

}  // namespace

Result<std::vector<json::value>> parse_yaml(std::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.bytes_max)
    return fail(Errc::too_large, fmt::format("YAML of {} bytes, at most {}", text.size(), limits.bytes_max));
  try {
    std::vector<json::value> documents;
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    JsonBuilder builder(limits);
    for (int last = -1; parser.HandleNextDocument(builder); last = builder.document_at()) {
      if (builder.document_at() <= last)
        return fail(Errc::invalid,
                    fmt::format("YAML: what begins at character {} is no value", builder.document_at() + 1));
      auto value = builder.take();
      if (!value.is_null()) documents.push_back(std::move(value));
    }
    return documents;
  } catch (const TooBig& error) {
    return fail(Errc::too_large, error.what());
  } catch (const YAML::Exception& error) {
    return fail(Errc::invalid,
                fmt::format("YAML line {}, column {}: {}", error.mark.line + 1, error.mark.column + 1, error.msg));
  }
}

}  // namespace wick::model
