#include "app/cli/git_state.hpp"

#include <git2.h>

#include <optional>

#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

template <class T, void (*release)(T*)>
struct Release {
  void operator()(T* handle) const { release(handle); }
};
using Repository = std::unique_ptr<git_repository, Release<git_repository, git_repository_free>>;
using Index = std::unique_ptr<git_index, Release<git_index, git_index_free>>;
using StatusList = std::unique_ptr<git_status_list, Release<git_status_list, git_status_list_free>>;

/// libgit2 wants to be told that it is used, and how often.
struct Library {
  Library() {
    git_libgit2_init();
    // Who owns the folder does not matter here: libgit2 runs no hook, filter or file watcher that a foreign .git/config
    // names.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
  }
  ~Library() { git_libgit2_shutdown(); }
};

}  // namespace

struct GitState::Impl {
  Library library;
  std::optional<TemporaryFolder> stand_in;  // an empty repository, for a folder that is in none
  Repository repository;
  Index index;
  std::string prefix;  // of the folder below the work tree, with '/' at the end; "" at its top
};

GitState::GitState(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GitState::GitState(GitState&&) noexcept = default;
GitState::~GitState() = default;

GitState GitState::open(const fs::path& folder) {
  auto impl = std::make_unique<Impl>();
  git_repository* repository = nullptr;
  const bool found =
      git_repository_open_ext(&repository, folder.c_str(), 0, nullptr) == 0 && git_repository_workdir(repository);
  impl->repository.reset(repository);
  std::error_code error;
  const auto top = found ? fs::canonical(git_repository_workdir(repository), error) : fs::path();
  if (found && !error) {
    const auto below = folder.lexically_relative(top).generic_string();
    if (!below.empty() && below != ".") impl->prefix = below + "/";
    git_index* index = nullptr;
    if (git_repository_index(&index, repository) == 0) impl->index.reset(index);
    return GitState(std::move(impl));
  }
  impl->repository.reset();
  auto stand_in = TemporaryFolder::make(fs::temp_directory_path(), "wick-ignore-");
  if (stand_in && git_repository_init(&repository, stand_in->path().c_str(), 1) == 0) {
    impl->repository.reset(repository);
    git_repository_set_workdir(repository, folder.c_str(), 0);
    impl->stand_in.emplace(std::move(*stand_in));
  }
  return GitState(std::move(impl));
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
