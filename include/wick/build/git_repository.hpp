// Bare repositories of this machine, which others push to and fetch from. git(1) works on them in a child that was
// confined to the one repository: no other file can be read or written, no hook runs, no configuration but ours is
// read, and memory, time and what one push may bring are bounded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "wick/build/git_protocol.hpp"
#include "wick/os/clock.hpp"

namespace wick::build {

struct GitRepositoryLimits {
  std::uint64_t push_bytes_max = 1ull << 30;  // of one pack
  std::size_t refs_max = 1000;                // of a repository
  milliseconds time{10 * 60 * 1000};          // of one git command
};

class GitRepository {
 public:
  /// Bytes of an answer as they come; an error ends the command.
  using Sink = std::function<awaitable<Result<void>>(std::string_view)>;

  /// `clock` outlives it. Nothing is touched until a call.
  GitRepository(Clock& clock, std::filesystem::path folder, GitRepositoryLimits limits = {})
      : clock_(clock), folder_(std::move(folder)), limits_(limits) {}

  const std::filesystem::path& folder() const { return folder_; }
  bool exists() const;
  /// Makes it where it is missing. Blocks for its folders. Errors: unsupported (no git here), io.
  awaitable<Result<void>> create();
  /// Branches, tags, and what is ours under refs/wick. Errors: too_large past refs_max.
  awaitable<Result<std::vector<AdvertisedRef>>> refs();

  /// Takes a pack: `input` gives to_wire(request) and the pack. Each object is checked (fsck), and that nothing is
  /// missing behind what the commands name. Errors: too_large, invalid with git's words.
  awaitable<Result<ParsedReport>> receive(int input);
  /// Moves refs, each if it is still at its old id; all of them or none.
  awaitable<Result<void>> update(std::vector<RefCommand> commands);
  /// The branch that a clone checks out.
  awaitable<Result<void>> set_head(std::string branch);
  /// The commit that an object is or points to. Errors: not_found.
  awaitable<Result<std::string>> commit_of(std::string object);
  /// The tree of a commit as a tar, byte for byte what was committed: no attribute of the tree changes or leaves out
  /// anything. Submodules are empty folders.
  awaitable<Result<void>> archive(std::string commit, int output);
  /// What nothing reaches and is old goes; small packs become one. Rarely takes long.
  awaitable<Result<void>> tidy();

  /// GET info/refs?service=git-upload-pack, without the service line; `protocol`: the field Git-Protocol.
  awaitable<Result<void>> advertise_fetch(std::string protocol, Sink sink);
  /// POST git-upload-pack: `input` is the request, compressed or not.
  awaitable<Result<void>> serve_fetch(int input, bool is_gzip, std::string protocol, Sink sink);

 private:
  struct Command;
  awaitable<Result<std::string>> run(Command command);

  Clock& clock_;
  std::filesystem::path folder_;
  GitRepositoryLimits limits_;
};

}  // namespace wick::build
