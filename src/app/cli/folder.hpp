// A folder of somebody's work as a tar to build from: uncommitted changes included, .git never, what .gitignore and
// .dockerignore leave out left out. The same tree gives the same bytes: sorted names, no owners, no times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/cli/client.hpp"
#include "app/cli/problem.hpp"

namespace wick::app::cli {

struct FolderEntry {
  enum class Kind { folder, file, symlink } kind = Kind::file;
  std::string path;    // below the root, '/' between parts
  std::string target;  // of a symlink
  std::uint64_t bytes = 0;
  bool executable = false;
};

struct Folder {
  std::filesystem::path root;
  std::vector<FolderEntry> entries;  // sorted by path
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  std::string commit;  // of the repository the folder is in; "" without one
  bool dirty = false;  // the folder differs from that commit
};

struct FolderLimits {
  std::uint64_t bytes_max = 1ull << 30;
  std::size_t entries_max = 500'000;
};

/// Walks the folder; opens no file but the ignore files. Tracked files stay whatever .gitignore says; the Dockerfile
/// (`dockerfile`, or "Dockerfile") and its ignore file stay whatever .dockerignore says. Sockets, pipes and devices are
/// left out. Errors: too large (names the biggest parts), a broken .dockerignore, unreadable folders, nothing left to
/// send.
Outcome<Folder> list_folder(const std::filesystem::path& root, std::string_view dockerfile,
                            const FolderLimits& limits = {});

/// The tar itself, made as it is read. `folder` must outlive it. A file that shrank meanwhile is an error; one that
/// grew is cut.
class FolderTar final : public ByteSource {
 public:
  explicit FolderTar(const Folder& folder);
  ~FolderTar() override;
  Result<std::size_t> read(std::span<char> into) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::app::cli
