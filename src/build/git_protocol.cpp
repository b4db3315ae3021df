#include "wick/build/git_protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "wick/base/text.hpp"

namespace wick::build {

namespace {

constexpr std::size_t id_digits = 40;
constexpr std::size_t ref_bytes_max = 200;
constexpr std::size_t line_header_bytes = 4;
constexpr std::size_t line_bytes_most = 65520;  // LARGE_PACKET_MAX
constexpr std::size_t shallow_max = 1000;
constexpr std::size_t reason_bytes_max = 300;
const std::string no_id(id_digits, '0');

/// What we can do of gitprotocol-capabilities.
constexpr std::string_view push_capabilities =
    "report-status delete-refs side-band-64k quiet atomic ofs-delta push-options object-format=sha1 agent=wick";

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// The next packet of `bytes`. Errors: invalid.
struct Packet {
  bool is_flush = false;
  std::string_view text;
  std::size_t bytes = 0;
};
Result<std::optional<Packet>> next_packet(std::string_view bytes) {
  if (bytes.size() < line_header_bytes) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < line_header_bytes; ++i) {
    const auto digit = hex_digit(bytes[i]);
    if (!digit) return fail(Errc::invalid, fmt::format("'{}' is no length of a packet line", printable(bytes, 4)));
    length = length * 16 + *digit;
  }
  if (length == 0) return Packet{.is_flush = true, .text = {}, .bytes = line_header_bytes};
  if (length < line_header_bytes || length > line_bytes_most)
    return fail(Errc::invalid, fmt::format("a packet line of {} bytes", length));
  if (bytes.size() < length) return std::nullopt;
  return Packet{.text = bytes.substr(line_header_bytes, length - line_header_bytes), .bytes = length};
}

std::string_view without_newline(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void take_capabilities(std::string_view text, PushRequest& request) {
  for (const auto word : split(text, ' ')) {
    if (word == "report-status") request.report_status = true;
    if (word == "side-band-64k") request.side_band = true;
    if (word == "atomic") request.atomic = true;
    if (word == "push-options") request.has_options = true;
  }
}

Result<RefCommand> parse_command(std::string_view line) {
  constexpr std::size_t before_ref = 2 * (id_digits + 1);
  RefCommand command;
  if (line.size() > before_ref && line[id_digits] == ' ' && line[before_ref - 1] == ' ') {
    command = {.old_id = std::string(line.substr(0, id_digits)),
               .new_id = std::string(line.substr(id_digits + 1, id_digits)),
               .ref = std::string(line.substr(before_ref))};
  }
  if (!is_object_id(command.old_id) || !is_object_id(command.new_id) || has_control(command.ref))
    return fail(Errc::invalid, fmt::format("'{}' is no command of a push", printable(line, 120)),
                "a line is OLD-ID NEW-ID REF, with ids of SHA-1");
  return command;
}

Result<void> take_option(std::string_view text, PushRequest& request) {
  const auto option = without_newline(text);
  if (request.options.size() == PushLimits::options_max)
    return fail(Errc::too_large, fmt::format("more than {} push options", PushLimits::options_max));
  if (has_control(option)) return fail(Errc::invalid, "a push option has characters that are not printable");
  request.options.emplace_back(option);
  return {};
}

Result<void> take_line(std::string_view text, PushRequest& request) {
  if (text.starts_with("push-cert")) return fail(Errc::unsupported, "signed pushes are not taken");
  constexpr std::string_view shallow = "shallow ";
  if (text.starts_with(shallow)) {
    const auto id = without_newline(text.substr(shallow.size()));
    if (!is_object_id(id)) return fail(Errc::invalid, "a shallow line names no commit");
    if (request.shallow.size() == shallow_max) return fail(Errc::too_large, "too many shallow commits");
    request.shallow.emplace_back(id);
    return {};
  }
  if (request.commands.size() == PushLimits::commands_max)
    return fail(Errc::too_large, fmt::format("a push of more than {} refs", PushLimits::commands_max),
                "push one branch: git push wick main");
  // Behind a NUL of the first command are the capabilities.
  const auto nul = request.commands.empty() ? text.find('\0') : text.npos;
  if (nul != text.npos) take_capabilities(without_newline(text.substr(nul + 1)), request);
  auto command = parse_command(without_newline(text.substr(0, nul)));
  if (!command) return fail(std::move(command.error()));
  request.commands.push_back(std::move(*command));
  return {};
}

}  // namespace

std::string pkt_line(std::string_view text) { return fmt::format("{:04x}{}", text.size() + line_header_bytes, text); }

std::string side_band(SideBand band, std::string_view bytes) {
  constexpr std::size_t most = line_bytes_most - line_header_bytes - 1;
  std::string out;
  do {
    const auto part = bytes.substr(0, most);
    out += fmt::format("{:04x}{}{}", part.size() + line_header_bytes + 1, static_cast<char>(band), part);
    bytes.remove_prefix(part.size());
  } while (!bytes.empty());
  return out;
}

bool RefCommand::deletes() const { return new_id == no_id; }
bool RefCommand::creates() const { return old_id == no_id; }

bool is_object_id(std::string_view text) {
  return text.size() == id_digits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_pushable_ref(std::string_view ref) {
  const auto kind = ref.starts_with("refs/heads/")  ? std::string_view("refs/heads/")
                    : ref.starts_with("refs/tags/") ? std::string_view("refs/tags/")
                                                    : std::string_view();
  if (kind.empty() || ref.size() > ref_bytes_max || has_control(ref)) return false;
  const auto name = ref.substr(kind.size());
  if (name.starts_with('-') || name.ends_with('.') || name == "@" || name == "HEAD" || name.contains("..") ||
      name.contains("@{") || name.find_first_of(" ~^:?*[\\") != name.npos)
    return false;
  return std::ranges::all_of(split(name, '/'), [](std::string_view part) {
    return !part.empty() && !part.starts_with('.') && !part.ends_with(".lock");
  });
}

Result<std::optional<ParsedPush>> parse_push(std::string_view bytes) {
  ParsedPush push;
  bool in_options = false;
  while (true) {
    auto packet = next_packet(bytes.substr(push.bytes));
    if (!packet) return fail(std::move(packet.error()));
    if (!*packet) {
      if (bytes.size() > PushLimits::head_bytes_max)
        return fail(Errc::too_large, "the commands of the push have no end");
      return std::nullopt;
    }
    push.bytes += (*packet)->bytes;
    if (push.bytes > PushLimits::head_bytes_max)
      return fail(Errc::too_large, "the commands of the push are too long", "push one branch: git push wick main");
    if ((*packet)->is_flush) {
      if (in_options || !push.request.has_options) return push;
      in_options = true;
      continue;
    }
    const auto text = (*packet)->text;
    auto taken = in_options ? take_option(text, push.request) : take_line(text, push.request);
    if (!taken) return fail(std::move(taken.error()));
  }
}

std::string to_wire(const PushRequest& request) {
  std::string out;
  for (const auto& id : request.shallow) out += pkt_line("shallow " + id);
  bool first = true;
  for (const auto& command : request.commands) {
    auto line = fmt::format("{} {} {}", command.old_id, command.new_id, command.ref);
    if (std::exchange(first, false)) line += std::string(1, '\0') + " report-status quiet object-format=sha1";
    out += pkt_line(line);
  }
  return out.append(flush_packet);
}

std::string push_report(std::string_view unpack_reason, const std::vector<RefReport>& refs) {
  std::string out =
      pkt_line(unpack_reason.empty() ? std::string("unpack ok\n")
                                     : fmt::format("unpack {}\n", printable(unpack_reason, reason_bytes_max)));
  for (const auto& ref : refs)
    out += pkt_line(ref.reason.empty() ? fmt::format("ok {}\n", ref.ref)
                                       : fmt::format("ng {} {}\n", ref.ref, printable(ref.reason, reason_bytes_max)));
  return out.append(flush_packet);
}

Result<ParsedReport> parse_report(std::string_view bytes) {
  ParsedReport report;
  bool has_unpack = false;
  while (true) {
    auto packet = next_packet(bytes);
    if (!packet || !*packet) return fail(Errc::corrupt, "git's report on the push ends early");
    bytes.remove_prefix((*packet)->bytes);
    if ((*packet)->is_flush) break;
    const auto line = without_newline((*packet)->text);
    const auto space = line.find(' ');
    const auto word = line.substr(0, space);
    const auto rest = space == line.npos ? std::string_view() : line.substr(space + 1);
    if (word == "unpack" && !has_unpack) {
      has_unpack = true;
      report.unpack_reason = rest == "ok" ? "" : rest;
    } else if (word == "ok") {
      report.refs.push_back({.ref = std::string(rest), .reason = {}});
    } else if (word == "ng" && rest.contains(' ')) {
      report.refs.push_back(
          {.ref = std::string(rest.substr(0, rest.find(' '))), .reason = std::string(rest.substr(rest.find(' ') + 1))});
    } else {
      return fail(Errc::corrupt, fmt::format("git's report on the push says '{}'", printable(line, 120)));
    }
  }
  if (!has_unpack) return fail(Errc::corrupt, "git's report on the push says nothing of the pack");
  return report;
}

std::string push_advertisement(const std::vector<AdvertisedRef>& refs) {
  auto out = pkt_line("# service=git-receive-pack\n").append(flush_packet);
  auto capabilities = std::string(1, '\0').append(push_capabilities) + "\n";
  if (refs.empty()) return (out + pkt_line(no_id + " capabilities^{}" + capabilities)).append(flush_packet);
  for (const auto& ref : refs)
    out += pkt_line(fmt::format("{} {}{}", ref.id, ref.name, std::exchange(capabilities, "\n")));
  return out.append(flush_packet);
}

}  // namespace wick::build
