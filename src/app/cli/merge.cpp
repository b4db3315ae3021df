#include "app/cli/merge.hpp"

#include <boost/json/value.hpp>

namespace wick::app::cli {

namespace json = boost::json;

json::object three_way_patch(const json::object& last, const json::object& wanted, const json::object& live) {
  static const json::object none;
  const auto as_object = [](const json::value* value) -> const json::object& {
    return value && value->is_object() ? value->get_object() : none;
  };
  json::object patch;
  for (const auto& [key, value] : wanted) {
    const auto* present = live.if_contains(key);
    if (value.is_object() && present && present->is_object()) {
      auto inner = three_way_patch(as_object(last.if_contains(key)), value.get_object(), present->get_object());
      if (!inner.empty()) patch[key] = std::move(inner);
    } else if (!present || *present != value) {
      patch[key] = value;
    }
  }
  for (const auto& [key, value] : last)
    if (!wanted.contains(key) && live.contains(key)) patch[key] = nullptr;
  return patch;
}

}  // namespace wick::app::cli
