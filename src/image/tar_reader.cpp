#include "tar_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

// Of one PAX header or long name. The longest legal thing is a few extended attributes of at most 64 KiB (Linux
// XATTR_SIZE_MAX).
constexpr std::uint64_t metadata_bytes_max = 1 << 20;
// Metadata members in front of one header: a global header, a PAX header, a long name and a long link are four.
constexpr int metadata_members_max = 8;
constexpr std::size_t sparse_runs_max = 1 << 20;
constexpr std::uint64_t file_bytes_max = std::numeric_limits<std::int64_t>::max();

struct Field {
  std::size_t offset;
  std::size_t size;
};
constexpr Field name_field{0, 100}, mode_field{100, 8}, uid_field{108, 8}, gid_field{116, 8}, size_field{124, 12},
    mtime_field{136, 12}, checksum_field{148, 8}, link_field{157, 100}, major_field{329, 8}, minor_field{337, 8},
    prefix_field{345, 155}, real_size_field{483, 12};
constexpr std::size_t type_offset = 156;

template <class Block>
std::string_view bytes_of(const Block& block, Field field) {
  return {block.data() + field.offset, field.size};
}

template <class Block>
std::string text_of(const Block& block, Field field) {
  const auto bytes = bytes_of(block, field);
  return std::string(bytes.substr(0, bytes.find('\0')));
}

std::unexpected<Error> corrupt(std::string message) { return fail(Errc::corrupt, std::move(message)); }

// Octal digits between spaces and NULs, or base-256 when the top bit is set (GNU, star).
Result<std::int64_t> parse_number(std::string_view bytes, std::string_view what) {
  if (static_cast<unsigned char>(bytes[0]) & 0x80) {
    const bool negative = static_cast<unsigned char>(bytes[0]) & 0x40;
    std::int64_t value = negative ? -1 : 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      auto byte = static_cast<unsigned char>(bytes[i]);
      if (i == 0) byte = negative ? byte | 0x80 : byte & 0x7f;
      if (value > (std::numeric_limits<std::int64_t>::max() >> 8) ||
          value < (std::numeric_limits<std::int64_t>::min() >> 8))
        return corrupt(fmt::format("the {} of a header is too large", what));
      value = static_cast<std::int64_t>(static_cast<std::uint64_t>(value) << 8 | byte);
    }
    return value;
  }
  while (!bytes.empty() && (bytes.front() == ' ' || bytes.front() == '\0')) bytes.remove_prefix(1);
  while (!bytes.empty() && (bytes.back() == ' ' || bytes.back() == '\0')) bytes.remove_suffix(1);
  std::int64_t value = 0;
  if (bytes.empty()) return value;
  const auto [end, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), value, 8);
  if (error != std::errc{} || end != bytes.data() + bytes.size() || value < 0)
    return corrupt(fmt::format("the {} of a header is not a number: '{}'", what, printable(bytes)));
  return value;
}

Result<std::uint64_t> parse_non_negative(std::string_view bytes, std::string_view what) {
  auto value = parse_number(bytes, what);
  if (!value) return fail(std::move(value.error()));
  if (*value < 0) return corrupt(fmt::format("the {} of a header is negative", what));
  return static_cast<std::uint64_t>(*value);
}

template <class Block>
bool checksum_matches(const Block& block, std::int64_t stored) {
  std::int64_t as_unsigned = 0;
  std::int64_t as_signed = 0;  // what some old tars wrote
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool inside = i >= checksum_field.offset && i < checksum_field.offset + checksum_field.size;
    const char c = inside ? ' ' : block[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  return stored == as_unsigned || stored == as_signed;
}

template <class Block>
bool is_zero(const Block& block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == 0; });
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  auto value = parse_unsigned(text);
  if (value && *value > file_bytes_max) return std::nullopt;
  return value;
}

