#include "wick/model/environment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::array<std::string_view, 3> reserved_variables{"K_CONFIGURATION", "K_REVISION", "K_SERVICE"};

ValueObject decode_object(ObjectReader& reference, ValueObject::Kind kind) {
  ValueObject object{
      .kind = kind, .name = reference.text("name"), .optional = reference.boolean("optional").value_or(false)};
  if (object.name.empty()) reference.errors().missing(reference.path("name"));
  return object;
}

void decode_value_from(ObjectReader from, EnvironmentVariable& variable) {
  auto& errors = from.errors();
  auto map = from.object("configMapKeyRef");
  auto secret = from.object("secretKeyRef");
  const auto both = [&] { return std::vector{from.path("configMapKeyRef"), from.path("secretKeyRef")}; };
  if (map.present() && secret.present()) errors.add("expected exactly one, got both", both());
  auto& one = map.present() ? map : secret;
  if (one.present()) {
    variable.key = one.text("key");
    if (variable.key.empty()) errors.missing(one.path("key"));
    variable.from = decode_object(one, map.present() ? ValueObject::Kind::config_map : ValueObject::Kind::secret);
    one.refuse_rest();
    from.refuse_rest();
  } else if (from.refuse_rest() == 0) {
    errors.add("expected exactly one, got neither", both());
  }
}

}  // namespace

std::vector<EnvironmentVariable> decode_environment(ObjectReader& container, PortVariable port) {
  std::vector<EnvironmentVariable> variables;
  for (auto& reader : container.objects("env")) {
    auto& errors = reader.errors();
    EnvironmentVariable variable{.name = reader.text("name"), .value = reader.text("value")};
    if (variable.name.empty())
      errors.missing(reader.path("name"));
    else if (std::ranges::find(reserved_variables, variable.name) != reserved_variables.end() ||
             (variable.name == "PORT" && port == PortVariable::reserved))
      errors.add(fmt::format("\"{}\" is a reserved environment variable", variable.name), {reader.path("name")});
    else if (variable.name.find('=') != std::string::npos || variable.name.find('\0') != std::string::npos)
      errors.invalid_value(printable(variable.name), reader.path("name"));
    if (variable.value.find('\0') != std::string::npos)
      errors.invalid_value(printable(variable.value), reader.path("value"));
    if (auto from = reader.object("valueFrom"); from.present()) {
      if (!variable.value.empty())
        errors.add("expected exactly one, got both", {reader.path("value"), reader.path("valueFrom")});
      decode_value_from(std::move(from), variable);
    }
    reader.refuse_rest();
    variables.push_back(std::move(variable));
  }
  return variables;
}

std::vector<EnvironmentSource> decode_environment_sources(ObjectReader& container) {
  std::vector<EnvironmentSource> sources;
  for (auto& reader : container.objects("envFrom")) {
    auto& errors = reader.errors();
    EnvironmentSource source{.prefix = reader.text("prefix"), .from = {}};
    auto map = reader.object("configMapRef");
    auto secret = reader.object("secretRef");
    const std::vector<std::string> both{reader.path("configMapRef"), reader.path("secretRef")};
    if (map.present() && secret.present()) errors.add("expected exactly one, got both", both);
    if (!map.present() && !secret.present()) errors.add("expected exactly one, got neither", both);
    if (auto& one = map.present() ? map : secret; one.present()) {
      source.from = decode_object(one, map.present() ? ValueObject::Kind::config_map : ValueObject::Kind::secret);
      one.refuse_rest();
    }
    reader.refuse_rest();
    sources.push_back(std::move(source));
  }
  return sources;
}

bool is_variable_name(std::string_view text) {
  if (text.empty() || (text.front() >= '0' && text.front() <= '9')) return false;
  for (const char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
          c == '.'))
      return false;
  return true;
}

}  // namespace wick::model
