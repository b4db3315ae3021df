#include "stage_state.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::build {

namespace {

/// Limits on the words of one instruction and the flags it takes.
struct Rule {
  std::size_t arguments_min;
  std::size_t arguments_max;
  std::vector<std::string_view> flags;
};

constexpr std::size_t any_number = 10000;

const std::map<std::string_view, Rule>& rules() {
  static const std::map<std::string_view, Rule> table{
      {"add", {2, any_number, {"chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"}}},
      {"arg", {1, any_number, {}}},
      {"cmd", {0, any_number, {}}},
      {"copy", {2, any_number, {"from", "chown", "chmod", "link", "parents", "exclude"}}},
      {"entrypoint", {0, any_number, {}}},
      {"env", {3, any_number, {}}},
      {"expose", {1, any_number, {}}},
      {"from", {1, 3, {"platform"}}},
      {"healthcheck", {1, any_number, {"interval", "timeout", "start-period", "start-interval", "retries"}}},
      {"label", {3, any_number, {}}},
      {"maintainer", {1, 1, {}}},
      {"onbuild", {0, 0, {}}},
      {"run", {1, any_number, {"mount", "network", "security", "device"}}},
      {"shell", {1, any_number, {}}},
      {"stopsignal", {1, 1, {}}},
      {"user", {1, 1, {}}},
      {"volume", {1, any_number, {}}},
      {"workdir", {1, 1, {}}},
  };
  return table;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

bool is_stage_name(std::string_view name) {
  if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

Result<void> check_from(const std::string& file, const Instruction& at) {
  if (at.arguments.size() == 1) return {};
  if (at.arguments.size() != 3 || !iequals(at.arguments[1], "as"))
    return fail(instruction_error(file, at, "FROM takes an image, or IMAGE AS NAME"));
  const auto name = to_lower(at.arguments[2]);
  if (!is_stage_name(name))
    return fail(instruction_error(file, at, fmt::format("'{}' is no name for a stage", printable(name, 60)),
                                  "a letter, then letters, digits, '-', '_', '.'"));
  if (name == "scratch" || name == "context")
    return fail(instruction_error(file, at, fmt::format("the stage name '{}' is reserved", name)));
  return {};
}

/// What BuildKit does and this builder does not yet.
Result<void> check_supported(const std::string& file, const Instruction& at) {
  const auto unsupported = [&](std::string what, std::string hint) {
    return fail(instruction_error(file, at, what + " is not supported", std::move(hint), Errc::unsupported));
  };
  if (at.flag("device")) return unsupported("RUN --device", "remove the flag");
  if (at.flag("security").value_or("sandbox") != "sandbox")
    return unsupported("RUN --security=insecure", "steps always run in a sandbox");
  return {};
}

}  // namespace

std::string flag_name(const std::string& flag) { return flag.substr(2, std::min(flag.find('='), flag.size()) - 2); }
std::string flag_value(const std::string& flag) {
  const auto equals = flag.find('=');
  return equals == std::string::npos ? "" : flag.substr(equals + 1);
}

bool is_proxy_argument(std::string_view name) {
  static const std::set<std::string, std::less<>> names{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
                                                        "ALL_PROXY"};
  return names.contains(upper(name)) && (name == upper(name) || name == to_lower(name));
}

Result<void> check_instruction(const std::string& file, const Instruction& at) {
  const auto found = rules().find(at.keyword);
  if (found == rules().end()) {
    std::vector<std::string_view> known;
    for (const auto& [keyword, rule] : rules()) known.push_back(keyword);
    const auto near = nearest_word(at.keyword, known);
    return fail(instruction_error(file, at, fmt::format("unknown instruction '{}'", printable(upper(at.keyword), 40)),
                                  near.empty() ? "" : fmt::format("did you mean {}?", upper(near))));
  }
  const Rule& rule = found->second;
  std::set<std::string> seen;
  for (const auto& flag : at.flags) {
    const auto name = flag_name(flag);
    if (std::ranges::find(rule.flags, name) == rule.flags.end()) {
      auto near = nearest_word(name, rule.flags);
      return fail(
          instruction_error(file, at, fmt::format("{} has no flag --{}", upper(at.keyword), printable(name, 60)),
                            !near.empty()        ? fmt::format("did you mean --{}?", near)
                            : rule.flags.empty() ? "it takes no flags"
                                                 : fmt::format("its flags: --{}", fmt::join(rule.flags, ", --"))));
    }
    if (!seen.insert(name).second && name != "mount" && name != "exclude")
      return fail(instruction_error(file, at, fmt::format("the flag --{} is there twice", name)));
  }
  if (at.arguments.size() < rule.arguments_min) {
    // CMD, ENTRYPOINT and RUN in JSON form may be empty where the text form may not.
    const char* what = rule.arguments_min == 2 ? "at least one source and a destination" : "at least one argument";
    return fail(instruction_error(file, at, fmt::format("{} needs {}", upper(at.keyword), what)));
  }
  if (at.arguments.size() > rule.arguments_max)
    return fail(
        instruction_error(file, at, fmt::format("{} takes at most {} words", upper(at.keyword), rule.arguments_max)));
  if (at.keyword == "from") return check_from(file, at);
  if (at.keyword == "shell" && !at.json)
    return fail(instruction_error(file, at, "SHELL takes the JSON form only", R"(SHELL ["/bin/bash", "-c"])"));
  if (at.keyword == "onbuild") {
    if (at.inner.empty()) return fail(instruction_error(file, at, "ONBUILD needs an instruction"));
    return check_instruction(file, at.inner[0]);
  }
  if (at.keyword == "env" || at.keyword == "label")
    for (std::size_t i = 0; i < at.arguments.size(); i += 3)
      if (at.arguments[i].empty())
        return fail(instruction_error(file, at, fmt::format("{} needs a name before '='", upper(at.keyword))));
  return check_supported(file, at);
}

Result<CopySource> find_copy_source(const std::string& file, const Instruction& at, const Outline& outline,
                                    std::size_t index, const std::string& name) {
  if (name.empty()) return fail(instruction_error(file, at, "--from needs the name of a stage or an image"));
  if (name.contains('$'))
    return fail(instruction_error(file, at, "--from takes no variables", "name the image in a FROM … AS stage"));
  for (std::size_t i = 0; i < outline.stages.size(); ++i) {
    if (outline.stages[i].name.empty() || !iequals(outline.stages[i].name, name)) continue;
    if (i >= index)
      return fail(
          instruction_error(file, at, fmt::format("the stage '{}' is not built before this one", name), "move it up"));
    return CopySource{.stage = i};
  }
  if (const auto number = parse_unsigned(name)) {
    if (*number >= index)
      return fail(instruction_error(file, at, fmt::format("there is no earlier stage {}", *number)));
    return CopySource{.stage = *number};
  }
  return CopySource{.image = name};
}

StageState StageState::on_image(image::ImageConfig config, const PlanRequest& request) {
  StageState out;
  out.config = std::move(config);
  out.config.architecture = request.architecture;
  const auto has_path =
      std::ranges::any_of(out.config.environment, [](const auto& entry) { return entry.starts_with("PATH="); });
  if (!has_path) out.config.environment.emplace_back(default_path);
  if (out.config.working_folder.empty()) out.config.working_folder = "/";
  for (const auto& entry : out.config.environment) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos) out.scope[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const auto& [name, value] : request.build_args)
    if (is_proxy_argument(name)) out.proxies[name] = value;
  return out;
}

StageState StageState::child() const {
  StageState out = *this;
  out.command_is_ours = false;
  return out;
}

Lookup StageState::lookup() const {
  return [this](std::string_view name) -> std::optional<std::string> {
    const auto found = scope.find(std::string(name));
    if (found == scope.end()) return std::nullopt;
    return found->second;
  };
}

void StageState::set_environment(const std::string& name, const std::string& value) {
  scope[name] = value;
  arguments.erase(name);
  const auto entry = fmt::format("{}={}", name, value);
  for (auto& existing : config.environment) {
    if (!existing.starts_with(name + "=")) continue;
    existing = entry;
    return;
  }
  config.environment.push_back(entry);
}

void StageState::set_argument(const std::string& name, const std::string& value) {
  scope[name] = value;
  arguments[name] = value;
  if (std::ranges::find(argument_order, name) == argument_order.end()) argument_order.push_back(name);
}

void StageState::set_author(const std::string& author) {
  boost::json::error_code error;
  auto others = boost::json::parse(config.other_fields, error);
  if (error || !others.is_object()) others = boost::json::object{};
  others.as_object()["author"] = author;
  config.other_fields = boost::json::serialize(others);
}

std::vector<std::string> StageState::run_environment() const {
  std::vector<std::string> out;
  for (const auto& entry : config.environment)
    if (!arguments.contains(entry.substr(0, entry.find('=')))) out.push_back(entry);
  for (const auto& [name, value] : arguments) out.push_back(fmt::format("{}={}", name, value));
  return out;
}

std::unexpected<Error> StageReader::wrong(const Instruction& at, std::string reason, std::string hint,
                                          Errc code) const {
  return fail(instruction_error(file.name, at, std::move(reason), std::move(hint), code));
}

Result<std::string> StageReader::expand(const Instruction& at, const StageState& state, const std::string& word,
                                        bool keep_quotes) const {
  const Lookup lookup = state.lookup();
  auto expanded = expand_word(word, lookup, {.escape = keep_quotes ? '\\' : file.escape, .keep_quotes = keep_quotes});
  if (!expanded) return wrong(at, expanded.error().message());
  return expanded;
}

Result<void> StageReader::read(StageState& state, StagePlan& out) {
  // Triggers of the base run first and are not handed on.
  const auto triggers = std::exchange(state.config.on_build, {});
  for (const auto& text : triggers) {
    auto instruction = parse_instruction(text, "ONBUILD of " + outline.stages[index].image);
    if (!instruction) return fail(std::move(instruction.error()));
    instruction->line = file.instructions[outline.stages[index].from].line;
    if (auto checked = check_instruction(file.name, *instruction); !checked) return checked;
    if (auto read = one(*instruction, state, out); !read) return read;
  }
  for (std::size_t i = outline.stages[index].from + 1; i < outline.stages[index].end; ++i)
    if (auto read = one(file.instructions[i], state, out); !read) return read;
  return {};
}

Result<void> StageReader::one(const Instruction& at, StageState& state, StagePlan& out) {
  const auto& keyword = at.keyword;
  auto& config = state.config;
  Step step{.text = printable(at.title.empty() ? at.text : at.title, 200), .created_by = at.text, .line = at.line};

  const auto command_line = [&] {
    if (at.json) return at.arguments;
    auto shell = config.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config.shell;
    if (!at.arguments.empty()) shell.push_back(at.arguments[0]);
    return at.arguments.empty() ? std::vector<std::string>{} : shell;
  };
  // The whole rest of these lines is one argument with variables.
  std::string word;
  if (keyword == "workdir" || keyword == "user" || keyword == "stopsignal") {
    auto expanded = expand(at, state, at.arguments[0]);
    if (!expanded) return fail(std::move(expanded.error()));
    word = *expanded;
    if (word.empty()) return wrong(at, fmt::format("{} is empty once its variables are expanded", upper(keyword)));
  }

  const auto quoted = [](const std::vector<std::string>& words) {
    std::string text;
    for (const auto& each : words) text += fmt::format("{}{:?}", text.empty() ? "" : " ", each);
    return "[" + text + "]";
  };

  // The texts of the history are BuildKit's (frontend/dockerfile/dockerfile2llb/convert.go).
  Result<void> read;
  if (keyword == "run") {
    read = run(at, state, step);
  } else if (keyword == "copy" || keyword == "add") {
    read = copy(at, state, step);
  } else if (keyword == "arg") {
    read = argument(at, state, step);
  } else if (keyword == "env" || keyword == "label") {
    read = pairs(at, state, step);
  } else if (keyword == "expose") {
    read = expose(at, state, step);
  } else if (keyword == "workdir") {
    // BuildKit keeps an absolute path as it is written, a slash at its end too.
    config.working_folder = word.starts_with('/') ? word : join_path(config.working_folder, word);
    step.action = FolderStep{.path = join_path("/", config.working_folder), .user = config.user};
    step.created_by = "WORKDIR " + config.working_folder;
  } else if (keyword == "user") {
    config.user = word;
    step.created_by = "USER " + word;
  } else if (keyword == "stopsignal") {
    config.stop_signal = word;
    step.created_by = "STOPSIGNAL " + word;
  } else if (keyword == "cmd") {
    config.command = command_line();
    state.command_is_ours = true;
    step.created_by = "CMD " + quoted(config.command);
  } else if (keyword == "entrypoint") {
    config.entrypoint = command_line();
    if (!state.command_is_ours) config.command.clear();
    step.created_by = "ENTRYPOINT " + quoted(config.entrypoint);
  } else if (keyword == "shell") {
    config.shell = at.arguments;
    step.created_by = fmt::format("SHELL [{}]", fmt::join(config.shell, " "));
  } else if (keyword == "onbuild") {
    config.on_build.push_back(at.inner[0].text);
    return {};  // BuildKit's history does not mention it
  } else if (keyword == "maintainer") {
    state.set_author(at.arguments[0]);
    step.created_by = "MAINTAINER " + at.arguments[0];
  } else if (keyword == "volume") {
    std::vector<std::string> paths;
    for (const auto& argument : at.arguments) {
      auto path = expand(at, state, argument);
      if (!path) return fail(std::move(path.error()));
      if (path->empty()) return wrong(at, "VOLUME needs a path");
      paths.push_back(*path);
      if (std::ranges::find(config.volumes, *path) == config.volumes.end()) config.volumes.push_back(*path);
    }
    step.created_by = fmt::format("VOLUME [{}]", fmt::join(paths, " "));
  } else if (keyword == "healthcheck") {
    read = healthcheck(at, state);
  }
  if (!read) return read;
  out.steps.push_back(std::move(step));
  return {};
}

Result<void> StageReader::argument(const Instruction& at, StageState& state, Step& step) {
  step.created_by = "ARG";
  for (const auto& word : at.arguments) {
    const auto equals = word.find('=');
    auto name = expand(at, state, word.substr(0, equals));
    if (!name) return fail(std::move(name.error()));
    if (name->empty()) return wrong(at, "ARG needs a name");
    used_arguments.insert(*name);
    // The history shows the file's own default, whatever was given.
    step.created_by += " " + *name;
    if (equals != std::string::npos) {
      auto value = expand(at, state, word.substr(equals + 1));
      if (!value) return fail(std::move(value.error()));
      step.created_by += "=" + *value;
    }
    if (const auto given = request.build_args.find(*name); given != request.build_args.end()) {
      state.set_argument(*name, given->second);
    } else if (equals != std::string::npos) {
      auto value = expand(at, state, word.substr(equals + 1));
      if (!value) return fail(std::move(value.error()));
      state.set_argument(*name, *value);
    } else if (const auto global = outline.globals.find(*name); global != outline.globals.end()) {
      state.set_argument(*name, global->second);
    }
  }
  return {};
}

/// ENV and LABEL: every value sees the environment from before the line.
Result<void> StageReader::pairs(const Instruction& at, StageState& state, Step& step) {
  step.created_by = upper(at.keyword);
  std::vector<std::pair<std::string, std::string>> expanded;
  for (std::size_t i = 0; i + 1 < at.arguments.size(); i += 3) {
    auto key = expand(at, state, at.arguments[i]);
    if (!key) return fail(std::move(key.error()));
    auto value = expand(at, state, at.arguments[i + 1]);
    if (!value) return fail(std::move(value.error()));
    expanded.emplace_back(std::move(*key), std::move(*value));
  }
  for (const auto& [key, value] : expanded) {
    step.created_by += fmt::format(" {}={}", key, value);
    if (at.keyword == "label") {
      state.config.labels[key] = value;
    } else {
      state.set_environment(key, value);
    }
  }
  return {};
}

/// "80", "80-82/udp", and "ip:host:container", of which the container's part counts.
Result<void> StageReader::expose(const Instruction& at, StageState& state, Step& step) {
  std::set<std::string> exposed;
  const Lookup lookup = state.lookup();
  for (const auto& argument : at.arguments) {
    auto words = expand_words(argument, lookup, {.escape = file.escape});
    if (!words) return wrong(at, words.error().message());
    for (const auto& word : *words) {
      const auto slash = word.find('/');
      const auto protocol = slash == std::string::npos ? "tcp" : to_lower(word.substr(slash + 1));
      auto range = word.substr(0, slash);
      if (const auto colon = range.rfind(':'); colon != std::string::npos) range.erase(0, colon + 1);
      const auto dash = range.find('-');
      const auto low = parse_unsigned(range.substr(0, dash));
      const auto high = dash == std::string::npos ? low : parse_unsigned(range.substr(dash + 1));
      if (!low || !high || *low > *high || *high > 65535 ||
          (protocol != "tcp" && protocol != "udp" && protocol != "sctp"))
        return wrong(at, fmt::format("'{}' is no port", printable(word, 40)), "such as 8080, 8080/udp, 8000-8010");
      for (auto port = *low; port <= *high; ++port) {
        auto text = fmt::format("{}/{}", port, protocol);
        exposed.insert(text);
        auto& ports = state.config.exposed_ports;
        if (std::ranges::find(ports, text) == ports.end()) ports.push_back(std::move(text));
      }
    }
  }
  std::ranges::sort(state.config.exposed_ports);
  step.created_by = "EXPOSE map[";
  for (const auto& port : exposed) step.created_by += (step.created_by.ends_with('[') ? "" : " ") + port + ":{}";
  step.created_by += "]";
  return {};
}

/// Kept for others who run the image; Wick itself goes by the service's readinessProbe.
Result<void> StageReader::healthcheck(const Instruction& at, StageState& state) {
  const auto kind = upper(at.arguments[0]);
  boost::json::object check;
  if (kind == "NONE" && at.arguments.size() == 1) {
    check["Test"] = boost::json::array{"NONE"};
  } else if (kind == "CMD" && at.arguments.size() > 1) {
    boost::json::array test{at.json ? "CMD" : "CMD-SHELL"};
    for (std::size_t i = 1; i < at.arguments.size(); ++i) test.emplace_back(at.arguments[i]);
    check["Test"] = std::move(test);
  } else {
    return wrong(at, "HEALTHCHECK takes NONE, or CMD and a command");
  }
  constexpr std::pair<const char*, const char*> durations[] = {{"interval", "Interval"},
                                                               {"timeout", "Timeout"},
                                                               {"start-period", "StartPeriod"},
                                                               {"start-interval", "StartInterval"}};
  for (const auto& [flag, field] : durations) {
    const auto text = at.flag(flag);
    if (!text) continue;
    const auto duration = parse_go_duration(*text);
    if (!duration) return wrong(at, fmt::format("--{}: {}", flag, duration.error().message()));
    if (duration->count() > 0) check[field] = std::chrono::nanoseconds(*duration).count();
  }
  if (const auto text = at.flag("retries")) {
    const auto retries = parse_unsigned(*text);
    if (!retries) return wrong(at, fmt::format("--retries is a number, not '{}'", printable(*text, 40)));
    if (*retries > 0) check["Retries"] = *retries;
  }
  boost::json::error_code error;
  auto others = boost::json::parse(state.config.other_config_fields, error);
  if (error || !others.is_object()) others = boost::json::object{};
  others.as_object()["Healthcheck"] = std::move(check);
  state.config.other_config_fields = boost::json::serialize(others);
  return {};
}

}  // namespace wick::build
