#include "wick/model/build.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/model/image_reference.hpp"

namespace wick::model {

namespace {

constexpr milliseconds timeout_max = std::chrono::hours(6);

std::optional<milliseconds> decode_timeout(ObjectReader& reader) {
  const auto text = reader.text("timeout");
  if (text.empty()) return std::nullopt;
  const auto timeout = parse_go_duration(text);
  if (!timeout) {
    reader.errors().invalid_value(printable(text), reader.path("timeout"), timeout.error().message());
    return std::nullopt;
  }
  if (*timeout < 1s || *timeout > timeout_max)
    reader.errors().out_of_bounds(text, "1s", "6h0m0s", reader.path("timeout"));
  return *timeout;
}

std::string decode_output(ObjectReader reader) {
  auto image = reader.text("image");
  if (reader.present()) {
    if (image.empty())
      reader.errors().missing(reader.path("image"));
    else if (!is_image_reference(image))
      reader.errors().invalid_value(printable(image), reader.path("image"), image_reference_complaint(image));
    reader.refuse_rest();
  }
  return image;
}

bool is_relative_inside(std::string_view path) {
  if (path.starts_with('/') || path.find('\0') != path.npos) return false;
  for (const auto part : split(path, '/'))
    if (part == "..") return false;
  return true;
}

void decode_source(ObjectReader reader, BuildSpec& spec) {
  auto& errors = reader.errors();
  if (!reader.present()) {
    errors.missing(reader.path());
    return;
  }
  const auto type = reader.text("type");
  auto git = reader.object("git");
  auto local = reader.object("local");
  spec.context_dir = reader.text("contextDir");
  if (!is_relative_inside(spec.context_dir))
    errors.invalid_value(printable(spec.context_dir), reader.path("contextDir"),
                         "a folder below the root of the source");

  const bool is_local = type == "Local" || (type.empty() && local.present() && !git.present());
  if (type != "" && type != "Git" && type != "Local") {
    errors.invalid_value(printable(type), reader.path("type"), "one of: Git, Local");
  } else if (is_local) {
    spec.source = BuildSpec::Source::local;
    spec.upload = local.text("name");
    if (spec.upload.empty())
      errors.missing(local.path("name"));
    else if (!Digest::parse("sha256:" + spec.upload))
      errors.invalid_value(printable(spec.upload), local.path("name"), "the name an upload was given: 64 hex digits");
    if (git.present()) errors.not_allowed(git.path());
  } else {
    spec.git_url = git.text("url");
    spec.git_revision = git.text("revision");
    spec.git_secret = git.text("cloneSecret");
    if (!spec.git_secret.empty() && !is_dns_subdomain(spec.git_secret))
      errors.invalid_value(printable(spec.git_secret), git.path("cloneSecret"), "the name of a Secret");
    if (spec.git_url.empty()) errors.missing(git.path("url"));
    if (local.present()) errors.not_allowed(local.path());
  }
  git.refuse_rest();
  local.refuse_rest();
  reader.refuse_rest();
}

void decode_build_args(ObjectReader& reader, BuildSpec& spec) {
  for (auto& element : reader.objects("values")) {
    const auto text = element.text("value");
    const auto equals = text.find('=');
    if (equals == 0 || equals == text.npos)
      reader.errors().invalid_value(printable(text), element.path("value"), "expected KEY=VALUE");
    else
      spec.build_args[text.substr(0, equals)] = text.substr(equals + 1);
    element.refuse_rest();
  }
}

void decode_parameters(ObjectReader& reader, BuildSpec& spec) {
  for (auto& parameter : reader.objects("paramValues")) {
    const auto name = parameter.text("name");
    if (name == "dockerfile") {
      spec.dockerfile = parameter.text("value");
      if (!is_relative_inside(spec.dockerfile))
        reader.errors().invalid_value(printable(spec.dockerfile), parameter.path("value"),
                                      "a file below the root of the source");
    } else if (name == "target") {
      spec.target = parameter.text("value");
    } else if (name == "allow-local") {
      spec.allow_local = parameter.text("value") == "true";
    } else if (name == "build-args") {
      decode_build_args(parameter, spec);
    } else {
      parameter.ignore("value");
      parameter.ignore("values");
      reader.errors().invalid_value(printable(name), parameter.path("name"),
                                    "one of: allow-local, build-args, dockerfile, target");
    }
    parameter.refuse_rest();
  }
}

}  // namespace

BuildSpec decode_build_spec(ObjectReader reader) {
  BuildSpec spec;
  if (!reader.present()) {
    reader.errors().missing(reader.path());
    return spec;
  }
  decode_source(reader.object("source"), spec);
  auto strategy = reader.object("strategy");
  // A strategy is a builder; which there are is the daemon's configuration, so a build says what it does not know.
  if (const auto name = strategy.text("name"); !name.empty() && name != "wick") {
    if (!is_dns_label(name))
      reader.errors().invalid_value(printable(name), strategy.path("name"), "\"wick\", or the name of a builder");
    spec.builder = name;
  }
  strategy.ignore("kind");
  strategy.refuse_rest();
  decode_parameters(reader, spec);
  auto output = reader.object("output");
  if (!output.present()) reader.errors().missing(output.path("image"));
  spec.output_image = decode_output(std::move(output));
  if (const auto timeout = decode_timeout(reader)) spec.timeout = *timeout;
  reader.refuse_rest();
  return spec;
}

BuildRun decode_build_run(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  BuildRun run{.metadata = decode_metadata(root.object("metadata"))};
  auto spec = root.object("spec");
  auto build = spec.object("build");
  run.build_name = build.text("name");
  const bool inline_spec = build.has("spec");
  if (run.build_name.empty() && !inline_spec)
    errors.add("expected exactly one, got neither", {"spec.build.name", "spec.build.spec"});
  if (!run.build_name.empty() && inline_spec)
    errors.add("expected exactly one, got both", {"spec.build.name", "spec.build.spec"});
  if (inline_spec) run.spec = decode_build_spec(build.object("spec"));
  build.refuse_rest();
  if (auto output = spec.object("output"); output.present()) run.output_image = decode_output(std::move(output));
  run.timeout = decode_timeout(spec);
  if (const auto state = spec.text("state"); state == "BuildRunCanceled")
    run.cancelled = true;
  else if (!state.empty())
    errors.invalid_value(printable(state), "spec.state", "one of: BuildRunCanceled");
  spec.refuse_rest();
  return run;
}

}  // namespace wick::model
