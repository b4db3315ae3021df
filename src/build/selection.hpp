// What COPY takes from the source: names in the image and the entries they come from (pure), their digest, and the tar
// that carries them.
#pragma once

#include <functional>

#include "patterns.hpp"
#include "plan.hpp"
#include "source_tree.hpp"

namespace wick::build {

/// What the rules leave of a listing, as BuildKit's walk finds it.
Listing without_ignored(const Listing& listing, const IgnoreRules& ignored);

struct Selected {
  std::string name;          // below the destination
  const SourceEntry* entry;  // null: a folder that only holds files that were included again
  /// A source that is a file itself: it gets the destination's name when that ends without a slash, unless a folder is
  /// there.
  bool is_source = false;
};

struct Selection {
  std::vector<Selected> entries;
  const SourceEntry* folder = nullptr;  // the source folder whose contents these are; it gives the destination its mode
  bool has_folder = false;              // some source is a folder: the destination is one
};

/// `visible` is what the ignore file leaves of `listing`. Errors name the source that is missing, Errc::not_found.
Result<Selection> select(const Listing& listing, const Listing& visible, const CopyStep& step);

/// Names, kinds, modes, link targets and contents; no times, no owners.
Result<Digest> selection_digest(const SourceTree& tree, const Selection& selection, const CopyStep& step);

struct TarOptions {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t epoch = 0;    // no entry is later than this
  bool same_time = false;    // every entry gets `epoch`: a git checkout has no times of its own
  bool into_folder = false;  // the single file goes below the destination after all
};

/// Blocks; for a worker. The tar is deterministic: sorted names, numeric ids.
Result<void> write_selection(const SourceTree& tree, const Selection& selection, const CopyStep& step,
                             const TarOptions& options, int out);

/// A tar with nothing but the folder `path` and those above it.
Result<void> write_folder(const std::string& path, const TarOptions& options, int out);

struct RewriteOptions {
  std::string source;       // pattern below `root` that entries must fit; empty: the whole archive is the source
  std::string root;         // every name in the archive starts with this
  std::string destination;  // absolute; a '/' at the end means a folder
  std::string file_name;    // a source that is a file gets this name below a folder
  std::optional<std::pair<std::uint32_t, std::uint32_t>> owner;
  std::optional<ModeChange> mode;
  bool into_folder = false;
  std::vector<std::string> excludes;
  bool parents = false;  // --parents: names keep the folders they have below the archive's root
};

/// COPY --from: an archive as the runner packs it, renamed to where it goes. Returns how many entries it had. Blocks.
Result<std::size_t> rewrite_archive(int in, const RewriteOptions& options, int out);

}  // namespace wick::build