// "1700000000.123456789", "-5.25": seconds rounded down and what is left.
bool parse_pax_time(std::string_view text, std::int64_t& seconds, std::uint32_t& nanoseconds) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const auto dot = text.find('.');
  const auto whole = decimal(text.substr(0, dot));
  if (!whole || *whole > (1ull << 40)) return false;
  std::string fraction(dot == std::string_view::npos ? "" : text.substr(dot + 1));
  if (!std::all_of(fraction.begin(), fraction.end(), [](char c) { return c >= '0' && c <= '9'; })) return false;
  fraction.resize(9, '0');
  const auto rest = static_cast<std::int64_t>(*decimal(fraction));
  seconds = static_cast<std::int64_t>(*whole);
  nanoseconds = static_cast<std::uint32_t>(rest);
  if (!negative) return true;
  seconds = rest == 0 ? -seconds : -seconds - 1;
  nanoseconds = static_cast<std::uint32_t>(rest == 0 ? 0 : 1'000'000'000 - rest);
  return true;
}

Result<void> check_runs(const TarEntry& entry, std::uint64_t stored) {
  std::uint64_t end = 0;
  std::uint64_t sum = 0;
  for (const auto& run : entry.runs) {
    if (run.offset < end || run.size > entry.size || run.offset > entry.size - run.size)
      return corrupt("the map of a sparse file overlaps itself or leads past its end");
    end = run.offset + run.size;
    sum += run.size;
  }
  if (sum > stored) return corrupt("the map of a sparse file names more bytes than are stored");
  return {};
}

Result<void> add_run(TarEntry& entry, std::uint64_t offset, std::uint64_t size) {
  if (entry.runs.size() == sparse_runs_max)
    return fail(Errc::too_large, fmt::format("a sparse file with more than {} pieces", sparse_runs_max));
  if (size != 0) entry.runs.push_back({offset, size});
  return {};
}

// POSIX.1-2017 pax: "LENGTH KEY=VALUE\n", LENGTH counting the whole record.
Result<void> parse_pax(std::string_view text, std::map<std::string, std::string, std::less<>>& records,
                       TarEntry& entry) {
  std::optional<std::uint64_t> run_offset;
  while (!text.empty()) {
    const auto space = text.find(' ');
    const auto length = space == std::string_view::npos ? std::nullopt : parse_unsigned(text.substr(0, space));
    if (!length || *length > text.size() || *length < space + 4 || text[*length - 1] != '\n')
      return corrupt("a PAX record does not end where its length says");
    const auto record = text.substr(space + 1, *length - space - 2);
    const auto equals = record.find('=');
    if (equals == 0 || equals == std::string_view::npos) return corrupt("a PAX record without a key");
    const auto key = record.substr(0, equals);
    const auto value = record.substr(equals + 1);
    text.remove_prefix(*length);
    // GNU.sparse 0.0 repeats its keys, one pair a run.
    if (key == "GNU.sparse.offset") {
      run_offset = decimal(value);
    } else if (key == "GNU.sparse.numbytes") {
      const auto bytes = decimal(value);
      if (!run_offset || !bytes) return corrupt("the map of a sparse file is not made of numbers");
      if (auto added = add_run(entry, *run_offset, *bytes); !added) return added;
      entry.sparse = true;
    } else {
      records.insert_or_assign(std::string(key), std::string(value));
    }
  }
  return {};
}

}  // namespace

struct TarReader::Extras {
  Records records;
  std::optional<std::string> long_name;
  std::optional<std::string> long_link;
};

Result<bool> TarReader::read_block(Block& block) {
  auto got = source_.read_whole(block);
  if (!got) return fail(std::move(got.error()));
  return *got != 0;
}

Result<std::size_t> TarReader::read(std::span<char> into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), stored_)));
  if (into.empty()) return 0;
  auto got = source_.read(into);
  if (!got) return got;
  if (*got == 0) return corrupt("the archive is cut off");
  stored_ -= *got;
  return got;
}

