// RUN, COPY and ADD of a stage: flags, mounts, heredocs, sources.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "patterns.hpp"
#include "stage_state.hpp"
#include "wick/base/text.hpp"

namespace wick::build {

namespace {

constexpr std::size_t mounts_max = 64;

bool is_git_source(std::string_view source) {
  if (source.starts_with("git@") || source.starts_with("ssh://") || source.starts_with("git://")) return true;
  if (!source.starts_with("http://") && !source.starts_with("https://")) return false;
  return source.substr(0, source.find('#')).ends_with(".git");
}

bool is_url_source(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

/// BuildKit's words for a boolean flag: bare, true, false.
std::optional<bool> truth(const std::optional<std::string>& flag) {
  if (!flag) return false;
  if (flag->empty() || *flag == "true") return true;
  if (*flag == "false") return false;
  return std::nullopt;
}

/// "10m", "1gb", "4096": bytes.
std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_unsigned(text.substr(0, digits));
  if (!number) return std::nullopt;
  auto unit = to_lower(text.substr(digits));
  if (unit.ends_with("ib")) unit.resize(unit.size() - 2);
  if (unit.ends_with('b')) unit.pop_back();
  const auto shift = unit.empty() ? 0 : unit == "k" ? 10 : unit == "m" ? 20 : unit == "g" ? 30 : -1;
  if (shift < 0 || *number > (1ull << 44 >> shift)) return std::nullopt;
  return *number << shift;
}

/// The fields of --mount, comma-separated as CSV: a field in double quotes may hold commas.
std::vector<std::string> csv_fields(std::string_view text) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"' && quoted && i + 1 < text.size() && text[i + 1] == '"') {
      out.back() += text[i++];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == ',' && !quoted) {
      out.emplace_back();
    } else {
      out.back() += text[i];
    }
  }
  return out;
}

std::optional<Mount::Type> mount_type(std::string_view text) {
  if (text == "bind") return Mount::Type::bind;
  if (text == "cache") return Mount::Type::cache;
  if (text == "tmpfs") return Mount::Type::tmpfs;
  if (text == "secret") return Mount::Type::secret;
  if (text == "ssh") return Mount::Type::ssh;
  return std::nullopt;
}

}  // namespace

Result<TakeFrom> StageReader::take_from(const Instruction& at, const std::string& name) {
  auto source = find_copy_source(file.name, at, outline, index, name);
  if (!source) return fail(std::move(source.error()));
  if (source->stage) return TakeFrom{.kind = TakeFrom::Kind::stage, .stage = planned.at(*source->stage)};
  return TakeFrom{.kind = TakeFrom::Kind::image, .image = source->image};
}

Result<void> StageReader::run(const Instruction& at, StageState& state, Step& step) {
  const auto& config = state.config;
  RunStep run{.environment = state.run_environment(),
              .user = config.user,
              .working_folder = join_path("/", config.working_folder)};
  if (const auto network = at.flag("network")) {
    if (*network != "none" && *network != "default" && *network != "host")
      return wrong(at, fmt::format("--network is default, none or host, not '{}'", printable(*network, 40)));
    run.isolated = *network == "none";
  }
  for (const auto& flag : at.flags)
    if (flag_name(flag) == "mount")
      if (auto read = mount(at, state, flag_value(flag), run); !read) return read;
  if (run.mounts.size() > mounts_max) return wrong(at, fmt::format("more than {} mounts", mounts_max));
  for (const auto& [name, value] : state.proxies) run.proxies.push_back(fmt::format("{}={}", name, value));
  const auto shell = config.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config.shell;
  if (at.json) {
    run.argv = at.arguments;
  } else {
    std::string command = at.arguments[0];
    const auto& heredocs = at.heredocs;
    // One marker and nothing else: the body is the script. Otherwise the shell reads the heredocs itself.
    auto marker = std::string_view(command);
    marker.remove_prefix(std::min(marker.find("<<"), marker.size()));
    const bool only_a_marker = heredocs.size() == 1 && marker.size() == command.size() &&
                               trim(marker.substr(2)).find_first_of(" \t;|&>") == std::string_view::npos;
    run.argv = shell;
    if (only_a_marker) {
      command = heredocs[0].stripped();
      if (command.starts_with("#!")) {
        run.script = std::move(command);
        command = "/dev/pipes/" + heredocs[0].name;
        run.argv.clear();
      }
    } else {
      for (const auto& heredoc : heredocs) command += "\n" + heredoc.content + heredoc.name;
      if (!heredocs.empty()) command += "\n";
    }
    run.argv.push_back(std::move(command));
  }
  std::string arguments;
  if (!state.arguments.empty()) {
    arguments = fmt::format("|{} ", state.arguments.size());
    for (const auto& name : state.argument_order)
      if (const auto found = state.arguments.find(name); found != state.arguments.end())
        arguments += fmt::format("{}={} ", name, found->second);
  }
  step.created_by = fmt::format("RUN {}{} # buildkit", arguments, fmt::join(run.argv, " "));
  step.action = std::move(run);
  return {};
}

