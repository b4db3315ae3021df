#include "passwd.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "protocol.hpp"
#include "wick/base/text.hpp"

namespace wick::container {

namespace {

struct User {
  std::string_view name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};
struct Group {
  std::string_view name;
  std::uint32_t gid = 0;
  std::vector<std::string_view> members;
};

std::optional<std::uint32_t> id_of(std::string_view text) {
  const auto value = parse_unsigned(text);
  if (!value || *value >= id_range_size) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

std::vector<User> users_in(std::string_view text) {
  std::vector<User> users;
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4 || fields[0].empty()) continue;
    const auto uid = id_of(fields[2]);
    const auto gid = id_of(fields[3]);
    if (uid && gid) users.push_back({.name = fields[0], .uid = *uid, .gid = *gid});
  }
  return users;
}

std::vector<Group> groups_in(std::string_view text) {
  std::vector<Group> groups;
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 3 || fields[0].empty()) continue;
    const auto gid = id_of(fields[2]);
    if (gid)
      groups.push_back({.name = fields[0],
                        .gid = *gid,
                        .members = fields.size() > 3 ? split(trim(fields[3]), ',') : std::vector<std::string_view>{}});
  }
  return groups;
}

/// A number that is no id of a range.
bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::unexpected<Error> out_of_range(std::string_view what, std::string_view text) {
  return fail(Errc::invalid, fmt::format("{} {} is past {}, the last id an instance has", what, printable(text, 40),
                                         id_range_size - 1));
}

Result<std::uint32_t> find_group(std::string_view text, const std::vector<Group>& groups) {
  for (const auto& group : groups)
    if (group.name == text) return group.gid;
  if (!is_number(text))
    return fail(Errc::not_found, fmt::format("group '{}' is not in the image's /etc/group", printable(text, 100)));
  const auto gid = id_of(text);
  if (!gid) return out_of_range("group", text);
  return *gid;
}

}  // namespace

Result<UserIds> find_user(std::string_view user, std::string_view passwd, std::string_view group) {
  const auto colon = user.find(':');
  const auto user_text = user.substr(0, colon);
  const bool names_group = colon != std::string_view::npos && colon + 1 < user.size();
  UserIds ids;
  if (user_text.empty() && !names_group) return ids;  // no USER: root

  const auto users = users_in(passwd);
  const auto groups = groups_in(group);
  const auto by_name = std::ranges::find(users, user_text, &User::name);
  auto found = by_name;
  if (found == users.end() && is_number(user_text)) {
    const auto uid = id_of(user_text);
    if (!uid) return out_of_range("user", user_text);
    ids.uid = *uid;
    found = std::ranges::find(users, *uid, &User::uid);
  } else if (found == users.end() && !user_text.empty()) {
    return fail(Errc::not_found, fmt::format("user '{}' is not in the image's /etc/passwd", printable(user_text, 100)));
  }
  if (found != users.end()) {
    ids.uid = found->uid;
    ids.gid = found->gid;
  }
  if (names_group) {
    auto gid = find_group(user.substr(colon + 1), groups);
    if (!gid) return fail(std::move(gid.error()));
    ids.gid = *gid;
    return ids;
  }
  if (found == users.end()) return ids;
  for (const auto& entry : groups) {
    if (ids.groups.size() >= protocol::groups_max) break;
    if (entry.gid != ids.gid && std::ranges::find(entry.members, found->name) != entry.members.end())
      ids.groups.push_back(entry.gid);
  }
  return ids;
}

}  // namespace wick::container
