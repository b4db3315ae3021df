#include "added_archive.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"

namespace wick::build {

namespace {

constexpr std::uint64_t bytes_max = 4ull << 30;  // unpacked
constexpr std::uint64_t entries_max = 500'000;
constexpr std::size_t links_max = 100'000;

struct FreeReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct FreeWriter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

std::string message_of(archive* handle) {
  const char* text = archive_error_string(handle);
  return text ? printable(text) : "unknown";
}

/// "7:8".
std::optional<std::pair<std::uint64_t, std::uint64_t>> parse_owner(const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto uid = parse_unsigned(text.substr(0, colon));
  const auto gid = parse_unsigned(text.substr(colon + 1));
  if (!uid || !gid) return std::nullopt;
  return std::pair(*uid, *gid);
}

/// `path` with the links in its folders followed, below the archive's own root.
std::string follow(const std::map<std::string, std::string>& links, const std::string& path) {
  std::string done;
  std::string rest = path;
  for (int followed = 0; !rest.empty();) {
    const auto slash = std::min(rest.find('/'), rest.size());
    const auto next = done.empty() ? rest.substr(0, slash) : done + "/" + rest.substr(0, slash);
    rest.erase(0, std::min(slash + 1, rest.size()));
    const auto link = rest.empty() ? links.end() : links.find(next);  // the last part is the entry itself
    if (link == links.end()) {
      done = next;
      continue;
    }
    if (++followed > 40) return path;
    rest =
        rooted_path(link->second.starts_with('/') ? link->second + "/" + rest : done + "/" + link->second + "/" + rest);
    done.clear();
  }
  return done;
}

}  // namespace

bool may_be_archive(int file) {
  std::array<unsigned char, 512> head{};
  const auto got = ::pread(file, head.data(), head.size(), 0);
  if (got < 6) return false;
  const auto starts = [&](std::initializer_list<unsigned char> magic) {
    return std::equal(magic.begin(), magic.end(), head.begin());
  };
  if (starts({0x1f, 0x8b}) || starts({'B', 'Z', 'h'}) || starts({0xfd, '7', 'z', 'X', 'Z', 0}) ||
      starts({0x28, 0xb5, 0x2f, 0xfd}))
    return true;
  if (got < 512) return false;
  // A tar's header is known by its checksum: the sum of all bytes, with the field itself as blanks.
  unsigned sum = 0;
  for (std::size_t i = 0; i < head.size(); ++i) sum += i >= 148 && i < 156 ? ' ' : head[i];
  unsigned said = 0;
  for (std::size_t i = 148; i < 156 && head[i] != 0; ++i)
    if (head[i] >= '0' && head[i] <= '7') said = said * 8 + (head[i] - '0');
  return said == sum && head[0] != 0;
}

Result<bool> rewrite_archive_here(int out, const std::string& destination, const std::string& owner) {
  const std::unique_ptr<archive, FreeReader> reader(archive_read_new());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_fd(reader.get(), STDIN_FILENO, 256 << 10) != ARCHIVE_OK) return false;
  const std::unique_ptr<archive, FreeWriter> writer(archive_write_new());
  archive_write_set_format_pax_restricted(writer.get());
  archive_write_set_bytes_in_last_block(writer.get(), 1);
  archive_write_open_fd(writer.get(), out);
  const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
  const auto owners = parse_owner(owner);
  const auto top = rooted_path(destination);
  std::map<std::string, std::string> links;  // symlinks of the archive so far
  // Docker unpacks with the destination as root: a link of the archive leads no further than that. So links on the way
  // are followed here.
  const auto place = [&](const char* name) {
    const auto path = follow(links, rooted_path(name));
    return top.empty() ? path : path.empty() ? top : top + "/" + path;
  };
  std::vector<char> chunk(256 << 10);
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  if (!top.empty()) {
    archive_entry_set_pathname(entry.get(), top.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFDIR);
    archive_entry_set_perm(entry.get(), 0755);
    if (owners) archive_entry_set_uid(entry.get(), static_cast<la_int64_t>(owners->first));
    if (owners) archive_entry_set_gid(entry.get(), static_cast<la_int64_t>(owners->second));
  }
  bool top_written = top.empty();
  const std::unique_ptr<archive_entry, FreeEntry> folder(archive_entry_clone(entry.get()));
  while (true) {
    const int got = archive_read_next_header2(reader.get(), entry.get());
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN && entries == 0) return false;  // compressed, but no tar inside
    if (got < ARCHIVE_WARN) return fail(Errc::corrupt, message_of(reader.get()));
    if (++entries > entries_max) return fail(Errc::too_large, fmt::format("more than {} entries", entries_max));
    if (!std::exchange(top_written, true) && archive_write_header(writer.get(), folder.get()) < ARCHIVE_WARN)
      return fail(Errc::io, message_of(writer.get()));
    const char* name = archive_entry_pathname(entry.get());
    if (!name) return fail(Errc::corrupt, "an entry without a name");
    const auto renamed = place(name);
    if (renamed == top) continue;  // the archive's own root: the destination stays as it is
    if (archive_entry_filetype(entry.get()) == AE_IFLNK) {
      const char* target = archive_entry_symlink(entry.get());
      if (target && links.size() < links_max) links[follow(links, rooted_path(name))] = target;
    }
    archive_entry_copy_pathname(entry.get(), renamed.c_str());
    if (const char* link = archive_entry_hardlink(entry.get()))
      archive_entry_copy_hardlink(entry.get(), place(link).c_str());
    if (owners) archive_entry_set_uid(entry.get(), static_cast<la_int64_t>(owners->first));
    if (owners) archive_entry_set_gid(entry.get(), static_cast<la_int64_t>(owners->second));
    if (archive_write_header(writer.get(), entry.get()) < ARCHIVE_WARN) return fail(Errc::io, message_of(writer.get()));
    while (true) {
      const auto part = archive_read_data(reader.get(), chunk.data(), chunk.size());
      if (part < 0) return fail(Errc::corrupt, message_of(reader.get()));
      if (part == 0) break;
      bytes += static_cast<std::uint64_t>(part);
      if (bytes > bytes_max)
        return fail(Errc::too_large, fmt::format("the files are larger than {} in all", human_bytes(bytes_max)));
      if (archive_write_data(writer.get(), chunk.data(), static_cast<std::size_t>(part)) < 0)
        return fail(Errc::io, message_of(writer.get()));
    }
  }
  if (entries == 0) return false;
  if (archive_write_close(writer.get()) != ARCHIVE_OK) return fail(Errc::io, message_of(writer.get()));
  return true;
}

awaitable<Result<bool>> rewrite_added_archive(Fd archive, Fd out, std::string destination, std::string owner) {
  ProcessOptions options{.argv = {"/proc/self/exe", "helper", "fetch", "added", destination, owner},
                         .environment = std::vector<std::string>{"PATH=/usr/bin:/bin"},
                         .stdin_fd = archive.get(),
                         .extra_fds = {{out.get(), 3}}};
  auto finished = co_await run_process(std::move(options));
  if (!finished) co_return fail(std::move(finished.error()));
  const auto said = trim(finished->output);
  if (said.ends_with("added: archive")) co_return true;
  if (said.ends_with("added: other")) co_return false;
  co_return fail(Errc::corrupt, fmt::format("the archive cannot be read: {}", printable(said, 300)));
}

}  // namespace wick::build