Result<void> StageReader::mount(const Instruction& at, const StageState& state, const std::string& text, RunStep& run) {
  std::map<std::string, std::string, std::less<>> fields;
  for (const auto& field : csv_fields(text)) {
    const auto equals = field.find('=');
    const auto key = to_lower(trim(field.substr(0, equals)));
    std::string value = equals == std::string::npos ? "true" : field.substr(equals + 1);
    if (key == "from" && value.contains('$')) return wrong(at, "from= of a mount takes no variables");
    auto expanded = key == "from" ? Result<std::string>(value) : expand(at, state, value);
    if (!expanded) return fail(std::move(expanded.error()));
    const auto known = key == "src" ? "source" : key == "dst" || key == "destination" ? "target" : key;
    fields[known] = *expanded;
  }
  const auto take = [&](std::string_view key) -> std::optional<std::string> {
    const auto found = fields.find(key);
    if (found == fields.end()) return std::nullopt;
    auto value = std::move(found->second);
    fields.erase(found);
    return value;
  };
  const auto kind = take("type").value_or("bind");
  const auto type = mount_type(kind);
  if (!type)
    return wrong(at, fmt::format("'{}' is no type of mount", printable(kind, 40)), "bind, cache, tmpfs, secret or ssh");
  Mount mount{.type = *type};
  const bool has_target = fields.contains("target");
  const auto target = take("target").value_or("");
  if (has_target) mount.target = join_path(run.working_folder, target);
  const auto number = [&](std::string_view key, std::uint64_t otherwise, int base) -> std::optional<std::uint64_t> {
    const auto given = take(key);
    if (!given) return otherwise;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), value, base);
    if (error != std::errc{} || end != given->data() + given->size() || given->empty()) return std::nullopt;
    return value;
  };
  const bool is_file = *type == Mount::Type::secret || *type == Mount::Type::ssh;
  const auto mode = number("mode", *type == Mount::Type::secret ? 0400 : *type == Mount::Type::ssh ? 0600 : 0755, 8);
  const auto uid = number("uid", 0, 10);
  const auto gid = number("gid", 0, 10);
  if (!mode || *mode > 07777 || !uid || !gid || *uid > 65535 || *gid > 65535)
    return wrong(at, "mode= is octal, uid= and gid= are numbers up to 65535");
  mount.mode = static_cast<unsigned>(*mode);
  mount.uid = static_cast<std::uint32_t>(*uid);
  mount.gid = static_cast<std::uint32_t>(*gid);
  const auto flag = [&](std::string_view key) -> std::optional<bool> {
    const auto given = take(key);
    if (!given) return std::nullopt;
    return *given == "true" || *given == "1";
  };
  const auto from = take("from");
  switch (*type) {
    case Mount::Type::bind:
    case Mount::Type::cache:
      mount.source = rooted_path(take("source").value_or(""));
      if (from) {
        auto taken = take_from(at, *from);
        if (!taken) return fail(std::move(taken.error()));
        mount.from = *taken;
      } else if (*type == Mount::Type::bind) {
        mount.from = TakeFrom{};
      }
      mount.writable = *type == Mount::Type::cache;
      if (const auto rw = flag("rw")) mount.writable = *rw;
      if (const auto rw = flag("readwrite")) mount.writable = *rw;
      if (const auto ro = flag("ro")) mount.writable = !*ro;
      if (const auto ro = flag("readonly")) mount.writable = !*ro;
      if (*type == Mount::Type::bind) break;
      mount.id = take("id").value_or(mount.target);
      if (mount.id.empty()) mount.id = mount.target;
      if (const auto sharing = take("sharing").value_or("shared"); sharing == "private")
        mount.sharing = Mount::Sharing::exclusive;
      else if (sharing == "locked")
        mount.sharing = Mount::Sharing::locked;
      else if (sharing != "shared")
        return wrong(at, fmt::format("sharing is shared, private or locked, not '{}'", printable(sharing, 40)));
      break;
    case Mount::Type::tmpfs:
      if (const auto size = take("size")) {
        const auto bytes = parse_size(*size);
        if (!bytes) return wrong(at, fmt::format("size={} is no size", printable(*size, 40)), "such as 64m");
        mount.bytes_max = *bytes;
      }
      break;
    case Mount::Type::secret: {
      const auto source = take("source");
      mount.id = take("id").value_or(source.value_or(has_target ? base_name(mount.target) : ""));
      if (mount.id.empty()) return wrong(at, "a secret needs an id or a target");
      mount.variable = take("env").value_or("");
      if (!has_target && mount.variable.empty()) mount.target = "/run/secrets/" + base_name(mount.id);
      mount.required = flag("required").value_or(false);
      break;
    }
    case Mount::Type::ssh:
      mount.id = take("id").value_or("default");
      mount.required = flag("required").value_or(false);
      if (!has_target) {
        const auto earlier = std::ranges::count(run.mounts, Mount::Type::ssh, &Mount::type);
        mount.target = fmt::format("/run/buildkit/ssh_agent.{}", earlier);
      }
      break;
  }
  if (!fields.empty()) {
    const std::vector<std::string_view> known{"type", "target", "source",   "from", "readonly", "readwrite", "id",
                                              "mode", "uid",    "required", "size", "sharing",  "gid",       "env"};
    const auto near = nearest_word(fields.begin()->first, known);
    return wrong(at, fmt::format("a {} mount has no field '{}'", kind, printable(fields.begin()->first, 40)),
                 near.empty() ? "" : fmt::format("did you mean {}?", near));
  }
  if (!is_file && mount.target.empty()) return wrong(at, fmt::format("a {} mount needs a target", kind));
  if (mount.target == "/") return wrong(at, "a mount's target cannot be '/'");
  run.mounts.push_back(std::move(mount));
  return {};
}

