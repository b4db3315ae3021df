#include "app/cli/folder.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "app/cli/git_state.hpp"
#include "build/patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t ignore_file_bytes_max = 1 << 20;
constexpr std::size_t depth_max = 256;
constexpr std::size_t biggest_shown = 3;

/// One walk over a folder.
class Listing {
 public:
  Listing(const fs::path& root, std::string_view dockerfile, const FolderLimits& limits)
      : limits_(limits),
        git_(GitState::open(root)),
        dockerfile_(build::clean_path(dockerfile.empty() ? "Dockerfile" : dockerfile)) {
    folder_.root = root;
  }

  Outcome<Folder> run() {
    if (auto read = read_ignore_file(); !read) return stop_with(std::move(read.error()));
    if (auto walked = walk("", 0); !walked) return stop_with(std::move(walked.error()));
    if (folder_.bytes > limits_.bytes_max) return stop_with(too_large());
    if (folder_.files == 0)
      return stop_with({.exit = ExitCode::failed,
                        .what = fmt::format("there is nothing to deploy in {}", folder_.root.string()),
                        .slug = "E_INVALID",
                        .because = "it has no file that .gitignore and .dockerignore leave in",
                        .hint = "go to the folder of the program, or name it: wick deploy DIR"});
    std::sort(folder_.entries.begin(), folder_.entries.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    folder_.commit = git_.commit();
    folder_.dirty = !folder_.commit.empty() && git_.dirty();
    return std::move(folder_);
  }

 private:
  Outcome<void> read_ignore_file() {
    for (const auto& name : {dockerfile_ + ".dockerignore", std::string(".dockerignore")}) {
      auto text = read_file(folder_.root / name, ignore_file_bytes_max);
      if (!text && text.error().code() == Errc::not_found) continue;
      if (!text) return stop_with(problem_of(text.error()));
      const auto patterns = build::read_ignore_file(*text);
      auto rules = build::IgnoreRules::compile(patterns);
      if (!rules) return stop_with(problem_of(std::move(rules.error()).within(name)));
      rules_ = std::move(*rules);
      includes_again_ = std::any_of(patterns.begin(), patterns.end(), [](const auto& p) { return p.starts_with('!'); });
      return {};
    }
    return {};
  }

  /// What tells the build how to go is sent whatever the rules say (Docker does the same).
  bool configures_build(const std::string& path) const {
    return path == dockerfile_ || path == ".dockerignore" || path == dockerfile_ + ".dockerignore";
  }
  bool leads_to_dockerfile(const std::string& path) const { return dockerfile_.starts_with(path + "/"); }

  Outcome<void> walk(const std::string& below, std::size_t depth) {
    std::error_code error;
    auto place = fs::directory_iterator(folder_.root / below, error);
    if (error)
      return stop_with(
          problem_of(system_error(fmt::format("read folder {}", (folder_.root / below).string()), error.value())));
    for (; place != fs::directory_iterator(); place.increment(error)) {
      const auto name = place->path().filename().string();
      if (name == ".git") continue;
      const auto path = below.empty() ? name : below + "/" + name;
      if (auto visited = visit(*place, path, depth); !visited) return visited;
      if (error) break;
    }
    if (error)
      return stop_with(
          problem_of(system_error(fmt::format("read folder {}", (folder_.root / below).string()), error.value())));
    return {};
  }

  Outcome<void> visit(const fs::directory_entry& found, const std::string& path, std::size_t depth) {
    std::error_code error;
    const auto status = found.symlink_status(error);
    if (error) return stop_with(problem_of(system_error(fmt::format("read {}", found.path().string()), error.value())));
    if (fs::is_directory(status)) return visit_folder(path, depth);
    const bool wanted = configures_build(path) || (!git_.leaves_out(path, false) && !rules_.ignores(path));
    if (!wanted) return {};
    FolderEntry entry{.path = path};
    if (fs::is_symlink(status)) {
      entry.kind = FolderEntry::Kind::symlink;
      entry.target = fs::read_symlink(found.path(), error).string();
    } else if (fs::is_regular_file(status)) {
      entry.bytes = found.file_size(error);
      entry.executable = (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
    } else {
      return {};
    }
    if (error) return stop_with(problem_of(system_error(fmt::format("read {}", found.path().string()), error.value())));
    return add(std::move(entry));
  }

  Outcome<void> visit_folder(const std::string& path, std::size_t depth) {
    if (depth >= depth_max)
      return stop_with(
          problem_of(Error(Errc::too_large, fmt::format("{}: folders nest deeper than {}", path, depth_max))));
    const bool left_out = git_.leaves_out(path, true) || rules_.ignores(path);
    // A rule with '!' can take a file back in below a folder that is out.
    if (left_out && !includes_again_ && !leads_to_dockerfile(path)) return {};
    if (!left_out)
      if (auto added = add({.kind = FolderEntry::Kind::folder, .path = path}); !added) return added;
    return walk(path, depth + 1);
  }

  Outcome<void> add(FolderEntry entry) {
    if (auto added = add_parents(entry.path); !added) return added;
    if (entry.kind == FolderEntry::Kind::folder && !folders_.insert(entry.path).second) return {};
    if (folder_.entries.size() >= limits_.entries_max)
      return stop_with(problem_of(Error(
          Errc::too_large, fmt::format("{} has more than {} entries", folder_.root.string(), limits_.entries_max))));
    if (entry.kind != FolderEntry::Kind::folder) ++folder_.files;
    folder_.bytes += entry.bytes;
    by_top_[entry.path.substr(0, entry.path.find('/'))] += entry.bytes;
    folder_.entries.push_back(std::move(entry));
    return {};
  }

  Outcome<void> add_parents(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos || folders_.contains(path.substr(0, slash))) return {};
    return add({.kind = FolderEntry::Kind::folder, .path = path.substr(0, slash)});
  }

  Problem too_large() const {
    std::vector<std::pair<std::uint64_t, std::string>> biggest;
    for (const auto& [name, bytes] : by_top_) biggest.emplace_back(bytes, name);
    std::sort(biggest.rbegin(), biggest.rend());
    std::string parts;
    for (std::size_t i = 0; i < std::min(biggest.size(), biggest_shown); ++i)
      parts += fmt::format("{}{} {}", i ? ", " : "", biggest[i].second, human_bytes(biggest[i].first));
    return {.exit = ExitCode::refused,
            .what = fmt::format("{} is too large to deploy", folder_.root.string()),
            .slug = "E_TOO_LARGE",
            .because = fmt::format("it has {}, the limit is {}; the biggest parts: {}", human_bytes(folder_.bytes),
                                   human_bytes(limits_.bytes_max), parts),
            .hint = "leave out with .dockerignore or .gitignore what the build does not need"};
  }

  FolderLimits limits_;
  GitState git_;
  std::string dockerfile_;
  build::IgnoreRules rules_;
  bool includes_again_ = false;
  Folder folder_;
  std::set<std::string> folders_;
  std::map<std::string, std::uint64_t> by_top_;
};

struct FreeArchive {
  void operator()(archive* handle) const { archive_write_free(handle); }
};
struct FreeEntry {
  void operator()(archive_entry* handle) const { archive_entry_free(handle); }
};

}  // namespace

