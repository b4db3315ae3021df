#include "app/cli/git_state.hpp"

#include <cstdlib>
#include <map>
#include <optional>

#include "app/cli/git_handles.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

using Repository = GitHandle<git_repository, git_repository_free>;
using Index = GitHandle<git_index, git_index_free>;
using StatusList = GitHandle<git_status_list, git_status_list_free>;

struct Library : GitLibrary {
  Library() {
    // Who owns the folder does not matter here: libgit2 runs no hook, filter or file watcher that a foreign .git/config
    // names.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
  }
};

bool is_there(const fs::path& path) {
  std::error_code none;
  return fs::exists(fs::symlink_status(path, none));
}

bool is_in_repository(fs::path folder) {
  for (; !is_there(folder / ".git"); folder = folder.parent_path())
    if (folder == folder.parent_path()) return false;
  return true;
}

/// Settings of a person or machine may name files to ignore everywhere.
bool has_settings() {
  if (is_there("/etc/gitconfig") || std::getenv("XDG_CONFIG_HOME") != nullptr) return true;
  const char* home = std::getenv("HOME");
  return home != nullptr && (is_there(fs::path(home) / ".gitconfig") || is_there(fs::path(home) / ".config/git"));
}

}  // namespace

/// Three kinds of folder: in a repository; in none, with files to ignore, for which an empty repository stands in; in
/// none, with nothing to ignore so far. The last needs no libgit2, whose start takes longer than a small upload.
struct GitState::Impl {
  fs::path folder;
  std::map<std::string, bool> has_ignore_file;  // by folder below it, while there was none
  std::optional<Library> library;
  std::optional<TemporaryFolder> stand_in;
  Repository repository;
  Index index;
  std::string prefix;  // of the folder below the work tree, with '/' at the end; "" at its top

  bool open_repository();
  void open_stand_in();
  /// In `path`'s folder or one above it.
  bool sees_ignore_file(std::string_view path);
};

bool GitState::Impl::open_repository() {
  library.emplace();
  git_repository* opened = nullptr;
  const bool found =
      git_repository_open_ext(&opened, folder.c_str(), 0, nullptr) == 0 && git_repository_workdir(opened);
  repository.reset(opened);
  std::error_code error;
  const auto top = found ? fs::canonical(git_repository_workdir(opened), error) : fs::path();
  if (!found || error) {
    repository.reset();
    return false;
  }
  const auto below = folder.lexically_relative(top).generic_string();
  if (!below.empty() && below != ".") prefix = below + "/";
  git_index* own = nullptr;
  if (git_repository_index(&own, opened) == 0) index.reset(own);
  return true;
}

void GitState::Impl::open_stand_in() {
  if (!library) library.emplace();
  auto made = TemporaryFolder::make(fs::temp_directory_path(), "wick-ignore-");
  git_repository* opened = nullptr;
  if (!made || git_repository_init(&opened, made->path().c_str(), 1) != 0) return;
  repository.reset(opened);
  git_repository_set_workdir(opened, folder.c_str(), 0);
  stand_in.emplace(std::move(*made));
}

bool GitState::Impl::sees_ignore_file(std::string_view path) {
  const auto slash = path.rfind('/');
  const auto parent = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  auto [known, is_new] = has_ignore_file.try_emplace(std::string(parent), false);
  if (is_new) known->second = is_there(folder / parent / ".gitignore") || (!parent.empty() && sees_ignore_file(parent));
  return known->second;
}

GitState::GitState(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GitState::GitState(GitState&&) noexcept = default;
GitState::~GitState() = default;

GitState GitState::open(const fs::path& folder) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  const bool found = is_in_repository(folder) && impl->open_repository();
  if (!found && has_settings()) impl->open_stand_in();
  return GitState(std::move(impl));
}

std::string GitState::branch() const {
  constexpr std::string_view heads = "refs/heads/";
  git_reference* head = nullptr;
  if (impl_->stand_in || !impl_->repository || git_repository_head(&head, impl_->repository.get()) != 0) return {};
  std::string name = git_reference_name(head);
  git_reference_free(head);
  return name.starts_with(heads) ? name.substr(heads.size()) : std::string();
}

std::string GitState::commit() const {
  git_oid id;
  if (impl_->stand_in || !impl_->repository || git_reference_name_to_id(&id, impl_->repository.get(), "HEAD") != 0)
    return {};
  return git_oid_tostr_s(&id);
}

bool GitState::dirty() const {
  if (impl_->stand_in || !impl_->repository) return false;
  git_status_options options = GIT_STATUS_OPTIONS_INIT;
  options.show = GIT_STATUS_SHOW_INDEX_AND_WORKDIR;
  options.flags =
      GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_EXCLUDE_SUBMODULES | GIT_STATUS_OPT_DISABLE_PATHSPEC_MATCH;
  auto prefix = impl_->prefix;
  char* paths[] = {prefix.data()};
  if (!prefix.empty()) options.pathspec = {paths, 1};
  git_status_list* list = nullptr;
  if (git_status_list_new(&list, impl_->repository.get(), &options) != 0)
    return true;  // unknown: do not claim the commit
  const StatusList owned(list);
  return git_status_list_entrycount(list) > 0;
}

bool GitState::leaves_out(const std::string& path, bool is_folder) const {
  if (!impl_->library && impl_->sees_ignore_file(path)) impl_->open_stand_in();
  if (!impl_->repository) return false;
  const auto full = impl_->prefix + path + (is_folder ? "/" : "");
  int ignored = 0;
  if (git_ignore_path_is_ignored(&ignored, impl_->repository.get(), full.c_str()) != 0 || !ignored) return false;
  if (!impl_->index) return true;
  if (!is_folder) return git_index_get_bypath(impl_->index.get(), full.c_str(), 0) == nullptr;
  std::size_t at = 0;
  return git_index_find_prefix(&at, impl_->index.get(), full.c_str()) != 0;
}

}  // namespace wick::app::cli