Result<void> StageReader::copy_flags(const Instruction& at, const StageState& state, CopyStep& copy) {
  for (const char* name : {"link", "parents", "keep-git-dir", "unpack"})
    if (!truth(at.flag(name))) return wrong(at, fmt::format("--{} is true or false", name));
  copy.parents = *truth(at.flag("parents"));
  copy.keep_git = *truth(at.flag("keep-git-dir"));
  copy.unpack = at.keyword == "add" && (!at.flag("unpack") || *truth(at.flag("unpack")));
  copy.unpack_remote = at.keyword == "add" && *truth(at.flag("unpack"));
  if (const auto from = at.flag("from")) {
    auto source = take_from(at, *from);
    if (!source) return fail(std::move(source.error()));
    copy.from = source->kind == TakeFrom::Kind::stage ? CopyStep::From::stage : CopyStep::From::image;
    copy.stage = source->stage;
    copy.image = source->image;
  }
  if (const auto owner = at.flag("chown")) {
    auto expanded = expand(at, state, *owner);
    if (!expanded) return fail(std::move(expanded.error()));
    copy.owner = *expanded;
  }
  if (const auto checksum = at.flag("checksum")) {
    auto expanded = expand(at, state, *checksum);
    if (!expanded) return fail(std::move(expanded.error()));
    copy.checksum = *expanded;
  }
  if (const auto flag = at.flag("chmod")) {
    auto expanded = expand(at, state, *flag);
    if (!expanded) return fail(std::move(expanded.error()));
    auto mode = ModeChange::parse(*expanded);
    if (!mode) return wrong(at, mode.error().message());
    copy.mode = std::move(*mode);
  }
  for (const auto& flag : at.flags) {
    if (flag_name(flag) != "exclude") continue;
    auto expanded = expand(at, state, flag_value(flag));
    if (!expanded) return fail(std::move(expanded.error()));
    copy.excludes.push_back(*expanded);
  }
  return {};
}

