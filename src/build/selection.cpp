#include "selection.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

using Kind = SourceEntry::Kind;

std::string below(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

class Selector {
 public:
  Selector(const Listing& listing, const IgnoreRules& ignored, IgnoreRules excluded, const CopyStep& step)
      : listing_(listing), ignored_(ignored), excluded_(std::move(excluded)), step_(step) {}

  Result<Selection> run() {
    bool only_one_file = step_.sources.size() == 1 && step_.files.empty() && !step_.destination.ends_with('/');
    for (const auto& source : step_.sources) {
      if (Glob::has_wildcards(source)) {
        const auto before = out_.entries.size();
        if (auto added = wildcard(source); !added) return fail(std::move(added.error()));
        only_one_file = only_one_file && out_.entries.size() == before + 1 && out_.entries.back().entry &&
                        out_.entries.back().entry->kind == Kind::file;
        continue;
      }
      const auto path = Glob::unescape(source);
      if (!path.empty() && ignored_.ignores(path) && !has_kept(path)) return missing(source);
      const auto resolved = listing_.resolve(path);
      if (!resolved) return missing(source);
      if (listing_.has_folder(*resolved)) {
        only_one_file = false;
        contents(*resolved);
      } else {
        add(base_name(path), listing_.find(*resolved));
      }
    }
    out_.renames = only_one_file && out_.entries.size() == 1;
    return std::move(out_);
  }

 private:
  Result<Selection> missing(const std::string& source) const {
    std::string hint;
    const auto path = Glob::unescape(source);
    if (listing_.find(path)) {
      hint = "it is there, but .dockerignore excludes it";
    } else {
      std::vector<std::string_view> names;
      for (const auto& entry : listing_.entries)
        if (names.size() < 10000) names.push_back(entry.path);
      const auto near = nearest_word(path, names);
      hint = near.empty() ? "sources are looked up below the folder that is built; '..' does not lead out of it"
                          : fmt::format("did you mean {}?", near);
    }
    return fail(Errc::not_found, fmt::format("'{}' is not in the source", printable(source)), std::move(hint));
  }

  bool has_kept(const std::string& folder) const {
    return std::ranges::any_of(listing_.below(folder),
                               [&](const SourceEntry* entry) { return !ignored_.ignores(entry->path); });
  }

  Result<void> wildcard(const std::string& source) {
    auto glob = Glob::compile(source, Glob::Flavour::copy_source);
    if (!glob) return fail(std::move(glob.error()));
    for (const auto& entry : listing_.entries) {
      if (!glob->matches(entry.path) || ignored_.ignores(entry.path)) continue;
      const auto resolved = listing_.resolve(entry.path);
      if (!resolved) continue;
      if (listing_.has_folder(*resolved)) {
        contents(*resolved);
      } else {
        add(base_name(entry.path), listing_.find(*resolved));
      }
    }
    return {};
  }

  void contents(const std::string& folder) {
    std::set<std::string> folders;  // that are there already
    for (const SourceEntry* entry : listing_.below(folder)) {
      const auto name = folder.empty() ? entry->path : entry->path.substr(folder.size() + 1);
      if (ignored_.ignores(entry->path) || excluded_.ignores(name)) continue;
      for (auto slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
        if (folders.insert(name.substr(0, slash)).second) out_.entries.push_back({name.substr(0, slash), nullptr});
      if (entry->kind == Kind::folder) folders.insert(name);
      out_.entries.push_back({name, entry});
    }
  }

  void add(std::string name, const SourceEntry* entry) {
    if (excluded_.ignores(name)) return;
    out_.entries.push_back({std::move(name), entry});
  }

  const Listing& listing_;
  const IgnoreRules& ignored_;
  IgnoreRules excluded_;
  const CopyStep& step_;
  Selection out_;
};

unsigned mode_of(const Selected& selected, const CopyStep& step) {
  if (!selected.entry) return 0755;
  if (selected.entry->kind == Kind::symlink) return 0777;
  return step.mode.value_or(selected.entry->mode);
}

struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
struct FreeReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct FreeWriter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};

/// A tar as libarchive's restricted PAX writes it: plain ustar wherever that is enough.
class TarWriter {
 public:
  explicit TarWriter(int fd) : tar_(archive_write_new()), entry_(archive_entry_new()) {
    archive_write_set_format_pax_restricted(tar_.get());
    archive_write_set_bytes_in_last_block(tar_.get(), 1);
    archive_write_open_fd(tar_.get(), fd);
  }

  struct Head {
    std::string name;
    unsigned type;  // AE_IFREG, AE_IFDIR, AE_IFLNK
    unsigned mode;
    std::uint32_t uid;
    std::uint32_t gid;
    std::int64_t mtime;
    std::uint64_t size = 0;
    std::string target = {};
  };
  Result<void> begin(const Head& head) {
    archive_entry_clear(entry_.get());
    archive_entry_copy_pathname(entry_.get(), head.name.c_str());
    archive_entry_set_filetype(entry_.get(), head.type);
    archive_entry_set_perm(entry_.get(), head.mode);
    archive_entry_set_uid(entry_.get(), head.uid);
    archive_entry_set_gid(entry_.get(), head.gid);
    archive_entry_set_mtime(entry_.get(), head.mtime, 0);
    archive_entry_set_size(entry_.get(), static_cast<la_int64_t>(head.size));
    if (!head.target.empty()) archive_entry_copy_symlink(entry_.get(), head.target.c_str());
    return begin(entry_.get());
  }
  Result<void> begin(archive_entry* entry) {
    if (archive_write_header(tar_.get(), entry) < ARCHIVE_WARN) return wrong();
    return {};
  }
  Result<void> data(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto written = archive_write_data(tar_.get(), bytes.data(), bytes.size());
      if (written <= 0) return wrong();
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }
  Result<void> finish() {
    if (archive_write_close(tar_.get()) != ARCHIVE_OK) return wrong();
    return {};
  }

 private:
  std::unexpected<Error> wrong() {
    const char* why = archive_error_string(tar_.get());
    return fail(Errc::io, fmt::format("write the archive: {}", why ? why : "unknown"));
  }
  std::unique_ptr<archive, FreeWriter> tar_;
  std::unique_ptr<archive_entry, FreeEntry> entry_;
};

/// The size was said in the header: a file that changed since is an error, not a broken archive.
Result<void> copy_bytes(int file, std::uint64_t size, TarWriter& tar) {
  std::vector<char> chunk(256 << 10);
  while (size > 0) {
    const auto got = ::read(file, chunk.data(), std::min<std::uint64_t>(chunk.size(), size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read", errno));
    if (got == 0) return fail(Errc::conflict, "the file became shorter while it was copied");
    if (auto written = tar.data({chunk.data(), static_cast<std::size_t>(got)}); !written) return written;
    size -= static_cast<std::uint64_t>(got);
  }
  return {};
}

std::string archive_name(std::string_view path) { return rooted_path(path); }

}  // namespace

Result<Selection> select(const Listing& listing, const IgnoreRules& ignored, const CopyStep& step) {
  auto excluded = IgnoreRules::compile(step.excludes);
  if (!excluded) return fail(std::move(excluded.error()));
  return Selector(listing, ignored, std::move(*excluded), step).run();
}

Result<Digest> selection_digest(const SourceTree& tree, const Selection& selection, const CopyStep& step) {
  Sha256 hash;
  const auto add = [&](std::string_view text) { hash.update(fmt::format("{}:", text.size())).update(text); };
  add(selection.renames ? "file" : "files");
  for (const auto& selected : selection.entries) {
    add(selection.renames ? "" : selected.name);
    add(std::to_string(mode_of(selected, step)));
    const Kind kind = selected.entry ? selected.entry->kind : Kind::folder;
    add(kind == Kind::folder ? "d" : kind == Kind::symlink ? "l" : "f");
    if (kind == Kind::symlink) add(selected.entry->target);
    if (kind != Kind::file) continue;
    auto content = tree.hash(selected.entry->path);
    if (!content) return fail(std::move(content.error()));
    add(content->text());
  }
  for (const auto& file : step.files) {
    add(file.name);
    add(file.content);
  }
  return hash.finish();
}

Result<void> write_selection(const SourceTree& tree, const Selection& selection, const CopyStep& step,
                             const TarOptions& options, int out) {
  TarWriter tar(out);
  const auto destination = archive_name(step.destination);
  const bool renames = (selection.renames ||
                        (selection.entries.empty() && step.files.size() == 1 && !step.destination.ends_with('/'))) &&
                       !options.into_folder;
  TarWriter::Head head{.uid = options.uid, .gid = options.gid};
  const auto time = [&](std::int64_t own) { return options.same_time ? options.epoch : std::min(own, options.epoch); };
  if (!renames && !destination.empty()) {
    head.name = destination;
    head.type = AE_IFDIR;
    head.mode = 0755;
    head.mtime = options.epoch;
    if (auto begun = tar.begin(head); !begun) return begun;
  }
  for (const auto& selected : selection.entries) {
    head.name = renames ? destination : below(destination, selected.name);
    head.mode = mode_of(selected, step);
    head.mtime = selected.entry ? time(selected.entry->mtime) : options.epoch;
    head.size = 0;
    head.target.clear();
    const Kind kind = selected.entry ? selected.entry->kind : Kind::folder;
    head.type = kind == Kind::folder ? AE_IFDIR : kind == Kind::symlink ? AE_IFLNK : AE_IFREG;
    if (kind == Kind::symlink) head.target = selected.entry->target;
    if (kind != Kind::file) {
      if (auto begun = tar.begin(head); !begun) return begun;
      continue;
    }
    auto file = tree.open_file(selected.entry->path);
    if (!file) return fail(std::move(file.error()));
    struct stat status{};
    if (::fstat(file->get(), &status) != 0) return fail(system_error("stat " + printable(selected.entry->path), errno));
    head.size = static_cast<std::uint64_t>(status.st_size);
    if (auto begun = tar.begin(head); !begun) return begun;
    if (auto copied = copy_bytes(file->get(), head.size, tar); !copied)
      return fail(std::move(copied.error()).within(printable(selected.entry->path)));
  }
  for (const auto& file : step.files) {
    head.name = renames ? destination : below(destination, base_name(file.name));
    head.type = AE_IFREG;
    head.mode = step.mode.value_or(0644);
    head.mtime = options.epoch;
    head.size = file.content.size();
    head.target.clear();
    if (auto begun = tar.begin(head); !begun) return begun;
    if (auto written = tar.data(file.content); !written) return written;
  }
  return tar.finish();
}

Result<void> write_folder(const std::string& path, const TarOptions& options, int out) {
  TarWriter tar(out);
  TarWriter::Head head{.name = archive_name(path),
                       .type = AE_IFDIR,
                       .mode = 0755,
                       .uid = options.uid,
                       .gid = options.gid,
                       .mtime = options.epoch};
  if (auto begun = tar.begin(head); !begun) return begun;
  return tar.finish();
}

namespace {

/// Where an entry of a packed tree goes; empty: it is not taken.
class Renamer {
 public:
  static Result<Renamer> make(const RewriteOptions& options) {
    Renamer out(options);
    if (!options.source.empty()) {
      auto glob = Glob::compile(options.source, Glob::Flavour::copy_source);
      if (!glob) return fail(std::move(glob.error()));
      out.glob_ = std::move(*glob);
    }
    auto excluded = IgnoreRules::compile(options.excludes);
    if (!excluded) return fail(std::move(excluded.error()));
    out.excluded_ = std::move(*excluded);
    return out;
  }

  std::string rename(std::string_view name, bool folder) {
    while (name.ends_with('/')) name.remove_suffix(1);
    if (!name.starts_with(options_.root)) return {};
    name.remove_prefix(options_.root.size());
    if (name.starts_with('/')) name.remove_prefix(1);
    const auto destination = archive_name(options_.destination);
    if (!glob_) {
      if (name.empty() && folder) return destination;
      if (name.empty()) return file_at(destination, options_.file_name);
      return excluded_.ignores(name) ? "" : below(destination, std::string(name));
    }
    // The source is the shortest leading part that fits the pattern; what is below it keeps its name from there.
    for (auto end = name.find('/');; end = name.find('/', end + 1)) {
      const auto part = name.substr(0, end);
      if (glob_->matches(part)) {
        if (part.size() == name.size()) return folder ? destination : file_at(destination, base_name(part));
        return below(destination, std::string(name.substr(part.size() + 1)));
      }
      if (end == std::string_view::npos) return {};
    }
  }

 private:
  explicit Renamer(const RewriteOptions& options) : options_(options) {}
  std::string file_at(const std::string& destination, const std::string& name) const {
    if (excluded_.ignores(name)) return {};
    return options_.destination.ends_with('/') || options_.into_folder ? below(destination, name) : destination;
  }
  const RewriteOptions& options_;
  std::optional<Glob> glob_;
  IgnoreRules excluded_;
};

}  // namespace

Result<std::size_t> rewrite_archive(int in, const RewriteOptions& options, int out) {
  auto renamer = Renamer::make(options);
  if (!renamer) return fail(std::move(renamer.error()));
  const std::unique_ptr<archive, FreeReader> reader(archive_read_new());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_empty(reader.get());
  const auto wrong = [&] {
    const char* why = archive_error_string(reader.get());
    return fail(Errc::corrupt, fmt::format("read the packed files: {}", why ? why : "unknown"));
  };
  if (archive_read_open_fd(reader.get(), in, 256 << 10) != ARCHIVE_OK) return wrong();
  TarWriter tar(out);
  const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
  std::vector<char> chunk(256 << 10);
  std::set<std::string> made;  // the destination folder is one entry, however many sources merge into it
  std::size_t entries = 0;
  while (true) {
    const int got = archive_read_next_header2(reader.get(), entry.get());
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN) return wrong();
    const char* name = archive_entry_pathname(entry.get());
    const bool folder = archive_entry_filetype(entry.get()) == AE_IFDIR;
    const auto renamed = name ? renamer->rename(name, folder) : std::string();
    if (renamed.empty()) {
      if (name && folder) ++entries;  // the destination is the root itself
      continue;
    }
    ++entries;
    if (folder && !made.insert(renamed).second) continue;
    archive_entry_copy_pathname(entry.get(), renamed.c_str());
    if (const char* link = archive_entry_hardlink(entry.get())) {
      const auto target = renamer->rename(link, false);
      if (target.empty())
        return fail(Errc::unsupported, fmt::format("{} is a hard link to a file that is not copied", printable(name)));
      archive_entry_copy_hardlink(entry.get(), target.c_str());
    }
    if (options.owner) {
      archive_entry_set_uid(entry.get(), options.owner->first);
      archive_entry_set_gid(entry.get(), options.owner->second);
    }
    if (options.mode && archive_entry_filetype(entry.get()) != AE_IFLNK)
      archive_entry_set_perm(entry.get(), *options.mode);
    if (auto begun = tar.begin(entry.get()); !begun) return fail(std::move(begun.error()));
    while (true) {
      const auto bytes = archive_read_data(reader.get(), chunk.data(), chunk.size());
      if (bytes < 0) return wrong();
      if (bytes == 0) break;
      if (auto written = tar.data({chunk.data(), static_cast<std::size_t>(bytes)}); !written)
        return fail(std::move(written.error()));
    }
  }
  if (auto finished = tar.finish(); !finished) return fail(std::move(finished.error()));
  return entries;
}

}  // namespace wick::build
