#include "app/cli/source.hpp"

#include <fmt/format.h>

#include <array>

#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t label_max = 63;
constexpr std::string_view source_hint =
    "wick deploy takes a folder, a git URL (https://host/repo.git#ref), or an image (name:tag)";

bool has_git_scheme(std::string_view text) {
  constexpr std::array<std::string_view, 6> schemes{"https://", "http://", "ssh://", "git://", "file://", "git+ssh://"};
  for (const auto scheme : schemes)
    if (text.starts_with(scheme)) return true;
  return false;
}

/// user@host:path, git's own short form of ssh://.
bool is_scp_form(std::string_view text) {
  const auto at = text.find('@'), colon = text.find(':');
  return at != std::string_view::npos && colon != std::string_view::npos && at < colon && at > 0 &&
         colon + 1 < text.size() && text.substr(0, colon).find('/') == std::string_view::npos &&
         !text.substr(colon + 1).starts_with("sha256:") && text.substr(at + 1, colon - at - 1) != "sha256";
}

bool is_path_form(std::string_view text) {
  return text == "." || text == ".." || text.starts_with("/") || text.starts_with("./") || text.starts_with("../") ||
         text.starts_with("~");
}

/// [host[:port]/]path[:tag][@digest], roughly: the daemon parses it for real.
bool is_image_form(std::string_view text) {
  if (text.empty() || text.size() > 512 || text.front() == '-') return false;
  for (const char c : text) {
    const bool known = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("._-/:@").find(c) != std::string_view::npos;
    if (!known) return false;
  }
  return true;
}

std::string_view last_part(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  const auto cut = path.find_last_of("/:");
  return cut == std::string_view::npos ? path : path.substr(cut + 1);
}

std::string_view repository_name(std::string_view url) {
  url = url.substr(0, url.find('?'));
  auto name = last_part(url);
  if (name.ends_with(".git")) name.remove_suffix(4);
  if (name.empty() && url.ends_with("/.git")) name = last_part(url.substr(0, url.size() - 5));
  return name;
}

std::string_view image_name(std::string_view reference) {
  reference = reference.substr(0, reference.find('@'));
  const auto slash = reference.rfind('/');
  if (slash != std::string_view::npos) reference.remove_prefix(slash + 1);
  return reference.substr(0, reference.find(':'));
}

}  // namespace

bool GitUrlSource::is_local() const { return url.starts_with("file://"); }

Outcome<Source> parse_source(std::string_view argument) {
  if (has_git_scheme(argument) || is_scp_form(argument)) {
    const auto hash = argument.find('#');
    GitUrlSource git{.url = std::string(argument.substr(0, hash))};
    if (hash != std::string_view::npos) git.ref = argument.substr(hash + 1);
    if (hash != std::string_view::npos && git.ref.empty())
      return stop_with(usage_problem(fmt::format("'{}' has no ref after '#'", argument),
                                     "name a branch, tag or commit, or leave '#' out"));
    return git;
  }
  std::error_code error;
  const auto path = fs::canonical(fs::path(argument.empty() ? "." : argument), error);
  if (!error && fs::is_directory(path, error)) return FolderSource{path};
  if (!error)
    return stop_with(usage_problem(fmt::format("'{}' is a file, not a folder", argument), "name the folder it is in"));
  if (is_path_form(argument) || !is_image_form(argument)) {
    Problem problem{
        .exit = ExitCode::not_found, .what = fmt::format("there is no folder '{}'", argument), .slug = "E_NOT_FOUND"};
    problem.hint = source_hint;
    return stop_with(std::move(problem));
  }
  return ImageSource{std::string(argument)};
}

std::string label_from(std::string_view text) {
  std::string label;
  for (const char raw : text) {
    const char c = raw >= 'A' && raw <= 'Z' ? static_cast<char>(raw - 'A' + 'a') : raw;
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      label += c;
    else if (!label.empty() && label.back() != '-')
      label += '-';
  }
  if (!label.empty() && label.front() >= '0' && label.front() <= '9') label.insert(0, "app-");
  if (label.size() > label_max) label.resize(label_max);
  while (label.ends_with('-')) label.pop_back();
  return label;
}

Outcome<std::string> default_name(const Source& source, std::string_view subpath) {
  std::string from{last_part(subpath)};
  if (from.empty() || from == ".") {
    if (const auto* folder = std::get_if<FolderSource>(&source)) from = folder->path.filename().string();
    if (const auto* git = std::get_if<GitUrlSource>(&source)) from = repository_name(git->url);
    if (const auto* image = std::get_if<ImageSource>(&source)) from = image_name(image->reference);
  }
  auto name = label_from(from);
  if (name.empty())
    return stop_with(
        usage_problem(fmt::format("no service name can be made out of '{}'", from), "give one: --name NAME"));
  return name;
}

}  // namespace wick::app::cli
