#include "wick/model/failure.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

namespace wick::model {

namespace json = boost::json;

json::object Failure::to_json() const {
  json::array lines;
  for (const auto& line : last_output) lines.emplace_back(line);
  json::object object{{"step", step},
                      {"slug", slug},
                      {"because", because},
                      {"lastOutput", std::move(lines)},
                      {"hint", hint},
                      {"elapsedMs", elapsed.count()},
                      {"when", to_rfc3339_nano(when)}};
  if (!message.empty()) object["message"] = message;
  if (exit_code) object["exitCode"] = *exit_code;
  if (!container.empty()) object["container"] = container;
  return object;
}

Result<Failure> Failure::from_json(const json::value& value) {
  const auto* object = value.if_object();
  if (!object) return fail(Errc::invalid, "a failure is an object");
  const auto text = [&](const char* key) {
    const auto* field = object->if_contains(key);
    return field && field->is_string() ? std::string(field->get_string()) : std::string();
  };
  Failure failure{.step = text("step"), .slug = text("slug"), .because = text("because"), .hint = text("hint")};
  if (const auto* lines = object->if_contains("lastOutput"); lines && lines->is_array())
    for (const auto& line : lines->get_array())
      if (line.is_string()) failure.last_output.emplace_back(line.get_string());
  failure.message = text("message");
  failure.container = text("container");
  if (const auto* code = object->if_contains("exitCode"); code && code->is_int64())
    failure.exit_code = static_cast<int>(code->get_int64());
  if (const auto* elapsed = object->if_contains("elapsedMs"); elapsed && elapsed->is_int64())
    failure.elapsed = milliseconds(elapsed->get_int64());
  if (auto when = parse_rfc3339(text("when"))) failure.when = *when;
  return failure;
}

}  // namespace wick::model