Result<void> TarReader::skip_data() {
  std::array<char, 16384> scratch;
  stored_ += padding_;
  padding_ = 0;
  while (stored_ != 0)
    if (auto got = read(scratch); !got) return fail(std::move(got.error()));
  return {};
}

Result<std::string> TarReader::read_metadata() {
  if (stored_ > metadata_bytes_max)
    return fail(Errc::too_large, fmt::format("a metadata member of {}; at most {}", human_bytes(stored_),
                                             human_bytes(metadata_bytes_max)));
  std::string bytes(stored_, '\0');
  auto got = source_.read_whole({bytes.data(), bytes.size()});
  if (!got) return fail(std::move(got.error()));
  if (*got != bytes.size()) return corrupt("the archive is cut off");
  stored_ = 0;
  return bytes;
}

Result<void> TarReader::read_to_the_end() {
  ended_ = true;
  std::array<char, 16384> scratch;
  while (true) {
    auto got = source_.read(scratch);
    if (!got) return fail(std::move(got.error()));
    if (*got == 0) return {};
    if (std::any_of(scratch.begin(), scratch.begin() + *got, [](char c) { return c != 0; }))
      return corrupt("bytes after the end of the archive");
  }
}

Result<std::optional<TarEntry>> TarReader::next() {
  if (ended_) return std::nullopt;
  TarEntry entry;
  Extras extras;
  for (int metadata = 0;; ++metadata) {
    if (auto skipped = skip_data(); !skipped) return fail(std::move(skipped.error()));
    Block block;
    auto more = read_block(block);
    if (!more) return fail(std::move(more.error()));
    if (!*more || is_zero(block)) {
      if (metadata != 0) return corrupt("the archive ends after a metadata member");
      if (auto end = read_to_the_end(); !end) return fail(std::move(end.error()));
      return std::nullopt;
    }
    if (metadata > metadata_members_max)
      return corrupt(fmt::format("more than {} metadata members in a row", metadata_members_max));
    auto stored = parse_non_negative(bytes_of(block, checksum_field), "checksum");
    if (!stored) return fail(std::move(stored.error()));
    if (!checksum_matches(block, static_cast<std::int64_t>(*stored)))
      return corrupt("the checksum of a header is wrong, or this is not a tar archive");
    auto size = parse_non_negative(bytes_of(block, size_field), "size");
    if (!size) return fail(std::move(size.error()));
    stored_ = *size;

    const char type = block[type_offset];
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
      padding_ = (tar_block - stored_ % tar_block) % tar_block;
      auto bytes = read_metadata();
      if (!bytes) return fail(std::move(bytes.error()));
      if (type == 'x') {
        if (auto parsed = parse_pax(*bytes, extras.records, entry); !parsed) return fail(std::move(parsed.error()));
      }
      // GNU ends its long names with a NUL. Global headers ('g') are read over, as Docker and containerd do.
      if (type == 'L') extras.long_name = bytes->substr(0, bytes->find('\0'));
      if (type == 'K') extras.long_link = bytes->substr(0, bytes->find('\0'));
      continue;
    }
    if (auto read = read_header(block, entry); !read) return fail(std::move(read.error()));
    if (auto applied = apply_extras(extras, entry); !applied)
      return fail(std::move(applied.error()).within(printable(entry.name)));
    if (type == 'S')
      if (auto map = read_old_sparse_map(block, entry); !map)
        return fail(std::move(map.error()).within(printable(entry.name)));
    return entry;
  }
}

