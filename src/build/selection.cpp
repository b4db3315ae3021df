#include "selection.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
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
  Selector(const Listing& listing, const Listing& visible, IgnoreRules excluded, const CopyStep& step)
      : listing_(listing), visible_(visible), excluded_(std::move(excluded)), step_(step) {}

  Result<Selection> run() {
    for (std::size_t i = 0; i < step_.sources.size(); ++i) {
      const auto& source = step_.sources[i];
      auto added = step_.parents                 ? with_parents(step_.pivots[i], source)
                   : Glob::has_wildcards(source) ? wildcard(source)
                                                 : literal(source);
      if (!added) return fail(std::move(added.error()));
    }
    return std::move(out_);
  }

 private:
  Result<void> missing(const std::string& source) const {
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

  Result<void> literal(const std::string& source) {
    const auto path = Glob::unescape(source);
    const auto resolved = visible_.resolve(path);
    if (!resolved) return missing(source);
    take(base_name(path), *resolved);
    return {};
  }

  Result<void> wildcard(const std::string& source) {
    auto glob = Glob::compile(source, Glob::Flavour::copy_source);
    if (!glob) return fail(std::move(glob.error()));
    for (const auto& entry : visible_.entries) {
      if (!glob->matches(entry.path)) continue;
      if (const auto resolved = visible_.resolve(entry.path)) take(base_name(entry.path), *resolved);
    }
    return {};
  }

  void take(std::string name, const std::string& resolved) {
    if (visible_.has_folder(resolved)) {
      contents(resolved);
    } else if (!excluded_.ignores(name)) {
      out_.entries.push_back({std::move(name), visible_.find(resolved), true});
    }
  }

  void contents(const std::string& folder) {
    out_.has_folder = true;
    out_.folder = visible_.find(folder);
    std::set<std::string> folders;  // that are there already
    for (const SourceEntry* entry : visible_.below(folder)) {
      const auto name = folder.empty() ? entry->path : entry->path.substr(folder.size() + 1);
      if (!excluded_.ignores(name)) add(folder, name, entry, folders);
    }
  }

  /// --parents: what fits `source` below `pivot`, with the folders it is in.
  Result<void> with_parents(const std::string& pivot, const std::string& source) {
    const auto top = visible_.resolve(pivot);
    if (!top || !visible_.has_folder(*top)) return missing(pivot);
    auto wanted = IgnoreRules::compile({source.empty() ? std::string("*") : source});
    if (!wanted) return fail(std::move(wanted.error()));
    out_.has_folder = true;
    std::set<std::string> folders;
    const auto before = out_.entries.size();
    for (const SourceEntry* entry : visible_.below(*top)) {
      const auto name = top->empty() ? entry->path : entry->path.substr(top->size() + 1);
      if (wanted->ignores(name) && !excluded_.ignores(name)) add(*top, name, entry, folders);
    }
    if (out_.entries.size() == before && !source.empty() && !Glob::has_wildcards(source))
      return missing(pivot.empty() ? source : pivot + "/" + source);
    return {};
  }

  void add(const std::string& top, const std::string& name, const SourceEntry* entry, std::set<std::string>& folders) {
    for (auto slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
      if (auto folder = name.substr(0, slash); folders.insert(folder).second)
        out_.entries.push_back({folder, visible_.find(top.empty() ? folder : top + "/" + folder)});
    if (entry->kind == Kind::folder && !folders.insert(name).second) return;
    out_.entries.push_back({name, entry});
  }

  const Listing& listing_;
  const Listing& visible_;
  IgnoreRules excluded_;
  const CopyStep& step_;
  Selection out_;
};

unsigned mode_of(const SourceEntry* entry, const CopyStep& step) {
  if (entry && entry->kind == Kind::symlink) return 0777;
  const unsigned mode = entry ? entry->mode : 0755;
  return step.mode ? step.mode->apply(mode, !entry || entry->kind == Kind::folder) : mode;
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

Listing without_ignored(const Listing& listing, const IgnoreRules& ignored) {
  if (ignored.empty()) return listing;
  Listing out;
  std::set<std::string, std::less<>> pruned;                       // ignored folders that are not walked
  std::map<std::string, const SourceEntry*, std::less<>> waiting;  // ignored ones that are, until something is in them
  const auto parent_of = [](std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  };
  for (const auto& entry : listing.entries) {
    const bool is_folder = entry.kind == Kind::folder;
    if (pruned.contains(parent_of(entry.path))) {
      if (is_folder) pruned.insert(entry.path);
      continue;
    }
    if (ignored.ignores(entry.path)) {
      if (!is_folder) continue;
      const auto below = ignored.below(entry.path);
      if (below == IgnoreRules::Below::nothing) pruned.insert(entry.path);
      if (below == IgnoreRules::Below::perhaps) waiting[entry.path] = &entry;
      if (below != IgnoreRules::Below::named) continue;
    }
    for (auto folder = parent_of(entry.path); !folder.empty(); folder = parent_of(folder))
      if (const auto held = waiting.find(folder); held != waiting.end()) {
        out.entries.push_back(*held->second);
        waiting.erase(held);
      }
    out.entries.push_back(entry);
  }
  std::ranges::sort(out.entries, {}, &SourceEntry::path);
  return out;
}

Result<Selection> select(const Listing& listing, const Listing& visible, const CopyStep& step) {
  auto excluded = IgnoreRules::compile(step.excludes);
  if (!excluded) return fail(std::move(excluded.error()));
  return Selector(listing, visible, std::move(*excluded), step).run();
}

Result<Digest> selection_digest(const SourceTree& tree, const Selection& selection, const CopyStep& step) {
  Sha256 hash;
  const auto add = [&](std::string_view text) { hash.update(fmt::format("{}:", text.size())).update(text); };
  const bool named_by_destination = !step.destination.ends_with('/');
  add(fmt::format("{} {}", selection.has_folder, selection.folder ? mode_of(selection.folder, step) : 0));
  for (const auto& selected : selection.entries) {
    // The name of a single file does not matter where the destination names it; an archive's never does.
    add(selected.is_source && named_by_destination && selection.entries.size() == 1 ? "" : selected.name);
    add(std::to_string(mode_of(selected.entry, step)));
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

namespace {

/// The folders above `path`, the topmost first.
std::vector<std::string> above(const std::string& path) {
  std::vector<std::string> out;
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
    out.push_back(path.substr(0, slash));
  return out;
}

/// Writes what a COPY takes from the source, name by name.
class SelectionWriter {
 public:
  SelectionWriter(const SourceTree& tree, const CopyStep& step, const TarOptions& options, int out)
      : tree_(tree),
        step_(step),
        options_(options),
        tar_(out),
        destination_(archive_name(step.destination)),
        head_{.uid = options.uid, .gid = options.gid} {}

  Result<void> run(const Selection& selection) {
    const bool something = !selection.entries.empty() || !step_.files.empty();
    const bool is_folder =
        selection.has_folder || (something && (step_.destination.ends_with('/') || options_.into_folder));
    if (is_folder && !destination_.empty()) {
      // A folder that is copied gives its mode and gets the owner; one that is only made for files is root's.
      const auto* folder = selection.folder;
      const auto mode = folder ? mode_of(folder, step_) : 0755U;
      if (!selection.has_folder) head_.uid = head_.gid = 0;
      if (auto put = put_folder(destination_, mode, folder ? time_of(folder->mtime) : options_.epoch); !put) return put;
      head_.uid = options_.uid;
      head_.gid = options_.gid;
    }
    for (const auto& selected : selection.entries)
      if (auto put = put_entry(selected); !put) return put;
    for (const auto& file : step_.files)
      if (auto put = put_text(file); !put) return put;
    return tar_.finish();
  }

 private:
  std::int64_t time_of(std::int64_t own) const {
    return options_.same_time ? options_.epoch : std::min(own, options_.epoch);
  }
  std::string place(const std::string& name, bool is_source) const {
    const bool renamed = is_source && !step_.destination.ends_with('/') && !options_.into_folder;
    return renamed ? destination_ : below(destination_, name);
  }

  Result<void> put_folder(const std::string& name, unsigned mode, std::int64_t mtime) {
    head_.name = name;
    head_.type = AE_IFDIR;
    head_.mode = mode;
    head_.mtime = mtime;
    head_.size = 0;
    head_.target.clear();
    return tar_.begin(head_);
  }

  Result<void> put_entry(const Selected& selected) {
    const auto* entry = selected.entry;
    const auto name = place(selected.name, selected.is_source);
    const auto mtime = entry ? time_of(entry->mtime) : options_.epoch;
    if (!entry || entry->kind == Kind::folder) return put_folder(name, mode_of(entry, step_), mtime);
    head_.name = name;
    head_.mode = mode_of(entry, step_);
    head_.mtime = mtime;
    head_.size = 0;
    head_.target.clear();
    if (entry->kind == Kind::symlink) {
      head_.type = AE_IFLNK;
      head_.target = entry->target;
      return tar_.begin(head_);
    }
    auto file = tree_.open_file(entry->path);
    if (!file) return fail(std::move(file.error()));
    struct stat status{};
    if (::fstat(file->get(), &status) != 0) return fail(system_error("stat " + printable(entry->path), errno));
    head_.type = AE_IFREG;
    head_.size = static_cast<std::uint64_t>(status.st_size);
    if (auto begun = tar_.begin(head_); !begun) return begun;
    if (auto copied = copy_bytes(file->get(), head_.size, tar_); !copied)
      return fail(std::move(copied.error()).within(printable(entry->path)));
    return {};
  }

  Result<void> put_text(const InlineFile& file) {
    head_.name = place(base_name(file.name), true);
    head_.type = AE_IFREG;
    head_.mode = step_.mode ? step_.mode->apply(0644, false) : 0644;
    head_.mtime = options_.epoch;
    head_.size = file.content.size();
    head_.target.clear();
    if (auto begun = tar_.begin(head_); !begun) return begun;
    return tar_.data(file.content);
  }

  const SourceTree& tree_;
  const CopyStep& step_;
  const TarOptions& options_;
  TarWriter tar_;
  std::string destination_;
  TarWriter::Head head_;
};

}  // namespace

Result<void> write_selection(const SourceTree& tree, const Selection& selection, const CopyStep& step,
                             const TarOptions& options, int out) {
  return SelectionWriter(tree, step, options, out).run(selection);
}

Result<void> write_folder(const std::string& path, const TarOptions& options, int out) {
  TarWriter tar(out);
  auto folders = above(archive_name(path));
  folders.push_back(archive_name(path));
  for (const auto& folder : folders) {
    TarWriter::Head head{
        .name = folder, .type = AE_IFDIR, .mode = 0755, .uid = options.uid, .gid = options.gid, .mtime = options.epoch};
    if (auto begun = tar.begin(head); !begun) return begun;
  }
  return tar.finish();
}

namespace {

/// Where an entry of a packed tree goes; empty: it is not taken.
class Renamer {
 public:
  static Result<Renamer> make(const RewriteOptions& options) {
    Renamer out(options);
    if (options.parents) {
      auto wanted = IgnoreRules::compile({options.source.empty() ? std::string("*") : options.source});
      if (!wanted) return fail(std::move(wanted.error()));
      out.wanted_ = std::move(*wanted);
    } else if (!options.source.empty()) {
      auto glob = Glob::compile(options.source, Glob::Flavour::copy_source);
      if (!glob) return fail(std::move(glob.error()));
      out.glob_ = std::move(*glob);
    }
    auto excluded = IgnoreRules::compile(options.excludes);
    if (!excluded) return fail(std::move(excluded.error()));
    out.excluded_ = std::move(*excluded);
    return out;
  }

  /// With --parents: the folder is wanted by itself, and not only for what may be in it.
  bool wants_folder(std::string_view name) const {
    while (name.ends_with('/')) name.remove_suffix(1);
    name.remove_prefix(std::min(name.size(), options_.root.size() + 1));
    return !options_.parents || wanted_.ignores(name);
  }

  std::string rename(std::string_view name, bool folder) {
    while (name.ends_with('/')) name.remove_suffix(1);
    if (!name.starts_with(options_.root)) return {};
    name.remove_prefix(options_.root.size());
    if (name.starts_with('/')) name.remove_prefix(1);
    const auto destination = archive_name(options_.destination);
    if (options_.parents) {
      if (name.empty()) return {};
      if (excluded_.ignores(name) || (!folder && !wanted_.ignores(name))) return {};
      return below(destination, std::string(name));
    }
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
  IgnoreRules wanted_;  // with --parents
};

}  // namespace

namespace {

struct OpenArchive {
  std::unique_ptr<archive, FreeReader> reader{archive_read_new()};
  std::unique_ptr<archive_entry, FreeEntry> entry{archive_entry_new()};

  Result<void> open(int in) {
    archive_read_support_format_tar(reader.get());
    archive_read_support_format_empty(reader.get());
    if (archive_read_open_fd(reader.get(), in, 256 << 10) != ARCHIVE_OK) return fail(wrong());
    return {};
  }
  /// False at the end.
  Result<bool> next() {
    const int got = archive_read_next_header2(reader.get(), entry.get());
    if (got == ARCHIVE_EOF) return false;
    if (got < ARCHIVE_WARN) return fail(wrong());
    return true;
  }
  std::string name() const {
    const char* name = archive_entry_pathname(entry.get());
    return name ? name : "";
  }
  bool is_folder() const { return archive_entry_filetype(entry.get()) == AE_IFDIR; }
  Error wrong() const {
    const char* why = archive_error_string(reader.get());
    return Error(Errc::corrupt, fmt::format("read the packed files: {}", why ? why : "unknown"));
  }
};

/// Files that are not taken themselves, but that a hard link which is taken leads to: name → the link's new name, which
/// the file gets.
Result<std::map<std::string, std::string>> promoted_files(int in, Renamer& renamer) {
  std::map<std::string, std::string> out;
  OpenArchive source;
  if (auto opened = source.open(in); !opened) return fail(std::move(opened.error()));
  while (true) {
    auto more = source.next();
    if (!more) return fail(std::move(more.error()));
    if (!*more) return out;
    const char* link = archive_entry_hardlink(source.entry.get());
    if (!link || !renamer.rename(link, false).empty()) continue;
    if (auto renamed = renamer.rename(source.name(), false); !renamed.empty())
      out.try_emplace(link, std::move(renamed));
  }
}

}  // namespace

Result<std::size_t> rewrite_archive(int in, const RewriteOptions& options, int out) {
  auto renamer = Renamer::make(options);
  if (!renamer) return fail(std::move(renamer.error()));
  std::map<std::string, std::string> promoted;
  if (options.parents || !options.source.empty() || !options.excludes.empty()) {
    auto found = promoted_files(in, *renamer);
    if (!found) return fail(std::move(found.error()));
    promoted = std::move(*found);
    if (::lseek(in, 0, SEEK_SET) != 0) return fail(system_error("seek", errno));
  }
  OpenArchive source;
  if (auto opened = source.open(in); !opened) return fail(std::move(opened.error()));
  auto* entry = source.entry.get();
  TarWriter tar(out);
  std::vector<char> chunk(256 << 10);
  std::set<std::string> made;  // the destination folder is one entry, however many sources merge into it
  std::map<std::string, std::unique_ptr<archive_entry, FreeEntry>> passing;  // folders until something is in them
  std::size_t entries = 0;
  while (true) {
    auto more = source.next();
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    const auto name = source.name();
    const bool folder = source.is_folder();
    auto renamed = name.empty() ? std::string() : renamer->rename(name, folder);
    if (renamed.empty())
      if (const auto found = promoted.find(name); found != promoted.end()) renamed = found->second;
    if (renamed.empty()) {
      if (!name.empty() && folder) ++entries;  // the destination is the root itself
      continue;
    }
    ++entries;
    if (folder && !made.insert(renamed).second) continue;
    if (const char* link = archive_entry_hardlink(entry)) {
      auto target = renamer->rename(link, false);
      if (const auto found = promoted.find(link); target.empty() && found != promoted.end()) target = found->second;
      if (target == renamed) continue;  // it has this name already
      archive_entry_copy_hardlink(entry, target.c_str());
    }
    archive_entry_copy_pathname(entry, renamed.c_str());
    if (options.owner) {
      archive_entry_set_uid(entry, options.owner->first);
      archive_entry_set_gid(entry, options.owner->second);
    }
    if (options.mode && archive_entry_filetype(entry) != AE_IFLNK)
      archive_entry_set_perm(entry, options.mode->apply(archive_entry_perm(entry), folder));
    if (folder && !renamer->wants_folder(name)) {
      passing[renamed].reset(archive_entry_clone(entry));
      continue;
    }
    for (const auto& above_it : above(renamed))
      if (const auto held = passing.find(above_it); held != passing.end()) {
        if (auto begun = tar.begin(held->second.get()); !begun) return fail(std::move(begun.error()));
        passing.erase(held);
      }
    if (auto begun = tar.begin(entry); !begun) return fail(std::move(begun.error()));
    while (true) {
      const auto bytes = archive_read_data(source.reader.get(), chunk.data(), chunk.size());
      if (bytes < 0) return fail(source.wrong());
      if (bytes == 0) break;
      if (auto written = tar.data({chunk.data(), static_cast<std::size_t>(bytes)}); !written)
        return fail(std::move(written.error()));
    }
  }
  if (auto finished = tar.finish(); !finished) return fail(std::move(finished.error()));
  return entries;
}

}  // namespace wick::build