Outcome<Folder> list_folder(const fs::path& root, std::string_view dockerfile, const FolderLimits& limits) {
  return Listing(root, dockerfile, limits).run();
}

/// libarchive pushes into `ready_`; read() takes from there and makes more when it is empty.
class FolderTar::Impl {
 public:
  explicit Impl(const Folder& folder) : folder_(folder), archive_(archive_write_new()) {
    archive_write_set_format_pax_restricted(archive_.get());
    archive_write_set_bytes_per_block(archive_.get(), 0);
    archive_write_open2(archive_.get(), this, nullptr, &Impl::take, nullptr, nullptr);
  }

  Result<std::size_t> read(std::span<char> into) {
    while (taken_ == ready_.size() && !ended_) {
      ready_.clear();
      taken_ = 0;
      if (auto made = make_more(); !made) return fail(std::move(made.error()));
    }
    const auto count = std::min(into.size(), ready_.size() - taken_);
    std::copy_n(ready_.data() + taken_, count, into.data());
    taken_ += count;
    return count;
  }

 private:
  static la_ssize_t take(archive*, void* self, const void* bytes, std::size_t count) {
    static_cast<Impl*>(self)->ready_.append(static_cast<const char*>(bytes), count);
    return static_cast<la_ssize_t>(count);
  }

  Result<void> make_more() {
    if (left_ > 0) return more_of_file();
    if (next_ < folder_.entries.size()) return begin(folder_.entries[next_++]);
    archive_write_close(archive_.get());
    ended_ = true;
    return {};
  }

  Result<void> begin(const FolderEntry& entry) {
    const std::unique_ptr<archive_entry, FreeEntry> header(archive_entry_new());
    archive_entry_set_pathname(header.get(), entry.path.c_str());
    archive_entry_set_mtime(header.get(), 0, 0);
    archive_entry_set_perm(header.get(), entry.kind == FolderEntry::Kind::file && !entry.executable ? 0644 : 0755);
    archive_entry_set_size(header.get(), static_cast<la_int64_t>(entry.bytes));
    switch (entry.kind) {
      case FolderEntry::Kind::folder:
        archive_entry_set_filetype(header.get(), AE_IFDIR);
        break;
      case FolderEntry::Kind::file:
        archive_entry_set_filetype(header.get(), AE_IFREG);
        break;
      case FolderEntry::Kind::symlink:
        archive_entry_set_filetype(header.get(), AE_IFLNK);
        archive_entry_set_symlink(header.get(), entry.target.c_str());
        break;
    }
    if (archive_write_header(archive_.get(), header.get()) < ARCHIVE_WARN)
      return fail(Errc::io, fmt::format("{}: {}", entry.path, archive_error_string(archive_.get())));
    if (entry.kind != FolderEntry::Kind::file) return {};
    auto file = open_file(folder_.root / entry.path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (!file) return fail(std::move(file.error()));
    file_ = std::move(*file);
    name_ = entry.path;
    left_ = entry.bytes;
    return {};
  }

  Result<void> more_of_file() {
    char buffer[64 << 10];
    const auto count = ::read(file_.get(), buffer, std::min<std::uint64_t>(sizeof buffer, left_));
    if (count < 0) return fail(system_error("read " + name_, errno));
    if (count == 0)
      return fail(Errc::conflict, name_ + " got shorter while it was read",
                  "let what writes it end, or leave it out with .dockerignore");
    archive_write_data(archive_.get(), buffer, static_cast<std::size_t>(count));
    left_ -= static_cast<std::uint64_t>(count);
    return {};
  }

  const Folder& folder_;
  std::string ready_;  // before the archive, which writes its end here when it goes
  std::unique_ptr<archive, FreeArchive> archive_;
  std::size_t taken_ = 0;
  std::size_t next_ = 0;
  bool ended_ = false;
  Fd file_;
  std::string name_;
  std::uint64_t left_ = 0;
};

FolderTar::FolderTar(const Folder& folder) : impl_(std::make_unique<Impl>(folder)) {}
FolderTar::~FolderTar() = default;
Result<std::size_t> FolderTar::read(std::span<char> into) { return impl_->read(into); }

}  // namespace wick::app::cli
