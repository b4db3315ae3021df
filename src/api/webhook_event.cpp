#include "api/webhook_event.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

namespace json = boost::json;

constexpr std::size_t payload_depth_max = 32;
constexpr std::size_t name_bytes_max = 60;
constexpr std::size_t text_bytes_max = 1000;  // of a source and a subject

std::string_view type_prefix(Forge forge) {
  switch (forge) {
    case Forge::github:
      return "dev.knative.source.github.";
    case Forge::gitlab:
      return "dev.knative.sources.gitlab.";
    case Forge::gitea:
      return "dev.wick.source.gitea.";
    case Forge::generic:
      return "dev.wick.source.webhook";
  }
  return "dev.wick.source.webhook";
}

json::object payload_of(std::string_view body) {
  json::parse_options options;
  options.max_depth = payload_depth_max;
  json::error_code wrong;
  auto value = json::parse(body, wrong, {}, options);
  return !wrong && value.is_object() ? std::move(value.get_object()) : json::object();
}

/// What the sender claims for this attribute, or "" where no event can have it: that shall not lose the delivery.
std::string attribute(std::string_view name, std::string_view claimed) {
  auto text = printable(claimed, text_bytes_max);
  eventing::CloudEvent event;
  event.attributes["specversion"] = std::string("1.0");
  for (const auto* required : {"id", "type", "source"}) event.attributes[required] = std::string("x");
  event.attributes[std::string(name)] = text;
  return eventing::validate(event) ? text : std::string();
}

std::string source_in(const json::object& payload) {
  for (const auto& [holder, field] :
       {std::pair{"repository", "html_url"}, {"project", "web_url"}, {"repository", "homepage"}})
    if (auto url = attribute("source", model::text_at(payload, {holder, field})); !url.empty()) return url;
  return {};
}

std::string subject_in(const json::object& payload) {
  for (const auto* holder : {"pull_request", "issue"})
    if (const auto number = model::integer_at(payload, {holder, "number"}); number > 0) return std::to_string(number);
  for (const auto* field : {"iid", "id"})
    if (const auto number = model::integer_at(payload, {"object_attributes", field}); number > 0)
      return std::to_string(number);
  return attribute("subject", model::text_at(payload, {"ref"}));
}

}  // namespace

std::string event_name_of(Forge forge, const http::Fields& fields) {
  constexpr std::string_view gitlab_ending = "_hook";
  const auto* field = forge == Forge::github   ? "X-GitHub-Event"
                      : forge == Forge::gitlab ? "X-Gitlab-Event"
                      : forge == Forge::gitea  ? "X-Gitea-Event"
                                               : nullptr;
  if (!field) return {};
  std::string name;
  for (const char letter : to_lower(fields.find(field).value_or("").substr(0, name_bytes_max)))
    name += (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ? letter : '_';
  if (forge == Forge::gitlab && name.ends_with(gitlab_ending)) name.resize(name.size() - gitlab_ending.size());
  return name;
}

eventing::CloudEvent event_of_delivery(Forge forge, const http::Fields& fields, std::string body,
                                       std::string_view own_source) {
  const auto payload = payload_of(body);
  auto source = forge == Forge::generic ? std::string() : source_in(payload);
  if (source.empty()) source = own_source;
  auto id = attribute("id", marks_of(forge, fields, body).number);
  if (id.empty()) id = Digest::of(body).hex();
  eventing::CloudEvent event;
  event.attributes["specversion"] = std::string("1.0");
  event.attributes["id"] = std::move(id);
  event.attributes["type"] = std::string(type_prefix(forge)) + event_name_of(forge, fields);
  event.attributes["source"] = std::move(source);
  if (auto subject = subject_in(payload); !subject.empty()) event.attributes["subject"] = std::move(subject);
  if (auto type = attribute("datacontenttype", fields.find("Content-Type").value_or("")); !type.empty())
    event.attributes["datacontenttype"] = std::move(type);
  event.data = std::move(body);
  return event;
}

}  // namespace wick::api
