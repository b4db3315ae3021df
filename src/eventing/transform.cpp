#include "wick/eventing/transform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>

#include "eventing/jsonata_evaluate.hpp"
#include "eventing/jsonata_unicode.hpp"
#include "eventing/text_rules.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::eventing {

namespace {

/// "line 2, column 5": by characters, from 1.
std::string place_in(std::string_view text, std::size_t position) {
  const auto before = text.substr(0, std::min(position, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto start = before.rfind('\n');
  const auto column = jsonata::code_points(before.substr(start == before.npos ? 0 : start + 1)) + 1;
  return fmt::format("line {}, column {}", line, column);
}

std::string told(std::string_view text, const jsonata::Fault& fault) {
  const auto message = jsonata::message_of(fault);
  if (fault.position == jsonata::Fault::no_position) return printable(message, 500);
  return printable(fmt::format("{} ({})", message, place_in(text, fault.position)), 500);
}

}  // namespace

Result<Transform> Transform::parse(std::string_view expression) {
  if (!is_utf8(expression)) return fail(Errc::invalid, "the JSONata expression is not UTF-8");
  Transform made;
  made.text_ = std::make_shared<const std::string>(expression);
  try {
    made.root_ = jsonata::parse(expression, {.bytes_max = expression_bytes_max, .depth_max = nesting_max});
  } catch (const jsonata::Fault& fault) {
    return fail(Errc::invalid, told(expression, fault));
  }
  return made;
}

Result<std::optional<std::string>> Transform::apply(std::string_view text, const Bounds& bounds) const {
  boost::system::error_code error;
  const boost::json::parse_options options{.max_depth = json_depth_max};
  const auto json = boost::json::parse(boost::json::string_view(text.data(), text.size()), error, {}, options);
  if (error) return fail(Errc::invalid, "the input is no JSON: " + error.message());
  try {
    jsonata::Evaluation evaluation(
        {.steps_max = bounds.steps, .time_max = bounds.time, .depth_max = bounds.recursion, .bytes_max = bounds.bytes});
    const auto result = evaluation.run(*root_, jsonata::from_json(json));
    if (result.missing() || result.is(jsonata::Type::function)) return std::nullopt;
    return jsonata::to_json(result);
  } catch (const jsonata::Fault& fault) {
    const bool at_bound = fault.code == "D1011" || fault.code == "D1012" || fault.code == "D2015";
    return fail(at_bound ? Errc::too_large : Errc::invalid, told(*text_, fault));
  }
}

}  // namespace wick::eventing
