#include "wick/model/condition.hpp"

#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

Truth parse_truth(std::string_view text) {
  if (text == "True") return Truth::yes;
  if (text == "False") return Truth::no;
  return Truth::unknown;
}

Condition decode_condition(const json::object& object) {
  return {.type = text_at(object, {"type"}),
          .status = parse_truth(text_at(object, {"status"})),
          .severity = text_at(object, {"severity"}),
          .reason = text_at(object, {"reason"}),
          .message = text_at(object, {"message"}),
          .last_transition = text_at(object, {"lastTransitionTime"})};
}

bool same_but_for_time(const Condition& a, const Condition& b) {
  return a.status == b.status && a.severity == b.severity && a.reason == b.reason && a.message == b.message;
}

}  // namespace

std::string_view to_string(Truth truth) {
  switch (truth) {
    case Truth::yes:
      return "True";
    case Truth::no:
      return "False";
    case Truth::unknown:
      break;
  }
  return "Unknown";
}

Condition find_condition(const json::object& object, std::string_view type) {
  if (const auto* list = find_value(object, {"status", "conditions"}); list && list->is_array())
    for (const auto& element : list->get_array())
      if (const auto* condition = element.if_object(); condition && text_at(*condition, {"type"}) == type)
        return decode_condition(*condition);
  return {.type = std::string(type)};
}

Conditions::Conditions(std::string happy, std::vector<std::string> dependents, const json::object& object, WallTime now)
    : happy_(std::move(happy)), dependents_(std::move(dependents)), now_(now) {
  if (const auto* list = find_value(object, {"status", "conditions"}); list && list->is_array())
    for (const auto& element : list->get_array())
      if (const auto* condition = element.if_object()) {
        auto decoded = decode_condition(*condition);
        before_[decoded.type] = decoded;
      }
  for (const auto& type : dependents_) mark_unknown(type);
}

void Conditions::mark(std::string_view type, Truth status, std::string reason, std::string message) {
  conditions_[std::string(type)] = {
      .type = std::string(type), .status = status, .reason = std::move(reason), .message = std::move(message)};
}

void Conditions::mark_info(std::string_view type, Truth status, std::string reason, std::string message) {
  mark(type, status, std::move(reason), std::move(message));
  conditions_[std::string(type)].severity = "Info";
}

Condition Conditions::happy() const {
  Condition happy{.type = happy_, .status = Truth::yes};
  const auto take = [&](Truth status) {
    for (const auto& type : dependents_) {
      const auto& condition = conditions_.at(type);
      if (condition.status != status) continue;
      happy.status = status;
      happy.reason = condition.reason;
      happy.message = condition.message;
      return true;
    }
    return false;
  };
  if (!take(Truth::no)) take(Truth::unknown);
  return happy;
}

json::array Conditions::to_json() const {
  auto all = conditions_;
  // A kind whose happy condition stands alone marks it directly.
  if (!all.contains(happy_)) all[happy_] = happy();
  json::array list;
  for (auto& [type, condition] : all) {
    const auto before = before_.find(type);
    const bool unchanged = before != before_.end() && same_but_for_time(before->second, condition) &&
                           !before->second.last_transition.empty();
    json::object object{{"type", type},
                        {"status", to_string(condition.status)},
                        {"lastTransitionTime", unchanged ? before->second.last_transition : to_rfc3339(now_)}};
    if (!condition.severity.empty()) object["severity"] = condition.severity;
    if (!condition.reason.empty()) object["reason"] = condition.reason;
    if (!condition.message.empty()) object["message"] = condition.message;
    list.emplace_back(std::move(object));
  }
  return list;
}

}  // namespace wick::model