Result<void> StageReader::copy(const Instruction& at, StageState& state, Step& step) {
  CopyStep copy;
  if (auto read = copy_flags(at, state, copy); !read) return read;
  std::string said;  // in the history
  for (std::size_t i = 0; i + 1 < at.arguments.size(); ++i) {
    if (!at.heredocs.empty() && at.arguments[i].starts_with("<<")) continue;
    auto source = expand(at, state, at.arguments[i]);
    if (!source) return fail(std::move(source.error()));
    said += " " + *source;
    if (at.keyword == "add" && (is_git_source(*source) || is_url_source(*source))) {
      copy.remotes.push_back({.url = *source, .git = is_git_source(*source)});
      continue;
    }
    if (copy.parents) {
      // "/./" says where the names begin.
      const auto pivot = ("/" + *source).find("/./", source->starts_with("./") ? 1 : 0);
      copy.pivots.push_back(pivot == std::string::npos ? "" : rooted_path(source->substr(0, pivot)));
      copy.sources.push_back(rooted_path(pivot == std::string::npos ? *source : source->substr(pivot + 2)));
    } else {
      copy.sources.push_back(rooted_path(*source));
    }
  }
  for (const auto& heredoc : at.heredocs) {
    auto content = heredoc.stripped();
    if (heredoc.expand) {
      auto expanded = expand(at, state, content, true);
      if (!expanded) return fail(std::move(expanded.error()));
      content = *expanded;
    }
    said += " <<" + heredoc.name;
    copy.files.push_back({heredoc.name, std::move(content)});
  }
  auto destination = expand(at, state, at.arguments.back());
  if (!destination) return fail(std::move(destination.error()));
  if (destination->empty()) return wrong(at, "the destination is empty once its variables are expanded");
  const bool folder = destination->ends_with('/') || base_name(*destination) == "." || base_name(*destination) == "..";
  copy.destination = join_path(state.config.working_folder, *destination);
  if (folder && copy.destination != "/") copy.destination += '/';
  const auto sources = copy.sources.size() + copy.files.size() + copy.remotes.size();
  if (sources == 0) return wrong(at, "there is no source");
  if (!copy.checksum.empty() && (copy.remotes.size() != 1 || sources != 1))
    return wrong(at, "--checksum goes with exactly one remote source");
  if (sources > 1 && !copy.destination.ends_with('/'))
    plan.warnings.push_back(
        fmt::format("{}:{}: several sources and no slash at the end of the destination: files overwrite each other; "
                    "write {}/",
                    file.name, at.line, at.arguments.back()));
  step.created_by = fmt::format("{}{} {} # buildkit", at.keyword == "add" ? "ADD" : "COPY", said, *destination);
  step.action = std::move(copy);
  return {};
}

}  // namespace wick::build
