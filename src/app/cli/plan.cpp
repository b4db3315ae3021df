#include "app/cli/plan.hpp"

#include <fmt/format.h>

#include <map>

#include "app/cli/folder.hpp"
#include "app/cli/read_json.hpp"
#include "build/detect.hpp"
#include "build/patterns.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t project_file_bytes_max = 1 << 20;  // as the daemon reads them

/// What would be uploaded, below `subpath`.
Outcome<build::Listing> listing_of(const Folder& folder, const std::string& subpath) {
  const auto top = build::rooted_path(subpath);
  build::Listing out;
  for (const auto& entry : folder.entries) {
    std::string_view path = entry.path;
    if (!top.empty()) {
      if (!path.starts_with(top + "/")) continue;
      path.remove_prefix(top.size() + 1);
    }
    using Kind = build::SourceEntry::Kind;
    out.entries.push_back({.kind = entry.kind == FolderEntry::Kind::folder ? Kind::folder
                                   : entry.kind == FolderEntry::Kind::file ? Kind::file
                                                                           : Kind::symlink,
                           .path = std::string(path),
                           .size = entry.bytes,
                           .target = entry.target});
  }
  if (out.entries.empty())
    return stop_with({.exit = ExitCode::failed,
                      .what = fmt::format("the source has no folder '{}'", subpath),
                      .slug = "E_NOT_FOUND",
                      .hint = "check --path"});
  return out;
}

Outcome<void> show_dockerfile(Session& session, const std::string& name, const std::optional<std::string>& text) {
  if (!text)
    return stop_with(
        {.exit = ExitCode::failed, .what = fmt::format("the source has no file '{}'", name), .slug = "E_NOT_FOUND"});
  if (session.json) {
    print_document(session, json::object{{"title", name}, {"dockerfile", *text}});
    return {};
  }
  session.terminal.result_bytes(fmt::format("# {}, as it is; --builder NAME would build without it\n{}", name, *text));
  return {};
}

json::object document_of(const build::Detected& detected) {
  json::array reasons, ignore, warnings;
  for (const auto& reason : detected.reasons)
    reasons.push_back({{"name", reason.name}, {"value", reason.value}, {"from", reason.from}});
  for (const auto& pattern : detected.ignore) ignore.emplace_back(pattern);
  for (const auto& warning : detected.warnings) warnings.emplace_back(warning);
  return {{"builder", detected.name},    {"title", detected.title},         {"reasons", std::move(reasons)},
          {"ignore", std::move(ignore)}, {"warnings", std::move(warnings)}, {"dockerfile", detected.dockerfile}};
}

build::BaseChoice choice_of(std::string_view text) {
  if (text == "debian") return build::BaseChoice::debian;
  return text == "registry" ? build::BaseChoice::registry : build::BaseChoice::automatic;
}

}  // namespace

Outcome<void> show_plan(Session& session, const Source& source, const BuildSettings& settings) {
  const auto* place = std::get_if<FolderSource>(&source);
  if (!place) return stop_with(usage_problem("--explain looks at a folder", "clone it, then wick build --explain DIR"));
  auto folder = list_folder(place->path, settings.dockerfile);
  if (!folder) return stop_with(std::move(folder.error()));
  auto listing = listing_of(*folder, settings.subpath);
  if (!listing) return stop_with(std::move(listing.error()));

  const auto top = place->path / build::rooted_path(settings.subpath);
  const build::Project project{.listing = *listing, .read = [&](const std::string& path) -> std::optional<std::string> {
                                 if (!listing->resolve(path)) return std::nullopt;
                                 auto text = read_file(top / path, project_file_bytes_max);
                                 if (!text) return std::nullopt;
                                 return std::move(*text);
                               }};
  std::string dockerfile = build::rooted_path(settings.dockerfile);
  for (const char* usual : {"Containerfile", "Dockerfile"})
    if (settings.dockerfile.empty() && listing->resolve(usual)) dockerfile = usual;
  if (!dockerfile.empty() && settings.builder.empty())
    return show_dockerfile(session, dockerfile, project.read(dockerfile));

  auto told = session.client.get("/apis/wick.dev/v1/builders");
  if (!told) return stop_with(std::move(told.error()));
  std::map<std::string, std::string> files;
  if (const auto* all = find_at(*told, "/files"); all && all->is_object())
    for (const auto& [name, text] : all->get_object())
      if (text.is_string()) files[name] = std::string(text.get_string());
  auto recipes = build::parse_recipes(files);
  if (!recipes) return stop_with(problem_of(recipes.error()));
  auto detected = build::detect(*recipes, project, settings.builder, choice_of(text_at(*told, "/bases")));
  if (!detected) return stop_with(problem_of(detected.error()));
  if (session.json)
    print_document(session, document_of(*detected));
  else
    session.terminal.result_bytes(build::explain(*detected));
  return {};
}

}  // namespace wick::app::cli