Result<void> TarReader::read_header(const Block& block, TarEntry& entry) {
  entry.name = text_of(block, name_field);
  if (std::memcmp(block.data() + 257, "ustar\0", 6) == 0)  // GNU's "ustar  " keeps other things in the prefix
    if (const auto prefix = text_of(block, prefix_field); !prefix.empty()) entry.name = prefix + "/" + entry.name;
  entry.link = text_of(block, link_field);

  switch (const char type = block[type_offset]) {
    case '\0':
      entry.type = entry.name.ends_with('/') ? TarType::folder : TarType::regular;
      break;
    case '7':
    case 'S':
      entry.type = TarType::regular;
      break;
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
      entry.type = static_cast<TarType>(type);
      break;
    default:
      return fail(Errc::invalid, fmt::format("{}: members of type '{}' are not known", printable(entry.name),
                                             printable(std::string_view(&type, 1))));
  }
  struct Number {
    Field field;
    std::string_view what;
    std::uint64_t max;
    std::uint64_t value = 0;
  };
  Number numbers[] = {{mode_field, "mode", UINT32_MAX},
                      {uid_field, "uid", UINT32_MAX},
                      {gid_field, "gid", UINT32_MAX},
                      {major_field, "device number", UINT32_MAX},
                      {minor_field, "device number", UINT32_MAX}};
  const bool device = entry.type == TarType::character_device || entry.type == TarType::block_device;
  for (auto& number : numbers) {
    if (number.what == "device number" && !device) continue;  // V7 archives have other bytes there
    auto value = parse_non_negative(bytes_of(block, number.field), number.what);
    if (!value) return fail(std::move(value.error()).within(printable(entry.name)));
    if (*value > number.max)
      return corrupt(fmt::format("{}: {} {} is too large", printable(entry.name), number.what, *value));
    number.value = *value;
  }
  entry.mode = static_cast<std::uint32_t>(numbers[0].value) & 07777;
  entry.uid = numbers[1].value;
  entry.gid = numbers[2].value;
  entry.device_major = static_cast<std::uint32_t>(numbers[3].value);
  entry.device_minor = static_cast<std::uint32_t>(numbers[4].value);
  auto mtime = parse_number(bytes_of(block, mtime_field), "mtime");
  if (!mtime) return fail(std::move(mtime.error()).within(printable(entry.name)));
  entry.mtime = *mtime;
  return {};
}

Result<void> TarReader::apply_extras(Extras& extras, TarEntry& entry) {
  const auto find = [&](std::string_view key) -> const std::string* {
    const auto found = extras.records.find(key);
    return found == extras.records.end() || found->second.empty() ? nullptr : &found->second;
  };
  if (extras.long_name) entry.name = *extras.long_name;
  if (extras.long_link) entry.link = *extras.long_link;
  if (const auto* value = find("path")) entry.name = *value;
  if (const auto* value = find("linkpath")) entry.link = *value;
  for (const auto& [key, target] : {std::pair{"uid", &entry.uid}, {"gid", &entry.gid}, {"size", &stored_}}) {
    if (const auto* value = find(key)) {
      const auto number = decimal(*value);
      if (!number) return corrupt(fmt::format("PAX {} '{}' is not a number", key, printable(*value)));
      *target = *number;
    }
  }
  if (const auto* value = find("mtime"); value && !parse_pax_time(*value, entry.mtime, entry.mtime_nanoseconds))
    return corrupt(fmt::format("PAX mtime '{}' is not a time", printable(*value)));
  constexpr std::string_view xattr_prefix = "SCHILY.xattr.";
  for (auto record = extras.records.lower_bound(xattr_prefix);
       record != extras.records.end() && record->first.starts_with(xattr_prefix); ++record)
    entry.xattrs[record->first.substr(xattr_prefix.size())] = record->second;

  // Only files have data, whatever the size field says (as Go's archive/tar and so every engine reads it).
  if (entry.type != TarType::regular) stored_ = 0;
  padding_ = (tar_block - stored_ % tar_block) % tar_block;
  entry.size = stored_;

  if (const auto* name = find("GNU.sparse.name")) entry.name = *name;
  const auto* real_size = find("GNU.sparse.realsize");
  if (real_size == nullptr) real_size = find("GNU.sparse.size");
  const auto* map = find("GNU.sparse.map");
  const bool in_data = find("GNU.sparse.major") && *find("GNU.sparse.major") == "1";
  if (entry.name.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos)
    return fail(Errc::invalid, "a name with a NUL in it");
  if (!in_data && map == nullptr && !entry.sparse) return {};

  const auto size = real_size ? decimal(*real_size) : std::nullopt;
  if (!size || entry.type != TarType::regular) return corrupt("a sparse file without its real size");
  entry.size = *size;
  entry.sparse = true;
  if (in_data) return read_sparse_map_from_data(entry);
  if (map != nullptr) {
    const auto numbers = split(*map, ',');
    if (numbers.size() % 2 != 0) return corrupt("the map of a sparse file is not made of pairs");
    for (std::size_t i = 0; i < numbers.size(); i += 2) {
      const auto offset = decimal(numbers[i]);
      const auto bytes = decimal(numbers[i + 1]);
      if (!offset || !bytes) return corrupt("the map of a sparse file is not made of numbers");
      if (auto added = add_run(entry, *offset, *bytes); !added) return added;
    }
  }
  return check_runs(entry, stored_);
}

