#include "wick/model/yaml.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <charconv>
#include <cmath>

namespace wick::model {

namespace json = boost::json;

namespace {

class TooBig : public std::exception {
 public:
  explicit TooBig(std::string what) : what_(std::move(what)) {}
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

/// A plain scalar by the core schema of YAML 1.2 (10.3.2), without octal and hex: manifests mean those as text or never
/// use them.
json::value resolve_plain(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const auto* begin = text.data();
  const auto* end = begin + text.size();
  std::int64_t integer = 0;
  if (auto [at, ec] = std::from_chars(begin, end, integer); ec == std::errc{} && at == end) return integer;
  const bool numeric =
      text.find_first_not_of("+-.0123456789eE") == text.npos && text.find_first_of("0123456789") != text.npos;
  double number = 0;
  if (numeric && text[0] != '+')
    if (auto [at, ec] = std::from_chars(begin, end, number); ec == std::errc{} && at == end && std::isfinite(number))
      return number;
  return json::string(text);
}

class Converter {
 public:
  explicit Converter(const YamlLimits& limits) : limits_(limits) {}

  json::value convert(const YAML::Node& node, std::size_t depth) {
    if (depth > limits_.depth_max) throw TooBig(fmt::format("YAML is nested deeper than {} levels", limits_.depth_max));
    if (++nodes_ > limits_.nodes_max)
      throw TooBig(fmt::format("YAML has more than {} values (aliases count where they are used)", limits_.nodes_max));
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str" ? json::value(json::string(node.Scalar()))
                                                                          : resolve_plain(node.Scalar());
      case YAML::NodeType::Sequence: {
        json::array array;
        for (const auto& element : node) array.push_back(convert(element, depth + 1));
        return array;
      }
      case YAML::NodeType::Map: {
        json::object object;
        for (const auto& entry : node) {
          if (!entry.first.IsScalar()) throw YAML::ParserException(entry.first.Mark(), "a key must be a scalar");
          const auto& key = entry.first.Scalar();
          if (object.contains(key))
            throw YAML::ParserException(entry.first.Mark(), fmt::format("key \"{}\" is there twice", key));
          object.emplace(key, convert(entry.second, depth + 1));
        }
        return object;
      }
      default:
        return nullptr;
    }
  }

 private:
  const YamlLimits& limits_;
  std::size_t nodes_ = 0;
};

}  // namespace

Result<std::vector<json::value>> parse_yaml(std::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.bytes_max)
    return fail(Errc::too_large, fmt::format("YAML of {} bytes, at most {}", text.size(), limits.bytes_max));
  try {
    std::vector<json::value> documents;
    Converter converter(limits);
    for (const auto& node : YAML::LoadAll(std::string(text))) {
      auto value = converter.convert(node, 0);
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
