#include "wick/model/preview.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

constexpr std::size_t branch_bytes_max = 250;
constexpr std::size_t tag_bytes_max = 40;
constexpr std::size_t tag_bytes_min = 8;  // two letters, and the digits that tell it apart
constexpr std::size_t configuration_bytes_max = 57;
constexpr std::string_view infix = "-preview-";

bool fits_pattern(std::string_view pattern, std::string_view text) {
  std::size_t at = 0, in_pattern = 0, star = pattern.npos, after_star = 0;
  while (at < text.size()) {
    if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
      star = in_pattern++;
      after_star = at;
    } else if (in_pattern < pattern.size() && (pattern[in_pattern] == '?' || pattern[in_pattern] == text[at])) {
      ++in_pattern;
      ++at;
    } else if (star != pattern.npos) {
      in_pattern = star + 1;
      at = ++after_star;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', in_pattern) == pattern.npos;
}

}  // namespace

bool is_environment_change(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == text.npos && !text.ends_with('-')) return false;
  const auto name = text.substr(0, equals == text.npos ? text.size() - 1 : equals);
  return !name.empty() && !(name.front() >= '0' && name.front() <= '9') && name.find_first_of("= \t\n") == name.npos;
}

void change_environment(json::object& object, const std::vector<std::string>& changes) {
  if (changes.empty()) return;
  auto& containers = object_at(object, {"spec", "template", "spec"})["containers"].as_array();
  auto& container = containers.front().as_object();
  json::array env;
  if (const auto* before = container.if_contains("env"); before && before->is_array()) env = before->get_array();
  for (const std::string_view change : changes) {
    const auto equals = change.find('=');
    const auto name = change.substr(0, equals == change.npos ? change.size() - 1 : equals);
    const auto is_it = [name](const json::value& entry) {
      return entry.is_object() && text_at(entry.get_object(), {"name"}) == name;
    };
    const auto found = std::ranges::find_if(env, is_it);
    if (equals == change.npos) {
      if (found != env.end()) env.erase(found);
      continue;
    }
    json::object entry{{"name", name}, {"value", change.substr(equals + 1)}};
    if (found == env.end())
      env.push_back(std::move(entry));
    else
      *found = std::move(entry);
  }
  if (env.empty())
    container.erase("env");
  else
    container["env"] = std::move(env);
}

std::string to_text(const PreviewOrder& order) {
  json::object text{{"service", order.service}, {"branch", order.branch}};
  if (!order.env.empty()) text["env"] = json::array(order.env.begin(), order.env.end());
  return json::serialize(text);
}

Result<PreviewOrder> parse_preview_order(std::string_view text) {
  boost::system::error_code wrong;
  const auto value = json::parse(text, wrong);
  if (wrong || !value.is_object())
    return fail(Errc::invalid, R"(expected {"service": NAME, "branch": BRANCH, "env": ["K=V"]})");
  const auto& object = value.get_object();
  PreviewOrder order{.service = text_at(object, {"service"}), .branch = text_at(object, {"branch"})};
  if (auto complaint = dns1035_complaint(order.service); !complaint.empty())
    return fail(Errc::invalid, fmt::format("service '{}': {}", printable(order.service, 63), complaint));
  if (order.branch.empty() || order.branch.size() > branch_bytes_max)
    return fail(Errc::invalid,
                fmt::format("a branch has 1 to {} bytes, not {}", branch_bytes_max, order.branch.size()));
  if (const auto* env = object.if_contains("env")) {
    if (!env->is_array() || env->get_array().size() > preview_env_max)
      return fail(Errc::invalid, fmt::format("env is a list of at most {}", preview_env_max));
    for (const auto& change : env->get_array()) {
      if (!change.is_string() || !is_environment_change(change.get_string()))
        return fail(Errc::invalid, "env: expected K=V, or K- to remove one");
      order.env.emplace_back(change.get_string());
    }
  }
  return order;
}

std::string preview_tag(std::string_view branch, std::string_view service, bool told_apart) {
  if (service.size() + infix.size() + tag_bytes_min > configuration_bytes_max) return {};
  const auto room = std::min(tag_bytes_max, configuration_bytes_max - infix.size() - service.size());
  std::string tag;
  for (const char c : branch) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool is_plain = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (is_plain)
      tag += lower;
    else if (!tag.empty() && tag.back() != '-')
      tag += '-';
  }
  while (tag.ends_with('-')) tag.pop_back();
  if (tag.empty() || (tag.front() >= '0' && tag.front() <= '9')) tag.insert(0, tag.empty() ? "branch" : "b-");
  if (tag.size() <= room && !told_apart) return tag;
  const auto digits = Digest::of(branch).hex().substr(0, 5);
  tag.resize(std::min(tag.size(), room - digits.size() - 1));
  while (tag.ends_with('-')) tag.pop_back();
  return tag + "-" + digits;
}

std::string preview_configuration(std::string_view service, std::string_view tag) {
  return fmt::format("{}{}{}", service, infix, tag);
}

bool is_previewed(std::string_view patterns, std::string_view branch) {
  for (auto pattern : split(patterns, ',')) {
    pattern = trim(pattern);
    if (!pattern.empty() && fits_pattern(pattern, branch)) return true;
  }
  return false;
}

}  // namespace wick::model
