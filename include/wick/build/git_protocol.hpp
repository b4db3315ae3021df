// The part of git's wire that a server of pushes must read itself: packet lines, the commands of a push, and the report
// on them (git's Documentation/gitprotocol-common, gitprotocol-pack and gitprotocol-http). The pack behind the commands
// is git's own to read. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

/// Four hex digits of the length, which counts themselves, and the text. `text` has at most 65516 bytes.
std::string pkt_line(std::string_view text);
inline constexpr std::string_view flush_packet = "0000";

/// Bytes of a multiplexed answer (gitprotocol-pack "side-band-64k"), in as many packets as they need.
enum class SideBand : char { report = 1, progress = 2, fatal = 3 };
std::string side_band(SideBand band, std::string_view bytes);

struct RefCommand {
  std::string old_id;  // 40 hex digits; all zero: the ref is made
  std::string new_id;  // all zero: the ref is deleted
  std::string ref;
  bool deletes() const;
  bool creates() const;
};
/// A ref that a push may name: a branch or a tag, by the rules of git-check-ref-format(1), at most 200 bytes.
bool is_pushable_ref(std::string_view ref);
/// 40 lower-case hex digits.
bool is_object_id(std::string_view text);

struct PushRequest {
  std::vector<std::string> shallow;  // commits whose parents the pusher lacks
  std::vector<RefCommand> commands;
  std::vector<std::string> options;  // of git push -o
  bool report_status = false;
  bool side_band = false;
  bool atomic = false;
  bool has_options = false;  // a second list stands behind the commands
};

struct ParsedPush {
  PushRequest request;
  std::size_t bytes = 0;  // of the input, to the flush packet's end: the pack begins there
};

struct PushLimits {
  static constexpr std::size_t commands_max = 100;          // refs of one push
  static constexpr std::size_t options_max = 32;            // push options
  static constexpr std::size_t head_bytes_max = 256 << 10;  // of all commands
};

/// The head of a push: commands to the flush packet, and push options to the next where the pusher says so. nullopt
/// when `bytes` ends before it. A flush packet alone is a request without commands, by which git asks whether it may
/// push. Errors: invalid, too_large.
Result<std::optional<ParsedPush>> parse_push(std::string_view bytes);

/// The same commands for git receive-pack: shallow lines, commands, capabilities "report-status" and "quiet", flush.
std::string to_wire(const PushRequest& request);

struct RefReport {
  std::string ref;
  std::string reason;  // why it was not updated; empty: it was
};
/// "unpack ok" or "unpack REASON", a line a ref, a flush packet. What is not printable in a reason is made so.
std::string push_report(std::string_view unpack_reason, const std::vector<RefReport>& refs);

struct ParsedReport {
  std::string unpack_reason;  // empty: ok
  std::vector<RefReport> refs;
};
/// What push_report writes, and git receive-pack. Errors: corrupt.
Result<ParsedReport> parse_report(std::string_view bytes);

struct AdvertisedRef {
  std::string id;
  std::string name;
};
/// The answer to GET info/refs?service=git-receive-pack.
std::string push_advertisement(const std::vector<AdvertisedRef>& refs);

}  // namespace wick::build
