#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <set>

#include "app/cli/merge.hpp"
#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"
#include "wick/model/resource.hpp"
#include "wick/model/yaml.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace {

/// A field nobody knows is a mistake in the file.
constexpr const char* strictly = "?fieldValidation=Strict&fieldManager=wick-apply";
constexpr std::string_view last_applied = "kubectl.kubernetes.io/last-applied-configuration";
constexpr std::string_view last_applied_pointer =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// A document of a file, and what to call it.
struct Manifest {
  json::object object;
  std::string origin;  // "hello.yaml, document 2"
  std::string kind;
  std::string name;
  std::string collection;
  std::string shown;  // "service.serving.knative.dev/hello"
};

/// For a kind that is not ours (the daemon will say so): English as Kubernetes' kinds need it: Services, Brokers,
/// Policies, Ingresses.
std::string plural_of(std::string kind) {
  kind = to_lower(kind);
  if (kind.ends_with('y') && kind.size() > 1 &&
      std::string_view("aeiou").find(kind[kind.size() - 2]) == std::string_view::npos)
    return kind.substr(0, kind.size() - 1) + "ies";
  if (kind.ends_with('s') || kind.ends_with('x') || kind.ends_with("ch")) return kind + "es";
  return kind + "s";
}

Outcome<Manifest> manifest_of(const json::value& document, std::string origin, const std::string& name_space) {
  const auto api_version = text_at(document, "/apiVersion"), kind = text_at(document, "/kind"),
             name = text_at(document, "/metadata/name");
  for (const auto& [field, value] : {std::pair{"apiVersion", api_version}, {"kind", kind}, {"metadata.name", name}})
    if (value.empty())
      return stop_with({.exit = ExitCode::failed,
                        .what = fmt::format("{} has no {}", origin, field),
                        .slug = "E_INVALID",
                        .because = "a manifest names what it is: apiVersion, kind and metadata.name",
                        .hint = "kubectl and Knative's documentation show the form"});
  const auto slash = api_version.find('/');
  const auto group = slash == std::string::npos ? std::string() : api_version.substr(0, slash);
  const auto given = text_at(document, "/metadata/namespace");
  const auto& where = given.empty() ? name_space : given;
  Manifest manifest{.object = document.get_object(), .origin = std::move(origin), .kind = kind, .name = name};
  const auto* known = model::find_kind_by_name(api_version, kind);
  const bool namespaced = !known || known->namespaced;
  if (namespaced) manifest.object["metadata"].get_object()["namespace"] = where;
  manifest.object.erase("status");
  manifest.shown = to_lower(kind) + (group.empty() ? "" : "." + group) + "/" + name;
  const auto plural = known ? std::string(known->plural) : plural_of(kind);
  manifest.collection = fmt::format("/{}/{}/{}{}", group.empty() ? "api" : "apis", api_version,
                                    namespaced ? "namespaces/" + http::percent_encode(where) + "/" : "", plural);
  return manifest;
}

/// Folders stand for the manifests in them, by name; what is below them is not looked at, as kubectl has it.
Outcome<std::vector<std::string>> files_of(const std::vector<std::string>& given) {
  std::vector<std::string> files;
  for (const auto& path : given) {
    std::error_code error;
    if (path == "-" || !std::filesystem::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::set<std::string> inside;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      const auto extension = entry.path().extension();
      if (extension == ".yaml" || extension == ".yml" || extension == ".json") inside.insert(entry.path().string());
    }
    if (error)
      return stop_with(
          problem_of(wick::system_error("read " + path, error.value())).within(path + " could not be read"));
    if (inside.empty())
      return stop_with(usage_problem(fmt::format("there is no manifest in the folder {}", path),
                                     "manifests end in .yaml, .yml or .json"));
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

Outcome<std::vector<Manifest>> read_manifests(Session& session, const std::vector<std::string>& files) {
  std::vector<Manifest> manifests;
  auto all = files_of(files);
  if (!all) return stop_with(std::move(all.error()));
  for (const auto& file : *all) {
    auto text = data_of(session, "@" + file);
    if (!text) return stop_with(std::move(text.error()).within(fmt::format("{} could not be read", file)));
    auto documents = model::parse_yaml(*text);
    if (!documents) return stop_with(problem_of(documents.error()).within(fmt::format("{} is not YAML", file)));
    std::size_t number = 0;
    for (const auto& document : *documents) {
      const auto origin = documents->size() > 1 ? fmt::format("{}, document {}", file, ++number) : file;
      const bool is_list = text_at(document, "/kind") == "List";
      const json::array single{document};
      for (const auto& item : is_list ? array_at(document, "/items") : single) {
        auto manifest = manifest_of(item, origin, session.name_space);
        if (!manifest) return stop_with(std::move(manifest.error()));
        manifests.push_back(std::move(*manifest));
      }
    }
  }
  if (manifests.empty())
    return stop_with(usage_problem("there is no document in what was given",
                                   "wick apply -f FILE with apiVersion, kind and metadata"));
  return manifests;
}

/// The manifest with itself in its annotation, so that the next apply knows what this one set.
json::object remembering(const Manifest& manifest) {
  auto object = manifest.object;
  auto& annotations = object["metadata"].get_object()["annotations"];
  if (!annotations.is_object()) annotations = json::object();
  annotations.get_object().erase(last_applied);
  annotations.get_object()[last_applied] = json::serialize(manifest.object);
  return object;
}

Outcome<std::string> apply_one(Session& session, const Manifest& manifest) {
  const auto target = manifest.collection + "/" + http::percent_encode(manifest.name);
  auto live = session.client.find(target);
  if (!live) return stop_with(std::move(live.error()));
  auto wanted = remembering(manifest);
  if (!*live) {
    auto made = session.client.post(manifest.collection + strictly, wanted);
    if (!made) return stop_with(std::move(made.error()));
    return "created";
  }
  const auto last = parse_json(text_at(**live, last_applied_pointer)).value_or(json::object());
  const auto patch =
      three_way_patch(last.is_object() ? last.get_object() : json::object(), wanted, (**live).as_object());
  if (patch.empty()) return "unchanged";
  auto patched = session.client.merge_patch(target + strictly, patch);
  if (!patched) return stop_with(std::move(patched.error()));
  const bool same = text_at(*patched, "/metadata/resourceVersion") == text_at(**live, "/metadata/resourceVersion");
  return same ? "unchanged" : "configured";
}

}  // namespace

Outcome<void> apply_files(Session& session, const std::vector<std::string>& files) {
  // Everything is read before anything is written.
  auto manifests = read_manifests(session, files);
  if (!manifests) return stop_with(std::move(manifests.error()));
  json::array documents;
  for (const auto& manifest : *manifests) {
    auto done = apply_one(session, manifest);
    if (!done) {
      auto problem = std::move(done.error());
      if (problem.exit == ExitCode::not_found)
        problem.hint =
            fmt::format("wick knows no kind {} in {}", manifest.kind, text_at(manifest.object, "/apiVersion"));
      return stop_with(
          std::move(problem).within(fmt::format("{} ({}) was not applied", manifest.shown, manifest.origin)));
    }
    if (!session.json) session.terminal.result(fmt::format("{} {}", manifest.shown, *done));
    documents.push_back({{"kind", manifest.kind}, {"name", manifest.name}, {"result", *done}});
  }
  if (session.json) print_document(session, documents);
  return {};
}

}  // namespace wick::app::cli