// GNU tar before PAX: four runs in the header, 21 more in each block that follows while its flag says so.
Result<void> TarReader::read_old_sparse_map(const Block& header, TarEntry& entry) {
  auto size = parse_non_negative(bytes_of(header, real_size_field), "real size");
  if (!size) return fail(std::move(size.error()));
  entry.size = *size;
  entry.sparse = true;
  const auto read_runs = [&](const Block& block, std::size_t at, int count) -> Result<void> {
    for (int i = 0; i < count; ++i, at += 24) {
      if (block[at] == '\0') return {};
      auto offset = parse_non_negative(bytes_of(block, {at, 12}), "sparse offset");
      auto bytes = parse_non_negative(bytes_of(block, {at + 12, 12}), "sparse size");
      if (!offset) return fail(std::move(offset.error()));
      if (!bytes) return fail(std::move(bytes.error()));
      if (auto added = add_run(entry, *offset, *bytes); !added) return added;
    }
    return {};
  };
  if (auto runs = read_runs(header, 386, 4); !runs) return runs;
  bool extended = header[482] != '\0';
  for (std::size_t blocks = 0; extended; ++blocks) {
    if (blocks > sparse_runs_max / 21) return fail(Errc::too_large, "the map of a sparse file is too long");
    Block block;
    auto more = read_block(block);
    if (!more) return fail(std::move(more.error()));
    if (!*more) return corrupt("the archive is cut off");
    if (auto runs = read_runs(block, 0, 21); !runs) return runs;
    extended = block[504] != '\0';
  }
  return check_runs(entry, stored_);
}

// GNU.sparse 1.0: the map is the first part of the data, decimal numbers a line each, filled up to a block.
Result<void> TarReader::read_sparse_map_from_data(TarEntry& entry) {
  Block block;
  std::size_t at = tar_block;
  const auto next_number = [&]() -> Result<std::uint64_t> {
    std::string digits;
    while (true) {
      if (at == tar_block) {
        if (stored_ < tar_block) return corrupt("the map of a sparse file is cut off");
        auto more = read_block(block);
        if (!more) return fail(std::move(more.error()));
        if (!*more) return corrupt("the archive is cut off");
        stored_ -= tar_block;
        at = 0;
      }
      const char c = block[at++];
      if (c == '\n') break;
      digits += c;
      if (digits.size() > 20) break;
    }
    const auto number = decimal(digits);
    if (!number) return corrupt("the map of a sparse file is not made of numbers");
    return *number;
  };
  auto count = next_number();
  if (!count) return fail(std::move(count.error()));
  for (std::uint64_t i = 0; i < *count; ++i) {
    auto offset = next_number();
    if (!offset) return fail(std::move(offset.error()));
    auto bytes = next_number();
    if (!bytes) return fail(std::move(bytes.error()));
    if (auto added = add_run(entry, *offset, *bytes); !added) return added;
  }
  return check_runs(entry, stored_);
}

}  // namespace wick::image
