#include "app/cli/build_secrets.hpp"

#include <fmt/format.h>

#include <utility>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t secret_bytes_max = 500 << 10;  // BuildKit's
constexpr const char* example = "--secret id=npmrc,src=.npmrc, or --secret id=token,env=TOKEN";

struct SecretFlag {
  std::string id, file, variable;
};

Outcome<SecretFlag> parse_secret(const Terminal& terminal, std::string_view text) {
  SecretFlag secret;
  std::string type;
  for (const auto field : split(text, ',')) {
    const auto equals = field.find('=');
    const auto key = field.substr(0, equals);
    const std::string value(equals == std::string_view::npos ? "" : field.substr(equals + 1));
    if (value.empty()) return stop_with(usage_problem(fmt::format("--secret: '{}' is not KEY=VALUE", field), example));
    if (key == "id")
      secret.id = value;
    else if (key == "src" || key == "source")
      secret.file = value;
    else if (key == "env")
      secret.variable = value;
    else if (key == "type" && (value == "file" || value == "env"))
      type = value;
    else
      return stop_with(usage_problem(fmt::format("--secret has no '{}'", field), example));
  }
  if (secret.id.empty()) return stop_with(usage_problem(fmt::format("--secret '{}' has no id", text), example));
  if (type == "env" && secret.variable.empty()) secret.variable = std::exchange(secret.file, "");
  if (!secret.file.empty() && !secret.variable.empty())
    return stop_with(
        usage_problem(fmt::format("--secret {}: src and env, but a value has one place", secret.id), example));
  if (secret.file.empty() && secret.variable.empty())
    (terminal.environment(secret.id) ? secret.variable : secret.file) = secret.id;
  return secret;
}

}  // namespace

Outcome<std::map<std::string, std::string>> read_secrets(const Terminal& terminal,
                                                         const std::vector<std::string>& flags) {
  std::map<std::string, std::string> values;
  for (const auto& flag : flags) {
    auto secret = parse_secret(terminal, flag);
    if (!secret) return stop_with(std::move(secret.error()));
    if (values.contains(secret->id))
      return stop_with(usage_problem(fmt::format("--secret: the id {} is there twice", secret->id), example));
    if (!secret->variable.empty()) {
      auto value = terminal.environment(secret->variable);
      if (!value)
        return stop_with(usage_problem(
            fmt::format("--secret {}: there is no variable {}", secret->id, secret->variable), "export it first"));
      values.emplace(secret->id, std::move(*value));
      continue;
    }
    auto bytes = read_file(secret->file, secret_bytes_max);
    if (!bytes) {
      auto error = std::move(bytes.error()).hint("src is a file as this command sees it; env=NAME takes a variable");
      return stop_with(problem_of(error).within("--secret " + secret->id));
    }
    values.emplace(secret->id, std::move(*bytes));
  }
  return values;
}

Outcome<std::string> hand_over_secrets(Session& session, const std::vector<std::string>& flags) {
  if (flags.empty()) return std::string();
  auto values = read_secrets(session.terminal, flags);
  if (!values) return stop_with(std::move(values.error()));
  json::object encoded;
  for (const auto& [id, value] : *values) encoded[id] = base64_encode(value);
  auto kept =
      session.client.post(wick_path(session.name_space, "buildsecrets"), json::object{{"secrets", std::move(encoded)}});
  if (!kept) return stop_with(std::move(kept.error()).within("the secrets could not be handed over"));
  return text_at(*kept, "/name");
}

}  // namespace wick::app::cli
